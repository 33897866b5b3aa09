//! The warden, as far as this crate goes: becoming it, finding it, losing it.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use wrasse_contain::warden::{self, WardenExec};
use wrasse_contain::{Guard, Layers};

use crate::support::{PATIENCE, again, containment, signal, state_dir};

/// The launched process: becomes the warden in place.
pub(crate) fn become_warden() {
    let guard = match std::env::var("GUARD").unwrap().as_str() {
        "file" => Guard::File,
        "memfd" => Guard::Memfd,
        _ => Guard::Itself,
    };
    let args = ["gateway", "--exact", "scenario::entry", "--nocapture", "--test-threads=1"];
    // Under the warden this program plays another part; the environment is passed through.
    let args = args.map(std::ffi::OsString::from).to_vec();
    let error = warden::exec(&WardenExec {
        guard,
        layers: Layers::Probe,
        state_dir: state_dir(),
        args,
        env: Vec::new(),
    });
    panic!("not the warden: {error}");
}

/// The gateway: knows its warden, and notices when it is gone.
pub(crate) async fn below_warden() {
    let link = warden::link().expect("there is a warden");
    assert_eq!(Some(link.pid()), std::os::unix::process::parent_id().into());
    let alive = tokio::time::timeout(Duration::from_millis(20), link.lost()).await;
    assert!(alive.is_err());
    // Only the warden dies: it is told nothing and can do nothing.
    signal(link.pid(), Signal::KILL);
    tokio::time::timeout(PATIENCE, link.lost()).await.expect("its death is noticed");
    assert!(warden::link().is_none());
    let done = std::env::var_os("DONE").unwrap();
    std::fs::File::create(done).unwrap().write_all(b"noticed").unwrap();
}

#[tokio::test]
async fn the_warden_takes_the_launched_pid_and_is_missed() {
    let _shared = containment();
    for guard in ["file", "memfd", "itself"] {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let mut launched = again("warden", |command| {
            command.env("GUARD", guard).env("DONE", &done).stdin(Stdio::null());
        });
        let status = launched.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{guard}");
        crate::support::until("the gateway noticed", || {
            std::fs::read(&done).is_ok_and(|text| text == b"noticed")
        })
        .await;
    }
}

#[tokio::test]
async fn without_a_warden_there_is_no_link() {
    let _shared = containment();
    let mut child = again("without-warden", |command| {
        command.env("WRASSE_WARDEN", "1").stdin(Stdio::null());
    });
    assert!(child.wait().unwrap().success());
}
