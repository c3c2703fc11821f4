//! Services of AWS: signed JSON calls over the one HTTP client.
//!
//! A sink makes one [`Service`] when it is built and keeps it. Where it is, and as whom it is called, comes from the sink's
//! options, and what they leave open from where every tool of AWS has it: environment, profiles, single sign-on, web
//! identity, container, instance (see [`credentials`]).

mod courier;
mod credentials;
mod failure;
mod options;
mod outboxes;
mod profile;

use std::{future::Future, thread};

use bytes::Bytes;
use reqsign_aws_v4::RequestSigner;
use reqsign_core::{Context, Env, OsEnv, SignRequest, hash::hex_sha256};

use self::{courier::Courier, credentials::Credentials, profile::Profiles};
pub(crate) use self::{
    credentials::Keys,
    failure::{Failure, Kind, entry_words, kind_of},
    options::AwsOptions,
    outboxes::Outboxes,
};
use super::http::{Endpoint, HttpClient, HttpSettings, Request, Url};
use crate::{BuildError, WriteError};

/// What is known about a service.
#[derive(Debug)]
pub(crate) struct Api {
    /// Its name in signatures.
    pub(crate) name: &'static str,
    /// What precedes the region in its host name.
    pub(crate) host: &'static str,
    /// What follows `AWS_ENDPOINT_URL_` in the name of the variable with its address.
    pub(crate) variable: &'static str,
    /// What precedes the operation in `X-Amz-Target`.
    pub(crate) target: &'static str,
    /// `Content-Type` of requests.
    pub(crate) content_type: &'static str,
}

/// What a sink's options say of a service; each with its name in `meta` for error texts.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    /// Region; empty: that of the environment or the profile.
    pub(crate) region: (&'static str, &'a str),
    /// Address; empty: that of the environment, or the service's own.
    pub(crate) endpoint: (&'static str, &'a str),
    /// Keys, instead of all other ways to get some.
    pub(crate) keys: Option<Keys>,
}

/// Waits for what looks at this machine alone, for `tyk-pump check`, which may or may not run on a runtime.
pub(crate) fn look<T: Send>(at: impl Future<Output = Result<T, BuildError>> + Send) -> Result<T, BuildError> {
    let log = tracing::dispatcher::get_default(Clone::clone);
    let failed = |why: &dyn std::fmt::Display| BuildError::Unavailable(format!("cannot be looked at: {why}").into());
    let looked = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let _log = tracing::dispatcher::set_default(&log);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| failed(&error))?.block_on(at)
        });
        looking.join()
    });
    looked.unwrap_or_else(|_| Err(failed(&"its thread has ended")))
}

/// A service in a region.
#[derive(Debug)]
pub(crate) struct Service {
    api: &'static Api,
    url: Url,
    /// Whether the options, the environment or the profile name the address.
    is_given: bool,
    client: HttpClient,
    context: Context,
    credentials: Credentials,
    signer: RequestSigner,
}

impl Service {
    /// Contacts nobody.
    ///
    /// # Errors
    /// There is no region, or an address is no URL.
    pub(crate) async fn new(api: &'static Api, settings: Settings<'_>) -> Result<Service, BuildError> {
        Service::with_environment(api, settings, OsEnv).await
    }

    async fn with_environment(
        api: &'static Api,
        settings: Settings<'_>,
        environment: impl Env,
    ) -> Result<Service, BuildError> {
        let courier = Courier::new(&environment)?;
        let context = Context::new()
            .with_env(environment)
            .with_file_read(courier.clone())
            .with_command_execute(courier.clone())
            .with_http_send(courier.clone());
        let profiles = Profiles::read(&context).await;
        let region = region(&context, &profiles, &settings)?;
        let given = given_address(api, &context, &profiles, &settings)?;
        let is_given = given.is_some();
        let url = match given {
            Some(url) => url,
            None => own_address(api, &context, &region)?,
        };
        let secrets = settings.keys.iter().flat_map(Keys::secrets).collect();
        let client = HttpClient::new(HttpSettings {
            secrets,
            ..HttpSettings::default()
        })?;
        Ok(Service {
            api,
            url,
            is_given,
            client,
            credentials: Credentials::new(context.clone(), courier, region.clone(), settings.keys),
            context,
            signer: RequestSigner::new(api.name, &region),
        })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether somebody has said where it is, so that the service itself is not asked.
    pub(crate) fn has_given_address(&self) -> bool {
        self.is_given
    }

    /// Calls an operation; the body of its answer, or what the service says against it.
    ///
    /// # Errors
    /// There is no answer, or nobody to sign as.
    pub(crate) async fn call(
        &self,
        operation: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<Result<Bytes, Failure>, WriteError> {
        self.call_at(&self.url, operation, body).await
    }

    /// The same, at another address.
    pub(crate) async fn call_at(
        &self,
        url: &Url,
        operation: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<Result<Bytes, Failure>, WriteError> {
        let request = self.signed(url, operation, body.into()).await?;
        let answer = self.client.send(request).await?;
        if answer.status.is_success() && !answer.is_page() {
            return Ok(Ok(answer.body));
        }
        let failure = Failure::new(operation, answer);
        if failure.is_about_identity() {
            // Whoever changes keys must not have to wait until the known ones expire.
            self.credentials.forget().await;
        }
        Ok(Err(failure))
    }

    async fn signed(&self, url: &Url, operation: &'static str, body: Bytes) -> Result<Request, WriteError> {
        let credential = self.credentials.get().await?;
        let unsigned = ::http::Request::post(url.as_str())
            .header("content-type", self.api.content_type)
            .header("x-amz-target", format!("{}.{operation}", self.api.target))
            .header("x-amz-content-sha256", hex_sha256(&body))
            .body(())
            .map_err(|error| WriteError::Config(format!("{operation}: {error}").into()))?;
        let (mut parts, ()) = unsigned.into_parts();
        self.signer
            .sign_request(&self.context, &mut parts, Some(&credential), None)
            .await
            .map_err(|error| {
                WriteError::Config(format!("{operation}: the request cannot be signed: {error}").into())
            })?;
        let mut request = Request::post(url.clone()).body(body);
        for (name, value) in &parts.headers {
            request = request.header_value(name.clone(), value.clone());
        }
        Ok(request)
    }
}

/// The first variable that is set, and not empty.
fn variable(context: &Context, names: &[&str]) -> Option<String> {
    let mut found = names.iter().filter_map(|name| context.env_var(name));
    found.find(|value| !value.is_empty())
}

fn region(context: &Context, profiles: &Profiles, settings: &Settings<'_>) -> Result<String, BuildError> {
    let (option, region) = settings.region;
    let region = Some(region.to_owned())
        .filter(|region| !region.is_empty())
        .or_else(|| variable(context, &["AWS_REGION", "AWS_DEFAULT_REGION"]))
        .or_else(|| profiles.chosen("region"));
    let Some(region) = region else {
        return Err(BuildError::Options(format!(
            "{option} is missing, and there is no region in AWS_REGION or the profile – write for instance \"eu-central-1\""
        )));
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match region.chars().all(is_name) {
        true => Ok(region),
        false => Err(BuildError::Options(format!(
            "{option}: the region \"{region}\" is none – write for instance \"eu-central-1\""
        ))),
    }
}

/// What the options, the environment or the profile say.
fn given_address(
    api: &Api,
    context: &Context,
    profiles: &Profiles,
    settings: &Settings<'_>,
) -> Result<Option<Url>, BuildError> {
    let (option, given) = settings.endpoint;
    if !given.is_empty() {
        return Ok(Some(Endpoint::parse(option, given)?.url));
    }
    if is_on(context, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
        return Ok(None);
    }
    let own = format!("AWS_ENDPOINT_URL_{}", api.variable);
    for name in [own.as_str(), "AWS_ENDPOINT_URL"] {
        if let Some(url) = variable(context, &[name]) {
            return Ok(Some(Endpoint::parse(name, &url)?.url));
        }
    }
    match profiles.chosen("endpoint_url") {
        Some(url) => Ok(Some(Endpoint::parse("endpoint_url of the profile", &url)?.url)),
        None => Ok(None),
    }
}

/// The service's own address in a region.
fn own_address(api: &Api, context: &Context, region: &str) -> Result<Url, BuildError> {
    let domain = match region {
        region if region.starts_with("cn-") => "amazonaws.com.cn",
        region if region.starts_with("eusc-") => "amazonaws.eu",
        region if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        region if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ => "amazonaws.com",
    };
    let fips = if is_on(context, "AWS_USE_FIPS_ENDPOINT") {
        "-fips"
    } else {
        ""
    };
    Ok(Endpoint::parse("region", &format!("https://{}{fips}.{region}.{domain}", api.host))?.url)
}

fn is_on(context: &Context, name: &str) -> bool {
    variable(context, &[name]).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests;
