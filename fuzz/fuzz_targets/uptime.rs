//! Any bytes are a check or an error, and a check comes back from its encoding as it was.
#![no_main]

use analytics::{Span, UptimeView, msgpack};
use libfuzzer_sys::fuzz_target;

fn whole(bytes: &[u8]) -> Span {
    Span {
        start: 0,
        len: bytes.len() as u32,
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(record) = msgpack::decode_uptime(input, whole(input)) else {
        return;
    };
    let mut first = Vec::new();
    msgpack::encode_uptime(&mut first, &UptimeView::new(input, &record));
    let record = msgpack::decode_uptime(&first, whole(&first)).expect("what was encoded can be decoded");
    let mut second = Vec::new();
    msgpack::encode_uptime(&mut second, &UptimeView::new(&first, &record));
    assert_eq!(first, second);
});
