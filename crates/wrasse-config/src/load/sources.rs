//! The files read so far, and what was found wrong in them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::text::{FileId, Place};
use crate::{Fault, Faults};

/// One file that was read.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As reports name it.
    pub(crate) shown: PathBuf,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// Every file that was read, the one given first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(pub(crate) Vec<Source>);

impl Sources {
    /// Adds a file.
    pub(crate) fn add(&mut self, shown: PathBuf, path: PathBuf) -> FileId {
        self.0.push(Source { shown, path });
        FileId(self.0.len() - 1)
    }

    /// The name of the file of a place, empty for a place in no file.
    pub(crate) fn shown(&self, place: Place) -> PathBuf {
        self.0.get(place.file.0).map(|source| source.shown.clone()).unwrap_or_default()
    }

    /// The folder of the file of a place, which relative paths start from.
    pub(crate) fn dir(&self, place: Place) -> Option<&Path> {
        self.0.get(place.file.0).and_then(|source| source.path.parent())
    }

    /// `openclaw.json:9`.
    pub(crate) fn line(&self, place: Place) -> String {
        let shown = self.shown(place);
        if shown.as_os_str().is_empty() {
            String::new()
        } else {
            format!("{}:{}", shown.display(), place.line)
        }
    }
}

/// Faults and warnings as they are found.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    faults: RefCell<Vec<(Place, Fault)>>,
    warnings: RefCell<Vec<(String, String)>>,
}

impl Notes {
    /// Notes a fault.
    pub(crate) fn fault(
        &self,
        sources: &Sources,
        place: Place,
        path: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let fault = Fault {
            file: sources.shown(place),
            path: path.to_owned(),
            line: place.line,
            column: place.column,
            message: message.into(),
            suggestion,
        };
        self.faults.borrow_mut().push((place, fault));
    }

    /// Notes a warning about a key.
    pub(crate) fn warn(&self, sources: &Sources, place: Place, path: &str, message: &str) {
        let line = sources.line(place);
        let prefix = [line.as_str(), path].iter().filter(|part| !part.is_empty()).fold(
            String::new(),
            |mut text, part| {
                text.push_str(part);
                text.push_str(if text.len() == part.len() && *part == line { " " } else { ": " });
                text
            },
        );
        let warning = (path.to_owned(), format!("{prefix}{message}"));
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Whether anything is wrong so far.
    pub(crate) fn has_faults(&self) -> bool {
        !self.faults.borrow().is_empty()
    }

    /// Every fault, in the order of the files and their lines.
    pub(crate) fn take_faults(&self) -> Faults {
        let mut faults = self.faults.take();
        faults.sort_by_key(|(place, _)| *place);
        faults.dedup();
        Faults(faults.into_iter().map(|(_, fault)| fault).collect())
    }

    /// Every warning whose key is wanted.
    pub(crate) fn take_warnings(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let warnings = self.warnings.take();
        warnings.into_iter().filter(|(path, _)| wanted(path)).map(|(_, text)| text).collect()
    }
}
