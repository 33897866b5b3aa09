//! The gateway with its real store, the scripted model, and no servers: those are the end-to-end suite's.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod cron;
mod cron_once;
mod ends;
mod methods;
mod runs;
mod sessions;
mod shutdown;
mod spawn;
mod station;

/// Every file of this folder is compiled in.
#[test]
fn no_test_file_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap();
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{name} is not compiled"
        );
    }
}
