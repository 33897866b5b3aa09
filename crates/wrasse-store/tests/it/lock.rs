use wrasse_store::LockError;

use crate::child::{Other, itself};
use crate::support::{state_dir, until};

#[tokio::test]
async fn a_lock_held_by_another_process_is_refused_by_name_and_dies_with_it() {
    let (_home, dir) = state_dir();
    let mut other = Other::start("hold-lock", dir.path());
    assert_eq!(other.next().as_deref(), Some("held"));

    let refused = dir.lock("gateway run").unwrap_err();
    let LockError::Held { holder: Some(holder), .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(holder.pid, other.pid());
    assert_eq!(holder.purpose, "gateway run");
    let text = refused.to_string();
    for part in
        [dir.path().to_str().unwrap(), &other.pid().to_string(), "since 20", "wrasse gateway stop"]
    {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(dir.lock_holder().map(|holder| holder.pid), Some(other.pid()));

    other.kill();
    assert_eq!(dir.lock_holder(), None, "a name in the file is no lock");
    // Polled here and below: whatever another test forks has a copy of every descriptor until its exec, locks included.
    let mut lock = None;
    until("it can be taken", async || {
        lock = dir.lock("agent --local").ok();
        lock.is_some()
    })
    .await;
    let text = dir.lock("gateway run").unwrap_err().to_string();
    assert!(text.contains("agent --local") && text.contains("wait until process"), "{text}");
    drop(lock);
    until("it is free again", async || dir.lock("gateway run").is_ok()).await;
}

#[tokio::test]
async fn no_process_inherits_the_lock() {
    let (_home, dir) = state_dir();
    let (_other_home, elsewhere) = state_dir();
    let lock = dir.lock("gateway run").unwrap();
    let mut child = Other::spawn(itself("hold-lock", elsewhere.path()));
    assert_eq!(child.next().as_deref(), Some("held"));
    drop(lock);
    until("the lock is free though a child lives", async || dir.lock("gateway run").is_ok()).await;
}
