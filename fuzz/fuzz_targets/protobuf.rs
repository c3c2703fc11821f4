//! Any bytes are a record or an error, and a record comes back from its encoding as it was.
#![no_main]

use analytics::{RecordView, Span, Transform, json, protobuf};
use libfuzzer_sys::fuzz_target;

fn whole(bytes: &[u8]) -> Span {
    Span {
        start: 0,
        len: bytes.len() as u32,
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(record) = protobuf::decode(input, whole(input)) else {
        return;
    };
    let view = RecordView::new(input, &record, &Transform::NONE);
    assert!(view.is_utf8());
    let _ = json::write_record(&mut Vec::new(), &view);

    let mut first = Vec::new();
    protobuf::encode(&mut first, &view).expect("decoded texts are UTF-8");
    let record = protobuf::decode(&first, whole(&first)).expect("what was encoded can be decoded");
    let mut second = Vec::new();
    let view = RecordView::new(&first, &record, &Transform::NONE);
    protobuf::encode(&mut second, &view).expect("decoded texts are UTF-8");
    assert_eq!(first, second);
});
