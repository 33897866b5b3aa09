//! From the result of a tool call to the text that a model reads.

use serde_json::{Value, json};

/// How much of a result is kept for the model.
pub(crate) const TEXT_LEN_MAX: usize = 256 * 1024;

/// A mapped result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

/// Maps a `tools/call` result. Text blocks are joined; what is not text becomes a short placeholder; an empty
/// result is its `structuredContent` as pretty JSON, or else a line that says who answered nothing.
pub(crate) fn map(result: &Value, server: &str, tool: &str) -> Mapped {
    let is_error = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
    let blocks = result.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut text = Joined::default();
    for block in blocks {
        add(&mut text, block);
    }
    let mut text = text.finish();
    if text.is_empty() {
        text = match result.get("structuredContent") {
            Some(Value::Null) | None => {
                let status = if is_error { "error" } else { "ok" };
                json!({ "status": status, "server": server, "tool": tool }).to_string()
            }
            Some(value) => {
                let mut whole = Joined::default();
                whole.push(&serde_json::to_string_pretty(value).unwrap_or_default());
                whole.finish()
            }
        };
    }
    Mapped { text, is_error }
}

fn add(text: &mut Joined, block: &Value) {
    let field = |name: &str| block.get(name).and_then(Value::as_str);
    match field("type") {
        Some("text") => text.push(field("text").unwrap_or_default()),
        Some(kind @ ("image" | "audio")) => {
            let mime = field("mimeType").unwrap_or("unknown type");
            let size = size(field("data").map_or(0, base64_len));
            text.push(&format!("[{kind}: {mime}, {size}, not shown]"));
        }
        Some("resource") => {
            let resource = block.get("resource").unwrap_or(&Value::Null);
            let part = |name: &str| resource.get(name).and_then(Value::as_str);
            let uri = part("uri").unwrap_or("no uri");
            match (part("text"), part("blob")) {
                (Some(inner), _) => text.push(inner),
                (None, Some(blob)) => {
                    let mime = part("mimeType").unwrap_or("unknown type");
                    let size = size(base64_len(blob));
                    text.push(&format!("[resource {uri}: {mime}, {size}, not shown]"));
                }
                (None, None) => text.push(&format!("[resource {uri}]")),
            }
        }
        Some("resource_link") => {
            let uri = field("uri").unwrap_or("no uri");
            let name = field("name").unwrap_or("unnamed");
            text.push(&format!("[resource {name}: {uri}]"));
        }
        Some(kind) => text.push(&format!("[{kind}, not shown]")),
        None => {}
    }
}

fn base64_len(data: &str) -> usize {
    data.len() / 4 * 3
}

/// A size for a model: exact where it is small.
fn size(bytes: usize) -> String {
    if bytes < 1024 {
        format!("{bytes} bytes")
    } else {
        wrasse_types::ByteSize(bytes as u64).to_string()
    }
}

/// Text that stops growing at [`TEXT_LEN_MAX`] and goes on counting.
#[derive(Default)]
struct Joined {
    kept: String,
    parts: usize,
    total: usize,
}

impl Joined {
    fn push(&mut self, part: &str) {
        if self.parts > 0 {
            self.append("\n");
        }
        self.parts += 1;
        self.append(part);
    }

    fn append(&mut self, part: &str) {
        self.total += part.len();
        let room = TEXT_LEN_MAX - self.kept.len();
        if room == 0 {
            return;
        }
        // Once something did not fit, nothing later may follow the gap.
        if self.total - part.len() > self.kept.len() {
            return;
        }
        self.kept.push_str(&part[..part.floor_char_boundary(room)]);
    }

    fn finish(self) -> String {
        if self.total <= self.kept.len() {
            return self.kept;
        }
        let (kept, total) = (size(self.kept.len()), size(self.total));
        format!("{}\n[cut here: the result is {total}; the first {kept} are shown]", self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Value) -> String {
        map(&result, "s", "t").text
    }

    #[test]
    fn table() {
        assert_eq!(
            text(json!({"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]})),
            "a\nb"
        );
        assert_eq!(
            text(json!({"content":[{"type":"image","mimeType":"image/png","data":"AAAA"}]})),
            "[image: image/png, 3 bytes, not shown]"
        );
        assert_eq!(
            text(
                json!({"content":[{"type":"resource","resource":{"uri":"f:///x","text":"body"}}]})
            ),
            "body"
        );
        assert_eq!(
            text(json!({"content":[{"type":"resource_link","uri":"f:///x","name":"x"}]})),
            "[resource x: f:///x]"
        );
        assert_eq!(text(json!({"content":[],"structuredContent":{"a":1}})), "{\n  \"a\": 1\n}");
        assert_eq!(text(json!({})), r#"{"status":"ok","server":"s","tool":"t"}"#);
        assert_eq!(text(json!({"content":"odd"})), r#"{"status":"ok","server":"s","tool":"t"}"#);
        let failed =
            map(&json!({"isError":true,"content":[{"type":"text","text":"no"}]}), "s", "t");
        assert_eq!(failed, Mapped { text: "no".to_owned(), is_error: true });
    }

    #[test]
    fn a_large_result_is_cut_and_says_so() {
        let big = "é".repeat(10 << 20);
        let got =
            text(json!({"content":[{"type":"text","text":big},{"type":"text","text":"tail"}]}));
        assert!(got.len() < TEXT_LEN_MAX + 200);
        assert!(
            got.ends_with("[cut here: the result is 20 MiB; the first 256 KiB are shown]"),
            "{}",
            &got[got.len() - 90..]
        );
        assert!(!got.contains("tail"));
    }
}
