//! Which records a pump wants.

use crate::{Int, RecordView, Text};

/// Allow and skip lists. An empty list restricts nothing; allow lists are joined by AND; skip lists come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `skip_api_ids`
    pub skip_api_ids: Vec<String>,
    /// `skip_org_ids`
    pub skip_org_ids: Vec<String>,
    /// `skip_response_codes`
    pub skip_response_codes: Vec<i64>,
    /// `api_ids`
    pub api_ids: Vec<String>,
    /// `org_ids`
    pub org_ids: Vec<String>,
    /// `response_codes`
    pub response_codes: Vec<i64>,
}

impl Filter {
    /// Whether nothing is restricted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the pump wants this record. Filters see fields before `ignore_fields` blanks them. Comparison is exact.
    pub fn accepts(&self, record: &RecordView<'_>) -> bool {
        if self.is_empty() {
            return true;
        }
        let api = record.stored_text(Text::ApiId);
        let org = record.stored_text(Text::OrgId);
        let code = record.stored_int(Int::ResponseCode);
        let skipped = names(&self.skip_api_ids, api)
            || names(&self.skip_org_ids, org)
            || self.skip_response_codes.contains(&code);
        let allowed = (self.api_ids.is_empty() || names(&self.api_ids, api))
            && (self.org_ids.is_empty() || names(&self.org_ids, org))
            && (self.response_codes.is_empty() || self.response_codes.contains(&code));
        allowed && !skipped
    }
}

fn names(list: &[String], id: &[u8]) -> bool {
    list.iter().any(|name| name.as_bytes() == id)
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use crate::{Field, Int, RecordView, Text, Transform, record::Builder};

    fn accepts(filter: &Filter, api: &str, org: &str, code: i64) -> bool {
        let mut builder = Builder::new();
        builder
            .text(Text::ApiId, api)
            .text(Text::OrgId, org)
            .int(Int::ResponseCode, code);
        filter.accepts(&builder.view())
    }

    fn list(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| id.to_string()).collect()
    }

    #[test]
    fn an_empty_filter_accepts_everything() {
        assert!(accepts(&Filter::default(), "", "", 0));
    }

    #[test]
    fn a_skip_list_beats_every_allow_list() {
        let filter = Filter {
            skip_api_ids: list(&["a"]),
            api_ids: list(&["a", "b"]),
            ..Filter::default()
        };
        assert!(!accepts(&filter, "a", "o", 200) && accepts(&filter, "b", "o", 200));
        let filter = Filter {
            skip_org_ids: list(&["o"]),
            skip_response_codes: vec![500, -1],
            ..Filter::default()
        };
        assert!(!accepts(&filter, "a", "o", 200) && !accepts(&filter, "a", "p", -1) && accepts(&filter, "a", "p", 200));
    }

    #[test]
    fn allow_lists_must_all_agree() {
        let filter = Filter {
            api_ids: list(&["a"]),
            org_ids: list(&["o"]),
            response_codes: vec![200],
            ..Filter::default()
        };
        assert!(accepts(&filter, "a", "o", 200));
        for (api, org, code) in [
            ("b", "o", 200),
            ("a", "p", 200),
            ("a", "o", 201),
            ("A", "o", 200),
            ("", "o", 200),
        ] {
            assert!(!accepts(&filter, api, org, code), "{api} {org} {code}");
        }
    }

    #[test]
    fn filters_see_fields_that_the_pump_ignores() {
        let mut builder = Builder::new();
        builder.text(Text::ApiId, "a").int(Int::ResponseCode, 200);
        let transform = Transform {
            ignored: 1 << Field::ApiId as u64 | 1 << Field::ResponseCode as u64,
            ..Transform::default()
        };
        let (buffer, record) = builder.build();
        let view = RecordView::new(&buffer, &record, &transform);
        let filter = Filter {
            api_ids: list(&["a"]),
            response_codes: vec![200],
            ..Filter::default()
        };
        assert!(filter.accepts(&view));
    }
}
