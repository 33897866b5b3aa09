//! The trees that are ended: this program once more, as their members.
//!
//! Every member writes one byte to the stdout that it inherited when it stands where it belongs, and then sleeps.
//! None lives longer than [`LIFETIME`], so that a bench that is killed leaves nothing behind for good.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use wrasse_testkit::processes::{self, Process};

/// The longest that a member lives.
const LIFETIME: Duration = Duration::from_secs(180);

/// Where the members of a tree stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Children of the leader, in its process group.
    Flat,
    /// Each in a session of its own, its parent gone.
    Daemons,
}

impl Shape {
    pub(crate) const ALL: [Self; 2] = [Self::Flat, Self::Daemons];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Daemons => "daemons",
        }
    }
}

/// What marks the members of one tree on their command lines.
#[derive(Debug, Clone)]
pub(crate) struct Tag(pub(crate) String);

impl Tag {
    fn prefix() -> String {
        format!("wrasse-bench-{}-", std::process::id())
    }

    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self(format!("{}{:06}", Self::prefix(), COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Living members of this tree.
    pub(crate) fn members(&self) -> Vec<Process> {
        carrying(&self.0)
    }

    /// Living members of any tree that this process made.
    pub(crate) fn every_member_of_this_run() -> Vec<Process> {
        carrying(&Self::prefix())
    }
}

fn carrying(text: &str) -> Vec<Process> {
    let all = processes::all().into_iter();
    all.filter(|process| process.state != 'Z' && process.cmdline.contains(text)).collect()
}

/// Ends members that outlived what should have ended them, by number: each is looked at again first.
pub(crate) fn end(members: &[Process]) {
    for member in members {
        let still = processes::read(member.pid).is_some_and(|now| now.start == member.start);
        let pid = i32::try_from(member.pid).ok().and_then(Pid::from_raw).filter(|_| still);
        if let Some(pid) = pid
            && let Err(errno) = rustix::process::kill_process(pid, Signal::KILL)
        {
            println!("cannot end {}: {errno}", member.pid);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let lives = |member: &Process| {
        processes::read(member.pid).is_some_and(|now| now.start == member.start && now.state != 'Z')
    };
    while members.iter().any(lives) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The arguments of a leader of a tree of `count` processes, itself counted.
pub(crate) fn leader(shape: Shape, count: usize, tag: &Tag) -> [String; 4] {
    ["tree".to_owned(), shape.word().to_owned(), count.to_string(), tag.0.clone()]
}

/// The arguments of a tree of one process that ends when its stdin does.
pub(crate) fn heeding(tag: &Tag) -> [String; 4] {
    ["tree".to_owned(), "heeding".to_owned(), "1".to_owned(), tag.0.clone()]
}

/// Plays one member until it is killed.
pub(crate) fn play(role: &str, count: usize, tag: &str) -> ExitCode {
    match role {
        "flat" => spawn(count - 1, "leaf", tag),
        "daemons" => {
            let launcher = again("launcher", count - 1, tag).status().unwrap();
            assert!(launcher.success());
        }
        "launcher" => {
            spawn(count, "daemon", tag);
            return ExitCode::SUCCESS;
        }
        "daemon" => drop(rustix::process::setsid().unwrap()),
        "leaf" | "heeding" => {}
        other => panic!("no role {other}"),
    }
    let mut out = std::io::stdout();
    out.write_all(b".").and_then(|()| out.flush()).unwrap();
    if role == "heeding" {
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    } else {
        std::thread::sleep(LIFETIME);
    }
    ExitCode::SUCCESS
}

fn spawn(count: usize, role: &str, tag: &str) {
    for _ in 0..count {
        // Not waited for: a child ends after its parent here, or is somebody else's by then.
        drop(again(role, 1, tag).spawn().unwrap());
    }
}

fn again(role: &str, count: usize, tag: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["tree", role, &count.to_string(), tag]).stdin(Stdio::null());
    command
}
