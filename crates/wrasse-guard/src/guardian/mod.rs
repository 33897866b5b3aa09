//! The guardian: one small process above one tree.
//!
//! It is told what to start over its stdin, a packet socket; starts it when told to go; and ends
//! the whole tree when told to, when the socket closes, when the gateway's pidfd fires, or when
//! the server itself exits. It is done only when it has no child left, of any kind, and nobody is in
//! its leaf, and never gives up before. It carries no byte of the server's.
//!
//! ```text
//! Waiting ── Go ─→ Starting ── exec ─→ Running ─┐
//!    │                └─ no exec ─→ Failed ─────┼─ reaped ─→ Gone
//!    └─ Kill, closed socket, gateway dead ──────┼──────────→ exit
//!                     (any of these: the tree is being ended, until ECHILD and an empty leaf, then exit)
//! ```
//!
//! All signals that can be blocked are: a guardian ends by its protocol, not by a stray SIGTERM to
//! every process of a service, and its death would cost the tree an orderly end.

mod ending;
mod intake;
mod leaf;
mod server;

use ending::Ended;
use intake::{Intake, Taken};
use leaf::Leaf;

use crate::{
    procfs,
    protocol::{
        Degraded, EVENT_MAX, Event, Malformed, Order, SPEC_CHUNK_MAX, SPEC_HEADER, Stage, VERSION,
    },
    sys::{self, Errno, Fd, Others, Pid, Poll, Signal, SignalSet, Waited},
    walk::{Child, Claim, Owner},
};

/// The most packets that are read before looking at everything else.
const ORDERS_AT_ONCE: u32 = 64;

/// Becomes a guardian.
pub(crate) fn run() -> ! {
    sys::reset_dispositions(SignalSet::EMPTY);
    sys::block_only(SignalSet::ALL);
    sys::mend_standard(1);
    sys::others(Others::Close);
    sys::set_name(c"wrasse-guardian");
    // Whoever stopped us (a hostile server, or a warden that died in the middle of ending what is below it), the death
    // of the parent wakes us: a stopped guardian could end nothing. To one that runs the signal means nothing.
    drop(sys::signal_when_parent_dies(Signal::CONT));
    // Refused only to the leader of a group, which then has what it needs unless it is a shell's.
    drop(sys::new_session());
    // No workspace or mount is held by us.
    drop(sys::change_directory(c"/"));
    let mut guardian = match Guardian::new() {
        Ok(guardian) => guardian,
        Err(errno) => {
            let mut packet = [0; EVENT_MAX];
            let failed = Event::Failed { stage: Stage::Spec, errno: errno.0 };
            let len = failed.encode(&mut packet);
            drop(sys::send(&Fd::own(0), &packet[..len]));
            sys::exit(70)
        }
    };
    loop {
        guardian.turn();
    }
}

/// What became of the server.
enum Server {
    /// The spec is being received, or is complete and waits for the word.
    Waiting(Intake),
    /// Forked; the pipe tells whether exec succeeded.
    Starting { pid: Pid, outcome: Fd },
    /// Executed, and not yet reaped: its number, and its group's, are its own.
    Running { pid: Pid },
    /// Could not be executed; the child that tried is not yet reaped.
    Failed { pid: Pid },
    /// Reaped.
    Gone,
}

struct Guardian {
    line: Line,
    /// Fires when the gateway dies; `None` once it did, or where there are no pidfds.
    gateway: Option<Fd>,
    /// The gateway's number, which is our parent's for as long as it lives.
    parent: Option<Pid>,
    /// Why no tree could be held here.
    helpless: Option<Errno>,
    signals: Fd,
    server: Server,
    leaf: Option<Leaf>,
    ending: Option<Ended>,
    degraded: Degraded,
    reaped: u32,
}

impl Guardian {
    fn new() -> Result<Self, Errno> {
        // The second is what the kernel sends when the gateway dies.
        let signals = sys::signal_fd(SignalSet::EMPTY.with(Signal::CHLD).with(Signal::CONT))?;
        let mut degraded = Degraded::default();
        if !procfs::lists_children() {
            degraded.0 |= Degraded::LISTS;
        }
        let helpless = match sys::become_subreaper() {
            Err(errno) => Some(errno),
            // No process table, or another namespace's, in which every number is a stranger's.
            Ok(()) => (!procfs::is_ours()).then_some(Errno::SRCH),
        };
        let server = Server::Waiting(Intake::new()?);
        let line = Line { socket: Some(Fd::own(0)) };
        Ok(Guardian {
            line,
            gateway: None,
            parent: None,
            helpless,
            signals,
            server,
            leaf: None,
            ending: None,
            degraded,
            reaped: 0,
        })
    }

    /// Waits for something to happen and deals with it.
    fn turn(&mut self) {
        let outcome = match &self.server {
            Server::Starting { outcome, .. } => Some(outcome),
            Server::Waiting(_) | Server::Running { .. } | Server::Failed { .. } | Server::Gone => {
                None
            }
        };
        let mut set = [
            Poll::readable(self.line.socket.as_ref()),
            Poll::readable(self.gateway.as_ref()),
            Poll::readable(Some(&self.signals)),
            Poll::readable(outcome),
        ];
        let now = sys::now_ms();
        let nap = self.ending.as_ref().map(|ended| ended.next_round_ms.saturating_sub(now));
        sys::poll(&mut set, nap);
        if set[0].fired() {
            self.orders();
        }
        if set[1].fired() {
            self.gateway = None;
            self.end();
        }
        if set[2].fired() {
            while sys::next_signal(&self.signals).is_some() {}
            // The witness that needs no pidfd, and that no stolen copy of the socket deceives.
            if self.parent.is_some_and(|gateway| sys::parent_pid() != gateway) {
                self.gateway = None;
                self.end();
            }
        }
        if set[3].fired() {
            self.started();
        }
        self.reap();
        self.round();
    }

    fn orders(&mut self) {
        for _ in 0..ORDERS_AT_ONCE {
            let Some(socket) = &self.line.socket else { return };
            let mut head = [0; SPEC_HEADER];
            let received = match &mut self.server {
                Server::Waiting(intake) => {
                    sys::receive(socket, &mut head, intake.room(SPEC_CHUNK_MAX))
                }
                Server::Starting { .. }
                | Server::Running { .. }
                | Server::Failed { .. }
                | Server::Gone => sys::receive(socket, &mut head, &mut []),
            };
            match received {
                Ok(received) if received.len > 0 => {
                    let len = received.len.min(head.len());
                    self.obey(&head[..len], received);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::PROTO) => {}
                // The gateway closed it, or died.
                Ok(_) | Err(_) => {
                    self.line.socket = None;
                    self.end();
                }
            }
        }
    }

    fn obey(&mut self, head: &[u8], received: sys::Received) {
        match Order::decode(head) {
            Ok(Order::Spec { flags: _, total, offset, bytes: _ }) => {
                let Server::Waiting(intake) = &mut self.server else { return };
                let len = received.len - head.len();
                match intake.take(total, offset, len, received.fds) {
                    Ok(Taken::Part) => {}
                    Ok(Taken::Whole) => self.ready(),
                    Err(errno) => self.refuse(Stage::Spec, errno),
                }
            }
            Ok(Order::Go) => self.go(),
            Ok(Order::Term) => self.terminate(),
            Ok(Order::Kill) => self.end(),
            Ok(Order::Ping) => self.line.tell(Event::Pong),
            Err(Malformed::Version) if matches!(self.server, Server::Waiting(_)) => {
                self.line.tell(Event::Unlike { version: VERSION });
                self.refuse(Stage::Spec, Errno::PROTO);
            }
            // A newer gateway's order, or nonsense: not ours to follow, nor a reason to kill.
            Err(_) => {}
        }
    }

    /// The spec is whole: take on what it says of ourselves.
    fn ready(&mut self) {
        let Server::Waiting(intake) = &self.server else { return };
        let (gateway, mark) = match intake.view() {
            Ok(view) => (Pid::try_from(view.gateway_pid).unwrap_or(-1), view.mark),
            Err(errno) => return self.refuse(Stage::Spec, errno),
        };
        // The order matters: while it is our parent, the number is the gateway's.
        self.gateway = sys::pidfd_of(gateway).ok();
        if sys::parent_pid() != gateway {
            return self.refuse(Stage::Spec, Errno::SRCH);
        }
        self.parent = Some(gateway);
        // What cannot be ended is not started.
        if let Some(errno) = self.helpless.take() {
            return self.refuse(Stage::Hold, errno);
        }
        if self.gateway.is_none() {
            self.degraded.0 |= Degraded::PIDFD;
        }
        if mark != 0 && sys::set_limit(sys::RLIMIT_LOCKS, mark).is_err() {
            self.degraded.0 |= Degraded::MARK;
        }
        let Server::Waiting(intake) = &self.server else { return };
        if let Some(path) = intake.leaf() {
            self.leaf = Leaf::open(path).ok();
            if self.leaf.is_none() {
                self.degraded.0 |= Degraded::LEAF;
            }
        }
        let pid = sys::own_pid().unsigned_abs();
        self.line.tell(Event::Ready { degraded: self.degraded, pid });
    }

    fn go(&mut self) {
        let intake = match core::mem::replace(&mut self.server, Server::Gone) {
            Server::Waiting(intake) if self.ending.is_none() => intake,
            other => {
                self.server = other;
                return;
            }
        };
        match server::start(intake, self.leaf.as_ref()) {
            Ok(server::Start { pid, outcome }) => {
                self.server = Server::Starting { pid, outcome };
            }
            Err((stage, errno)) => self.refuse(stage, errno),
        }
    }

    /// Nothing was started and nothing will be.
    fn refuse(&mut self, stage: Stage, errno: Errno) {
        self.line.tell(Event::Failed { stage, errno: errno.0 });
        self.server = Server::Gone;
        self.finish();
    }

    /// The pipe of a starting server closed, or brought a report.
    fn started(&mut self) {
        loop {
            let Server::Starting { pid, outcome } = &self.server else { return };
            let pid = *pid;
            let mut report = [0; server::REPORT];
            match sys::read(outcome, &mut report) {
                Err(Errno::AGAIN | Errno::INTR) => return,
                Ok(server::REPORT) => match server::Report::read(report) {
                    server::Report::Refused(what) => self.line.tell(Event::Refused { what }),
                    server::Report::Failed(stage, errno) => {
                        self.line.tell(Event::Failed { stage, errno: errno.0 });
                        self.server = Server::Failed { pid };
                    }
                },
                Ok(_) | Err(_) => {
                    self.line.tell(Event::Started { pid: pid.unsigned_abs() });
                    self.server = Server::Running { pid };
                }
            }
        }
    }

    fn unreaped(&self) -> Option<Pid> {
        match self.server {
            Server::Starting { pid, .. } | Server::Running { pid } | Server::Failed { pid } => {
                Some(pid)
            }
            Server::Waiting(_) | Server::Gone => None,
        }
    }

    fn terminate(&mut self) {
        if let Some(pid) = self.unreaped() {
            drop(sys::signal_group(pid, Signal::TERM));
            // A stopped server would not see it.
            drop(sys::signal_group(pid, Signal::CONT));
        }
    }

    /// Reaps what has ended.
    fn reap(&mut self) {
        loop {
            match sys::peek_ended() {
                Waited::Running => return,
                Waited::NoChild => {
                    if !matches!(self.server, Server::Waiting(_)) {
                        self.childless();
                    }
                    return;
                }
                Waited::Ended(pid) if Some(pid) == self.unreaped() => self.reap_server(pid),
                Waited::Ended(pid) => {
                    if sys::reap(pid).is_none() {
                        return;
                    }
                    self.reaped = self.reaped.saturating_add(1);
                }
            }
        }
    }

    fn reap_server(&mut self, pid: Pid) {
        // It may have told why it could not start, or that it could.
        self.started();
        // The last moment at which its group is surely its own.
        self.end();
        let Some(status) = sys::reap(pid) else { return };
        self.reaped = self.reaped.saturating_add(1);
        match core::mem::replace(&mut self.server, Server::Gone) {
            Server::Failed { .. } => {}
            Server::Starting { .. } | Server::Running { .. } => {
                self.line.tell(Event::Exited { status });
            }
            Server::Waiting(_) | Server::Gone => {}
        }
    }
}

/// Whether a word may have reached the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Perhaps,
    No,
}

/// The control socket, for telling.
struct Line {
    /// `None` once the gateway is gone.
    socket: Option<Fd>,
}

impl Line {
    fn tell(&self, event: Event) {
        // Whoever does not listen finds out by our exit.
        match self.say(event) {
            Heard::Perhaps | Heard::No => {}
        }
    }

    fn say(&self, event: Event) -> Heard {
        let Some(socket) = &self.socket else { return Heard::No };
        let mut packet = [0; EVENT_MAX];
        let len = event.encode(&mut packet);
        if sys::send(socket, &packet[..len]).is_ok() { Heard::Perhaps } else { Heard::No }
    }
}

impl Owner for Line {
    fn claim(&mut self, _: Child) -> Claim {
        Claim::Ours
    }

    /// A long round must not look like a dead guardian.
    fn pulse(&mut self) {
        let Some(socket) = &self.socket else { return };
        let mut head = [0; SPEC_HEADER];
        while let Ok(received) = sys::receive(socket, &mut head, &mut []) {
            if received.len == 0 {
                return;
            }
            if Order::decode(&head[..received.len.min(SPEC_HEADER)]) == Ok(Order::Ping) {
                self.tell(Event::Pong);
            }
        }
    }
}
