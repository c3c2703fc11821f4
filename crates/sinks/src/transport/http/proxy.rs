//! Proxies as Go takes them from the environment: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, each also in small letters.

use std::net::IpAddr;

use reqwest::{Proxy, Url};

use crate::BuildError;

/// The proxies that the environment names; `None`: none.
pub(super) fn from_environment() -> Result<Option<Rules>, BuildError> {
    let rules = Rules::read(|name| std::env::var(name).ok())?;
    Ok((rules.http.is_some() || rules.https.is_some()).then_some(rules))
}

/// Which proxy is for which address.
pub(super) struct Rules {
    http: Option<Url>,
    https: Option<Url>,
    exceptions: Vec<Exception>,
}

/// One item of `NO_PROXY`.
enum Exception {
    Everything,
    Network(IpAddr, u32),
    Host {
        /// In small letters, without a leading dot.
        name: String,
        /// Whether the name itself counts, not only names below it.
        itself: bool,
        port: Option<u16>,
    },
}

impl Rules {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Rules, BuildError> {
        let either = |name: &str| {
            let found = variable(name).filter(|value| !value.is_empty());
            found.or_else(|| variable(&name.to_lowercase()).filter(|value| !value.is_empty()))
        };
        // A web server puts a request's header "Proxy:" into this variable.
        let is_cgi = variable("REQUEST_METHOD").is_some_and(|value| !value.is_empty());
        let http = if is_cgi { None } else { either("HTTP_PROXY") };
        Ok(Rules {
            http: http.map(|text| parse("HTTP_PROXY", &text)).transpose()?,
            https: either("HTTPS_PROXY")
                .map(|text| parse("HTTPS_PROXY", &text))
                .transpose()?,
            exceptions: either("NO_PROXY")
                .unwrap_or_default()
                .split(',')
                .filter_map(|item| Exception::parse(item.trim()))
                .collect(),
        })
    }

    /// For a client.
    pub(super) fn into_proxy(self) -> Proxy {
        Proxy::custom(move |url| self.proxy_of(url).cloned())
    }

    /// `None`: the address is reached without one.
    pub(super) fn proxy_of(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }?;
        let host = url.host_str()?.trim_end_matches('.').to_lowercase();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        let port = url.port_or_known_default();
        let is_exception = self.exceptions.iter().any(|e| e.holds(&host, address, port));
        (!is_exception).then_some(proxy)
    }
}

fn parse(variable: &str, text: &str) -> Result<Url, BuildError> {
    let known = |url: &Url| matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h");
    Url::parse(text)
        .ok()
        .filter(known)
        .or_else(|| Url::parse(&format!("http://{text}")).ok())
        .ok_or_else(|| {
            BuildError::Options(format!(
                "{variable} is not the address of a proxy – write http://host:port"
            ))
        })
}

impl Exception {
    fn parse(item: &str) -> Option<Exception> {
        if item.is_empty() {
            return None;
        }
        if item == "*" {
            return Some(Exception::Everything);
        }
        if let Ok(address) = item.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some(Exception::Network(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        if let Some((network, bits)) = item.split_once('/') {
            return Some(Exception::Network(network.parse().ok()?, bits.parse().ok()?));
        }
        let (name, port) = match item.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (item, None),
        };
        let name = name.strip_prefix('*').unwrap_or(name).to_lowercase();
        Some(Exception::Host {
            itself: !name.starts_with('.'),
            name: name.trim_start_matches('.').to_owned(),
            port,
        })
    }

    fn holds(&self, host: &str, address: Option<IpAddr>, its_port: Option<u16>) -> bool {
        match self {
            Exception::Everything => true,
            Exception::Network(network, bits) => address.is_some_and(|address| is_in(address, *network, *bits)),
            Exception::Host { name, itself, port } => {
                let below = host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
                (below || (*itself && host == name)) && port.is_none_or(|port| its_port == Some(port))
            }
        }
    }
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
    address.is_ipv4() == network.is_ipv4() && number(address) & mask == number(network) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(variables: &[(&str, &str)]) -> Rules {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Rules::read(find).unwrap()
    }

    fn proxy(rules: &Rules, url: &str) -> Option<String> {
        rules.proxy_of(&Url::parse(url).unwrap()).map(Url::to_string)
    }

    #[test]
    fn each_scheme_has_its_proxy_and_this_machine_none() {
        let rules = rules(&[("HTTP_PROXY", "p1:3128"), ("https_proxy", "https://u:p@p2")]);
        assert_eq!(proxy(&rules, "http://a.example").as_deref(), Some("http://p1:3128/"));
        assert_eq!(proxy(&rules, "https://a.example").as_deref(), Some("https://u:p@p2/"));
        for local in ["http://localhost:1", "http://127.0.0.1:1", "https://[::1]:1"] {
            assert_eq!(proxy(&rules, local), None);
        }
    }

    #[test]
    fn exceptions_are_names_domains_addresses_and_networks() {
        let no = "a.example, .b.example,*.c.example,d.example:8088,10.0.0.0/8,192.0.2.7,2001:db8::/32";
        let rules = rules(&[("HTTP_PROXY", "http://p"), ("NO_PROXY", no)]);
        let direct = |host: &str| proxy(&rules, &format!("http://{host}")).is_none();
        for host in [
            "a.example",
            "A.EXAMPLE",
            "x.a.example",
            "x.b.example",
            "x.c.example",
            "d.example:8088",
            "10.1.2.3",
            "192.0.2.7",
            "[2001:db8::5]",
        ] {
            assert!(direct(host), "{host}");
        }
        for host in [
            "b.example",
            "xa.example",
            "d.example",
            "11.0.0.1",
            "192.0.2.8",
            "[2001:db9::5]",
        ] {
            assert!(!direct(host), "{host}");
        }
        let all = super::tests::rules(&[("HTTP_PROXY", "http://p"), ("NO_PROXY", "*")]);
        assert_eq!(proxy(&all, "http://a.example"), None);
    }

    #[test]
    fn a_request_to_a_web_server_cannot_name_the_proxy() {
        let rules = rules(&[("HTTP_PROXY", "http://p"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(proxy(&rules, "http://a.example"), None);
    }
}
