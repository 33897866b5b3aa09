//! What is left when the gateway and its guardians die in one instant.

use std::cell::Cell;
use std::process::{Command, Stdio};

use wrasse_contain::sweep::{self, Effort, LeaseProof};

use crate::support::{Tag, again, containment};

const INSTALLATION: u16 = 0x5cea;

// guarantee G4, last line; guarantee G5; failure modes D11, J5, J6
#[tokio::test]
async fn leftovers_are_swept_and_bystanders_are_not() {
    let _shared = containment();
    let mut driver = again("sweep-driver", |command| {
        command.stdin(Stdio::null());
    });
    assert!(driver.wait().unwrap().success());
}

/// guarantee G4; failure mode D11: of two instances one forks and exits for ever, and is between two lives at the first
/// look, which finds the other.
#[tokio::test]
async fn a_search_goes_on_after_its_first_find() {
    let _shared = containment();
    let mut driver = again("search-driver", |command| {
        command.stdin(Stdio::null());
    });
    assert!(driver.wait().unwrap().success());
}

/// Searches below a process that stands in for init. The first proof that is asked for is the sign that the first look
/// has begun: only then the second instance's process is born.
pub(crate) async fn searcher() {
    let (tag, is_born) = (Tag::new(), Cell::new(false));
    leave(&tag, 1);
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let proof = |_| {
        if !is_born.replace(true) {
            leave(&tag, 2);
        }
        Some(LeaseProof { guardian_start_ticks: 0, boot_id: boot_id.trim().to_owned() })
    };
    let found = sweep::find_of_dead_owners(INSTALLATION, Effort::Search, proof).unwrap();
    let mut instances: Vec<u64> = found.iter().map(|leftover| leftover.instance).collect();
    instances.sort_unstable();
    let report = sweep::end(found).await;
    assert_eq!(instances, [1, 2], "{report:?}");
    assert_eq!((report.ended, report.survivors), (2, 0), "{report:?}");
    assert_eq!(tag.count(), 0);
}

/// Leaves a process behind that carries the mark of an instance and is no longer ours.
#[expect(clippy::disallowed_methods, reason = "a leftover is deliberately not contained")]
fn leave(tag: &Tag, instance: u64) {
    let sleep = format!("sleep 300.{} >/dev/null 2>&1 &", tag.0);
    let mut shell = Command::new("sh");
    shell.args(["-c", &sleep]).env("WRASSE_MARK", format!("{INSTALLATION:04x}:{instance}"));
    assert!(shell.status().unwrap().success());
}
