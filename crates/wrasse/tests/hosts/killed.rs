//! The host is SIGKILLed, or closes a server's stdin and lives on: wrapped trees are empty, also those of servers
//! that heed nothing.

use std::time::{Duration, Instant};

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::{self, Process};

use crate::model::Call;
use crate::openclaw::{Look, OpenClaw, Version, report_calls};
use crate::table;
use crate::wrapped::wrap;

const SIGKILL: i32 = 9;

/// Where the server that is deaf to it notes the end of its stdin.
const STDIN_ENDED: &str = "stdin-ended";

/// How long the ladder waits after that.
const EOF_RUNG: Duration = Duration::from_secs(2);

/// How long a wrapped tree may outlive its shim's parent.
const AFTER_PARENT: Duration = Duration::from_secs(2);

/// The report's servers and two that outlive their pipes, all wrapped; one session has called a tool of each.
fn five_servers_in_use(test: &str, version: Version) -> Option<OpenClaw> {
    let mut calls = report_calls();
    for server in ["deaf", "daemon"] {
        calls.push(Call { tool: format!("{server}__echo"), arguments: json!({ "text": "here" }) });
    }
    let mut host = OpenClaw::new(test, version, calls)?;
    let mut servers = host.report_servers();
    for (name, mode) in [("deaf", Mode::EofDeaf), ("daemon", Mode::Daemon)] {
        let program = host.station.program("wrasse-fixture");
        // The first notes the end of its stdin there; the other has no use for it.
        let note = host.station.path(STDIN_ENDED);
        servers[name] = json!({ "command": program, "args": [mode.name(), note] });
    }
    host.configure(&servers);
    wrap(&host);
    host.start();
    host.agent("kept", "call them all");
    let turns = host.model.turns("call them all");
    assert_eq!(turns.len(), 1, "{turns:#?}\n{}", host.log());
    for server in ["deaf", "daemon"] {
        assert_eq!(turns[0].result(&format!("{server}__echo")), "here", "{turns:#?}");
    }
    Some(host)
}

/// A shim, its parent, and the tree below it.
struct Wrapped {
    parent: u32,
    shim: Process,
    tree: Vec<Process>,
}

fn wrapped(look: &Look) -> Vec<Wrapped> {
    let of = |shim: &Process| Wrapped {
        parent: shim.ppid,
        shim: shim.clone(),
        tree: processes::descendants(shim.pid),
    };
    look.shims.iter().map(of).collect()
}

/// When a process ended, asked of the kernel and not of the process table.
fn watch(pid: u32) -> std::thread::JoinHandle<Option<Instant>> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let opened = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    std::thread::spawn(move || {
        let mut waits = [rustix::event::PollFd::new(&opened, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        let ended = rustix::event::poll(&mut waits, Some(&limit)).unwrap();
        (ended == 1).then(Instant::now)
    })
}

fn sigkill(test: &str, version: Version) {
    let Some(mut host) = five_servers_in_use(test, version) else { return };
    let look = host.look();
    table::row(test, "in use", &look);
    let shims = wrapped(&look);
    assert_eq!(shims.len(), 5, "{look:#?}");
    let alive = shims.iter().filter(|wrapped| !wrapped.tree.is_empty()).count();
    assert!(alive >= 4, "context7 alone may not have been called: {look:#?}");
    let watched: Vec<_> = shims
        .iter()
        .map(|wrapped| {
            let tree: Vec<_> = wrapped.tree.iter().map(|process| watch(process.pid)).collect();
            (watch(wrapped.parent), watch(wrapped.shim.pid), tree)
        })
        .collect();
    let gateway = host.gateway();
    assert_eq!(host.station.oracle.signal(&[gateway], SIGKILL), 1);
    let mut slowest = Duration::ZERO;
    for ((parent, shim, tree), wrapped) in watched.into_iter().zip(&shims) {
        let parent = parent.join().unwrap().expect("the shim's parent ended");
        for (watched, process) in
            std::iter::once((shim, &wrapped.shim)).chain(tree.into_iter().zip(&wrapped.tree))
        {
            let ended = watched.join().unwrap();
            let ended = ended.unwrap_or_else(|| panic!("still there: {process:#?}"));
            let after = ended.saturating_duration_since(parent);
            assert!(after <= AFTER_PARENT, "{after:?} after its shim's parent: {process:#?}");
            slowest = slowest.max(after);
        }
    }
    table::note(
        test,
        &format!("the slowest ended {} ms after its shim's parent", slowest.as_millis()),
    );
    host.assert_empty();
}

#[test]
fn sigkill_of_2026_4_15_empties_wrapped_trees() {
    sigkill("sigkill_of_2026_4_15_empties_wrapped_trees", Version::V2026_4_15);
}

#[test]
fn sigkill_of_2026_9_6_empties_wrapped_trees() {
    sigkill("sigkill_of_2026_9_6_empties_wrapped_trees", Version::V2026_9_6);
}

/// The gateway lives and closes the session's servers: the ladder ends what does not heed that.
#[test]
fn a_deleted_session_of_2026_9_6_ends_by_the_ladder() {
    let test = "a_deleted_session_of_2026_9_6_ends_by_the_ladder";
    let Some(mut host) = five_servers_in_use(test, Version::V2026_9_6) else { return };
    let gateway = host.gateway();
    let servers = host.look().servers;
    let deaf = servers.iter().find(|process| process.cmdline.contains(Mode::EofDeaf.name()));
    let deaf = watch(deaf.unwrap_or_else(|| panic!("{servers:#?}")).pid);
    host.call("sessions.delete", &json!({ "key": "agent:main:explicit:kept" }));
    let left = host.station.oracle.wait_until(Duration::from_secs(15), |seen| {
        !seen.iter().any(|process| process.name.starts_with("wrasse-"))
    });
    assert!(left.is_ok(), "{left:#?}\n{}", host.log());
    assert_eq!(host.gateway(), gateway);
    let ended = deaf.join().unwrap().expect("the deaf server ended");
    let noted = std::fs::metadata(host.station.path(STDIN_ENDED)).unwrap().modified().unwrap();
    let lived = noted.elapsed().unwrap().saturating_sub(ended.elapsed());
    table::note(test, &format!("the deaf server lived {} ms without stdin", lived.as_millis()));
    // Times of files are a few milliseconds late.
    assert!(lived + Duration::from_millis(100) >= EOF_RUNG, "killed after {lived:?}");
    let look = host.look();
    table::row(test, "deleted", &look);
    assert!(look.servers.is_empty(), "{look:#?}");
    // A shim takes its row out of the ledger when its tree has ended in order; one that was killed leaves it.
    let rows = std::fs::read_dir(host.station.path("home/.wrasse/wrap/shims")).unwrap();
    let rows: Vec<_> = rows.flatten().map(|row| std::fs::read_to_string(row.path())).collect();
    table::note(test, &format!("{} shims were killed before they were done", rows.len()));
    assert!(rows.is_empty(), "{rows:#?}");
    host.stop();
}
