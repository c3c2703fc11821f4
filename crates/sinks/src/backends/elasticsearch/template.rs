//! Index template and data stream, for those who want the pump to set them up.

use serde_json::{Value, json};

use super::{
    Naming, Options, SPEC,
    cluster::{Call, Cluster, Server},
};
use crate::{BuildError, WriteError, transport::http::Method};

/// Above the templates that come with the servers.
const PRIORITY: u32 = 200;

/// A template that the pump sees to.
pub(super) struct IndexTemplate {
    name: String,
    body: Value,
}

impl IndexTemplate {
    /// `None`: none is wanted. Errors: a file that is not a template.
    pub(super) fn new(options: &Options, naming: &Naming) -> Result<Option<IndexTemplate>, BuildError> {
        let file = &options.index_template_file;
        if !options.index_template && file.is_empty() && !options.data_stream {
            return Ok(None);
        }
        let body = match file.is_empty() {
            true => default_template(options, naming),
            false => std::fs::read_to_string(file)
                .map_err(|error| error.to_string())
                .and_then(|text| serde_json::from_str::<Value>(&text).map_err(|error| error.to_string()))
                .map_err(|error| {
                    let remedy = "name a JSON file with an index template";
                    BuildError::Options(format!("meta.index_template_file {file}: {error} – {remedy}"))
                })?,
        };
        Ok(Some(IndexTemplate {
            name: naming.index.clone(),
            body,
        }))
    }

    /// Puts the template there unless one of its name is there already.
    pub(super) async fn install(&self, cluster: &Cluster, server: &Server) -> Result<(), WriteError> {
        if !server.has_data_streams() {
            let (major, minor) = server.version;
            let text = format!(
                "index_template and data_stream need Elasticsearch 7.9 or OpenSearch, and this is {} {major}.{minor} – \
                 switch them off and make the template yourself",
                server.product
            );
            return Err(WriteError::Config(text.into()));
        }
        let path = format!("_index_template/{}", self.name);
        let there = cluster.send(Call::json(Method::GET, &path, "")).await?;
        if there.status == 404 {
            let call = Call::json(Method::PUT, &path, self.body.to_string());
            match cluster.send(call).await?.accepted() {
                Ok(_) => tracing::info!(prefix = SPEC.log_prefix, "index template \"{}\" created", self.name),
                Err(WriteError::Reject { source, .. }) => return Err(WriteError::Config(source)),
                Err(error) => return Err(error),
            }
            return Ok(());
        }
        there.accepted().map(drop)
    }
}

fn default_template(options: &Options, naming: &Naming) -> Value {
    let mut patterns = Vec::new();
    for index in [&naming.index, &naming.mcp_index] {
        if !index.is_empty() {
            patterns.push(match naming.rolling {
                true => format!("{index}-*"),
                false => index.clone(),
            });
        }
    }
    // As the servers guess them, so that boards made for guessed mappings go on working.
    let text = json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}});
    let mut properties = serde_json::Map::new();
    properties.insert("@timestamp".to_owned(), json!({"type": "date"}));
    for number in ["content_length", "request_time_ms", "response_code"] {
        properties.insert(number.to_owned(), json!({"type": "long"}));
    }
    for name in [
        "alias",
        "api_id",
        "api_key",
        "api_name",
        "api_version",
        "http_method",
        "ip_address",
        "mcp_method",
        "mcp_primitive_name",
        "mcp_primitive_type",
        "oauth_id",
        "org_id",
        "raw_request",
        "raw_response",
        "request_uri",
        "request_uri_full",
        "tags",
        "user_agent",
    ] {
        properties.insert(name.to_owned(), text.clone());
    }
    let mut template = json!({
        "index_patterns": patterns,
        "priority": PRIORITY,
        "template": {"mappings": {"properties": properties}},
        "_meta": {"description": "made by tyk-pump"},
    });
    if options.data_stream {
        template["data_stream"] = json!({});
    }
    template
}
