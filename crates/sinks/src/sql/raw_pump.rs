//! The pumps `sql`, `sql-graph` and `sql-mcp`.

use std::sync::{Arc, atomic::AtomicI64};

use analytics::{ClaimId, Decoded, RecordView, RowRanges, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};

use super::{
    options::Connection,
    raw::{RawJob, RawLayout},
    start,
    store::Store,
};
use crate::{BuildContext, BuildError, Guarantee, MigrationMode, Sink, SinkSpec, WriteError, Written};

/// What tells the raw pumps apart.
pub(crate) struct RawSetup {
    pub spec: &'static SinkSpec,
    pub connection: Connection,
    pub raw: Arc<RawLayout>,
    /// The table, or what the names of its shards begin with.
    pub base: String,
    /// Whether shards have the six indexes.
    pub indexed_shards: bool,
    /// Which records the pump takes.
    pub takes: fn(&RecordView<'_>) -> bool,
}

/// What the options make of one type of raw pump.
type Setup = fn(&BuildContext) -> Result<RawSetup, BuildError>;

/// One raw pump.
pub(crate) struct RawPump {
    store: Store,
    job: RawJob,
    takes: fn(&RecordView<'_>) -> bool,
    connection: Connection,
    /// Seconds since 1970.
    retention_looked_at: AtomicI64,
}

impl RawPump {
    /// See [`crate::SinkSpec::build`].
    pub(crate) fn build(context: BuildContext, setup: Setup) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
        async move { Self::open(&context, setup(&context)?).await }.boxed()
    }

    /// Connects and prepares the tables that are known already.
    async fn open(context: &BuildContext, raw: RawSetup) -> Result<Box<dyn Sink>, BuildError> {
        let store = start::open(context, raw.spec, &raw.connection).await?;
        let job = RawJob::of(&raw);
        start::prepare(&store, &raw.connection, &job.tables_at_start()).await?;
        Ok(Box::new(RawPump {
            store,
            job,
            takes: raw.takes,
            connection: raw.connection,
            retention_looked_at: AtomicI64::new(0),
        }))
    }

    /// See [`crate::SinkSpec::migrate`].
    pub(crate) fn migrate(
        context: BuildContext,
        mode: MigrationMode,
        setup: Setup,
    ) -> BoxFuture<'static, Result<Vec<String>, BuildError>> {
        async move {
            let raw = setup(&context)?;
            let store = start::open(&context, raw.spec, &raw.connection).await?;
            let job = RawJob::of(&raw);
            start::migrate(&store, &raw.connection, &job.tables_at_start(), mode).await
        }
        .boxed()
    }
}

#[async_trait]
impl Sink for RawPump {
    async fn write(&self, group: &[Selection]) -> Result<Written, WriteError> {
        let group: Vec<Selection> = group.iter().map(|selection| self.taken(selection)).collect();
        let written = self.store.write(&group, &self.job).await?;
        start::drop_old_shards(&self.store, &self.connection, &self.job.base, &self.retention_looked_at).await;
        Ok(written)
    }

    async fn forget(&self, claims: &[ClaimId]) {
        self.store.forget(claims).await;
    }

    async fn applied(&self, claim: ClaimId, former: Option<&str>) -> Result<Option<RowRanges>, WriteError> {
        self.store.applied(claim, former).await
    }

    fn guarantee(&self) -> Option<Guarantee> {
        self.store.database().guarantee()
    }

    async fn close(&self) -> Result<(), WriteError> {
        self.store.database().close().await;
        Ok(())
    }
}

impl RawPump {
    /// The records of a selection that this pump takes. What it leaves out counts as applied, like filtered rows.
    fn taken(&self, selection: &Selection) -> Selection {
        let batch = selection.batch();
        selection.retain(|index| match batch.rows.get(index) {
            Some(Decoded::Record(record)) => {
                (self.takes)(&RecordView::new(&batch.buffer, record, &analytics::Transform::NONE))
            }
            _ => false,
        })
    }
}
