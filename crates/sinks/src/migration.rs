//! What back-ends with tables would change before their first record, for `tyk-pump migrate`.

use futures::future::BoxFuture;

use crate::{BuildContext, BuildError, sql, sql_aggregate, sql_graph, sql_graph_aggregate, sql_mcp, sql_mcp_aggregate};

/// Whether changes are only listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationMode {
    /// Say what the start would do.
    Plan,
    /// Do it, and wait for indexes that the start builds in the background.
    Apply,
}

/// Lists or executes what the start of a pump would change; the statements in order.
pub type Migrate = fn(BuildContext, MigrationMode) -> BoxFuture<'static, Result<Vec<String>, BuildError>>;

/// Types with tables.
const MIGRATIONS: &[(&str, Migrate)] = &[
    (sql::SPEC.name, sql::migrate),
    (sql_graph::SPEC.name, sql_graph::migrate),
    (sql_mcp::SPEC.name, sql_mcp::migrate),
    (sql_aggregate::SPEC.name, sql_aggregate::migrate),
    (sql_graph_aggregate::SPEC.name, sql_graph_aggregate::migrate),
    (sql_mcp_aggregate::SPEC.name, sql_mcp_aggregate::migrate),
];

/// How a pump of this type is migrated; `None`: it has no tables.
pub fn migration(kind: &str) -> Option<Migrate> {
    let found = MIGRATIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind));
    found.map(|(_, migrate)| *migrate)
}
