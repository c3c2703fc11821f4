//! What is written is read again, and bytes of any kind do no harm.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gorpc::{
    Outcome, Request, RequestWriter, Response, ResponseWriter, Style,
    gob::{Basic, Decoder, Frames, Value},
};
use proptest::prelude::*;

fn basic() -> impl Strategy<Value = Basic> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..400).prop_map(Bytes::from);
    prop_oneof![
        any::<bool>().prop_map(Basic::Bool),
        any::<i64>().prop_map(Basic::Int),
        any::<u64>().prop_map(Basic::Uint),
        proptest::num::f64::NORMAL.prop_map(Basic::Float),
        bytes().prop_map(Basic::Bytes),
        bytes().prop_map(Basic::Text),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        proptest::option::of(basic()).prop_map(Outcome::Returned),
        ".{1,300}".prop_map(Outcome::Failed),
        ".{1,300}".prop_map(Outcome::Broken),
    ]
}

fn style() -> impl Strategy<Value = Style> {
    prop_oneof![Just(Style::UpFront), Just(Style::InPlace)]
}

fn read(stream: &[u8], cut: usize) -> Vec<Value> {
    let (mut frames, mut decoder) = (Frames::default(), Decoder::default());
    let mut values = Vec::new();
    for piece in stream.chunks(cut) {
        frames.feed(piece);
        while let Some(message) = frames.next_message().unwrap() {
            values.extend(decoder.push(message).unwrap());
        }
    }
    assert!(frames.is_at_boundary() && decoder.is_at_boundary());
    values
}

proptest! {
    #[test]
    fn requests(
        calls in proptest::collection::vec((any::<u64>(), ".{0,40}", proptest::option::of(basic())), 1..5),
        style in style(), first_id in 64i64..5000, cut in 1usize..200,
    ) {
        let mut writer = RequestWriter::new(style, first_id);
        let mut stream = Vec::new();
        for (id, name, argument) in &calls {
            writer.write(&mut stream, *id, name, argument.as_ref());
        }
        let got: Vec<Request> = read(&stream, cut).iter().map(|value| Request::of(value).unwrap()).collect();
        let sent: Vec<Request> = calls.into_iter().map(|(id, name, argument)| Request { id, name, argument }).collect();
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn responses(
        answers in proptest::collection::vec((any::<u64>(), outcome()), 1..5),
        style in style(), first_id in 64i64..5000, cut in 1usize..200,
    ) {
        let mut writer = ResponseWriter::new(style, first_id);
        let answers: Vec<Response> = answers.into_iter().map(|(id, outcome)| Response { id, outcome }).collect();
        let mut stream = Vec::new();
        for answer in &answers {
            writer.write(&mut stream, answer);
        }
        let got: Vec<Response> = read(&stream, cut).iter().map(|value| Response::of(value).unwrap()).collect();
        prop_assert_eq!(got, answers);
    }

    #[test]
    fn a_stream_with_a_changed_byte_is_read_or_refused(
        call in (any::<u64>(), ".{0,40}", proptest::option::of(basic())),
        style in style(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut stream = Vec::new();
        RequestWriter::new(style, 64).write(&mut stream, call.0, &call.1, call.2.as_ref());
        let at = at.index(stream.len());
        stream[at] = byte;
        let (mut frames, mut decoder) = (Frames::default(), Decoder::default());
        frames.feed(&stream);
        while let Ok(Some(message)) = frames.next_message() {
            match decoder.push(message) {
                Err(_) => break,
                Ok(None) => {}
                Ok(Some(value)) => {
                    let _ = Request::of(&value);
                    let _ = Response::of(&value);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..6)) {
        let mut decoder = Decoder::default();
        for message in messages {
            if decoder.push(message.into()).is_err() {
                break;
            }
        }
    }
}

/// A type that contains itself, as long as a message allows: an error, not a stack without end.
#[test]
fn nesting_ends() {
    let mut definition = Vec::new();
    gorpc::gob::write_struct_type(&mut definition, 64, "T", &[("Next", 64)]);
    let mut decoder = Decoder::default();
    assert_eq!(decoder.push(definition.into()).unwrap(), None);
    let mut value = Vec::new();
    gorpc::gob::write_signed(&mut value, 64);
    value.resize(1 << 20, 1);
    let error = decoder.push(value.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "message 2 of the stream, byte 67: values are nested more than 64 deep"
    );
}
