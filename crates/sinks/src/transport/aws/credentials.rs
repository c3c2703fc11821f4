//! As whom a service is called.
//!
//! The order is that of AWS's own tools: keys of the options; `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; a web identity
//! (`AWS_WEB_IDENTITY_TOKEN_FILE`, as in EKS); the profile (a role over another profile or over a web identity, keys, single
//! sign-on, a process); the container's credentials (ECS, EKS Pod Identity); the instance's (IMDSv2). What is configured and
//! fails is an error: another identity must not take its place.

use futures::{FutureExt, future::BoxFuture};
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider,
    EnvCredentialProvider, IMDSv2CredentialProvider, ProcessCredentialProvider, RequestSigner, SSOCredentialProvider,
    StaticCredentialProvider,
};
use reqsign_core::{Context, ProvideCredential, Signer, SigningCredential, time::Timestamp};
use tokio::sync::Mutex;

use super::{courier::Courier, profile::Profiles, variable};
use crate::{WriteError, transport::words::plain};

/// Name of sessions that the pump opens with a role, as the logs of AWS show it.
const SESSION: &str = "tyk-pump";
/// Profiles that may stand behind each other.
const DEEPEST: usize = 5;

/// Keys that are written down.
#[derive(Clone)]
pub(crate) struct Keys {
    /// Access key id.
    pub(crate) id: String,
    /// Secret access key.
    pub(crate) secret: String,
    /// Session token; may be empty.
    pub(crate) token: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// What no error may show.
    pub(super) fn secrets(&self) -> [String; 2] {
        [self.secret.clone(), self.token.clone()]
    }

    fn credential(&self) -> Credential {
        Credential {
            access_key_id: self.id.clone(),
            secret_access_key: self.secret.clone(),
            session_token: Some(self.token.clone()).filter(|token| !token.is_empty()),
            expires_in: None,
        }
    }
}

/// Finds credentials, and keeps them until shortly before they expire.
#[derive(Debug)]
pub(super) struct Credentials {
    context: Context,
    courier: Courier,
    region: String,
    keys: Option<Keys>,
    known: Mutex<Option<Credential>>,
}

/// What was found in one place; `None`: nothing is configured there.
type Found = Result<Option<Credential>, WriteError>;

impl Credentials {
    pub(super) fn new(context: Context, courier: Courier, region: String, keys: Option<Keys>) -> Credentials {
        Credentials {
            context,
            courier,
            region,
            keys,
            known: Mutex::new(None),
        }
    }

    /// Those that are known are not good any more.
    pub(super) async fn forget(&self) {
        *self.known.lock().await = None;
    }

    /// # Errors
    /// `Config`: there are none, or what is configured fails; `Retry`: whoever has them does not answer.
    pub(super) async fn get(&self) -> Result<Credential, WriteError> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.is_valid()) {
            return Ok(known.clone());
        }
        match self.find().await {
            Ok(found) => {
                *known = Some(found.clone());
                Ok(found)
            }
            // They are renewed some time before they have to be.
            Err(error) => match known.as_ref() {
                Some(known) if known.is_valid_at(Timestamp::now() + std::time::Duration::from_secs(10)) => {
                    Ok(known.clone())
                }
                _ => Err(error),
            },
        }
    }

    async fn find(&self) -> Result<Credential, WriteError> {
        if let Some(keys) = &self.keys {
            return Ok(keys.credential());
        }
        if self.has(&["AWS_ACCESS_KEY_ID"]) && self.has(&["AWS_SECRET_ACCESS_KEY"]) {
            let found = self.ask(
                EnvCredentialProvider::new(),
                "the environment",
                "correct AWS_ACCESS_KEY_ID",
            );
            if let Some(found) = found.await? {
                return Ok(found);
            }
        }
        if self.has(&["AWS_WEB_IDENTITY_TOKEN_FILE"]) && self.has(&["AWS_ROLE_ARN"]) {
            let provider = self.identity(AssumeRoleWithWebIdentityCredentialProvider::new());
            if let Some(found) = self.web_identity(provider).await? {
                return Ok(found);
            }
        }
        let profiles = Profiles::read(&self.context).await;
        if let Some(found) = self.of_profile(&profiles, profiles.name(), 0).await? {
            return Ok(found);
        }
        if self.has(&[
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        ]) && let Some(found) = self.container().await?
        {
            return Ok(found);
        }
        let is_off = variable(&self.context, &["AWS_EC2_METADATA_DISABLED"]);
        let missing = match is_off.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            true => "the instance is not asked (AWS_EC2_METADATA_DISABLED)".to_owned(),
            false => match self.instance().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => "the instance has none".to_owned(),
                Err(error) => error.to_string(),
            },
        };
        Err(WriteError::Config(
            format!(
                "there are no AWS credentials: none in the options, the environment, the profile \"{}\" and the container; \
                 {missing} – give the pump a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                profiles.name()
            )
            .into(),
        ))
    }

    fn has(&self, names: &[&str]) -> bool {
        variable(&self.context, names).is_some()
    }

    async fn ask(&self, provider: impl ProvideCredential<Credential = Credential>, place: &str, remedy: &str) -> Found {
        // Of an earlier search.
        let _ = self.courier.take_trouble();
        let error = match provider.provide_credential(&self.context).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let (text, passing) = match self.courier.take_trouble() {
            Some((text, passing)) => (text, passing || error.is_retryable()),
            None => (
                format!("{}: {}", error.kind(), plain(&error.to_string())),
                error.is_retryable(),
            ),
        };
        let text = format!("AWS credentials of {place}: {text} – {remedy}");
        match passing {
            true => Err(WriteError::retry(text)),
            false => Err(WriteError::Config(text.into())),
        }
    }

    fn identity(
        &self,
        provider: AssumeRoleWithWebIdentityCredentialProvider,
    ) -> AssumeRoleWithWebIdentityCredentialProvider {
        let session = variable(&self.context, &["AWS_ROLE_SESSION_NAME"]).unwrap_or_else(|| SESSION.to_owned());
        provider
            .with_role_session_name(session)
            .with_region(self.region.clone())
            .with_regional_sts_endpoint()
    }

    async fn web_identity(&self, provider: AssumeRoleWithWebIdentityCredentialProvider) -> Found {
        let remedy = "check the role's trust in the identity provider, and the token's file";
        self.ask(provider, "the web identity", remedy).await
    }

    async fn container(&self) -> Found {
        let remedy = "check the role of the task or the pod";
        self.ask(ECSCredentialProvider::new(), "the container", remedy).await
    }

    async fn instance(&self) -> Found {
        let remedy = "check the instance's role and the hop limit of its metadata";
        self.ask(IMDSv2CredentialProvider::new(), "the instance", remedy).await
    }

    /// Those of a profile, `depth` profiles behind the chosen one.
    fn of_profile<'a>(&'a self, profiles: &'a Profiles, name: &'a str, depth: usize) -> BoxFuture<'a, Found> {
        async move {
            let get = |key: &str| profiles.get(name, key);
            let wrong = |what: &str| {
                let text = format!("AWS credentials of the profile \"{name}\": {what}");
                Err(WriteError::Config(text.into()))
            };
            if depth > 0 && !profiles.has(name) {
                return wrong("there is no such profile – correct source_profile");
            }
            if depth > DEEPEST {
                return wrong("too many profiles behind each other – correct source_profile");
            }
            let own = (get("aws_access_key_id"), get("aws_secret_access_key"));
            // A profile may be the source of its own role.
            let is_own_source = depth > 0 && own.0.is_some();
            if let (Some(role), false) = (get("role_arn"), is_own_source) {
                if let Some(file) = get("web_identity_token_file") {
                    let provider = AssumeRoleWithWebIdentityCredentialProvider::with_config(role, file.into());
                    return self.web_identity(self.identity(provider)).await;
                }
                let source = match (get("source_profile"), get("credential_source").as_deref()) {
                    (Some(source), _) => self.of_profile(profiles, &source, depth + 1).await?,
                    (None, Some("Environment")) => {
                        self.ask(EnvCredentialProvider::new(), "the environment", "set AWS_ACCESS_KEY_ID")
                            .await?
                    }
                    (None, Some("EcsContainer")) => self.container().await?,
                    (None, Some("Ec2InstanceMetadata")) => self.instance().await?,
                    (None, _) => return wrong("role_arn without a source – write source_profile or credential_source"),
                };
                let Some(source) = source else {
                    return wrong("there is nothing behind its role_arn – correct its source");
                };
                return self
                    .role(role, &source, get("external_id"), get("role_session_name"))
                    .await;
            }
            if let (Some(id), Some(secret)) = own {
                let token = get("aws_session_token").unwrap_or_default();
                return Ok(Some(Keys { id, secret, token }.credential()));
            }
            if let (Some(account), Some(role)) = (get("sso_account_id"), get("sso_role_name")) {
                let session = get("sso_session");
                let of_session = |key: &str| session.as_ref().and_then(|session| profiles.session(session, key));
                // The token's file is named after the session, or without one after the start page.
                let named_after = session.clone().or_else(|| get("sso_start_url"));
                let region = of_session("sso_region").or_else(|| get("sso_region"));
                let (Some(named_after), Some(region)) = (named_after, region) else {
                    return wrong("sso_account_id without sso_session, or without sso_start_url and sso_region");
                };
                let provider = SSOCredentialProvider::new()
                    .with_account_id(account)
                    .with_role_name(role)
                    .with_region(region)
                    .with_start_url(named_after);
                return self.ask(provider, "single sign-on", "run: aws sso login").await;
            }
            if let Some(command) = get("credential_process") {
                let provider = ProcessCredentialProvider::new().with_command(command);
                return self
                    .ask(provider, "the process of the profile", "run credential_process by hand")
                    .await;
            }
            Ok(None)
        }
        .boxed()
    }

    async fn role(&self, role: String, source: &Credential, id: Option<String>, session: Option<String>) -> Found {
        let mut keys = StaticCredentialProvider::new(&source.access_key_id, &source.secret_access_key);
        if let Some(token) = &source.session_token {
            keys = keys.with_session_token(token);
        }
        let signer = Signer::new(self.context.clone(), keys, RequestSigner::new("sts", &self.region));
        let mut provider = AssumeRoleCredentialProvider::new(role, signer)
            .with_region(self.region.clone())
            .with_regional_sts_endpoint()
            .with_role_session_name(session.unwrap_or_else(|| SESSION.to_owned()));
        if let Some(id) = id {
            provider = provider.with_external_id(id);
        }
        self.ask(
            provider,
            "the role of the profile",
            "check that its source may sts:AssumeRole",
        )
        .await
    }
}
