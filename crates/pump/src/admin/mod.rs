//! The HTTP server of the daemon: upstream's health endpoint to the byte, and beside it what upstream never had:
//! `/livez`, `/readyz`, `/status`, `/metrics` and the actions that operators send to lanes.
//!
//! All of it answers on the port of the health endpoint; with `admin_listen` that port keeps what probes ask for, and
//! everything else moves to the other address. With `compat` on, `/metrics` answers 404 as upstream's server does; the
//! other added paths stay.

mod access;
pub mod actions;
pub mod client;
pub mod metrics;
mod profile;
pub mod remote;
pub mod store;

use std::{borrow::Cow, io, net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::Query,
    http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use sinks::serve::{self, Terms};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use actions::{Actions, Refused};

use self::access::{Refusal, may_act, may_look};
use crate::{config::AdminAccess, delivery::status::StatusBoard};

/// Dead letters that one request replays when it names no number.
const REPLAY_LIMIT: usize = 1000;

/// What the server needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// `health_check_endpoint_name`; slashes in front are dropped.
    pub name: String,
    /// `health_check_endpoint_port`; 0 takes any free port (tests).
    pub port: u16,
    /// `enable_http_profiler`
    pub profiler: bool,
    /// `compat` of the whole configuration.
    pub compat: bool,
    /// `admin_listen`, `admin_token` and `admin_hosts`.
    pub access: AdminAccess,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port of the health endpoint.
    #[error(
        "Error serving health check endpoint: listen tcp :{port}: {source}; set health_check_endpoint_port \
         (TYK_PMP_HEALTHCHECKENDPOINTPORT) to a free port"
    )]
    Health {
        /// Which port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The address of everything else.
    #[error(
        "Error serving admin pages: listen tcp {address}: {source}; set admin_listen to an address of this machine with a free port"
    )]
    Admin {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// What a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    /// Everything.
    All,
    /// What probes ask for: the health endpoint, `/livez`, and `/readyz` without reasons.
    Probes,
}

/// A server that has its ports and does not answer yet.
pub struct Bound {
    listeners: Vec<(TcpListener, SocketAddr, Surface)>,
    health_path: String,
    settings: AdminSettings,
}

impl Bound {
    /// The port of the health endpoint.
    pub fn port(&self) -> u16 {
        self.listeners.first().map_or(0, |(_, local, _)| local.port())
    }

    /// Where everything answers.
    pub fn admin(&self) -> Option<SocketAddr> {
        let all = self.listeners.iter().find(|(_, _, surface)| *surface == Surface::All);
        all.map(|(_, local, _)| *local)
    }
}

struct Server {
    health_path: String,
    settings: AdminSettings,
    board: Arc<StatusBoard>,
    actions: Arc<dyn Actions>,
}

/// Takes the port on all interfaces, IPv6 and IPv4, and the address of the admin pages if they have one of their own. One
/// with the same port is the address of everything. Must be called within the runtime.
///
/// # Errors
/// A port is taken or may not be used.
pub fn bind(settings: &AdminSettings) -> Result<Bound, BindError> {
    let name = settings.name.trim_start_matches('/');
    let port = settings.port;
    let mut listeners = Vec::new();
    let (apart, shared) = match settings.access.listen {
        Some(address) if address.port() == port && port != 0 => (None, Some(address)),
        apart => (apart, None),
    };
    if shared.is_none() {
        let surface = if apart.is_some() { Surface::Probes } else { Surface::All };
        let listener = serve::listen(port).map_err(|source| BindError::Health { port, source })?;
        let local = listener
            .local_addr()
            .map_err(|source| BindError::Health { port, source })?;
        listeners.push((listener, local, surface));
    }
    if let Some(address) = apart.or(shared) {
        let fail = |source| BindError::Admin { address, source };
        let listener = serve::listen_on(address).map_err(fail)?;
        let local = listener.local_addr().map_err(fail)?;
        if apart.is_some() {
            tracing::info!(prefix = "server", "Serving admin pages at http://{local}/status ...");
        }
        listeners.push((listener, local, Surface::All));
    }
    let bound = Bound {
        listeners,
        health_path: format!("/{name}"),
        settings: settings.clone(),
    };
    tracing::info!(
        prefix = "server",
        "Serving health check endpoint at http://localhost:{}/{name} ...",
        bound.port()
    );
    Ok(bound)
}

/// Answers until `stop` is cancelled; requests that run then have a second to finish.
pub async fn serve(bound: Bound, board: Arc<StatusBoard>, actions: Arc<dyn Actions>, stop: CancellationToken) {
    let server = Arc::new(Server {
        health_path: bound.health_path,
        settings: bound.settings,
        board,
        actions,
    });
    let serving = bound.listeners.into_iter().map(|(listener, _, surface)| {
        let server = server.clone();
        let answer = move |peer, request| answer(server.clone(), surface, peer, request);
        serve::serve(listener, Terms::plain("server"), answer, stop.clone())
    });
    futures::future::join_all(serving).await;
}

async fn answer(server: Arc<Server>, surface: Surface, peer: SocketAddr, request: Parts) -> Response {
    let uri = &request.uri;
    let path = percent_decode_str(uri.path()).decode_utf8_lossy();
    if path == server.health_path {
        return health(&request.method);
    }
    if let Cow::Owned(clean) = clean_path(uri.path()) {
        return redirect(&clean, uri.query());
    }
    if surface == Surface::Probes {
        return probe(&server, &path, &request.method);
    }
    if server.settings.profiler
        && let Some(name) = path.strip_prefix("/debug/pprof/")
    {
        return match may_look(&server.settings.access, &request) {
            Ok(()) => profile::answer(name, uri).await,
            Err(refusal) => refuse(&refusal),
        };
    }
    let pump = path
        .strip_prefix("/lanes/")
        .and_then(|rest| rest.strip_suffix("/accept-refusals"));
    if pump.is_some() || matches!(&*path, "/dead-letters/replay" | "/store") {
        if let Err(refusal) = may_act(&server.settings.access, peer, &request) {
            return refuse(&refusal);
        }
        return match pump {
            Some(pump) => accept_refusals(&*server.actions, pump).await,
            None if path == "/store" => store::answer(server.actions.source(), uri).await,
            None => replay(&*server.actions, uri).await,
        };
    }
    let reading = matches!(request.method, Method::GET | Method::HEAD);
    let page: fn(&Server) -> Response = match &*path {
        "/livez" => |_| text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => readiness,
        "/status" => |server| json_answer(StatusCode::OK, &server.board.snapshot()),
        "/metrics" if !server.settings.compat => exposition,
        _ => return not_found(),
    };
    if reading {
        page(&server)
    } else {
        StatusCode::METHOD_NOT_ALLOWED.into_response()
    }
}

/// Upstream answers GET alone; everything else is an empty 405 without `Allow`.
fn health(method: &Method) -> Response {
    if method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], r#"{"status": "ok"}"#).into_response()
}

fn readiness(server: &Server) -> Response {
    let status = server.board.snapshot();
    if status.ready {
        return text(StatusCode::OK, "ready\n".to_owned());
    }
    let lines = status.not_ready.iter().map(|line| format!("{line}\n")).collect();
    text(StatusCode::SERVICE_UNAVAILABLE, lines)
}

fn exposition(server: &Server) -> Response {
    let form = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let body = metrics::render(&server.board.snapshot());
    ([(header::CONTENT_TYPE, form)], body).into_response()
}

/// What the port of the health endpoint answers when the admin pages are elsewhere.
fn probe(server: &Server, path: &str, method: &Method) -> Response {
    let (status, body) = match path {
        "/livez" => (StatusCode::OK, "ok\n"),
        "/readyz" if server.board.snapshot().ready => (StatusCode::OK, "ready\n"),
        "/readyz" => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready; /readyz at admin_listen says why\n",
        ),
        _ => return not_found(),
    };
    match *method {
        Method::GET | Method::HEAD => text(status, body.to_owned()),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn refuse(refusal: &Refusal) -> Response {
    json_answer(refusal.status, &json!({ "error": refusal.reason }))
}

async fn accept_refusals(actions: &dyn Actions, pump: &str) -> Response {
    match actions.accept_refusals(pump).await {
        Ok(()) => json_answer(StatusCode::OK, &json!({ "pump": pump, "accepted": true })),
        Err(refused) => {
            let status = match refused {
                Refused::UnknownPump(_) => StatusCode::NOT_FOUND,
                Refused::NothingRefused(_) => StatusCode::CONFLICT,
            };
            json_answer(status, &json!({ "error": refused.to_string() }))
        }
    }
}

#[derive(Deserialize)]
struct ReplayQuery {
    pump: Option<String>,
    limit: Option<usize>,
}

async fn replay(actions: &dyn Actions, uri: &Uri) -> Response {
    let query = match Query::<ReplayQuery>::try_from_uri(uri) {
        Ok(Query(query)) => query,
        Err(error) => return json_answer(StatusCode::BAD_REQUEST, &json!({ "error": error.body_text() })),
    };
    let limit = query.limit.unwrap_or(REPLAY_LIMIT);
    match actions.replay(query.pump.as_deref(), limit).await {
        Ok(replayed) => json_answer(StatusCode::OK, &replayed),
        Err(error) => json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "error": crate::error_text(&error) }),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(header::CONTENT_TYPE, plain)], body).into_response()
}

/// A text answer as Go's `http.Error` writes it.
fn error_text(status: StatusCode, body: String) -> Response {
    let mut response = text(status, body);
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn not_found() -> Response {
    error_text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned())
}

fn json_answer(status: StatusCode, value: &impl serde::Serialize) -> Response {
    (status, axum::Json(value)).into_response()
}

fn redirect(path: &str, query: Option<&str>) -> Response {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    match HeaderValue::try_from(target) {
        Ok(target) => {
            response.headers_mut().insert(header::LOCATION, target);
            response
        }
        Err(_) => not_found(),
    }
}

/// The path without doubled slashes and dot segments; a slash at the end stays. Borrowed when nothing changes.
fn clean_path(path: &str) -> Cow<'_, str> {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut clean = format!("/{}", segments.join("/"));
    if path.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    if clean == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(clean)
    }
}

#[cfg(test)]
mod tests {
    use super::clean_path;

    #[test]
    fn paths_are_cleaned_as_upstreams_router_does() {
        for (path, clean) in [
            ("/", "/"),
            ("//health", "/health"),
            ("/health/", "/health/"),
            ("/a/../health", "/health"),
            ("/./health//", "/health/"),
            ("/..", "/"),
            ("//", "/"),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
    }
}
