//! What librdkafka says between messages, and what the codes of brokers mean for a write.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::{WriteError, transport::words};

/// What a code means for the message that got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It, or the batch that it was in, is larger than the topic takes.
    TooLarge,
    /// The broker refuses it for what it is.
    Refused,
    /// Somebody has to change something; what.
    SetUp(&'static str),
    /// It will pass.
    Later,
}

/// What a code means.
pub(super) fn meaning(code: Code) -> Meaning {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => Meaning::TooLarge,
        Code::InvalidRecord | Code::InvalidTimestamp => Meaning::Refused,
        Code::Authentication | Code::SaslAuthenticationFailed => {
            Meaning::SetUp("correct meta.sasl_username and meta.sasl_password, or meta.sasl_mechanism")
        }
        Code::UnsupportedSASLMechanism => {
            Meaning::SetUp("the brokers do not know meta.sasl_mechanism – write one that they offer")
        }
        Code::IllegalSASLState => {
            Meaning::SetUp("this port asks for no login – remove meta.sasl_mechanism, or use the port that does")
        }
        Code::TopicAuthorizationFailed => {
            Meaning::SetUp("the user may not write to this topic – give it the rights Describe and Write")
        }
        Code::ClusterAuthorizationFailed => Meaning::SetUp(
            "the user may not number messages – give it the right IdempotentWrite, or set meta.idempotence to false",
        ),
        Code::InvalidTopic => Meaning::SetUp("the brokers refuse the name of the topic – correct meta.topic"),
        Code::UnsupportedCompressionType => {
            Meaning::SetUp("the brokers do not know meta.compression – write another one")
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature | Code::UnsupportedForMessageFormat => {
            Meaning::SetUp("the brokers are too old – set meta.idempotence to false, or use Kafka 0.11 or later")
        }
        Code::InvalidRequiredAcks => Meaning::SetUp("the brokers refuse meta.acks – write \"all\""),
        Code::PolicyViolation => Meaning::SetUp("a policy of the brokers forbids it – ask who runs them"),
        Code::InvalidConfig => Meaning::SetUp("the brokers refuse the settings – ask who runs them"),
        _ => Meaning::Later,
    }
}

/// What went wrong last between this client and the brokers.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    code: Code,
    /// What may be shown of its text.
    words: String,
    /// What somebody has to change; `None`: it will pass.
    remedy: Option<&'static str>,
    /// Whether it is about a token, of which the library only says that there is none.
    token: bool,
}

/// Words of the library when it gets no token.
const NO_TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token";
const CERTIFICATE: &str = "the brokers' certificate is not accepted, or they do not accept the pump's – name its authority in \
                           meta.ssl_ca_file, or the pump's own certificate in meta.ssl_cert_file and meta.ssl_key_file";

impl Trouble {
    /// What a write makes of it; `doing` is what did not work.
    pub(super) fn error(&self, doing: &str) -> WriteError {
        let mut text = format!("{doing}: {}", self.code);
        if !self.words.is_empty() {
            text = format!("{text}: {}", self.words);
        }
        match self.remedy {
            Some(remedy) => WriteError::Config(format!("{text} – {remedy}").into()),
            None => WriteError::retry(text),
        }
    }

    /// Whether somebody has to change something.
    pub(super) fn is_set_up(&self) -> bool {
        self.remedy.is_some()
    }

    /// Says little beside one that says more.
    fn is_vague(&self) -> bool {
        matches!(self.code, Code::AllBrokersDown | Code::OperationTimedOut)
    }
}

/// Keeps the last trouble until something works.
#[derive(Default)]
pub(super) struct Troubles {
    /// Whether there is one: what works asks often.
    any: AtomicBool,
    last: Mutex<Option<Trouble>>,
}

impl Troubles {
    /// What the library reports.
    pub(super) fn hear(&self, code: Code, reason: &str) {
        let lower = reason.to_ascii_lowercase();
        // Refusals that come after the handshake, as in TLS 1.3, are told as ends of the connection.
        let is_certificate = matches!(code, Code::SSL | Code::BrokerTransportFailure)
            && (lower.contains("certificate") || lower.contains("alert"));
        let code = match code {
            Code::Authentication if lower.contains("sasl state") => Code::IllegalSASLState,
            code => code,
        };
        let trouble = Trouble {
            code,
            words: words::plain(reason),
            remedy: match meaning(code) {
                Meaning::SetUp(remedy) => Some(remedy),
                _ => is_certificate.then_some(CERTIFICATE),
            },
            token: false,
        };
        let mut last = self.last();
        let says_less = trouble.is_vague() || reason.contains(NO_TOKEN) && last.as_ref().is_some_and(|last| last.token);
        if !says_less || last.is_none() {
            *last = Some(trouble);
            self.any.store(true, Ordering::Release);
        }
    }

    /// No token is given.
    pub(super) fn refuse_token(&self, error: &WriteError) {
        *self.last() = Some(Trouble {
            code: Code::Authentication,
            words: error.to_string(),
            remedy: matches!(error, WriteError::Config(_))
                .then_some("correct meta.sasl_oauth_token_url, meta.sasl_username or meta.sasl_password"),
            token: true,
        });
        self.any.store(true, Ordering::Release);
    }

    /// Something works.
    pub(super) fn clear(&self) {
        if self.any.load(Ordering::Acquire) {
            self.any.store(false, Ordering::Release);
            *self.last() = None;
        }
    }

    pub(super) fn get(&self) -> Option<Trouble> {
        self.last().clone()
    }

    fn last(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_more_is_kept_until_something_works() {
        let troubles = Troubles::default();
        troubles.hear(
            Code::Authentication,
            "SASL SCRAM mechanism handshake failed: Authentication failed for alice",
        );
        troubles.hear(Code::AllBrokersDown, "1/1 brokers are down");
        let error = troubles.get().unwrap().error("no broker answers");
        let WriteError::Config(error) = error else {
            panic!("{error}")
        };
        let text = error.to_string();
        assert!(
            text.contains("Authentication failed for …") && text.contains("meta.sasl_password"),
            "{text}"
        );
        assert!(!text.contains("alice"), "{text}");
        troubles.clear();
        assert!(troubles.get().is_none());
        troubles.hear(Code::AllBrokersDown, "");
        assert!(matches!(troubles.get().unwrap().error("x"), WriteError::Retry { .. }));
    }

    #[test]
    fn a_port_without_a_login_is_told_from_a_wrong_password() {
        let troubles = Troubles::default();
        let reason = "SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state";
        troubles.hear(Code::Authentication, reason);
        let error = troubles.get().unwrap().error("x").to_string();
        assert!(error.contains("this port asks for no login"), "{error}");
    }

    #[test]
    fn a_provider_of_tokens_says_more_than_the_library() {
        let troubles = Troubles::default();
        troubles.refuse_token(&WriteError::retry("POST http://id/: 503"));
        troubles.hear(
            Code::Authentication,
            "Failed to acquire SASL OAUTHBEARER token: no token",
        );
        let error = troubles.get().unwrap().error("x");
        assert!(
            matches!(&error, WriteError::Retry { .. }) && error.to_string().contains("503"),
            "{error}"
        );
    }

    #[test]
    fn a_certificate_is_for_somebody_to_mend_and_a_broken_handshake_will_pass() {
        let troubles = Troubles::default();
        troubles.hear(
            Code::SSL,
            "SSL handshake failed: certificate verify failed: broker certificate could not be verified",
        );
        assert!(matches!(troubles.get().unwrap().error("x"), WriteError::Config(_)));
        let required = "SSL receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required";
        troubles.hear(Code::BrokerTransportFailure, required);
        assert!(matches!(troubles.get().unwrap().error("x"), WriteError::Config(_)));
        troubles.hear(Code::SSL, "SSL handshake failed: Disconnected");
        assert!(matches!(troubles.get().unwrap().error("x"), WriteError::Retry { .. }));
    }
}
