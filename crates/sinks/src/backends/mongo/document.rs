//! The documents of single records, field by field in the order of upstream.

use analytics::{
    FIELDS, Field, Flag, Int, RecordView, Text, UptimeView,
    field::{FieldInfo, Store, Width, graph_error},
    uptime::{UPTIME_FIELDS, UptimeStore},
    view::{ErrorView, PathPairs, PathValue, PathValues, Texts},
};
use mongodb::bson::{RawDocumentBuf, error::Error};

use super::bson::Writer;

/// What stands in place of the raw data of a record that is too large, base64 as the raw data are.
pub(super) const TOO_LARGE: &[u8] =
    b"RG9jdW1lbnQgdG9vIGxhcmdlLCBub3Qgd3JpdGluZyByYXcgcmVxdWVzdCBhbmQgcmF3IHJlc3BvbnNlIQ==";

/// Bytes that a record has beside its raw data, as upstream reckons.
const PLAIN: usize = 1024;

/// Which document a record becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The record alone.
    Record,
    /// With what is known about the GraphQL operation.
    Graph,
    /// With what is known about the MCP call.
    Mcp,
}

/// How large a record is in upstream's reckoning: its raw data and 1,024 bytes.
pub(super) fn estimated_size(record: &RecordView<'_>) -> usize {
    record.text(Text::RawRequest).len() + record.text(Text::RawResponse).len() + PLAIN
}

/// The document of a record. `without_raw`: its raw data are replaced by a notice.
pub(super) fn of_record(
    form: Form,
    id: [u8; 12],
    record: &RecordView<'_>,
    without_raw: bool,
) -> Result<RawDocumentBuf, Error> {
    let raw = if without_raw { 0 } else { estimated_size(record) };
    let mut out = Writer::new(2 * PLAIN + raw);
    out.object_id("_id", id);
    match form {
        Form::Record => {}
        Form::Graph => write_types(&mut out, record),
        Form::Mcp => {
            out.text("jsonrpcmethod", &record.text(Text::McpJsonRpcMethod));
            out.text("primitivetype", &record.text(Text::McpPrimitiveType));
            out.text("primitivename", &record.text(Text::McpPrimitiveName));
        }
    }
    for info in FIELDS {
        match info.field {
            Field::RawRequest if without_raw => out.text("rawrequest", b""),
            Field::RawResponse if without_raw => out.text("rawresponse", TOO_LARGE),
            _ => write_field(&mut out, info, record),
        }
    }
    if form == Form::Graph {
        write_graph(&mut out, record);
    }
    out.finish()
}

/// The document of an uptime report.
pub(super) fn of_uptime(id: [u8; 12], report: &UptimeView<'_>) -> Result<RawDocumentBuf, Error> {
    let mut out = Writer::new(512);
    out.object_id("_id", id);
    for field in UPTIME_FIELDS.iter().filter(|field| field.bson != "_id") {
        match field.store {
            UptimeStore::Text(text) => out.text(field.bson, report.text(text)),
            UptimeStore::Int(int, Width::Long) => out.long(field.bson, report.int(int)),
            UptimeStore::Int(int, _) => out.int(field.bson, report.int(int)),
            UptimeStore::Flag(flag) => out.bool(field.bson, report.flag(flag)),
            UptimeStore::Time(when) => out.date(field.bson, report.time(when)),
        }
    }
    out.finish()
}

fn write_field(out: &mut Writer, info: &FieldInfo, record: &RecordView<'_>) {
    let Some(key) = info.bson else {
        return;
    };
    match info.store {
        Store::Text(text) => out.text(key, &record.text(text)),
        Store::Int(int, Width::Long) => out.long(key, record.int(int)),
        Store::Int(int, Width::Int) => out.int(key, record.int(int)),
        // Beyond 63 bits BSON has no integer.
        Store::Int(int, Width::Unsigned) => {
            out.int(key, i64::try_from(record.int(int) as u64).unwrap_or(i64::MAX));
        }
        Store::Float(float) => out.double(key, record.float(float)),
        Store::Time(when) => out.date(key, record.time(when)),
        Store::Flag(flag) => out.bool(key, record.flag(flag)),
        Store::Tags => write_texts(out, key, record.tags()),
        Store::CityNames => {
            let names = out.open_document(key);
            for (language, name) in record.city_names().into_iter().flatten() {
                out.text(language, name);
            }
            out.close(names);
        }
        Store::Struct(shape) => {
            let inner = out.open_document(key);
            for field in shape.fields() {
                write_field(out, field, record);
            }
            out.close(inner);
        }
        // No document has these as a field of the record.
        Store::RootFields | Store::Types | Store::Errors | Store::Nothing => {}
    }
}

fn write_types(out: &mut Writer, record: &RecordView<'_>) {
    let types = out.open_document("types");
    for (name, fields) in record.types().into_iter().flatten() {
        write_texts(out, name, fields);
    }
    out.close(types);
}

fn write_graph(out: &mut Writer, record: &RecordView<'_>) {
    let operation: &[u8] = match record.int(Int::GraphOperationType) {
        1 => b"Query",
        2 => b"Mutation",
        3 => b"Subscription",
        _ => b"",
    };
    out.text("operationtype", operation);
    out.text("variables", &record.text(Text::GraphVariables));
    write_texts(out, "rootfields", record.root_fields());
    let errors = out.open_array("errors");
    let mut index = itoa::Buffer::new();
    for (at, error) in record.errors().into_iter().flatten().enumerate() {
        write_error(out, index.format(at), &error);
    }
    out.close(errors);
    let failed = record.flag(Flag::GraphHasErrors) || record.int(Int::ResponseCode) >= 400;
    out.bool("haserrors", failed);
}

fn write_error(out: &mut Writer, key: &str, error: &ErrorView<'_>) {
    let document = out.open_document(key);
    out.text(graph_error::JSON_MESSAGE, error.message);
    let path = out.open_array(graph_error::JSON_PATH);
    if let Some(values) = &error.path {
        write_values(out, values.clone());
    }
    out.close(path);
    out.close(document);
}

fn write_values(out: &mut Writer, values: PathValues<'_>) {
    let mut index = itoa::Buffer::new();
    for (at, value) in values.enumerate() {
        write_value(out, index.format(at).as_bytes(), value);
    }
}

fn write_value(out: &mut Writer, key: &[u8], value: PathValue<'_>) {
    match value {
        PathValue::Null => out.null(key),
        PathValue::Bool(flag) => out.bool(key, flag),
        PathValue::Int(number) => out.int(key, number),
        PathValue::Uint(number) => out.int(key, i64::try_from(number).unwrap_or(i64::MAX)),
        PathValue::Float(number) => out.double(key, number),
        PathValue::Text(text) => out.text(key, text),
        PathValue::Bytes(bytes) => out.binary(key, bytes),
        PathValue::List(values) => {
            let list = out.open_array(key);
            write_values(out, values);
            out.close(list);
        }
        PathValue::Map(pairs) => {
            let document = out.open_document(key);
            write_pairs(out, pairs);
            out.close(document);
        }
    }
}

fn write_pairs(out: &mut Writer, pairs: PathPairs<'_>) {
    for (key, value) in pairs {
        match key {
            PathValue::Text(key) | PathValue::Bytes(key) => write_value(out, key, value),
            PathValue::Int(key) => write_value(out, key.to_string().as_bytes(), value),
            PathValue::Uint(key) => write_value(out, key.to_string().as_bytes(), value),
            // No encoder writes other keys.
            _ => write_value(out, b"", value),
        }
    }
}

fn write_texts(out: &mut Writer, key: impl AsRef<[u8]>, texts: Option<Texts<'_>>) {
    let list = out.open_array(key);
    let mut index = itoa::Buffer::new();
    for (at, text) in texts.into_iter().flatten().enumerate() {
        out.text(index.format(at), text);
    }
    out.close(list);
}
