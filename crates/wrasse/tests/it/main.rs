//! The end-to-end suite: the real program, real children, a real kernel, and an oracle outside all of them.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test stops where it stands, and says what it skips"
)]

mod accounts;
mod chain;
mod clients;
mod commands;
mod confined;
mod delegated;
mod enemies;
mod firings;
mod fixtures;
mod foreign;
mod host;
mod house;
mod hygiene;
mod import;
mod input;
mod modes;
mod pid_one;
mod reap;
mod reconnect;
mod refused;
mod shared;
mod soak;
mod storm;
mod table;
mod terminal;
mod upgrade;
mod walk;
mod wrap;

/// A file that is not a module of this binary would never run.
#[test]
fn no_test_file_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(name == "main" || main.contains(&format!("mod {name};")), "{name} is forgotten");
    }
}
