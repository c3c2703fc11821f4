//! The connection to MDCB: pools, logins, calls.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gorpc::{Address, CallError, Client, ClientOptions, Tls, gob::Basic};

use super::{Options, SPEC};
use crate::{
    BuildError, WriteError,
    encode::uuid,
    tls::{self, TlsVersion},
};

/// Attempts at the start, and the waits between them before they are spread.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(750),
    Duration::from_millis(1125),
];
/// Connections when nothing is said.
const CONNECTIONS: usize = 5;
/// Seconds when nothing is said.
const TIMEOUT: u64 = 10;

/// One pump's pool of connections, made anew when a login fails for another reason than the key.
pub(super) struct Link {
    address: Address,
    connections: usize,
    timeout: Duration,
    tls: Option<Tls>,
    api_key: Bytes,
    pump: Arc<str>,
    client: Mutex<Option<Arc<Client>>>,
    closed: AtomicBool,
}

/// On the way to a session.
#[derive(Clone, Copy)]
enum Step {
    Connect,
    LogIn,
}

/// Why there is no session.
enum Trouble {
    /// The server says no.
    Refused,
    Call(CallError),
    /// The answer makes no sense.
    Odd(String),
}

impl Link {
    pub(super) fn new(options: &Options, pump: &Arc<str>) -> Result<Link, BuildError> {
        let wrong = BuildError::Options;
        let given = options.connection_string.as_str();
        if given.is_empty() {
            return Err(wrong(
                "empty connection_string – set meta.connection_string to host:port of MDCB".to_owned(),
            ));
        }
        let address: Address = given
            .parse()
            .map_err(|error| wrong(format!("meta.connection_string {error}, as in mdcb.example.com:9091")))?;
        Ok(Link {
            connections: match options.rpc_pool_size {
                0 => CONNECTIONS,
                size => usize::try_from(size).unwrap_or(1),
            },
            timeout: Duration::from_secs(match u64::try_from(options.call_timeout) {
                Ok(0) => TIMEOUT,
                Ok(seconds) => seconds,
                Err(_) => {
                    tracing::warn!(
                        prefix = SPEC.log_prefix, %pump,
                        "meta.call_timeout is negative: {TIMEOUT} s are used – write seconds, from 1 up"
                    );
                    TIMEOUT
                }
            }),
            tls: match options.use_ssl {
                false => None,
                true => Some(client_tls(options, &address, pump)?),
            },
            address,
            api_key: Bytes::from(options.api_key.clone()),
            pump: pump.clone(),
            client: Mutex::new(None),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Connects and logs in, four attempts each.
    pub(super) async fn open(&self) -> Result<(), BuildError> {
        for step in [Step::Connect, Step::LogIn] {
            if let Err(trouble) = self.persist(step).await {
                self.drop_client().await;
                return Err(BuildError::Unavailable(self.explain(&trouble).into()));
            }
        }
        Ok(())
    }

    async fn persist(&self, step: Step) -> Result<(), Trouble> {
        for pause in PAUSES {
            let Err(trouble) = self.take(step).await else {
                return Ok(());
            };
            let what = match step {
                Step::Connect => "connect to",
                Step::LogIn => "log in to",
            };
            tracing::error!(
                prefix = SPEC.log_prefix, pump = %self.pump,
                "cannot {what} MDCB at {}, trying again: {}", self.address, self.explain(&trouble)
            );
            tokio::time::sleep(spread(pause)).await;
        }
        self.take(step).await
    }

    async fn take(&self, step: Step) -> Result<(), Trouble> {
        match step {
            Step::Connect => self.connect().await,
            Step::LogIn => self.login().await,
        }
    }

    /// Makes the session that a write needs: logs in, and when that fails connects anew, once.
    pub(super) async fn log_in(&self) -> Result<(), WriteError> {
        let trouble = match self.login().await {
            Ok(()) => return Ok(()),
            Err(Trouble::Refused) => Trouble::Refused,
            Err(trouble) => {
                tracing::warn!(
                    prefix = SPEC.log_prefix, pump = %self.pump,
                    "connecting to MDCB at {} anew: {}", self.address, self.explain(&trouble)
                );
                match self.start_anew().await {
                    Ok(()) => return Ok(()),
                    Err(trouble) => trouble,
                }
            }
        };
        let text = self.explain(&trouble);
        match trouble {
            Trouble::Refused => Err(WriteError::Config(text.into())),
            Trouble::Call(_) | Trouble::Odd(_) => {
                self.drop_client().await;
                Err(WriteError::retry(text))
            }
        }
    }

    async fn start_anew(&self) -> Result<(), Trouble> {
        self.connect().await?;
        self.login().await
    }

    /// Calls a function that returns nothing.
    pub(super) async fn call(&self, function: &str, argument: Bytes) -> Result<Option<Basic>, CallError> {
        let client = self.client().clone();
        match client {
            Some(client) => client.call(function, Some(Basic::Text(argument)), self.timeout).await,
            None => Err(self.no_client(function)),
        }
    }

    /// Ends every connection, for good.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.drop_client().await;
    }

    /// A new pool in place of the old one, and a sign of life from the other side.
    async fn connect(&self) -> Result<(), Trouble> {
        self.drop_client().await;
        if self.closed.load(Ordering::Acquire) {
            return Err(Trouble::Call(self.no_client(".Ping")));
        }
        let client = Arc::new(Client::start(ClientOptions {
            address: self.address.clone(),
            connections: self.connections,
            pool: pool_id().into(),
            compressed: true,
            dial_timeout: self.timeout,
            tls: self.tls.clone(),
        }));
        *self.client() = Some(client.clone());
        // What it answers does not matter.
        client.call(".Ping", None, self.timeout).await.map_err(Trouble::Call)?;
        Ok(())
    }

    async fn login(&self) -> Result<(), Trouble> {
        let client = self.client().clone();
        let Some(client) = client else {
            return Err(Trouble::Call(self.no_client(".Login")));
        };
        let key = Basic::Text(self.api_key.clone());
        match client.call(".Login", Some(key), self.timeout).await {
            Ok(Some(Basic::Bool(true))) => Ok(()),
            Ok(Some(Basic::Bool(false))) => Err(Trouble::Refused),
            Ok(other) => {
                let kind = other.as_ref().map_or("nothing", Basic::type_name);
                let text = format!("answers the login with {kind} instead of a bool – is it an MDCB?");
                Err(Trouble::Odd(text))
            }
            Err(error) => Err(Trouble::Call(error)),
        }
    }

    fn client(&self) -> MutexGuard<'_, Option<Arc<Client>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drop_client(&self) {
        let client = self.client().take();
        if let Some(client) = client {
            client.stop().await;
        }
    }

    fn no_client(&self, function: &str) -> CallError {
        CallError::Stopped {
            name: function.to_owned(),
            address: self.address.clone(),
        }
    }

    /// What happened and what can be done about it.
    fn explain(&self, trouble: &Trouble) -> String {
        let address = &self.address;
        match trouble {
            Trouble::Refused => format!(
                "RPC login incorrect: MDCB at {address} refuses meta.api_key – set it to the API access credentials of a \
                 Dashboard user of your organisation, and see whether MDCB's licence is valid"
            ),
            Trouble::Odd(text) => format!("the server at {address} {text}"),
            Trouble::Call(error) if error.was_answered() => error.to_string(),
            Trouble::Call(error) => format!("{error} – see whether MDCB is reachable there and meta.use_ssl fits it"),
        }
    }
}

fn client_tls(options: &Options, address: &Address, pump: &Arc<str>) -> Result<Tls, BuildError> {
    let wrong = BuildError::Options;
    let mut settings = options.ssl.settings(
        &options.ssl_server_name,
        |text| tracing::warn!(prefix = SPEC.log_prefix, %pump, "{text}"),
    );
    let oldest = version("ssl_min_version", &options.ssl_min_version)?;
    let newest = version("ssl_max_version", &options.ssl_max_version)?;
    if oldest > newest {
        return Err(wrong(
            "meta.ssl_min_version is above meta.ssl_max_version – exchange them".to_owned(),
        ));
    }
    settings.versions = oldest..=newest;
    let config = tls::client_config(&settings).map_err(|error| wrong(format!("meta: {error}")))?;
    let server_name = settings
        .name_for(&address.host)
        .map_err(|error| wrong(format!("{error} – set meta.ssl_server_name")))?;
    Ok(Tls {
        config: Arc::new(config),
        server_name,
    })
}

fn version(option: &str, text: &str) -> Result<TlsVersion, BuildError> {
    match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        other => Err(BuildError::Options(format!(
            "meta.{option} is \"{other}\" – write \"1.2\" or \"1.3\""
        ))),
    }
}

/// A random UUID in its usual form.
fn pool_id() -> String {
    let random = ulid::Ulid::new().random() << 64 | ulid::Ulid::new().random() & u128::from(u64::MAX);
    uuid::text(uuid::version_4(random))
}

/// Half to one and a half times as long, so that pumps that lost the same server do not come back together.
fn spread(pause: Duration) -> Duration {
    let share = (ulid::Ulid::new().random() % 1000) as u32;
    pause / 2 + pause * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_ids_are_random_uuids() {
        let (one, other) = (pool_id(), pool_id());
        assert_ne!(one, other);
        for id in [one, other] {
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(
                parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
                [8, 4, 4, 4, 12],
                "{id}"
            );
            assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]), "{id}");
        }
    }

    #[test]
    fn pauses_are_spread_by_half() {
        for _ in 0..100 {
            let pause = spread(Duration::from_secs(1));
            assert!((500..1500).contains(&pause.as_millis()), "{pause:?}");
        }
    }
}
