//! Collections and their indexes.

use mongodb::bson::{Document, doc};

use super::{
    client::{Connection, Dialect},
    failure::Failure,
};

/// Which collections an index belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// One collection for all records, and uptime reports.
    Records,
    /// A collection of one organisation's records.
    Selective,
    /// A collection of aggregates.
    Aggregates,
}

/// An index as the dashboard's queries want it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    pub(super) name: &'static str,
    pub(super) key: Document,
    /// Documents go when the time in the field has come.
    pub(super) expires: bool,
}

impl Family {
    pub(super) fn indexes(self, dialect: Dialect) -> Vec<Index> {
        let plain = |name, key| Index {
            name,
            key,
            expires: false,
        };
        let expiry = Index {
            name: "expireAt_1",
            key: doc! {"expireAt": 1},
            expires: true,
        };
        let mut indexes = match self {
            Family::Records => vec![
                plain("orgid_1", doc! {"orgid": 1}),
                plain("apiid_1", doc! {"apiid": 1}),
                plain(
                    "logBrowserIndex",
                    doc! {"timestamp": -1, "orgid": 1, "apiid": 1, "apikey": 1, "responsecode": 1},
                ),
            ],
            Family::Selective => vec![
                plain("apiid_1", doc! {"apiid": 1}),
                expiry,
                plain(
                    "logBrowserIndex",
                    doc! {"timestamp": -1, "apiid": 1, "apikey": 1, "responsecode": 1},
                ),
            ],
            Family::Aggregates => vec![
                expiry,
                plain("timestamp_1", doc! {"timestamp": 1}),
                plain("orgid_1", doc! {"orgid": 1}),
            ],
        };
        if dialect == Dialect::Cosmos {
            indexes.retain(|index| !index.expires);
        }
        indexes
    }
}

impl Index {
    /// As `createIndexes` takes it.
    fn specification(&self, dialect: Dialect) -> Document {
        let mut index = doc! {"key": self.key.clone(), "background": dialect == Dialect::Mongo};
        if self.expires {
            index.insert("expireAfterSeconds", 0);
        }
        index.insert("name", self.name);
        index
    }
}

impl Connection {
    /// Creates the indexes of a collection that does not exist yet, or wherever the server is not MongoDB. A failure is
    /// logged and keeps nobody from writing.
    pub(super) async fn ensure_indexes(&self, collection: &str, family: Family, prefix: &str, pump: &str) {
        if self.omit_indexes {
            return;
        }
        if self.dialect == Dialect::Mongo {
            match self.has_collection(collection).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(failure) => tracing::error!(
                    prefix,
                    pump,
                    collection,
                    "cannot see whether the collection exists, its indexes are created in any case: {failure}"
                ),
            }
        }
        self.create_indexes(collection, family, prefix, pump).await;
    }

    /// Creates the indexes, whatever is there.
    pub(super) async fn create_indexes(&self, collection: &str, family: Family, prefix: &str, pump: &str) {
        for index in family.indexes(self.dialect) {
            let command = doc! {"createIndexes": collection, "indexes": [index.specification(self.dialect)]};
            if let Err(failure) = self.run_write(command).await {
                tracing::error!(
                    prefix,
                    pump,
                    collection,
                    index = index.name,
                    "the index cannot be created, nor those after it: {failure}"
                );
                return;
            }
        }
    }

    /// Makes a capped collection, unless there is one of that name. Says whether it did.
    pub(super) async fn create_capped(&self, collection: &str, bytes: i64, prefix: &str, pump: &str) -> bool {
        match self.try_create_capped(collection, bytes).await {
            Ok(true) => {
                tracing::info!(prefix, pump, collection, bytes, "made a capped collection");
                true
            }
            Ok(false) => {
                tracing::warn!(
                    prefix,
                    pump,
                    collection,
                    "Collection ({collection}) already exists. Capping could result in data loss. Ignoring"
                );
                false
            }
            Err(failure) => {
                tracing::error!(prefix, pump, collection, "the collection cannot be capped: {failure}");
                false
            }
        }
    }

    async fn try_create_capped(&self, collection: &str, bytes: i64) -> Result<bool, Failure> {
        if self.has_collection(collection).await? {
            return Ok(false);
        }
        self.run_write(doc! {"create": collection, "capped": true, "size": bytes})
            .await?;
        Ok(true)
    }
}
