//! What is measured.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use wrasse_testkit::processes;

use crate::call;
use crate::place::{Place, Running, WRASSE};
use crate::table::Pace;
use crate::table::{Table, Verdict, median, ratio, shown, spread};

const MIB: u64 = 1 << 20;
const BINARY_MAX: u64 = 15 * MIB;
const READY_MAX: Duration = Duration::from_millis(100);
const RESIDENT_MAX_KIB: u64 = 16 * 1024;
const SESSION_MAX: u64 = 20 * 1024;
const CALL_ADDED_MAX: Duration = Duration::from_micros(100);
/// How long a gateway is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(3);

fn mib(bytes: u64) -> String {
    let tenths = bytes * 10 / MIB;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The size of the program.
pub(crate) fn binary(table: &mut Table) {
    let size = std::fs::metadata(WRASSE).unwrap().len();
    let own = std::fs::metadata(std::env::current_exe().unwrap()).unwrap().len();
    table.row(
        "size of the program",
        mib(size),
        format!("this bench: {}", mib(own)),
        mib(BINARY_MAX),
        Verdict::of(size, BINARY_MAX),
    );
}

/// From the spawn to ready, in an empty state dir and in one that has a past.
pub(crate) fn ready(pace: Pace, table: &mut Table) {
    let (mut first, mut later, mut stops, mut plain) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let place = Place::new();
    place.start().stop();
    for _ in 0..pace.samples(3, 10) {
        let fresh = Place::new().start_and_stop();
        first.push(fresh.0);
        let again = place.start_and_stop();
        later.push(again.0);
        stops.extend([fresh.1, again.1]);
        plain.push(version());
    }
    let beside = |samples: &[Duration]| {
        format!(
            "wrasse --version: {}; {}",
            shown(median(&plain)),
            ratio(median(samples), median(&plain))
        )
    };
    for (what, samples) in [("an empty state dir", &first), ("a used state dir", &later)] {
        table.row(
            format!("from exec to ready, {what}"),
            spread(samples),
            beside(samples),
            "100 ms",
            Verdict::of(median(samples), READY_MAX),
        );
    }
    table.row("from SIGTERM to gone, idle", spread(&stops), beside(&stops), "-", Verdict::NoBudget);
}

impl Place {
    fn start_and_stop(&self) -> (Duration, Duration) {
        let running = self.start();
        (running.ready_after, running.stop())
    }
}

/// How long the same program takes to say its version: what starting it costs on this machine, now.
fn version() -> Duration {
    let began = Instant::now();
    let status = Command::new(WRASSE).arg("--version").stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
    began.elapsed()
}

/// A field of `/proc/<pid>/<file>` in KiB.
fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// Gateway and warden, ready and left alone.
pub(crate) fn memory(pace: Pace, table: &mut Table) {
    let place = Place::new();
    let running = place.start();
    std::thread::sleep(pace.settle());
    let (gateway, warden) = (running.gateway(), running.warden());
    let both = |file: &str, name: &str| field(gateway, file, name) + field(warden, file, name);
    let resident = both("status", "VmRSS:");
    let processes = 1 + running.below().len();
    table.row(
        "RSS of gateway and warden, idle",
        format!("{} ({processes} processes)", mib(resident * 1024)),
        format!(
            "PSS {}, anonymous {}, warden {} KiB",
            mib(both("smaps_rollup", "Pss:") * 1024),
            mib(both("status", "RssAnon:") * 1024),
            field(warden, "status", "VmRSS:"),
        ),
        mib(RESIDENT_MAX_KIB * 1024),
        Verdict::of(resident, RESIDENT_MAX_KIB),
    );
    running.stop();
}

impl Pace {
    fn settle(self) -> Duration {
        match self {
            Self::Quick => Duration::from_secs(1),
            Self::Full => SETTLE,
        }
    }
}

/// What a session costs that had one turn and is idle.
pub(crate) fn sessions(pace: Pace, table: &mut Table) {
    let count = pace.samples(100, 1000);
    let place = Place::new();
    place.start().stop();
    let empty = place.state_bytes();
    let running = place.start();
    let gateway = running.gateway();
    let anonymous = || {
        std::thread::sleep(pace.settle());
        processes::read(gateway).unwrap().memory
    };
    // Stacks, caches and the like are filled by the first ones.
    let mut turns = Vec::new();
    open(&running, 0..count / 10, &mut Vec::new());
    let before = anonymous();
    open(&running, count / 10..count / 10 + count / 2, &mut turns);
    let half = anonymous();
    open(&running, count / 10 + count / 2..count / 10 + count, &mut turns);
    let after = anonymous();
    let below = running.below().len();
    running.stop();
    // While it runs, most of what is on disk is the write-ahead log, which is used again.
    let disk = place.state_bytes();
    let each = |from: u64, to: u64, number: usize| to.saturating_sub(from) / number as u64;
    let growth = each(before, after, count);
    table.row(
        format!("memory of an idle session, {count} of them"),
        format!("{growth} B each"),
        format!(
            "first half {} B, second {} B; on disk {} B each",
            each(before, half, count / 2),
            each(half, after, count / 2),
            each(empty, disk, count + count / 10)
        ),
        "20 KiB",
        Verdict::of(growth, SESSION_MAX),
    );
    table.row(
        format!("processes below the warden with {count} sessions idle"),
        below.to_string(),
        "the gateway itself: 1",
        "1",
        Verdict::of(below, 1),
    );
    table.row(
        "a turn in a new session, no tool called, until released",
        spread(&turns),
        "-",
        "-",
        Verdict::NoBudget,
    );
}

/// One turn in each of some new sessions.
fn open(running: &Running, numbers: std::ops::Range<usize>, turns: &mut Vec<Duration>) {
    for number in numbers {
        let began = Instant::now();
        let key = format!("agent:main:idle-{number}");
        let accepted = running.call("agent", &json!({ "message": "Hello.", "sessionKey": key }));
        let wait = json!({ "runId": accepted["runId"], "timeoutMs": 30_000, "until": "released" });
        let ended = running.call("agent.wait", &wait);
        assert_eq!(ended["status"], "ok", "{ended}");
        turns.push(began.elapsed());
    }
}

/// What a call on a warm instance costs beside the same call over raw pipes.
pub(crate) fn call(pace: Pace, table: &mut Table) {
    let folder = tempfile::Builder::new()
        .prefix("wrasse-call-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    let (leased, raw) = call::ask(pace.samples(5, 40), folder.path());
    let added = leased.saturating_sub(raw);
    table.row(
        "added to a call on a warm instance, p50",
        format!("{} ({} in all)", shown(added), shown(leased)),
        format!("raw pipes: {}; {}", shown(raw), ratio(leased, raw)),
        "100 µs added",
        Verdict::of(added, CALL_ADDED_MAX),
    );
}
