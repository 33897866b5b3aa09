//! A daemon that a server started: no pipe leads to it, so all that tells is who else there is.

use wrasse_testkit::foreign_host::Via;

use super::cast::{Cast, Fate, Kind, Server, class};

/// failure mode A6: what left every group of its server outlives its host.
#[test]
fn the_daemon_of_a_dead_host_is_an_orphan_while_nobody_else_can_have_started_it() {
    let mut cast = Cast::new();
    cast.with_daemon();
    let home = cast.station.path("home");
    let own = cast.enter_at(Kind::Files, &home);
    cast.session(own, Fate::Kept, Via::Sockets, &["daemon"]);
    cast.bystander("daemon");
    cast.record();
    let [daemon, server, bystander] = [0, 1, 2].map(|at: usize| cast.servers[at].root);
    let (report, code) = cast.reap(&["--yes"]);
    assert_eq!(code, 0, "{report:#}");
    let classes = [daemon, server, bystander].map(|root| class(&report, root));
    assert_eq!(classes, [Some("unknown"), Some("in-use"), Some("unknown")], "{report:#}");
    assert!(cast.servers.iter().all(Server::lives), "{report:#}");
    cast.kill_host(own);
    let (report, code) = cast.reap(&["--yes"]);
    assert_eq!((code, &report["ended"]), (0, &serde_json::json!([])), "{report:#}");
    cast.lose(2);
    let (report, code) = cast.reap(&["--yes"]);
    assert_eq!((code, report["ended"].as_array().unwrap().len()), (0, 1), "{report:#}");
    assert!(cast.servers[0].gone(), "{report:#}");
    cast.leave();
}

/// Two hosts with the same servers, of which one died: whose daemon it is nobody can say.
#[test]
fn the_daemon_of_a_living_host_does_not_pass_for_a_dead_ones() {
    for other in [Kind::Files, Kind::Databases, Kind::Claude, Kind::Stranger] {
        let mut cast = Cast::new();
        cast.with_daemon();
        let home = cast.station.path("home");
        let dead = cast.enter_at(Kind::Files, &home);
        let alive = cast.enter(other);
        cast.session(dead, Fate::Kept, Via::Pipes, &["daemon"]);
        cast.session(alive, Fate::Kept, Via::Pipes, &["daemon"]);
        cast.record();
        cast.kill_host(dead);
        let (report, code) = cast.reap(&["--finished", "--yes"]);
        assert_eq!(code, 0, "{report:#}");
        let of_the_living = &cast.servers[2];
        assert!(of_the_living.lives(), "{other:?}: {report:#}");
        assert_eq!(class(&report, of_the_living.root), Some("unknown"), "{other:?}: {report:#}");
        assert_eq!(report["ended"], serde_json::json!([]), "{other:?}: {report:#}");
        cast.leave();
    }
}
