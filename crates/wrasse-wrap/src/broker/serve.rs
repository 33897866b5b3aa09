//! The broker itself: one server, every shim that shares it, one loop.
//!
//! ```text
//! Opening ──the server runs──► Serving ──idle, or the last shim left, or a signal──► Ending ──tree empty──► Over
//!    └── it cannot be started ───────────────┴── the server died ──────────────────────┘
//! ```
//!
//! A broker lives exactly as long as its server. From the moment it begins to end, its socket is gone, so that whoever
//! comes then starts another broker, which waits for this one's lock: two servers of one key never run at a time.

mod door;

use std::future::pending;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use wrasse_contain::Ladder;
use wrasse_scope::clock::{self, BootInstant};
use wrasse_types::format_duration;

use super::frame::{BYE, Ending, Frame, Welcome, greeting};
use super::guests::{Did, Guests, Read, Standing};
use super::hub::{CallerId, Hub, Output};
use super::launch::SERVING;
use super::place::{Folder, Lock};
use crate::identity;
use crate::ledger::{Row, ShimRow};
use crate::link::Link;
use crate::options::WrapOptions;
use crate::place::Place;
use crate::server::{Launch, Launcher};
use crate::shim::event::Signals;
use crate::shim::leave_launch_directory;
use crate::slot::{Buffers, ServerEvent, Slot};

/// How long another broker of this key may take to be gone: its ladder, and then some.
const LOCK_WITHIN: Duration = Duration::from_secs(12);
/// How often the lock is asked for; the kernel tells nobody when it is free without blocking him.
const LOCK_EVERY: Duration = Duration::from_millis(20);
/// How long a broker waits for the first shim, which has just started it.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// How long last words may take to reach the shims.
const FLUSH: Duration = Duration::from_secs(2);
/// How often the number of calls is written down, at most.
const NOTE: Duration = Duration::from_secs(5);
/// What may wait for the server before shims are read no further.
const QUEUE_MAX: usize = 1024 * 1024;

/// One thing that happened.
enum Event {
    Signal,
    Knock(std::io::Result<UnixStream>),
    Guest(CallerId, Did),
    Server(ServerEvent),
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Serving,
    Ending,
    Over,
}

#[derive(Debug)]
struct Broker {
    key: String,
    folder: Folder,
    listener: Option<UnixListener>,
    phase: Phase,
    began: BootInstant,
    hub: Hub,
    guests: Guests,
    slot: Slot,
    launcher: Launcher,
    row: Row,
    /// How the server ended, once its tree is empty.
    ended: Option<Ending>,
    /// How many calls the ledger knows of, and since when.
    noted: (u64, BootInstant),
    signals: Signals,
}

/// Runs a broker until its server is gone.
pub(super) fn run(options: &WrapOptions, key: &str) -> ExitCode {
    // For people who look; nothing depends on it.
    let _ = rustix::thread::set_name(c"wrasse-broker");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    let code = runtime.block_on(async {
        match Broker::new(options, key).await {
            Ok(Some((broker, lock))) => {
                say_and_let_go(SERVING);
                Box::pin(broker.serve(lock)).await;
                ExitCode::SUCCESS
            }
            Ok(None) => {
                // Another one serves.
                say_and_let_go(SERVING);
                ExitCode::SUCCESS
            }
            Err(fault) => {
                say_and_let_go(&fault);
                ExitCode::FAILURE
            }
        }
    });
    runtime.shutdown_background();
    code
}

/// Tells who started us, who waits for the end of our stdout.
fn say_and_let_go(text: &str) {
    let mut out = std::io::stdout();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// The lock; `None` when another broker serves.
async fn lock(folder: &Folder) -> Result<Option<Lock>, String> {
    let end = clock::now() + LOCK_WITHIN;
    loop {
        let lock = folder.try_lock().map_err(|error| format!("the broker's lock: {error}"))?;
        if lock.is_some() {
            return Ok(lock);
        }
        if UnixStream::connect(folder.socket()).await.is_ok() {
            return Ok(None);
        }
        if clock::now() >= end {
            return Err("the broker before this one does not end; see wrasse ps".to_owned());
        }
        tokio::time::sleep(LOCK_EVERY).await;
    }
}

impl Broker {
    /// `None` when another one serves.
    async fn new(options: &WrapOptions, key: &str) -> Result<Option<(Self, Lock)>, String> {
        let said = |error: std::io::Error| format!("no place for a broker: {error}");
        let folder = Folder::open(&options.state_dir, key).map_err(said)?;
        let Some(lock) = lock(&folder).await? else { return Ok(None) };
        // Whoever left it is dead: we have the lock.
        drop(std::fs::remove_file(folder.socket()));
        let listener = UnixListener::bind(folder.socket()).map_err(said)?;
        let place = Place::open(&options.state_dir);
        let command = identity::redacted(&options.command);
        let mut own = ShimRow::of_this_process(&place, &options.name, command, "broker");
        // Who started it does not own it.
        own.host = None;
        let row = Row::new(&place, own);
        // Unwritten, it is still contained; and shims say so of their own rows.
        drop(row.change(|_| {}));
        let mut command = options.command.iter().cloned();
        let launch = Launch {
            name: options.name.clone(),
            program: command.next().unwrap_or_default(),
            args: command.collect(),
            env: crate::tuning::server_environment(),
            cwd: leave_launch_directory().map_err(said)?,
        };
        let mut slot = Slot::default();
        let launcher = Launcher::new(launch, place, row.clone());
        slot.start(Box::pin(launcher.clone().start()));
        let now = clock::now();
        let broker = Self {
            key: key.to_owned(),
            folder,
            listener: Some(listener),
            phase: Phase::Opening,
            began: now,
            hub: Hub::new(&options.name, now),
            guests: Guests::new(),
            slot,
            launcher,
            row,
            ended: None,
            noted: (0, now),
            signals: Signals::new().map_err(said)?,
        };
        Ok(Some((broker, lock)))
    }

    async fn serve(mut self, lock: Lock) {
        let mut buffers = Buffers::new(16 * 1024);
        while self.phase != Phase::Over {
            let event = self.next(&mut buffers).await;
            self.handle(event, &buffers);
            self.obey();
            self.cut_off();
            self.note_calls();
        }
        self.close_door();
        self.slot.abandon();
        let left = self.launcher.kill_all().await;
        self.last_words();
        // Somebody who reads no more does not hear it.
        drop(tokio::time::timeout(FLUSH, self.guests.flush()).await);
        // What is not proven empty is for the next sweep, which removes the row.
        if left == 0 {
            self.row.remove();
        }
        drop(lock);
    }

    async fn next(&mut self, buffers: &mut Buffers) -> Event {
        let tick = match self.phase {
            Phase::Opening | Phase::Serving if !self.guests.is_wanted() => {
                Some(self.began + FIRST_WITHIN)
            }
            Phase::Serving => self.hub.idle_at(clock::now()),
            Phase::Opening | Phase::Ending | Phase::Over => None,
        };
        let read = match self.phase {
            Phase::Opening | Phase::Serving if self.slot.to_server.bytes() > QUEUE_MAX => Read::No,
            // Nothing of it goes to the server any more.
            Phase::Opening | Phase::Serving | Phase::Ending | Phase::Over => Read::Yes,
        };
        let Self { listener, guests, slot, signals, .. } = self;
        tokio::select! {
            () = signals.wait() => Event::Signal,
            // Guests that are not read fast enough are cut off.
            event = slot.next(buffers, true) => Event::Server(event),
            (id, did) = guests.next(read) => Event::Guest(id, did),
            knock = async {
                match listener {
                    Some(listener) => listener.accept().await.map(|(stream, _)| stream),
                    None => pending().await,
                }
            } => Event::Knock(knock),
            () = async {
                match tick {
                    Some(at) => clock::sleep_until(at).await,
                    None => pending().await,
                }
            } => Event::Tick,
        }
    }

    fn handle(&mut self, event: Event, buffers: &Buffers) {
        match event {
            Event::Signal => self.end("was ended: its broker was told to"),
            Event::Knock(Ok(stream)) => drop(self.guests.admit(stream)),
            // No descriptor is free, or the knocker is gone: there will be others.
            Event::Knock(Err(_)) => {}
            Event::Guest(id, Did::Write) => self.guest_wrote(id),
            Event::Guest(id, Did::Leave) => self.guest_left(id, Leave::Suddenly),
            Event::Server(event) => self.handle_server(event, buffers),
            Event::Tick => self.tick(),
        }
    }

    fn handle_server(&mut self, event: ServerEvent, buffers: &Buffers) {
        match event {
            ServerEvent::Started(Ok(link)) => self.started(*link),
            ServerEvent::Started(Err(fault)) => self.start_failed(&fault),
            // The loop looks anew whether there is room for more of the guests'.
            ServerEvent::Took => {}
            ServerEvent::Output(count) => self.server_bytes(&buffers.server[..count]),
            ServerEvent::Errors(count) => self.guests.pass_errors(&buffers.errors[..count]),
            ServerEvent::Exited(how) => self.end(&how),
            ServerEvent::Stopped(_) => self.stopped(),
        }
    }

    fn tick(&mut self) {
        let now = clock::now();
        if !self.guests.is_wanted() && now >= self.began + FIRST_WITHIN {
            self.phase = Phase::Over;
        } else if let Some(at) = self.hub.idle_at(now)
            && now >= at
        {
            let idle = format_duration(self.hub.idle().unwrap_or_default());
            self.end(&format!("was ended after {idle} without a call"));
        }
    }

    fn guest_wrote(&mut self, id: CallerId) {
        while let Some(guest) = self.guests.get(id) {
            let Some(line) = guest.lines.next_line() else { return };
            match guest.standing {
                Standing::Stranger => self.greeted(id, &line),
                // Nothing is said before the answer to the greeting.
                Standing::Waiting => {}
                Standing::Attached if line == BYE.trim_ascii() => {
                    return self.guest_left(id, Leave::InOrder);
                }
                Standing::Attached => match self.phase {
                    Phase::Opening | Phase::Serving => {
                        self.hub.caller_line(id, &line, clock::now());
                    }
                    Phase::Ending | Phase::Over => self.hub.caller_too_late(id, &line),
                },
            }
        }
    }

    /// Writes down who shares the server, for `wrasse ps`.
    fn note_guests(&self) {
        let ends = match self.hub.idle() {
            Some(idle) => format!("after {} without a call", format_duration(idle)),
            None => "with its last session".to_owned(),
        };
        let shared_by = self.guests.pids();
        // Nothing but what is shown depends on it.
        drop(self.row.change(|row| {
            row.ends = ends;
            row.shared_by = shared_by;
        }));
    }

    /// Writes down now and then how often the server was called, likewise.
    fn note_calls(&mut self) {
        let calls = self.hub.tool_calls();
        if calls != self.noted.0
            && self.noted.1.elapsed() >= NOTE
            && let Some(instance) = self.slot.instance()
        {
            self.launcher.note_calls(instance, calls);
            self.noted = (calls, clock::now());
        }
    }

    fn guest_left(&mut self, id: CallerId, leave: Leave) {
        let stood = self.guests.get(id).map(|guest| guest.standing);
        self.guests.remove(id);
        if stood == Some(Standing::Stranger) {
            // Another broker that looked whether one serves, see `lock`. Whom this one is for may be on the way.
            return;
        }
        self.hub.detach(id, clock::now());
        if self.guests.is_wanted() {
            return self.note_guests();
        }
        match (self.phase, leave) {
            (Phase::Serving, Leave::InOrder) => self.end("was ended with its last session"),
            (Phase::Opening | Phase::Serving, Leave::Suddenly | Leave::InOrder) => {
                // Its host is gone, or it was killed: nobody waits for a gentle end.
                self.phase = Phase::Over;
            }
            (Phase::Ending | Phase::Over, _) => {}
        }
    }

    /// One that reads no more makes the others wait for nothing.
    fn cut_off(&mut self) {
        for id in self.guests.overfull() {
            self.guest_left(id, Leave::Suddenly);
        }
    }

    fn started(&mut self, link: Link) {
        self.slot.run(link);
        self.phase = Phase::Serving;
        for id in self.guests.with(Standing::Waiting) {
            self.welcome(id);
        }
    }

    fn start_failed(&mut self, fault: &str) {
        self.slot.start_failed();
        self.close_door();
        for id in self.guests.with(Standing::Waiting) {
            self.guests.push(id, greeting(&Welcome::Failed { fault: fault.to_owned() }));
        }
        self.phase = Phase::Over;
    }

    fn server_bytes(&mut self, bytes: &[u8]) {
        self.slot.lines.push(bytes);
        let now = clock::now();
        while let Some(line) = self.slot.lines.next_line() {
            self.hub.server_line(&line, now);
        }
        if self.slot.lines.take_too_long() > 0 {
            self.hub.left_out();
        }
    }

    /// Begins to end the server, once. Nobody comes in any more.
    fn end(&mut self, how: &str) {
        self.close_door();
        match self.phase {
            Phase::Serving => {
                self.phase = Phase::Ending;
                self.slot.stop(how, Ladder::default());
            }
            Phase::Opening => self.phase = Phase::Over,
            // A second order.
            Phase::Ending => self.phase = Phase::Over,
            Phase::Over => {}
        }
    }

    fn stopped(&mut self) {
        let gone = self.slot.ended();
        self.ended = Some(Ending { how: gone.how, last_words: gone.last_words });
        self.phase = Phase::Over;
    }

    /// Tells everybody how the server ended, after the answers to what came too late for it.
    fn last_words(&mut self) {
        let Some(ending) = self.ended.take() else { return };
        for id in self.guests.read_rest() {
            self.guest_wrote(id);
        }
        self.obey();
        for id in self.guests.with(Standing::Attached) {
            self.guests.push(id, Frame::Ended(ending.clone()).encode());
        }
    }

    fn obey(&mut self) {
        while let Some(output) = self.hub.next_output() {
            match output {
                Output::To(id, line) => self.guests.push(id, Frame::Message(line).encode()),
                Output::ToServer(line) => self.slot.to_server.push_line(line),
                Output::SayAll(text) => {
                    for id in self.guests.with(Standing::Attached) {
                        self.guests.push(id, Frame::Say(text.clone()).encode());
                    }
                }
            }
        }
    }
}

/// How a shim went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    InOrder,
    Suddenly,
}
