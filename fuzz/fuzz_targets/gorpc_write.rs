//! What is written for any call or answer is read again as it was, in both styles and through the compression.
#![no_main]

use gorpc::{
    Outcome, Request, RequestWriter, Response, ResponseWriter, Style,
    deflate::{DeflateError, Deflater, Inflater},
    gob::{Basic, Decoder, Frames, Value},
};
use libfuzzer_sys::fuzz_target;

type Call = (u64, String, Option<(u8, u64, Vec<u8>)>);

fn basic((kind, number, bytes): (u8, u64, Vec<u8>)) -> Basic {
    match kind % 6 {
        0 => Basic::Bool(number & 1 == 1),
        1 => Basic::Int(number as i64),
        2 => Basic::Uint(number),
        // Every number but NaN, which is not equal to itself.
        3 => Basic::Float(number as f64),
        4 => Basic::Bytes(bytes.into()),
        _ => Basic::Text(bytes.into()),
    }
}

fn read(stream: &[u8], cut: usize) -> Vec<Value> {
    let mut packed = Vec::new();
    Deflater::default()
        .compress(stream, &mut packed)
        .expect("any bytes can be compressed");
    let (mut inflater, mut frames, mut decoder) = (Inflater::default(), Frames::default(), Decoder::default());
    let mut values = Vec::new();
    for piece in packed.chunks(cut) {
        let fed = inflater.decompress(piece, |plain| {
            frames.feed(plain);
            Ok::<_, DeflateError>(())
        });
        fed.expect("what was compressed can be read");
        while let Some(message) = frames.next_message().expect("what was written can be read") {
            values.extend(decoder.push(message).expect("what was written can be read"));
        }
    }
    assert!(frames.is_at_boundary() && decoder.is_at_boundary());
    values
}

fuzz_target!(|input: (
    bool,
    u16,
    u8,
    Vec<Call>,
    Vec<(u64, u8, String, Option<(u8, u64, Vec<u8>)>)>
)| {
    let (in_place, first_id, cut, calls, answers) = input;
    let style = if in_place { Style::InPlace } else { Style::UpFront };
    let (first_id, cut) = (64 + i64::from(first_id), 1 + usize::from(cut));

    let calls: Vec<Request> = calls
        .into_iter()
        .map(|(id, name, argument)| Request {
            id,
            name,
            argument: argument.map(basic),
        })
        .collect();
    let (mut writer, mut stream) = (RequestWriter::new(style, first_id), Vec::new());
    for call in &calls {
        writer.write(&mut stream, call.id, &call.name, call.argument.as_ref());
    }
    let got: Vec<Request> = read(&stream, cut)
        .iter()
        .map(|value| Request::of(value).expect("a request"))
        .collect();
    assert_eq!(got, calls);

    let answers: Vec<Response> = answers
        .into_iter()
        .map(|(id, kind, text, value)| {
            let outcome = match (kind % 3, text.is_empty()) {
                (0, false) => Outcome::Failed(text),
                (1, false) => Outcome::Broken(text),
                _ => Outcome::Returned(value.map(basic)),
            };
            Response { id, outcome }
        })
        .collect();
    let (mut writer, mut stream) = (ResponseWriter::new(style, first_id), Vec::new());
    for answer in &answers {
        writer.write(&mut stream, answer);
    }
    let got: Vec<Response> = read(&stream, cut)
        .iter()
        .map(|value| Response::of(value).expect("a response"))
        .collect();
    assert_eq!(got, answers);
});
