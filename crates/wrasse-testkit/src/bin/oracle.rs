//! The oracle: a subreaper under which a test runs everything, so that nothing escapes the count.
//!
//! Reads one JSON request a line from stdin, answers one JSON line on stdout. When stdin ends, everything below it
//! is killed: a test that dies leaves nothing behind.

fn main() -> std::process::ExitCode {
    wrasse_testkit::oracle::serve()
}
