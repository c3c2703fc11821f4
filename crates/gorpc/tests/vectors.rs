//! Bytes that the original library was seen to send, read and written.

#![allow(clippy::unwrap_used)]

use gorpc::{
    Outcome, Preamble, Request, RequestWriter, Response, ResponseWriter, Style,
    deflate::{DeflateError, Deflater, Inflater},
    gob::{self, Basic, Decoder, Frames},
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "{hex}");
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Every value in a stream.
fn values(stream: &[u8]) -> Vec<gob::Value> {
    let (mut frames, mut decoder) = (Frames::default(), Decoder::default());
    let mut values = Vec::new();
    for byte in stream {
        frames.feed(&[*byte]);
        while let Some(message) = frames.next_message().unwrap() {
            values.extend(decoder.push(message).unwrap());
        }
    }
    assert!(frames.is_at_boundary() && decoder.is_at_boundary());
    values
}

fn requests(stream: &[u8]) -> Vec<Request> {
    let values = values(stream);
    values.iter().map(|value| Request::of(value).unwrap()).collect()
}

fn responses(stream: &[u8]) -> Vec<Response> {
    let values = values(stream);
    values.iter().map(|value| Response::of(value).unwrap()).collect()
}

fn request(id: u64, name: &str, argument: Option<&'static str>) -> Request {
    let argument = argument.map(Basic::text);
    let name = name.to_owned();
    Request { id, name, argument }
}

/// What a Go 1.26 client sends first: `.Ping`.
const FIRST_REQUEST: &str = "
    2b 7f 03 01 01 0b 7769726552657175657374 01 ff80 00 01 02 01 02 4944 01 06 00 01 07 52657175657374 01 10 00 00 00
    52 ff80 01 01 01 18 2a676f7270632e6469737061746368657252657175657374
       ff81 03 01 01 11 6469737061746368657252657175657374 01 ff82 00 01 02 01 07 52657175657374 01 10 00 01 04 4e616d65 01 0c 00 00 00
    0c ff82 08 02 05 2e50696e67 00 00";

/// And later: `.Login`, `.PurgeAnalyticsData`.
const LATER_REQUESTS: &str = "
    38 ff80 01 02 01 18 2a676f7270632e6469737061746368657252657175657374 ff82 16 01 06 737472696e67 0c 03 00 01 6b 01 06 2e4c6f67696e 00 00
    46 ff80 01 04 01 18 2a676f7270632e6469737061746368657252657175657374 ff82 24 01 06 737472696e67 0c 04 00 02 5b5d 01 13 2e5075726765416e616c797469637344617461 00 00";

/// What its server, in the same process, answers: true, true, false, nothing, an error.
const ANSWERS: &str = "
    38 ff83 03 01 01 0c 77697265526573706f6e7365 01 ff84 00 01 03 01 02 4944 01 06 00 01 08 526573706f6e7365 01 10 00 01 05 4572726f72 01 0c 00 00 00
    56 ff84 01 01 01 19 2a676f7270632e64697370617463686572526573706f6e7365
       ff85 03 01 01 12 64697370617463686572526573706f6e7365 01 ff86 00 01 02 01 08 526573706f6e7365 01 10 00 01 05 4572726f72 01 0c 00 00 00
    0f ff86 0b 01 04 626f6f6c 02 02 00 01 00 00
    2e ff84 01 02 01 19 2a676f7270632e64697370617463686572526573706f6e7365 ff86 0b 01 04 626f6f6c 02 02 00 01 00 00
    2e ff84 01 03 01 19 2a676f7270632e64697370617463686572526573706f6e7365 ff86 0b 01 04 626f6f6c 02 02 00 00 00 00
    24 ff84 01 04 01 19 2a676f7270632e64697370617463686572526573706f6e7365 ff86 01 00 00
    2a ff84 01 05 01 19 2a676f7270632e64697370617463686572526573706f6e7365 ff86 07 02 04 626f6f6d 00 00";

const FIRST_REQUEST_COMPRESSED: &str = "
    64cc3d0a02311445e17b33fe815368e71a146615363622b383617cc4146a4c2296c66cfc89a0204c7b387c9b6745ce1f2e482bb7bbc444cda0a1d9
    6d3901a7bfba00d06a26b95adb6bf07d7374d177a93f49f83efaaac8e52053cb07fc9338da7767610da0d63233e3e6e02e1678030000ffff";

#[tokio::test]
async fn preamble_is_the_observed_one() {
    let observed = bytes("70726f746f32 11 303132333435363738396162 2d75756964 01");
    let preamble = Preamble {
        pool: "0123456789ab-uuid".into(),
        compressed: true,
    };
    assert_eq!(preamble.to_bytes(), observed);
    assert_eq!(Preamble::read(&mut &observed[..]).await.unwrap(), preamble);
    let error = Preamble::read(&mut &b"GET / HTTP/1.1\r\n"[..]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection begins with \"GET / \" instead of \"proto2\""
    );
}

#[test]
fn requests_of_a_go_client_are_read_and_written_alike() {
    let stream = bytes(&[FIRST_REQUEST, LATER_REQUESTS].concat());
    let calls = [
        request(1, ".Ping", None),
        request(2, ".Login", Some("k")),
        request(4, ".PurgeAnalyticsData", Some("[]")),
    ];
    assert_eq!(requests(&stream), calls);
    let mut writer = RequestWriter::new(Style::InPlace, 64);
    let mut written = Vec::new();
    for call in &calls {
        writer.write(&mut written, call.id, &call.name, call.argument.as_ref());
    }
    assert_eq!(written, stream);
}

#[test]
fn answers_of_a_go_server_are_read_and_written_alike() {
    let stream = bytes(ANSWERS);
    let response = |id, outcome| Response { id, outcome };
    let bool = |value| Outcome::Returned(Some(Basic::Bool(value)));
    let answers = [
        response(1, bool(true)),
        response(2, bool(true)),
        response(3, bool(false)),
        response(4, Outcome::Returned(None)),
        response(5, Outcome::Failed("boom".to_owned())),
    ];
    assert_eq!(responses(&stream), answers);
    let mut writer = ResponseWriter::new(Style::InPlace, 66);
    let mut written = Vec::new();
    for answer in &answers {
        writer.write(&mut written, answer);
    }
    assert_eq!(written, stream);
}

#[test]
fn definitions_come_first_where_go_does_not_do_it() {
    let mut written = Vec::new();
    RequestWriter::new(Style::UpFront, 65).write(&mut written, 1, ".Ping", None);
    let expected = [
        bytes("2c ff81 03 01 01 0b"),
        b"wireRequest".to_vec(),
        bytes("01 ff82 00 01 02 01 02 4944 01 06 00 01 07"),
        b"Request".to_vec(),
        bytes("01 10 00 00 00 34 ff83 03 01 01 11"),
        b"dispatcherRequest".to_vec(),
        bytes("01 ff84 00 01 02 01 07"),
        b"Request".to_vec(),
        bytes("01 10 00 01 04"),
        b"Name".to_vec(),
        bytes("01 0c 00 00 00"),
    ]
    .concat();
    assert!(written.starts_with(&expected), "{written:02x?}");
    assert_eq!(requests(&written), [request(1, ".Ping", None)]);

    let mut written = Vec::new();
    let answer = Response {
        id: 1,
        outcome: Outcome::Broken("crashed".to_owned()),
    };
    ResponseWriter::new(Style::UpFront, 65).write(&mut written, &answer);
    assert!(written.starts_with(&bytes("38 ff81 03 01 01 0c")));
    assert_eq!(responses(&written), [answer]);
}

#[test]
fn long_arguments_have_the_observed_lengths() {
    let mut writer = RequestWriter::new(Style::UpFront, 65);
    writer.write(&mut Vec::new(), 1, ".Ping", None);
    let mut written = Vec::new();
    let argument = "x".repeat(300);
    writer.write(
        &mut written,
        3,
        ".PurgeAnalyticsData",
        Some(&Basic::text(argument.clone())),
    );
    let head = "fe0176 ff82 01 03 01 18 2a676f7270632e6469737061746368657252657175657374 ff84 fe0152 01 06 737472696e67 0c fe0130 00 fe012c";
    let tail = "01 13 2e5075726765416e616c797469637344617461 00 00";
    let expected = [bytes(head), argument.into_bytes(), bytes(tail)].concat();
    assert_eq!(written.len(), 377);
    assert_eq!(written, expected);
}

#[test]
fn compressed_streams_of_go_are_read() {
    let mut inflater = Inflater::default();
    let mut inflate = |packed: &[u8]| {
        let mut plain = Vec::new();
        let taken = inflater.decompress(packed, |piece| {
            plain.extend_from_slice(piece);
            Ok::<_, DeflateError>(())
        });
        taken.map(|()| plain).unwrap()
    };
    assert_eq!(inflate(&bytes(FIRST_REQUEST_COMPRESSED)), bytes(FIRST_REQUEST));
    let login = bytes(LATER_REQUESTS)[..57].to_vec();
    let stored = [&bytes("00 3900 c6ff")[..], &login, &bytes("00 0000 ffff")].concat();
    assert_eq!(inflate(&stored), login);
}

#[test]
fn own_compression_is_raw_and_flushed() {
    let mut packed = Vec::new();
    Deflater::default()
        .compress(&bytes(FIRST_REQUEST), &mut packed)
        .unwrap();
    assert!(packed.ends_with(&[0, 0, 0xff, 0xff]));
}

#[test]
fn numbers_have_the_documented_bytes() {
    for (number, hex) in [
        (0, "00"),
        (7, "07"),
        (127, "7f"),
        (128, "ff80"),
        (255, "ffff"),
        (256, "fe0100"),
        (65536, "fd010000"),
        (u64::MAX, "f8ffffffffffffffff"),
    ] {
        let mut out = Vec::new();
        gob::write_unsigned(&mut out, number);
        assert_eq!(out, bytes(hex), "{number}");
    }
    for (number, hex) in [
        (0, "00"),
        (1, "02"),
        (-1, "01"),
        (6, "0c"),
        (8, "10"),
        (63, "7e"),
        (64, "ff80"),
        (-64, "7f"),
        (65, "ff82"),
        (-65, "ff81"),
        (-129, "fe0101"),
    ] {
        let mut out = Vec::new();
        gob::write_signed(&mut out, number);
        assert_eq!(out, bytes(hex), "{number}");
    }
    let mut out = Vec::new();
    gob::write_basic(&mut out, &Basic::Float(17.0));
    assert!(out.ends_with(&bytes("00 fe3140")), "{out:02x?}");
}

#[test]
fn errors_say_what_and_where() {
    let error = |hex: &str| {
        let (mut frames, mut decoder) = (Frames::default(), Decoder::default());
        frames.feed(&bytes(hex));
        loop {
            match frames.next_message() {
                Err(error) => return error.to_string(),
                Ok(None) => panic!("no error"),
                Ok(Some(message)) => match decoder.push(message) {
                    Err(error) => return error.to_string(),
                    Ok(_) => continue,
                },
            }
        }
    };
    assert_eq!(
        error("80"),
        "message 1 of the stream, byte 0: a number of 128 bytes; no more than 8 are possible"
    );
    assert_eq!(
        error("fc7fffffff"),
        "message 1 of the stream, byte 0: a message of 2147483647 bytes; no more than 67108864 are accepted"
    );
    assert_eq!(
        error("03 ff80 00"),
        "message 1 of the stream, byte 3: type 64 is not defined on this stream"
    );
    assert_eq!(
        error("02 0d 00"),
        "message 1 of the stream, byte 1: type 7 cannot be defined: user types begin at 64"
    );
    assert_eq!(
        error("04 0c 00 05 61"),
        "message 1 of the stream, byte 3: 5 bytes are needed and 1 are left in the message"
    );
    assert_eq!(
        error("05 0c 00 01 61 00"),
        "message 1 of the stream, byte 4: 1 bytes follow the value"
    );
    let first = bytes(FIRST_REQUEST)[..44].to_vec();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        error(&hex(&[first.clone(), first].concat())),
        "message 2 of the stream, byte 1: type 64 is defined already"
    );
}
