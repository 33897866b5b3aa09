//! From the bytes of an answer to a whole reply, streamed or not.

mod assembly;

use super::fault::{self, Fault};
use super::sse::SseParser;
use crate::error::ModelFault;
use crate::message::excerpt;
use assembly::Assembly;

pub(super) use assembly::Answer;

/// The longest answer that is not a stream.
const JSON_LEN_MAX: usize = 16 * 1024 * 1024;
/// The longest stream, all its events together.
const STREAM_LEN_MAX: usize = 128 * 1024 * 1024;

/// Reads one answer. What it is shows in its first byte, not in its content type, which servers get wrong.
#[derive(Debug)]
pub(super) struct Reader {
    form: Form,
    total: usize,
    assembly: Assembly,
}

#[derive(Debug)]
enum Form {
    /// Nothing but white space so far.
    Unknown,
    Events(SseParser),
    Json(Vec<u8>),
    Page(Vec<u8>),
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { form: Form::Unknown, total: 0, assembly: Assembly::default() }
    }

    /// Reads on; true if that was more than a sign of life.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<bool, Fault> {
        self.total += bytes.len();
        if self.total > STREAM_LEN_MAX {
            return Err(bad(format!("it sent more than {} MiB", STREAM_LEN_MAX / (1024 * 1024))));
        }
        if let Form::Unknown = self.form {
            let Some(first) = first_byte(bytes) else {
                return Ok(false);
            };
            self.form = match first {
                b'{' | b'[' => Form::Json(Vec::new()),
                b'<' => Form::Page(Vec::new()),
                _ => Form::Events(SseParser::default()),
            };
        }
        match &mut self.form {
            Form::Unknown => Ok(false),
            Form::Events(parser) => {
                let mut events = Vec::new();
                let fed = parser.feed(bytes, |data| events.push(data));
                for data in &events {
                    self.assembly.event(data)?;
                }
                fed.map_err(|too_long| bad(too_long.to_string()))?;
                Ok(!events.is_empty())
            }
            Form::Json(body) => {
                if body.len() + bytes.len() > JSON_LEN_MAX {
                    let limit = JSON_LEN_MAX / (1024 * 1024);
                    return Err(bad(format!("it sent an answer of more than {limit} MiB")));
                }
                body.extend_from_slice(bytes);
                Ok(true)
            }
            // Enough of it for the title.
            Form::Page(body) => {
                let room = 4096_usize.saturating_sub(body.len()).min(bytes.len());
                body.extend_from_slice(&bytes[..room]);
                Ok(true)
            }
        }
    }

    /// Whether nothing more needs to be read.
    pub(super) fn is_done(&self) -> bool {
        let page_known = matches!(&self.form, Form::Page(body) if body.len() >= 4096);
        page_known || self.assembly.is_done()
    }

    /// The body is over.
    pub(super) fn finish(mut self) -> Result<Answer, Fault> {
        match self.form {
            Form::Unknown => Err(bad("its answer was empty")),
            Form::Events(parser) => {
                let last = parser.finish().map_err(|too_long| bad(too_long.to_string()))?;
                if let Some(data) = last {
                    self.assembly.event(&data)?;
                }
                self.assembly.finish_stream()
            }
            Form::Json(body) => {
                self.assembly.whole(&body)?;
                self.assembly.finish()
            }
            Form::Page(body) => {
                let page = String::from_utf8_lossy(&body);
                let title = fault::html_title(&page).map(|title| excerpt(title, 80));
                let titled = title.map(|title| format!(" titled \"{title}\"")).unwrap_or_default();
                Err(Fault::new(
                    ModelFault::NotConfigured,
                    format!("it answered with a web page{titled}; baseUrl usually ends in /v1"),
                ))
            }
        }
    }
}

/// The first byte that says something: behind white space and a byte order mark.
fn first_byte(bytes: &[u8]) -> Option<u8> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

fn bad(message: impl Into<String>) -> Fault {
    Fault::new(ModelFault::BadReply, message)
}

#[cfg(test)]
mod tests;
