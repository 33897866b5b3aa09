//! What changes in a text when an entry is wrapped, and what changes back.
//!
//! Only what Wrasse needs is put in: the command's own spelling moves into the list, whose items stay as they are
//! written. So comments, layout and escapes within an entry survive, and taking out what was put in gives the
//! text from before.

use std::ops::Range;

use serde_json::Value as Json;

use super::entry::command_line;
use super::host::Format;
use super::plan::Shim;
use super::tree::{Member, Node, Style, Value};

/// A file's text and how it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) format: Format,
}

/// One change of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    range: Range<usize>,
    with: String,
}

/// What stood under `args` before an entry was wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ArgsWere {
    List,
    Missing,
    Null,
}

/// The text with every edit made.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.range.start));
    let mut text = text.to_owned();
    for edit in edits {
        text.replace_range(edit.range, &edit.with);
    }
    text
}

/// What stands under `args` of an entry.
pub(super) fn args_are(entry: &Node) -> ArgsWere {
    match entry.get("args").map(|args| &args.value) {
        None => ArgsWere::Missing,
        Some(Value::List(_)) => ArgsWere::List,
        Some(Value::Text(_) | Value::Object(..) | Value::Word) => ArgsWere::Null,
    }
}

/// Puts Wrasse before a command. The entry is one that can be wrapped.
pub(super) fn wrap(file: Text<'_>, entry: &Node, name: &str, shim: &Shim) -> Option<Vec<Edit>> {
    let text = file.text;
    let command = entry.member("command")?;
    let written = &text[command.node.span.clone()];
    let mut words: Vec<String> = shim.lead(name).iter().map(|word| quoted(word)).collect();
    words.push(written.to_owned());
    let words = words.join(", ");
    let args = match entry.get("args") {
        Some(args) => {
            let (at, with) = match &args.value {
                Value::List(items) => match items.first() {
                    Some(first) => (first.span.start..first.span.start, format!("{words}, ")),
                    None => (args.span.start + 1..args.span.start + 1, words),
                },
                Value::Text(_) | Value::Object(..) | Value::Word => {
                    (args.span.clone(), format!("[{words}]"))
                }
            };
            Edit { range: at, with }
        }
        None => added_member(file, entry, command, &format!("[{words}]")),
    };
    Some(vec![Edit { range: command.node.span.clone(), with: quoted(&shim.program) }, args])
}

/// Takes Wrasse out of an entry again.
pub(super) fn unwrap(text: &str, entry: &Node, args_were: ArgsWere) -> Option<Vec<Edit>> {
    let command = entry.member("command")?;
    let args = entry.member("args")?;
    let at = command_line(entry, text).original_at()?;
    let Value::List(items) = &args.node.value else { return None };
    let original = items.get(at)?;
    let back =
        Edit { range: command.node.span.clone(), with: text[original.span.clone()].to_owned() };
    let start = items.first()?.span.start;
    let list = match items.get(at + 1) {
        Some(next) => Edit { range: start..next.span.start, with: String::new() },
        None => match args_were {
            ArgsWere::Missing => removed_member(text, entry, command, args),
            ArgsWere::Null | ArgsWere::List => None,
        }
        .unwrap_or_else(|| emptied(text, &args.node, original, args_were)),
    };
    Some(vec![back, list])
}

/// The list without its items, or `null` again.
fn emptied(text: &str, args: &Node, last: &Node, args_were: ArgsWere) -> Edit {
    if args_were == ArgsWere::Null {
        return Edit { range: args.span.clone(), with: "null".to_owned() };
    }
    // A comma that a formatter put behind the last item goes with it; a comment stays.
    let tail = &text[last.span.end..args.span.end];
    let tail = tail.trim_start().strip_prefix(',').unwrap_or(tail);
    Edit { range: args.span.start + 1..args.span.end, with: tail.to_owned() }
}

/// `args` behind `command`: on a line of its own where `command` has one.
fn added_member(file: Text<'_>, entry: &Node, command: &Member, list: &str) -> Edit {
    let text = file.text;
    let line_start = start_of_line(text, command.key_span.start);
    let before = &text[line_start..command.key_span.start];
    let end = command.node.span.end;
    match style(entry) {
        Style::Braces => {
            let own_line = line_start > 0 && before.chars().all(|c| c == ' ' || c == '\t');
            let gap = if own_line { format!("{}{before}", newline(text)) } else { " ".to_owned() };
            let key = match file.format {
                Format::Json => "\"args\": ",
                Format::Toml => "args = ",
            };
            Edit { range: end..end, with: format!(",{gap}{key}{list}") }
        }
        Style::Lines => {
            let at = text[end..].find('\n').map_or(text.len(), |at| end + at);
            let at = if text[..at].ends_with('\r') { at - 1 } else { at };
            Edit { range: at..at, with: format!("{}{before}args = {list}", newline(text)) }
        }
    }
}

/// Takes out what [`added_member`] put in; nothing where something else was put beside it since.
fn removed_member(text: &str, entry: &Node, command: &Member, args: &Member) -> Option<Edit> {
    let end = args.node.span.end;
    match style(entry) {
        Style::Braces => {
            let between = text.get(command.node.span.end..args.key_span.start)?;
            let ours = between.trim().trim_start_matches(',').is_empty();
            ours.then(|| Edit { range: command.node.span.end..end, with: String::new() })
        }
        Style::Lines => {
            let rest = text[end..].lines().next().unwrap_or_default();
            let break_at = text[..start_of_line(text, args.key_span.start)].strip_suffix('\n')?;
            let break_at = break_at.strip_suffix('\r').unwrap_or(break_at).len();
            let ours = rest.trim().is_empty();
            ours.then(|| Edit { range: break_at..end, with: String::new() })
        }
    }
}

fn style(entry: &Node) -> Style {
    match &entry.value {
        Value::Object(_, style) => *style,
        Value::Text(_) | Value::List(_) | Value::Word => Style::Braces,
    }
}

fn start_of_line(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

/// How the file ends its lines.
fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        Some(_) | None => "\n",
    }
}

/// A text as JSON, JSON5 and TOML alike spell it.
fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}

/// What the text must mean after an entry was wrapped.
pub(super) fn wrapped_meaning(meaning: &mut Json, path: &[String], name: &str, shim: &Shim) {
    let Some(entry) = at_mut(meaning, path) else { return };
    let mut args: Vec<Json> = shim.lead(name).into_iter().map(Json::from).collect();
    args.push(entry["command"].take());
    args.extend(entry["args"].as_array().cloned().unwrap_or_default());
    entry["command"] = Json::from(shim.program.as_str());
    entry["args"] = Json::from(args);
}

/// What the text must mean after Wrasse was taken out of an entry.
pub(super) fn unwrapped_meaning(meaning: &mut Json, path: &[String], original_at: usize) {
    let Some(entry) = at_mut(meaning, path) else { return };
    let mut args = entry["args"].as_array().cloned().unwrap_or_default();
    let mut rest = args.split_off(original_at.min(args.len()));
    if !rest.is_empty() {
        entry["command"] = rest.remove(0);
    }
    entry["args"] = Json::from(rest);
}

/// The same meaning, where an entry without arguments may say so in three ways.
pub(super) fn without_empty_args(meaning: &mut Json, path: &[String]) {
    let Some(Json::Object(entry)) = at_mut(meaning, path) else { return };
    let empty = match entry.get("args") {
        Some(Json::Array(items)) => items.is_empty(),
        Some(Json::String(word)) => word == "\0null",
        Some(_) | None => false,
    };
    if empty {
        entry.remove("args");
    }
}

fn at_mut<'a>(meaning: &'a mut Json, path: &[String]) -> Option<&'a mut Json> {
    path.iter().try_fold(meaning, |node, key| node.get_mut(key))
}
