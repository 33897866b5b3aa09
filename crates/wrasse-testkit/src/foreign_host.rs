//! A small program that imitates another host: it starts servers over pipes or socket pairs, holds their ends, and
//! forgets them. And the hand that a test guides it with.
//!
//! It is started under the name of the host it imitates, so that what looks for hosts takes it for one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::oracle::Oracle;
use crate::station::{PATIENCE, eventually};

/// How a host speaks to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    /// Pipes, as Python and Rust do.
    Pipes,
    /// Socket pairs, as Node does.
    Sockets,
}

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Start { name: String, via: Via, argv: Vec<String> },
    Chat { name: String },
    Close { name: String },
}

struct Held {
    _child: Child,
    stdin: std::fs::File,
    stdout: std::fs::File,
}

/// The program: takes orders from whoever connects to `socket`, until it is killed.
pub fn serve(socket: &Path) -> ExitCode {
    let listener = UnixListener::bind(socket).unwrap();
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        for line in reader.lines() {
            let Ok(line) = line else { break };
            let pid = obey(serde_json::from_str(&line).unwrap(), &mut held);
            writeln!(stream, "{pid}").unwrap();
        }
    }
}

fn obey(order: Order, held: &mut BTreeMap<String, Held>) -> u32 {
    match order {
        Order::Start { name, via, argv } => {
            let server = start(via, &argv);
            let pid = server._child.id();
            held.insert(name, server);
            pid
        }
        Order::Chat { name } => {
            let server = held.remove(&name).unwrap();
            let pid = server._child.id();
            std::thread::spawn(move || chat(server));
            pid
        }
        Order::Close { name } => held.remove(&name).map_or(0, |server| server._child.id()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a fixture host starts servers behind our back")]
fn start(via: Via, argv: &[String]) -> Held {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env_clear().stderr(Stdio::null());
    for name in ["HOME", "PATH"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    match via {
        Via::Pipes => {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let stdin = OwnedFd::from(child.stdin.take().unwrap()).into();
            let stdout = OwnedFd::from(child.stdout.take().unwrap()).into();
            Held { _child: child, stdin, stdout }
        }
        Via::Sockets => {
            let (stdin, theirs_in) = UnixStream::pair().unwrap();
            let (stdout, theirs_out) = UnixStream::pair().unwrap();
            command.stdin(OwnedFd::from(theirs_in)).stdout(OwnedFd::from(theirs_out));
            let child = command.spawn().unwrap();
            Held {
                _child: child,
                stdin: OwnedFd::from(stdin).into(),
                stdout: OwnedFd::from(stdout).into(),
            }
        }
    }
}

/// Says something to a server all the time.
fn chat(mut server: Held) {
    let mut buffer = [0_u8; 4096];
    for id in 0_u64.. {
        let said = writeln!(server.stdin, r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        if said.is_err() || server.stdout.read(&mut buffer).unwrap_or(0) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A fixture host that a test guides.
#[derive(Debug)]
pub struct ForeignHost {
    /// Its process.
    pub pid: u32,
    stream: BufReader<UnixStream>,
}

impl ForeignHost {
    /// Starts one below the oracle, under the name of a host, with this home. `folder` is for its socket and its program.
    pub fn start(oracle: &mut Oracle, bins: &Path, folder: &Path, name: &str, home: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let (program, socket): (PathBuf, PathBuf) = (folder.join(name), folder.join("orders"));
        std::os::unix::fs::symlink(bins.join("wrasse-fixture-host"), &program).unwrap();
        let env = BTreeMap::from([
            ("HOME".to_owned(), home.display().to_string()),
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ]);
        let argv = [program.display().to_string(), socket.display().to_string()];
        let pid = oracle.spawn(&argv, &env, &folder.join("log"), folder);
        eventually("the fixture host listens", PATIENCE, || UnixStream::connect(&socket).is_ok());
        let stream = BufReader::new(UnixStream::connect(&socket).unwrap());
        Self { pid, stream }
    }

    fn order(&mut self, order: &Order) -> u32 {
        let line = serde_json::to_string(order).unwrap();
        writeln!(self.stream.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        self.stream.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap()
    }

    /// Starts a server and returns its first process.
    pub fn launch(&mut self, name: &str, via: Via, argv: &[String]) -> u32 {
        self.order(&Order::Start { name: name.to_owned(), via, argv: argv.to_vec() })
    }

    /// Speaks with a server from now on, without end.
    pub fn chat(&mut self, name: &str) {
        self.order(&Order::Chat { name: name.to_owned() });
    }

    /// Closes the pipes of a server and thinks no more of it.
    pub fn close(&mut self, name: &str) {
        self.order(&Order::Close { name: name.to_owned() });
    }
}
