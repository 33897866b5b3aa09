//! `*` globs over tool names, and what they say about a whole server before its tools are known.

pub use wrasse_config::glob_matches as matches;

/// Whether a glob matches every name that begins with `prefix`.
pub fn covers_prefix(glob: &str, prefix: &str) -> bool {
    glob.strip_suffix('*').is_some_and(|_| matches(glob, prefix))
}

/// Whether a glob matches some name that begins with `prefix`.
pub fn may_match_prefix(glob: &str, prefix: &str) -> bool {
    let literal = glob.split('*').next().unwrap_or_default();
    if literal.len() == glob.len() {
        return glob.starts_with(prefix);
    }
    literal.starts_with(prefix) || prefix.starts_with(literal)
}

/// Whether a server's own filter lets a tool through; an empty include list is everything.
pub(crate) fn passes(include: &[String], exclude: &[String], tool: &str) -> bool {
    (include.is_empty() || include.iter().any(|glob| matches(glob, tool)))
        && !exclude.iter().any(|glob| matches(glob, tool))
}

/// Whether a server's own filter lets nothing through, whatever its tools are called.
pub(crate) fn passes_nothing(include: &[String], exclude: &[String]) -> bool {
    let excluded = |glob: &String| {
        exclude.iter().any(|out| out == glob || (!glob.contains('*') && matches(out, glob)))
    };
    exclude.iter().any(|glob| covers_prefix(glob, ""))
        || (!include.is_empty() && include.iter().all(excluded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_servers() {
        assert!(covers_prefix("docs__*", "docs__"));
        assert!(covers_prefix("*", "docs__"));
        assert!(covers_prefix("d*", "docs__"));
        assert!(!covers_prefix("docs__read*", "docs__"));
        assert!(!covers_prefix("docs__", "docs__"));
        assert!(may_match_prefix("docs__read", "docs__"));
        assert!(may_match_prefix("do*", "docs__"));
        assert!(may_match_prefix("*read", "docs__"));
        assert!(!may_match_prefix("web__*", "docs__"));
        assert!(!may_match_prefix("docs", "docs__"));
    }

    #[test]
    fn own_filter() {
        let list = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        assert!(passes(&[], &[], "x"));
        assert!(!passes(&list(&["a*"]), &[], "x"));
        assert!(!passes(&list(&["x"]), &list(&["*"]), "x"));
        assert!(passes_nothing(&[], &list(&["*"])));
        assert!(passes_nothing(&list(&["x"]), &list(&["x"])));
        assert!(!passes_nothing(&list(&["x", "y"]), &list(&["x"])));
    }
}
