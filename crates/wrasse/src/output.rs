//! Writing to stdout without dying of a closed one (`wrasse ps | head`).

use std::io::Write;

/// Writes a text and a line end. A reader that has gone away ends the program quietly, as it would end `cat`.
pub(crate) fn line(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &serde_json::Value) {
    line(format_args!("{value:#}"));
}

/// Asks on a terminal whether to go on; elsewhere refuses for want of `--yes`.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), crate::exit::ExpectedError> {
    use crate::exit::{Exit, ExpectedError};
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
