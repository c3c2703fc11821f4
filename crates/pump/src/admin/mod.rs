//! The HTTP server of the daemon: upstream's health endpoint to the byte, and beside it what upstream never had:
//! `/livez`, `/readyz`, `/status`, `/metrics` and the actions that operators send to lanes.
//!
//! With `compat` on, `/metrics` answers 404 as upstream's server does; the other added paths stay.

pub mod actions;
pub mod client;
pub mod metrics;
mod profile;
pub mod remote;
pub mod store;

use std::{
    borrow::Cow,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Query, Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use rustix::net::{AddressFamily, SocketType, sockopt};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use actions::{Actions, Refused};

use crate::delivery::status::StatusBoard;

/// How long running requests may go on after the stop signal.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

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
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error(
    "Error serving health check endpoint: listen tcp :{port}: {source}; set health_check_endpoint_port \
     (TYK_PMP_HEALTHCHECKENDPOINTPORT) to a free port"
)]
pub struct BindError {
    port: u16,
    source: io::Error,
}

/// A server that has its port and does not answer yet.
pub struct Bound {
    listener: TcpListener,
    local: SocketAddr,
    health_path: String,
    profiler: bool,
    compat: bool,
}

impl Bound {
    /// The port that was taken.
    pub fn port(&self) -> u16 {
        self.local.port()
    }
}

struct Server {
    health_path: String,
    profiler: bool,
    compat: bool,
    board: Arc<StatusBoard>,
    actions: Arc<dyn Actions>,
}

/// Takes the port on all interfaces, IPv6 and IPv4. Must be called within the runtime.
///
/// # Errors
/// The port is taken or may not be used.
pub fn bind(settings: &AdminSettings) -> Result<Bound, BindError> {
    let name = settings.name.trim_start_matches('/');
    let fail = |source| BindError {
        port: settings.port,
        source,
    };
    let listener = listen(settings.port).map_err(fail)?;
    let local = listener.local_addr().map_err(fail)?;
    tracing::info!(
        prefix = "server",
        "Serving health check endpoint at http://localhost:{}/{name} ...",
        local.port()
    );
    Ok(Bound {
        listener,
        local,
        health_path: format!("/{name}"),
        profiler: settings.profiler,
        compat: settings.compat,
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = match listen_on((Ipv6Addr::UNSPECIFIED, port).into()) {
        // A kernel without IPv6.
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            listen_on((Ipv4Addr::UNSPECIFIED, port).into())?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn listen_on(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Answers until `stop` is cancelled; requests that run then have a second to finish.
///
/// # Errors
/// The listener failed for good.
pub async fn serve(
    bound: Bound,
    board: Arc<StatusBoard>,
    actions: Arc<dyn Actions>,
    stop: CancellationToken,
) -> io::Result<()> {
    let server = Arc::new(Server {
        health_path: bound.health_path,
        profiler: bound.profiler,
        compat: bound.compat,
        board,
        actions,
    });
    let service = Router::new()
        .fallback(answer)
        .with_state(server)
        .into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(bound.listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        result = serving => result,
        () = grace => Ok(()),
    }
}

async fn answer(
    State(server): State<Arc<Server>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (request, _) = request.into_parts();
    let uri = &request.uri;
    let path = percent_decode_str(uri.path()).decode_utf8_lossy();
    if path == server.health_path {
        return health(&request.method);
    }
    if let Cow::Owned(clean) = clean_path(uri.path()) {
        return redirect(&clean, uri.query());
    }
    if server.profiler
        && let Some(name) = path.strip_prefix("/debug/pprof/")
    {
        return profile::answer(name, uri).await;
    }
    let pump = path
        .strip_prefix("/lanes/")
        .and_then(|rest| rest.strip_suffix("/accept-refusals"));
    if pump.is_some() || matches!(&*path, "/dead-letters/replay" | "/store") {
        if let Some(refusal) = refuse_action(peer, &request) {
            return refusal;
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
        "/metrics" if !server.compat => exposition,
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

/// An action changes what becomes of records, so only a process on this machine may ask for it: no other host, no proxy
/// that forwards for one, no page in a browser. `None`: it may.
fn refuse_action(peer: SocketAddr, request: &Parts) -> Option<Response> {
    if request.method != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    let relayed = ["origin", "forwarded", "x-forwarded-for"]
        .iter()
        .any(|name| request.headers.contains_key(*name));
    if peer.ip().to_canonical().is_loopback() && !relayed {
        return None;
    }
    let error = "only programs on the pump's own machine may do this; run tyk-pump there";
    Some(json_answer(StatusCode::FORBIDDEN, &json!({ "error": error })))
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
