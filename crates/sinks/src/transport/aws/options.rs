//! Options that sinks of AWS share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Keys;

/// As whom, and where, a service is called.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AwsOptions {
    /// Access key id. With `aws_secret` it takes the place of all other credentials.
    pub aws_key: String,
    /// Secret access key.
    #[schemars(extend("x-secret" = true))]
    pub aws_secret: String,
    /// Session token of the keys.
    #[schemars(extend("x-secret" = true))]
    pub aws_token: String,
    /// Address of the service. Empty: that of `AWS_ENDPOINT_URL` (with `_KINESIS`, `_SQS` or `_TIMESTREAM_WRITE` for one
    /// service alone), or the region's own.
    pub aws_endpoint: String,
}

impl AwsOptions {
    /// The keys, if there are both; `warn` hears of one that is alone.
    pub(crate) fn keys(&self, warn: impl Fn(String)) -> Option<Keys> {
        match (self.aws_key.is_empty(), self.aws_secret.is_empty()) {
            (false, false) => Some(Keys {
                id: self.aws_key.clone(),
                secret: self.aws_secret.clone(),
                token: self.aws_token.clone(),
            }),
            (true, true) => None,
            (is_missing, _) => {
                let missing = if is_missing { "aws_key" } else { "aws_secret" };
                warn(format!("meta.{missing} is missing, so the other has no effect"));
                None
            }
        }
    }
}
