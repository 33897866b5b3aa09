//! What is known about keys: the table, a tree made of it, and where a key stands in it.
//!
//! The table is data ([`table`], [`restricting`]): a later OpenClaw means further rows, not further code.

mod classify;
mod restricting;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod trie;

pub(crate) use classify::{Classified, classify, join};
pub use suggest::closest;
pub(crate) use trie::{Known, known};

use crate::text::Node;

/// What a key is to Wrasse.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Class {
    /// Does what it does in OpenClaw, or is Wrasse's own; the kind is for the schema.
    Implemented(Kind),
    /// Known to OpenClaw, changes nothing here.
    Unused,
    /// Known to OpenClaw, not implemented, and it restricts: what it guards is denied.
    Restricts(Restriction),
}

/// The kind of value of an implemented key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Flag,
    Int,
    Texts,
    /// Text, or a SecretRef.
    Secret,
    /// Text such as `30s`.
    Duration,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Text, or an object with the keys of the rows below.
    TextOrObject,
    /// An object of texts, numbers, flags.
    Scalars,
    /// A list of objects that have their own reader.
    Jobs,
    /// Either a number, a text or `false`.
    Loose,
}

/// What a restricting key guards, and when it restricts nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restriction {
    /// Tools, or globs of tools, that are denied.
    pub(crate) tools: Guards,
    /// Whether this value restricts nothing, so that nothing needs to be denied.
    pub(crate) harmless: fn(&Node) -> bool,
}

/// Which tools a restricting key guards.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Guards {
    /// These.
    These(&'static [&'static str]),
    /// Those that the value lists.
    Listed,
}

/// One row of the table: a dotted path, `*` for any name, `[]` for any item of a list, `.**` at the end for whatever is below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) path: &'static str,
    pub(crate) class: Class,
}
