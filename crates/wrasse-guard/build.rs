//! Builds the guard program of `src/image.rs` for the target, with the compiler that builds
//! everything else and the linker that comes with it.
//!
//! The bytes depend on the compiler and the sources alone: not on the profile, on RUSTFLAGS, or on
//! where the sources are.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// What links the image.
enum Linker {
    /// The one in the toolchain, which needs nothing from the system.
    RustLld,
    /// The system's compiler driver, for toolchains of distributions that leave rust-lld out.
    Cc,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-env-changed=WRASSE_GUARD_LINKER");
    println!("cargo:rustc-check-cfg=cfg(guard)");
    let target = variable("TARGET")?;
    let image = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("guard");
    let linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    if !linux || !matches!(arch.as_str(), "x86_64" | "aarch64") {
        fs::write(&image, [])?;
        return Ok(());
    }
    println!("cargo:rustc-cfg=guard");
    let rustc = env::var_os("RUSTC").ok_or("RUSTC is not set")?;
    let linker = match env::var("WRASSE_GUARD_LINKER").as_deref() {
        Ok("rust-lld") => Linker::RustLld,
        Ok("cc") => Linker::Cc,
        _ if has_rust_lld(&rustc)? => Linker::RustLld,
        _ => Linker::Cc,
    };
    compile(&rustc, &target, &image, &linker)
}

fn variable(name: &str) -> Result<String, Box<dyn Error>> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}

#[expect(clippy::disallowed_methods, reason = "a build script runs the compiler")]
fn command(program: &OsString) -> std::process::Command {
    std::process::Command::new(program)
}

fn joined(name: &str, value: OsString) -> OsString {
    let mut joined = OsString::from(name);
    joined.push(value);
    joined
}

fn has_rust_lld(rustc: &OsString) -> Result<bool, Box<dyn Error>> {
    let output = command(rustc).args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8(output.stdout)?;
    let host = variable("HOST")?;
    let bin = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    Ok(bin.join("rust-lld").is_file())
}

fn compile(
    rustc: &OsString,
    target: &str,
    image: &Path,
    linker: &Linker,
) -> Result<(), Box<dyn Error>> {
    let manifest = variable("CARGO_MANIFEST_DIR")?;
    let mut command = command(rustc);
    command
        .current_dir(&manifest)
        // Neither may change the bytes.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["src/image.rs", "--edition=2024", "--crate-name=guard", "--crate-type=bin"])
        .arg(format!("--target={target}"))
        // Optimised whatever the profile: without it `core` wants an unwinder at link time.
        .args(["-Cpanic=abort", "-Copt-level=s", "-Clto=fat", "-Ccodegen-units=1"])
        .args(["-Cstrip=symbols", "-Crelocation-model=static", "-Cforce-unwind-tables=no"])
        .arg("-Cdefault-linker-libraries=no")
        .arg(format!("--remap-path-prefix={manifest}=guard"))
        .arg("-o")
        .arg(image);
    match linker {
        Linker::RustLld => command
            .args(["-Clinker=rust-lld", "-Clinker-flavor=ld.lld", "-Clink-self-contained=no"])
            .args(["-Clink-arg=-static", "-Clink-arg=--no-eh-frame-hdr"])
            // Separate segments would pad the file to 64 KiB pages on aarch64.
            .args(["-Clink-arg=--build-id=none", "-Clink-arg=-znoseparate-code"]),
        Linker::Cc => {
            if target.contains("musl") {
                // Or rustc adds the C library's start files by name.
                command.arg("-Clink-self-contained=no");
            }
            if let Some(linker) = env::var_os("RUSTC_LINKER") {
                command.arg("-C").arg(joined("linker=", linker));
            }
            command
                .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static"])
                .args(["-Clink-arg=-Wl,--build-id=none", "-Clink-arg=-Wl,-znoseparate-code"])
        }
    };
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err("failed to compile the guard program".into()) }
}
