//! The shim itself: one task, one loop, one event at a time.
//!
//! The loop reads the host and the server, writes to both from bounded queues, and performs what the [`Session`]
//! orders. It ends when the host closes our stdin (ladder), when we are told to by a signal (ladder), or when the host
//! is gone (no ladder: everything is killed at once). All three may come one after another.

mod ends;
pub(crate) mod event;
mod sharing;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use wrasse_contain::Ladder;
use wrasse_contain::sweep::{SweepError, SweepReport};
use wrasse_scope::clock::{self, BootInstant};
use wrasse_types::format_duration;

use crate::catalogue::Catalogue;
use crate::host::Host;
use crate::identity;
use crate::ledger::{self, Row, ShimRow};
use crate::lines::Lines;
use crate::link::{Boxed, Stopped};
use crate::options::{Manner, Scope, WrapOptions};
use crate::place::{self, Place};
use crate::server::{Launch, Launcher};
use crate::session::{Ended, Output, Session, SessionOptions};
use crate::slot::{Buffers, Gone, ServerEvent, Slot};
use crate::stdio::{HostInput, HostOutput};
use event::{Event, Signals};
use sharing::Sharing;

/// Bytes that may wait for one side before the other is read no further.
const QUEUE_MAX: usize = 1024 * 1024;
/// Bytes that may wait for the host before it is read no further. More than of a server, as a host that writes all its
/// requests before it reads an answer would wait for ever.
const ANSWERS_MAX: usize = 8 * QUEUE_MAX;
/// What is read at once.
const READ: usize = 16 * 1024;
/// What of the server's stderr may wait for ours; the rest is left out.
const STDERR_MAX: usize = 64 * 1024;
/// How often the number of calls is written down, at most.
const NOTE: Duration = Duration::from_secs(5);
/// The exit code for a fault of our own.
const INTERNAL: u8 = 70;

/// Who stands between the two sides.
#[derive(Debug)]
enum Brain {
    Session(Box<Session>),
    /// Nobody: bytes go through.
    Pipe,
}

/// What the shim is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// The host has said all it has to say; some of it still has to reach the server, or to be answered.
    Draining {
        until: BootInstant,
    },
    /// The server is being ended, gently.
    Ladder,
    /// Nobody is served any more.
    Over,
}

/// See the module.
struct Shim {
    brain: Brain,
    phase: Phase,
    launcher: Launcher,
    row: Row,
    host: Host,
    signals: Signals,
    input: Option<HostInput>,
    output: HostOutput,
    errors: Option<HostOutput>,
    from_host: Lines,
    slot: Slot,
    /// Where the server may be shared.
    sharing: Option<Sharing>,
    /// Ends what dead shims left behind, while the host is served.
    sweeping: Option<Boxed<Result<SweepReport, SweepError>>>,
    exit: u8,
    warned: bool,
    /// How many calls the ledger knows of, and since when.
    noted: (u64, BootInstant),
}

/// Runs a shim until its host is done with it. Starts a runtime on this one thread.
pub fn run(options: WrapOptions) -> ExitCode {
    // What the host leaked to us is not for a broker, which outlives the host.
    wrasse_guard::pass_on_no_descriptors();
    if let Err(error) = wrasse_contain::reset_sigchld() {
        return refuse(&format!("no child can be waited for: {error}"), INTERNAL);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("no event loop: {error}"), INTERNAL),
    };
    let code = runtime.block_on(async {
        match Shim::new(options) {
            Ok(shim) => Box::pin(shim.serve()).await,
            Err(error) => refuse(&error, INTERNAL),
        }
    });
    // What still runs on other threads is of no interest any more, and may hang.
    runtime.shutdown_background();
    code
}

fn sweep_after(state_dir: PathBuf) -> Boxed<Result<SweepReport, SweepError>> {
    Box::pin(async move { ledger::sweep(&state_dir).await })
}

/// Where we were started, which is where the server starts; and goes to "/", so that no mount is busy for us.
///
/// # Errors
/// When the directory is gone.
pub(crate) fn leave_launch_directory() -> std::io::Result<PathBuf> {
    let directory = std::env::current_dir()?;
    std::env::set_current_dir("/")?;
    Ok(directory)
}

/// Says why there is no shim; the code to leave with.
pub fn refuse(why: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr(), "wrasse wrap: {why}"));
    ExitCode::from(code)
}

impl Shim {
    fn new(options: WrapOptions) -> Result<Self, String> {
        let host = Host::new();
        let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let cwd = leave_launch_directory().map_err(failed("no working directory"))?;
        let mut command = options.command.iter().cloned();
        let launch = Launch {
            name: options.name.clone(),
            program: command.next().unwrap_or_default(),
            args: command.collect(),
            env: crate::tuning::server_environment(),
            cwd,
        };
        let place = Place::open(&options.state_dir);
        let scope = match options.scope {
            Scope::Private => "private",
            Scope::Shared => "shared",
        };
        let command = identity::redacted(&options.command);
        let row = Row::new(&place, ShimRow::of_this_process(&place, &options.name, command, scope));
        let sharing = (options.scope == Scope::Shared)
            .then(|| Sharing::new(options.clone(), place.clone(), &launch));
        let brain = match options.manner {
            Manner::Lazy => {
                let session = SessionOptions {
                    name: options.name.clone(),
                    // What is shared is not this session's to end.
                    idle: options.idle.filter(|_| options.scope == Scope::Private),
                    nonce: format!("wrasse-{}", place::hex(&place::random::<4>())),
                };
                let shelf = Catalogue::new(place.clone(), identity::parts(&launch));
                Brain::Session(Box::new(Session::new(session, Box::new(shelf), clock::now())))
            }
            Manner::Transparent => Brain::Pipe,
        };
        let mut shim = Self {
            brain,
            phase: Phase::Serving,
            launcher: Launcher::new(launch, place.clone(), row.clone()),
            row,
            host,
            signals: Signals::new().map_err(failed("no signals"))?,
            input: Some(HostInput::new().map_err(failed("stdin"))?),
            output: HostOutput::new(rustix::stdio::stdout()).map_err(failed("stdout"))?,
            errors: HostOutput::new(rustix::stdio::stderr()).ok(),
            from_host: Lines::default(),
            slot: Slot::default(),
            sharing,
            sweeping: Some(sweep_after(place.state_dir().to_owned())),
            exit: 0,
            warned: false,
            noted: (0, clock::now()),
        };
        if let Some(fault) = &place.fault {
            shim.warn_unwritten(fault);
        }
        let ends = match (options.manner, options.idle) {
            (Manner::Lazy, Some(idle)) => format!("after {} without a call", format_duration(idle)),
            (Manner::Lazy, None) | (Manner::Transparent, _) => "with its host".to_owned(),
        };
        if let Err(error) = shim.row.change(|row| row.ends = ends) {
            shim.warn_unwritten(&error.to_string());
        }
        Ok(shim)
    }

    /// Once: nothing of the host's session depends on it.
    fn warn_unwritten(&mut self, fault: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            self.say(&format!(
                "the state dir cannot be written ({fault}): servers are contained all the same; nothing is kept in \
                 the catalogue, and wrasse ps does not see this shim"
            ));
        }
    }

    async fn serve(mut self) -> ExitCode {
        if matches!(self.brain, Brain::Pipe) {
            self.start();
        }
        let (mut host, mut server) = (vec![0; READ], Buffers::new(READ));
        while self.phase != Phase::Over {
            let event = self.next(&mut host, &mut server).await;
            self.handle(event, &host, &server);
            self.obey();
            self.note_calls();
            self.advance_phase();
        }
        let exit = self.exit;
        self.finish().await;
        ExitCode::from(exit)
    }

    /// What dead shims of this state dir had left behind was ended.
    fn swept(&mut self, swept: Result<SweepReport, SweepError>) {
        match swept {
            Ok(report) if report.found > 0 => self.say(&format!(
                "ended {} of {} processes that a dead shim had left behind",
                report.ended, report.found
            )),
            Ok(_) => {}
            Err(error) => {
                self.say(&format!("cannot look for what dead shims left behind: {error}"));
            }
        }
    }

    fn handle(&mut self, event: Event, host: &[u8], server: &Buffers) {
        match event {
            Event::Server(event) => self.handle_server(event, server),
            Event::HostGone => {
                self.phase = Phase::Over;
                self.slot.abandon();
            }
            Event::Signal => match self.phase {
                Phase::Serving | Phase::Draining { .. } => self.begin_ladder(),
                // Once more is an order.
                Phase::Ladder | Phase::Over => {
                    self.phase = Phase::Over;
                    self.slot.abandon();
                }
            },
            Event::HostBytes(Ok(count)) if count > 0 => self.host_bytes(&host[..count]),
            Event::HostBytes(_) => self.host_closed(),
            Event::HostHungUp => {
                let left = self.input.as_ref().map(HostInput::rest).unwrap_or_default();
                self.host_bytes(&left);
                self.obey();
                self.host_closed();
            }
            Event::HostTakes(Ok(())) => {}
            Event::HostTakes(Err(_)) => {
                // It will never hear us again.
                self.output.queue.clear();
                if self.phase == Phase::Serving {
                    self.host_closed();
                }
            }
            Event::ErrorsTaken(Ok(())) => {}
            Event::ErrorsTaken(Err(_)) => self.errors = None,
            Event::Swept(swept) => {
                self.sweeping = None;
                self.swept(swept);
            }
            Event::Tick => {
                if let Brain::Session(session) = &mut self.brain {
                    session.tick(clock::now());
                }
            }
        }
    }

    fn handle_server(&mut self, event: ServerEvent, buffers: &Buffers) {
        match event {
            ServerEvent::Started(Ok(link)) => {
                if let Some(fault) = &link.unwritten {
                    self.warn_unwritten(fault);
                }
                if let Some(why) = &link.note {
                    self.stay_private(why);
                }
                self.slot.run(*link);
                if let Brain::Session(session) = &mut self.brain {
                    session.started(clock::now());
                }
            }
            ServerEvent::Started(Err(fault)) => self.start_failed(&fault),
            // The loop looks anew whether there is room for more of the host's.
            ServerEvent::Took => {}
            ServerEvent::Output(count) => self.server_bytes(&buffers.server[..count]),
            ServerEvent::Errors(count) => self.pass_stderr(&buffers.errors[..count]),
            ServerEvent::Exited(how) => self.slot.stop(&how, Ladder::default()),
            ServerEvent::Stopped(stopped) => self.server_ended(stopped),
        }
    }

    fn host_bytes(&mut self, bytes: &[u8]) {
        let Brain::Session(session) = &mut self.brain else {
            self.slot.to_server.push(bytes.to_vec());
            return;
        };
        self.from_host.push(bytes);
        let now = clock::now();
        while let Some(line) = self.from_host.next_line() {
            session.host_line(line, now);
        }
        if self.from_host.take_too_long() > 0 {
            self.say("the host wrote a line of more than 32 MiB; it is left out");
        }
    }

    fn server_bytes(&mut self, bytes: &[u8]) {
        let Brain::Session(session) = &mut self.brain else {
            self.output.queue.push(bytes.to_vec());
            return;
        };
        self.slot.lines.push(bytes);
        let now = clock::now();
        while let Some(line) = self.slot.lines.next_line() {
            session.server_line(line, now);
        }
        if self.slot.lines.take_too_long() > 0 {
            let name = self.launcher.name().to_owned();
            self.say(&format!("{name} wrote a line of more than 32 MiB; it is left out"));
        }
    }

    fn pass_stderr(&mut self, bytes: &[u8]) {
        if let Some(errors) = &mut self.errors
            && errors.queue.bytes() < STDERR_MAX
        {
            errors.queue.push(bytes.to_vec());
        }
    }

    fn start_failed(&mut self, fault: &str) {
        self.slot.start_failed();
        match &mut self.brain {
            Brain::Session(session) => session.start_failed(fault, clock::now()),
            Brain::Pipe => {
                let name = self.launcher.name().to_owned();
                self.say(&format!("the MCP server {name} cannot be started: {fault}"));
                self.exit = 1;
                self.phase = Phase::Over;
            }
        }
    }

    fn start(&mut self) {
        let launcher = self.launcher.clone();
        let starting = match (&self.sharing, &self.brain) {
            (Some(sharing), Brain::Session(session)) => {
                sharing.start(launcher, session.opening_key())
            }
            (Some(_) | None, _) => Box::pin(launcher.start()),
        };
        self.slot.start(starting);
    }

    /// From here on the server is this session's own.
    fn stay_private(&mut self, why: &str) {
        let Some(sharing) = self.sharing.take() else { return };
        let name = self.launcher.name().to_owned();
        self.say(&format!("{name} is not shared, this session has its own: {why}"));
        if let Brain::Session(session) = &mut self.brain {
            session.set_idle(sharing.idle());
        }
    }

    fn server_ended(&mut self, stopped: Stopped) {
        let ended = self.slot.ended();
        if !stopped.proven_empty {
            let name = self.launcher.name().to_owned();
            self.say(&format!(
                "{} processes of {name} are still there; they are being ended (wrasse ps)",
                stopped.survivors
            ));
        }
        match &mut self.brain {
            Brain::Session(session) => match self.phase {
                Phase::Serving | Phase::Draining { .. } => {
                    let Gone { how, last_words } = ended;
                    session.ended(&Ended { how, last_words }, clock::now());
                }
                // The host has gone away, or is about to.
                Phase::Ladder | Phase::Over => {}
            },
            Brain::Pipe => {
                if let (Some(code), Phase::Serving) = (stopped.code, self.phase) {
                    self.exit = u8::try_from(code).unwrap_or(1);
                }
                self.phase = Phase::Over;
            }
        }
    }

    /// Performs what the session orders.
    fn obey(&mut self) {
        loop {
            let Brain::Session(session) = &mut self.brain else { return };
            let Some(output) = session.next_output() else { return };
            match output {
                Output::ToHost(line) => self.output.queue.push_line(line),
                Output::ToServer(line) => self.slot.to_server.push_line(line),
                Output::Say(text) => self.say(&text),
                Output::Start => match self.phase {
                    Phase::Serving | Phase::Draining { .. } => {
                        self.start();
                    }
                    Phase::Ladder | Phase::Over => {}
                },
                Output::Stop => {
                    self.slot.stop("was ended", Ladder::default());
                }
            }
        }
    }

    /// Writes down now and then how often the server was called, for `wrasse ps`.
    fn note_calls(&mut self) {
        let Brain::Session(session) = &self.brain else { return };
        let calls = session.calls_here();
        let Some(instance) = self.slot.instance() else {
            self.noted = (0, clock::now());
            return;
        };
        if calls != self.noted.0 && self.noted.1.elapsed() >= NOTE {
            self.launcher.note_calls(instance, calls);
            self.noted = (calls, clock::now());
        }
    }

    fn say(&mut self, text: &str) {
        if let Some(errors) = &mut self.errors {
            errors.queue.push(format!("wrasse wrap: {text}\n").into_bytes());
        }
    }
}
