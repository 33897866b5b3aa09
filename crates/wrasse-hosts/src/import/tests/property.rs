//! Any file: wrapped and undone it has the same bytes, and wrapped it means what it meant but for the entries.

use proptest::prelude::*;

use super::super::tree::parse;
use super::*;

/// What stands between the tokens of a JSON5 text.
fn gap() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        2 => Just(" ".to_owned()),
        1 => Just("\n  ".to_owned()),
        1 => Just("\r\n\t".to_owned()),
        1 => "// [a-z\"'{}]{0,6}\n".prop_map(|s| format!(" {s}")),
        1 => "/\\* [a-z,\\]]{0,6} \\*/",
    ]
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z@/._-]{1,8}", "[a-zé\"'\\\\ $\\{\\}\u{1f41f}]{1,8}"]
}

/// A text in quotes of either kind.
fn json_text() -> impl Strategy<Value = String> {
    (word(), any::<bool>()).prop_map(|(text, single)| {
        let double = serde_json::Value::from(text.as_str()).to_string();
        if single && !text.contains(['\'', '"', '\\']) { format!("'{text}'") } else { double }
    })
}

fn list(comma: bool) -> impl Strategy<Value = String> {
    (prop::collection::vec((gap(), json_text(), gap()), 0..4), gap(), any::<bool>()).prop_map(
        move |(items, end, trailing)| {
            let mut out = "[".to_owned();
            let count = items.len();
            for (index, (before, text, after)) in items.into_iter().enumerate() {
                let sep = if index + 1 < count || (trailing && comma) { "," } else { "" };
                out.push_str(&format!("{before}{text}{after}{sep}"));
            }
            out + &end + "]"
        },
    )
}

/// One entry: its members in any order, some missing.
fn entry() -> impl Strategy<Value = String> {
    let command = json_text().prop_map(|text| format!("command: {text}"));
    let args = prop_oneof![
        3 => list(true).prop_map(|list| Some(format!("\"args\":{list}"))),
        1 => Just(None),
        1 => Just(Some("args: null".to_owned())),
    ];
    let env = prop::option::of(json_text().prop_map(|text| format!("env: {{ T: {text} }}")));
    let off = prop::option::of(Just("enabled: false".to_owned()));
    (command, args, env, off, gap(), gap(), any::<u8>()).prop_map(
        |(command, args, env, off, a, b, turn)| {
            let mut members: Vec<String> =
                [Some(command), args, env, off].into_iter().flatten().collect();
            let turn = usize::from(turn) % members.len();
            members.rotate_left(turn);
            let body = members.join(&format!("{b},{a}"));
            let comma = if turn == 0 { "," } else { "" };
            format!("{{{a}{body}{b}{comma}{b}}}")
        },
    )
}

fn openclaw_text() -> impl Strategy<Value = String> {
    let entries = prop::collection::vec((gap(), entry(), gap()), 0..4);
    (entries, gap(), any::<bool>(), json_text()).prop_map(|(entries, g, mark, other)| {
        let mut servers = String::new();
        for (index, (before, entry, after)) in entries.into_iter().enumerate() {
            servers.push_str(&format!("{before}s{index}:{after}{entry}{before},"));
        }
        let mark = if mark { "\u{feff}" } else { "" };
        format!("{mark}{g}{{{g}agents: {other},{g}mcp:{g}{{ servers: {{{servers}{g}}},}}{g}}}{g}")
    })
}

/// TOML: a table, an inline table or dotted keys for each server.
fn codex_text() -> impl Strategy<Value = String> {
    let text = word().prop_map(|text| serde_json::Value::from(text).to_string());
    let literal = "[a-z ]{1,6}".prop_map(|text| format!("'{text}'"));
    let texts = prop_oneof![text, literal].boxed();
    let args = prop::option::of(
        (prop::collection::vec(texts.clone(), 0..4), any::<bool>()).prop_map(|(items, lines)| {
            let gap = if lines { "\n    " } else { " " };
            let mut out = "[".to_owned();
            for item in items {
                out.push_str(&format!("{gap}{item},"));
            }
            if lines { out + " # end\n]" } else { out + " ]" }
        }),
    );
    let entry = (texts, args, 0..3_u8, prop::option::of("# [a-z=\"]{0,6}"), any::<bool>());
    (prop::collection::vec(entry, 0..4), any::<bool>()).prop_map(|(entries, crlf)| {
        let mut top = "model = \"m\"\n".to_owned();
        let mut tables = String::new();
        for (index, (command, args, kind, comment, indent)) in entries.into_iter().enumerate() {
            let comment = comment.unwrap_or_default();
            let indent = if indent { "  " } else { "" };
            match kind {
                0 => {
                    tables.push_str(&format!("[mcp_servers.s{index}]\n"));
                    if let Some(args) = args {
                        tables.push_str(&format!("{indent}args = {args}\n"));
                    }
                    tables.push_str(&format!("{indent}command = {command} {comment}\n"));
                }
                1 => {
                    let args = args.filter(|args| !args.contains('\n'));
                    let args = args.map(|args| format!(", args = {args}")).unwrap_or_default();
                    top.push_str(&format!(
                        "mcp_servers.s{index} = {{ command = {command}{args} }} {comment}\n"
                    ));
                }
                _ => {
                    top.push_str(&format!(
                        "mcp_servers.\"s{index}\".command = {command} {comment}\n"
                    ));
                    if let Some(args) = args {
                        top.push_str(&format!("mcp_servers.s{index}.args = {args}\n"));
                    }
                }
            }
        }
        let text = top + &tables;
        if crlf { text.replace('\n', "\r\n") } else { text }
    })
}

fn check(host: Host, text: &str) -> Result<(), TestCaseError> {
    let home = Home::with(host, text);
    let found = home.find().map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
    let wrappable = found.entries.iter().filter(|e| e.kind == super::super::Kind::Stdio).count();
    let plan = home.wrap(&[]).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
    let changed: usize = plan.files.iter().map(|file| file.entries.len()).sum();
    prop_assert_eq!(changed, wrappable);
    let wrapped = home.file();
    for (old, new) in found.entries.iter().zip(home.find().unwrap().entries) {
        let is_wrapped = new.starts.unwrapped();
        prop_assert_eq!(is_wrapped.unwrap_or(new.starts), old.starts.clone());
    }
    prop_assert!(home.wrap(&[]).unwrap().is_empty());
    home.undo().map_err(|error| TestCaseError::fail(format!("{error}\n{wrapped}")))?;
    prop_assert_eq!(home.file(), text);
    home.assert_clean();
    home.wrap(&[]).unwrap();
    home.entries_only().map_err(|error| TestCaseError::fail(format!("{error}\n{wrapped}")))?;
    prop_assert_eq!(home.file(), text);
    home.assert_clean();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn wrap_then_undo_is_byte_identical_in_json5(text in openclaw_text()) {
        check(Host::OpenClaw, &text)?;
    }

    #[test]
    fn wrap_then_undo_is_byte_identical_in_toml(text in codex_text()) {
        check(Host::Codex, &text)?;
    }

    /// Not every text is a configuration; none is a panic, and what cannot be read is not written.
    #[test]
    fn any_text_is_read_or_refused(text in "[\\{\\}\\[\\]:,\"a-c=. \n#/*]{0,60}") {
        for host in [Host::Cursor, Host::Codex] {
            let home = Home::with(host, &text);
            drop(home.wrap(&[]));
            prop_assert_eq!(home.file(), text.clone());
            drop(parse(&text, host.format(), Path::new("x")));
        }
    }
}
