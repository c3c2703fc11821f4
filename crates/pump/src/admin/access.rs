//! Who may ask for what changes the fate of records.

use std::net::SocketAddr;

use axum::http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts, uri::Authority};
use subtle::ConstantTimeEq;

use crate::config::{AdminAccess, Secret};

/// Headers of proxies, and of browsers that send for another page. Whatever begins with `x-forwarded-` counts, too.
const RELAYED: [&str; 4] = ["via", "forwarded", "x-real-ip", "origin"];

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

/// Whether `peer` may act with this request. With a token it must have that, from wherever it comes. Without one it must
/// be a program on this machine: no other host, no proxy that forwards for one, no page in a browser, not even one whose
/// host name was made to lead here.
pub(super) fn may_act(access: &AdminAccess, peer: SocketAddr, request: &Parts) -> Result<(), Refusal> {
    if request.method != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only POST acts");
    }
    if access.token.reveal().is_empty() {
        return may_act_without_token(access, peer, request);
    }
    has_token(&access.token, &request.headers)
}

/// Whether a request shows the token, if there is one.
pub(super) fn may_look(access: &AdminAccess, request: &Parts) -> Result<(), Refusal> {
    match access.token.reveal().is_empty() {
        true => Ok(()),
        false => has_token(&access.token, &request.headers),
    }
}

fn has_token(token: &Secret, headers: &HeaderMap) -> Result<(), Refusal> {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Some(token),
        _ => None,
    });
    match shown {
        Some(shown) if bool::from(shown.ct_eq(token.reveal().as_bytes())) => Ok(()),
        Some(_) => refuse(StatusCode::FORBIDDEN, "that is not the admin_token of this pump"),
        None => refuse(
            StatusCode::UNAUTHORIZED,
            "this pump has an admin_token: send it as \"Authorization: Bearer …\", or run tyk-pump with the same \
             configuration",
        ),
    }
}

fn may_act_without_token(access: &AdminAccess, peer: SocketAddr, request: &Parts) -> Result<(), Refusal> {
    let only =
        "only programs on the pump's own machine may do this without an admin_token; run tyk-pump there, or set one";
    if !peer.ip().to_canonical().is_loopback() {
        return refuse(StatusCode::FORBIDDEN, only);
    }
    if let Some(name) = relayed_by(&request.headers) {
        return refuse(
            StatusCode::FORBIDDEN,
            format!("{only} (the header {name} says that it comes from elsewhere)"),
        );
    }
    match host(&request.uri, &request.headers) {
        Some(host) if is_own_name(access, &host) => Ok(()),
        Some(host) => refuse(
            StatusCode::FORBIDDEN,
            format!("{only} (its Host is {host:?}: localhost and the names in admin_hosts are this machine)"),
        ),
        None => refuse(StatusCode::FORBIDDEN, format!("{only} (it has no proper Host)")),
    }
}

/// The header that shows that somebody else asks.
fn relayed_by(headers: &HeaderMap) -> Option<&str> {
    headers.iter().find_map(|(name, value)| {
        let name = name.as_str();
        let relayed = match name {
            "sec-fetch-site" => !matches!(value.as_bytes(), b"same-origin" | b"none"),
            _ => RELAYED.contains(&name) || name.starts_with("x-forwarded-"),
        };
        relayed.then_some(name)
    })
}

/// The host that a request is for, without its port, in small letters; `None`: it names none, or more than one.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut named = headers.get_all(header::HOST).iter();
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return None;
    }
    let authority: Authority = first?.to_str().ok()?.parse().ok()?;
    if authority.as_str().contains('@') || uri.authority().is_some_and(|of_uri| *of_uri != authority) {
        return None;
    }
    let host = authority.host();
    Some(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
}

fn is_own_name(access: &AdminAccess, host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
        || access.hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
}

fn refuse(status: StatusCode, reason: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal {
        status,
        reason: reason.into(),
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use proptest::prelude::*;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method("POST").uri("/lanes/CSV/accept-refusals");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(access: &AdminAccess, peer: &str, headers: &[(&str, &str)]) -> u16 {
        match may_act(access, peer.parse().unwrap(), &parts(headers)) {
            Ok(()) => 200,
            Err(refusal) => refusal.status.as_u16(),
        }
    }

    const HERE: &str = "127.0.0.1:1000";

    #[test]
    fn a_request_that_comes_from_elsewhere_does_not_act() {
        let access = AdminAccess {
            hosts: vec!["pump.Internal".to_owned()],
            ..AdminAccess::default()
        };
        for host in [
            "localhost",
            "LOCALHOST:8083",
            "localhost.:80",
            "127.0.0.1:1",
            "[::1]:8083",
            "pump.internal:9",
        ] {
            for peer in [HERE, "[::1]:1", "[::ffff:127.0.0.1]:1"] {
                assert_eq!(status(&access, peer, &[("host", host)]), 200, "{host} {peer}");
            }
            assert_eq!(status(&access, "10.0.0.1:1", &[("host", host)]), 403, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "",
            "a@localhost",
            "[::2]",
            "127.0.0.2",
        ] {
            assert_eq!(status(&access, HERE, &[("host", host)]), 403, "{host:?}");
        }
        assert_eq!(status(&access, HERE, &[]), 403, "no host");
        assert_eq!(
            status(&access, HERE, &[("host", "localhost"), ("host", "localhost")]),
            403
        );
        for (name, value) in [
            ("via", "1.1 proxy"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "evil.example"),
            ("X-Forwarded-Proto", "https"),
            ("x-real-ip", "10.0.0.1"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(
                status(&access, HERE, &[("host", "localhost"), (name, value)]),
                403,
                "{name}"
            );
        }
        for value in ["same-origin", "none"] {
            assert_eq!(
                status(&access, HERE, &[("host", "localhost"), ("sec-fetch-site", value)]),
                200
            );
        }
    }

    #[test]
    fn a_token_is_needed_and_enough_when_there_is_one() {
        let access = AdminAccess {
            token: Secret::new("s3cret".to_owned()),
            ..AdminAccess::default()
        };
        let host = ("host", "evil.example");
        assert_eq!(status(&access, HERE, &[("host", "localhost")]), 401);
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cret2",
            "Bearer ",
            "Bearer",
            "Basic s3cret",
            "s3cret",
        ] {
            assert!(
                matches!(status(&access, HERE, &[host, ("authorization", wrong)]), 401 | 403),
                "{wrong}"
            );
        }
        for peer in [HERE, "10.0.0.1:1"] {
            assert_eq!(
                status(&access, peer, &[host, ("authorization", "bearer s3cret"), ("via", "x")]),
                200
            );
        }
        assert!(may_look(&access, &parts(&[])).is_err() && may_look(&AdminAccess::default(), &parts(&[])).is_ok());
    }

    proptest! {
        /// Whatever headers a page in a browser or a proxy may add: a foreign host never acts.
        #[test]
        fn no_headers_make_a_foreign_host_act(
            host in "[a-z0-9.:@\\[\\]-]{0,20}",
            headers in prop::collection::vec(("[a-z][a-z-]{0,15}", "[ -~]{0,20}"), 0..5),
        ) {
            let mut all = vec![("host", host.as_str())];
            all.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let named = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
            let name = named.map_or(host.as_str(), |(name, _)| name);
            let own = matches!(name.strip_suffix('.').unwrap_or(name), "localhost" | "127.0.0.1" | "[::1]");
            prop_assert!(own || status(&AdminAccess::default(), HERE, &all) == 403);
        }
    }
}
