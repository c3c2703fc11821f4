//! The options of `elasticsearch`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BuildError, transport::tls::SslOptions};

/// Documents of a bulk request when the option is 0.
const DOCUMENTS: usize = 1000;
/// Bytes of a bulk request when the option is 0.
const BYTES: usize = 5 << 20;
/// More requests at once help no cluster.
const MOST_WORKERS: usize = 64;

/// Writes every record as a document of Elasticsearch (2 to 9) or OpenSearch (1 to 3).
///
/// A document's id is made from the record's place in Redis, so that a record that is written again, after a crash for
/// instance, stays one document (with `generate_id`, `compat` or `ids` the promise is at least once). A document that the server refuses becomes a dead letter with the server's reason; the
/// others of its request are stored. `docs/elasticsearch.md` is a walk-through.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "elasticsearch_url": "https://es1:9200,https://es2:9200",
    "index_name": "tyk_analytics",
    "rolling_index": true,
    "extended_stats": true,
    "decode_base64": true,
    "use_ssl": true,
    "ssl_ca_file": "/etc/ssl/elasticsearch-ca.pem",
    "auth_api_key_id": "<id>",
    "auth_api_key": "<key>"
}))]
pub struct Options {
    /// Index of the documents, or the beginning of its name with `rolling_index`.
    pub index_name: String,
    /// One URL, or several with commas between them; they take turns, and one that does not answer rests for a minute.
    /// User and password in it are used unless there are others.
    pub elasticsearch_url: String,
    /// Ask the cluster for its nodes and write to them instead of to `elasticsearch_url`.
    #[schemars(extend("x-env" = ["ENABLESNIFFING", "ENABLE_SNIFFING"]))]
    pub use_sniffing: Option<bool>,
    /// Other name of `use_sniffing`, which wins.
    #[schemars(extend("x-env" = []))]
    pub enable_sniffing: Option<bool>,
    /// Mapping type, for servers before 7.
    pub document_type: String,
    /// One index a day: `-YYYY.MM.DD` of the record's time, in the zone of the process (`TZ`), is part of its name. With
    /// `compat` it is the day of writing.
    pub rolling_index: bool,
    /// Days of `rolling_index` begin at midnight UTC, whatever the zone of the process.
    pub rolling_utc: bool,
    /// Documents also have `raw_request`, `raw_response` and `user_agent`.
    #[schemars(extend("x-env" = "EXTENDEDSTATISTICS"))]
    pub extended_stats: bool,
    /// Make ids from the records' contents: time, method, path, address, API, OAuth client, duration, alias. Records that
    /// agree in all of them become one document. The promise is at least once then.
    pub generate_id: bool,
    /// With `extended_stats`: requests and responses as text instead of base64.
    pub decode_base64: bool,
    /// `3`, `5`, `6`, `7`, `8` or `9`: how to talk to the server (`7` and later are the same). Empty: the server is asked;
    /// with `compat`: `3`.
    pub version: String,
    /// Ids of documents: `row` (made from the record's place in Redis, so that nothing comes twice) or `server` (as the
    /// server makes them up; faster to index, and the promise is at least once). Empty: `row`, with `compat` and
    /// `disable_bulk` `server`. Without effect with `generate_id`.
    pub ids: String,
    /// One request a document.
    pub disable_bulk: bool,
    /// Size of bulk requests.
    pub bulk_config: BulkConfig,
    /// Id of an API key; wins over user and password.
    pub auth_api_key_id: String,
    /// The API key.
    #[schemars(extend("x-secret" = true))]
    pub auth_api_key: String,
    /// User.
    #[schemars(extend("x-env" = "USERNAME"))]
    pub auth_basic_username: String,
    /// Password.
    #[schemars(extend("x-env" = "PASSWORD", "x-secret" = true))]
    pub auth_basic_password: String,
    /// Use the `ssl_*` options below. The scheme of the URL decides whether TLS is spoken.
    pub use_ssl: bool,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub ssl: SslOptions,
    /// Index of MCP records; empty: the same as of the others.
    pub mcp_index_name: String,
    /// `create`: a document that is there already stays as it is; `index`: it is replaced. Empty: `create`, but `index`
    /// with `generate_id`.
    pub op_type: String,
    /// `index_name` is a data stream; without a template of that name one is made.
    pub data_stream: bool,
    /// Make an index template named like the index, unless there is one already: Elasticsearch 7.9 or OpenSearch.
    pub index_template: bool,
    /// JSON file with the template to make instead of the pump's own.
    pub index_template_file: String,
    /// Compress requests.
    pub gzip: bool,
    /// Seconds that a request may take.
    pub timeout: u64,
}

/// Size of bulk requests. The document that reaches a limit still belongs to the request.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BulkConfig {
    /// Requests at once; 0: 1.
    pub workers: i64,
    /// Accepted for compatibility; without effect, because nothing is held back.
    pub flush_interval: i64,
    /// Documents of a request; 0: 1000; negative: no limit.
    pub bulk_actions: i64,
    /// Bytes of a request, without the ids of its documents; 0: 5242880; negative: no limit. When the server answers 413
    /// the pump halves its requests by itself.
    pub bulk_size: i64,
}

impl BulkConfig {
    pub(super) fn workers(&self) -> usize {
        usize::try_from(self.workers).unwrap_or(1).clamp(1, MOST_WORKERS)
    }

    pub(super) fn documents(&self) -> usize {
        limit(self.bulk_actions, DOCUMENTS)
    }

    pub(super) fn bytes(&self) -> usize {
        limit(self.bulk_size, BYTES)
    }
}

fn limit(given: i64, default: usize) -> usize {
    match given {
        0 => default,
        given => usize::try_from(given).unwrap_or(usize::MAX),
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            index_name: "tyk_analytics".to_owned(),
            elasticsearch_url: "http://localhost:9200".to_owned(),
            use_sniffing: None,
            enable_sniffing: None,
            document_type: "tyk_analytics".to_owned(),
            rolling_index: false,
            rolling_utc: false,
            extended_stats: false,
            generate_id: false,
            decode_base64: false,
            version: String::new(),
            ids: String::new(),
            disable_bulk: false,
            bulk_config: BulkConfig::default(),
            auth_api_key_id: String::new(),
            auth_api_key: String::new(),
            auth_basic_username: String::new(),
            auth_basic_password: String::new(),
            use_ssl: false,
            ssl: SslOptions::default(),
            mcp_index_name: String::new(),
            op_type: String::new(),
            data_stream: false,
            index_template: false,
            index_template_file: String::new(),
            gzip: false,
            timeout: 60,
        }
    }
}

impl Options {
    /// Empty texts are missing ones.
    pub(super) fn with_defaults(mut self) -> Options {
        let defaults = Options::default();
        for (text, default) in [
            (&mut self.index_name, defaults.index_name),
            (&mut self.elasticsearch_url, defaults.elasticsearch_url),
            (&mut self.document_type, defaults.document_type),
        ] {
            if text.is_empty() {
                *text = default;
            }
        }
        self
    }

    pub(super) fn sniffs(&self) -> bool {
        self.use_sniffing.or(self.enable_sniffing).unwrap_or(false)
    }

    /// `by_row`: ids are those of rows.
    pub(super) fn creates(&self, by_row: bool) -> Result<bool, BuildError> {
        match self.op_type.as_str() {
            "" => Ok(by_row || self.data_stream),
            "create" => Ok(true),
            "index" if self.data_stream => Err(BuildError::Options(
                "meta.op_type is \"index\" – a data stream only takes \"create\"".to_owned(),
            )),
            "index" => Ok(false),
            other => Err(BuildError::Options(format!(
                "meta.op_type is \"{other}\" – write \"create\" or \"index\", or leave it out"
            ))),
        }
    }
}
