//! Signals that whoever launched the tests had ignored: a shell does that to what it runs in the background, and nohup.

use std::sync::Once;

use tokio::signal::unix::{SignalKind, signal};

/// Lets what this process starts from now on have the default dispositions. An ignored signal stays ignored over exec,
/// and Wrasse keeps it so, as it should; a caught one does not. We catch those that are ignored, and do nothing.
pub fn heed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let ignored = ignored();
        for kind in [
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::terminate(),
            SignalKind::child(),
        ] {
            if ignored & 1 << (kind.as_raw_value() - 1) != 0 {
                // The handler stays when the stream and the runtime are gone.
                drop(signal(kind).unwrap());
            }
        }
    });
}

/// The set of signals that this process ignores.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap()
}
