//! `cargo xtask ci`: what a change must pass, cheapest first.

use std::time::Instant;

use crate::shell::cargo;
use crate::{deps, layers, sizes, test};

/// One check: its name, and what performs it.
type Check = (&'static str, fn() -> anyhow::Result<()>);

pub(crate) fn run_check(name: &str, check: fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("\n== {name}");
    let started = Instant::now();
    check()?;
    println!("== {name}: ok, {} s", started.elapsed().as_secs());
    Ok(())
}

pub(crate) fn run() -> anyhow::Result<()> {
    use crate::shell::run;
    let checks: [Check; 7] = [
        ("format", || run(&mut cargo(&["fmt", "--all", "--check"]))),
        ("layers", layers::check),
        ("file sizes", sizes::check),
        ("licences and duplicate versions", deps::check),
        ("clippy", || {
            let args =
                ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
            run(&mut cargo(&args))?;
            // Not among all targets: only `cargo xtask test --hosts` runs it.
            let hosts =
                ["clippy", "-p", "wrasse", "--test", "hosts", "--locked", "--", "-D", "warnings"];
            run(&mut cargo(&hosts))
        }),
        ("docs", || {
            let mut doc =
                cargo(&["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]);
            run(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))
        }),
        ("tests", || test::run(None)),
    ];
    for (name, check) in checks {
        run_check(name, check)?;
    }
    Ok(())
}
