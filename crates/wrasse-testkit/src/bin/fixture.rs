//! The misbehaving MCP servers of the end-to-end tests: `wrasse-fixture <mode>`.

fn main() -> std::process::ExitCode {
    // A server that lost the thread that answers would be waited for in silence.
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panicked| {
        say(panicked);
        std::process::exit(101);
    }));
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    wrasse_testkit::fixture::run(&mode, &rest)
}
