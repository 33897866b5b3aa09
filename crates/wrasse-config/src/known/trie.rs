//! The table as a tree, so that a key is looked up and its siblings can be suggested.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::restricting::{AGENT_RESTRICTING, RESTRICTING, TOOLS_RESTRICTING};
use super::table::{AGENT, AGENT_DEFAULTS, SUBAGENTS, TABLE, TOOLS, UNUSED_SECTIONS};
use super::{Class, Row};

/// One position of a path.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// What the key here is, when it is a key by itself.
    pub(crate) class: Option<Class>,
    /// Known names below.
    pub(crate) names: BTreeMap<&'static str, Known>,
    /// What any name or list item below is.
    pub(crate) any: Option<Box<Known>>,
    /// Whether this is a list, and `any` its items.
    pub(crate) list: bool,
    /// Whether other names below are of this class too.
    pub(crate) open: bool,
}

impl Known {
    /// The position below, by name, else by `*`.
    pub(crate) fn below(&self, name: &str) -> Option<&Self> {
        self.names.get(name).or(self.any.as_deref())
    }

    /// Whether nothing is known below: the reader of the key judges what is inside.
    pub(crate) fn is_leaf(&self) -> bool {
        self.names.is_empty() && self.any.is_none()
    }

    fn insert(&mut self, path: &mut dyn Iterator<Item = &'static str>, class: Class) {
        match path.next() {
            None => self.class = Some(class),
            Some("**") => {
                self.class = self.class.or(Some(class));
                self.open = true;
            }
            Some("[]") => {
                self.list = true;
                self.any.get_or_insert_default().insert(path, class);
            }
            Some("*") => self.any.get_or_insert_default().insert(path, class),
            Some(name) => self.names.entry(name).or_default().insert(path, class),
        }
    }
}

/// The tree of the whole table.
pub(crate) fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(build)
}

fn build() -> Known {
    let mut root = Known::default();
    let mut add = |prefix: &'static str, rows: &[Row]| {
        for row in rows {
            let mut path = prefix.split('.').chain(row.path.split('.')).filter(|s| !s.is_empty());
            root.insert(&mut path, row.class);
        }
    };
    for section in UNUSED_SECTIONS {
        add("", &[Row { path: section, class: Class::Unused }]);
    }
    add("", TABLE);
    add("", RESTRICTING);
    // Before the defaults' own rows: a later row wins, and `maxConcurrent` has a meaning only there.
    add("agents.defaults.subagents", SUBAGENTS);
    add("agents.defaults", AGENT_DEFAULTS);
    add("agents.defaults", AGENT_RESTRICTING);
    add("tools", TOOLS);
    add("tools", TOOLS_RESTRICTING);
    for (agent, subagents, tools) in [
        ("agents.list.[]", "agents.list.[].subagents", "agents.list.[].tools"),
        ("agents.entries.*", "agents.entries.*.subagents", "agents.entries.*.tools"),
    ] {
        add(agent, AGENT);
        add(agent, AGENT_RESTRICTING);
        add(subagents, SUBAGENTS);
        add(tools, TOOLS);
        add(tools, TOOLS_RESTRICTING);
    }
    root
}
