//! What Datadog's variables say: where the agent is, and which tags everything of this process has.

use std::{collections::HashMap, time::Duration};

use crate::{
    BuildError,
    transport::wire::{Address, Datagrams, LocalDatagrams, Post},
};

/// The agent's port unless it is told otherwise.
const PORT: u16 = 8125;

/// The most bytes of a datagram over UDP, so that no network takes it apart, and over a Unix socket.
const UDP: usize = 1432;
const UNIX: usize = 8192;

/// Variables with the tag that each one makes.
const TAGS: &[(&str, &str)] = &[
    ("DD_ENTITY_ID", "dd.internal.entity_id"),
    ("DD_ENV", "env"),
    ("DD_SERVICE", "service"),
    ("DD_VERSION", "version"),
];

/// The variables that count, those of them that are set.
#[derive(Default)]
pub(super) struct Surroundings(pub(super) HashMap<&'static str, String>);

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_process() -> Surroundings {
        let names = TAGS.iter().map(|(name, _)| *name);
        let names = names.chain(["DD_AGENT_HOST", "DD_DOGSTATSD_PORT"]);
        Surroundings(
            names
                .filter_map(|name| Some((name, std::env::var(name).ok()?)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The tags that everything has, without line ends.
    pub(super) fn tags(&self) -> Vec<String> {
        let set = TAGS.iter().filter_map(|(name, tag)| Some((tag, self.get(name)?)));
        set.map(|(tag, value)| format!("{tag}:{}", value.replace('\n', "")))
            .collect()
    }

    /// The agent at `address`, or the one that the variables name, and the most bytes of its datagrams.
    ///
    /// # Errors
    /// There is no address, or it is none.
    pub(super) fn post(&self, address: &str, timeout: Duration) -> Result<(Post, usize), BuildError> {
        let (given, from) = match (address, self.get("DD_AGENT_HOST")) {
            ("", None) => {
                return Err(BuildError::Options(
                    "meta.address is empty and the variable DD_AGENT_HOST is not set – write where the agent listens, \
                     for instance \"localhost:8125\""
                        .to_owned(),
                ));
            }
            ("", Some(host)) => (host, "the variable DD_AGENT_HOST"),
            (address, _) => (address, "meta.address"),
        };
        if let Some(path) = given.strip_prefix("unix://") {
            let local = LocalDatagrams::new(path, timeout)
                .map_err(|error| BuildError::Options(format!("{from} is \"{given}\": {error} – shorten the path")))?;
            return Ok((Post::Local(local), UNIX));
        }
        let found = match address.is_empty() {
            true => self.host(given)?,
            false if given.contains(':') => Address::parse(given),
            false => Some(Address {
                host: given.to_owned(),
                port: PORT,
            }),
        };
        match found {
            Some(address) => Ok((Post::Network(Datagrams::new(address)), UDP)),
            None => Err(BuildError::Options(format!(
                "{from} is \"{given}\", expected host:port, host or unix:///path – write for instance \"localhost:8125\""
            ))),
        }
    }

    /// The agent's host by variable, with the port by variable.
    fn host(&self, host: &str) -> Result<Option<Address>, BuildError> {
        let port = match self.get("DD_DOGSTATSD_PORT") {
            None => PORT,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => {
                    return Err(BuildError::Options(format!(
                        "the variable DD_DOGSTATSD_PORT is \"{port}\", expected a port from 1 to 65535 – write for \
                         instance 8125"
                    )));
                }
            },
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Some(Address { host, port }))
    }
}
