//! A program that serves as its own guard, as `wrasse` does under `containment.guard: "self"`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wrasse_guard::dispatch();
    ExitCode::from(64)
}
