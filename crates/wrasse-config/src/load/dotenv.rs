//! `.env` files: `NAME=value` lines, `export`, quotes, comments.

/// Reads the variables of a file; lines that are none are left out.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(String, String)> {
    let line = line.trim_start_matches('\u{feff}').trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name.to_owned(), self::value(value.trim())))
}

fn value(text: &str) -> String {
    for quote in ['"', '\'', '`'] {
        let Some(rest) = text.strip_prefix(quote) else { continue };
        if let Some(end) = rest.find(quote) {
            let inner = &rest[..end];
            // Only double quotes know escapes.
            return if quote == '"' { inner.replace("\\n", "\n") } else { inner.to_owned() };
        }
    }
    // A comment needs a blank before it, so that `#` may stand in a password.
    let end = if text.starts_with('#') { Some(0) } else { text.find(" #") };
    end.map_or(text, |end| &text[..end]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_what_people_write() {
        let text = "# c\nA=1\nexport B = two words # c\nC='a#b'\nD=\"x\\ny\" # c\nE=pass#word\nF=\n=x\nno\n1A=2\n";
        let pairs = super::parse(text);
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("A", "1"),
                ("B", "two words"),
                ("C", "a#b"),
                ("D", "x\ny"),
                ("E", "pass#word"),
                ("F", "")
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".*") {
            drop(super::parse(&text));
        }
    }
}
