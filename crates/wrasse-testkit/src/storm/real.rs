//! The three servers of the report that started the project, as `npx -y` starts them, and calls to them that last.
//!
//! Their packages know nothing of a storm, so what they wait for is made to wait: `filesystem` reads a pipe into which
//! nobody writes yet, `context7` asks a library here that answers when told, `sqlite` counts for seconds.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use super::cast::{Actor, Cast, LET_GO, Reply, Serves};
use super::stage::LOOK;
use crate::station::{PATIENCE, Station};

/// For how long bystanders must not change before they count as up.
const SETTLED: Duration = Duration::from_secs(2);
/// What the database counts to: some three seconds of work.
const STEPS: u64 = 24_000_000;
/// In the message of a run whose call is answered at once.
pub(super) const AGAIN: &str = "-again";

/// The cast.
pub(super) fn cast(modules: &Path) -> Cast {
    let library = Library::open();
    let idle = json!({ "idle": "10m", "stop": { "eof": "1s", "term": "1s" } });
    let real = |name: &str, args: Value, call: Value, again: Value| Actor {
        name: name.to_owned(),
        reply: Reply::Kept,
        serves: Serves::Below,
        steady: true,
        server: json!({ "command": "npx", "args": args, "lifecycle": idle,
            "env": { "CONTEXT7_API_URL": library } }),
        call,
        again: Some(again),
    };
    let read = json!({ "name": "filesystem__read_text_file", "arguments": { "path": "{{last}}" } });
    let ask = json!({ "name": "context7__resolve-library-id",
        "arguments": { "query": "{{last}}", "libraryName": "storm" } });
    let query = |from: &str| {
        let query = format!("SELECT '{LET_GO}' AS answer, count(*) AS steps FROM {from}");
        json!({ "name": "sqlite__read_query", "arguments": { "query": query } })
    };
    let steps = "WITH RECURSIVE step(number) AS (VALUES (1) UNION ALL SELECT number + 1 FROM step";
    let count = query(&format!("({steps} LIMIT {STEPS}) SELECT number FROM step)"));
    let actors = vec![
        real(
            "filesystem",
            json!(["-y", "@modelcontextprotocol/server-filesystem", "WORK"]),
            read.clone(),
            read,
        ),
        real("context7", json!(["-y", "@upstash/context7-mcp"]), ask.clone(), ask),
        real(
            "sqlite",
            json!(["-y", "mcp-server-sqlite-npx", "WORK/health.db"]),
            count,
            query("sqlite_master"),
        ),
    ];
    Cast { actors, trees: vec![0, 1, 2], modules: Some(modules.to_owned()) }
}

/// Starts what has the command lines of the real servers and is nobody's: below the other station, with an input that
/// never ends.
pub(super) fn start_bystanders(
    actors: &[Actor],
    modules: &Path,
    other: &mut Station,
    first: &Station,
) -> Result<(), String> {
    std::os::unix::fs::symlink(modules, other.path("work").join("node_modules")).unwrap();
    let work = first.path("work").display().to_string();
    for actor in actors {
        let mut argv = ["sh", "-c", "sleep 100000 | \"$@\"", "sh"].map(str::to_owned).to_vec();
        argv.push(actor.server["command"].as_str().unwrap_or_default().to_owned());
        let args = actor.server["args"].as_array().into_iter().flatten();
        argv.extend(args.filter_map(Value::as_str).map(|arg| arg.replace("WORK", &work)));
        other.spawn(&argv);
    }
    // A shell, its `sleep`, npm, npm's shell, node: each server is up when nothing has changed for a while.
    const EACH: usize = 5;
    let (began, mut since, mut seen) = (Instant::now(), Instant::now(), Vec::new());
    while seen.len() < EACH * actors.len() || since.elapsed() < SETTLED {
        if began.elapsed() > PATIENCE {
            return Err(format!("the bystanders do not come up: {seen:?}\n{}", other.log()));
        }
        std::thread::sleep(LOOK);
        let now: Vec<u32> = other.oracle.list().iter().map(|process| process.pid).collect();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// A pipe in place of a file. Whoever reads it waits until it is let go.
#[derive(Debug)]
pub(super) struct Pipe {
    path: PathBuf,
    /// For reading too: opening it waits for nobody, and what is written stays until it is read.
    open: File,
}

impl Pipe {
    pub(super) fn make(path: &Path) -> Self {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
        let open = File::options().read(true).write(true).open(path).unwrap();
        Self { path: path.to_owned(), open }
    }

    /// Gives the text to whoever reads the pipe, and to whoever comes later.
    pub(super) fn let_go(self) {
        let file = self.path.with_extension("text");
        std::fs::write(&file, LET_GO).unwrap();
        std::fs::rename(file, &self.path).unwrap();
        (&self.open).write_all(LET_GO.as_bytes()).unwrap();
    }
}

/// The service that `context7` asks. A question is the stem of the file by which its answer is let go.
#[derive(Debug)]
struct Library;

impl Library {
    /// Answers for as long as the program runs; returns where.
    fn open() -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || drop(answer(stream)));
            }
        });
        format!("http://{address}")
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut head, mut read) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut read)? {
            0 => return Ok(()),
            length => head.extend_from_slice(&read[..length]),
        }
    }
    let head = String::from_utf8_lossy(&head).replace("%2F", "/");
    let stem = head.split(['?', '&', ' ']).find_map(|word| word.strip_prefix("query="));
    let go = Path::new(stem.unwrap_or_default()).with_extension("go");
    // A round that has ended whoever asked lets nothing go.
    let began = Instant::now();
    while !go.exists() && began.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
    }
    let body = json!({ "results": [{ "id": "/storm/storm", "title": LET_GO, "description": "" }] });
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}
