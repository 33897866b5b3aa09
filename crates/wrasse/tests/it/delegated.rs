//! The kernel's own limits: a gateway in a cgroup that it was given for itself, as a systemd service with `Delegate=yes`
//! or a container has. Where cgroup v2 has the controllers, which a machine with version 1 beside it has not.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use wrasse_testkit::fixture::Mode;
use wrasse_testkit::station::{PATIENCE, Station, text};

use crate::hygiene::{configure, hold, named};

const SIGKILL: i32 = 9;

/// A cgroup with `memory` and `pids`, below the root of the hierarchy, with nobody in it.
fn delegated(name: &str) -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let root = PathBuf::from(mount.and_then(|line| line.split(' ').nth(1)).ok_or("no cgroup v2")?);
    let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap();
    if !["memory", "pids"].iter().all(|name| offered.split_whitespace().any(|one| one == *name)) {
        return Err(format!("cgroup v2 has only {offered:?}"));
    }
    let said = |error: std::io::Error| error.to_string();
    fs::write(root.join("cgroup.subtree_control"), "+memory +pids").map_err(said)?;
    let home = root.join(format!("wrasse-test-{name}-{}", std::process::id()));
    fs::create_dir(&home).map_err(said)?;
    Ok(home)
}

fn members(cgroup: &Path) -> Vec<u32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn read(cgroup: &Path, name: &str) -> String {
    fs::read_to_string(cgroup.join(name)).unwrap().trim().to_owned()
}

/// The directories in a cgroup.
fn below(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).unwrap().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Has the gateway be launched in a cgroup.
fn launch_in(station: &mut Station, cgroup: &Path) {
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", cgroup.display());
    station.set_launcher(&["sh", "-c", &enter, "sh"]);
    station.start();
    assert_eq!(station.json(&["ps"])["gateway"]["containment"], json!(["floor", "cgroup2"]));
}

fn with_server(mode: Mode) -> Station {
    let station = Station::new();
    let mut server = station.fixture(mode);
    server["lifecycle"]["memoryMax"] = json!("64MiB");
    server["lifecycle"]["processesMax"] = json!(10);
    configure(&station, server, json!({}));
    station
}

/// Warden and gateway make room for the leaves, whose limits the kernel then keeps; whoever dies, the cgroup is in the
/// end as it was found.
// failure modes F1, G9
#[test]
fn in_a_cgroup_of_its_own_the_kernel_keeps_the_limits() {
    let home = match delegated("limits") {
        Ok(home) => home,
        Err(why) => {
            eprintln!("SKIPPED in_a_cgroup_of_its_own_the_kernel_keeps_the_limits: {why}");
            return;
        }
    };
    let aside = home.join("wrasse-self");
    let mut station = with_server(Mode::Ok);
    launch_in(&mut station, &home);
    for _ in 0..2 {
        let (warden, gateway) = (station.warden.unwrap(), station.gateway());
        assert!(members(&home).is_empty());
        assert_eq!(read(&home, "cgroup.subtree_control"), "memory pids");
        assert_eq!(members(&aside), [warden, gateway]);
        hold(&station);
        let guardian = named(&station.oracle.list(), "wrasse-guardian")[0].pid;
        assert!(members(&aside).contains(&guardian));
        let leaves: Vec<PathBuf> = below(&home).into_iter().filter(|dir| *dir != aside).collect();
        let [leaf] = leaves.as_slice() else { panic!("{leaves:?}") };
        assert_eq!(members(leaf).len(), 1);
        let limits = ["memory.max", "memory.oom.group", "pids.max"].map(|name| read(leaf, name));
        assert_eq!(limits, ["67108864", "1", "640"]);
        // Below the same warden, which stays where it is.
        station.ok(&["gateway", "restart"]);
        station.wait_ready();
        assert_ne!(station.gateway(), gateway);
    }
    hold(&station);
    let seen = station.oracle.list();
    let ours = ["wrasse-warden", "wrasse-guardian"].map(|name| named(&seen, name)[0].pid);
    station.kill_at_once(&[ours[0], station.gateway(), ours[1]]);
    let warden = station.warden.take().unwrap();
    assert_eq!(station.oracle.exit_code(warden, PATIENCE), Some(128 + SIGKILL));
    assert!(members(&aside).is_empty());
    // What is left of it is where the next one may be started, and nobody else can be where it was.
    launch_in(&mut station, &aside);
    hold(&station);
    station.assert_flat();
    assert_eq!((below(&home), read(&home, "cgroup.subtree_control")), (vec![], String::new()));
    fs::remove_dir(home).unwrap();
}

// failure mode G9
#[test]
fn the_kernel_ends_a_server_at_its_memory_and_it_is_said() {
    let home = match delegated("memory") {
        Ok(home) => home,
        Err(why) => {
            eprintln!("SKIPPED the_kernel_ends_a_server_at_its_memory_and_it_is_said: {why}");
            return;
        }
    };
    let mut station = with_server(Mode::Grow);
    launch_in(&mut station, &home);
    let gateway = station.gateway();
    // A count that came first would tell of more than is allowed.
    let said = station.ok(&["agent", "-m", "hold", "--session-key", "grow"]);
    assert!(said.contains("was ended because it used 64 MiB of 64 MiB allowed"), "{said}");
    assert_eq!(station.gateway(), gateway);
    station.assert_flat();
    assert_eq!((below(&home), read(&home, "cgroup.subtree_control")), (vec![], String::new()));
    fs::remove_dir(home).unwrap();
}

/// Where others are too, nobody is moved and nothing is handed down, least of all `pids`, which the kernel would allow and
/// by which no leaf could be entered any more.
// guarantee G5
#[test]
#[expect(clippy::disallowed_methods, reason = "a stranger")]
fn beside_others_all_stay_where_they_are() {
    let home = match delegated("others") {
        Ok(home) => home,
        Err(why) => {
            eprintln!("SKIPPED beside_others_all_stay_where_they_are: {why}");
            return;
        }
    };
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(home.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    let mut station = with_server(Mode::Ok);
    launch_in(&mut station, &home);
    hold(&station);
    let there = members(&home);
    for pid in [stranger.id(), station.warden.unwrap(), station.gateway()] {
        assert!(there.contains(&pid), "{pid}: {there:?}");
    }
    assert_eq!(read(&home, "cgroup.subtree_control"), "");
    let leaves = below(&home);
    assert_eq!(
        leaves.iter().map(|leaf| members(leaf).len()).collect::<Vec<_>>(),
        [1],
        "{leaves:?}"
    );
    // In the cgroup of this test, where it is not alone either.
    let said = text(&station.cli(&["doctor"]).stdout);
    assert!(said.contains("counting does: others are in "), "{said}");
    station.assert_flat();
    assert_eq!(members(&home), [stranger.id()]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(below(&home), Vec::<PathBuf>::new());
    fs::remove_dir(home).unwrap();
}
