//! Any bytes are a record or an error, and a record comes back from its encoding as it was.
#![no_main]

use analytics::{RecordView, Span, Transform, csv, json, msgpack};
use libfuzzer_sys::fuzz_target;

fn whole(bytes: &[u8]) -> Span {
    Span {
        start: 0,
        len: bytes.len() as u32,
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(record) = msgpack::decode(input, whole(input)) else {
        return;
    };
    let view = RecordView::new(input, &record, &Transform::NONE);
    view.is_utf8();
    csv::write_row(&mut Vec::new(), &view);
    let _ = json::write_record(&mut Vec::new(), &view);

    let mut first = Vec::new();
    msgpack::encode(&mut first, &view);
    let record = msgpack::decode(&first, whole(&first)).expect("what was encoded can be decoded");
    let mut second = Vec::new();
    msgpack::encode(&mut second, &RecordView::new(&first, &record, &Transform::NONE));
    assert_eq!(first, second);
});
