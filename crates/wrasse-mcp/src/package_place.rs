//! Where a package manager keeps what it downloads, so that "was launched before" means "is there".
//!
//! A state directory outlives a cache: a container with a kept volume begins with an empty one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha512};

use crate::environment::Environment;
use crate::package::{Package, Tool};

/// Hex digits of the hash that names a directory of npx.
const NPX_DIGITS: usize = 16;

/// The place of one package, for one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// What two launches at once would corrupt: the package in its cache.
    pub(crate) lock: String,
    /// What is there once the package is; `None` where that cannot be told from outside.
    directory: Option<PathBuf>,
    /// Where the program that runs the package is looked for.
    path: Option<std::ffi::OsString>,
    runtime: Option<&'static str>,
}

impl Place {
    /// Works it out; looks at no file.
    pub(crate) fn of(package: &Package, environment: &Environment, cwd: &Path) -> Self {
        let cache = match &package.cache_flag {
            Some(flag) => Some(cwd.join(flag)),
            None => cache(package.tool, environment).map(|cache| cwd.join(cache)),
        };
        let directory = cache.as_deref().and_then(|cache| match package.tool {
            Tool::Npm => Some(npx_directory(cache, &package.specs)),
            Tool::Uv | Tool::Pnpm | Tool::Bun => Some(cache.to_owned()),
            Tool::Yarn | Tool::Pipx => None,
        });
        let lock = match &cache {
            Some(cache) => format!("{} in {}", package.key, cache.display()),
            None => package.key.clone(),
        };
        let runtime = match package.tool {
            Tool::Npm | Tool::Pnpm | Tool::Yarn => Some("node"),
            Tool::Bun | Tool::Uv | Tool::Pipx => None,
        };
        let path = environment.get("PATH").map(OsStr::to_owned);
        Self { lock, directory, path, runtime }
    }

    /// What a launch that came up is noted under, as things are now. It reads otherwise when the directory of the
    /// package is gone; a package that was never there (it is installed for everybody, or npm is configured in
    /// a file) is noted as that.
    pub(crate) async fn mark(&self) -> String {
        let [there, elsewhere] = self.marks().await;
        match &self.directory {
            Some(directory) if !is_there(directory).await => elsewhere,
            Some(_) | None => there,
        }
    }

    /// Every mark that it may be noted under.
    pub(crate) async fn marks(&self) -> [String; 2] {
        let there = match self.runtime_file().await {
            Some(file) => format!("{} by {}", self.lock, file.display()),
            None => self.lock.clone(),
        };
        let elsewhere = format!("{there}, kept elsewhere");
        [there, elsewhere]
    }

    async fn runtime_file(&self) -> Option<PathBuf> {
        let (runtime, path) = (self.runtime?, self.path.as_ref()?);
        for directory in std::env::split_paths(path) {
            let file = directory.join(runtime);
            if is_there(&file).await {
                return Some(file);
            }
        }
        None
    }
}

async fn is_there(path: &Path) -> bool {
    tokio::fs::metadata(path).await.is_ok()
}

/// `<cache>/_npx/<hash of the specs>`. Several specs are sorted by the rules of a language, which we do not know:
/// then only the directory above can be looked at.
fn npx_directory(cache: &Path, specs: &[String]) -> PathBuf {
    let above = cache.join("_npx");
    let [spec] = specs else { return above };
    let mut hash: String =
        Sha512::digest(spec.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    hash.truncate(NPX_DIGITS);
    above.join(hash)
}

/// The cache of a tool that is given no flag for it; `None` when nothing says where.
fn cache(tool: Tool, environment: &Environment) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let under = |name: &str, rest: &str| set(name).map(|base| Path::new(base).join(rest));
    let in_user_cache = |name: &str| {
        under("XDG_CACHE_HOME", name).or_else(|| under("HOME", ".cache").map(|it| it.join(name)))
    };
    match tool {
        // npm reads its variables in any case.
        Tool::Npm => environment
            .get_any_case("npm_config_cache")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
            .or_else(|| under("HOME", ".npm")),
        Tool::Uv => set("UV_CACHE_DIR").map(PathBuf::from).or_else(|| in_user_cache("uv")),
        Tool::Pnpm => environment
            .get_any_case("npm_config_cache_dir")
            .map(PathBuf::from)
            .or_else(|| in_user_cache("pnpm")),
        Tool::Bun => set("BUN_INSTALL_CACHE_DIR")
            .map(PathBuf::from)
            .or_else(|| under("HOME", ".bun/install/cache")),
        Tool::Yarn => under("HOME", ".yarn"),
        Tool::Pipx => set("PIPX_HOME")
            .map(PathBuf::from)
            .or_else(|| under("XDG_DATA_HOME", "pipx"))
            .or_else(|| under("HOME", ".local/share/pipx")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use wrasse_config::{InheritEnv, Secret};

    use super::*;
    use crate::package;

    fn place(line: &str, env: &[(&str, &str)]) -> Place {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let own: BTreeMap<String, Secret> =
            env.iter().map(|&(name, value)| (name.to_owned(), Secret::new(value))).collect();
        let environment = Environment::build(&HashMap::new(), &InheritEnv::default(), &own);
        Place::of(&package::of(&words[0], &words[1..]).unwrap(), &environment, Path::new("/cwd"))
    }

    #[test]
    fn places() {
        let hash = "a3241bba59c344f5";
        let fs = "npx -y @modelcontextprotocol/server-filesystem";
        let home = ("HOME", "/home/me");
        for (line, env, want) in [
            (fs, &[home] as &[(&str, &str)], Some(format!("/home/me/.npm/_npx/{hash}"))),
            (fs, &[home, ("NPM_CONFIG_CACHE", "/c")], Some(format!("/c/_npx/{hash}"))),
            (fs, &[home, ("npm_config_cache", "rel")], Some(format!("/cwd/rel/_npx/{hash}"))),
            ("npx --cache /f -p a -p b x", &[home], Some("/f/_npx".to_owned())),
            ("npx --cache=/f -p a -p b x", &[home], Some("/f/_npx".to_owned())),
            (fs, &[], None),
            ("uvx pkg", &[home], Some("/home/me/.cache/uv".to_owned())),
            ("uvx pkg", &[home, ("XDG_CACHE_HOME", "/x")], Some("/x/uv".to_owned())),
            ("uvx pkg", &[home, ("UV_CACHE_DIR", "/u")], Some("/u".to_owned())),
            ("uvx --cache-dir /v pkg", &[home], Some("/v".to_owned())),
            ("pipx run pkg", &[home], None),
        ] {
            assert_eq!(place(line, env).directory, want.map(PathBuf::from), "{line} {env:?}");
        }
    }

    #[tokio::test]
    async fn the_mark_knows_the_cache_the_node_and_whether_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let at = |home: &str, path: &str| place("npx pkg", &[("HOME", home), ("PATH", path)]);
        let one = at(root, "/nowhere");
        let absent = one.mark().await;
        std::fs::create_dir_all(one.directory.as_ref().unwrap()).unwrap();
        assert_ne!(one.mark().await, absent);
        assert_eq!(one.marks().await, [one.mark().await, absent]);
        assert_ne!(one.mark().await, at("/elsewhere", "/nowhere").mark().await);
        assert_ne!(one.lock, at("/elsewhere", "/nowhere").lock);
        std::fs::write(dir.path().join("node"), "").unwrap();
        assert_ne!(one.mark().await, at(root, root).mark().await);
        assert_eq!(one.lock, at(root, root).lock);
    }
}
