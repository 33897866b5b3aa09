use super::tree::{FileId, Node, Value};
use super::{Place, parse};

fn ok(text: &str) -> serde_json::Value {
    let parsed = parse(text, FileId(0));
    assert_eq!(parsed.faults, [], "{text}");
    to_json(&parsed.node)
}

fn to_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Object(members) => {
            members.iter().map(|member| (member.key.clone(), to_json(&member.node))).collect()
        }
    }
}

fn faults(text: &str) -> Vec<String> {
    let parsed = parse(text, FileId(0));
    let show = |fault: &super::scan::SyntaxFault| {
        let Place { line, column, .. } = fault.place;
        format!("{line}:{column} {}", fault.message)
    };
    parsed.faults.iter().map(show).collect()
}

#[test]
fn reads_all_of_json5() {
    let text = "\u{feff}// c\n{ /* c */ bare: 'single', \"quo\\u0074ed\": \"a\\u0041\\x42\\n\", $_1: +1, hex: 0xFF,\n\
                half: .5, tail: 5., exp: -1e3, 'multi': 'a\\\nb', list: [1, 2,], nested: {}, t: true, f: false, n: null,\
                ключ: '\\uD83D\\uDE00', }";
    assert_eq!(
        ok(text),
        serde_json::json!({ "bare": "single", "quoted": "aAB\n", "$_1": 1, "hex": 255, "half": 0.5, "tail": 5.0,
            "exp": -1000.0, "multi": "ab", "list": [1, 2], "nested": {}, "t": true, "f": false, "n": null, "ключ": "😀" })
    );
    assert_eq!(ok("-Infinity"), serde_json::Value::Null, "not a JSON number, but accepted");
}

#[test]
fn knows_where_everything_stands() {
    let parsed = parse("{\n  a: 1,\r\n\tb: [\n 'x'] }", FileId(3));
    let b = parsed.node.member("b").expect("b is there");
    assert_eq!(b.key_place, Place { file: FileId(3), line: 3, column: 2 });
    let Value::Array(items) = &b.node.value else { panic!("a list") };
    assert_eq!((items[0].place.line, items[0].place.column), (4, 2));
}

#[test]
fn the_last_of_two_equal_keys_wins() {
    let parsed = parse("{ a: 1, b: 2, a: 3 }", FileId(0));
    assert_eq!(to_json(&parsed.node), serde_json::json!({ "b": 2, "a": 3 }));
    assert_eq!(parsed.duplicates.len(), 1);
    assert_eq!((parsed.duplicates[0].0.column, parsed.duplicates[0].1.as_str()), (15, "a"));
}

#[test]
fn broken_text_says_where_and_what_was_expected() {
    let table: [(&str, &[&str]); 15] = [
        ("", &["1:1 the file is empty"]),
        ("{ a: 1", &["1:7 expected the rest of '{', found the end of the file"]),
        ("{ a: [1 }", &["1:9 expected the rest of '[', found '}'"]),
        ("{ a 1 }", &["1:5 expected ':' after the key \"a\", found '1'"]),
        ("{ a: }", &["1:6 expected a value, found '}'"]),
        ("{ a: 1 b: 2 }", &["1:8 expected ',' or '}', found 'b'"]),
        (
            "{ a: 'x\n b: 2 }",
            &["1:6 this text is not closed on its line", "2:2 expected ',' or '}', found 'b'"],
        ),
        ("{ a: 1,, b: 2 }", &["1:8 expected a key or '}', found ','"]),
        (
            "{ a: yes, b: 0x, c: 1.2.3 }",
            &[
                "1:6 \"yes\" is not a value",
                "1:14 \"0x\" is not a number",
                "1:21 \"1.2.3\" is not a number",
            ],
        ),
        ("{ a: 1 } x", &["1:10 expected the end of the file, found 'x'"]),
        ("{ a: /* ", &["1:6 this comment is never closed"]),
        (
            "{ a: '\\u12' , b: '\\xZZ' }",
            &[
                "1:7 this escape needs 4 hexadecimal digits",
                "1:19 this escape needs 2 hexadecimal digits",
            ],
        ),
        (
            "{ my-key: 1, b = 2 }",
            &[
                "1:5 expected ':' after the key \"my\", found '-'",
                "1:16 expected ':' after the key \"b\", found '='",
            ],
        ),
        ("{ a: 012 }", &["1:6 \"012\" is not a number"]),
        (
            "{ a: @x, b: % }",
            &["1:6 expected a value, found '@'", "1:13 expected a value, found '%'"],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(faults(text), expected, "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = "[".repeat(100_000);
    assert_eq!(faults(&deep), ["1:101 nested more than 100 deep"]);
    let fine = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(faults(&fine), [""; 0]);
}

#[test]
fn a_flood_of_faults_is_cut() {
    assert!(faults(&"{ a b c ".repeat(1000)).len() <= 21);
    assert!(faults(&"[@,".repeat(1000)).len() <= 21);
}

proptest::proptest! {
    #[test]
    fn never_panics(text in ".*") {
        drop(parse(&text, FileId(0)));
    }

    #[test]
    fn never_panics_on_what_looks_like_json5(text in r#"[\{\}\[\]:,'"\\/\*a-c0-2xu.+\- \n]{0,80}"#) {
        drop(parse(&text, FileId(0)));
    }

    #[test]
    fn reads_what_json_writes(text in r"\PC*", number in proptest::num::i64::ANY, flag: bool) {
        let value = serde_json::json!({ "list": [number, flag, null], (format!("k{text}")): text });
        proptest::prop_assert_eq!(ok(&value.to_string()), value);
    }
}
