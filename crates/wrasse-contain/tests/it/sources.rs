//! Where the guard program is executed from: each source forced.

use wrasse_contain::{Guard, Ladder};

use crate::support::{
    INSTALLATION, PATIENCE, Tag, containment, launch, notes_of_the_kernel, shell, start, state_dir,
};

#[tokio::test]
async fn every_source_contains() {
    for (guard, word) in [
        (Guard::File, "file"),
        (Guard::Memfd, "memfd"),
        (Guard::Itself, "self"),
        (Guard::Auto, "file"),
    ] {
        // The shared one first: it notes the children that were there before any guardian.
        let _shared = containment();
        let containment = start(guard, INSTALLATION);
        let report = containment.report();
        assert_eq!(report.guard, word);
        assert!(report.rlimit_mark && report.subreaper, "{report:?}");
        assert_eq!(report.layers, ["floor"]);
        assert_eq!(report.notes, notes_of_the_kernel(&report), "{report:?}");

        let tag = Tag::new();
        let tree = launch(&containment, shell(&tag, "setsid sleep 300 & exec cat")).await;
        let guardian = tree.guardian();
        let name = std::fs::read(format!("/proc/{}/cmdline", guardian.pid)).unwrap();
        assert!(name.starts_with(b"wrasse-guardian under-test\0guardian\0"), "{name:?}");
        assert_eq!(std::fs::read(format!("/proc/{}/environ", guardian.pid)).unwrap(), b"");
        let outcome = tree.stop(Ladder { eof: PATIENCE, term: PATIENCE }).await;
        assert!(outcome.proven_empty, "{word}: {outcome:?}");
        assert_eq!(tag.count(), 0);
    }
}

#[tokio::test]
async fn a_guard_file_that_was_removed_is_made_again() {
    let own = tempfile::tempdir_in(state_dir().parent().unwrap()).unwrap();
    let _shared = containment();
    let containment = wrasse_contain::Containment::start(wrasse_contain::ContainOptions {
        state_dir: own.path().to_owned(),
        guard: Guard::Auto,
        installation: INSTALLATION,
    })
    .unwrap();
    std::fs::remove_dir_all(own.path().join("bin")).unwrap();
    let tree = launch(&containment, shell(&Tag::new(), "exec cat")).await;
    assert!(tree.kill().await.proven_empty);
    assert_eq!(containment.report().guard, "file");
    assert_eq!(std::fs::read_dir(own.path().join("bin")).unwrap().count(), 1);
}
