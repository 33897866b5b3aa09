//! What a shim is told, as an argument vector for the small executable and as a value for everybody.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use wrasse_types::{format_duration, parse_duration};

/// How long a server stays without being used, when nobody says.
pub const IDLE_DEFAULT: Duration = Duration::from_secs(30);

/// Who may use the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// This shim alone.
    #[default]
    Private,
    /// Every shim with the same key.
    Shared,
}

/// How the shim stands between host and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// It answers from the catalogue, starts and ends the server.
    #[default]
    Lazy,
    /// It passes bytes, and contains.
    Transparent,
}

/// Everything a shim is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrapOptions {
    /// The name of the server.
    pub name: String,
    /// How long the server stays without being used; `None` for as long as the host.
    pub idle: Option<Duration>,
    /// Who may use it.
    pub scope: Scope,
    /// How the shim stands between.
    pub manner: Manner,
    /// Where catalogue and ledger are.
    pub state_dir: PathBuf,
    /// The server's command and its arguments.
    pub command: Vec<OsString>,
}

/// Why an argument vector is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("wrasse-shim is run by wrasse wrap, of the same version: {0}")]
pub struct BadArguments(String);

/// The version that both sides of the argument vector must agree on, in words that stand in no other file.
pub(crate) const FORMAT: &str = concat!("wrasse-shim-arguments/", env!("CARGO_PKG_VERSION"), "/1");

impl WrapOptions {
    /// As arguments, the program's own name left out.
    pub fn to_args(&self) -> Vec<OsString> {
        let idle = self.idle.map_or_else(|| "off".to_owned(), format_duration_exactly);
        let scope = match self.scope {
            Scope::Private => "private",
            Scope::Shared => "shared",
        };
        let manner = match self.manner {
            Manner::Lazy => "lazy",
            Manner::Transparent => "transparent",
        };
        let mut args: Vec<OsString> =
            [FORMAT, &self.name, &idle, scope, manner].map(Into::into).into();
        args.push(self.state_dir.clone().into());
        args.push("--".into());
        args.extend(self.command.iter().cloned());
        args
    }

    /// From such arguments.
    ///
    /// # Errors
    /// When they are not such.
    pub fn from_args(args: &[OsString]) -> Result<Self, BadArguments> {
        let bad = |what: &str| BadArguments(what.to_owned());
        let [format, name, idle, scope, manner, state_dir, dashes, command @ ..] = args else {
            return Err(bad("too few arguments"));
        };
        if format != FORMAT {
            return Err(BadArguments(format!(
                "it is of version {FORMAT}, asked for {}",
                format.display()
            )));
        }
        if dashes != "--" || command.is_empty() {
            return Err(bad("no command"));
        }
        let text =
            |arg: &OsStr| arg.to_str().map(ToOwned::to_owned).ok_or_else(|| bad("not UTF-8"));
        Ok(Self {
            name: text(name)?,
            idle: match text(idle)?.as_str() {
                "off" => None,
                duration => Some(
                    parse_duration(duration).map_err(|error| BadArguments(error.to_string()))?,
                ),
            },
            scope: match text(scope)?.as_str() {
                "private" => Scope::Private,
                "shared" => Scope::Shared,
                _ => return Err(bad("no scope")),
            },
            manner: match text(manner)?.as_str() {
                "lazy" => Manner::Lazy,
                "transparent" => Manner::Transparent,
                _ => return Err(bad("no manner")),
            },
            state_dir: state_dir.into(),
            command: command.to_vec(),
        })
    }

    /// A name for a server that nobody named: what its command line is about.
    pub fn name_of(command: &[OsString]) -> String {
        let text = |arg: &OsString| arg.to_string_lossy().into_owned();
        let base = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
        let program = command.first().map(text).map(|word| base(&word)).unwrap_or_default();
        let runs_others = matches!(
            program.as_str(),
            "npx"
                | "bunx"
                | "uvx"
                | "uv"
                | "node"
                | "bun"
                | "deno"
                | "python"
                | "python3"
                | "pnpm"
                | "yarn"
                | "npm"
        );
        let skip = |word: &String| {
            word.starts_with('-') || matches!(word.as_str(), "run" | "exec" | "dlx" | "tool" | "x")
        };
        let package = command.iter().skip(1).map(text).find(|word| !skip(word));
        let named = if runs_others { package.map(|word| base(&word)) } else { None };
        let named = named.unwrap_or(program);
        // `package@version`: the version is not the name.
        let at = named.rfind('@').filter(|at| *at > 0);
        at.map_or(named.clone(), |at| named[..at].to_owned())
    }
}

fn format_duration_exactly(duration: Duration) -> String {
    if duration.subsec_millis() == 0 && duration.as_secs() < 60 {
        return format_duration(duration);
    }
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_there_and_back() {
        for idle in [None, Some(Duration::from_millis(90_500)), Some(Duration::from_secs(30))] {
            let options = WrapOptions {
                name: "fs".to_owned(),
                idle,
                scope: Scope::Shared,
                manner: Manner::Transparent,
                state_dir: "/x y".into(),
                command: vec!["npx".into(), "--".into(), "-y".into()],
            };
            assert_eq!(WrapOptions::from_args(&options.to_args()).unwrap(), options);
        }
        for bad in [
            &[][..],
            &["--version"],
            &["wrasse-shim-arguments/0.0.0/1", "a", "off", "private", "lazy", "/", "--", "x"],
        ] {
            let args: Vec<OsString> = bad.iter().map(Into::into).collect();
            assert!(WrapOptions::from_args(&args).is_err());
        }
    }

    #[test]
    fn servers_are_named_after_what_they_are() {
        for (command, name) in [
            ("npx -y @modelcontextprotocol/server-filesystem@2026.1.2 /tmp", "server-filesystem"),
            ("uvx mcp-server-sqlite --db x", "mcp-server-sqlite"),
            ("node /srv/a/index.js", "index.js"),
            ("/usr/bin/thing -y", "thing"),
            ("npx", "npx"),
        ] {
            let command: Vec<OsString> = command.split(' ').map(Into::into).collect();
            assert_eq!(WrapOptions::name_of(&command), name);
        }
    }
}
