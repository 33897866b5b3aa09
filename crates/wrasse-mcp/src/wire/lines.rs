//! Lines out of bytes, bounded: a line that is too long is discarded while it arrives, never kept.

use bytes::BytesMut;

/// The longest line that is read.
pub(crate) const LINE_LEN_MAX: usize = 32 << 20;

/// How much of each end of a discarded line is kept, to find the id it answers.
const EDGE_LEN: usize = 512;

/// Buffers larger than this are given back once they are empty.
const KEPT_CAPACITY: usize = 256 << 10;

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line, its end not included.
    Whole(BytesMut),
    /// A line that was discarded.
    TooLong {
        /// Its length.
        len: u64,
        /// The JSON-RPC id that it carried, if its ends show one.
        id: Option<i64>,
    },
}

#[derive(Debug)]
struct Discarded {
    head: Vec<u8>,
    tail: Vec<u8>,
    len: u64,
}

impl Discarded {
    fn new() -> Self {
        Self { head: Vec::new(), tail: Vec::new(), len: 0 }
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        let room = EDGE_LEN.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(EDGE_LEN)..]);
        let extra = self.tail.len().saturating_sub(EDGE_LEN);
        self.tail.drain(..extra);
    }

    fn finish(self) -> Line {
        let id = id_at_head(&self.head).or_else(|| id_at_tail(&self.tail));
        Line::TooLong { len: self.len, id }
    }
}

/// `{"jsonrpc":"2.0","id":7,"result":…`: nothing but the version may come before the id.
fn id_at_head(head: &[u8]) -> Option<i64> {
    let text: String =
        String::from_utf8_lossy(head).chars().filter(|c| !c.is_whitespace()).collect();
    let rest = text.strip_prefix('{')?;
    let rest = rest.strip_prefix("\"jsonrpc\":\"2.0\",").unwrap_or(rest);
    number(rest.strip_prefix("\"id\":")?)
}

/// `…},"jsonrpc":"2.0","id":7}`: the id or the version comes last.
fn id_at_tail(tail: &[u8]) -> Option<i64> {
    let text: String =
        String::from_utf8_lossy(tail).chars().filter(|c| !c.is_whitespace()).collect();
    let rest = text.strip_suffix('}')?;
    let rest = rest.strip_suffix(",\"jsonrpc\":\"2.0\"").unwrap_or(rest);
    let (before, digits) = rest.rsplit_once("\"id\":")?;
    if !before.ends_with(',') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn number(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    text[..end].parse().ok()
}

/// The splitter. Feed it through [`LineBuffer::space`], then ask [`LineBuffer::next`] until it is empty.
#[derive(Debug)]
pub(crate) struct LineBuffer {
    buffer: BytesMut,
    /// INVARIANT: no line end before this offset of `buffer`.
    scanned: usize,
    discarded: Option<Discarded>,
    len_max: usize,
}

impl LineBuffer {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, discarded: None, len_max }
    }

    /// Where the next bytes go.
    pub(crate) fn space(&mut self) -> &mut BytesMut {
        self.buffer.reserve(8 << 10);
        &mut self.buffer
    }

    /// The next line, if a whole one is there.
    pub(crate) fn next(&mut self) -> Option<Line> {
        let Some(at) = self.buffer[self.scanned..].iter().position(|&byte| byte == b'\n') else {
            self.scanned = self.buffer.len();
            self.discard_if_too_long();
            return None;
        };
        let mut line = self.buffer.split_to(self.scanned + at + 1);
        self.scanned = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer = BytesMut::new();
        }
        line.truncate(line.len() - 1);
        Some(self.finish(line))
    }

    /// The rest at the end of the stream, if there is any.
    pub(crate) fn rest(&mut self) -> Option<Line> {
        let line = std::mem::take(&mut self.buffer);
        self.scanned = 0;
        if line.is_empty() && self.discarded.is_none() {
            return None;
        }
        Some(self.finish(line))
    }

    fn finish(&mut self, mut line: BytesMut) -> Line {
        if self.discarded.is_none() && line.len() > self.len_max {
            self.discarded = Some(Discarded::new());
        }
        if let Some(mut discarded) = self.discarded.take() {
            discarded.extend(&line);
            return discarded.finish();
        }
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Line::Whole(line)
    }

    fn discard_if_too_long(&mut self) {
        if self.discarded.is_none() && self.buffer.len() > self.len_max {
            self.discarded = Some(Discarded::new());
            self.buffer.reserve(0);
        }
        if let Some(discarded) = &mut self.discarded {
            discarded.extend(&self.buffer);
            self.buffer = BytesMut::new();
            self.scanned = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(input: &[u8], chunk: usize, len_max: usize) -> Vec<Line> {
        let mut buffer = LineBuffer::new(len_max);
        let mut lines = Vec::new();
        for part in input.chunks(chunk.max(1)) {
            buffer.space().extend_from_slice(part);
            while let Some(line) = buffer.next() {
                lines.push(line);
            }
        }
        lines.extend(buffer.rest());
        lines
    }

    #[test]
    fn ids_of_discarded_lines() {
        let long = "x".repeat(5000);
        for (text, want) in [
            (format!(r#"{{"jsonrpc":"2.0","id":7,"result":"{long}"}}"#), Some(7)),
            (format!(r#"{{"result":"{long}","jsonrpc":"2.0","id":42}}"#), Some(42)),
            (format!(r#"{{"id": 9, "result":"{long}"}}"#), Some(9)),
            (format!(r#"{{"result":"{long}","id":3,"jsonrpc":"2.0"}}"#), Some(3)),
            (format!(r#"{{"result":{{"a":"{long}","id":42}}}}"#), None),
            (long, None),
        ] {
            let len = text.len() as u64;
            let lines = split(format!("{text}\nnext\n").as_bytes(), 100, 1000);
            assert_eq!(lines[0], Line::TooLong { len, id: want });
            assert_eq!(lines[1], Line::Whole(BytesMut::from("next")));
        }
    }

    proptest! {
        /// The chunks in which bytes arrive change nothing.
        #[test]
        fn chunks_do_not_matter(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..300),
            chunk in 1_usize..50,
        ) {
            prop_assert_eq!(split(&input, chunk, 20), split(&input, 300, 20));
        }

        /// Every line comes out once, in order, whole or counted.
        #[test]
        fn nothing_is_lost(texts in proptest::collection::vec("[a-z{}\" ]{0,60}", 0..20), chunk in 1_usize..40) {
            let mut input = texts.join("\n").into_bytes();
            input.push(b'\n');
            let got = split(&input, chunk, 30);
            let want = if texts.is_empty() { vec![String::new()] } else { texts };
            prop_assert_eq!(got.len(), want.len());
            for (line, text) in got.iter().zip(&want) {
                match line {
                    Line::Whole(bytes) => prop_assert_eq!(&bytes[..], text.as_bytes()),
                    Line::TooLong { len, .. } => {
                        prop_assert!(text.len() > 30);
                        prop_assert_eq!(*len, text.len() as u64);
                    }
                }
            }
        }
    }
}
