//! `cargo xtask test`: installs what the tests need, builds the programs they run, runs all of them.

use std::path::Path;
use std::process::Command;

use crate::shell::{cargo, has, run as start};

pub(crate) fn run(filter: Option<&str>) -> anyhow::Result<()> {
    node()?;
    servers()?;
    // The end-to-end tests run these as programs; cargo builds them for no test by itself.
    start(&mut cargo(&["build", "--locked", "--bins", "-p", "wrasse", "-p", "wrasse-testkit"]))?;
    let mut test = cargo(&["test", "--locked", "--workspace"]);
    if let Some(filter) = filter {
        test.arg("--").arg(filter);
    }
    start(&mut test)
}

/// Node.js, and what npm needs to build sqlite's binding. Installed where we may; else the tests that need it say that
/// they skip.
fn node() -> anyhow::Result<()> {
    let needed = ["node", "npm", "python3", "make", "g++"];
    if needed.iter().all(|program| has(program, "--version")) {
        return Ok(());
    }
    if !rustix::process::getuid().is_root() || !has("apt-get", "--version") {
        println!(
            "not all of {needed:?} are installed: tests with real servers will say that they skip"
        );
        return Ok(());
    }
    start(Command::new("apt-get").args(["update", "-q"]))?;
    let packages = ["nodejs", "npm", "python3", "make", "g++"];
    start(
        Command::new("apt-get").args(["install", "-qy", "--no-install-recommends"]).args(packages),
    )
}

/// The real MCP servers, in the versions of the committed lock file.
fn servers() -> anyhow::Result<()> {
    let folder = Path::new("tests/servers");
    if !has("npm", "--version") {
        return Ok(());
    }
    let lock = folder.join("package-lock.json");
    let stamp = folder.join("node_modules/.wrasse-lock");
    let wanted = std::fs::read(&lock)?;
    if std::fs::read(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    start(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder))?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}
