//! Which variables of ours servers may have, and which of anybody's are a danger to them.

/// Variables that make a program load or run something else before it does what it is for.
const DANGEROUS: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "ENV",
    "KSH_ENV",
    "NODE_OPTIONS",
    "PERL5OPT",
    "PYTHONSTARTUP",
    "RUBYOPT",
    "SHELLOPTS",
];
const DANGEROUS_PREFIXES: &[&str] = &["LD_", "DYLD_", "BASH_FUNC_"];
/// Of AWS, only what is a credential by itself; the others point at files that run programs.
const AWS_ALLOWED: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
];

/// Ours are for gateways and their wardens: one of them is the key to the door.
const OWN_PREFIX: &str = "WRASSE_";

/// `mcp.inheritEnv`: which of our own variables servers get, besides those that all of them get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InheritEnv {
    /// `*` globs, as they were written.
    pub names: Vec<String>,
}

impl InheritEnv {
    /// Whether a variable is passed on: named in full, or by a glob if it is harmless.
    pub fn passes(&self, name: &str) -> bool {
        self.names.iter().any(|written| written == name)
            || (!needs_its_name(name) && self.covers(name))
    }

    /// Whether a variable is withheld that a glob covers, for want of its full name.
    pub(crate) fn withholds(&self, name: &str) -> bool {
        self.covers(name) && !self.passes(name)
    }

    fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|glob| glob_matches(glob, name))
    }
}

fn needs_its_name(name: &str) -> bool {
    is_dangerous(name) || name.starts_with(OWN_PREFIX)
}

/// Whether a variable makes a program run something else than it was meant to.
pub(crate) fn is_dangerous(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    DANGEROUS.contains(&name.as_str())
        || DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("AWS_") && !AWS_ALLOWED.contains(&name.as_str()))
}

/// Whether a glob matches a name; `*` is any text, everything else itself.
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(first) = parts.next() else { return name.is_empty() };
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, name, want) in [
            ("*", "", true),
            ("*", "x", true),
            ("read", "read", true),
            ("read", "reader", false),
            ("read*", "reader", true),
            ("*file", "read_file", true),
            ("*_*_*", "a_b_c", true),
            ("*_*_*", "a_b", false),
            ("a*a", "a", false),
            ("a*b*c", "aXbYc", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(glob_matches(glob, name), want, "{glob:?} on {name:?}");
        }
    }

    #[test]
    fn a_glob_passes_on_what_is_harmless() {
        let all = InheritEnv { names: vec!["*".into(), "NODE_OPTIONS".into(), "LD_*".into()] };
        for (name, passes) in [
            ("GITHUB_TOKEN", true),
            ("NODE_OPTIONS", true),
            ("LD_PRELOAD", false),
            ("LD_LIBRARY_PATH", false),
            ("BASH_ENV", false),
            ("BASH_FUNC_x%%", false),
            ("AWS_ACCESS_KEY_ID", true),
            ("AWS_CONFIG_FILE", false),
            ("WRASSE_GATEWAY_TOKEN", false),
        ] {
            assert_eq!(all.passes(name), passes, "{name}");
            assert_eq!(all.withholds(name), !passes, "{name}");
        }
        let named = InheritEnv { names: vec!["LD_PRELOAD".into()] };
        assert!(named.passes("LD_PRELOAD") && !named.passes("A") && !named.withholds("A"));
    }
}
