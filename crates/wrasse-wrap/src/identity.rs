//! What tells one server from another: everything that may change what it offers.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::server::Launch;

/// Variables that differ between sessions of one host without any meaning for the server, or are ours.
const VOLATILE: [&str; 22] = [
    "_",
    "SHLVL",
    "PWD",
    "OLDPWD",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "WINDOWID",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TMUX",
    "TMUX_PANE",
    "STY",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "SSH_AUTH_SOCK",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "WRASSE_MARK",
    "WRASSE_WARDEN",
];
/// The same, by how their names end.
const VOLATILE_ENDS: [&str; 6] =
    ["SESSION_ID", "THREAD_ID", "CONVERSATION_ID", "RUN_ID", "REQUEST_ID", "_PID"];

/// The parts that a catalogue key covers besides the host's opening.
pub fn parts(launch: &Launch) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = vec![launch.program.as_bytes().to_vec()];
    let mut list = |items: Vec<Vec<u8>>| {
        parts.push(items.len().to_string().into_bytes());
        parts.extend(items);
    };
    list(launch.args.iter().map(|arg| arg.as_bytes().to_vec()).collect());
    list(vec![launch.cwd.as_os_str().as_bytes().to_vec()]);
    let mut env: Vec<_> = launch.env.iter().filter(|(name, _)| !is_volatile(name)).collect();
    env.sort();
    list(
        env.iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
            .collect(),
    );
    let mut files: Vec<PathBuf> =
        found(&launch.program, &launch.env, &launch.cwd).into_iter().collect();
    // `node server.js`, `python server.py`: the program is in the arguments.
    files.extend(launch.args.iter().map(|arg| launch.cwd.join(arg)));
    list(files.iter().filter_map(|file| file_identity(file)).collect());
    parts
}

fn is_volatile(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        VOLATILE.contains(&name) || VOLATILE_ENDS.iter().any(|end| name.ends_with(end))
    })
}

/// A file by what changes when it is replaced; `None` for what is no file.
fn file_identity(path: &Path) -> Option<Vec<u8>> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let times = format!(":{}:{}.{}", metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    Some([real.as_os_str().as_bytes(), times.as_bytes()].concat())
}

fn found(program: &OsStr, env: &[(OsString, OsString)], cwd: &Path) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(cwd.join(program));
    }
    let (_, path) = env.iter().find(|(name, _)| name == "PATH")?;
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A command line without what looks like a secret.
pub fn redacted(command: &[OsString]) -> Vec<String> {
    let mut hide_next = false;
    command
        .iter()
        .map(|arg| {
            let arg = arg.to_string_lossy().into_owned();
            if std::mem::take(&mut hide_next) && !arg.starts_with('-') {
                return "***".to_owned();
            }
            let (flag, value) = match arg.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (arg.as_str(), None),
            };
            let secret = !flag.contains("://") && sounds_secret(flag);
            match value {
                Some(_) if secret => format!("{flag}=***"),
                None if secret && flag.starts_with('-') => {
                    hide_next = true;
                    arg
                }
                Some(_) | None => without_password(&arg),
            }
        })
        .collect()
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["key", "token", "secret", "password", "passwd", "auth", "credential", "header", "bearer"]
        .iter()
        .any(|word| name.contains(word))
}

/// `scheme://user:password@host` without the password, `…?token=…` without its query; tokens by their look.
fn without_password(arg: &str) -> String {
    let looks_secret = |word: &str| {
        let long = word.len() >= 20
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let any = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
        let random =
            any(u8::is_ascii_digit) && any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase);
        let hexadecimal = word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
        let prefixed = ["sk-", "ghp_", "gho_", "github_pat_", "xoxb-", "glpat-"];
        prefixed.iter().any(|prefix| word.starts_with(prefix)) || (long && (random || hexadecimal))
    };
    let Some((scheme, rest)) = arg.split_once("://") else {
        return if looks_secret(arg) { "***".to_owned() } else { arg.to_owned() };
    };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    let path =
        path.split_once('?').map_or_else(|| path.to_owned(), |(path, _)| format!("{path}?***"));
    let slash = if rest.contains('/') { "/" } else { "" };
    format!("{scheme}://{authority}{slash}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(env: &[(&str, &str)]) -> Launch {
        Launch {
            name: "x".to_owned(),
            program: "npx".into(),
            args: vec!["-y".into(), "pkg".into()],
            env: env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: "/".into(),
        }
    }

    #[test]
    fn sessions_of_one_host_share_and_other_credentials_do_not() {
        let one = parts(&launch(&[
            ("A", "1"),
            ("API_KEY", "s"),
            ("TERM_SESSION_ID", "x"),
            ("SHLVL", "1"),
        ]));
        let two = parts(&launch(&[("API_KEY", "s"), ("SHLVL", "2"), ("A", "1")]));
        assert_eq!(one, two);
        assert_ne!(one, parts(&launch(&[("A", "1"), ("API_KEY", "t")])));
        let mut other = launch(&[("A", "1"), ("API_KEY", "s")]);
        other.cwd = "/tmp".into();
        assert_ne!(one, parts(&other));
    }

    #[test]
    fn a_replaced_program_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("server.js");
        std::fs::write(&script, b"1").unwrap();
        let mut launch = launch(&[]);
        launch.args = vec![script.clone().into()];
        let before = parts(&launch);
        assert_eq!(before, parts(&launch));
        std::fs::write(&script, b"22").unwrap();
        assert_ne!(before, parts(&launch));
    }

    #[test]
    fn secrets_are_left_out() {
        let shown = |line: &str| {
            let command: Vec<OsString> = line.split(' ').map(Into::into).collect();
            redacted(&command).join(" ")
        };
        assert_eq!(shown("npx -y pkg --api-key abc --port 8"), "npx -y pkg --api-key *** --port 8");
        assert_eq!(shown("x --token=abc API_KEY=v"), "x --token=*** API_KEY=***");
        assert_eq!(shown("x postgres://u:p@h/db?sslkey=1"), "x postgres://***@h/db?***");
        assert_eq!(
            shown("x sk-abc /home/me/some-long-folder-name1"),
            "x *** /home/me/some-long-folder-name1"
        );
        assert_eq!(
            shown("npx @modelcontextprotocol/server-filesystem"),
            "npx @modelcontextprotocol/server-filesystem"
        );
    }
}
