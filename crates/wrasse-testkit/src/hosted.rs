//! The test's side of a fixture host: what an MCP client says and hears over stdio, one process away.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::processes::Process;
use crate::station::{PATIENCE, Station, eventually};

/// A host below the oracle, and its one server.
#[derive(Debug)]
pub struct Hosted {
    /// The host's process id.
    pub pid: u32,
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    next_id: u64,
    /// What the server said that was not asked for, in order: notifications, requests, late answers.
    pub heard: VecDeque<Value>,
}

impl Hosted {
    /// Starts a host that starts this command line.
    pub fn start(station: &mut Station, server: &[String]) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let socket = station.path(&format!("host-{number}"));
        let mut argv = vec![
            station.program("wrasse-fixture").display().to_string(),
            "host".to_owned(),
            socket.display().to_string(),
            "--".to_owned(),
        ];
        argv.extend(server.iter().cloned());
        let pid = station.spawn(&argv);
        Self::connect(pid, &socket, station)
    }

    /// Starts a host that starts `wrasse wrap FLAGS -- SERVER`.
    pub fn wrapped(station: &mut Station, flags: &[&str], server: &[&str]) -> Self {
        let mut argv = vec![station.wrasse().display().to_string(), "wrap".to_owned()];
        argv.extend(flags.iter().map(|flag| (*flag).to_owned()));
        argv.push("--".to_owned());
        argv.extend(server.iter().map(|word| (*word).to_owned()));
        Self::start(station, &argv)
    }

    fn connect(pid: u32, socket: &PathBuf, station: &Station) -> Self {
        let mut stream = None;
        eventually("the host listens", PATIENCE, || {
            stream = UnixStream::connect(socket).ok();
            stream.is_some()
        });
        let stream = stream.unwrap_or_else(|| panic!("{}", station.log()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { pid, stream, reader, next_id: 0, heard: VecDeque::new() }
    }

    /// Says something, as it stands.
    pub fn say_raw(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Says a message.
    pub fn say(&mut self, message: &Value) {
        self.say_raw(&message.to_string());
    }

    /// Sends a notification.
    pub fn notify(&mut self, method: &str, params: &Value) {
        self.say(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Sends a request and does not wait; its id.
    pub fn ask(&mut self, method: &str, params: &Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The next message. `None` when the server's output has ended.
    pub fn next_message(&mut self) -> Option<Value> {
        let mut line = String::new();
        let count = self.reader.read_line(&mut line).unwrap();
        (count > 0).then(|| serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}")))
    }

    /// The answer to a request; what comes before it is put with what was heard.
    pub fn answer(&mut self, id: u64) -> Value {
        loop {
            let Some(message) = self.next_message() else {
                panic!("no answer to {id}: {:?}", self.heard)
            };
            if message["id"] == id && message["method"].is_null() {
                return message;
            }
            self.heard.push_back(message);
        }
    }

    /// A request and its answer.
    pub fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.ask(method, params);
        self.answer(id)
    }

    /// The handshake, with these capabilities; the server's answer.
    pub fn initialize(&mut self, capabilities: &Value) -> Value {
        let answer = self.request(
            "initialize",
            &json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities,
                     "clientInfo": { "name": "fixture-host", "version": "1" } }),
        );
        self.notify("notifications/initialized", &json!({}));
        answer
    }

    /// A tool call; its answer.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    /// The text of a tool call that must have worked, one line for each content.
    pub fn call_text(&mut self, tool: &str, arguments: &Value) -> String {
        let answer = self.call(tool, arguments);
        let content = answer["result"]["content"].as_array().cloned();
        let content = content.unwrap_or_else(|| panic!("{answer}"));
        content.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Waits for something that was not asked for.
    pub fn hear(&mut self, what: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.heard.iter().position(&what) {
            return self.heard.remove(at).unwrap();
        }
        loop {
            let Some(message) = self.next_message() else {
                panic!("never heard: {:?}", self.heard)
            };
            if what(&message) {
                return message;
            }
            self.heard.push_back(message);
        }
    }

    /// Closes the server's stdin; the host lives on until the server has ended.
    pub fn close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes the server's stdin and waits until it and the host have ended; the server's exit code.
    pub fn end(mut self, station: &mut Station) -> i32 {
        self.close();
        let code = station.oracle.exit_code(self.pid, PATIENCE);
        code.unwrap_or_else(|| panic!("the host does not end\n{}", station.log()))
    }

    /// What the host started, itself left out: the shim first.
    pub fn below(&self, station: &mut Station) -> Vec<Process> {
        let mut known = vec![self.pid];
        let mut found: Vec<Process> = Vec::new();
        let seen = station.oracle.list();
        loop {
            let more: Vec<_> = seen
                .iter()
                .filter(|process| known.contains(&process.ppid) && !known.contains(&process.pid))
                .cloned()
                .collect();
            if more.is_empty() {
                return found;
            }
            known.extend(more.iter().map(|process| process.pid));
            found.extend(more);
        }
    }

    /// The process that the host started.
    pub fn shim(&self, station: &mut Station) -> u32 {
        self.below(station).first().unwrap_or_else(|| panic!("no shim\n{}", station.log())).pid
    }

    /// Waits until so many processes are below the host's own child: guardian, server, whatever that starts.
    pub fn wait_servers(&self, station: &mut Station, count: usize, deadline: Duration) {
        let end = std::time::Instant::now() + deadline;
        loop {
            let below = self.below(station);
            if below.len() == count + 1 {
                return;
            }
            assert!(std::time::Instant::now() < end, "not {count}: {below:#?}\n{}", station.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
