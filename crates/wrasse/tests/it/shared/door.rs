//! The broker's door: who comes in, who is refused, and a broker to which nobody comes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wrasse_testkit::nobody::can_be;
use wrasse_testkit::processes::Process;
use wrasse_testkit::station::{PATIENCE, Station};

use super::{assert_flat, count, files, host, wait_no_server};

const NOBODY: u32 = 65_534;

/// The server reads nothing more, and it is certain that the broker does not either when the last session goes.
// failure mode A1
#[test]
fn a_session_whose_words_nobody_reads_is_missed_all_the_same() {
    let mut station = Station::new();
    broker_of_nobody(&mut station, "f-stdin-stop");
    let mut stream = UnixStream::connect(socket(&station)).unwrap();
    let format = format!("wrasse-broker/{}/1", env!("CARGO_PKG_VERSION"));
    writeln!(stream, "{}", json!({ "format": format, "key": "key", "idle_ms": null })).unwrap();
    let mut answer = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut answer).unwrap();
    assert!(answer.contains("attached"), "{answer}");
    let text = "x".repeat(64 << 10);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "echo", "arguments": { "text": text } } });
    stream.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let mut written = 0;
    while writeln!(stream, "{call}").is_ok() {
        written += 1;
        assert!(written < 1000, "the broker takes whatever comes");
    }
    drop(stream);
    let left = station.oracle.wait_until(std::time::Duration::from_secs(10), <[_]>::is_empty);
    assert!(left.is_ok(), "{left:#?}\n{}", station.log());
    assert_flat(&mut station);
}

/// Starts a broker as a shim would that is gone before it comes, and waits until its server runs: by then it has its name
/// and its socket.
fn broker_of_nobody(station: &mut Station, server: &str) {
    let shim = station.program("wrasse-shim").display().to_string();
    let fixture = station.program("wrasse-fixture").display().to_string();
    let state = station.path("state").display().to_string();
    let version = env!("CARGO_PKG_VERSION");
    let (own, shims) = (
        format!("wrasse-broker-arguments/{version}/1"),
        format!("wrasse-shim-arguments/{version}/1"),
    );
    let words = [
        &shim, &own, "start", "key", &shims, "fix", "30s", "shared", "lazy", &state, "--",
        &fixture, server,
    ];
    let argv = words.map(str::to_owned);
    let pid = station.spawn(&argv);
    assert_eq!(station.oracle.exit_code(pid, PATIENCE), Some(0), "{}", station.log());
    // The broker's own command line ends with the server's.
    let runs =
        |process: &Process| process.name == "wrasse-fixture" && process.cmdline.ends_with(server);
    let up = station.oracle.wait_until(PATIENCE, |seen| seen.iter().any(runs));
    assert!(up.is_ok(), "{up:#?}");
}

/// The broker does not wait for ever.
#[test]
fn a_broker_that_nobody_comes_to_ends() {
    let mut station = Station::new();
    broker_of_nobody(&mut station, "f-daemon");
    wait_no_server(&mut station);
    assert_flat(&mut station);
}

/// Another broker that looks whether one serves says nothing: whom this one is for may still come.
#[test]
fn a_knock_without_a_word_ends_no_broker() {
    let mut station = Station::new();
    broker_of_nobody(&mut station, "f-daemon");
    let socket = socket(&station);
    for _ in 0..3 {
        drop(UnixStream::connect(&socket).unwrap());
    }
    let format = format!("wrasse-broker/{}/1", env!("CARGO_PKG_VERSION"));
    let hello = json!({ "format": format, "key": "key", "idle_ms": 30_000 }).to_string();
    assert!(greet(&socket, &hello)["attached"].is_object(), "{}", station.log());
    // Who was let in is gone, and was the last.
    wait_no_server(&mut station);
    assert_flat(&mut station);
}

/// The socket of the one broker.
fn socket(station: &Station) -> PathBuf {
    let is_socket = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "sock");
    files(station).into_iter().find(is_socket).unwrap()
}

/// Greets a broker as another version or with another key would; what it says.
fn greet(socket: &Path, hello: &str) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(stream, "{hello}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
}

#[test]
fn another_version_and_another_key_are_refused() {
    let mut station = Station::new();
    let mut one = host(&mut station, &[], &["f-counter"]);
    count(&mut one);
    let refused = |hello: &Value, why: &str| {
        let answer = greet(&socket(&station), &hello.to_string());
        assert!(answer["refused"]["why"].as_str().unwrap().contains(why), "{answer}");
    };
    refused(&json!({ "format": "wrasse-broker/0.0.0/1", "key": "k", "idle_ms": 1 }), "version");
    let current = format!("wrasse-broker/{}/1", env!("CARGO_PKG_VERSION"));
    refused(&json!({ "format": current, "key": "k", "idle_ms": 1 }), "configured otherwise");
    refused(&json!("hello"), "speaks");
    assert_eq!(count(&mut one).1, 2);
    assert_eq!(one.end(&mut station), 0);
    assert_flat(&mut station);
}

/// A broker that refuses is no reason to have no server: the session has its own, and the person is told.
#[test]
fn where_sharing_is_refused_the_session_has_its_own_server() {
    let mut station = Station::new();
    let mut one = host(&mut station, &[], &["f-counter"]);
    let before = count(&mut one);
    // Everybody may write there: nobody can be sure whose sockets these are.
    let folder = station.path("state/wrap/broker");
    let mode = |bits: u32| std::os::unix::fs::PermissionsExt::from_mode(bits);
    std::fs::set_permissions(&folder, mode(0o777)).unwrap();
    let mut two = host(&mut station, &["--idle", "200ms"], &["f-counter"]);
    assert_ne!(count(&mut two).0, before.0);
    station.assert_logs("is not shared, this session has its own");
    let shim = two.shim(&mut station);
    two.wait_servers(&mut station, 0, PATIENCE);
    assert_eq!(two.shim(&mut station), shim, "it ends when idle, like any server of its own");
    assert_eq!(count(&mut one).1, before.1 + 1);
    for host in [one, two] {
        assert_eq!(host.end(&mut station), 0);
    }
    std::fs::set_permissions(&folder, mode(0o700)).unwrap();
    assert_flat(&mut station);
}

/// Whether we can be an ordinary user too, who can come to the station.
fn two_users(station: &Station) -> Result<(), String> {
    let mode = |bits: u32| std::os::unix::fs::PermissionsExt::from_mode(bits);
    std::fs::set_permissions(station.path(""), mode(0o711)).unwrap();
    can_be(NOBODY, &station.path(""))
}

/// Does something as an ordinary user, where [`two_users`]; the rest of this process stays what it is.
fn as_nobody<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nobody = rustix::process::Uid::from_raw(NOBODY);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            what()
        });
        thread.join().unwrap()
    })
}

/// Lets everybody through to the sockets, which nothing but a mistake would do.
fn open_doors(station: &Station) {
    let mode = |bits: u32| std::os::unix::fs::PermissionsExt::from_mode(bits);
    for folder in ["state", "state/wrap", "state/wrap/broker"] {
        std::fs::set_permissions(station.path(folder), mode(0o711)).unwrap();
    }
}

#[test]
fn another_user_is_refused() {
    let mut station = Station::new();
    if let Err(why) = two_users(&station) {
        eprintln!("SKIPPED another_user_is_refused: {why}");
        return;
    }
    let mut one = host(&mut station, &[], &["f-counter"]);
    count(&mut one);
    open_doors(&station);
    let socket = socket(&station);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&socket, mode).unwrap();
    let key = socket.file_stem().unwrap().to_str().unwrap().to_owned();
    let format = format!("wrasse-broker/{}/1", env!("CARGO_PKG_VERSION"));
    let hello = json!({ "format": format, "key": key, "idle_ms": 1 }).to_string();
    let answer = as_nobody(|| greet(&socket, &hello));
    assert!(answer["refused"]["why"].as_str().unwrap().contains("uid 0"), "{answer}");
    // The same words of the right user are let in.
    assert!(greet(&socket, &hello)["attached"].is_object());
    assert_eq!(one.end(&mut station), 0);
    assert_flat(&mut station);
}

/// Somebody else listens where the broker should: nothing is said to him.
#[test]
fn a_broker_of_another_user_is_not_trusted() {
    let mut station = Station::new();
    if let Err(why) = two_users(&station) {
        eprintln!("SKIPPED a_broker_of_another_user_is_not_trusted: {why}");
        return;
    }
    let mut one = host(&mut station, &[], &["f-counter"]);
    count(&mut one);
    let socket = socket(&station);
    assert_eq!(one.end(&mut station), 0);
    // The broker removes its socket after it has let the last one go.
    wait_no_server(&mut station);
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let trap = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&trap, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
    as_nobody(|| rustix::net::listen(&trap, 8).unwrap());
    let mut two = host(&mut station, &[], &["f-counter"]);
    assert_eq!(count(&mut two).1, 1);
    station.assert_logs("belongs to another user");
    let heard = std::os::unix::net::UnixListener::from(trap);
    let mut said = String::new();
    let mut stream = BufReader::new(heard.accept().unwrap().0);
    stream.read_line(&mut said).unwrap();
    assert_eq!(said, "", "not even a greeting");
    assert_eq!(two.end(&mut station), 0);
    std::fs::remove_file(socket).unwrap();
    assert_flat(&mut station);
}
