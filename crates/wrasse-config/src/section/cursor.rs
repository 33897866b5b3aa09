//! A place in the tree that can be read as what is expected there, noting a fault when it is something else.
//!
//! People write `"18789"` for 18789 and one text where a list is usual. What is meant is clear, so it is taken, with a
//! warning; the files of others load as they are.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::load::{Environment, Notes, Sources, Substituted, expand};
use crate::text::{Node, Value};
use crate::{Compat, LoadOptions, ReadFile};

/// Ten years. A longer time means for ever to the one who wrote it, and would not fit into an instant.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What every section may look at.
pub(crate) struct Context<'a> {
    pub(crate) options: &'a LoadOptions,
    pub(crate) files: &'a dyn ReadFile,
    pub(crate) sources: &'a Sources,
    pub(crate) notes: &'a Notes,
    pub(crate) env: &'a Environment,
    pub(crate) substituted: &'a Substituted,
    pub(crate) compat: Compat,
    /// The whole tree, for SecretRefs.
    pub(crate) root: &'a Node,
}

/// A node, its path, and the context to note faults in.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub(crate) cx: &'a Context<'a>,
    pub(crate) node: &'a Node,
    pub(crate) path: String,
}

impl<'a> At<'a> {
    /// The root of the tree.
    pub(crate) fn root(cx: &'a Context<'a>, node: &'a Node) -> Self {
        Self { cx, node, path: String::new() }
    }

    /// A member; `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<Self> {
        let node = self.node.get(key).filter(|node| node.value != Value::Null)?;
        Some(Self { cx: self.cx, node, path: crate::known::join(&self.path, key) })
    }

    /// Follows keys from member to member.
    pub(crate) fn follow(&self, keys: &[&str]) -> Option<Self> {
        keys.iter().try_fold(self.clone(), |at, key| at.get(key))
    }

    /// Notes a fault here.
    pub(crate) fn fault(&self, message: impl Into<String>, suggestion: Option<&str>) {
        let suggestion = suggestion.map(str::to_owned);
        self.cx.notes.fault(self.cx.sources, self.node.place, &self.path, message, suggestion);
    }

    /// Notes a warning here.
    pub(crate) fn warn(&self, message: &str) {
        self.cx.notes.warn(self.cx.sources, self.node.place, &self.path, message);
    }

    fn expected(&self, what: &str) {
        self.fault(format!("expected {what}, found {}", self.node.kind()), None);
    }

    /// Whether a variable in this text is not set.
    pub(crate) fn is_unset(&self) -> bool {
        self.cx.substituted.unset.contains(&self.node.place)
    }

    /// Text.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.node.text().map(str::to_owned);
        if text.is_none() {
            self.expected("text");
        }
        text
    }

    /// Text, number or flag, as text.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                self.expected("text, a number or true/false");
                None
            }
        }
    }

    /// True or false.
    pub(crate) fn flag(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(flag) => Some(*flag),
            Value::Text(text) if text == "true" || text == "false" => {
                self.warn(&format!("{text:?} in quotes is taken as {text}"));
                Some(text == "true")
            }
            Value::Null
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Array(_)
            | Value::Object(_) => {
                self.expected("true or false");
                None
            }
        }
    }

    /// A whole number of a range; fractions are cut off.
    pub(crate) fn int(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let number = match &self.node.value {
            Value::Int(number) => *number,
            #[expect(clippy::cast_possible_truncation, reason = "`as` cuts off and saturates")]
            Value::Float(number) if number.is_finite() => *number as i64,
            Value::Text(text) => match text.trim().parse() {
                Ok(number) => {
                    self.warn(&format!("{text:?} in quotes is taken as {number}"));
                    number
                }
                Err(_) => {
                    self.fault(format!("expected a number, found the text {text:?}"), None);
                    return None;
                }
            },
            Value::Null | Value::Bool(_) | Value::Float(_) | Value::Array(_) | Value::Object(_) => {
                self.expected("a number");
                return None;
            }
        };
        if range.contains(&number) {
            return Some(number);
        }
        let (low, high) = range.into_inner();
        let message = if high == i64::MAX {
            format!("{number} is too small: at least {low}")
        } else {
            format!("{number} is not between {low} and {high}")
        };
        self.fault(message, None);
        None
    }

    /// A count.
    pub(crate) fn count(&self, range: RangeInclusive<i64>) -> Option<usize> {
        self.int(range).and_then(|number| usize::try_from(number).ok())
    }

    /// A number of seconds; 0 is no limit.
    pub(crate) fn limit_seconds(&self) -> Option<Option<Duration>> {
        let seconds = u64::try_from(self.int(0..=i64::MAX / 1000)?).ok()?;
        Some((seconds > 0).then(|| Duration::from_secs(seconds).min(LONGEST)))
    }

    /// A number of milliseconds, at least one.
    pub(crate) fn millis(&self) -> Option<Duration> {
        let millis = u64::try_from(self.int(1..=i64::MAX)?).ok()?;
        Some(Duration::from_millis(millis).min(LONGEST))
    }

    /// A duration such as `30s`.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let Some(text) = self.node.text() else {
            self.fault(
                format!("expected a duration, found {}", self.node.kind()),
                Some("write a number and a unit, as in \"30s\""),
            );
            return None;
        };
        wrasse_types::parse_duration(text).map_err(|error| self.fault(error.to_string(), None)).ok()
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        let near = crate::known::closest(&text, choices.iter().map(|(name, _)| *name));
        let advice = near.map(|near| format!("did you mean {near:?}?"));
        self.fault(format!("{text:?} is not one of {}", names.join(", ")), advice.as_deref());
        None
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<Self> {
        match &self.node.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| Self {
                    cx: self.cx,
                    node,
                    path: format!("{}[{index}]", self.path),
                })
                .collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Object(_) => {
                self.expected("a list");
                Vec::new()
            }
        }
    }

    /// A list of texts; one text by itself is a list of one.
    pub(crate) fn texts(&self) -> Vec<String> {
        if let Value::Text(text) = &self.node.value {
            self.warn("one text is taken as a list of one");
            return vec![text.clone()];
        }
        self.items().iter().filter_map(Self::text).collect()
    }

    /// The members of an object; `null` members are absent.
    pub(crate) fn members(&self) -> Vec<(&'a str, Self)> {
        match &self.node.value {
            Value::Object(members) => members
                .iter()
                .filter(|member| member.node.value != Value::Null)
                .map(|member| {
                    let path = crate::known::join(&self.path, &member.key);
                    (member.key.as_str(), Self { cx: self.cx, node: &member.node, path })
                })
                .collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Array(_) => {
                self.expected("an object");
                Vec::new()
            }
        }
    }

    /// A path: `~` is the home directory, a relative one starts at the folder of its file.
    pub(crate) fn file_path(&self) -> Option<PathBuf> {
        let text = self.text()?;
        if text.is_empty() {
            self.fault("this path is empty", None);
            return None;
        }
        let dir = self.cx.sources.dir(self.node.place).unwrap_or(&self.cx.options.cwd);
        Some(expand(&text, dir, self.cx.options.home.as_deref()))
    }
}
