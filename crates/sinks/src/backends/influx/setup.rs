//! What has to be there before points can be written to InfluxDB 2: the server, the organisation, the bucket.

use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    two::{NewBucket, SPEC},
    writer::address,
};
use crate::{
    BuildError, WriteError,
    encode::go_json,
    transport::http::{Answer, HttpClient, Method, Request, Url},
};

/// A server, and what is to be found there.
pub(super) struct Setup<'a> {
    pub(super) client: &'a HttpClient,
    pub(super) base: &'a Url,
    pub(super) authorization: Option<&'a HeaderValue>,
    pub(super) organization: &'a str,
    pub(super) bucket: &'a str,
    /// How to make the bucket; `None`: it is not made.
    pub(super) create: Option<&'a NewBucket>,
}

/// What is read of answers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Found {
    status: Option<String>,
    orgs: Vec<Item>,
    buckets: Vec<Item>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    id: String,
    #[serde(rename = "orgID")]
    organization: String,
}

fn unavailable(text: String) -> BuildError {
    BuildError::Unavailable(text.into())
}

/// A step, and why it failed.
fn failed(step: &str) -> impl Fn(WriteError) -> BuildError {
    move |error| unavailable(format!("{step}: {error}"))
}

fn read(answer: &Answer) -> Option<Found> {
    serde_json::from_slice(&answer.body).ok()
}

impl Setup<'_> {
    /// Looks everything up, and makes the bucket if that is wanted.
    ///
    /// # Errors
    /// Something is not there yet: the pump asks again.
    pub(super) async fn check(&self, warn: impl Fn(&str)) -> Result<(), BuildError> {
        if !self.is_ready().await? {
            tracing::info!(
                prefix = SPEC.log_prefix,
                "the server has no /ready, as InfluxDB 2 has: it is taken for InfluxDB 3 or 1.8, where neither organisation \
                 nor bucket can be looked up"
            );
            if self.create.is_some() {
                warn("meta.create_missing_bucket has no effect: this server has no way to make buckets");
            }
            return Ok(());
        }
        let organization = self.find_organization().await?;
        if let Some(bucket) = self.create
            && self.make_bucket(&organization, bucket, warn).await?
        {
            return Ok(());
        }
        self.find_bucket(&organization).await
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Answer, WriteError> {
        let url = address(self.base, path, parameters);
        let request = Request::new(Method::GET, url).authorization(self.authorization);
        self.client.send(request).await
    }

    /// `false`: it is no InfluxDB 2.
    async fn is_ready(&self) -> Result<bool, BuildError> {
        let step = "InfluxDB2 server is not ready";
        let answer = self.get("ready", &[]).await.map_err(failed(step))?;
        if answer.status.as_u16() == 404 {
            return Ok(false);
        }
        let answer = answer.accepted().map_err(failed(step))?;
        match read(&answer).and_then(|found| found.status).as_deref() {
            Some("ready") => Ok(true),
            Some("starting") => Err(unavailable(format!("{step}: starting"))),
            _ => Err(unavailable(format!(
                "{step}: {} does not say that it is ready – see whether meta.address is that of an InfluxDB",
                answer.describe()
            ))),
        }
    }

    /// Its id.
    async fn find_organization(&self) -> Result<String, BuildError> {
        let step = "error looking up InfluxDB2 organization";
        let name = self.organization;
        let parameters = [("descending", "false"), ("offset", "0"), ("org", name)];
        let answer = self.get("api/v2/orgs", &parameters).await.map_err(failed(step))?;
        let missing = || {
            let advice = "write the name of one that meta.token may read into meta.organization";
            unavailable(format!("{step}: organization '{name}' not found – {advice}"))
        };
        if answer.status.as_u16() == 404 {
            return Err(missing());
        }
        let answer = answer.accepted().map_err(failed(step))?;
        let found = read(&answer).ok_or_else(|| unavailable(format!("{step}: {} is no list", answer.describe())))?;
        let first = found.orgs.into_iter().next().ok_or_else(missing)?;
        Ok(first.id)
    }

    async fn find_bucket(&self, organization: &str) -> Result<(), BuildError> {
        let step = "error looking up InfluxDB2 bucket";
        let name = self.bucket;
        let answer = self
            .get("api/v2/buckets", &[("name", name)])
            .await
            .map_err(failed(step))?;
        let missing = |advice: &str| unavailable(format!("{step}: bucket '{name}' not found – {advice}"));
        let advice = "make it, or set meta.create_missing_bucket to true";
        if answer.status.as_u16() == 404 {
            return Err(missing(advice));
        }
        let answer = answer.accepted().map_err(failed(step))?;
        let found = read(&answer).ok_or_else(|| unavailable(format!("{step}: {} is no list", answer.describe())))?;
        if found.buckets.is_empty() {
            return Err(missing(advice));
        }
        // Buckets of all organisations that the token may read are found by their names.
        let is_ours = |bucket: &Item| bucket.organization.is_empty() || bucket.organization == organization;
        match found.buckets.iter().any(is_ours) {
            true => Ok(()),
            false => Err(missing("there is one in another organization than meta.organization")),
        }
    }

    /// `false`: it was not made, because it is there or must not be.
    async fn make_bucket(
        &self,
        organization: &str,
        bucket: &NewBucket,
        warn: impl Fn(&str),
    ) -> Result<bool, BuildError> {
        let rules = bucket.retention_rules.iter().map(|rule| {
            json!({
                "everySeconds": rule.every_seconds,
                "shardGroupDurationSeconds": rule.shard_group_duration_seconds,
                "type": if rule.r#type.is_empty() { "expire" } else { rule.r#type.as_str() },
            })
        });
        let rules: Vec<Value> = rules.collect();
        let wanted = json!({
            "description": bucket.description, "name": self.bucket, "orgID": organization, "retentionRules": rules, "rp": "",
        });
        let mut body = Vec::new();
        go_json::write_value(&mut body, &wanted);
        let request = Request::post(address(self.base, "api/v2/buckets", &[]))
            .authorization(self.authorization)
            .header("content-type", "application/json")
            .body(body);
        let sent = self.client.send(request).await;
        let answer = sent.map_err(failed("error creating InfluxDB2 bucket"))?;
        if answer.status.is_success() {
            tracing::info!(prefix = SPEC.log_prefix, "made the bucket \"{}\"", self.bucket);
            return Ok(true);
        }
        // That is how InfluxDB 2 says that there is one.
        if !matches!(answer.status.as_u16(), 409 | 422) {
            warn(&format!(
                "the bucket \"{}\" cannot be made: {}",
                self.bucket,
                answer.describe()
            ));
        }
        Ok(false)
    }
}
