//! The summary: what ran at each point of each test, and what it cost.

use wrasse_testkit::processes::Process;

use crate::openclaw::{Look, pss};

/// Prints what a look found: counts, and proportional memory in MiB.
pub(crate) fn row(test: &str, when: &str, look: &Look) {
    let cell = |name: &str, processes: &[Process]| {
        let memory = pss(&processes.iter().collect::<Vec<_>>());
        format!("{name} {} ({memory} MiB)", processes.len())
    };
    eprintln!(
        "HOSTS {test} | {when} | {} | {} | {} | {} | {}",
        cell("host", &look.own),
        cell("relays", &look.relays),
        cell("servers", &look.servers),
        cell("shims", &look.shims),
        cell("guardians", &look.guardians),
    );
}

/// Prints one more fact.
pub(crate) fn note(test: &str, text: &str) {
    eprintln!("HOSTS {test} | {text}");
}
