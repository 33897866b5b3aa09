//! The gateway process: becoming a warden, composing the parts, serving, and the ordered end.

mod compose;
mod line;
mod local;
mod port;
mod serve;
mod signals;

pub(crate) use local::local;
pub(crate) use serve::run;
pub(crate) use signals::interrupted;

use std::ffi::OsString;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use wrasse_config::GuardSource;
use wrasse_contain::{Guard, Layers, warden};

use crate::args::Common;
use crate::exit::{Exit, ExpectedError};
use crate::place;

/// Becomes the warden in place, which starts this same command line again below itself. Returns only a failure.
///
/// The configuration is loaded first, so that its faults are said by the process that was launched.
fn become_warden(common: &Common) -> ExpectedError {
    let loaded = match place::load(common) {
        Ok(loaded) => loaded,
        Err(error) => return error,
    };
    let state_dir = loaded.config.state_dir.clone();
    // Made here already, private to its owner: the warden may need a place for the guard program.
    if let Err(error) = wrasse_store::StateDir::open(&state_dir) {
        return ExpectedError::new(Exit::Failed, error.to_string());
    }
    let args: Vec<OsString> = std::env::args_os().collect();
    let guard = guard(loaded.config.containment.guard);
    let layers = layers(loaded.config.containment.layers);
    let env = allocator().into_iter().collect();
    let error = warden::exec(&warden::WardenExec { guard, layers, state_dir, args, env });
    ExpectedError::new(Exit::Internal, format!("cannot start the warden: {error}"))
}

/// What makes glibc give large buffers back. By itself it keeps them once the first was freed (its threshold grows with
/// what is freed): after a few hundred results of megabytes a gateway at rest held three times what it needs. A value of
/// the user's own stands.
fn allocator() -> Option<(OsString, OsString)> {
    const VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";
    const BYTES: &str = "131072";
    std::env::var_os(VARIABLE).is_none().then(|| (VARIABLE.into(), BYTES.into()))
}

/// The containment crate's word for the configuration's.
pub(crate) fn layers(chosen: wrasse_config::Layers) -> Layers {
    match chosen {
        wrasse_config::Layers::Probe => Layers::Probe,
        wrasse_config::Layers::Floor => Layers::Floor,
        wrasse_config::Layers::Cgroup2 => Layers::Cgroup2,
    }
}

/// The containment crate's word for the configuration's.
pub(crate) fn guard(source: GuardSource) -> Guard {
    match source {
        GuardSource::Auto => Guard::Auto,
        GuardSource::File => Guard::File,
        GuardSource::Memfd => Guard::Memfd,
        GuardSource::Itself => Guard::Itself,
    }
}

/// The multi-threaded runtime everything of the gateway runs on. Two workers serve hundreds of runs: they wait.
///
/// Threads for blocking work (small files) are made now and kept, so that the number of threads never changes: an
/// operator who watches it sees a leak, or nothing.
fn runtime() -> Result<tokio::runtime::Runtime, ExpectedError> {
    const BLOCKING_THREADS: usize = 2;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(u64::from(u32::MAX)))
        .thread_name("wrasse")
        .enable_all()
        .build()
        .map_err(|error| ExpectedError::new(Exit::Internal, format!("no runtime: {error}")))?;
    let all_made = Arc::new(Barrier::new(BLOCKING_THREADS));
    for _ in 0..BLOCKING_THREADS {
        let all_made = Arc::clone(&all_made);
        runtime.spawn_blocking(move || all_made.wait());
    }
    Ok(runtime)
}
