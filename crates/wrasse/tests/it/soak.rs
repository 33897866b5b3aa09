//! Fifty cycles of the soak: servers are started and ended in every way, and the gateway holds afterwards what it held
//! before. `cargo xtask soak` plays a thousand.

use wrasse_testkit::namespace::{AS_ANYBODY, AS_ROOT, permits};
use wrasse_testkit::soak::{Options, run};

const CYCLES: u64 = 50;

fn soak(launcher: &[&str]) {
    let launcher = launcher.iter().map(|word| (*word).to_owned()).collect();
    let options = Options { cycles: CYCLES, jobs: 2, servers: Vec::new(), launcher };
    let summary = run(&options, &|_| ());
    assert!(summary.flat(), "{summary}");
}

/// failure mode B1, B2, E5: descriptors, threads, zombies and memory are what they were, nothing is open in the ledger.
#[test]
fn fifty_cycles_leave_the_gateway_as_it_was() {
    soak(&[]);
}

/// failure mode G1, G2, G3: the same with Wrasse as PID 1 of a namespace.
#[test]
fn fifty_cycles_as_pid_one_leave_no_zombie() {
    match permits(&AS_ROOT) {
        Ok(()) => soak(&AS_ROOT),
        Err(why) => eprintln!("SKIPPED fifty_cycles_as_pid_one_leave_no_zombie: {why}"),
    }
}

/// failure mode G1, G2, G3, without any privilege outside the namespace.
#[test]
fn fifty_cycles_as_pid_one_of_a_user_namespace_leave_no_zombie() {
    match permits(&AS_ANYBODY) {
        Ok(()) => soak(&AS_ANYBODY),
        Err(why) => {
            eprintln!("SKIPPED fifty_cycles_as_pid_one_of_a_user_namespace_leave_no_zombie: {why}");
        }
    }
}
