//! A disk that is really full: a file system of 1 MiB in a mount namespace of its own.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use wrasse_store::{
    Durability, FlushOutcome, InstanceEnd, NewSession, Role, StateDir, Store, StoreError,
};
use wrasse_types::{AgentId, GoneReason};

use crate::child::{Other, itself, say};
use crate::support::{key, new_instance, until};

/// In the other process.
pub(crate) async fn fill_the_disk(dir: &StateDir) {
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![0; 256 << 10]).unwrap();
    let store = Store::open(dir, Durability::Process, Role::Gateway).await.unwrap();
    let ledger = store.ledger();
    let instance = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    let agent = AgentId::new("main");
    let new = NewSession {
        key: key("main"),
        agent,
        label: None,
        spawned_by: None,
        depth: 0,
        model: None,
    };
    let session = store.ensure_session(new).await.unwrap();

    let body = json!({ "text": "x".repeat(16 << 10) });
    let append =
        async || store.append_entry(&session.key, &session.session_id, None, "user", &body).await;
    let mut written = 0;
    let refused = loop {
        match append().await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "1 MiB does not hold this");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    assert!(refused.to_string().contains("free some space"));
    // Fill the last pages too, so that not even a small row fits.
    while std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.path().join("more"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 512]))
        .is_ok()
    {}
    until("a start is refused", async || {
        matches!(ledger.begin_instance(new_instance("more")).await, Err(StoreError::Full(_)))
    })
    .await;

    // A row that fits where the log has been before is still committed.
    if let Err(error) = store.prove_writable().await {
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    }

    // Ending never needs the disk: the call returns, and the row comes when there is room.
    ledger.ended(instance, end());
    let transcript = store.transcript(&session.session_id, None).await.unwrap();
    assert_eq!(transcript.len(), written, "what was committed can be read");
    std::fs::remove_file(&ballast).unwrap();
    until("the ledger catches up", async || ledger.flush().await == FlushOutcome::Written).await;
    let row = ledger.instance(instance).await.unwrap().unwrap();
    assert_eq!(row.end, Some(end()));
    append().await.unwrap();
    store.prove_writable().await.unwrap();
    store.close().await;
    say("fine");
}

fn end() -> InstanceEnd {
    InstanceEnd {
        reason: GoneReason::Released,
        detail: String::new(),
        rung: None,
        took_ms: 1,
        processes: 1,
        survivors: 0,
        proven_empty: true,
    }
}

/// `unshare -rm` needs no root where users may make namespaces; the mount ends with the process.
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts a process with a file system of its own"
)]
fn in_a_small_file_system(dir: &Path, then: &Command) -> Command {
    let script = r#"mount -t tmpfs -o size=1m,mode=700 tmpfs "$1" || exit 111; shift; exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh"]).arg(dir);
    command.arg(then.get_program()).args(then.get_args());
    for (name, value) in then.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
#[expect(clippy::disallowed_methods, reason = "a test asks whether it can mount")]
fn a_full_disk_is_a_typed_error_and_ends_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let mut probe = in_a_small_file_system(home.path(), &Command::new("true"));
    if !probe.output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a_full_disk_is_a_typed_error…: this user cannot mount a file system");
        return;
    }
    let mut other =
        Other::spawn(in_a_small_file_system(home.path(), &itself("fill-the-disk", home.path())));
    assert_eq!(other.next().as_deref(), Some("fine"));
}
