//! Bytes to lines, bounded.

/// The longest line that is taken, its end left out.
pub const LINE_MAX: usize = 32 * 1024 * 1024;

/// Cuts a stream of bytes into lines. A line that is too long is skipped to its end, and counted.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    skipping: bool,
    too_long: u64,
    line_max: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self::with_max(LINE_MAX)
    }
}

impl Lines {
    /// Lines of at most this many bytes.
    pub fn with_max(line_max: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, skipping: false, too_long: 0, line_max }
    }

    /// Takes more bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.skipping {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
            self.skipping = false;
            bytes = &bytes[end + 1..];
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line, without its end. Empty lines are skipped.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = &self.buffer[self.searched..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.buffer.len() > self.line_max {
                    self.too_long += 1;
                    self.skipping = true;
                    self.forget();
                }
                return None;
            };
            let rest = self.buffer.split_off(self.searched + end + 1);
            let mut line = std::mem::replace(&mut self.buffer, rest);
            self.searched = 0;
            while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                line.pop();
            }
            if line.len() > self.line_max {
                self.too_long += 1;
            } else if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(line);
            }
        }
    }

    /// How many lines were too long since this was last asked.
    pub fn take_too_long(&mut self) -> u64 {
        std::mem::take(&mut self.too_long)
    }

    fn forget(&mut self) {
        self.buffer = Vec::new();
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_line_ends_wherever_the_pieces_end() {
        let mut lines = Lines::default();
        lines.push(b"{\"a\"");
        assert_eq!(lines.next_line(), None);
        lines.push(b":1}\r\n\n  \n{}\n{");
        assert_eq!(lines.next_line().unwrap(), b"{\"a\":1}");
        assert_eq!(lines.next_line().unwrap(), b"{}");
        assert_eq!(lines.next_line(), None);
        lines.push(b"}\n");
        assert_eq!(lines.next_line().unwrap(), b"{}");
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_counted() {
        let mut lines = Lines::with_max(4);
        lines.push(b"123456");
        assert_eq!(lines.next_line(), None);
        lines.push(b"789");
        lines.push(b"0\nok\n123456\nok\n");
        assert_eq!(lines.next_line().unwrap(), b"ok");
        assert_eq!(lines.next_line().unwrap(), b"ok");
        assert_eq!(lines.next_line(), None);
        assert_eq!(lines.take_too_long(), 2);
        assert_eq!(lines.take_too_long(), 0);
    }
}
