//! Server-sent events: bytes in, the data of each event out. Line and event sizes are bounded.
//!
//! Only `data` matters here; other fields and comments are read over. Lines end with CR, LF or both.

/// The longest line, and the longest event.
pub(super) const EVENT_LEN_MAX: usize = 4 * 1024 * 1024;

/// A line or an event is longer than [`EVENT_LEN_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it sent an event of more than {} MiB", EVENT_LEN_MAX / (1024 * 1024))]
pub(super) struct TooLong;

/// The state between two chunks.
#[derive(Debug, Default)]
pub(super) struct SseParser {
    line: Vec<u8>,
    data: Option<String>,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// A byte order mark may only stand at the very beginning.
    begun: bool,
}

impl SseParser {
    /// Reads on; hands the data of each finished event to `each`.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(String),
    ) -> Result<(), TooLong> {
        if let Some(first) = bytes.first() {
            let pair = std::mem::take(&mut self.after_cr) && *first == b'\n';
            bytes = &bytes[usize::from(pair)..];
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.push(&bytes[..end])?;
            if let Some(data) = self.end_line()? {
                each(data);
            }
            let pair = bytes[end] == b'\r' && bytes.get(end + 1) == Some(&b'\n');
            self.after_cr = bytes[end] == b'\r' && end + 1 == bytes.len();
            bytes = &bytes[end + 1 + usize::from(pair)..];
        }
        self.push(bytes)
    }

    /// The input is over: gives the last event, whose blank line some servers forget.
    pub(super) fn finish(mut self) -> Result<Option<String>, TooLong> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        Ok(self.data.take())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > EVENT_LEN_MAX {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// The line is complete; a blank one ends the event.
    fn end_line(&mut self) -> Result<Option<String>, TooLong> {
        let whole = std::mem::take(&mut self.line);
        let mut line = whole.as_slice();
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return Ok(self.data.take());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        if field == b"data" {
            let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
            match &mut self.data {
                Some(data) if data.len() + value.len() >= EVENT_LEN_MAX => return Err(TooLong),
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                None => self.data = Some(value.into_owned()),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
