//! What is aggregated, and how.

use super::{Bucketing, Dimensions, Window};
use crate::{Flag, RecordView, Text};

/// Which records are aggregated and by whom they are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Ordinary records by organisation; those without one are left out, as are GraphQL and MCP records.
    Rest,
    /// GraphQL records by API.
    Graph,
    /// MCP records by API.
    Mcp,
}

impl Engine {
    /// Whether a record belongs into these aggregates.
    pub fn takes(self, record: &RecordView<'_>) -> bool {
        match self {
            Engine::Rest => {
                !record.flag(Flag::IsGraphQl) && !record.flag(Flag::IsMcp) && !record.text(Text::OrgId).is_empty()
            }
            Engine::Graph => record.flag(Flag::IsGraphQl),
            Engine::Mcp => record.flag(Flag::IsMcp),
        }
    }

    /// The field that names an aggregate's owner.
    pub fn owner(self) -> Text {
        match self {
            Engine::Rest => Text::OrgId,
            Engine::Graph | Engine::Mcp => Text::ApiId,
        }
    }
}

/// Options of an aggregation.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Counts endpoints of every record, not only of those that ask for it. [`Engine::Rest`] only.
    pub track_all_paths: bool,
    /// Beginnings of tags that are not counted, besides `key-`; an empty one means every tag. [`Engine::Rest`] only.
    pub ignore_tag_prefixes: Vec<Vec<u8>>,
    /// Dimensions that are not counted. [`Engine::Rest`] only.
    pub ignored: Dimensions,
    /// Length of buckets.
    pub window: Window,
    /// How records are put into buckets.
    pub bucketing: Bucketing,
    /// Escapes keys of every dimension for MongoDB ([`super::escape_component`]), not only endpoints, and leaves out
    /// endpoints without a path. Identifiers stay as they are.
    pub escape_keys: bool,
    /// Minima come from answered requests, however records are grouped; otherwise as the reference has them: see the module.
    pub answered_minima: bool,
    /// The reference's figures where ours are corrected: see the module.
    pub compat: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            track_all_paths: false,
            ignore_tag_prefixes: Vec::new(),
            ignored: Dimensions::default(),
            window: Window::HOUR,
            bucketing: Bucketing::OwnTime,
            escape_keys: false,
            answered_minima: true,
            compat: false,
        }
    }
}

impl Rules {
    pub(super) fn ignores_tag(&self, tag: &[u8], engine: Engine) -> bool {
        tag.starts_with(b"key-")
            || (engine == Engine::Rest && self.ignore_tag_prefixes.iter().any(|prefix| tag.starts_with(prefix)))
    }
}
