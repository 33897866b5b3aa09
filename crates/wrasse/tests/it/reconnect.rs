//! A server that is replaced again and again: the old one is gone before the new one is there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::processes::{self, Process};

use crate::hygiene::{configure, look};
use crate::modes::leaders;

const SIGKILL: i32 = 9;
const RECONNECTS: usize = 20;

/// The living roots of trees: whatever a guardian started itself.
fn roots(gateway: u32) -> Vec<Process> {
    let seen = processes::descendants(gateway);
    let guards: Vec<u32> = seen
        .iter()
        .filter(|process| process.name.starts_with("wrasse-guardian"))
        .map(|process| process.pid)
        .collect();
    let is_root = |process: &Process| process.state != 'Z' && guards.contains(&process.ppid);
    // A guardian is its child's parent before that has executed anything, and adopts orphans.
    let server = |process: &Process| process.cmdline.contains("f-npx");
    seen.into_iter().filter(|process| is_root(process) && server(process)).collect()
}

/// Also when a test fails, or whoever looks would look for ever.
struct SetAtTheEnd<'a>(&'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Twenty times the server is killed or told to restart, and called: no look ever finds two, and no more processes
/// are there at the end than at the beginning.
// failure mode D1
#[test]
fn twenty_reconnects_never_have_two_roots() {
    let mut station = wrasse_testkit::station::Station::new();
    let mut server = station.fixture(Mode::Npx);
    server["lifecycle"]["idle"] = json!("10m");
    configure(&station, server, json!({}));
    station.start();
    let gateway = station.gateway();
    look(&station);
    let before = processes::descendants(gateway).len();
    let (done, most, looks) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(roots(gateway).len(), Ordering::Relaxed);
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _done = SetAtTheEnd(&done);
        for reconnect in 0..RECONNECTS {
            let root = leaders(&station);
            assert_eq!(root.len(), 1, "{root:?}");
            if reconnect % 2 == 0 {
                assert_eq!(station.oracle.signal(&root, SIGKILL), 1);
                station.eventually("its death is known", || leaders(&station) != root);
            } else {
                station.ok(&["mcp", "restart", "fix"]);
            }
            look(&station);
        }
    });
    assert_eq!(most.load(Ordering::Relaxed), 1);
    assert!(looks.load(Ordering::Relaxed) > RECONNECTS, "nobody looked");
    assert_eq!(processes::descendants(gateway).len(), before);
    station.assert_flat();
}
