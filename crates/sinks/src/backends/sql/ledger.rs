//! The table that remembers which rows of which claims a pump has applied.

use std::sync::{Arc, LazyLock};

use super::table::{Class, Column, Layout, Table};

/// Name of the table.
pub(crate) const NAME: &str = "tyk_pump_ledger";

static LAYOUT: LazyLock<Arc<Layout>> = LazyLock::new(|| {
    Arc::new(Layout {
        columns: vec![
            // The pump's key in the configuration.
            Column::new("pump", Class::Text),
            // ULID of the claim.
            Column::new("claim", Class::Text),
            // The Redis that the claim is of.
            Column::new("fleet", Class::Text),
            // Rows: `0-4999,10000-14999`.
            Column::new("applied", Class::Text),
            // Last write.
            Column::new("at", Class::Time),
            // Every row of the claim is acknowledged: the entry may go when it is old.
            Column::new("done", Class::Bool),
        ],
        key: &["pump", "claim"],
    })
});

/// The ledger's table.
pub(crate) fn table() -> Table {
    Table {
        name: NAME.to_owned(),
        layout: LAYOUT.clone(),
        indexes: Vec::new(),
    }
}
