//! The file's form, and how a rule meets a request.

use serde::Deserialize;
use serde_json::Value;

use crate::error::ModelFault;
use crate::message::{Message, ToolCall, TurnRequest};

/// A whole script.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: Option<Reply>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) when: When,
    pub(super) reply: Reply,
}

/// Everything given must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    agent: Option<String>,
    depth: Option<u32>,
    /// Part of the last user or tool message.
    text: Option<String>,
    /// Answers of the model since the last user message.
    turn: Option<usize>,
    last: Option<Last>,
    /// At most this often per session.
    pub(super) times: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Last {
    User,
    Tool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    pub(super) text: Option<String>,
    #[serde(default)]
    calls: Vec<ScriptedCall>,
    pub(super) error: Option<ModelFault>,
    #[serde(default)]
    pub(super) delay_ms: u64,
    #[serde(default)]
    pub(super) hang: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptedCall {
    name: String,
    #[serde(default)]
    arguments: Value,
}

impl Script {
    /// Reads JSON5; the fault says where and what.
    pub(super) fn parse(text: &str) -> Result<Script, String> {
        let script: Script = json5::from_str(text).map_err(|error| error.to_string())?;
        for (number, rule) in (1..).zip(&script.rules) {
            rule.reply.check().map_err(|fault| format!("the reply of rule {number} {fault}"))?;
        }
        if let Some(reply) = &script.otherwise {
            reply.check().map_err(|fault| format!("`otherwise` {fault}"))?;
        }
        if script.rules.is_empty() && script.otherwise.is_none() {
            return Err(String::from("it has neither `rules` nor `otherwise`"));
        }
        Ok(script)
    }
}

impl Reply {
    fn check(&self) -> Result<(), &'static str> {
        let answers = self.text.is_some() || !self.calls.is_empty();
        let ways = [answers, self.error.is_some(), self.hang];
        match ways.into_iter().filter(|way| *way).count() {
            0 => return Err("is empty: give `text`, `calls`, `error` or `hang`"),
            1 => {}
            _ => return Err("must be an answer, an `error` or `hang`, only one of them"),
        }
        if self.calls.iter().any(|call| !call.arguments.is_object() && !call.arguments.is_null()) {
            return Err("has `arguments` that are not an object");
        }
        Ok(())
    }
}

/// A request as the rules see it.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub(super) agent: &'a str,
    pub(super) session: &'a str,
    pub(super) depth: u32,
    pub(super) turn: usize,
    last: Option<Last>,
    pub(super) last_text: &'a str,
    messages: usize,
}

impl<'a> Situation<'a> {
    pub(super) fn of(request: &'a TurnRequest) -> Self {
        let messages = request.messages.iter().rev();
        let turn = messages
            .clone()
            .take_while(|message| !matches!(message, Message::User { .. }))
            .filter(|message| matches!(message, Message::Assistant { .. }))
            .count();
        let mut inputs = messages.filter_map(|message| match message {
            Message::User { text } => Some((Last::User, text.as_str())),
            Message::ToolResult { text, .. } => Some((Last::Tool, text.as_str())),
            Message::Assistant { .. } => None,
        });
        let last = inputs.next();
        Self {
            agent: request.agent.as_str(),
            session: request.session_key.as_str(),
            depth: request.depth,
            turn,
            last: last.map(|(kind, _)| kind),
            last_text: last.map_or("", |(_, text)| text),
            messages: request.messages.len(),
        }
    }

    /// Whether everything but `times` holds.
    pub(super) fn matches(&self, when: &When) -> bool {
        when.agent.as_ref().is_none_or(|agent| agent == self.agent)
            && when.depth.is_none_or(|depth| depth == self.depth)
            && when.text.as_ref().is_none_or(|text| self.last_text.contains(text.as_str()))
            && when.turn.is_none_or(|turn| turn == self.turn)
            && when.last.is_none_or(|last| Some(last) == self.last)
    }

    /// The calls of a reply. Their ids differ within a conversation, and are the same for the same one.
    pub(super) fn calls(&self, reply: &Reply) -> Vec<ToolCall> {
        let calls = reply.calls.iter().enumerate();
        calls
            .map(|(number, call)| {
                let id = format!("call_{}_{number}", self.messages);
                let arguments = match &call.arguments {
                    Value::Null => Value::Object(serde_json::Map::new()),
                    given => self.fill_value(given),
                };
                ToolCall::new(id, call.name.clone(), arguments)
            })
            .collect()
    }

    /// Replaces the template words. What is put in is not looked at again.
    pub(super) fn fill(&self, template: &str) -> String {
        let depth = self.depth.to_string();
        let words = [
            ("{{last}}", self.last_text),
            ("{{agent}}", self.agent),
            ("{{depth}}", depth.as_str()),
            ("{{session}}", self.session),
        ];
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(at) = rest.find("{{") {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = words.iter().find(|(word, _)| rest.starts_with(word));
            let (take, put) = found.map_or((1, "{"), |(word, value)| (word.len(), value));
            filled.push_str(put);
            rest = &rest[take..];
        }
        filled.push_str(rest);
        filled
    }

    fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_value(item)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, member)| (name.clone(), self.fill_value(member)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}
