//! Characters with their place, white space and comments.

use super::tree::{FileId, Place};

/// One thing that is wrong with the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxFault {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

/// Reads characters one by one.
pub(super) struct Scanner {
    chars: Vec<char>,
    at: usize,
    /// How many bytes of the text come before `at`, a byte order mark included.
    offset: usize,
    file: FileId,
    line: u32,
    column: u32,
}

impl Scanner {
    pub(super) fn new(text: &str, file: FileId) -> Self {
        // A byte order mark is how some editors begin a file; it is not part of the text.
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let offset = text.len() - body.len();
        Self { chars: body.chars().collect(), at: 0, offset, file, line: 1, column: 1 }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn place(&self) -> Place {
        Place { file: self.file, line: self.line, column: self.column }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn peek_second(&self) -> Option<char> {
        self.chars.get(self.at + 1).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.offset += c.len_utf8();
        let ends_line = match c {
            '\n' | '\u{2028}' | '\u{2029}' => true,
            '\r' => self.peek() != Some('\n'),
            _ => false,
        };
        if ends_line {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    pub(super) fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// Characters as long as `keep` says so.
    pub(super) fn take_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| keep(*c)) {
            text.push(c);
            self.next();
        }
        text
    }

    /// Skips white space and comments.
    pub(super) fn skip_blank(&mut self) -> Result<(), SyntaxFault> {
        loop {
            match self.peek() {
                Some(c) if c.is_whitespace() || c == '\u{feff}' => {
                    self.next();
                }
                Some('/') if self.peek_second() == Some('/') => {
                    self.take_while(|c| !is_line_end(c));
                }
                Some('/') if self.peek_second() == Some('*') => self.skip_block_comment()?,
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn skip_block_comment(&mut self) -> Result<(), SyntaxFault> {
        let place = self.place();
        self.next();
        self.next();
        loop {
            match self.next() {
                Some('*') if self.peek() == Some('/') => {
                    self.next();
                    return Ok(());
                }
                Some(_) => {}
                None => {
                    return Err(SyntaxFault {
                        place,
                        message: "this comment is never closed".to_owned(),
                        suggestion: Some("end it with */".to_owned()),
                    });
                }
            }
        }
    }
}

pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}
