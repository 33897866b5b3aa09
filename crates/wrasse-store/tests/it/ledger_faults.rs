//! What the ledger does when the database does not.

use std::pin::pin;
use std::task::Poll;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use wrasse_store::FlushOutcome;
use wrasse_types::{GoneReason, InstanceId};

use crate::ledger::end;
use crate::support::{Fixture, new_instance, until};

/// Another process's write lock, so that every write of ours waits.
async fn lock_database(fixture: &Fixture) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(fixture.dir.database());
    let mut other = options.connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    other
}

#[tokio::test]
async fn a_database_that_hangs_holds_nobody_up_and_the_queue_stays_bounded() {
    let fixture = &Fixture::new().await;
    let ledger = fixture.store.ledger();
    let id = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    let mut other = lock_database(fixture).await;
    for n in 0..10_000 {
        ledger.event(id, &format!("event {n}"));
    }
    ledger.ended(id, end(GoneReason::Released));
    assert!(ledger.lost_rows() >= 10_000 - 4096 - 256, "{}", ledger.lost_rows());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();

    until("the queue is written", async || ledger.flush().await == FlushOutcome::Written).await;
    let row = ledger.instance(id).await.unwrap().unwrap();
    assert_eq!(row.end, Some(end(GoneReason::Released)), "events are dropped before ends");
    assert_eq!(row.events.last().unwrap().text, "event 9999");
    let kept = u64::try_from(row.events.len()).unwrap();
    assert_eq!(kept + ledger.lost_rows(), 10_000, "what is lost is counted");
}

#[tokio::test]
async fn a_start_given_up_before_its_number_came_leaves_no_open_row() {
    let Fixture { store, .. } = &Fixture::new().await;
    let ledger = store.ledger();
    {
        let mut start = pin!(ledger.begin_instance(new_instance("sqlite")));
        let once = std::future::poll_fn(|context| Poll::Ready(start.as_mut().poll(context))).await;
        assert!(once.is_pending(), "{once:?}");
    }
    until("the row is there and ended", async || {
        let rows = ledger.recent_instances(1).await.unwrap();
        let end = rows.first().and_then(|row| row.end.as_ref());
        end.is_some_and(|end| end.reason == GoneReason::StartFailed)
    })
    .await;
    assert!(ledger.open_instances().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_row_that_is_refused_does_not_stop_the_rest() {
    let Fixture { store, .. } = &Fixture::new().await;
    let ledger = store.ledger();
    let id = ledger.begin_instance(new_instance("sqlite")).await.unwrap();
    ledger.event(id, "before");
    ledger.event(InstanceId::new(777), "of nothing");
    ledger.event(id, "after");
    let row = ledger.instance(id).await.unwrap().unwrap();
    let texts: Vec<_> = row.events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(texts, ["before", "after"]);
    assert_eq!(ledger.lost_rows(), 1);
}
