//! What is measured.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{Host, How, Place, below, pss, settle};
use crate::table::Pace;
use crate::table::{Table, Verdict, median, ratio, shown, spread};

const SHIM_MAX_KIB: u64 = 2 * 1024;
const SHIMS: usize = 30;
const SESSIONS: usize = 10;
const IDLE: &str = "1s";

fn mib(kib: u64) -> String {
    let tenths = kib * 10 / 1024;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The server that calls are timed with.
fn own() -> Vec<String> {
    vec![std::env::current_exe().unwrap().display().to_string(), "server".to_owned()]
}

fn echo(host: &mut Host) -> Duration {
    host.call("echo", &json!({ "text": "x" }))
}

/// A place whose catalogue knows the server.
fn warm(server: &[String]) -> Place {
    let place = Place::new();
    let mut host = place.start(How::Private, "off", server);
    host.open();
    host.ask("ping", json!({}));
    host.end();
    place
}

/// Shims that have answered a host and started nothing, then one whose server came and went.
pub(crate) fn shims(table: &mut Table) {
    let place = warm(&own());
    let row = |table: &mut Table, what: &str, each: u64, beside: String| {
        let verdict = Verdict::of(each, SHIM_MAX_KIB);
        table.row(what, format!("{each} KiB"), beside, "2048 KiB", verdict);
    };
    let start = || {
        let mut host = place.start(How::Private, IDLE, &own());
        host.open();
        host
    };
    let one = start();
    row(table, "PSS of one shim, no server started", pss(one.pid()), "-".to_owned());
    let mut all = vec![one];
    all.extend((1..SHIMS).map(|_| start()));
    let each: Vec<u64> = all.iter().map(|host| pss(host.pid())).collect();
    let (sum, max) = (each.iter().sum::<u64>(), each.iter().max().copied().unwrap_or(0));
    let beside = format!("{} together", mib(sum));
    row(table, "PSS of a shim, the largest of 30", max, beside);
    for host in all.drain(1..) {
        host.end();
    }
    let mut one = all.pop().unwrap();
    echo(&mut one);
    let serving = pss(one.pid());
    settle(1);
    let after = pss(one.pid());
    row(
        table,
        "PSS of one shim whose server came and went",
        after,
        format!("while it ran: {serving} KiB"),
    );
    one.end();
}

fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    samples[(samples.len() - 1) * percent / 100]
}

/// A call on a server that runs.
pub(crate) fn calls(pace: Pace, table: &mut Table) {
    let place = warm(&own());
    let mut hosts = [How::Direct, How::Private, How::Shared].map(|how| {
        let mut host = place.start(how, "off", &own());
        host.open();
        for _ in 0..50 {
            echo(&mut host);
        }
        (host, Vec::new())
    });
    // In turns, so that all see the same machine.
    for _ in 0..pace.samples(10, 100) {
        for (host, samples) in &mut hosts {
            samples.extend((0..20).map(|_| echo(host)));
        }
    }
    let [mut raw, mut private, mut shared] = hosts;
    for percent in [50, 95] {
        let raw = percentile(&mut raw.1, percent);
        for (what, samples) in [("shim", &mut private.1), ("shim and broker", &mut shared.1)] {
            let through = percentile(samples, percent);
            table.row(
                format!("added to a call by {what}, p{percent}"),
                format!("{} ({} in all)", shown(through.saturating_sub(raw)), shown(through)),
                format!("raw pipes: {}; {}", shown(raw), ratio(through, raw)),
                "-",
                Verdict::NoBudget,
            );
        }
    }
    for (host, _) in [raw, private, shared] {
        host.end();
    }
    settle(0);
}

/// From the start of a host's server to the answer of its first call.
pub(crate) fn first_calls(pace: Pace, table: &mut Table) {
    let time = |place: &Place, how: How, server: &[String], tool: &str, arguments: &Value| {
        let began = Instant::now();
        let mut host = place.start(how, "off", server);
        host.open();
        let opened = began.elapsed();
        host.call(tool, arguments);
        let called = began.elapsed();
        host.end();
        (opened, called)
    };
    let folder = Place::new();
    let mut servers = vec![("a small server", own(), "echo", json!({ "text": "x" }))];
    if let Some([filesystem, ..]) = real(folder.path()) {
        let (name, argv, tool, arguments) = filesystem;
        servers.push((name, argv, tool, arguments));
    }
    for (name, server, tool, arguments) in servers {
        let (mut direct, mut cold, mut warm_calls, mut opens, mut direct_opens) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let known = warm(&server);
        for _ in 0..pace.samples(2, 10) {
            let (opened, called) = time(&known, How::Direct, &server, tool, &arguments);
            direct.push(called);
            direct_opens.push(opened);
            cold.push(time(&Place::new(), How::Private, &server, tool, &arguments).1);
            let (opened, called) = time(&known, How::Private, &server, tool, &arguments);
            warm_calls.push(called);
            opens.push(opened);
        }
        let beside = |samples: &[Duration], direct: &[Duration]| {
            let (own, other) = (median(samples), median(direct));
            format!("direct: {}; {}", shown(other), ratio(own, other))
        };
        let mut row = |what: &str, samples: &[Duration], direct: &[Duration]| {
            let what = format!("{name}: {what}");
            table.row(what, spread(samples), beside(samples, direct), "-", Verdict::NoBudget);
        };
        row("from exec to the tools, warm", &opens, &direct_opens);
        row("from exec to the first result, warm", &warm_calls, &direct);
        row("from exec to the first result, cold", &cold, &direct);
    }
    settle(0);
}

type Server = (&'static str, Vec<String>, &'static str, Value);

/// The three servers of the report, if they are installed.
fn real(folder: &Path) -> Option<[Server; 3]> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/node_modules");
    let modules = modules.canonicalize().ok()?;
    let script = |path: &str, more: &[&Path]| -> Vec<String> {
        let script = modules.join(path);
        ["node".as_ref(), script.as_path()]
            .into_iter()
            .chain(more.iter().copied())
            .map(|word| word.display().to_string())
            .collect()
    };
    let database = folder.join("bench.db");
    std::fs::write(&database, "").ok()?;
    let found = wrasse_testkit::station::has("node");
    found.then(|| {
        [
            (
                "filesystem",
                script("@modelcontextprotocol/server-filesystem/dist/index.js", &[folder]),
                "list_allowed_directories",
                json!({}),
            ),
            ("context7", script(".bin/context7-mcp", &[]), "resolve-library-id", json!({})),
            (
                "sqlite",
                script(".bin/mcp-server-sqlite-npx", &[&database]),
                "list_tables",
                json!({}),
            ),
        ]
    })
}

/// Ten sessions, each with the three servers of the report, each called once.
pub(crate) fn sessions(table: &mut Table) {
    let place = Place::new();
    let Some(servers) = real(place.path()) else {
        table.note("no rows of 10 sessions with 3 real servers: cargo xtask test installs them");
        return;
    };
    // Every catalogue entry is there before anything is measured.
    for (_, argv, _, _) in &servers {
        let mut host = place.start(How::Private, "off", argv);
        host.open();
        host.end();
    }
    let mut direct = 0;
    let passes = [
        ("without wrap, each called once", How::Direct, "off"),
        ("wrapped, in use", How::Private, "off"),
        ("wrapped, called once and idle", How::Private, IDLE),
        ("shared, in use", How::Shared, "off"),
        ("shared, called once and idle", How::Shared, IDLE),
    ];
    for (what, how, idle) in passes {
        let mut hosts: Vec<Host> = Vec::new();
        for _ in 0..SESSIONS {
            for (_, argv, tool, arguments) in &servers {
                let mut host = place.start(how, idle, argv);
                host.open();
                // A tool that wants more than these arguments answers with a fault; it was called all the same.
                drop(host.try_call(tool, arguments));
                hosts.push(host);
            }
        }
        if idle == IDLE {
            settle(hosts.len());
        }
        let (count, memory) = below();
        let beside = match how {
            How::Direct => {
                direct = memory;
                "-".to_owned()
            }
            How::Private | How::Shared => format!("without wrap: {}", mib(direct)),
        };
        table.row(
            format!("10 sessions × 3 servers, {what}"),
            format!("{} ({count} processes)", mib(memory)),
            beside,
            "-",
            Verdict::NoBudget,
        );
        for host in hosts {
            host.end();
        }
        settle(0);
    }
}
