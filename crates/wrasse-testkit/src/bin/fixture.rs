//! The misbehaving MCP servers of the end-to-end tests: `wrasse-fixture <mode>`.

fn main() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    wrasse_testkit::fixture::run(&mode, &rest)
}
