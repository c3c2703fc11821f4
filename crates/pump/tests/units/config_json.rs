//! The JSON reader against another one, and against arbitrary bytes.

use proptest::prelude::*;
use serde_json::Value;
use tyk_pump::config::json::{Json, Position, parse};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Exact in binary, as the other reader rounds some decimals wrongly.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 64.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_documents_read_as_the_other_reader_reads_them(value in value(), pretty in any::<bool>()) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let ours = parse(text.as_bytes()).unwrap().to_value();
        prop_assert_eq!(&ours, &serde_json::from_str::<Value>(&text).unwrap());
        prop_assert_eq!(ours, value);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn near_misses_are_refused_where_the_other_reader_refuses_them(text in "[\\[\\]{},:\"0-9a-f.eE+\\\\ u'/-]{0,24}") {
        let theirs = serde_json::from_str::<Value>(&text);
        match parse(text.as_bytes()) {
            Ok(node) => match theirs {
                Ok(theirs) => {
                    let kind = std::mem::discriminant(&theirs);
                    prop_assert_eq!(std::mem::discriminant(&node.to_value()), kind, "{}", text);
                }
                // Documents without content, lone surrogates and numbers beyond a double are read here.
                Err(error) => {
                    let reason = error.to_string();
                    let lenient = text.trim().is_empty() || ["surrogate", "hex escape", "out of range"].iter().any(|part| reason.contains(part));
                    prop_assert!(lenient, "{}: {}", text, reason);
                }
            },
            Err(error) => prop_assert!(theirs.is_err(), "{}: {}", text, error),
        }
    }
}

#[test]
fn mistakes_are_named_where_they_are() {
    for (text, line, column, part) in [
        ("{\n\"a\": 1,\n}", 2, 7, "a comma before \"}\" – remove it"),
        ("[1,\n 2 , ]", 2, 4, "a comma before \"]\" – remove it"),
        (
            "{\"a\": 1 // \"password\": \"x\"\n}",
            1,
            9,
            "JSON has no comments – remove this one",
        ),
        ("# note\n{}", 1, 1, "JSON has no comments – remove \"# note\""),
        ("{} /* x */", 1, 4, "JSON has no comments"),
        ("{'a': 1}", 1, 2, "names and texts need double quotes"),
        ("{\"a\": 'b'}", 1, 7, "names and texts need double quotes"),
        ("{a: 1}", 1, 2, "a name in double quotes is wanted here"),
        ("{\"a\": True}", 1, 7, "write true in small letters"),
        ("{\"a\": b}", 1, 7, "texts need double quotes"),
        ("{\"a\" 1}", 1, 6, "a colon is missing after the name \"a\""),
        ("{\"a\": 1\n\"b\": 2}", 1, 8, "a comma is missing here"),
        ("{\"a\": 1,, \"b\": 2}", 1, 9, "one comma too many"),
        ("{\"a\": }", 1, 7, "a value is missing here"),
        (
            "{\"a\": [1, 2}",
            1,
            12,
            "a \"]\" is wanted here, for the bracket that opens in line 1",
        ),
        (
            "{\n\"a\": {\n\"b\": 1\n",
            4,
            1,
            "the file ends inside the object that starts in line 2",
        ),
        (
            "[1",
            1,
            3,
            "the file ends inside the list that starts in line 1 – a \"]\" is missing",
        ),
        ("{} {}", 1, 4, "something after the end"),
        ("{\"a\": 10s}", 1, 7, "this is no JSON number"),
        ("{\"a\": 01}", 1, 7, "this is no JSON number"),
        ("{\"ä\": \"b\n\"}", 1, 7, "this text has no closing quote"),
        ("{\"a\": \"C:\\dir\"}", 1, 10, "a backslash in a text is written twice"),
        ("{\"a\": \"\\u12g4\"}", 1, 8, "\\u needs four hexadecimal digits"),
        ("{\"a\": \"\t\"}", 1, 8, "a control character inside a text"),
    ] {
        let error = parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.at, Position { line, column }, "{text}: {error}");
        assert!(error.text.contains(part), "{text}: {error}");
        assert!(!error.text.contains("password"), "{error}");
    }
    assert!(
        parse("[".repeat(100_000).as_bytes())
            .unwrap_err()
            .text
            .contains("inside each other")
    );
}

#[test]
fn tolerances_of_the_reference_are_kept() {
    let text = |bytes: &[u8]| match parse(bytes).unwrap().json {
        Json::Text(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(br#""c\u0073v-\ud800\u00e9\/x""#), "csv-\u{fffd}é/x");
    assert_eq!(
        text(br#""\ud83d\ude00 \udc00 \ud83d\ud83d\ude00""#),
        "😀 \u{fffd} \u{fffd}😀"
    );
    assert_eq!(text(b"\"a\xff\xc3(\xe2\x82\""), "a\u{fffd}\u{fffd}(\u{fffd}\u{fffd}");
    assert_eq!(text(b"\xef\xbb\xbf\"bom\""), "bom");
    let Json::Object(members) = parse(b"{\"a\": 1,\n \"a\": 2}").unwrap().json else {
        panic!()
    };
    assert_eq!(members.len(), 2);
    assert_eq!(
        (members[1].at, members[1].value.at),
        (Position { line: 2, column: 2 }, Position { line: 2, column: 7 })
    );
}
