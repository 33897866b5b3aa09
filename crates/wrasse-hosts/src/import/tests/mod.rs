//! Real files in a home of their own.

mod files;
mod includes;
mod matrix;
mod property;
mod texts;
mod undoing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{
    Found, Host, ImportError, Plan, Records, Shim, Surroundings, Where, entries_only, find, restore,
};

pub(super) const PROGRAM: &str = "/opt/bin/wrasse";

/// A home with a host's file.
pub(super) struct Home {
    dir: tempfile::TempDir,
    pub(super) host: Host,
    pub(super) env: BTreeMap<String, String>,
    pub(super) place: Where,
}

impl Home {
    pub(super) fn new(host: Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir, host, env: BTreeMap::new(), place: Where::Usual }
    }

    /// With the host's usual file.
    pub(super) fn with(host: Host, text: &str) -> Self {
        let home = Self::new(host);
        home.write(usual(host), text);
        home
    }

    /// The real path, as the importer will call it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The host's usual file.
    pub(super) fn file(&self) -> String {
        self.read(usual(self.host))
    }

    pub(super) fn around(&self) -> Surroundings {
        Surroundings { env: self.env.clone(), home: Some(self.path("")), cwd: self.path("work") }
    }

    pub(super) fn records(&self) -> Records {
        Records::below(&self.path("state"))
    }

    pub(super) fn find(&self) -> Result<Found, ImportError> {
        find(self.host, &self.around(), &self.place)
    }

    pub(super) fn wrap(&self, names: &[&str]) -> Result<Plan, ImportError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let plan = self.find()?.wrap(&names, &shim(), &self.records())?;
        plan.write(&self.records())?;
        Ok(plan)
    }

    pub(super) fn undo(&self) -> Result<Plan, ImportError> {
        let plan = restore(self.host, &self.around(), &self.place, &self.records())?;
        plan.write(&self.records())?;
        Ok(plan)
    }

    pub(super) fn entries_only(&self) -> Result<Plan, ImportError> {
        let plan = entries_only(self.host, &self.around(), &self.place, &self.records())?;
        plan.write(&self.records())?;
        Ok(plan)
    }

    /// Nothing of ours lies beside the file, and no record is kept.
    pub(super) fn assert_clean(&self) {
        let beside = self.path(usual(self.host));
        assert_eq!(leftovers(beside.parent().unwrap()), Vec::<String>::new());
        assert_eq!(self.records().of(self.host).unwrap(), []);
    }
}

pub(super) fn shim() -> Shim {
    Shim::new(Path::new(PROGRAM), &[]).unwrap()
}

/// Where the tests put a host's file.
pub(super) fn usual(host: Host) -> &'static str {
    match host {
        Host::OpenClaw => ".openclaw/openclaw.json",
        Host::ClaudeCode => ".claude.json",
        Host::ClaudeDesktop => ".config/Claude/claude_desktop_config.json",
        Host::Codex => ".codex/config.toml",
        Host::Cursor => ".cursor/mcp.json",
        Host::VsCode => ".config/Code/User/mcp.json",
        Host::Gemini => ".gemini/settings.json",
    }
}

/// Names in a directory that only an import makes.
pub(super) fn leftovers(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.contains(".wrasse-")).collect()
}
