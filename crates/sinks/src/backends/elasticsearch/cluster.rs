//! The nodes of a cluster: which one gets a request, what is known about them.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use tokio::time::Instant;

use super::{ANSWER, Dialect, Options, SPEC};
use crate::{
    BuildError, WriteError,
    transport::http::{Answer, Endpoint, HttpClient, HttpSettings, Method, Request, Url, basic, secret_header},
    transport::tls::TlsSettings,
};

/// How long a node that did not answer gets no requests while others do.
const REST: Duration = Duration::from_secs(60);
/// How often the cluster is asked for its nodes.
const SNIFF_EVERY: Duration = Duration::from_secs(900);

/// A node, or a load balancer in front of some.
#[derive(Clone, Debug)]
struct Node {
    url: Url,
    authorization: Option<HeaderValue>,
    resting_until: Option<Instant>,
}

/// Sends requests to one node after the other.
pub(super) struct Cluster {
    client: HttpClient,
    /// As configured.
    configured: Vec<Node>,
    nodes: RwLock<Vec<Node>>,
    next: AtomicUsize,
    gzip: bool,
    sniffs: bool,
    sniffed: tokio::sync::Mutex<Option<Instant>>,
}

/// What a request carries.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path and query below the node's own path, without a slash in front.
    pub(super) path: &'a str,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: bytes::Bytes,
    /// Most bytes of a successful answer.
    pub(super) answer_limit: usize,
}

impl<'a> Call<'a> {
    /// A request with JSON, or without a body.
    pub(super) fn json(method: Method, path: &'a str, body: impl Into<bytes::Bytes>) -> Call<'a> {
        Call {
            method,
            path,
            content_type: Some("application/json"),
            body: body.into(),
            answer_limit: ANSWER,
        }
    }
}

impl Cluster {
    pub(super) fn new(options: &Options, warn: impl Fn(&str)) -> Result<Cluster, BuildError> {
        let mut secrets = vec![options.auth_api_key.clone(), options.auth_basic_password.clone()];
        let has_key = !options.auth_api_key.is_empty() && !options.auth_api_key_id.is_empty();
        if options.auth_api_key.is_empty() != options.auth_api_key_id.is_empty() {
            warn("an API key needs auth_api_key_id and auth_api_key; one is missing, so none is used");
        }
        let authorization = if has_key {
            let key = STANDARD.encode(format!("{}:{}", options.auth_api_key_id, options.auth_api_key));
            Some(secret_header(&format!("ApiKey {key}")))
        } else if !options.auth_basic_username.is_empty() || !options.auth_basic_password.is_empty() {
            Some(basic(&options.auth_basic_username, &options.auth_basic_password))
        } else {
            None
        };
        let mut configured = Vec::new();
        for text in options
            .elasticsearch_url
            .split(',')
            .filter(|text| !text.trim().is_empty())
        {
            let endpoint = Endpoint::parse("meta.elasticsearch_url", text)?;
            secrets.extend(endpoint.secret);
            let mut url = endpoint.url;
            url.set_query(None);
            url.set_fragment(None);
            let path = format!("{}/", url.path().trim_end_matches('/'));
            url.set_path(&path);
            configured.push(Node {
                url,
                authorization: authorization.clone().or(endpoint.authorization),
                resting_until: None,
            });
        }
        if configured.is_empty() {
            let text = "meta.elasticsearch_url names no node – write https://host:9200";
            return Err(BuildError::Options(text.to_owned()));
        }
        // Nodes of one cluster know the same users, so that it is enough to write them once.
        let first = configured.iter().find_map(|node: &Node| node.authorization.clone());
        for node in &mut configured {
            node.authorization = node.authorization.take().or_else(|| first.clone());
        }
        let tls = match options.use_ssl {
            true => options.ssl.settings("", &warn),
            false => {
                if !options.ssl.ca_file.is_empty() || !options.ssl.cert_file.is_empty() {
                    warn("the ssl_* options have no effect without \"use_ssl\": true");
                }
                TlsSettings::default()
            }
        };
        let client = HttpClient::new(HttpSettings {
            tls,
            timeout: Duration::from_secs(options.timeout.max(1)),
            secrets,
            ..HttpSettings::default()
        })?;
        Ok(Cluster {
            client,
            nodes: RwLock::new(configured.clone()),
            configured,
            next: AtomicUsize::new(0),
            gzip: options.gzip,
            sniffs: options.sniffs(),
            sniffed: tokio::sync::Mutex::new(None),
        })
    }

    /// Addresses for the log.
    pub(super) fn shown_addresses(&self) -> String {
        let urls: Vec<&str> = self.configured.iter().map(|node| node.url.as_str()).collect();
        urls.join(",")
    }

    /// Sends a request to the next node; when it does not answer, to each of the others once.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Answer, WriteError> {
        let nodes = self.turn();
        let compressed = self.gzip && !call.body.is_empty();
        let mut last = WriteError::Config("meta.elasticsearch_url names no node".into());
        for Node { url, authorization, .. } in nodes {
            let Ok(target) = url.join(call.path) else { continue };
            let mut request = Request::new(call.method.clone(), target)
                .answer_limit(call.answer_limit)
                .header("accept", "application/json")
                .authorization(authorization.as_ref());
            if let Some(content_type) = call.content_type {
                request = request.header_value(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            let request = match compressed {
                true => request.gzip(&call.body),
                false => request.body(call.body.clone()),
            };
            match self.client.send(request).await {
                Ok(answer) => {
                    self.rest(&url, None);
                    return Ok(answer);
                }
                Err(error) => {
                    self.rest(&url, Some(Instant::now() + REST));
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// The nodes in the order in which a request tries them: the next one first, resting ones last.
    fn turn(&self) -> Vec<Node> {
        let mut nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone();
        if nodes.is_empty() {
            return nodes;
        }
        let first = self.next.fetch_add(1, Relaxed) % nodes.len();
        nodes.rotate_left(first);
        let now = Instant::now();
        nodes.sort_by_key(|node| node.resting_until.is_some_and(|until| until > now));
        nodes
    }

    fn rest(&self, url: &Url, until: Option<Instant>) {
        let is_so = |node: &Node| &node.url != url || node.resting_until == until;
        if self
            .nodes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .all(is_so)
        {
            return;
        }
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        for node in nodes.iter_mut().filter(|node| &node.url == url) {
            node.resting_until = until;
        }
    }

    /// Whether the nodes of the cluster are wanted.
    pub(super) fn sniffs(&self) -> bool {
        self.sniffs
    }

    /// Asks the cluster for its nodes, if that is wanted and due; they take the place of the configured ones.
    pub(super) async fn sniff(&self, dialect: Dialect) -> Result<(), WriteError> {
        if !self.sniffs {
            return Ok(());
        }
        let mut sniffed = self.sniffed.lock().await;
        if sniffed.is_some_and(|at| at.elapsed() < SNIFF_EVERY) {
            return Ok(());
        }
        let answer = self
            .send(Call::json(Method::GET, "_nodes/http", ""))
            .await?
            .accepted()?;
        let reply: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(first) = self.configured.first() else {
            return Ok(());
        };
        let nodes: Vec<Node> = published(&reply, dialect, first.url.scheme())
            .map(|url| Node {
                url,
                authorization: first.authorization.clone(),
                resting_until: None,
            })
            .collect();
        if nodes.is_empty() {
            let text = "the cluster names no node with an HTTP address, so the configured addresses are used";
            tracing::warn!(prefix = SPEC.log_prefix, "{text}");
        } else {
            let urls: Vec<&str> = nodes.iter().map(|node| node.url.as_str()).collect();
            tracing::info!(prefix = SPEC.log_prefix, "nodes of the cluster: {}", urls.join(","));
            *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = nodes;
        }
        *sniffed = Some(Instant::now());
        Ok(())
    }
}

/// Addresses in an answer to `_nodes/http`: `host/ip:port` or `ip:port`.
fn published(reply: &Value, dialect: Dialect, scheme: &str) -> impl Iterator<Item = Url> {
    let nodes = reply
        .get("nodes")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    nodes.into_iter().filter_map(move |(_, node)| {
        let path = match dialect {
            Dialect::Three => "/http_address",
            _ => "/http/publish_address",
        };
        let address = node.pointer(path)?.as_str()?;
        let (address, port) = address.rsplit_once(':')?;
        let host = match (address.split_once('/'), dialect) {
            (Some((host, _)), Dialect::Seven) if !host.is_empty() => host,
            (Some((_, ip)), _) => ip,
            (None, _) => address,
        };
        Url::parse(&format!("{scheme}://{host}:{port}/")).ok()
    })
}

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Server {
    /// "elasticsearch" or "opensearch".
    pub(super) product: Arc<str>,
    /// Such as (7, 17).
    pub(super) version: (u32, u32),
}

impl Server {
    pub(super) async fn ask(cluster: &Cluster) -> Result<Server, WriteError> {
        let answer = cluster.send(Call::json(Method::GET, "", "")).await?;
        if answer.status == 403 {
            let text = "this user may not ask the server for its version – set meta.version, or grant the privilege \"monitor\"";
            return Err(WriteError::Config(format!("{} – {text}", answer.describe()).into()));
        }
        let answer = answer.accepted()?;
        let reply: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Server::read(&reply).ok_or_else(|| {
            let text = "meta.elasticsearch_url: neither Elasticsearch nor OpenSearch answers there (no version.number)";
            WriteError::Config(format!("{text} – correct it, or set meta.version").into())
        })
    }

    fn read(reply: &Value) -> Option<Server> {
        let version = reply.get("version")?;
        let mut parts = version.get("number")?.as_str()?.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0);
        let product = version
            .get("distribution")
            .and_then(Value::as_str)
            .unwrap_or("elasticsearch");
        Some(Server {
            product: product.into(),
            version: (major, minor),
        })
    }

    /// The way to talk to it.
    pub(super) fn dialect(&self) -> Dialect {
        match (&*self.product, self.version.0) {
            ("elasticsearch", ..=3) => Dialect::Three,
            ("elasticsearch", 4 | 5) => Dialect::Five,
            ("elasticsearch", 6) => Dialect::Six,
            _ => Dialect::Seven,
        }
    }

    /// Whether it knows composable index templates and data streams.
    pub(super) fn has_data_streams(&self) -> bool {
        &*self.product == "opensearch" || self.version >= (7, 9)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_are_recognised() {
        let dialect = |number: &str, distribution: Option<&str>| {
            let mut reply = json!({"version": {"number": number}});
            if let Some(distribution) = distribution {
                reply["version"]["distribution"] = distribution.into();
            }
            let server = Server::read(&reply).unwrap();
            (server.dialect(), server.has_data_streams())
        };
        assert_eq!(dialect("2.4.6", None), (Dialect::Three, false));
        assert_eq!(dialect("5.6.16", None), (Dialect::Five, false));
        assert_eq!(dialect("6.8.23", None), (Dialect::Six, false));
        assert_eq!(dialect("7.7.1", None), (Dialect::Seven, false));
        assert_eq!(dialect("7.17.0", None), (Dialect::Seven, true));
        assert_eq!(dialect("9.1.0", None), (Dialect::Seven, true));
        assert_eq!(dialect("1.3.20", Some("opensearch")), (Dialect::Seven, true));
        assert_eq!(dialect("3.3.0", Some("opensearch")), (Dialect::Seven, true));
        assert_eq!(Server::read(&json!({"tagline": "You Know"})), None);
    }

    #[test]
    fn credentials_of_one_url_are_those_of_all_without_their_own() {
        let options = Options {
            elasticsearch_url: "http://a:1,http://u:p@b:1,http://v:q@c:1".to_owned(),
            ..Options::default()
        };
        let cluster = Cluster::new(&options, |_| {}).unwrap();
        let all: Vec<_> = cluster
            .configured
            .iter()
            .map(|node| node.authorization.clone())
            .collect();
        assert_eq!(
            all,
            [Some(basic("u", "p")), Some(basic("u", "p")), Some(basic("v", "q"))]
        );
    }

    #[test]
    fn upstreams_variable_for_sniffing_sets_the_key_that_wins() {
        let names = crate::options::env_names(&crate::options::schema::<Options>());
        let first = |key: &str| names.iter().find(|option| option.path == [key]).unwrap().suffixes[0].clone();
        assert_eq!(first("use_sniffing"), "ENABLESNIFFING");
    }

    #[test]
    fn sniffed_nodes_keep_the_scheme() {
        let reply = json!({"nodes": {
            "a": {"http_address": "10.0.0.1:9200", "http": {"publish_address": "es1.local/10.0.0.1:9200"}},
            "b": {"http_address": "10.0.0.2:9200", "http": {"publish_address": "[::1]:9200"}},
            "c": {"name": "no http"},
        }});
        let urls = |dialect| {
            published(&reply, dialect, "https")
                .map(String::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(urls(Dialect::Seven), ["https://es1.local:9200/", "https://[::1]:9200/"]);
        assert_eq!(urls(Dialect::Six), ["https://10.0.0.1:9200/", "https://[::1]:9200/"]);
        assert_eq!(
            urls(Dialect::Three),
            ["https://10.0.0.1:9200/", "https://10.0.0.2:9200/"]
        );
    }
}
