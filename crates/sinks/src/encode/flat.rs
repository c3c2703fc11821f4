//! The document of stream sinks: a record as a flat JSON object with sorted keys, and members that are the same in each.

use std::collections::BTreeMap;

use analytics::{
    Field, RecordView,
    json::{self, JsonError},
};

/// Members of the document and the fields they hold.
const MEMBERS: [(&str, Field); 20] = [
    ("alias", Field::Alias),
    ("api_id", Field::ApiId),
    ("api_key", Field::ApiKey),
    ("api_name", Field::ApiName),
    ("api_version", Field::ApiVersion),
    ("content_length", Field::ContentLength),
    ("host", Field::Host),
    ("ip_address", Field::IpAddress),
    ("method", Field::Method),
    ("oauth_id", Field::OauthId),
    ("org_id", Field::OrgId),
    ("path", Field::Path),
    ("raw_path", Field::RawPath),
    ("raw_request", Field::RawRequest),
    ("raw_response", Field::RawResponse),
    ("request_time_ms", Field::RequestTime),
    ("response_code", Field::ResponseCode),
    ("tags", Field::Tags),
    ("timestamp", Field::TimeStamp),
    ("user_agent", Field::UserAgent),
];

/// What is written the same for every record, up to the next value.
struct Step {
    before: Vec<u8>,
    /// `None`: nothing follows.
    value: Option<Field>,
}

/// How records become documents.
pub(crate) struct FlatDocument {
    steps: Vec<Step>,
}

impl FlatDocument {
    /// Every document has the members of `fixed` too; one that is named like a field replaces it.
    pub(crate) fn new(fixed: &BTreeMap<String, String>) -> FlatDocument {
        let mut members: BTreeMap<&str, Result<Field, &str>> =
            MEMBERS.into_iter().map(|(name, field)| (name, Ok(field))).collect();
        members.extend(fixed.iter().map(|(name, text)| (name.as_str(), Err(text.as_str()))));
        let mut steps = Vec::with_capacity(MEMBERS.len() + 1);
        let mut before = vec![b'{'];
        for (position, (name, value)) in members.into_iter().enumerate() {
            if position > 0 {
                before.push(b',');
            }
            json::write_string(&mut before, name.as_bytes());
            before.push(b':');
            match value {
                Ok(field) => steps.push(Step {
                    before: std::mem::take(&mut before),
                    value: Some(field),
                }),
                Err(text) => json::write_string(&mut before, text.as_bytes()),
            }
        }
        before.push(b'}');
        steps.push(Step { before, value: None });
        FlatDocument { steps }
    }

    /// Appends the document of a record; on failure a part of it may be there.
    pub(crate) fn write(&self, out: &mut Vec<u8>, record: &RecordView<'_>) -> Result<(), JsonError> {
        for Step { before, value } in &self.steps {
            out.extend_from_slice(before);
            if let Some(field) = value {
                json::write_field(out, record, *field)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use analytics::{Record, Transform};

    use super::*;

    fn document(fixed: &[(&str, &str)]) -> String {
        let fixed = fixed
            .iter()
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .collect();
        let (record, transform) = (Record::default(), Arc::new(Transform::default()));
        let mut out = Vec::new();
        FlatDocument::new(&fixed)
            .write(&mut out, &RecordView::new(&[], &record, &transform))
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_are_sorted_and_fixed_ones_go_between_or_in_place_of_fields() {
        let plain = document(&[]);
        assert_eq!(
            plain,
            r#"{"alias":"","api_id":"","api_key":"","api_name":"","api_version":"","content_length":0,"host":"","ip_address":"","method":"","oauth_id":"","org_id":"","path":"","raw_path":"","raw_request":"","raw_response":"","request_time_ms":0,"response_code":0,"tags":null,"timestamp":"0001-01-01T00:00:00Z","user_agent":""}"#
        );
        let more = document(&[("zone", "eu <1>"), ("a", "b"), ("response_code", "none")]);
        let expected = plain
            .replace("{\"alias\"", "{\"a\":\"b\",\"alias\"")
            .replace("\"response_code\":0", "\"response_code\":\"none\"")
            .replace(
                "\"user_agent\":\"\"}",
                "\"user_agent\":\"\",\"zone\":\"eu \\u003c1\\u003e\"}",
            );
        assert_eq!(more, expected);
    }
}
