//! What the tests share.

use wrasse_config::{Config, Faults, LoadOptions, Loaded, MemoryFiles, load_with_tree};

/// Where `openclaw.json` of the tests is.
pub(crate) const DIR: &str = "/home/node/.openclaw";

/// Options of a user whose current directory holds `openclaw.json`.
pub(crate) fn options() -> LoadOptions {
    LoadOptions {
        path: Some("openclaw.json".into()),
        state_dir: "/home/node/.wrasse".into(),
        cwd: DIR.into(),
        home: Some("/home/node".into()),
        cpu_count: 3,
        ..LoadOptions::default()
    }
}

/// The same with variables.
pub(crate) fn with_env(pairs: &[(&str, &str)]) -> LoadOptions {
    let env = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    LoadOptions { env, ..options() }
}

/// Files by path; relative ones are beside `openclaw.json`.
pub(crate) fn files(list: &[(&str, &str)]) -> MemoryFiles {
    let path = |name: &str| std::path::Path::new(DIR).join(name);
    MemoryFiles(list.iter().map(|&(name, text)| (path(name), text.to_owned())).collect())
}

/// Loads one text with these options.
pub(crate) fn load_with(options: &LoadOptions, text: &str) -> Result<Loaded, Faults> {
    load_with_tree(options, &files(&[("openclaw.json", text)]))
}

/// Loads one good text.
pub(crate) fn good(text: &str) -> Config {
    match load_with(&options(), text) {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{text}\n{faults}"),
    }
}

/// The report on one bad text.
pub(crate) fn bad(text: &str) -> String {
    match load_with(&options(), text) {
        Ok(loaded) => panic!("{text}\n{:?}", loaded.config),
        Err(faults) => faults.to_string(),
    }
}
