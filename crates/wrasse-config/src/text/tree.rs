//! The tree every later step works on.

use std::collections::BTreeMap;

/// Which file, as an index into the files read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) usize);

impl FileId {
    /// Not from a file: a request, or the environment.
    pub(crate) const NONE: Self = Self(usize::MAX);
}

/// Where something stands; line and column count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) file: FileId,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    /// Nowhere.
    pub(crate) const NONE: Self = Self { file: FileId::NONE, line: 0, column: 0 };
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

/// A JSON value; members keep the order of the file, keys are unique.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

impl Node {
    /// A member of an object; `None` for everything that is not an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.member(key).map(|member| &member.node)
    }

    /// Like [`Self::get`], with the place of the key.
    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.key == key)
    }

    /// Follows keys from member to member.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The members of an object, none for anything else.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Array(_) => &[],
        }
    }

    /// The text of a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// What a person calls this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true/false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// The same value without places, for requests and the schema's own tests.
    pub(crate) fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => number
                .as_i64()
                .map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::MAX)), Value::Int),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::Array(items.iter().map(Self::from_json).collect()),
            Json::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(key, value)| Member {
                        key: key.clone(),
                        key_place: Place::NONE,
                        node: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self { place: Place::NONE, value }
    }

    /// Lays `over` on this: objects merge member by member, anything else is replaced.
    pub(crate) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Object(mine), Value::Object(theirs)) => {
                let mut index: BTreeMap<String, usize> =
                    mine.iter().enumerate().map(|(at, member)| (member.key.clone(), at)).collect();
                for member in theirs {
                    match index.get(&member.key) {
                        Some(&at) => {
                            mine[at].key_place = member.key_place;
                            mine[at].node.merge(member.node);
                        }
                        None => {
                            index.insert(member.key.clone(), mine.len());
                            mine.push(member);
                        }
                    }
                }
                self.place = over.place;
            }
            (mine, theirs) => {
                *mine = theirs;
                self.place = over.place;
            }
        }
    }

    /// Takes a member out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Member> {
        let Value::Object(members) = &mut self.value else { return None };
        let at = members.iter().position(|member| member.key == key)?;
        Some(members.remove(at))
    }

    /// Moves the whole tree to one place.
    pub(crate) fn set_place(&mut self, place: Place) {
        self.place = place;
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.set_place(place)),
            Value::Object(members) => {
                for member in members {
                    member.key_place = place;
                    member.node.set_place(place);
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
        }
    }
}
