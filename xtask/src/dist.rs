//! `cargo xtask dist`: the release binary, static where the musl target is installed.

use std::process::Command;

use crate::shell::{capture, cargo, run as start};

/// DESIGN's budget for the stripped binary, in bytes.
const BINARY_MAX: u64 = 15 << 20;

pub(crate) fn run() -> anyhow::Result<()> {
    let arch = std::env::consts::ARCH;
    let musl = format!("{arch}-unknown-linux-musl");
    let sysroot = capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    let installed =
        std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(&musl).join("lib").is_dir();
    let mut build = cargo(&["build", "--release", "--locked", "-p", "wrasse"]);
    let built = if installed {
        build.args(["--target", &musl]);
        format!("target/{musl}/release/wrasse")
    } else {
        println!("target {musl} is not installed: building for this system's C library");
        "target/release/wrasse".to_owned()
    };
    start(&mut build)?;
    std::fs::create_dir_all("target/dist")?;
    let name = if installed { format!("wrasse-{musl}") } else { format!("wrasse-{arch}-linux") };
    let to = format!("target/dist/{name}");
    std::fs::copy(&built, &to)?;
    let size = std::fs::metadata(&to)?.len();
    let verdict = if size <= BINARY_MAX { "within" } else { "OVER" };
    println!("{to}: {:.1} MiB, {verdict} the budget of 15 MiB", size as f64 / f64::from(1 << 20));
    anyhow::ensure!(size <= BINARY_MAX, "the binary is over its budget");
    Ok(())
}
