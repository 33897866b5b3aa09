//! The stderr of a server: read always, or the server blocks (failure mode H1); the tail kept, bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of the tail is kept.
const TAIL_LEN_MAX: usize = 64 << 10;
/// A longer line is cut into lines of this length.
const LINE_LEN_MAX: usize = 8 << 10;

/// The last lines of a server's stderr; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct StderrTail(Arc<Mutex<Tail>>);

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    len: usize,
}

impl StderrTail {
    /// The last `count` lines, oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<String> {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.lines.iter().skip(tail.lines.len().saturating_sub(count)).cloned().collect()
    }

    fn push(&self, line: String) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.len += line.len();
        tail.lines.push_back(line);
        while tail.len > TAIL_LEN_MAX || tail.lines.len() > 1000 {
            let Some(oldest) = tail.lines.pop_front() else { break };
            tail.len -= oldest.len();
        }
    }
}

/// Reads to the end.
pub(crate) async fn drain(server: String, mut from: impl AsyncRead + Unpin, tail: StderrTail) {
    let mut chunk = vec![0; 4 << 10];
    let mut line: Vec<u8> = Vec::new();
    loop {
        let count = match from.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        for &byte in &chunk[..count] {
            if byte == b'\n' || line.len() >= LINE_LEN_MAX {
                keep(&server, &mut line, &tail);
            }
            if byte != b'\n' {
                line.push(byte);
            }
        }
    }
    keep(&server, &mut line, &tail);
}

fn keep(server: &str, line: &mut Vec<u8>, tail: &StderrTail) {
    let text: String = String::from_utf8_lossy(line)
        .trim_end()
        .chars()
        .filter(|c| !c.is_control() || *c == '\t')
        .collect();
    line.clear();
    if !text.is_empty() {
        tracing::debug!(target: "wrasse_mcp::stderr", server, "{text}");
        tail.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // failure mode H1
    #[tokio::test]
    async fn the_tail_is_bounded() {
        let mut input = Vec::new();
        for number in 0..20_000 {
            input.extend_from_slice(format!("line {number}\r\n").as_bytes());
        }
        input.extend_from_slice(&vec![b'x'; 1 << 20]);
        let tail = StderrTail::default();
        drain("s".to_owned(), input.as_slice(), tail.clone()).await;
        let kept: usize = tail.last(usize::MAX).iter().map(String::len).sum();
        assert!(kept <= TAIL_LEN_MAX, "{kept}");
        assert_eq!(tail.last(1)[0].len(), LINE_LEN_MAX);
    }

    #[tokio::test]
    async fn lines_are_kept_in_order_without_their_ends() {
        let tail = StderrTail::default();
        drain("s".to_owned(), &b"a\r\n\n\x1b[31mb\x1b[0m\nlast"[..], tail.clone()).await;
        assert_eq!(tail.last(2), ["[31mb[0m", "last"]);
    }
}
