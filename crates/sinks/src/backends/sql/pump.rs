//! The pump around a job: connection, tables, retention, the end.

use std::sync::{Arc, atomic::AtomicI64};

use analytics::{ClaimId, RowRanges, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};

use super::{
    connect,
    database::Access,
    options::Connection,
    start,
    store::{Job, Store},
};
use crate::{Applied, BuildContext, BuildError, Guarantee, MigrationMode, Sink, SinkSpec, WriteError, Written};

/// What tells one type of pump from the others.
pub(crate) struct Setup<J> {
    pub spec: &'static SinkSpec,
    pub connection: Connection,
    pub job: J,
    /// Whether today's shard is made at the start.
    pub prepares_today: bool,
}

impl<J> Setup<J> {
    /// A pump that makes today's shard at the start.
    pub(crate) fn new(spec: &'static SinkSpec, connection: Connection, job: J) -> Setup<J> {
        Setup {
            spec,
            connection,
            job,
            prepares_today: true,
        }
    }
}

/// What the options make of one type of pump.
type Configure<J> = fn(&BuildContext) -> Result<Setup<J>, BuildError>;

/// One pump.
pub(crate) struct SqlPump<J> {
    store: Store,
    job: J,
    connection: Connection,
    /// Seconds since 1970.
    retention_looked_at: AtomicI64,
}

impl<J: Job + 'static> SqlPump<J> {
    /// See [`crate::SinkSpec::build`].
    pub(crate) fn build(
        context: BuildContext,
        configure: Configure<J>,
    ) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
        async move { Self::open(&context, configure(&context)?).await }.boxed()
    }

    /// See [`crate::SinkSpec::check`].
    pub(crate) fn check(context: &BuildContext, configure: Configure<J>) -> Result<(), BuildError> {
        let setup = configure(context)?;
        connect(&setup.connection, setup.spec.log_prefix, Access::Look).map(drop)
    }

    /// Connects and prepares the tables that are known already.
    async fn open(context: &BuildContext, setup: Setup<J>) -> Result<Box<dyn Sink>, BuildError> {
        let store = start::open(context, setup.spec, &setup.connection, Access::Full).await?;
        let (job, connection) = (setup.job, setup.connection);
        if setup.prepares_today || !connection.table_sharding || connection.migrate_sharded_tables {
            start::prepare(&store, &connection, &job).await?;
        }
        Ok(Box::new(SqlPump {
            store,
            job,
            connection,
            retention_looked_at: AtomicI64::new(0),
        }))
    }

    /// See [`crate::SinkSpec::migrate`].
    pub(crate) fn migrate(
        context: BuildContext,
        mode: MigrationMode,
        configure: Configure<J>,
    ) -> BoxFuture<'static, Result<Vec<String>, BuildError>> {
        async move {
            let setup = configure(&context)?;
            let access = match mode {
                MigrationMode::Plan => Access::Look,
                MigrationMode::Apply => Access::Full,
            };
            let store = start::open(&context, setup.spec, &setup.connection, access).await?;
            start::migrate(&store, &setup.connection, &setup.job, mode).await
        }
        .boxed()
    }
}

#[async_trait]
impl<J: Job> Sink for SqlPump<J> {
    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let group: Vec<Selection> = group.iter().map(|selection| self.job.taken(selection)).collect();
        let written = self.store.write(&group, &self.job).await?;
        start::drop_old_shards(
            &self.store,
            &self.connection,
            self.job.base(),
            &self.retention_looked_at,
        )
        .await;
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
        self.store.close().await;
        Ok(())
    }
}
