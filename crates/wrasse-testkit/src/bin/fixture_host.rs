//! The fixture host: see `wrasse_testkit::foreign_host`.

fn main() -> std::process::ExitCode {
    let Some(socket) = std::env::args_os().nth(1) else { return std::process::ExitCode::from(64) };
    wrasse_testkit::foreign_host::serve(socket.as_ref())
}
