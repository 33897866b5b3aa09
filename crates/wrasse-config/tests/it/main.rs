//! The loader as its users call it: files in, a configuration or a report out.

mod files;
mod keys;
mod print;
mod report;
mod schema;
mod sections;
mod support;

/// A test file that no `mod` line names would never run.
#[test]
fn no_test_file_is_forgotten() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(dir.join("main.rs")).expect("this file is there");
    for entry in std::fs::read_dir(dir).expect("the folder is there") {
        let name = entry.expect("it can be read").file_name().to_string_lossy().into_owned();
        let Some(module) = name.strip_suffix(".rs").filter(|name| *name != "main") else {
            continue;
        };
        assert!(main.contains(&format!("mod {module};")), "{name} is not named");
    }
}
