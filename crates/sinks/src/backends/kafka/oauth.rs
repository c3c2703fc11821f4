//! Tokens for the mechanism OAUTHBEARER, from a provider of OAuth 2.0 client credentials.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rdkafka::client::OAuthToken;
use serde::Deserialize;
use tokio::runtime::Handle;

use super::options::{Options, wrong};
use crate::{
    BuildError, WriteError,
    transport::{
        http::{self, Endpoint, HttpClient, HttpSettings, Request, Url, header::HeaderValue},
        tls::TlsSettings,
    },
};

/// What a form has in other words; services that do not decode names understand the usual ones all the same.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How long a token is good for whose provider does not say.
const LIFETIME: u64 = 300;

/// Where tokens come from.
pub(super) struct Tokens {
    client: HttpClient,
    url: Url,
    authorization: HeaderValue,
    body: String,
    user: String,
    runtime: Handle,
}

/// What a provider answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    pub(super) fn new(options: &Options, tls: TlsSettings) -> Result<Tokens, BuildError> {
        if options.sasl_oauth_token_url.is_empty() {
            return wrong("meta.sasl_oauth_token_url is missing – write the address that gives tokens".to_owned());
        }
        let endpoint = Endpoint::parse("meta.sasl_oauth_token_url", &options.sasl_oauth_token_url)?;
        let client = HttpClient::new(HttpSettings {
            tls,
            timeout: Duration::from_secs(20),
            secrets: [Some(options.sasl_password.clone()), endpoint.secret]
                .into_iter()
                .flatten()
                .collect(),
            ..HttpSettings::default()
        })?;
        let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let mut body = "grant_type=client_credentials".to_owned();
        if !options.sasl_oauth_scope.is_empty() {
            body.push_str(&format!("&scope={}", encoded(&options.sasl_oauth_scope)));
        }
        Ok(Tokens {
            client,
            url: endpoint.url,
            // Both are encoded as forms are (RFC 6749, 2.3.1).
            authorization: http::basic(&encoded(&options.sasl_username), &encoded(&options.sasl_password)),
            body,
            user: options.sasl_username.clone(),
            runtime: Handle::current(),
        })
    }

    /// Asks for a token. It blocks, on a thread that is no worker.
    pub(super) fn fetch(&self) -> Result<OAuthToken, WriteError> {
        let request = Request::post(self.url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .authorization(Some(&self.authorization))
            .body(self.body.clone());
        let answer = self.runtime.block_on(self.client.send(request))?.accepted()?;
        let Ok(granted) = serde_json::from_slice::<Granted>(&answer.body) else {
            let text = "meta.sasl_oauth_token_url answers without an access_token – correct the address";
            return Err(WriteError::Config(text.into()));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let lifetime = Duration::from_secs(granted.expires_in.unwrap_or(LIFETIME).max(1));
        Ok(OAuthToken {
            principal_name: subject(&granted.access_token).unwrap_or_else(|| self.user.clone()),
            lifetime_ms: i64::try_from((now + lifetime).as_millis()).unwrap_or(i64::MAX),
            token: granted.access_token,
        })
    }
}

/// Whom a token that is a JSON Web Token is made out to.
fn subject(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.get("sub")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whom_it_is_for() {
        let token = format!(
            "{0}.{1}.",
            URL_SAFE_NO_PAD.encode("{}"),
            URL_SAFE_NO_PAD.encode(r#"{"sub":"tyk"}"#)
        );
        assert_eq!(subject(&token).as_deref(), Some("tyk"));
        assert_eq!(subject("opaque"), None);
    }
}
