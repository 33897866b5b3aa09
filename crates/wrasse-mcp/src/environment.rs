//! The environment of a server: what it needs to run at all, what the config passes on, and its own variables.
//!
//! Never the gateway's other variables: its keys and tokens are nobody else's business.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};

use wrasse_config::{InheritEnv, Secret};

/// Passed on under exactly these names.
const NAMES: [&str; 19] = [
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "FTP_PROXY",
    "NODE_EXTRA_CA_CERTS",
];

/// Passed on when the name begins so.
const PREFIXES: [&str; 4] = ["LC_", "XDG_", "SSL_CERT_", "npm_config_"];

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Puts it together; later sources win.
    pub(crate) fn build(
        ours: &HashMap<OsString, OsString>,
        inherit: &InheritEnv,
        own: &BTreeMap<String, Secret>,
    ) -> Self {
        let mut variables: BTreeMap<OsString, OsString> = ours
            .iter()
            .filter(|(name, _)| is_basic(name) || is_inherited(name, inherit))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, value) in own {
            variables.insert(name.into(), value.reveal().into());
        }
        Self { variables }
    }

    /// As the containment wants it.
    pub(crate) fn pairs(&self) -> Vec<(OsString, OsString)> {
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// A variable under exactly this name.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// A variable under this name, whatever the case of its letters.
    pub(crate) fn get_any_case(&self, name: &str) -> Option<&OsStr> {
        let mut all = self.variables.iter();
        all.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_os_str())
    }

    /// Variables of ours that a server did not get and that its own words name.
    pub(crate) fn lacks<'a>(
        &self,
        ours: &HashMap<OsString, OsString>,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Vec<String> {
        let mut found: Vec<String> = words
            .into_iter()
            .flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
            .filter(|word| is_variable_like(word))
            .filter(|word| ours.contains_key(OsStr::new(word)))
            .filter(|word| !self.variables.contains_key(OsStr::new(word)))
            .map(str::to_owned)
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

/// The inherited variables that belong to the identity of a server, in order.
pub(crate) fn inherited(
    ours: &HashMap<OsString, OsString>,
    inherit: &InheritEnv,
) -> BTreeMap<OsString, OsString> {
    ours.iter()
        .filter(|(name, _)| is_inherited(name, inherit))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn is_basic(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.to_ascii_lowercase().starts_with("npm_config_")
}

fn is_inherited(name: &OsStr, inherit: &InheritEnv) -> bool {
    name.to_str().is_some_and(|name| inherit.passes(name))
}

/// Three or more letters, all upper case, as variables are written; the language of a message is not.
fn is_variable_like(word: &str) -> bool {
    word.len() >= 3
        && word.chars().any(|c| c.is_ascii_uppercase())
        && !word.chars().any(|c| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> HashMap<OsString, OsString> {
        [
            "PATH",
            "HOME",
            "LC_ALL",
            "XDG_DATA_HOME",
            "https_proxy",
            "NPM_CONFIG_CACHE",
            "SSL_CERT_FILE",
            "OPENAI_API_KEY",
            "GITHUB_TOKEN",
            "NODE_OPTIONS",
            "WRASSE_GATEWAY_TOKEN",
            "DEBUG",
        ]
        .into_iter()
        .map(|name| (name.into(), "ours".into()))
        .collect()
    }

    fn names(environment: &Environment) -> Vec<String> {
        environment.pairs().into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
    }

    fn named(name: &str) -> InheritEnv {
        InheritEnv { names: vec![name.to_owned()] }
    }

    #[test]
    fn everything_is_everything_harmless() {
        let got = names(&Environment::build(&ours(), &named("*"), &BTreeMap::new()));
        assert!(got.contains(&"OPENAI_API_KEY".to_owned()), "{got:?}");
        for withheld in ["NODE_OPTIONS", "WRASSE_GATEWAY_TOKEN"] {
            assert!(!got.contains(&withheld.to_owned()), "{got:?}");
        }
    }

    // failure mode C11, J7
    #[test]
    fn exactly_the_documented_set() {
        let own = BTreeMap::from([("A".to_owned(), Secret::new("1"))]);
        let got = Environment::build(&ours(), &named("GITHUB_TOKEN"), &own);
        assert_eq!(
            names(&got),
            [
                "A",
                "GITHUB_TOKEN",
                "HOME",
                "LC_ALL",
                "NPM_CONFIG_CACHE",
                "PATH",
                "SSL_CERT_FILE",
                "XDG_DATA_HOME",
                "https_proxy"
            ]
        );
    }

    #[test]
    fn own_variables_win() {
        let own = BTreeMap::from([("PATH".to_owned(), Secret::new("mine"))]);
        let got = Environment::build(&ours(), &InheritEnv::default(), &own);
        assert!(got.pairs().contains(&("PATH".into(), "mine".into())));
    }

    #[test]
    fn names_what_is_missing_only_if_the_server_asks_for_it() {
        let got = Environment::build(&ours(), &InheritEnv::default(), &BTreeMap::new());
        let lacks = got.lacks(&ours(), ["Error: OPENAI_API_KEY is not set (see HOME, DOCS_URL)"]);
        assert_eq!(lacks, ["OPENAI_API_KEY"]);
        assert!(got.lacks(&ours(), ["debug mode"]).is_empty());
    }
}
