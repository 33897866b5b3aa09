//! Arrows between crates point down only, and some crates must not know some things.

use anyhow::bail;
use serde::Deserialize;

use crate::shell::{capture, cargo};

/// Crate and layer; development-only crates are in none.
const LAYERS: [(&str, u8); 15] = [
    ("wrasse", 6),
    ("wrasse-api", 5),
    ("wrasse-wrap", 5),
    ("wrasse-hosts", 5),
    ("wrasse-gateway", 4),
    ("wrasse-mcp", 3),
    ("wrasse-model", 3),
    ("wrasse-lease", 2),
    ("wrasse-contain", 1),
    ("wrasse-store", 1),
    ("wrasse-config", 1),
    ("wrasse-scope", 1),
    ("wrasse-types", 0),
    ("wrasse-guard", 0),
    ("wrasse-testkit", u8::MAX),
];

/// Crate, and the libraries that would mean it knows what it must not.
const STRANGERS: [(&str, &[&str]); 10] = [
    ("wrasse-api", &["sqlx", "rustix", "rmcp"]),
    ("wrasse-wrap", &["sqlx", "axum", "wrasse-store", "wrasse-gateway"]),
    ("wrasse-hosts", &["rmcp", "axum", "wrasse-mcp", "wrasse-gateway"]),
    ("wrasse-gateway", &["axum", "hyper", "sqlx", "rustix", "rmcp", "reqwest"]),
    ("wrasse-mcp", &["axum", "sqlx"]),
    ("wrasse-lease", &["rmcp", "sqlx", "axum", "rustix"]),
    ("wrasse-contain", &["rmcp", "sqlx", "axum"]),
    ("wrasse-config", &["tokio", "sqlx"]),
    ("wrasse-types", &["tokio", "sqlx", "rustix"]),
    ("wrasse-guard", &["tokio", "rustix", "serde", "libc"]),
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

pub(crate) fn check() -> anyhow::Result<()> {
    let text =
        capture(&mut cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&text)?;
    let faults = faults(&metadata);
    if !faults.is_empty() {
        bail!("layers:\n  {}", faults.join("\n  "));
    }
    println!("{} crates, every arrow points down", metadata.packages.len());
    Ok(())
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

fn faults(metadata: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    for package in metadata.packages.iter().filter(|package| package.name != "xtask") {
        let Some(own) = layer(&package.name) else {
            faults.push(format!("{} is in no layer: add it to xtask's table", package.name));
            continue;
        };
        let shipped = package.dependencies.iter().filter(|dep| dep.kind.as_deref() != Some("dev"));
        for dependency in shipped {
            if layer(&dependency.name).is_some_and(|below| below >= own) {
                faults.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
            let strangers = STRANGERS.iter().filter(|(name, _)| *name == package.name);
            for (_, names) in strangers {
                if names.contains(&dependency.name.as_str()) {
                    faults.push(format!("{} must not know {}", package.name, dependency.name));
                }
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependency: &str, kind: Option<&str>) -> Metadata {
        Metadata {
            packages: vec![Package {
                name: name.to_owned(),
                dependencies: vec![Dependency {
                    name: dependency.to_owned(),
                    kind: kind.map(str::to_owned),
                }],
            }],
        }
    }

    #[test]
    fn arrows_that_point_up_or_sideways_are_found() {
        assert!(!faults(&package("wrasse-lease", "wrasse-mcp", None)).is_empty());
        assert!(!faults(&package("wrasse-mcp", "wrasse-model", None)).is_empty());
        assert!(!faults(&package("wrasse-gateway", "axum", None)).is_empty());
        assert!(!faults(&package("wrasse-new", "serde", None)).is_empty());
        assert!(!faults(&package("wrasse", "wrasse-testkit", None)).is_empty());
        assert!(faults(&package("wrasse-mcp", "wrasse-lease", None)).is_empty());
        assert!(faults(&package("wrasse", "wrasse-testkit", Some("dev"))).is_empty());
    }
}
