//! Collections and their indexes.

use mongodb::bson::{Document, doc};

use super::{
    aggregate::int,
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
    /// Documents go so many seconds after the time in the field.
    pub(super) expire_after: Option<i64>,
    /// It is there because of an option that asks for it, and is therefore made in collections that exist, too.
    pub(super) is_retention: bool,
}

/// How long documents stay, as the options say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retention {
    /// Seconds after their time.
    pub(super) seconds: Option<i64>,
    /// Until the time that is noted in them.
    pub(super) by_expire_at: bool,
}

impl Family {
    pub(super) fn indexes(self, dialect: Dialect, retention: Retention) -> Vec<Index> {
        let plain = |name, key| Index {
            name,
            key,
            expire_after: None,
            is_retention: false,
        };
        let expiry = || Index {
            expire_after: Some(0),
            ..plain("expireAt_1", doc! {"expireAt": 1})
        };
        let by_time = Index {
            expire_after: retention.seconds,
            is_retention: retention.seconds.is_some(),
            ..plain("timestamp_1", doc! {"timestamp": 1})
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
                expiry(),
                plain(
                    "logBrowserIndex",
                    doc! {"timestamp": -1, "apiid": 1, "apikey": 1, "responsecode": 1},
                ),
            ],
            Family::Aggregates => vec![expiry(), by_time.clone(), plain("orgid_1", doc! {"orgid": 1})],
        };
        if self == Family::Records && retention.by_expire_at {
            indexes.push(Index {
                is_retention: true,
                ..expiry()
            });
        }
        if self != Family::Aggregates && by_time.is_retention {
            indexes.push(by_time);
        }
        if dialect == Dialect::Cosmos {
            indexes.retain(|index| index.expire_after.is_none());
        }
        indexes
    }
}

impl Index {
    /// As `createIndexes` takes it.
    pub(super) fn specification(&self, dialect: Dialect) -> Document {
        let mut index = doc! {"key": self.key.clone(), "background": dialect == Dialect::Mongo};
        if let Some(seconds) = self.expire_after {
            index.insert("expireAfterSeconds", int(seconds));
        }
        index.insert("name", self.name);
        index
    }
}

impl Connection {
    /// The indexes that a collection is to have.
    pub(super) fn indexes(&self, family: Family) -> Vec<Index> {
        family.indexes(self.dialect, self.retention)
    }

    /// Creates the indexes of a collection that does not exist yet, or wherever the server is not MongoDB; those of
    /// retention in any case. A failure is logged and keeps nobody from writing.
    pub(super) async fn ensure_indexes(&self, collection: &str, family: Family, prefix: &str, pump: &str) {
        if self.omit_indexes {
            return;
        }
        if self.dialect == Dialect::Mongo {
            match self.has_collection(collection).await {
                Ok(true) => {
                    let retention = self.indexes(family).into_iter().filter(|index| index.is_retention);
                    self.create_all(collection, retention.collect(), prefix, pump).await;
                    return;
                }
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
        self.create_all(collection, self.indexes(family), prefix, pump).await;
    }

    async fn create_all(&self, collection: &str, indexes: Vec<Index>, prefix: &str, pump: &str) {
        for index in indexes {
            let command = doc! {"createIndexes": collection, "indexes": [index.specification(self.dialect)]};
            if let Err(failure) = self.run_write(command).await {
                tracing::error!(
                    prefix,
                    pump,
                    collection,
                    index = index.name,
                    "the index cannot be created, nor those after it; tyk-pump indexes says what to do: {failure}"
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
