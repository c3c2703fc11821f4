//! What a sink's options make of a record.

use std::borrow::Cow;

use analytics::{
    Field, Flag, Float, Int, RecordView, Text, Time, Transform, When, Zone, json,
    record::{Builder, GraphError},
};

use super::ZERO;

/// The raw request as a sink with these options sees it.
fn request(stored: &[u8], transform: Transform) -> Vec<u8> {
    let mut builder = Builder::new();
    builder.text(Text::RawRequest, stored);
    let (buffer, record) = builder.build();
    RecordView::new(&buffer, &record, &transform)
        .text(Text::RawRequest)
        .into_owned()
}

fn decoded(stored: &[u8]) -> Vec<u8> {
    let transform = Transform {
        decode_request: true,
        ..Transform::NONE
    };
    request(stored, transform)
}

#[test]
fn bodies_are_omitted_or_cut_by_bytes() {
    let transform = Transform {
        max_record_size: 2,
        ..Transform::NONE
    };
    assert_eq!(request("héllo".as_bytes(), transform.clone()), [0x68, 0xc3]);
    assert_eq!(request(b"h", transform.clone()), b"h");
    let transform = Transform {
        omit_detailed: true,
        ..transform
    };
    assert_eq!(request(b"hello", transform), b"");
}

#[test]
fn other_texts_are_never_cut() {
    let mut builder = Builder::new();
    builder.text(Text::Path, "/long/path").text(Text::RawResponse, "long");
    let (buffer, record) = builder.build();
    let transform = Transform {
        max_record_size: 1,
        ..Transform::NONE
    };
    let view = RecordView::new(&buffer, &record, &transform);
    assert_eq!(view.text(Text::Path), b"/long/path".as_slice());
    assert_eq!(view.text(Text::RawResponse), b"l".as_slice());
}

#[test]
fn bodies_are_decoded_as_go_decodes_them() {
    let cases: [(&[u8], &[u8]); 12] = [
        (b"R0VUIC8=", b"GET /"),
        (b"R0VU\r\nIC8=\n", b"GET /"),
        (b"/+8=", b"\xff\xef"),
        (b"QR==", b"A"),
        (b"", b""),
        (b"\n", b""),
        (b"R0VUIC8", b"R0VUIC8"),
        (b"R0VU IC8=", b"R0VU IC8="),
        (b"R0VUIC8=x", b"R0VUIC8=x"),
        (b"R0VUIC8==", b"R0VUIC8=="),
        (b"_-8=", b"_-8="),
        (b"GET / HTTP/1.1", b"GET / HTTP/1.1"),
    ];
    for (stored, want) in cases {
        assert_eq!(decoded(stored), want, "{}", String::from_utf8_lossy(stored));
    }
}

#[test]
fn a_body_is_cut_before_it_is_decoded() {
    let transform = |max_record_size| Transform {
        max_record_size,
        decode_request: true,
        ..Transform::NONE
    };
    assert_eq!(request(b"R0VUIC8=", transform(4)), b"GET");
    assert_eq!(request(b"R0VUIC8=", transform(5)), b"R0VUI");
}

#[test]
fn only_a_decoded_body_is_copied() {
    let mut builder = Builder::new();
    builder.text(Text::RawRequest, "R0VU").text(Text::RawResponse, "R0VU");
    let (buffer, record) = builder.build();
    let transform = Transform {
        decode_request: true,
        ..Transform::NONE
    };
    let view = RecordView::new(&buffer, &record, &transform);
    assert!(matches!(view.text(Text::RawRequest), Cow::Owned(_)));
    assert!(matches!(view.text(Text::RawResponse), Cow::Borrowed(_)));
}

/// A record in which every field has a value.
fn full() -> Builder {
    let mut builder = Builder::new();
    for &text in Text::ALL {
        builder.text(text, "text");
    }
    for &int in Int::ALL {
        builder.int(int, 7);
    }
    for &float in Float::ALL {
        builder.float(float, 0.5);
    }
    for &when in When::ALL {
        builder.time(when, Time::normalised(1_700_000_000, 0, Zone::UTC));
    }
    for &flag in Flag::ALL {
        builder.flag(flag, true);
    }
    builder
        .tags(["tag"])
        .city_names([("en", "London")])
        .root_fields(["root"])
        .types([("T", Some(vec!["f"]))]);
    builder.errors(vec![GraphError::default()]);
    builder
}

#[test]
fn ignored_fields_are_zero_and_all_others_stay() {
    let (buffer, record) = full().build();
    let fields = |ignored| {
        let transform = Transform {
            ignored,
            ..Transform::NONE
        };
        let mut out = Vec::new();
        json::write_record(&mut out, &RecordView::new(&buffer, &record, &transform)).unwrap();
        serde_json::from_slice::<serde_json::Value>(&out).unwrap()
    };
    let zero: serde_json::Value = serde_json::from_str(ZERO).unwrap();
    let whole = fields(0);
    for &field in Field::ALL {
        let Some(name) = field.info().json else {
            continue;
        };
        assert_ne!(whole[name], zero[name], "{name}");
        let mut want = whole.clone();
        want[name] = zero[name].clone();
        assert_eq!(fields(1 << field as u64), want, "{name}");
    }
}

#[test]
fn text_is_checked_wherever_it_is() {
    assert!(full().view().is_utf8());
    let spoiled: [fn(&mut Builder); 8] = [
        |builder| {
            builder.text(Text::RawRequest, b"\xff");
        },
        |builder| {
            builder.tags([b"\xff"]);
        },
        |builder| {
            builder.city_names([(b"en", b"\xc3(")]);
        },
        |builder| {
            builder.city_names([(b"\xff", b"x")]);
        },
        |builder| {
            builder.root_fields([b"\xff"]);
        },
        |builder| {
            builder.types([(b"T".as_slice(), Some(vec![b"\xff".as_slice()]))]);
        },
        |builder| {
            let message = builder.keep(b"\xff");
            builder.errors(vec![GraphError { message, path: None }]);
        },
        |builder| {
            let path = Some(vec![analytics::record::PathItem::Text(builder.keep(b"\xff"))]);
            builder.errors(vec![GraphError {
                path,
                ..GraphError::default()
            }]);
        },
    ];
    for (at, spoil) in spoiled.iter().enumerate() {
        let mut builder = full();
        spoil(&mut builder);
        assert!(!builder.view().is_utf8(), "{at}");
    }
}
