//! The document of a record.

use analytics::{
    BASE64, Field, Flag, RecordView, Text,
    json::{self, JsonError},
};
use base64::Engine;

/// When a document has a key.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Always,
    Extended,
    Mcp,
}

#[derive(Clone, Copy)]
enum Value {
    Field(Field),
    Text(Text),
}

/// Keys in the order of a document.
const KEYS: &[(&str, When, Value)] = &[
    ("@timestamp", When::Always, Value::Field(Field::TimeStamp)),
    ("alias", When::Always, Value::Field(Field::Alias)),
    ("api_id", When::Always, Value::Field(Field::ApiId)),
    ("api_key", When::Always, Value::Field(Field::ApiKey)),
    ("api_name", When::Always, Value::Field(Field::ApiName)),
    ("api_version", When::Always, Value::Field(Field::ApiVersion)),
    ("content_length", When::Always, Value::Field(Field::ContentLength)),
    ("http_method", When::Always, Value::Field(Field::Method)),
    ("ip_address", When::Always, Value::Field(Field::IpAddress)),
    ("mcp_method", When::Mcp, Value::Text(Text::McpJsonRpcMethod)),
    ("mcp_primitive_name", When::Mcp, Value::Text(Text::McpPrimitiveName)),
    ("mcp_primitive_type", When::Mcp, Value::Text(Text::McpPrimitiveType)),
    ("oauth_id", When::Always, Value::Field(Field::OauthId)),
    ("org_id", When::Always, Value::Field(Field::OrgId)),
    ("raw_request", When::Extended, Value::Text(Text::RawRequest)),
    ("raw_response", When::Extended, Value::Text(Text::RawResponse)),
    ("request_time_ms", When::Always, Value::Field(Field::RequestTime)),
    ("request_uri", When::Always, Value::Field(Field::Path)),
    ("request_uri_full", When::Always, Value::Field(Field::RawPath)),
    ("response_code", When::Always, Value::Field(Field::ResponseCode)),
    ("tags", When::Always, Value::Field(Field::Tags)),
    ("user_agent", When::Extended, Value::Text(Text::UserAgent)),
];

/// How records become documents.
pub(super) struct Template {
    keys: Vec<(Vec<u8>, When, Value)>,
    decode: bool,
}

impl Template {
    /// `extended`: with raw request, raw response and user agent; `decode`: the raw ones as text.
    pub(super) fn new(extended: bool, decode: bool) -> Template {
        let keys = KEYS
            .iter()
            .filter(|(_, when, _)| extended || *when != When::Extended)
            .enumerate()
            .map(|(position, &(key, when, value))| {
                let before = if position == 0 { '{' } else { ',' };
                (format!("{before}\"{key}\":").into_bytes(), when, value)
            })
            .collect();
        Template { keys, decode }
    }

    /// Appends the document; on failure a part of it may be there.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &RecordView<'_>) -> Result<(), JsonError> {
        let is_mcp = record.flag(Flag::IsMcp);
        for (before, when, value) in &self.keys {
            if *when == When::Mcp && !is_mcp {
                continue;
            }
            out.extend_from_slice(before);
            match *value {
                Value::Field(field) => json::write_field(out, record, field)?,
                Value::Text(text @ (Text::RawRequest | Text::RawResponse)) if self.decode => {
                    json::write_string(out, &decode(&record.text(text)));
                }
                Value::Text(text) => json::write_string(out, &record.text(text)),
            }
        }
        out.push(b'}');
        Ok(())
    }
}

/// What base64 says, or what it says up to its first error.
fn decode(text: &[u8]) -> Vec<u8> {
    if let Ok(decoded) = BASE64.decode(text) {
        return decoded;
    }
    let plain: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let mut decoded = Vec::with_capacity(plain.len() / 4 * 3);
    for quantum in plain.chunks(4) {
        let before = decoded.len();
        if BASE64.decode_vec(quantum, &mut decoded).is_err() {
            decoded.truncate(before);
            break;
        }
        if quantum.contains(&b'=') {
            break;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use analytics::record::Builder;

    use super::*;

    fn document(extended: bool, decode: bool, alter: impl Fn(&mut Builder)) -> String {
        let mut builder = Builder::new();
        builder
            .text(Text::Path, "/orders")
            .text(Text::RawPath, "/listen/orders?a=1")
            .text(Text::ApiName, "Orders & Co")
            .text(Text::RawRequest, "R0VUIC8=!!!")
            .text(Text::UserAgent, "curl/8.0");
        alter(&mut builder);
        let mut out = Vec::new();
        Template::new(extended, decode)
            .write(&mut out, &builder.view())
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_document_has_the_bytes_of_the_reference() {
        assert_eq!(
            document(false, false, |_| {}),
            "{\"@timestamp\":\"0001-01-01T00:00:00Z\",\"alias\":\"\",\"api_id\":\"\",\"api_key\":\"\",\
             \"api_name\":\"Orders \\u0026 Co\",\"api_version\":\"\",\"content_length\":0,\"http_method\":\"\",\
             \"ip_address\":\"\",\"oauth_id\":\"\",\"org_id\":\"\",\"request_time_ms\":0,\"request_uri\":\"/orders\",\
             \"request_uri_full\":\"/listen/orders?a=1\",\"response_code\":0,\"tags\":null}"
        );
        let mcp = document(true, true, |builder| {
            builder.flag(Flag::IsMcp, true).text(Text::McpPrimitiveType, "tool");
        });
        assert!(mcp.contains(r#""mcp_method":"","mcp_primitive_name":"","mcp_primitive_type":"tool","oauth_id""#));
        assert!(mcp.contains(r#""raw_request":"GET /","raw_response":"","request_time_ms""#));
        assert!(mcp.ends_with(r#""tags":null,"user_agent":"curl/8.0"}"#));
    }

    #[test]
    fn a_damaged_body_shows_what_comes_before_the_damage() {
        for (text, want) in [
            ("R0VUIC8=", "GET /"),
            ("R0VU\r\nIC8=", "GET /"),
            ("R0VUIC8=!!!", "GET /"),
            ("R0VUIC8", "GET"),
            ("R0VU!C8=", "GET"),
            ("R0VUIC8=R0VU", "GET /"),
            ("!", ""),
            ("", ""),
        ] {
            assert_eq!(decode(text.as_bytes()), want.as_bytes(), "{text}");
        }
    }
}
