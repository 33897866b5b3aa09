//! The scripted model: answers from rules in a file, with no key and no network.
//!
//! The file is read at first use and again when it has changed. How often a rule with `times` has matched is
//! remembered per session, for the sessions used last.

mod rules;
mod session;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use wrasse_scope::clock;

use crate::error::{ModelError, ModelFault};
use crate::message::{StopReason, TurnReply, TurnRequest, excerpt};
use crate::usage;
use rules::{Reply, Script, Situation};
use session::Counts;

/// A larger script is a mistake.
const SCRIPT_LEN_MAX: u64 = 4 * 1024 * 1024;

/// One script.
pub(crate) struct Scripted {
    path: PathBuf,
    timeout: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: Option<Loaded>,
    counts: Counts,
}

#[derive(Debug, Clone)]
struct Loaded {
    version: Version,
    script: Arc<Script>,
}

/// By which a change of the file is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    len: u64,
}

impl Scripted {
    pub(crate) fn new(path: PathBuf, timeout: Option<Duration>) -> Self {
        Self { path, timeout, state: Mutex::default() }
    }

    /// Answers once. Cancel-safe.
    pub(crate) async fn ask(
        &self,
        full: &str,
        request: &TurnRequest,
    ) -> Result<TurnReply, ModelError> {
        let script = self.script().await.map_err(|message| {
            ModelError::new(ModelFault::NotConfigured, full, self.placed(&message))
        })?;
        let situation = Situation::of(request);
        let reply =
            self.choose(&script, &situation).ok_or_else(|| self.no_rule(full, &situation))?;
        self.wait(full, reply, request).await?;
        if let Some(kind) = reply.error {
            let message = self.placed(&format!("a rule answers with the error {kind}"));
            return Err(ModelError::new(kind, full, message));
        }
        let text = situation.fill(reply.text.as_deref().unwrap_or_default());
        let tool_calls = situation.calls(reply);
        let usage = usage::estimate(request, &text, &tool_calls);
        let model = String::from(full);
        Ok(TurnReply { text, tool_calls, usage, model, stop: StopReason::Complete })
    }

    /// The first rule that matches, counted; else what the script says otherwise.
    fn choose<'a>(&self, script: &'a Script, situation: &Situation<'_>) -> Option<&'a Reply> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, rule) in script.rules.iter().enumerate() {
            if !situation.matches(&rule.when) {
                continue;
            }
            match rule.when.times {
                None => return Some(&rule.reply),
                Some(times) if state.counts.take(situation.session, number, times) => {
                    return Some(&rule.reply);
                }
                Some(_) => {}
            }
        }
        script.otherwise.as_ref()
    }

    /// `delay_ms` and `hang`, both bounded by the longest silence that is allowed.
    async fn wait(
        &self,
        full: &str,
        reply: &Reply,
        request: &TurnRequest,
    ) -> Result<(), ModelError> {
        let pause = async {
            if reply.hang {
                std::future::pending::<()>().await;
            }
            clock::sleep(Duration::from_millis(reply.delay_ms)).await;
        };
        let limits = [request.idle_timeout, self.timeout];
        let Some(limit) = limits.into_iter().flatten().min() else {
            pause.await;
            return Ok(());
        };
        clock::timeout(limit, pause).await.map_err(|_elapsed| {
            let limit = wrasse_types::format_duration(limit);
            let message = self.placed(&format!("a rule said nothing for {limit}"));
            ModelError::new(ModelFault::Timeout, full, message)
        })
    }

    async fn script(&self) -> Result<Arc<Script>, String> {
        let meta = tokio::fs::metadata(&self.path)
            .await
            .map_err(|error| format!("it cannot be read: {error}"))?;
        let version = Version { modified: meta.modified().ok(), len: meta.len() };
        if let Some(loaded) = self.loaded().filter(|loaded| loaded.version == version) {
            return Ok(loaded.script);
        }
        if version.len > SCRIPT_LEN_MAX {
            return Err(format!("it is larger than {} MiB", SCRIPT_LEN_MAX / (1024 * 1024)));
        }
        let text = tokio::fs::read_to_string(&self.path)
            .await
            .map_err(|error| format!("it cannot be read: {error}"))?;
        let script = Arc::new(Script::parse(&text)?);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The numbers of the rules may mean other rules now.
        state.counts = Counts::default();
        state.loaded = Some(Loaded { version, script: Arc::clone(&script) });
        Ok(script)
    }

    fn loaded(&self) -> Option<Loaded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).loaded.clone()
    }

    fn no_rule(&self, full: &str, situation: &Situation<'_>) -> ModelError {
        let message = format!(
            "no rule matches agent {}, depth {}, turn {}, last message \"{}\"; add a rule or `otherwise`",
            situation.agent,
            situation.depth,
            situation.turn,
            excerpt(situation.last_text, 80),
        );
        ModelError::new(ModelFault::NotConfigured, full, self.placed(&message))
    }

    fn placed(&self, message: &str) -> String {
        format!("model script {}: {message}", self.path.display())
    }
}
