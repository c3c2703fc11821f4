//! A server that is asked for by another name than that of the host that is dialled (`ssl_server_name`): TLS shows and
//! checks the name of the URL, so the URL gets that name, and resolving it leads to the host.

use std::io;

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::HeaderValue,
};
use rustls_pki_types::DnsName;

/// The name that a server is asked for, and the host that it is found at.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    name: String,
    host: String,
}

impl Alias {
    /// `None`: the name of the URL will do. An address as `name` is checked, but never shown.
    pub(super) fn new(name: Option<&str>, url: Option<&Url>) -> Option<Alias> {
        let name = name.filter(|name| DnsName::try_from(*name).is_ok())?;
        let url = url.filter(|url| url.scheme() == "https")?;
        Some(Alias {
            name: name.to_owned(),
            host: url.host_str()?.to_owned(),
        })
    }

    /// Puts the name into the URL; what was there belongs into the header `Host`.
    pub(super) fn apply(&self, url: &mut Url) -> Option<HeaderValue> {
        if url.host_str() != Some(self.host.as_str()) {
            return None;
        }
        let host = match url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        };
        url.set_host(Some(&self.name)).ok()?;
        HeaderValue::from_str(&host).ok()
    }
}

impl Resolve for Alias {
    fn resolve(&self, name: Name) -> Resolving {
        let host = match name.as_str() == self.name {
            true => self.host.trim_matches(['[', ']']).to_owned(),
            false => name.as_str().to_owned(),
        };
        Box::pin(async move {
            let found: io::Result<Vec<_>> = tokio::net::lookup_host((host, 0)).await.map(Iterator::collect);
            Ok(Box::new(found?.into_iter()) as Addrs)
        })
    }
}
