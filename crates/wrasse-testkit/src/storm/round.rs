//! One round: begin runs, wait for the moment, kill, and look at what the guarantees say must follow.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::aim::{Aim, Progress, aim, instances};
use super::cast::{Reply, Serves};
use super::plan::{Kill, Manner, Moment, Plan};
use super::real::Pipe;
use super::siblings::{Own, siblings};
use super::stage::{LOOK, Stage, Watch};
use super::table::{Entry, Table};
use crate::fixture::Mode;
use crate::pulse::Pulse;
use crate::station::PATIENCE;

const SIGKILL: i32 = 9;
const SIGSTOP: i32 = 19;
/// G4.
pub(super) const LIMIT: Duration = Duration::from_secs(2);
/// After its run has ended.
const RELEASED: Duration = Duration::from_secs(6);
/// How long a leader has to follow a member of its tree that it waits for.
const FOLLOW: Duration = Duration::from_millis(300);
const AIMS_MAX: usize = 400;

/// What came of a round.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Processes that had to be gone and are not.
    pub(super) survivors: Vec<Survivor>,
    /// Whoever had to live and does not.
    pub(super) strangers: Vec<String>,
    /// Anything else that had to hold and did not.
    pub(super) broken: Vec<String>,
    /// Who was killed.
    pub(super) victims: Vec<String>,
    /// How many processes the trees had at the kill.
    pub(super) processes: usize,
    /// How many instances that were not hit had to live on.
    pub(super) siblings: usize,
    /// How far the instances had come that were hit, or that lost their gateway.
    pub(super) stages: Vec<Progress>,
    /// From the kill until what had to go was gone, less what the machine had no time for us.
    pub(super) took_ms: u64,
    /// That time.
    pub(super) missed_ms: u64,
}

/// A process that had to be gone, with what helps to find out why it is not.
#[derive(Debug, Serialize)]
pub(super) struct Survivor {
    entry: Entry,
    cmdline: String,
    /// RLIMIT_LOCKS, where our mark is.
    mark: String,
    environ_mark: String,
    /// Whether it is still there a second later.
    stays: bool,
}

fn survivors(left: Vec<Entry>) -> Vec<Survivor> {
    let read = |pid: u32, file: &str| {
        String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default())
            .into_owned()
    };
    let look = |entry: Entry| {
        let pid = entry.id.pid;
        let limits = read(pid, "limits");
        let mark = limits.lines().find_map(|line| line.strip_prefix("Max file locks"));
        let environ = read(pid, "environ");
        let environ_mark = environ.split('\0').find(|entry| entry.starts_with("WRASSE_MARK="));
        Survivor {
            cmdline: read(pid, "cmdline").replace('\0', " "),
            mark: mark.unwrap_or_default().trim().to_owned(),
            environ_mark: environ_mark.unwrap_or_default().to_owned(),
            stays: false,
            entry,
        }
    };
    let mut found: Vec<Survivor> = left.into_iter().map(look).collect();
    if !found.is_empty() {
        std::thread::sleep(Duration::from_secs(1));
        let table = Table::read();
        found.iter_mut().for_each(|one| one.stays = table.lives(one.entry.id));
    }
    found
}

impl Report {
    pub(super) fn holds(&self) -> bool {
        self.survivors.is_empty() && self.strangers.is_empty() && self.broken.is_empty()
    }

    /// Notes when everything was gone, which may have been seen too late.
    fn gone_within_limit(&mut self, took: Duration, missed: Duration) {
        self.took(took.saturating_sub(missed));
        self.missed_ms = u64::try_from(missed.as_millis()).unwrap_or(u64::MAX);
        if took > LIMIT + missed {
            self.broken.push(format!(
                "gone only after {:.2} s, for {:.2} s of which the machine was busy with others",
                took.as_secs_f64(),
                missed.as_secs_f64()
            ));
        }
    }

    pub(super) fn took(&mut self, took: Duration) {
        self.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }
}

/// A run of this round.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) actor: usize,
    pub(super) id: String,
    pub(super) session: String,
    /// Of the files by which its call is known to have begun and is let go.
    pub(super) stem: PathBuf,
    started: PathBuf,
    /// What a server reads that is no fixture.
    pipe: Option<Pipe>,
}

impl Run {
    /// Begins a run whose message is the stem.
    pub(super) fn begin(
        stage: &Stage,
        actor: usize,
        session: &str,
        stem: &Path,
    ) -> Result<Self, String> {
        let params = json!({ "message": stem, "sessionKey": session });
        let answer = stage.rpc.call("agent", &params, PATIENCE)?;
        let id = answer["runId"].as_str().ok_or_else(|| format!("no run: {answer}"))?.to_owned();
        let started = started(stem, &stage.cast.actors[actor].name);
        Ok(Self {
            actor,
            id,
            session: session.to_owned(),
            stem: stem.to_owned(),
            started,
            pipe: None,
        })
    }

    /// Lets its call be answered, begun or not.
    pub(super) fn let_go(&mut self) {
        std::fs::write(self.stem.with_extension("go"), "").unwrap();
        if let Some(pipe) = self.pipe.take() {
            pipe.let_go();
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.started.exists()
    }
}

/// The file that a call to this server touches when it begins.
pub(super) fn started(stem: &Path, actor: &str) -> PathBuf {
    PathBuf::from(format!("{}.{actor}", stem.display()))
}

/// Plays a round. An error is one of the harness or of the gateway before the kill.
pub(super) fn play(stage: &mut Stage, plan: &Plan) -> Result<Report, String> {
    let mut report = Report::default();
    settle(stage).map_err(|left| format!("not empty before the round: {left:?}"))?;
    let began = Instant::now();
    let mut runs = begin(stage, plan)?;
    wait(stage, plan, &runs, began)?;
    let (mut aim, killed_at) = shoot(stage, plan, &runs)?;
    if let Some(plant) = plan.plant {
        plant.put(stage, &mut aim)?;
    }
    report.victims.clone_from(&aim.names);
    report.processes = aim.processes;
    report.stages.clone_from(&aim.stages);
    report.siblings = aim.others.len();
    match plan.kill {
        Kill::Gateway | Kill::Warden | Kill::GatewayGuardians | Kill::GatewayWarden => {
            all_gone(stage, plan.kill, killed_at, &mut report);
            stage.start()?;
        }
        Kill::AllThree => {
            stage.start()?;
            report.took(killed_at.elapsed());
            report.survivors.extend(survivors(left_over(stage)));
        }
        Kill::Guardian | Kill::Leader => {
            gone_by(stage, &aim, killed_at, &mut report);
            siblings(stage, &aim, &mut runs, Own::Lost, &mut report);
        }
        Kill::Member => {
            let own = member_gone(stage, &aim, killed_at, &mut report);
            siblings(stage, &aim, &mut runs, own, &mut report);
        }
    }
    if report.survivors.is_empty() {
        match settle(stage) {
            Ok(()) => leaves_gone(stage, &mut report),
            Err(left) => report.survivors.extend(survivors(left)),
        }
    }
    report.strangers.extend(stage.strangers_hit());
    Ok(report)
}

/// Waits until nothing is left but the gateway and its warden.
fn settle(stage: &Stage) -> Result<(), Vec<Entry>> {
    stage.empty_by(Instant::now() + RELEASED, Stage::trees).map(drop)
}

/// What is left where nothing may be, now. A look is not of one instant, and can miss who forks and exits: two are taken.
fn left_over(stage: &Stage) -> Vec<Entry> {
    let look = || -> Vec<Entry> { stage.trees(&Table::read()).into_iter().cloned().collect() };
    let first = look();
    if first.is_empty() { look() } else { first }
}

fn begin(stage: &Stage, plan: &Plan) -> Result<Vec<Run>, String> {
    let mut runs = Vec::new();
    for (number, (place, pause)) in plan.parts.iter().enumerate() {
        std::thread::sleep(*pause);
        let name = &stage.cast.actors[*place].name;
        if stage.cast.actors[*place].reply == Reply::Without {
            // Else its breaker is open after a few rounds, and nothing is ever seen starting.
            reset_breaker(stage, name)?;
        }
        let session = format!("agent:{name}:storm-{}-{number}", plan.round);
        let stem = stage.station.path("work").join(format!("r{}-{number}", plan.round));
        let kept = stage.cast.actors[*place].reply == Reply::Kept;
        let pipe = kept.then(|| Pipe::make(&stem));
        runs.push(Run { pipe, ..Run::begin(stage, *place, &session, &stem)? });
    }
    Ok(runs)
}

/// Waits for the moment of the kill.
fn wait(stage: &Stage, plan: &Plan, runs: &[Run], began: Instant) -> Result<(), String> {
    match plan.moment {
        Moment::After(after) => {
            std::thread::sleep(after.saturating_sub(began.elapsed()));
        }
        Moment::Early(after) => std::thread::sleep(after),
        Moment::Busy(then) => {
            for run in runs {
                let actor = &stage.cast.actors[run.actor];
                let busy = || match actor.reply {
                    Reply::Held => run.is_busy(),
                    Reply::Kept => in_call(stage, run) || has_ended(stage, run),
                    Reply::Without | Reply::Never => true,
                };
                while !busy() {
                    if began.elapsed() > PATIENCE {
                        return Err(format!("{} does not become busy", actor.name));
                    }
                    std::thread::sleep(LOOK);
                }
            }
            std::thread::sleep(then);
        }
    }
    Ok(())
}

/// Whether the gateway says that the run's session has a call in flight.
fn in_call(stage: &Stage, run: &Run) -> bool {
    instances(stage).is_ok_and(|all| {
        let own = all.iter().find(|instance| instance.session == run.session);
        own.is_some_and(|instance| instance.progress == Progress::MidCall)
    })
}

fn has_ended(stage: &Stage, run: &Run) -> bool {
    outcome(stage, run, Duration::from_millis(1)).is_ok_and(|answer| ended(&answer))
}

/// Aims until all that was aimed at was hit.
fn shoot(stage: &mut Stage, plan: &Plan, runs: &[Run]) -> Result<(Aim, Instant), String> {
    let mut chance = plan.chance.clone();
    for _ in 0..AIMS_MAX {
        if let Some(aim) = aim(stage, plan.kill, plan.manner, runs, &mut chance)? {
            if plan.manner == Manner::StoppedFirst && aim.victims.len() > 1 {
                stop(stage, &aim.victims);
            }
            let at = Instant::now();
            let hit = stage.station.oracle.signal(&aim.victims, SIGKILL);
            // Guardians come and go by themselves; whom the class is named after must have been hit.
            if hit == aim.victims.len() || (hit > 0 && aim.target.is_none()) {
                return Ok((aim, at));
            }
        }
        std::thread::sleep(LOOK);
    }
    Err(format!("nobody to kill as {}", plan.kill.name()))
}

/// Stops all of them and waits until they are, so that none acts on another's death.
fn stop(stage: &mut Stage, victims: &[u32]) {
    stage.station.oracle.signal(victims, SIGSTOP);
    let end = Instant::now() + LIMIT;
    let runs_on = |table: &Table| {
        victims.iter().filter_map(|pid| table.get(*pid)).any(|one| one.lives() && !one.is_stopped())
    };
    while runs_on(&Table::read()) && Instant::now() < end {
        std::thread::sleep(LOOK);
    }
}

/// Gateway, warden and pairs: every tree of that gateway is empty in 2 s; then they are gone themselves.
fn all_gone(stage: &mut Stage, kill: Kill, at: Instant, report: &mut Report) {
    match stage.empty_by(at + LIMIT, Stage::trees) {
        Ok((empty, missed)) => report.gone_within_limit(empty.duration_since(at), missed),
        Err(left) => {
            report.survivors.extend(survivors(left));
            return;
        }
    }
    if let Err(left) = stage.empty_by(at + RELEASED, Stage::ours) {
        report.survivors.extend(survivors(left));
    }
    let (pid, expected) = match kill {
        Kill::Warden => (stage.gateway.pid, 70),
        Kill::Gateway | Kill::GatewayGuardians => (stage.warden.pid, 137),
        Kill::GatewayWarden | Kill::AllThree => return,
        Kill::Guardian | Kill::Leader | Kill::Member => return,
    };
    let code = stage.station.oracle.exit_code(pid, LIMIT);
    if code != Some(expected) {
        report.broken.push(format!("{pid} left with {code:?}, not {expected}"));
    }
    // Whoever of them lived longest removed what the trees were in.
    leaves_gone(stage, report);
}

/// No cgroup of a tree is left, where there are any.
fn leaves_gone(stage: &Stage, report: &mut Report) {
    let deadline = Instant::now() + RELEASED;
    let state = stage.station.path("state");
    let mut left = crate::leaves::of(&state);
    while !left.is_empty() && Instant::now() < deadline {
        std::thread::sleep(LOOK);
        left = crate::leaves::of(&state);
    }
    report.broken.extend(left.iter().map(|leaf| format!("{} is left", leaf.display())));
}

/// Guardian and leader: every process of the instance that was hit, by pid and start time.
fn gone_by(stage: &Stage, aim: &Aim, since: Instant, report: &mut Report) {
    let (mut watch, deadline) = (Watch::new(), since + LIMIT);
    loop {
        let (table, now, missed) = watch.look(stage);
        let left: Vec<_> = aim.hit.iter().filter(|id| table.holds(**id)).collect();
        if left.is_empty() {
            report.gone_within_limit(now.saturating_duration_since(since), missed);
            return;
        }
        if now >= deadline + missed {
            let left = left.iter().filter_map(|id| table.get(id.pid).cloned()).collect();
            report.survivors.extend(survivors(left));
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Random member: Wrasse ends nothing else; where the leader then exits by itself, the instance ends whole.
fn member_gone(stage: &Stage, aim: &Aim, at: Instant, report: &mut Report) -> Own {
    let Some(target) = &aim.target else { return Own::Lost };
    let (mut table, mut pulse) = (Table::read(), Pulse::new());
    while at.elapsed() < FOLLOW + pulse.beat()
        && target.leader.is_some_and(|leader| table.lives(leader))
    {
        std::thread::sleep(LOOK);
        table = Table::read();
    }
    let leader_lives = target.leader.is_some_and(|leader| table.lives(leader));
    if !leader_lives && target.serves == Serves::Below {
        gone_by(stage, aim, Instant::now(), report);
        return Own::Lost;
    }
    report.took(Duration::ZERO);
    if !leader_lives {
        report.broken.push(format!(
            "the leader of {} was ended with a member it does not wait for",
            target.name
        ));
        return Own::Lost;
    }
    // The children of f-zombie exit by themselves, and the first fork of f-daemon while that comes up: it is their own
    // doing.
    let is_up = aim.stages.iter().all(|one| matches!(one, Progress::Ready | Progress::MidCall));
    if is_up && target.steady && target.name != Mode::Zombie.name() {
        let ended = aim.hit.iter().filter(|id| {
            !aim.victims.contains(&id.pid) && !target.may_follow.contains(id) && !table.lives(**id)
        });
        report.broken.extend(ended.map(|id| {
            format!("{} of {} ended with a member, and its leader lives", id.pid, target.name)
        }));
    }
    match target.serves {
        Serves::Leader => Own::Answered,
        Serves::Below => Own::Lost,
    }
}

pub(super) fn reset_breaker(stage: &Stage, server: &str) -> Result<(), String> {
    stage.rpc.call("mcp.restart", &json!({ "name": server }), PATIENCE).map(drop)
}

pub(super) fn outcome(stage: &Stage, run: &Run, limit: Duration) -> Result<Value, String> {
    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let params = json!({ "runId": run.id, "timeoutMs": millis });
    stage.rpc.call("agent.wait", &params, limit + PATIENCE)
}

pub(super) fn ended(answer: &Value) -> bool {
    answer["status"] != "timeout"
}
