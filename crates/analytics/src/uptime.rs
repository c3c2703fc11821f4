//! Records of the gateway's host checker.

use crate::{Span, Time, When, field::Width, field::indexes};

indexes! {
    /// Text fields of an uptime record.
    #[allow(missing_docs)]
    UptimeText { Id, Url, ApiId, OrgId }
}
indexes! {
    /// Integer fields of an uptime record.
    #[allow(missing_docs)]
    UptimeInt { RequestTime, ResponseCode, Day, Month, Year, Hour, Minute }
}
indexes! {
    /// Boolean fields of an uptime record.
    #[allow(missing_docs)]
    UptimeFlag { TcpError, ServerError }
}

/// Where an uptime record keeps the value of a field, and so of which type it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UptimeStore {
    /// A string of any bytes; `UptimeText::Id` holds the 12 raw bytes of an object id, or none.
    Text(UptimeText),
    /// An integer.
    Int(UptimeInt, Width),
    /// A boolean.
    Flag(UptimeFlag),
    /// An instant.
    Time(When),
}

/// The names of one field of an uptime record in every encoding.
#[derive(Clone, Copy, Debug)]
pub struct UptimeField {
    /// Go's name, which is also the msgpack key.
    pub go: &'static str,
    /// JSON key.
    pub json: &'static str,
    /// BSON key.
    pub bson: &'static str,
    /// Where a record keeps it.
    pub store: UptimeStore,
}

const fn row(go: &'static str, json: &'static str, bson: &'static str, store: UptimeStore) -> UptimeField {
    UptimeField { go, json, bson, store }
}

/// The fields in declaration order. The id is never on the wire of a gateway.
#[rustfmt::skip]
pub const UPTIME_FIELDS: &[UptimeField] = &[
    row("ID", "_id", "_id", UptimeStore::Text(UptimeText::Id)),
    row("URL", "url", "url", UptimeStore::Text(UptimeText::Url)),
    row("RequestTime", "request_time", "requesttime", UptimeStore::Int(UptimeInt::RequestTime, Width::Long)),
    row("ResponseCode", "response_code", "responsecode", UptimeStore::Int(UptimeInt::ResponseCode, Width::Int)),
    row("TCPError", "tcp_error", "tcperror", UptimeStore::Flag(UptimeFlag::TcpError)),
    row("ServerError", "server_error", "servererror", UptimeStore::Flag(UptimeFlag::ServerError)),
    row("Day", "day", "day", UptimeStore::Int(UptimeInt::Day, Width::Int)),
    row("Month", "month", "month", UptimeStore::Int(UptimeInt::Month, Width::Int)),
    row("Year", "year", "year", UptimeStore::Int(UptimeInt::Year, Width::Int)),
    row("Hour", "hour", "hour", UptimeStore::Int(UptimeInt::Hour, Width::Int)),
    row("Minute", "minute", "minute", UptimeStore::Int(UptimeInt::Minute, Width::Int)),
    row("TimeStamp", "timestamp", "timestamp", UptimeStore::Time(When::TimeStamp)),
    row("ExpireAt", "ExpireAt", "expireAt", UptimeStore::Time(When::ExpireAt)),
    row("APIID", "api_id", "apiid", UptimeStore::Text(UptimeText::ApiId)),
    row("OrgID", "org_id", "orgid", UptimeStore::Text(UptimeText::OrgId)),
];

/// One check of one target, as positions in the bytes it was decoded from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UptimeRecord {
    /// Text fields, by [`UptimeText`].
    pub text: [Span; UptimeText::COUNT],
    /// Integers, by [`UptimeInt`].
    pub int: [i64; UptimeInt::COUNT],
    /// Booleans, by [`UptimeFlag`].
    pub flag: [bool; UptimeFlag::COUNT],
    /// Times, by [`When`].
    pub time: [Time; When::COUNT],
}

/// An uptime record together with its bytes. Pumps' filters and transformations do not apply to uptime records.
#[derive(Clone, Copy, Debug)]
pub struct UptimeView<'a> {
    buffer: &'a [u8],
    record: &'a UptimeRecord,
}

impl<'a> UptimeView<'a> {
    /// `buffer` is the one that `record` was decoded from.
    pub fn new(buffer: &'a [u8], record: &'a UptimeRecord) -> Self {
        Self { buffer, record }
    }

    /// A text field: any bytes.
    pub fn text(&self, field: UptimeText) -> &'a [u8] {
        self.record.text[field as usize].of(self.buffer)
    }

    /// An integer field.
    pub fn int(&self, field: UptimeInt) -> i64 {
        self.record.int[field as usize]
    }

    /// A boolean field.
    pub fn flag(&self, field: UptimeFlag) -> bool {
        self.record.flag[field as usize]
    }

    /// A time field.
    pub fn time(&self, field: When) -> Time {
        self.record.time[field as usize]
    }
}
