//! One server entry of a host: what it starts, and whether that can go through Wrasse.

use std::path::PathBuf;

use super::host::Host;
use super::tree::{Node, Value};

/// A command and its arguments. What shows it, `Debug` included, redacts secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
}

impl CommandLine {
    /// The words as they may be shown.
    pub fn shown(&self) -> Vec<String> {
        let args = self.args.iter().map(String::as_str);
        wrasse_config::shown_arguments(std::iter::once(self.command.as_str()).chain(args))
    }

    /// What `wrasse wrap` was put before, if it was.
    pub fn unwrapped(&self) -> Option<Self> {
        let at = self.original_at()?;
        let (command, args) = self.args[at..].split_first()?;
        Some(Self { command: command.clone(), args: args.to_vec() })
    }

    /// Where in the arguments of a wrapped entry the server's own command stands.
    pub(super) fn original_at(&self) -> Option<usize> {
        if !is_wrasse(&self.command) {
            return None;
        }
        let end = self.args.iter().position(|word| word == "--")?;
        let wraps = self.args[..end].iter().any(|word| word == "wrap");
        (wraps && end + 1 < self.args.len()).then_some(end + 1)
    }
}

impl std::fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.shown()).finish()
    }
}

/// Whether a program is Wrasse, by its name.
pub(super) fn is_wrasse(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    name == "wrasse" || name.starts_with("wrasse-")
}

/// What an entry is to Wrasse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A program the host starts: it can go through Wrasse.
    Stdio,
    /// It goes through Wrasse already, by the program at this path.
    Wrapped {
        /// As the file names it.
        by: String,
    },
    /// A program that is switched off: wrapped only when named.
    Disabled,
    /// An address: the host starts nothing.
    Remote,
    /// It cannot go through Wrasse; a lowercase reason.
    Unsuited(String),
}

/// One server entry, where it stands.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The server's name.
    pub name: String,
    /// The keys that lead to it, as the host sees them.
    pub at: String,
    /// The file it stands in, as a person writes it.
    pub file: PathBuf,
    /// The line of its command, or of itself.
    pub line: u32,
    /// What it is to Wrasse.
    pub kind: Kind,
    /// What the file says is started.
    pub starts: CommandLine,
    /// Which of the sources it stands in.
    pub(super) source: usize,
    /// The keys that lead to it in that source.
    pub(super) path: Vec<String>,
}

const ADDRESSES: [&str; 4] = ["url", "httpUrl", "serverUrl", "tcp"];

/// What an entry starts, as far as it says.
pub(super) fn command_line(node: &Node, text: &str) -> CommandLine {
    let shown = |item: &Node| match item.text() {
        Some(text) => text.to_owned(),
        None => text[item.span.clone()].to_owned(),
    };
    let args = match node.get("args").map(|args| &args.value) {
        Some(Value::List(items)) => items.iter().map(shown).collect(),
        Some(Value::Text(_) | Value::Object(..) | Value::Word) | None => Vec::new(),
    };
    let command = node.get("command").and_then(Node::text).unwrap_or_default();
    CommandLine { command: command.to_owned(), args }
}

/// What an entry is to Wrasse.
pub(super) fn kind(host: Host, node: &Node, text: &str) -> Kind {
    match unsuited(host, node, text) {
        Some(Kind::Unsuited(why)) => return Kind::Unsuited(why),
        Some(kind) => return kind,
        None => {}
    }
    let starts = command_line(node, text);
    if starts.original_at().is_some() {
        return Kind::Wrapped { by: starts.command };
    }
    let says = |key: &str, word: &str| {
        node.get(key).is_some_and(|node| {
            matches!(node.value, Value::Word) && &text[node.span.clone()] == word
        })
    };
    if says("enabled", "false") || says("disabled", "true") {
        return Kind::Disabled;
    }
    Kind::Stdio
}

/// Why an entry is not a program that can be wrapped.
fn unsuited(host: Host, node: &Node, text: &str) -> Option<Kind> {
    let because = |why: &str| Some(Kind::Unsuited(why.to_owned()));
    if !matches!(node.value, Value::Object(..)) {
        return because("it is not an object");
    }
    let remote = ADDRESSES.iter().any(|key| node.get(key).is_some());
    let Some(command) = node.get("command") else {
        return if remote {
            Some(Kind::Remote)
        } else {
            because("it has neither a command nor an address")
        };
    };
    let Some(command) = command.text().filter(|command| !command.trim().is_empty()) else {
        return because("its command is not text");
    };
    let transport = node.get("type").or_else(|| node.get("transport")).and_then(Node::text);
    if remote || transport.is_some_and(|kind| !matches!(kind, "stdio" | "local")) {
        return because("it has a command and is remote as well; remove one of them");
    }
    match node.get("args").map(|args| (&args.value, args.span.clone())) {
        None | Some((Value::List(_), _)) => {}
        Some((Value::Word, span)) if &text[span.clone()] == "null" => {}
        Some((Value::Text(_) | Value::Object(..) | Value::Word, _)) => {
            return because("its args are not a list");
        }
    }
    // `npx -y @a/b`, but not `/Applications/My App/server`.
    if command.split_once(char::is_whitespace).is_some_and(|(first, _)| !first.contains('/')) {
        return because("its command holds a space; put the words after the first into args");
    }
    own_ways(host, node, text).and_then(because)
}

/// What single hosts do with an entry that does not bear something between them and the server.
fn own_ways(host: Host, node: &Node, text: &str) -> Option<&'static str> {
    match host {
        Host::VsCode => {
            if node.get("dev").and_then(|dev| dev.get("debug")).is_some() {
                return Some("dev.debug attaches a debugger to the command itself");
            }
            let sandboxed = node.get("sandboxEnabled");
            sandboxed.filter(|node| &text[node.span.clone()] == "true").map(
                |_| "sandboxEnabled keeps what it starts from the state dir that wrasse wrap needs",
            )
        }
        Host::Codex => {
            let place = node.get("experimental_environment").and_then(Node::text);
            place.filter(|place| *place == "remote").map(|_| "Codex starts it on another machine")
        }
        Host::OpenClaw | Host::ClaudeCode | Host::ClaudeDesktop | Host::Cursor | Host::Gemini => {
            None
        }
    }
}
