//! Writing to stdout. A reader that has gone away (`wrasse ps | head`) is nobody's problem; what could not be written
//! for another reason makes the command fail, since what it was asked for is lost.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use crate::exit::{Exit, ExpectedError};

/// Why stdout took no more. Nothing is written after that.
static STOPPED: OnceLock<io::Error> = OnceLock::new();

/// Writes a text and a line end.
pub(crate) fn line(text: impl std::fmt::Display) {
    if STOPPED.get().is_some() {
        return;
    }
    let mut out = io::stdout().lock();
    note(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Notes what became of something written to stdout.
pub(crate) fn note(written: io::Result<()>) {
    if let Err(error) = written {
        STOPPED.get_or_init(|| error);
    }
}

/// What a command that came to `code` leaves with: a failure, said here, if its output was lost.
pub(crate) fn leave(code: ExitCode) -> ExitCode {
    match STOPPED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            let text = format!("cannot write to stdout: {error}");
            ExpectedError::new(Exit::Failed, text).print();
            Exit::Failed.into()
        }
        Some(_) | None => code,
    }
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &serde_json::Value) {
    line(format_args!("{value:#}"));
}

/// Asks on a terminal whether to go on; elsewhere refuses for want of `--yes`.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), ExpectedError> {
    use std::io::IsTerminal;
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(ExpectedError::new(Exit::Usage, format!("{question} Not without --yes."))
            .help("add --yes to the command"));
    }
    let mut err = std::io::stderr().lock();
    drop(write!(err, "{question} [y/N] ").and_then(|()| err.flush()));
    let mut answer = String::new();
    drop(std::io::stdin().read_line(&mut answer));
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(ExpectedError::new(Exit::Failed, "nothing was changed"))
    }
}

/// Columns aligned by their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .chain([head[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let print = |cells: &[String]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        line(text.trim_end());
    };
    print(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    for row in rows {
        print(row);
    }
}
