//! The pump that stores uptime reports.

use std::sync::Arc;

use analytics::{Key, RowId, Selection, UptimeView};
use async_trait::async_trait;

use super::{
    UPTIME,
    client::Connection,
    document,
    id::Ids,
    insert::{Naming, Row},
    options::CollectionOptions,
    records,
};
use crate::{Applied, BuildContext, BuildError, Guarantee, Rejected, Sink, WriteError, Written};

/// Dashboards read uptime data there and nowhere else.
pub(super) const COLLECTION: &str = "tyk_uptime_analytics";
/// Reports of one insert.
const MAX_ROWS: usize = 5_000;

type Report<'a> = (RowId, UptimeView<'a>, &'a Key);

/// Uptime reports as documents of one collection.
pub(super) struct Uptime {
    connection: Connection,
    ids: Ids,
    compat: bool,
}

impl Uptime {
    pub(super) async fn open(context: &BuildContext, options: CollectionOptions) -> Result<Uptime, BuildError> {
        let prefix = UPTIME.log_prefix;
        let cap = options.cap()?;
        let connection = Connection::open(&options.connection, prefix, &context.pump).await?;
        if options.collection_name != COLLECTION && !options.collection_name.is_empty() {
            tracing::warn!(
                prefix, pump = %context.pump,
                "uptime_pump_config.collection_name is \"{}\": uptime data always go to {COLLECTION}",
                options.collection_name
            );
        }
        records::prepare(&connection, COLLECTION, cap, prefix, &context.pump).await;
        Ok(Uptime {
            connection,
            ids: Ids::new(&context.pump),
            compat: context.compat,
        })
    }

    async fn insert(&self, reports: &[Report<'_>]) -> Result<Vec<Rejected>, WriteError> {
        let mut rows: Vec<Row> = Vec::with_capacity(reports.len());
        let mut rejected = Vec::new();
        for (row, report, key) in reports {
            match document::of_uptime(self.ids.of(*row, key), report) {
                Ok(document) => rows.push((*row, document)),
                Err(error) => rejected.push(Rejected {
                    row: *row,
                    reason: error.to_string(),
                }),
            }
        }
        rejected.extend(
            self.connection
                .insert(COLLECTION, rows, Naming::Configured, self.compat)
                .await?,
        );
        Ok(rejected)
    }
}

#[async_trait]
impl Sink for Uptime {
    fn guarantee(&self) -> Option<Guarantee> {
        self.compat.then_some(Guarantee::AtLeastOnce)
    }

    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let reports: Vec<Report<'_>> = group
            .iter()
            .flat_map(|selection| {
                selection
                    .uptime()
                    .map(|(row, report)| (row, report, &*selection.batch().key))
            })
            .collect();
        let mut rejected = Vec::new();
        for chunk in reports.chunks(MAX_ROWS) {
            rejected.extend(self.insert(chunk).await?);
        }
        Ok(Written {
            rejected,
            possibly_doubled: 0,
        })
    }
}
