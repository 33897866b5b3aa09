//! `cargo xtask test`: installs what the tests need, builds the programs they run, runs all of them.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::shell::{capture, cargo, has, run as start};

/// The crates whose tests are played again in a container's confinement.
const SUITES: [&str; 2] = ["/wrasse-guard/Cargo.toml", "/wrasse-contain/Cargo.toml"];

pub(crate) fn run(filter: Option<&str>) -> anyhow::Result<()> {
    if let Err(error) = node() {
        println!("{error:#}: tests with real servers will say that they skip");
    }
    packages();
    python();
    // The end-to-end tests run these as programs; cargo builds them for no test by itself.
    start(&mut cargo(&["build", "--locked", "--bins", "-p", "wrasse", "-p", "wrasse-testkit"]))?;
    let mut test = cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    test.env("WRASSE_TEST_SUITES", suites()?);
    if let Some(filter) = filter {
        test.arg("--").arg(filter);
    }
    start(&mut test)
}

/// Builds all tests, and says where the suites are that `wrasse/confined` plays again: those of the crates that contain.
fn suites() -> anyhow::Result<OsString> {
    let build = ["test", "--locked", "--workspace", "--no-run"];
    let mut build = cargo(&build);
    let messages = capture(build.arg("--message-format=json-render-diagnostics"))?;
    let mut found = Vec::new();
    for message in messages.lines() {
        let message: Value = serde_json::from_str(message)?;
        let is_one = SUITES.iter().any(|manifest| {
            message["manifest_path"].as_str().is_some_and(|path| path.ends_with(manifest))
        });
        if is_one
            && message["target"]["name"] == "it"
            && let Some(executable) = message["executable"].as_str()
        {
            found.push(executable.to_owned());
        }
    }
    ensure!(found.len() == SUITES.len(), "where are the tests of {SUITES:?}? only {found:?}");
    Ok(std::env::join_paths(found)?)
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
    let packages = ["nodejs", "npm", "python3", "python3-venv", "make", "g++"];
    start(
        Command::new("apt-get").args(["install", "-qy", "--no-install-recommends"]).args(packages),
    )
}

/// The real MCP servers and the reference SDK's clients, in the versions of the committed lock files. Where they cannot be
/// installed, their tests say that they skip.
fn packages() {
    for (folder, scripts) in [("tests/servers", Scripts::Run), ("tests/clients", Scripts::Ignore)] {
        if let Err(error) = install(Path::new(folder), scripts) {
            println!("no packages in {folder}: {error:#}: tests with them will say that they skip");
        }
    }
}

/// The Python SDK, in the versions and with the hashes of the committed list, in an environment of its own. Where it
/// cannot be installed, its tests say that they skip.
fn python() {
    if has("python3", "--version")
        && let Err(error) = venv(Path::new("tests/clients"))
    {
        println!("no Python SDK: {error:#}: tests with it will say that they skip");
    }
}

fn venv(folder: &Path) -> anyhow::Result<()> {
    let stamp = folder.join(".venv/.wrasse-lock");
    let requirements = folder.join("requirements.txt");
    let wanted = std::fs::read(&requirements)?;
    if std::fs::read(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    start(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder.join(".venv")))?;
    let pip =
        ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r"];
    start(Command::new(folder.join(".venv/bin/python")).args(pip).arg(requirements))?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

/// Whether packages may run what they bring for their installation.
#[derive(Debug, Clone, Copy)]
enum Scripts {
    /// sqlite's binding is built by one.
    Run,
    /// OpenClaw's fetch what no test uses.
    Ignore,
}

/// Installs a folder's packages as its lock file has them, unless they are there.
fn install(folder: &Path, scripts: Scripts) -> anyhow::Result<()> {
    if !has("npm", "--version") {
        return Ok(());
    }
    let lock = folder.join("package-lock.json");
    let stamp = folder.join("node_modules/.wrasse-lock");
    let wanted = std::fs::read(&lock)?;
    if std::fs::read(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder);
    match scripts {
        Scripts::Run => {}
        // They want a newer node than runs npm here, and bring it themselves: no warning about that.
        Scripts::Ignore => drop(npm.args(["--ignore-scripts", "--loglevel=error"])),
    }
    start(&mut npm)?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

/// `cargo xtask test --hosts`: real OpenClaw gateways, each release with the node it wants, from npm. One test at a time:
/// each of them fills a small machine.
pub(crate) fn hosts(filter: Option<&str>) -> anyhow::Result<()> {
    node()?;
    packages();
    for release in ["2026.4.15", "2026.9.6"] {
        if !has("npm", "--version") {
            bail!("no npm to install OpenClaw {release} with: nothing would be tested");
        }
        install(&Path::new("tests/hosts").join(release), Scripts::Ignore)
            .with_context(|| format!("no OpenClaw {release}: nothing would be tested"))?;
    }
    start(&mut cargo(&["build", "--locked", "--bins", "-p", "wrasse", "-p", "wrasse-testkit"]))?;
    let mut test = cargo(&["test", "--locked", "-p", "wrasse", "--test", "hosts", "--"]);
    start(test.args(["--test-threads=1", "--nocapture"]).args(filter))
}
