//! The client library: its settings, and what it calls back.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    message::DeliveryResult,
    producer::{ProducerContext, ThreadedProducer},
};

use super::{
    SPEC,
    flight::Message,
    oauth::Tokens,
    options::{Acks, Mechanism, Options, wrong},
    trouble::Troubles,
};
use crate::{
    BuildContext, BuildError, WriteError,
    transport::tls::{self, TlsError, TlsSettings},
};

/// How long the library repeats a message by itself. What is repeated for longer is told to the lane, which says so.
const DELIVERY: Duration = Duration::from_secs(30);

/// A producer with a thread of its own for what it hears.
pub(super) type Producer = ThreadedProducer<Ear>;

/// Makes producers.
pub(super) struct Factory {
    config: ClientConfig,
    troubles: Arc<Troubles>,
    tokens: Option<Arc<Tokens>>,
}

impl Factory {
    pub(super) fn new(options: &Options, context: &BuildContext, warn: impl Fn(&str)) -> Result<Factory, BuildError> {
        let mut config = ClientConfig::new();
        let mechanism = options.mechanism(context.compat, &warn)?;
        config
            .set("bootstrap.servers", options.brokers()?)
            .set("client.id", client_id(&options.client_id))
            .set("security.protocol", protocol(options.use_ssl, mechanism))
            .set("compression.codec", options.codec()?)
            // A group is handed over within milliseconds.
            .set("linger.ms", "2")
            .set("message.timeout.ms", DELIVERY.as_millis().to_string())
            .set("partitioner", "murmur2_random")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true");
        limits(&mut config, options)?;
        let acks = options.acks()?;
        let idempotence = options.idempotence && acks == Acks::All;
        config
            .set("enable.idempotence", idempotence.to_string())
            .set("acks", acks.name());
        let tls = options.ssl.settings("", |text| {
            if options.use_ssl {
                warn(text);
            }
        });
        if options.use_ssl {
            encrypt(&mut config, &tls).map_err(|error| {
                BuildError::Options(format!("failed to initialize Kafka pump SSL configuration: {error}"))
            })?;
        }
        let mut tokens = None;
        if let Some(mechanism) = mechanism {
            config.set("sasl.mechanisms", mechanism.name());
            if !options.use_ssl {
                warn("meta.sasl_mechanism without meta.use_ssl: the login can be read on the way – set meta.use_ssl");
            }
            if mechanism == Mechanism::OauthBearer {
                // Of the provider other authorities may be trusted than of the brokers, but seldom fewer.
                tokens = Some(Arc::new(Tokens::new(options, TlsSettings::default())?));
            } else {
                config
                    .set("sasl.username", &options.sasl_username)
                    .set("sasl.password", &options.sasl_password);
            }
        }
        Ok(Factory {
            config,
            troubles: Arc::default(),
            tokens,
        })
    }

    /// What goes wrong with any of its producers.
    pub(super) fn troubles(&self) -> &Arc<Troubles> {
        &self.troubles
    }

    /// The same for clients that know nobody whom they could contact.
    pub(super) fn without_brokers(mut self) -> Self {
        self.config.remove("bootstrap.servers");
        self
    }

    /// A client whose batches have at most so many bytes. It connects by itself, later.
    pub(super) fn make<T: FromClientConfigAndContext<Ear>>(&self, batch_bytes: usize) -> Result<T, BuildError> {
        let mut config = self.config.clone();
        config.set("batch.size", batch_bytes.to_string());
        let ear = Ear {
            troubles: self.troubles.clone(),
            tokens: self.tokens.clone(),
        };
        T::from_config_and_context(&config, ear).or_else(|error| match error {
            // The value may be a secret.
            KafkaError::ClientConfig(_, what, key, _) => wrong(format!("librdkafka refuses its setting {key}: {what}")),
            KafkaError::Nul(_) => wrong("an option of meta has a zero byte – remove it".to_owned()),
            error => wrong(format!("librdkafka refuses its settings: {error}")),
        })
    }
}

/// What bounds batches, messages and waiting.
fn limits(config: &mut ClientConfig, options: &Options) -> Result<(), BuildError> {
    // The sink itself refuses messages beyond batch_bytes; here is room for keys, headers and the frame of a batch.
    let longest = (options.batch_bytes(|_| {})? + (1 << 16)).min(1_000_000_000);
    config.set("message.max.bytes", longest.to_string());
    if let Some(timeout) = options.timeout()? {
        let millis = timeout.as_millis();
        config
            .set(
                "socket.connection.setup.timeout.ms",
                millis.clamp(1_000, 2_147_483_647).to_string(),
            )
            .set("socket.timeout.ms", millis.clamp(1_000, 300_000).to_string())
            .set("request.timeout.ms", millis.clamp(1_000, 900_000).to_string())
            .set(
                "message.timeout.ms",
                (2 * millis).clamp(DELIVERY.as_millis(), 600_000).to_string(),
            );
    } else {
        config.set("request.timeout.ms", "10000");
    }
    Ok(())
}

fn protocol(use_ssl: bool, mechanism: Option<Mechanism>) -> &'static str {
    match (use_ssl, mechanism) {
        (false, None) => "plaintext",
        (true, None) => "ssl",
        (false, Some(_)) => "sasl_plaintext",
        (true, Some(_)) => "sasl_ssl",
    }
}

/// TLS as [`tls::client_config`] has it, which checks the files and says what is wrong with them.
fn encrypt(config: &mut ClientConfig, settings: &TlsSettings) -> Result<(), TlsError> {
    tls::client_config(settings)?;
    match settings.verification {
        tls::Verification::None => config.set("enable.ssl.certificate.verification", "false"),
        _ => config.set("ssl.ca.pem", tls::authorities_pem(settings)?),
    };
    if let Some(identity) = &settings.identity {
        config
            .set("ssl.certificate.location", identity.certificate.path.to_string_lossy())
            .set("ssl.key.location", identity.key.path.to_string_lossy());
    }
    Ok(())
}

fn client_id(given: &str) -> String {
    if !given.is_empty() {
        return given.to_owned();
    }
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("tyk-pump@{host} (librdkafka)")
}

/// What the library calls back, on threads of its own.
pub(super) struct Ear {
    troubles: Arc<Troubles>,
    tokens: Option<Arc<Tokens>>,
}

impl ClientContext for Ear {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// Its lines repeat what [`ClientContext::error`] hears, with texts of brokers in them.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, _text: &str) {
        tracing::debug!(prefix = SPEC.log_prefix, "librdkafka: {facility}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.troubles.hear(code, reason);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let Some(tokens) = &self.tokens else {
            return Err("no login with tokens is configured".into());
        };
        tokens.fetch().map_err(|error| {
            self.troubles.refuse_token(&error);
            "no token".into()
        })
    }
}

impl ProducerContext for Ear {
    type DeliveryOpaque = Box<Message>;

    fn delivery(&self, result: &DeliveryResult<'_>, message: Box<Message>) {
        match result {
            Ok(_) => {
                self.troubles.clear();
                message.delivered();
            }
            Err((error, _)) => message.failed(
                error
                    .rdkafka_error_code()
                    .unwrap_or(rdkafka::types::RDKafkaErrorCode::Unknown),
            ),
        }
    }
}

/// What a library's error means when there is nothing better to say.
pub(super) fn failure(doing: &str, error: &KafkaError) -> WriteError {
    WriteError::retry(match error.rdkafka_error_code() {
        Some(code) => format!("{doing}: {code}"),
        None => doing.to_owned(),
    })
}
