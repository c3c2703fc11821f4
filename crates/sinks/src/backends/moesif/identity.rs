//! Who made a call: user and company of an event.

use std::collections::BTreeMap;

use analytics::{BASE64, RecordView, Text};
use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;

use crate::encode::go_json::{self, lossy, lower};

const TOKEN: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Values of headers, which may be any bytes, by name in lower case.
pub(super) type Headers = BTreeMap<String, Vec<u8>>;

/// Where user and company are looked for.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// Name of a header, in lower case; empty: none.
    pub(super) user_header: String,
    /// Name of a header, in lower case; empty: none.
    pub(super) company_header: String,
    /// Name of the header with credentials, in lower case.
    pub(super) authorization_header: String,
    /// Name of the claim of a token that names the user.
    pub(super) user_claim: String,
}

impl Identity {
    /// The user; empty: unknown. Headers are seen as they are sent, with hidden values.
    pub(super) fn user(&self, record: &RecordView<'_>, request: &Headers, response: &Headers) -> Vec<u8> {
        let named = header(&self.user_header, request, response);
        if !named.is_empty() {
            return named;
        }
        for text in [Text::Alias, Text::OauthId] {
            let text = record.text(text);
            if !text.is_empty() {
                return text.into_owned();
            }
        }
        match request.get(&self.authorization_header) {
            Some(credentials) => self.user_of(&lossy(credentials)),
            None => Vec::new(),
        }
    }

    /// The company; empty: unknown.
    pub(super) fn company(&self, request: &Headers, response: &Headers) -> Vec<u8> {
        header(&self.company_header, request, response)
    }

    fn user_of(&self, credentials: &str) -> Vec<u8> {
        if let Some((_, basic)) = credentials.split_once("Basic") {
            let decoded = BASE64.decode(basic.trim()).unwrap_or_default();
            let user = decoded.split(|&byte| byte == b':').next();
            return user.unwrap_or_default().to_vec();
        }
        let is_bearer = credentials.split_once("Bearer");
        let token = is_bearer.map_or(credentials, |(_, token)| token.trim());
        let mut parts = token.split('.');
        let claims = match (parts.next(), parts.next()) {
            (_, Some(claims)) => claims,
            (Some(whole), None) if is_bearer.is_none() => whole,
            _ => return Vec::new(),
        };
        let claims = TOKEN.decode(claims).ok().and_then(|json| go_json::read(&json));
        let Some(Value::Object(claims)) = claims else {
            return Vec::new();
        };
        let claim = claims
            .get(&self.user_claim)
            .or_else(|| claims.get(&lower(&self.user_claim)));
        match claim {
            Some(Value::String(user)) => user.clone().into_bytes(),
            Some(number @ Value::Number(_)) => {
                let mut text = Vec::new();
                go_json::write_value(&mut text, number);
                text
            }
            _ => Vec::new(),
        }
    }
}

fn header(name: &str, request: &Headers, response: &Headers) -> Vec<u8> {
    if name.is_empty() {
        return Vec::new();
    }
    let found = [response, request].into_iter().filter_map(|headers| headers.get(name));
    found
        .into_iter()
        .find(|value| !value.is_empty())
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            user_header: "x-user".to_owned(),
            company_header: String::new(),
            authorization_header: "authorization".to_owned(),
            user_claim: "userId".to_owned(),
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn the_first_place_that_knows_the_user_counts() {
        let mut record = analytics::record::Builder::new();
        let (request, response) = (
            headers(&[("x-user", "from-request")]),
            headers(&[("x-user", "from-response")]),
        );
        let none = Headers::new();
        record.text(Text::Alias, "alias").text(Text::OauthId, "oauth");
        assert_eq!(identity().user(&record.view(), &request, &response), b"from-response");
        assert_eq!(identity().user(&record.view(), &request, &none), b"from-request");
        assert_eq!(identity().user(&record.view(), &none, &none), b"alias");
        record.text(Text::Alias, "");
        assert_eq!(identity().user(&record.view(), &none, &none), b"oauth");
        assert_eq!(identity().company(&request, &response), b"");
    }

    #[test]
    fn credentials_name_users() {
        let token = |claims: &str| TOKEN.encode(claims).trim_end_matches('=').to_owned();
        let rows = [
            ("Basic YWxpY2U6c2VjcmV0".to_owned(), "alice"),
            ("Basic YWxpY2U".to_owned(), ""),
            (format!("Bearer h.{}.s", token(r#"{"userId":"bob"}"#)), "bob"),
            (format!("Bearer h.{}", token(r#"{"userid":"lower"}"#)), "lower"),
            (format!("h.{}.s", token(r#"{"userId":42}"#)), "42"),
            (token(r#"{"userId":"whole"}"#), "whole"),
            (format!("Bearer {}", token(r#"{"userId":"no parts"}"#)), ""),
            (format!("h.{}", token(r#"{"userId":["list"]}"#)), ""),
            (format!("h.{}", token("[1]")), ""),
            ("h.!!!".to_owned(), ""),
            (String::new(), ""),
        ];
        for (credentials, expected) in rows {
            assert_eq!(identity().user_of(&credentials), expected.as_bytes(), "{credentials}");
        }
    }
}
