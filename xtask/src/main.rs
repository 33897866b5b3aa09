//! Checks and benches: cargo xtask ci|test|layers|bench.
fn main() {}
