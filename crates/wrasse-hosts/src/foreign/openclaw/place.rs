//! One installation of OpenClaw: its configuration and its state dir.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use wrasse_config::{Spanned, SpannedValue, parse_spanned};

/// How deep includes may nest, as in OpenClaw.
const DEPTH_MAX: u32 = 10;
/// What connecting to a server may take when the configuration does not say.
const CONNECT_MS: u64 = 30_000;

/// One installation.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Its configuration file, which may not exist.
    pub config: PathBuf,
    /// Where its records are.
    pub state_dir: PathBuf,
    settings: Value,
    /// Why the configuration could not be read.
    pub fault: Option<String>,
}

impl Place {
    /// The installation that a process with these variables uses.
    pub fn of(env: &BTreeMap<String, String>) -> Option<Self> {
        let variable = |name: &str| {
            let value =
                env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())?;
            Some(match (value.strip_prefix("~/"), env.get("HOME")) {
                (Some(rest), Some(home)) => Path::new(home).join(rest),
                _ => PathBuf::from(value),
            })
        };
        let state_dir = variable("OPENCLAW_STATE_DIR").or_else(|| {
            let home = variable("OPENCLAW_HOME").or_else(|| variable("HOME"))?;
            let profile = env.get("OPENCLAW_PROFILE").map(|name| name.trim());
            Some(match profile {
                None | Some("" | "default") => home.join(".openclaw"),
                Some(name) => home.join(format!(".openclaw-{name}")),
            })
        })?;
        let config =
            variable("OPENCLAW_CONFIG_PATH").unwrap_or_else(|| state_dir.join("openclaw.json"));
        Some(Self::at(config, state_dir))
    }

    /// The installation with this configuration and this state dir.
    pub fn at(config: PathBuf, state_dir: PathBuf) -> Self {
        let (settings, fault) = match read(&config, 0) {
            Ok(settings) => (settings, None),
            Err(fault) => (Value::Null, Some(fault)),
        };
        Self { config, state_dir, settings, fault }
    }

    /// Whether there is anything here.
    pub fn exists(&self) -> bool {
        self.config.is_file() || self.state_dir.is_dir()
    }

    /// A setting, by its dotted path.
    pub fn setting(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.settings, |at, key| at.get(key))
    }

    /// The version that wrote the configuration last.
    pub fn touched_by(&self) -> Option<&str> {
        self.setting("meta.lastTouchedVersion")?.as_str()
    }

    /// The longest that connecting to one server may take.
    pub(super) fn connect_timeout_ms(&self) -> u64 {
        let servers = self.setting("mcp.servers").and_then(Value::as_object);
        let times = servers.into_iter().flatten();
        let times = times.filter_map(|(_, server)| server.get("connectionTimeoutMs")?.as_u64());
        times.max().unwrap_or(0).max(CONNECT_MS)
    }
}

fn read(path: &Path, depth: u32) -> Result<Value, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let parsed = parse_spanned(&text, path).map_err(|faults| faults.to_string())?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    included(value(&parsed, &text), folder, depth)
}

/// JSON as other code reads it. A word that JSON does not know (`Infinity`, hexadecimal) becomes null.
fn value(node: &Spanned, text: &str) -> Value {
    match &node.value {
        SpannedValue::Text(text) => Value::String(text.clone()),
        SpannedValue::List(items) => items.iter().map(|item| value(item, text)).collect(),
        SpannedValue::Object(members) => {
            let members =
                members.iter().map(|member| (member.key.clone(), value(&member.value, text)));
            Value::Object(members.collect())
        }
        SpannedValue::Word => {
            let word = text.get(node.span.clone()).unwrap_or_default();
            serde_json::from_str(word.trim_start_matches('+')).unwrap_or_default()
        }
    }
}

/// Puts included files in: what stands beside an include wins over it, a later file over an earlier one.
fn included(value: Value, folder: &Path, depth: u32) -> Result<Value, String> {
    match value {
        Value::Object(mut members) => {
            let include = members.remove("$include");
            let mut own = Map::new();
            for (key, member) in members {
                own.insert(key, included(member, folder, depth)?);
            }
            let files: Vec<String> = match include {
                None => return Ok(Value::Object(own)),
                Some(Value::String(file)) => vec![file],
                Some(Value::Array(files)) => {
                    files.iter().filter_map(|file| file.as_str().map(str::to_owned)).collect()
                }
                Some(_) => Vec::new(),
            };
            if depth >= DEPTH_MAX {
                return Err("includes nest deeper than 10".to_owned());
            }
            let mut base = Value::Object(Map::new());
            for file in files {
                merge(&mut base, read(&folder.join(file), depth + 1)?);
            }
            merge(&mut base, Value::Object(own));
            Ok(base)
        }
        Value::Array(items) => {
            items.into_iter().map(|item| included(item, folder, depth)).collect()
        }
        plain => Ok(plain),
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_where_its_variables_say() {
        let env = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let of = |pairs: &[(&str, &str)]| {
            let place = Place::of(&env(pairs)).unwrap();
            (place.config, place.state_dir)
        };
        let pair = |config: &str, state: &str| (PathBuf::from(config), PathBuf::from(state));
        assert_eq!(of(&[("HOME", "/h")]), pair("/h/.openclaw/openclaw.json", "/h/.openclaw"));
        assert_eq!(
            of(&[("HOME", "/h"), ("OPENCLAW_PROFILE", "dev")]),
            pair("/h/.openclaw-dev/openclaw.json", "/h/.openclaw-dev")
        );
        assert_eq!(
            of(&[
                ("HOME", "/h"),
                ("OPENCLAW_STATE_DIR", "~/s"),
                ("OPENCLAW_CONFIG_PATH", "/c.json")
            ]),
            pair("/c.json", "/h/s")
        );
        assert!(Place::of(&BTreeMap::new()).is_none());
    }

    #[test]
    fn settings_are_read_with_their_includes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("openclaw.json");
        std::fs::write(dir.path().join("more.json5"), "{ a: { x: 1, y: 2 }, b: +3 }").unwrap();
        std::fs::write(&file, "{ $include: './more.json5', a: { y: 5 }, /* c */ s: 'ü' }").unwrap();
        let place = Place::at(file.clone(), dir.path().to_owned());
        assert_eq!(place.fault, None);
        assert_eq!(place.setting("a.x"), Some(&Value::from(1)));
        assert_eq!(place.setting("a.y"), Some(&Value::from(5)));
        assert_eq!(place.setting("b"), Some(&Value::from(3)));
        assert_eq!(place.setting("s"), Some(&Value::from("ü")));
        std::fs::write(&file, "{ $include: './openclaw.json' }").unwrap();
        assert!(Place::at(file, dir.path().to_owned()).fault.unwrap().contains("deeper"));
    }
}
