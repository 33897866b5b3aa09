//! SIGKILL of whoever writes.

use std::collections::BTreeSet;

use wrasse_store::{Durability, GuardianIdentity, InstanceRow, Role, StateDir, Store};
use wrasse_types::{GoneReason, UnixMillis};

use crate::child::{Other, say};
use crate::support::{gateway, new_instance, state_dir};

fn guardian(pid: u32) -> GuardianIdentity {
    GuardianIdentity { pid, start_ticks: u64::from(pid) * 10, boot_id: "boot".to_owned() }
}

/// In the other process: says the number of each instance once the ledger has answered for it.
pub(crate) async fn write_until_killed(dir: &StateDir) {
    let _lock = dir.lock("gateway run").unwrap();
    let store = gateway(dir).await;
    let ledger = store.ledger();
    for pid in 1000.. {
        let id = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
        ledger.spawning(id, guardian(pid)).await.unwrap();
        ledger.event(id, "behind");
        say(&id.number().to_string());
    }
}

/// failure mode F7: the record of who owns a process must survive the death of the one that wrote it.
#[tokio::test]
async fn what_was_answered_for_survives_sigkill() {
    let (_home, dir) = state_dir();
    let mut answered: Vec<u64> = Vec::new();
    for round in 1..=3 {
        let mut other = Other::start("write-until-killed", dir.path());
        for _ in 0..40 * round {
            answered.push(other.next().unwrap().parse().unwrap());
        }
        other.kill();
        // What it said before the kill reached it, it had committed too.
        while let Some(said) = other.next() {
            answered.push(said.parse().unwrap());
        }

        let reader = Store::open(&dir, Durability::Process, Role::Reader).await.unwrap();
        let seen = reader.ledger().open_instances().await.unwrap();
        assert_eq!(missing(&answered, &seen), [0; 0]);
        reader.close().await;
    }

    let _lock = dir.lock("gateway run").unwrap();
    let store = gateway(&dir).await;
    let ledger = store.ledger();
    let open = ledger.open_instances().await.unwrap();
    assert_eq!(missing(&answered, &open), [0; 0]);
    let numbers: Vec<u64> = open.iter().map(|row| row.id.number()).collect();
    let all = 1..=*numbers.last().unwrap();
    assert_eq!(numbers, all.collect::<Vec<_>>(), "no number came twice or was left out");

    let lost = ledger.close_lost(UnixMillis::now()).await.unwrap();
    assert_eq!(lost.instances, u64::try_from(open.len()).unwrap());
    assert_eq!(ledger.open_instances().await.unwrap(), []);
    let end = ledger.recent_instances(1).await.unwrap()[0].end.clone().unwrap();
    assert_eq!(end.reason, GoneReason::Swept);
    store.close().await;
}

/// The numbers that were answered for and are not in the ledger with their guardian.
fn missing(answered: &[u64], rows: &[InstanceRow]) -> Vec<u64> {
    let kept: BTreeSet<u64> =
        rows.iter().filter(|row| row.guardian.is_some()).map(|row| row.id.number()).collect();
    answered.iter().copied().filter(|number| !kept.contains(number)).collect()
}
