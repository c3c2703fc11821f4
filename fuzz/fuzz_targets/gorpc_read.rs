//! Any bytes that a peer sends are calls and answers, or an error that says where.
#![no_main]

use gorpc::{
    Request, Response,
    deflate::{DeflateError, Inflater},
    gob::{Decoder, Frames},
};
use libfuzzer_sys::fuzz_target;

fn read(stream: &[u8]) {
    let (mut frames, mut decoder) = (Frames::default(), Decoder::default());
    frames.feed(stream);
    while let Ok(Some(message)) = frames.next_message() {
        match decoder.push(message) {
            Err(error) => return assert!(error.to_string().starts_with("message ")),
            Ok(None) => {}
            Ok(Some(value)) => {
                let _ = Request::of(&value);
                let _ = Response::of(&value);
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    // As the flag of a connection says: compressed or not.
    let Some((&flag, stream)) = input.split_first() else {
        return;
    };
    if flag & 1 == 0 {
        return read(stream);
    }
    let mut plain = Vec::new();
    let _ = Inflater::default().decompress(stream, |piece| {
        plain.extend_from_slice(piece);
        Ok::<_, DeflateError>(())
    });
    read(&plain);
});
