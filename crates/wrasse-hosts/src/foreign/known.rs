//! The servers that configuration files name, and how a process is recognised as one of them.
//!
//! A launcher hides what it starts: `npx -y pkg dir` shows as `npm exec pkg dir`, then as a shell, then as
//! `node …/.bin/name dir`. What must agree is the package *and* every argument after it; a program name alone is never
//! enough, except for a program that belongs to one server only (not an interpreter), and then only as weak evidence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::processes::{Process, executable};
use crate::import::Host;

/// A server that a host's configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownServer {
    /// Whose configuration.
    pub host: Host,
    /// The file it stands in.
    pub file: PathBuf,
    /// Its name there.
    pub name: String,
    pub(super) command: String,
    pub(super) args: Vec<String>,
    /// The program file of the command, when it is one that belongs to this server.
    program: Option<PathBuf>,
    package: Option<Package>,
}

/// How sure it is that a process is a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// It executes the server's own program, with other arguments.
    Program,
    /// It was started as the configuration says.
    CommandLine,
}

/// What a launcher is told to start.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    /// As it was written.
    spec: String,
    /// Without its version.
    name: String,
    /// What follows it.
    tail: Vec<String>,
}

/// Programs that run other programs: that a process executes one of them says nothing.
const GENERAL: [&str; 24] = [
    "sh", "bash", "dash", "zsh", "ash", "busybox", "env", "node", "nodejs", "bun", "deno", "npm",
    "npx", "pnpm", "yarn", "uv", "uvx", "pipx", "docker", "podman", "ruby", "java", "perl", "php",
];

impl KnownServer {
    /// A server as a file names it, with the variables of its host put in.
    pub(super) fn new(
        host: Host,
        file: PathBuf,
        name: String,
        command: &str,
        args: &[String],
        env: &BTreeMap<String, String>,
    ) -> Self {
        let command = substituted(command, env);
        let args: Vec<String> = args.iter().map(|word| substituted(word, env)).collect();
        let package = package(&command, &args);
        let program = if package.is_some() || is_general(base(&command)) {
            None
        } else {
            found(&command, env.get("PATH").map(String::as_str))
        };
        Self { host, file, name, command, args, program, package }
    }

    /// Whether it is started by a package runner, whose package is not pinned to a version.
    pub fn is_unpinned(&self) -> bool {
        self.package.as_ref().is_some_and(|package| {
            let rest = package.spec.get(package.name.len()..).unwrap_or_default();
            rest.is_empty() || rest == "@latest"
        })
    }

    /// Whether a process is this server, and how sure that is.
    pub(super) fn recognises(&self, process: &Process) -> Option<Evidence> {
        let argv = &process.argv;
        let first = argv.first()?;
        let script = script(argv);
        let same = |at: usize| {
            argv.get(at).is_some_and(|word| base(word) == base(&self.command))
                && argv.get(at + 1..) == Some(&self.args[..])
        };
        if same(0) || script.is_some_and(same) {
            return Some(Evidence::CommandLine);
        }
        if let Some(package) = &self.package {
            let title = format!("npm exec {} {}", package.spec, package.tail.join(" "));
            if argv.len() == 1 && *first == title.trim_end() {
                return Some(Evidence::CommandLine);
            }
            let at = script?;
            let of_package = argv.get(at + 1..) == Some(&package.tail[..])
                && belongs(Path::new(&argv[at]), &package.name);
            return of_package.then_some(Evidence::CommandLine);
        }
        let program = self.program.as_ref()?;
        (executable(process.id.pid)?.as_path() == program).then_some(Evidence::Program)
    }
}

/// The last part of a path.
pub(super) fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn is_general(name: &str) -> bool {
    GENERAL.contains(&name) || name.starts_with("python")
}

/// Where in the arguments of an interpreter its script stands.
fn script(argv: &[String]) -> Option<usize> {
    if !is_general(base(argv.first()?)) {
        return None;
    }
    (1..argv.len()).find(|at| !argv[*at].starts_with('-'))
}

/// Whether a script file belongs to an installed package: below its folder, or a link into it.
fn belongs(script: &Path, package: &str) -> bool {
    let folder = format!("/node_modules/{package}/");
    let inside = |path: &Path| path.to_string_lossy().contains(&folder);
    if inside(script) || std::fs::canonicalize(script).is_ok_and(|real| inside(&real)) {
        return true;
    }
    // What uv installs for a tool has the tool's name.
    let text = script.to_string_lossy();
    text.contains("/uv/") && base(&text) == package
}

fn package(command: &str, args: &[String]) -> Option<Package> {
    let mut words = args.iter().map(String::as_str).peekable();
    match base(command) {
        "npx" | "bunx" | "pnpx" | "uvx" => {}
        "npm" if words.next_if(|word| matches!(*word, "exec" | "x")).is_some() => {}
        "pnpm" | "yarn" if words.next_if_eq(&"dlx").is_some() => {}
        "bun" if words.next_if_eq(&"x").is_some() => {}
        "pipx" if words.next_if_eq(&"run").is_some() => {}
        "uv" if words.next_if_eq(&"tool").is_some() && words.next_if_eq(&"run").is_some() => {}
        _ => return None,
    }
    let mut named = None;
    while let Some(word) = words.next_if(|word| word.starts_with('-')) {
        match word {
            "-p" | "--package" | "--from" => named = words.next().map(str::to_owned),
            "--" => break,
            _ => {
                if let Some(spec) = word.strip_prefix("--package=") {
                    named = Some(spec.to_owned());
                }
            }
        }
    }
    let first = words.next()?.to_owned();
    let spec = named.unwrap_or(first);
    let name = match spec.get(1..).and_then(|rest| rest.find('@')) {
        Some(at) => spec[..=at].to_owned(),
        None => spec.split("==").next().unwrap_or(&spec).to_owned(),
    };
    Some(Package { spec, name, tail: words.map(str::to_owned).collect() })
}

/// `${NAME}` replaced where the variable is set, as OpenClaw does it; `$${` is an escape.
pub(super) fn substituted(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let Some(end) = from.find('}') else { break };
        let name = &from[2..end];
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str(&from[..=end]);
        } else {
            out.push_str(before);
            match env.get(name).filter(|value| !value.is_empty()) {
                Some(value) => out.push_str(value),
                None => out.push_str(&from[..=end]),
            }
        }
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    out
}

fn found(command: &str, path: Option<&str>) -> Option<PathBuf> {
    let file = if command.contains('/') {
        std::fs::canonicalize(command).ok()
    } else {
        std::env::split_paths(path.unwrap_or("/usr/local/bin:/usr/bin:/bin"))
            .find_map(|folder| std::fs::canonicalize(folder.join(command)).ok())
    };
    // A name of its own may lead to an interpreter, or to a box of many programs.
    file.filter(|file| !is_general(base(&file.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use wrasse_types::UnixMillis;

    use super::super::processes::{Identity, Stdio};
    use super::*;

    fn server(command: &str, args: &[&str]) -> KnownServer {
        let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
        let env = BTreeMap::from([("DATA".to_owned(), "/data".to_owned())]);
        KnownServer::new(Host::OpenClaw, "c".into(), "s".into(), command, &args, &env)
    }

    fn process(argv: &[&str]) -> Process {
        Process {
            id: Identity { pid: u32::MAX, start_ticks: 0 },
            ppid: 1,
            uid: 0,
            name: String::new(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            started_at: UnixMillis::new(0),
            terminal: None,
            elsewhere: false,
            stopped: false,
            zombie: false,
            ours: false,
            stdio: [Stdio::Null; 3],
        }
    }

    #[test]
    fn a_launched_package_is_known_in_all_its_shapes() {
        let files = server("npx", &["-y", "@scope/files@1.2", "${DATA}"]);
        let known = |argv: &[&str]| files.recognises(&process(argv));
        for argv in [
            &["npx", "-y", "@scope/files@1.2", "/data"][..],
            &["node", "/usr/bin/npx", "-y", "@scope/files@1.2", "/data"],
            &["npm exec @scope/files@1.2 /data"],
            &["node", "/x/_npx/1/node_modules/@scope/files/dist/index.js", "/data"],
        ] {
            assert_eq!(known(argv), Some(Evidence::CommandLine), "{argv:?}");
        }
        for argv in [
            &["npm exec @scope/files@1.2 /other"][..],
            &["npm exec @scope/files@1.2"],
            &["node", "/x/node_modules/@scope/files/dist/index.js", "/data", "more"],
            &["node", "/x/node_modules/@scope/filesystem/index.js", "/data"],
            &["node"],
            &["npx"],
            &[],
        ] {
            assert_eq!(known(argv), None, "{argv:?}");
        }
        assert!(!files.is_unpinned());
        assert!(server("npx", &["-y", "files"]).is_unpinned());
        assert!(server("uvx", &["--from", "git+x", "tool"]).package.is_some());
    }

    #[test]
    fn a_program_is_known_by_its_whole_command_line_or_weakly_by_its_file() {
        let own = server("/opt/tool", &["serve", "x"]);
        assert_eq!(
            own.recognises(&process(&["/opt/tool", "serve", "x"])),
            Some(Evidence::CommandLine)
        );
        assert_eq!(
            own.recognises(&process(&["python3", "/opt/tool", "serve", "x"])),
            Some(Evidence::CommandLine)
        );
        assert_eq!(own.recognises(&process(&["/opt/tool", "serve"])), None);
        assert_eq!(own.recognises(&process(&["vi", "/opt/tool", "serve", "x"])), None);
        let python = server("python3", &["-m", "tool"]);
        assert_eq!(python.program, None, "an interpreter belongs to no server");
        assert_eq!(
            python.recognises(&process(&["/usr/bin/python3", "-m", "tool"])),
            Some(Evidence::CommandLine)
        );
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("own-name");
        std::fs::write(dir.path().join("busybox"), b"").unwrap();
        std::os::unix::fs::symlink(dir.path().join("busybox"), &link).unwrap();
        let many = server(link.to_str().unwrap(), &["serve"]);
        assert_eq!(many.program, None, "a name of its own for what everybody executes");
        let me = std::env::current_exe().unwrap();
        let same = server(me.to_str().unwrap(), &["--never"]);
        let mut running = process(&["anything"]);
        running.id.pid = std::process::id();
        assert_eq!(same.recognises(&running), Some(Evidence::Program));
    }

    #[test]
    fn variables_are_put_in_as_the_host_does() {
        let env =
            BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        assert_eq!(substituted("x${A}y${B}$${A}${E}", &env), "x1y${B}${A}${E}");
        assert_eq!(substituted("${A", &env), "${A");
    }
}
