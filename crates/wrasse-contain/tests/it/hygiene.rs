//! What a process that starts and ends many trees is left with: nothing. Run in processes of their own, so
//! that other tests do not blur the count.

use std::process::Stdio;

use crate::support::{again, containment};

fn passes(scenario: &str) {
    let mut child = again(scenario, |command| {
        command.stdin(Stdio::null());
    });
    assert!(child.wait().unwrap().success(), "scenario {scenario}");
}

// failure modes G2 (no zombies) and G4 (descriptors return to where they were)
#[tokio::test]
async fn thirty_cycles_leave_no_descriptor_and_no_zombie() {
    let _shared = containment();
    passes("thirty-cycles");
}

#[tokio::test]
async fn nothing_is_inheritable() {
    let _shared = containment();
    passes("nothing-inheritable");
}

#[tokio::test]
async fn kill_all_ends_everything_and_refuses_more() {
    let _shared = containment();
    passes("kill-all");
}

// guarantee G4: the gateway is killed, its trees are empty without a restart
#[tokio::test]
async fn trees_end_with_the_gateway() {
    let _shared = containment();
    passes("gateway-killed");
}

// guarantee G5: siblings that were there first are neither signalled nor waited for, nor is what they leave
#[tokio::test]
async fn children_from_before_are_left_alone() {
    let _shared = containment();
    passes("older-siblings");
}
