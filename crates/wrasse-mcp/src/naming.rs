//! The names under which tools are offered: `<server>__<tool>`.
//!
//! The rules are those that OpenClaw users know. Characters outside `[A-Za-z0-9_-]` become `-`, a fragment that
//! does not begin with a letter gets `mcp-` or `tool-` before it, the server part has at most 30 characters and
//! the whole at most 64, and what collides, letter case aside, gets `-2`, `-3`, ….
//!
//! Prefixes are made from all configured servers in order of name, so that a server which is down today does
//! not change the names of another.

use std::collections::{BTreeMap, HashSet};

use wrasse_types::ServerName;

const PREFIX_LEN_MAX: usize = 30;
const NAME_LEN_MAX: usize = 64;
const SEPARATOR: &str = "__";

/// The prefix of each server, the separator not included.
pub(crate) fn prefixes<'a>(
    servers: impl IntoIterator<Item = &'a ServerName>,
) -> BTreeMap<ServerName, String> {
    let mut sorted: Vec<&ServerName> = servers.into_iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut taken = HashSet::new();
    sorted
        .into_iter()
        .map(|server| {
            let base = fragment(server.as_str(), "mcp");
            (server.clone(), unique(&base, PREFIX_LEN_MAX, &mut taken))
        })
        .collect()
}

/// The offered names of the given tools of each server, as `(server, tool, name)` in the order in which they
/// are offered: by server, then tool. A tool that a server names twice is offered once.
pub(crate) fn offered(
    prefixes: &BTreeMap<ServerName, String>,
    mut tools: Vec<(ServerName, String)>,
    reserved: &[&str],
) -> Vec<(ServerName, String, String)> {
    tools.sort_unstable();
    tools.dedup();
    let mut taken: HashSet<String> = reserved.iter().map(|name| name.to_lowercase()).collect();
    tools
        .into_iter()
        .map(|(server, tool)| {
            let prefix = prefixes.get(&server).cloned().unwrap_or_else(|| {
                cut(&fragment(server.as_str(), "mcp"), PREFIX_LEN_MAX).to_owned()
            });
            let base = format!("{prefix}{SEPARATOR}{}", fragment(&tool, "tool"));
            let name = unique(&base, NAME_LEN_MAX, &mut taken);
            (server, tool, name)
        })
        .collect()
}

fn fragment(raw: &str, kind: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let safe: String = raw.trim().chars().map(|c| if plain(c) { c } else { '-' }).collect();
    if safe.is_empty() {
        kind.to_owned()
    } else if safe.starts_with(|c: char| c.is_ascii_alphabetic()) {
        safe
    } else {
        format!("{kind}-{safe}")
    }
}

/// Cuts to a length in bytes; the text is ASCII by then.
fn cut(text: &str, len_max: usize) -> &str {
    &text[..text.len().min(len_max)]
}

fn unique(base: &str, len_max: usize, taken: &mut HashSet<String>) -> String {
    let mut name = cut(base, len_max).to_owned();
    let mut number = 2_usize;
    while !taken.insert(name.to_lowercase()) {
        let suffix = format!("-{number}");
        name = format!("{}{suffix}", cut(base, len_max - suffix.len()));
        number += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(servers: &[(&str, &[&str])], reserved: &[&str]) -> Vec<String> {
        let keys: Vec<ServerName> = servers.iter().map(|(s, _)| ServerName::new(*s)).collect();
        let tools = servers
            .iter()
            .flat_map(|(s, tools)| tools.iter().map(|&tool| (ServerName::new(*s), tool.to_owned())))
            .collect();
        offered(&prefixes(&keys), tools, reserved).into_iter().map(|(_, _, name)| name).collect()
    }

    #[test]
    fn table() {
        assert_eq!(names(&[("sqlite", &["read_query"])], &[]), ["sqlite__read_query"]);
        assert_eq!(names(&[("my server", &["read.file"])], &[]), ["my-server__read-file"]);
        assert_eq!(names(&[("7zip", &["2fa", ""])], &[]), ["mcp-7zip__tool", "mcp-7zip__tool-2fa"]);
        assert_eq!(
            names(&[("a", &["x.y", "x-y", "X/Y"])], &[]),
            ["a__X-Y", "a__x-y-2", "a__x-y-3"]
        );
        assert_eq!(names(&[("A", &["t"]), ("a", &["t"])], &[]), ["A__t", "a-2__t"]);
        assert_eq!(names(&[("a", &["t", "t"])], &[]), ["a__t"]);
        assert_eq!(names(&[("a", &["t"])], &["A__T"]), ["a__t-2"]);
        assert_eq!(names(&[("b", &["z"]), ("a", &["q", "p"])], &[]), ["a__p", "a__q", "b__z"]);
        let long = "s".repeat(40);
        let tool = "t".repeat(80);
        let other = format!("{tool}u");
        let got = names(&[(&long, &[&tool, &other])], &[]);
        assert_eq!(got[0], format!("{}__{}", "s".repeat(30), "t".repeat(32)));
        assert_eq!(got[1], format!("{}__{}-2", "s".repeat(30), "t".repeat(30)));
    }

    #[test]
    fn a_server_without_tools_keeps_the_names_of_others() {
        let all = [ServerName::new("A"), ServerName::new("a")];
        let only = vec![(ServerName::new("a"), "t".to_owned())];
        assert_eq!(offered(&prefixes(&all), only, &[])[0].2, "a-2__t");
    }

    proptest! {
        #[test]
        fn any_names_are_legal_and_distinct(
            tools in proptest::collection::vec((".{0,40}", ".{0,80}"), 0..40),
        ) {
            let keys: Vec<ServerName> =
                tools.iter().map(|(server, _)| ServerName::new(server.clone())).collect();
            let input = tools.iter().map(|(s, t)| (ServerName::new(s.clone()), t.clone())).collect();
            let got = offered(&prefixes(&keys), input, &["sessions_spawn"]);
            let mut seen = HashSet::new();
            for (_, _, name) in &got {
                prop_assert!(name.len() <= NAME_LEN_MAX);
                prop_assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()));
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
                prop_assert!(seen.insert(name.to_lowercase()), "{name} twice");
            }
        }
    }
}
