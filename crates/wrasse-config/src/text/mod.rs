//! Text to tree: JSON5 with the place of every key and value.

mod json5;
mod scan;
mod spanned;
mod strings;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use json5::parse;
pub use spanned::{Spanned, SpannedMember, SpannedValue, parse_spanned};
pub(crate) use tree::{FileId, Member, Node, Place, Value};
