//! The hosts: where each keeps its servers, and what it needs to take up a change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A host whose servers can go through Wrasse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// OpenClaw, the gateway.
    OpenClaw,
    /// Claude Code.
    ClaudeCode,
    /// Claude Desktop.
    ClaudeDesktop,
    /// Codex: CLI, app and editor extension.
    Codex,
    /// Cursor.
    Cursor,
    /// Visual Studio Code and its relatives.
    VsCode,
    /// Gemini CLI.
    Gemini,
}

/// How a host's file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON, with comments or JSON5 where the file has them.
    Json,
    /// TOML.
    Toml,
}

/// What the places of files depend on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The process environment.
    pub env: BTreeMap<String, String>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// The current directory.
    pub cwd: PathBuf,
}

impl Surroundings {
    fn variable(&self, name: &str) -> Option<PathBuf> {
        let value = self.env.get(name).filter(|value| !value.trim().is_empty())?;
        Some(self.expand(value.trim()))
    }

    fn at_home(&self, path: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(path))
    }

    /// `$XDG_CONFIG_HOME`, `~/.config`.
    fn config(&self, path: &str) -> Option<PathBuf> {
        let dir = self.variable("XDG_CONFIG_HOME").or_else(|| self.at_home(".config"))?;
        Some(dir.join(path))
    }

    /// Turns `~`, `~/x` and relative paths into full ones.
    pub(super) fn expand(&self, text: &str) -> PathBuf {
        match (text.strip_prefix('~'), &self.home) {
            (Some(""), Some(home)) => home.clone(),
            (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
            _ => self.cwd.join(text),
        }
    }

    /// The path as a person writes it.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        match self.home.as_ref().and_then(|home| path.strip_prefix(home).ok()) {
            Some(rest) if !rest.as_os_str().is_empty() => Path::new("~").join(rest),
            Some(_) | None => path.to_owned(),
        }
    }
}

impl Host {
    /// Every host.
    pub const ALL: [Self; 7] = [
        Self::OpenClaw,
        Self::ClaudeCode,
        Self::ClaudeDesktop,
        Self::Codex,
        Self::Cursor,
        Self::VsCode,
        Self::Gemini,
    ];

    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenClaw => "openclaw",
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Codex => "codex",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::Gemini => "gemini",
        }
    }

    /// The host of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|host| host.name() == name)
    }

    pub(super) fn format(self) -> Format {
        match self {
            Self::Codex => Format::Toml,
            Self::OpenClaw
            | Self::ClaudeCode
            | Self::ClaudeDesktop
            | Self::Cursor
            | Self::VsCode
            | Self::Gemini => Format::Json,
        }
    }

    /// The keys that lead to an object of servers; `*` stands for any key.
    pub(super) fn server_maps(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::OpenClaw => &[&["mcp", "servers"]],
            Self::ClaudeCode => &[&["mcpServers"], &["projects", "*", "mcpServers"]],
            Self::ClaudeDesktop | Self::Cursor | Self::Gemini => &[&["mcpServers"]],
            Self::Codex => &[&["mcp_servers"]],
            Self::VsCode => &[&["servers"]],
        }
    }

    /// The user's own files, whether they exist or not, the likeliest first. Those for other systems than Linux are the
    /// ones that the hosts document.
    pub fn files(self, around: &Surroundings) -> Vec<PathBuf> {
        let mut files: Vec<Option<PathBuf>> = Vec::new();
        match self {
            Self::OpenClaw => files.push(openclaw(around)),
            Self::ClaudeCode => files.push(match around.variable("CLAUDE_CONFIG_DIR") {
                Some(dir) => Some(dir.join(".claude.json")),
                None => around.at_home(".claude.json"),
            }),
            Self::ClaudeDesktop => {
                files.push(around.config("Claude/claude_desktop_config.json"));
                let mac = "Library/Application Support/Claude/claude_desktop_config.json";
                files.push(around.at_home(mac));
            }
            Self::Codex => {
                let dir = around.variable("CODEX_HOME").or_else(|| around.at_home(".codex"));
                files.push(dir.map(|dir| dir.join("config.toml")));
            }
            Self::Cursor => files.push(around.at_home(".cursor/mcp.json")),
            Self::VsCode => return vscode(around),
            Self::Gemini => {
                let home = around.variable("GEMINI_CLI_HOME").or_else(|| around.home.clone());
                files.push(home.map(|home| home.join(".gemini/settings.json")));
            }
        }
        files.into_iter().flatten().collect()
    }

    /// The file of the project in the current directory, which others may share: read, but changed only when named.
    pub(super) fn project_file(self, around: &Surroundings) -> Option<PathBuf> {
        let path = match self {
            Self::OpenClaw | Self::ClaudeDesktop => return None,
            Self::ClaudeCode => ".mcp.json",
            Self::Codex => ".codex/config.toml",
            Self::Cursor => ".cursor/mcp.json",
            Self::VsCode => ".vscode/mcp.json",
            Self::Gemini => ".gemini/settings.json",
        };
        Some(around.cwd.join(path))
    }

    /// What makes the host use the changed file.
    pub fn takes_effect(self) -> &'static str {
        match self {
            Self::OpenClaw => {
                "a running OpenClaw gateway notices the file: 2026.4 restarts itself, 2026.9 takes it up as it runs; not \
                 with gateway.reload.mode \"off\", nor when only included files changed: openclaw gateway restart"
            }
            Self::ClaudeCode => {
                "sessions of Claude Code that are open keep the servers they started; new ones use the file"
            }
            Self::ClaudeDesktop => "quit Claude Desktop and start it again",
            Self::Codex => {
                "sessions of Codex that are open keep the servers they started; new ones use the file"
            }
            Self::Cursor => {
                "in Cursor: switch the servers off and on under Settings, MCP, or start it again"
            }
            Self::VsCode => {
                "in VS Code: MCP: List Servers, then Restart; it may ask again whether you trust a changed server"
            }
            Self::Gemini => "in Gemini CLI: /mcp refresh, or start it again",
        }
    }
}

fn openclaw(around: &Surroundings) -> Option<PathBuf> {
    if let Some(path) = around.variable("OPENCLAW_CONFIG_PATH") {
        return Some(path);
    }
    let dir = around.variable("OPENCLAW_STATE_DIR").or_else(|| {
        let home = around.variable("OPENCLAW_HOME").or_else(|| around.home.clone())?;
        let profile = around.env.get("OPENCLAW_PROFILE").map(|name| name.trim());
        Some(match profile {
            None | Some("" | "default") => home.join(".openclaw"),
            Some(name) => home.join(format!(".openclaw-{name}")),
        })
    });
    Some(dir?.join("openclaw.json"))
}

/// `mcp.json` of each edition, and of each of its profiles.
fn vscode(around: &Surroundings) -> Vec<PathBuf> {
    const EDITIONS: [&str; 3] = ["Code", "Code - Insiders", "VSCodium"];
    let mut dirs: Vec<PathBuf> = EDITIONS
        .iter()
        .filter_map(|edition| around.config(&format!("{edition}/User")))
        .chain(around.at_home(".vscode-server/data/User"))
        .collect();
    let mac = |edition| around.at_home(&format!("Library/Application Support/{edition}/User"));
    dirs.extend(EDITIONS.iter().filter_map(mac));
    let mut files = Vec::new();
    for dir in dirs {
        files.push(dir.join("mcp.json"));
        let Ok(profiles) = std::fs::read_dir(dir.join("profiles")) else { continue };
        let mut profiles: Vec<PathBuf> =
            profiles.flatten().map(|profile| profile.path().join("mcp.json")).collect();
        profiles.sort();
        files.extend(profiles);
    }
    files
}
