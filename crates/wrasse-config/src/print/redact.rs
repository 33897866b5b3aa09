//! What must not be printed: by the name of the key, by where it stands, and by how the text looks.

use crate::text::Node;

const MARK: &str = "[redacted]";

/// Parts of names that are secret wherever they stand.
const SECRET_PARTS: &[&str] = &[
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "passphrase",
    "password",
    "passwd",
    "privatekey",
    "secret",
    "token",
];
/// Names that end like a secret one and hold none.
const PLAIN: &[&str] =
    &["mainkey", "sessionkey", "declarationkey", "keyid", "secrets", "tokenfile"];

/// What is around a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'a> {
    /// The key itself is secret, or something above it is.
    secret: bool,
    /// How much of the path to a map of variables or headers is passed.
    parent: &'a str,
    /// The item before, for `["--token", "…"]`.
    before: Option<&'a str>,
}

impl<'a> Around<'a> {
    pub(super) fn root() -> Self {
        Self { secret: false, parent: "", before: None }
    }

    /// Around a member.
    pub(super) fn below(self, key: &'a str) -> Self {
        // Values of variables and headers are secret whatever their names are; `env.shellEnv` holds no variable.
        let in_map = matches!(self.parent, "env" | "headers" | "vars")
            && !matches!(key, "vars" | "shellEnv");
        let secret = self.secret || in_map || is_secret_name(key);
        Self { secret, parent: key, before: None }
    }

    /// Around an item of a list.
    pub(super) fn item(self, before: Option<&'a str>) -> Self {
        Self { before, ..self }
    }

    /// What stands for a whole object: a SecretRef below a secret key, or below any.
    pub(super) fn redacted_object(self, node: &Node) -> Option<&'static str> {
        let reference = node.members().len() <= 3 && crate::section::is_reference(node);
        (reference && node.get("provider").is_some()).then_some(MARK)
    }

    /// Whether even a number here is secret: a numeric password.
    pub(super) fn is_secret_scalar(self) -> bool {
        self.secret && !self.parent.ends_with("okens") && !self.parent.ends_with("Ms")
    }

    /// The text as it may be shown.
    pub(super) fn text(self, text: &str, written: Option<&str>) -> String {
        let after_flag = self.before.is_some_and(|before| {
            before.starts_with('-') && is_secret_name(before.trim_start_matches('-'))
        });
        let secret = self.secret || after_flag;
        match written {
            // `${NAME}` by itself says where the value is, which helps and harms nobody.
            Some(written) if !secret || is_variable(written) => outside(written),
            Some(_) | None if secret && !text.is_empty() => redacted(text),
            Some(_) | None => outside(text),
        }
    }
}

fn is_variable(written: &str) -> bool {
    written.starts_with("${") && written.find('}') == Some(written.len() - 1)
}

/// A command line as it may be shown: what a flag like `--token` introduces, and what looks like a secret, is not.
pub(super) fn arguments<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut before = None;
    let mut shown = Vec::new();
    for word in words {
        shown.push(Around::root().item(before).text(word, None));
        before = Some(word);
    }
    shown
}

/// What stands for a secret.
pub(super) fn redacted(_: &str) -> String {
    MARK.to_owned()
}

fn is_secret_name(name: &str) -> bool {
    let plain: String =
        name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    // `maxTokens` counts, `token` opens.
    if plain.ends_with("tokens") || plain.ends_with("threshold") || PLAIN.contains(&plain.as_str())
    {
        return false;
    }
    SECRET_PARTS.iter().any(|part| plain.contains(part)) || plain.ends_with("key")
}

/// Takes out what a text itself gives away: `user:password@` and secret parameters of addresses, `--token=…`.
fn outside(text: &str) -> String {
    let mut text = text.to_owned();
    // `--token=…`, `GITHUB_TOKEN=…` behind a docker's `-e`.
    if let Some((name, value)) = text.split_once('=')
        && is_word(name)
        && is_secret_name(name.trim_start_matches('-'))
        && !value.is_empty()
    {
        return format!("{name}={MARK}");
    }
    if let Some((name, value)) = text.split_once(':')
        && is_header_name(name)
        && !value.is_empty()
    {
        return format!("{name}: {MARK}");
    }
    if let Some(start) = text.find("://").map(|at| at + 3) {
        let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
        if let Some(at) = text[start..end].rfind('@') {
            text.replace_range(start..start + at, MARK);
        }
        if let Some((head, query)) = text.clone().split_once('?') {
            let query: Vec<String> = query.split('&').map(parameter).collect();
            text = format!("{head}?{}", query.join("&"));
        }
    }
    text
}

fn is_word(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// `Authorization`, `X-Api-Key`: what stands before the colon of a header that opens something.
fn is_header_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization")
        || (name.contains('-') && is_word(name) && is_secret_name(name))
}

fn parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if is_secret_name(name) => format!("{name}={MARK}"),
        Some(_) | None => pair.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "token",
            "botToken",
            "apiKey",
            "X-API-Key",
            "client_secret",
            "password",
            "Authorization",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["maxTokens", "mainKey", "sessionKey", "softThresholdTokens", "name", "command"]
        {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn texts_that_give_themselves_away() {
        assert_eq!(outside("https://u:p@h/x"), "https://[redacted]@h/x");
        assert_eq!(outside("https://h/x?api_key=1&b=2"), "https://h/x?api_key=[redacted]&b=2");
        assert_eq!(outside("--api-key=abc"), "--api-key=[redacted]");
        assert_eq!(outside("GITHUB_TOKEN=abc"), "GITHUB_TOKEN=[redacted]");
        assert_eq!(outside("a token=abc"), "a token=abc");
        assert_eq!(outside("Authorization: Bearer x"), "Authorization: [redacted]");
        assert_eq!(outside("X-Api-Key:abc"), "X-Api-Key: [redacted]");
        assert_eq!(outside("-y"), "-y");
    }

    #[test]
    fn command_lines() {
        let shown = |words: &[&str]| arguments(words.iter().copied()).join(" ");
        assert_eq!(shown(&["npx", "--api-key", "abc", "x"]), "npx --api-key [redacted] x");
        assert_eq!(
            shown(&["docker", "-e", "A_TOKEN=1", "-e", "A"]),
            "docker -e A_TOKEN=[redacted] -e A"
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in r"[a-z:/@?=&é-]{0,40}") {
            drop(outside(&text));
        }
    }
}
