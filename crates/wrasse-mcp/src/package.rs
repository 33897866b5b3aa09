//! Commands that download what they run: `npx -y pkg`, `uvx pkg` and their like.
//!
//! The first launch of a package is a download and an installation, neither of which may run twice at once
//! nor count as a slow server (failure modes C5, C7).

use std::path::Path;

/// A package that a command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// What it is kept under: the tool and every spec, as `npx:@scope/pkg@1`.
    pub(crate) key: String,
    /// The package manager behind it.
    pub(crate) tool: Tool,
    /// The packages, as written, sorted.
    pub(crate) specs: Vec<String>,
    /// The cache directory that the command line names.
    pub(crate) cache_flag: Option<String>,
}

/// A package manager: launchers of one share a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Npm,
    Pnpm,
    Yarn,
    Bun,
    Uv,
    Pipx,
}

/// How a launcher's command line is read.
struct Launcher {
    program: &'static str,
    tool: Tool,
    /// Words between the program and its flags, as in `pnpm dlx`.
    verb: &'static [&'static str],
    /// Flags that name a package and take a value.
    spec_flags: &'static [&'static str],
    /// Flags that take a value which is none.
    value_flags: &'static [&'static str],
    /// The one of them that names the cache.
    cache_flag: Option<&'static str>,
    /// Flags that make the line something else.
    other: &'static [&'static str],
}

const NPM_VALUES: &[&str] =
    &["--cache", "--registry", "--userconfig", "--loglevel", "-w", "--workspace"];

const LAUNCHERS: &[Launcher] = &[
    Launcher {
        program: "npx",
        tool: Tool::Npm,
        cache_flag: Some("--cache"),
        verb: &[],
        spec_flags: &["-p", "--package"],
        value_flags: NPM_VALUES,
        other: &["-c", "--call"],
    },
    Launcher {
        program: "npm",
        tool: Tool::Npm,
        cache_flag: Some("--cache"),
        verb: &["exec", "x"],
        spec_flags: &["--package"],
        value_flags: NPM_VALUES,
        other: &["-c", "--call"],
    },
    Launcher {
        program: "pnpm",
        tool: Tool::Pnpm,
        cache_flag: None,
        verb: &["dlx"],
        spec_flags: &["--package"],
        value_flags: &[],
        other: &["-c", "--shell-mode"],
    },
    Launcher {
        program: "yarn",
        tool: Tool::Yarn,
        cache_flag: None,
        verb: &["dlx"],
        spec_flags: &["-p", "--package"],
        value_flags: &[],
        other: &[],
    },
    Launcher {
        program: "bunx",
        tool: Tool::Bun,
        cache_flag: None,
        verb: &[],
        spec_flags: &["-p", "--package"],
        value_flags: &[],
        other: &[],
    },
    Launcher {
        program: "uvx",
        tool: Tool::Uv,
        cache_flag: Some("--cache-dir"),
        verb: &[],
        spec_flags: &["--from", "--with"],
        value_flags: &[
            "-p",
            "--python",
            "--index-url",
            "--index",
            "--default-index",
            "--cache-dir",
            "--directory",
        ],
        other: &["--with-editable", "--with-requirements"],
    },
    Launcher {
        program: "pipx",
        tool: Tool::Pipx,
        cache_flag: None,
        verb: &["run"],
        spec_flags: &["--spec"],
        value_flags: &["--python", "--index-url"],
        other: &[],
    },
];

/// Reads a command line; `None` when it names no package that would be downloaded.
pub(crate) fn of(command: &str, args: &[String]) -> Option<Package> {
    let program = Path::new(command).file_name()?.to_str()?;
    let program = program.strip_suffix(".cmd").unwrap_or(program);
    let launcher = LAUNCHERS.iter().find(|launcher| launcher.program == program)?;
    let mut args = args.iter().map(String::as_str).peekable();
    if !launcher.verb.is_empty() && !args.next().is_some_and(|verb| launcher.verb.contains(&verb)) {
        return None;
    }
    let mut specs: Vec<String> = Vec::new();
    let mut cache_flag = None;
    while let Some(arg) = args.next() {
        let (flag, inline) = match arg.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => (flag, Some(value)),
            _ => (arg, None),
        };
        if launcher.other.contains(&flag) {
            return None;
        } else if launcher.spec_flags.contains(&flag) {
            specs.push(inline.or_else(|| args.next())?.to_owned());
        } else if launcher.value_flags.contains(&flag) {
            let value = inline.or_else(|| args.next());
            if launcher.cache_flag == Some(flag) {
                cache_flag = value.map(str::to_owned);
            }
        } else if arg == "--" || !arg.starts_with('-') {
            let positional = if arg == "--" { args.next() } else { Some(arg) };
            if specs.is_empty() {
                specs.push(positional?.to_owned());
            }
            break;
        }
    }
    specs.retain(|spec| !is_local(spec));
    specs.sort();
    (!specs.is_empty()).then(|| Package {
        key: format!("{program}:{}", specs.join(" ")),
        tool: launcher.tool,
        specs,
        cache_flag,
    })
}

fn is_local(spec: &str) -> bool {
    spec.starts_with(['.', '/', '~']) || spec.starts_with("file:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(line: &str) -> Option<String> {
        let mut words = line.split(' ').map(str::to_owned);
        let command = words.next().unwrap();
        of(&command, &words.collect::<Vec<_>>()).map(|package| package.key)
    }

    #[test]
    fn table() {
        for (line, want) in [
            ("npx -y @upstash/context7-mcp", Some("npx:@upstash/context7-mcp")),
            ("npx --yes pkg@1.2 --flag -p x", Some("npx:pkg@1.2")),
            ("/usr/bin/npx -y -p b -p a cmd arg", Some("npx:a b")),
            ("npx --package=a -- cmd", Some("npx:a")),
            ("npx -y -- pkg", Some("npx:pkg")),
            ("npx --registry http://r pkg", Some("npx:pkg")),
            ("npx -c pkg", None),
            ("npx -y ./local", None),
            ("npx", None),
            ("npm exec -y pkg", Some("npm:pkg")),
            ("npm run x", None),
            ("pnpm dlx pkg", Some("pnpm:pkg")),
            ("pnpm install pkg", None),
            ("bunx pkg", Some("bunx:pkg")),
            ("uvx mcp-server-time --tz UTC", Some("uvx:mcp-server-time")),
            ("uvx --from git+https://x/y tool", Some("uvx:git+https://x/y")),
            ("uvx --python 3.12 pkg", Some("uvx:pkg")),
            ("node server.js", None),
        ] {
            assert_eq!(key(line).as_deref(), want, "{line}");
        }
    }
}
