//! Drivers with fake trees, real time and a real ledger.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod breaker;
mod fake;
mod ledger;
mod reef;
mod release;
mod retention;
mod start;
mod stop;

#[test]
fn no_test_file_is_forgotten() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    let main = std::fs::read_to_string(format!("{dir}/main.rs")).unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("mod {module};")), "{name}");
    }
}
