//! Text to tree: JSON5 with the place of every key and value.

mod json5;
mod scan;
mod strings;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use json5::parse;
pub(crate) use tree::{FileId, Member, Node, Place, Value};
