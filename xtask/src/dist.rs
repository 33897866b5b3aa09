//! `cargo xtask dist`: the release binaries, static where the musl target is installed.
//!
//! There are two: `wrasse`, and `wrasse-shim`, which `wrasse wrap` becomes when it lies beside it under that name.

use std::process::Command;

use crate::shell::{capture, cargo, run as start};

/// The programs, and the budgets for them when they are stripped, in MiB.
const PROGRAMS: [(&str, u64); 2] = [("wrasse", 15), ("wrasse-shim", 3)];

pub(crate) fn run() -> anyhow::Result<()> {
    let arch = std::env::consts::ARCH;
    let musl = format!("{arch}-unknown-linux-musl");
    let sysroot = capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    let installed =
        std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(&musl).join("lib").is_dir();
    let mut build = cargo(&["build", "--release", "--locked", "-p", "wrasse"]);
    let folder = if installed {
        build.args(["--target", &musl]);
        format!("target/{musl}/release")
    } else {
        println!("target {musl} is not installed: building for this system's C library");
        "target/release".to_owned()
    };
    start(&mut build)?;
    std::fs::create_dir_all("target/dist")?;
    let system = if installed { musl } else { format!("{arch}-linux") };
    let mut over = Vec::new();
    for (program, budget) in PROGRAMS {
        let to = format!("target/dist/{program}-{system}");
        std::fs::copy(format!("{folder}/{program}"), &to)?;
        let size = std::fs::metadata(&to)?.len();
        let within = size <= budget << 20;
        let verdict = if within { "within" } else { "OVER" };
        let shown = size as f64 / f64::from(1 << 20);
        println!("{to}: {shown:.1} MiB, {verdict} the budget of {budget} MiB");
        if !within {
            over.push(program);
        }
    }
    anyhow::ensure!(over.is_empty(), "over budget: {}", over.join(", "));
    Ok(())
}
