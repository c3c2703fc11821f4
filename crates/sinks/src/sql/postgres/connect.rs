//! Connections.

use tokio::task::AbortHandle;
use tokio_postgres::{Client, Config, NoTls};

use super::{super::database::DatabaseError, failure};
use crate::BuildError;

/// A connection and the task that serves it. Dropped, it closes.
pub(super) struct Connected {
    pub client: Client,
    task: AbortHandle,
}

impl Drop for Connected {
    fn drop(&mut self) {
        // A transaction that is under way must not get any further.
        self.task.abort();
    }
}

/// Knows how to connect.
pub(super) struct Connector {
    config: Config,
}

impl Connector {
    pub(super) fn new(connection_string: &str) -> Result<Connector, BuildError> {
        let config = connection_string
            .parse()
            .map_err(|error| BuildError::Options(format!("meta.connection_string: {error}")))?;
        Ok(Connector { config })
    }

    pub(super) async fn connect(&self) -> Result<Connected, DatabaseError> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(failure::classify)?;
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connected {
            client,
            task: task.abort_handle(),
        })
    }
}
