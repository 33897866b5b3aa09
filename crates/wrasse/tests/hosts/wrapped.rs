//! Three edited lines: with its servers wrapped, a host that never stops them keeps shims and no server.

use std::time::Duration;

use wrasse_testkit::processes::Process;

use crate::openclaw::{OpenClaw, Version, report_calls};
use crate::table;

/// Sessions that are kept, and cron jobs.
const MANY: usize = 10;

/// From the last turn to the last server's end, at most.
const SETTLED: Duration = Duration::from_secs(60);

/// Rewrites the host's entries to go through `wrasse wrap`.
pub(crate) fn wrap(host: &OpenClaw) {
    host.station.ok(&["import", "openclaw", "--wrap", "--yes"]);
    let text = std::fs::read_to_string(host.config()).unwrap();
    assert!(text.contains("\"wrap\""), "{text}");
}

fn is_server_or_guardian(process: &Process) -> bool {
    let line = process.cmdline.as_str();
    let hosts = line.starts_with("openclaw") || line.contains("/openclaw/");
    !hosts && process.name != "wrasse-shim" && process.state != 'Z'
}

/// Waits until only the host and shims are there.
fn assert_only_shims(host: &mut OpenClaw) {
    let left =
        host.station.oracle.wait_until(SETTLED, |seen| !seen.iter().any(is_server_or_guardian));
    if let Err(left) = left {
        let left: Vec<_> = left.into_iter().filter(is_server_or_guardian).collect();
        panic!("servers after {SETTLED:?}: {left:#?}\n{}", host.log());
    }
}

/// The tools gave what they give without us.
fn assert_turn(host: &OpenClaw, asked: &str) {
    let turns = host.model.turns(asked);
    let [turn] = turns.as_slice() else { panic!("{asked}: {turns:#?}\n{}", host.log()) };
    let work = host.station.path("work").display().to_string();
    assert!(turn.result("filesystem__list_allowed_directories").contains(&work), "{turn:#?}");
    assert!(turn.result("sqlite__list_tables").contains("[]"), "{turn:#?}");
    assert_eq!(turn.results.len(), 3, "{turn:#?}");
}

fn ten_jobs_and_ten_sessions(test: &str, version: Version) {
    let Some(mut host) = OpenClaw::new(test, version, report_calls()) else { return };
    host.configure(&host.report_servers());
    wrap(&host);
    host.start();
    host.run_ten_jobs();
    for number in 1..=MANY {
        host.agent(&format!("kept-{number}"), &format!("hello {number}."));
    }
    let look = host.look();
    table::row(test, "after the last turn", &look);
    for number in 1..=MANY {
        assert_turn(&host, &format!("look around {number}\n"));
        assert_turn(&host, &format!("hello {number}."));
    }
    assert_only_shims(&mut host);
    let look = host.look();
    table::row(test, "60 s later at most", &look);
    let kept = match version {
        Version::V2026_4_15 => 2 * MANY,
        Version::V2026_9_6 => MANY,
    };
    assert_eq!(look.shims.len(), 3 * kept, "{look:#?}");
    assert!(look.servers.is_empty() && look.guardians.is_empty(), "{look:#?}");
    for number in 1..=MANY {
        host.agent(&format!("kept-{number}"), &format!("again {number}."));
    }
    for number in 1..=MANY {
        assert_turn(&host, &format!("again {number}."));
    }
    assert_only_shims(&mut host);
    let look = host.look();
    table::row(test, "after a second turn of each", &look);
    assert_eq!(look.shims.len(), 3 * kept, "{look:#?}");
    host.stop();
}

#[test]
fn wrapped_2026_4_15_keeps_shims_only() {
    ten_jobs_and_ten_sessions("wrapped_2026_4_15_keeps_shims_only", Version::V2026_4_15);
}

#[test]
fn wrapped_2026_9_6_keeps_shims_only() {
    ten_jobs_and_ten_sessions("wrapped_2026_9_6_keeps_shims_only", Version::V2026_9_6);
}
