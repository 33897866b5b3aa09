use proptest::prelude::*;

use super::{EVENT_LEN_MAX, SseParser, TooLong};

fn events(chunks: &[&[u8]]) -> Result<Vec<String>, TooLong> {
    let mut parser = SseParser::default();
    let mut found = Vec::new();
    for chunk in chunks {
        parser.feed(chunk, |data| found.push(data))?;
    }
    found.extend(parser.finish()?);
    Ok(found)
}

#[test]
fn reads_events_whatever_ends_their_lines() {
    let table: &[(&str, &[&str])] = &[
        ("data: a\n\ndata: b\n\n", &["a", "b"]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
        ("data: a\r\rdata: b\r\r", &["a", "b"]),
        ("data:a\ndata:  b\n\n", &["a\n b"]),
        (": comment\nevent: x\nid: 1\nretry: 5\ndata: a\n\n", &["a"]),
        ("\u{feff}data: a\n\n", &["a"]),
        ("data: a", &["a"]),
        ("data: a\n", &["a"]),
        ("data\n\n", &[""]),
        ("dat: a\n\nnonsense\n\n", &[]),
        ("", &[]),
        ("\n\n\n", &[]),
    ];
    for (input, expected) in table {
        assert_eq!(events(&[input.as_bytes()]).unwrap(), *expected, "{input:?}");
        let single: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        assert_eq!(events(&single).unwrap(), *expected, "{input:?} byte by byte");
    }
}

/// A CR at the end of one chunk takes one LF with it, not two.
#[test]
fn a_pair_may_be_cut_in_two() {
    let found = events(&[b"data: a\r", b"\n", b"\ndata: b"]).unwrap();
    assert_eq!(found, ["a", "b"]);
}

#[test]
fn a_line_or_an_event_that_is_too_long_is_refused() {
    let long = vec![b'x'; EVENT_LEN_MAX + 1];
    assert_eq!(events(&[b"data: ", &long]), Err(TooLong));
    let half = vec![b'x'; EVENT_LEN_MAX / 2 + 1];
    assert_eq!(events(&[b"data: ", &half, b"\ndata: ", &half, b"\n"]), Err(TooLong));
}

proptest! {
    /// However the bytes are cut into chunks, the events are the same, and nothing panics.
    #[test]
    fn chunks_do_not_matter(
        pieces in prop::collection::vec(
            prop_oneof![
                Just(b"data: ".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"\r\n".to_vec()),
                Just(b":".to_vec()), Just(b"\xef\xbb\xbf".to_vec()), prop::collection::vec(any::<u8>(), 0..6),
            ],
            0..40,
        ),
        cuts in prop::collection::vec(1usize..7, 1..20),
    ) {
        let whole = pieces.concat();
        let mut rest = whole.as_slice();
        let mut chunks = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        prop_assert_eq!(events(&[&whole]), events(&chunks));
    }
}
