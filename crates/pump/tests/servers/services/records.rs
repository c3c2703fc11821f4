//! Numbered records.

use analytics::{Int, Text, msgpack, record::Builder};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::support::Server;

pub(crate) const LIST: &str = "analytics-tyk-system-analytics";

/// A record with a number in its path, its request and its duration.
pub(crate) fn element(serial: u64) -> Vec<u8> {
    element_with(serial, |_| {})
}

/// The same, with something else.
pub(crate) fn element_with(serial: u64, alter: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let head = format!("GET /serial/{serial} HTTP/1.1\r\nHost: gateway\r\n\r\n");
    let mut record = Builder::new();
    record
        .text(Text::Method, "GET")
        .text(Text::Path, format!("/serial/{serial}"))
        .text(Text::RawRequest, STANDARD.encode(head))
        .text(Text::RawResponse, STANDARD.encode("HTTP/1.1 200 OK\r\n\r\nbody"))
        .int(Int::RequestTime, serial as i64)
        .int(Int::ResponseCode, 200);
    alter(&mut record);
    let mut element = Vec::new();
    msgpack::encode(&mut element, &record.view());
    element
}

/// One with everything in it that is nobody's business.
pub(crate) fn private(serial: u64) -> Vec<u8> {
    element_with(serial, |record| {
        record
            .text(Text::Path, "/accounts/of/jane")
            .text(Text::RawPath, "/accounts/of/jane")
            .text(Text::ApiKey, "k3y-of-a-client")
            .text(Text::Alias, "jane@example.org")
            .text(Text::IpAddress, "203.0.113.77")
            .text(Text::RawRequest, STANDARD.encode("secret body of a request"));
    })
}

/// Pushes all in one command, so that they are claimed together.
pub(crate) fn push(redis: &Server, elements: impl Iterator<Item = Vec<u8>>) {
    let mut command = redis::cmd("RPUSH");
    command.arg(LIST);
    for element in elements {
        command.arg(element);
    }
    let () = command.query(&mut redis.client(0, "")).unwrap();
}
