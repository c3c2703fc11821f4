//! Where pumps listen. Pumps that name the same address share its listener, each with a path of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use hyper::{Method, Response, StatusCode, header, http::request::Parts};
use percent_encoding::percent_decode_str;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    SPEC,
    exhibit::{Exhibit, Page, plain},
};
use crate::{
    BuildError,
    serve::{self, BasicAuth, Terms},
};

/// Scrapers at a time: each of them may hold a page of many megabytes.
const MOST_CONNECTIONS: u64 = 32;

/// Listeners of this process.
static DOORS: Mutex<Vec<Weak<Door>>> = Mutex::new(Vec::new());

/// A listener.
struct Door {
    /// As configured.
    address: SocketAddr,
    local: SocketAddr,
    access: Access,
    routes: Arc<Mutex<Vec<Arc<Route>>>>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Whom a listener lets in; the files as their names, so that two can be compared.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) auth: Option<BasicAuth>,
    pub(super) files: [String; 3],
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

impl PartialEq for Access {
    fn eq(&self, other: &Access) -> bool {
        (&self.auth, &self.files) == (&other.auth, &other.files)
    }
}

/// What a listener answers, and with what.
pub(super) struct Route {
    /// `None`: every method.
    method: Option<Method>,
    path: String,
    exhibit: Arc<Exhibit>,
}

impl Route {
    /// The route that the option `path` means; `warn` hears what its author may not have meant.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn new(option: &str, exhibit: Arc<Exhibit>, warn: impl FnOnce(&str)) -> Result<Route, BuildError> {
        let wrong = |why: &str| {
            let text = format!("meta.path is \"{option}\", {why} – write for instance \"/metrics\"");
            BuildError::Options(text)
        };
        let (method, path) = match option.split_once([' ', '\t']) {
            Some((method, path)) => {
                let method = Method::from_bytes(method.as_bytes());
                (
                    Some(method.map_err(|_| wrong("which begins with no method"))?),
                    path.trim_start(),
                )
            }
            None => (None, option),
        };
        if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong("which has a blank in it"));
        }
        if path.contains(['{', '}', '?', '#']) {
            return Err(wrong("where { } ? and # mean nothing"));
        }
        let path = match path {
            "" => "/metrics".to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            path => {
                warn(&format!(
                    "meta.path is \"{option}\", expected a path that begins with / – it is served as \"/{path}\""
                ));
                format!("/{path}")
            }
        };
        Ok(Route { method, path, exhibit })
    }

    /// How well it fits, if it does: an exact path goes before everything below another.
    fn fit(&self, path: &str) -> Option<usize> {
        if self.path == path {
            return Some(usize::MAX);
        }
        (self.path.ends_with('/') && path.starts_with(&self.path)).then_some(self.path.len())
    }
}

/// A route that is open. It closes when this is dropped.
pub(super) struct Opened {
    door: Arc<Door>,
    route: Arc<Route>,
}

impl Opened {
    /// Opens a route at an address, which is `spelled` like this in the configuration.
    ///
    /// # Errors
    /// The address is nobody's or somebody else's.
    pub(super) async fn new(spelled: &str, access: Access, route: Route) -> Result<Opened, BuildError> {
        let address = resolve(spelled).await?;
        let route = Arc::new(route);
        let mut doors = locked(&DOORS);
        doors.retain(|door| door.strong_count() > 0);
        let shared = doors.iter().filter_map(Weak::upgrade);
        if let Some(door) = shared
            .into_iter()
            .find(|door| address.port() != 0 && [door.address, door.local].contains(&address))
        {
            door.admit(spelled, &access, &route)?;
            return Ok(Opened { door, route });
        }
        let failed = |error: std::io::Error| {
            let text = format!(
                "meta.listen_address {spelled}: {error} – free the port, or write an address of this machine with a free one"
            );
            BuildError::Unavailable(text.into())
        };
        let listener = match spelled.strip_prefix(':') {
            Some(_) => serve::listen(address.port()),
            None => serve::listen_on(address),
        };
        let listener = listener.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let (routes, stop) = (Arc::new(Mutex::new(vec![route.clone()])), CancellationToken::new());
        let terms = Terms {
            log_prefix: SPEC.log_prefix,
            tls: access.tls.clone(),
            most: MOST_CONNECTIONS,
        };
        let (asked, auth) = (routes.clone(), access.auth.clone());
        let answers = move |_, request| answer(asked.clone(), auth.clone(), request);
        let task = tokio::spawn(serve::serve(listener, terms, answers, stop.clone()));
        let door = Arc::new(Door {
            address,
            local,
            access,
            routes,
            stop,
            task: Mutex::new(Some(task)),
        });
        doors.push(Arc::downgrade(&door));
        Ok(Opened { door, route })
    }

    /// Where it is.
    pub(super) fn local_address(&self) -> SocketAddr {
        self.door.local
    }

    /// Closes the route, and the listener with the last one; its port is free then.
    pub(super) async fn close(&self) {
        let task = match self.leave() {
            true => locked(&self.door.task).take(),
            false => None,
        };
        if let Some(task) = task {
            // It can only have been cancelled.
            let _ = task.await;
        }
    }

    /// Whether it was the last route.
    fn leave(&self) -> bool {
        // Nobody comes in meanwhile.
        let mut doors = locked(&DOORS);
        let mut routes = locked(&self.door.routes);
        routes.retain(|route| !Arc::ptr_eq(route, &self.route));
        if !routes.is_empty() {
            return false;
        }
        doors.retain(|door| door.upgrade().is_some_and(|door| !Arc::ptr_eq(&door, &self.door)));
        self.door.stop.cancel();
        true
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Door {
    fn admit(&self, spelled: &str, access: &Access, route: &Arc<Route>) -> Result<(), BuildError> {
        let mut routes = locked(&self.routes);
        if routes.iter().any(|other| other.path == route.path) {
            let text = format!(
                "meta.path {} at {spelled} is another pump's – write another path, or another listen_address",
                route.path
            );
            return Err(BuildError::Unavailable(text.into()));
        }
        if *access != self.access {
            let text = format!(
                "another pump listens at {spelled} with other values of username, password or ssl_* – make them the same, or \
                 write another listen_address"
            );
            return Err(BuildError::Options(text));
        }
        routes.push(route.clone());
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Lists are whole between two calls.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Host and port of an address; without a host it is every address of this machine.
///
/// # Errors
/// It is none.
pub(super) fn parse(spelled: &str) -> Result<(&str, u16), BuildError> {
    let wrong = || {
        BuildError::Options(format!(
            "meta.listen_address is \"{spelled}\", expected host:port or :port – write for instance \":9090\""
        ))
    };
    let (host, port) = spelled.rsplit_once(':').ok_or_else(wrong)?;
    Ok((host, port.parse().map_err(|_| wrong())?))
}

async fn resolve(spelled: &str) -> Result<SocketAddr, BuildError> {
    let (host, port) = parse(spelled)?;
    if host.is_empty() {
        return Ok((std::net::Ipv6Addr::UNSPECIFIED, port).into());
    }
    let unknown = |why: &dyn std::fmt::Display| {
        let text = format!("meta.listen_address {spelled}: {why} – write an address of this machine");
        BuildError::Unavailable(text.into())
    };
    let mut found = tokio::net::lookup_host(spelled)
        .await
        .map_err(|error| unknown(&error))?;
    found.next().ok_or_else(|| unknown(&"the host has no address"))
}

async fn answer(routes: Arc<Mutex<Vec<Arc<Route>>>>, auth: Option<BasicAuth>, request: Parts) -> Page {
    if auth.is_some_and(|auth| !auth.admits(&request.headers)) {
        let response = Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, "Basic realm=\"metrics\", charset=\"UTF-8\"");
        return plain(response, "user name and password are needed\n");
    }
    let path = percent_decode_str(request.uri.path()).decode_utf8_lossy();
    let best = {
        let routes = locked(&routes);
        let fitting = routes
            .iter()
            .filter_map(|route| Some((route.fit(&path)?, route.clone())));
        fitting.max_by_key(|(fit, _)| *fit)
    };
    let Some((_, route)) = best else {
        return plain(
            Response::builder().status(StatusCode::NOT_FOUND),
            "404 page not found\n",
        );
    };
    let is_allowed =
        |method: &Method| *method == request.method || (*method == Method::GET && request.method == Method::HEAD);
    if let Some(method) = route.method.as_ref().filter(|method| !is_allowed(method)) {
        let allowed = match *method == Method::GET {
            true => "GET, HEAD",
            false => method.as_str(),
        };
        let response = Response::builder()
            .status(StatusCode::METHOD_NOT_ALLOWED)
            .header(header::ALLOW, allowed);
        return plain(response, "Method Not Allowed\n");
    }
    route.exhibit.answer(&request.headers).await
}
