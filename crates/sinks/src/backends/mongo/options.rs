//! Options of the MongoDB pumps.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::{BuildError, options};

/// What an unset size stands for: 10 MiB.
const DEFAULT_BYTES: i64 = 10 << 20;
/// What an unset capped size stands for: 5 GiB.
const DEFAULT_CAP: i64 = 5 << 30;

/// How to reach the server; the same for every MongoDB pump.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionOptions {
    /// Connection string with credentials and database, `mongodb://` or `mongodb+srv://`. Its path names the database.
    /// Reserved characters in the password need no encoding, `@` and `?` apart.
    #[schemars(extend("x-secret" = true))]
    pub mongo_url: String,
    /// TLS with the `mongo_ssl_*` options, which win over those in the URL.
    pub mongo_use_ssl: bool,
    /// Accept any certificate.
    pub mongo_ssl_insecure_skip_verify: bool,
    /// Verify that the certificate leads to a trusted authority, but not the host's name. The driver then talks to a port of
    /// the loopback interface, from which the pump speaks TLS to the servers.
    pub mongo_ssl_allow_invalid_hostnames: bool,
    /// PEM file of the authorities to trust, in place of those of the system.
    pub mongo_ssl_ca_file: String,
    /// PEM file with the client's certificates and its unencrypted private key.
    pub mongo_ssl_pem_keyfile: String,
    /// 0 is MongoDB, 1 AWS DocumentDB, 2 Azure Cosmos DB. With 1 and 2 indexes are requested at every start and not in
    /// the background, with 2 without expiry.
    #[schemars(extend("x-env" = "MONGO_DB_TYPE"))]
    pub mongo_db_type: i64,
    /// Never create indexes at the start or while writing; `tyk-pump indexes --apply` still does.
    pub omit_index_creation: bool,
    /// Documents go so many days after their time, by a TTL index on `timestamp`, also in collections that exist. 0: they
    /// stay. Not for capped collections and Cosmos DB.
    pub retention_days: u32,
    /// Documents go at their `expireAt`, also in collections that exist: gateways reckon it from the retention of the API or
    /// the organisation. Collections of organisations and of aggregates do so without this option. Not for capped
    /// collections and Cosmos DB.
    pub expire_documents: bool,
    /// `strong` (read from the primary), `monotonic` (preferably) or `eventual` (from the nearest server).
    pub mongo_session_consistency: String,
    /// `mongo-go` or `mgo`: names of Tyk Pump's drivers, of which there is one here.
    #[schemars(extend("x-env" = "MONGODRIVERTYPE"))]
    pub driver: String,
    /// Talk only to the named host, without looking for the other members of its replica set.
    pub mongo_direct_connection: bool,
}

/// Stores every record as a document of one collection.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CollectionOptions {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub connection: ConnectionOptions,
    /// Collection that the documents go to, usually `tyk_analytics`.
    pub collection_name: String,
    /// Bytes of one insert, reckoned as the raw request and response of each record and 1,024.
    pub max_insert_batch_size_bytes: i64,
    /// Bytes of one document, reckoned in the same way. The raw data of larger records are replaced by a notice, except
    /// in GraphQL documents.
    pub max_document_size_bytes: i64,
    /// Bytes that a capped collection may have.
    pub collection_cap_max_size_bytes: i64,
    /// Make the collection a capped one. An existing collection is left as it is.
    pub collection_cap_enable: bool,
}

impl Default for CollectionOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            collection_name: String::new(),
            max_insert_batch_size_bytes: DEFAULT_BYTES,
            max_document_size_bytes: DEFAULT_BYTES,
            collection_cap_max_size_bytes: DEFAULT_CAP,
            collection_cap_enable: false,
        }
    }
}

impl CollectionOptions {
    /// Size of a capped collection; `None`: it is not to be one.
    pub(super) fn cap(&self) -> Result<Option<i64>, BuildError> {
        let ConnectionOptions {
            retention_days,
            expire_documents,
            ..
        } = self.connection;
        if self.collection_cap_enable && (retention_days > 0 || expire_documents) {
            return Err(BuildError::Options(
                "meta.collection_cap_enable cannot go with meta.retention_days or meta.expire_documents – choose one"
                    .to_owned(),
            ));
        }
        let cap = unless_zero(self.collection_cap_max_size_bytes, DEFAULT_CAP);
        Ok(self.collection_cap_enable.then_some(cap))
    }
}

/// Stores every record as a document of its organisation's collection, `z_tyk_analyticz_<org_id>`. Records without an
/// organisation are left out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SelectiveOptions {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub connection: ConnectionOptions,
    /// Bytes of one insert, reckoned as the raw request and response of each record and 1,024.
    pub max_insert_batch_size_bytes: i64,
    /// Bytes of one document, reckoned in the same way. Larger records are refused.
    pub max_document_size_bytes: i64,
}

impl Default for SelectiveOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            max_insert_batch_size_bytes: DEFAULT_BYTES,
            max_document_size_bytes: DEFAULT_BYTES,
        }
    }
}

/// Bytes of an insert and of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) insert: usize,
    pub(super) document: usize,
}

impl Sizes {
    pub(super) fn new(insert: i64, document: i64) -> Sizes {
        Sizes {
            // Nothing is small enough for a negative limit, as for one of no bytes.
            insert: unless_zero(insert, DEFAULT_BYTES).max(0) as usize,
            document: unless_zero(document, DEFAULT_BYTES).max(0) as usize,
        }
    }
}

fn unless_zero(value: i64, default: i64) -> i64 {
    if value == 0 { default } else { value }
}

pub(super) fn collection() -> Schema {
    options::with_old_env_prefix(options::schema::<CollectionOptions>(), "PMP_MONGO")
}

pub(super) fn aggregate() -> Schema {
    options::with_old_env_prefix(options::schema::<super::AggregateOptions>(), "PMP_MONGOAGG")
}

pub(super) fn selective() -> Schema {
    options::with_old_env_prefix(options::schema::<SelectiveOptions>(), "PMP_MONGOSEL")
}
