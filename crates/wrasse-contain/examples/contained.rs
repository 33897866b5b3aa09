//! Starts a program that leaves a daemon behind and ignores SIGTERM, and ends all of it:
//! `cargo run -p wrasse-contain --example contained`.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use wrasse_contain::{ContainOptions, Containment, Guard, Ladder, Layers, Limits, SpawnSpec};

const MISBEHAVE: &str = "trap '' TERM; (setsid sleep 600 &); while :; do sleep 600; done";

fn main() -> Result<(), Box<dyn Error>> {
    // Lets this very program be its own guard, where no other may be executed. First thing in `main`.
    wrasse_guard::dispatch();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let state = tempfile::tempdir()?;
    let options = ContainOptions {
        state_dir: state.path().to_owned(),
        guard: Guard::Auto,
        installation: 0x0e_a1,
    };
    let containment = Containment::start_with(options, Layers::Probe)?;
    let mut out = std::io::stdout();
    writeln!(out, "{:?}", containment.report())?;
    let prepared = containment
        .prepare(SpawnSpec {
            name: "example".to_owned(),
            instance: 1,
            program: "sh".into(),
            args: vec!["-c".into(), MISBEHAVE.into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: "/".into(),
            limits: Limits { memory_max: Some(64 << 20), ..Limits::default() },
        })
        .await?;
    // Between the two steps is the moment to write down who will be there.
    writeln!(out, "guardian {}", prepared.guardian().pid)?;
    let tree = prepared.go().await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    writeln!(out, "{:?}", containment.account(tree.guardian().pid))?;
    let rung = Duration::from_millis(200);
    writeln!(out, "{:?}", tree.stop(Ladder { eof: rung, term: rung }).await)?;
    Ok(())
}
