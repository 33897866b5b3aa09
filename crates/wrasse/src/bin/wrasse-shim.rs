//! The small executable that `wrasse wrap` becomes: the shim and nothing else.

use std::process::ExitCode;

use wrasse_wrap::WrapOptions;

fn main() -> ExitCode {
    // Where nothing else may be executed, this executable is the guard program as well: argv says so.
    wrasse_guard::dispatch();
    if let Some(code) = wrasse_wrap::dispatch() {
        return code;
    }
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match WrapOptions::from_args(&args) {
        Ok(options) => wrasse_wrap::run(options),
        Err(error) => wrasse_wrap::refuse(&error.to_string(), 64),
    }
}
