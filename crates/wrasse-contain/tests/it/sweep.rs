//! What is left when the gateway and its guardians die in one instant.

use std::cell::Cell;
use std::process::{Command, Stdio};

use wrasse_contain::sweep::{self, Effort, LeaseProof};

use crate::support::{Tag, again, containment, until};

/// This process's own: these tests sweep side by side, and copies of this program may as well. No other test here has a
/// number in this range.
fn installation() -> u16 {
    0x1000 | u16::try_from(std::process::id() % 0x1000).unwrap()
}

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
    let found = sweep::find_of_dead_owners(installation(), Effort::Search, proof).unwrap();
    let mut instances: Vec<u64> = found.iter().map(|leftover| leftover.instance).collect();
    instances.sort_unstable();
    let report = sweep::end(found).await;
    assert_eq!(instances, [1, 2], "{report:?}");
    assert_eq!((report.ended, report.survivors), (2, 0), "{report:?}");
    assert_eq!(tag.count(), 0);
}

/// guarantee G4; failure mode D11: many lineages that fork and exit for ever, and a machine that is busy otherwise.
#[tokio::test]
async fn comets_do_not_slip_through_a_sweep() {
    let _shared = containment();
    let mut driver = again("comet-driver", |command| {
        command.stdin(Stdio::null());
    });
    assert!(driver.wait().unwrap().success());
}

const COMETS: u64 = 4;

/// Sweeps below a process that stands in for init.
pub(crate) async fn comet_sweeper() {
    let folder = tempfile::tempdir_in(crate::support::state_dir().parent().unwrap()).unwrap();
    let comet = folder.path().join("comet");
    // Gone with the folder, if anything goes wrong here.
    std::fs::write(&comet, "[ -e \"$0.stop\" ] || setsid sh \"$0\" $1 &\n").unwrap();
    let tag = Tag::new();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let proof =
        |_| Some(LeaseProof { guardian_start_ticks: 0, boot_id: boot_id.trim().to_owned() });
    for instance in 1..=COMETS {
        leave_running(&format!("sh {} {} &", comet.display(), tag.0), installation(), instance);
    }
    // Enough of them that everybody has to wait for a processor.
    let mut busy: Vec<_> = (0..4).map(|_| spinner()).collect();
    until("the comets fly", || tag.count() > 0).await;
    let find = || sweep::find_of_dead_owners(installation(), Effort::Search, proof);
    let report = sweep::until_clean(find).await;
    // Whoever is left goes on flying, so that a few looks are enough to see it.
    let mut left = 0;
    for _ in 0..50 {
        left += tag.count();
    }
    std::fs::write(folder.path().join("comet.stop"), "").unwrap();
    for spinner in &mut busy {
        spinner.kill().unwrap();
        spinner.wait().unwrap();
    }
    let report = report.unwrap();
    assert_eq!((report.survivors, left), (0, 0), "{report:?}");
    assert!(report.found >= u32::try_from(COMETS).unwrap(), "{report:?}");
    until("all have landed", || tag.count() == 0).await;
}

#[expect(clippy::disallowed_methods, reason = "it uses up processor time, and is no server")]
fn spinner() -> std::process::Child {
    // It ends by itself, if nobody ends it.
    let count = "i=0; while [ $i -lt 10000000 ]; do i=$((i+1)); done";
    Command::new("sh").args(["-c", count]).spawn().unwrap()
}

/// Leaves a process behind that carries the mark of an instance and is no longer ours.
fn leave(tag: &Tag, instance: u64) {
    leave_running(&format!("sleep 300.{} &", tag.0), installation(), instance);
}

#[expect(clippy::disallowed_methods, reason = "a leftover is deliberately not contained")]
fn leave_running(script: &str, installation: u16, instance: u64) {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
    shell.env("WRASSE_MARK", format!("{installation:04x}:{instance}"));
    assert!(shell.status().unwrap().success());
}
