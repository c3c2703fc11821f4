//! The options of `sqs`, and what follows from them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SPEC;
use crate::{
    BuildContext, BuildError,
    transport::aws::{AwsOptions, Keys},
};

/// The most messages that the service takes in a request.
const MOST_MESSAGES: i64 = 10;
/// The longest delay, in seconds.
const LONGEST_DELAY: i64 = 900;
/// Group of the messages on a FIFO queue, which takes none without.
const GROUP: &str = "tyk-pump";

/// Sends every record to a queue of SQS, as the JSON object that the gateway's record is.
///
/// Messages that the queue does not take now are sent again, and no others; a message that it refuses, or that is larger than
/// 1 MiB, becomes a dead letter. On a FIFO queue (its name ends in `.fifo`) messages keep their order, and have deduplication
/// ids that are made from the record's place in Redis: what is sent again within five minutes, after a crash for instance,
/// is there once. On a standard queue the promise is at least once. Without `aws_key` credentials come from the environment, the profile,
/// single sign-on, a web identity, a process, the container or the instance, in the order of AWS's own tools.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "aws_queue_name": "tyk-analytics.fifo",
    "aws_region": "eu-central-1",
    "aws_message_group_id": "tyk",
    "aws_sqs_batch_limit": 10
}))]
pub struct Options {
    /// Name of the queue, or its `https` URL, for pumps that may not ask for it. Required.
    #[schemars(extend("x-env" = "QUEUENAME"))]
    pub aws_queue_name: String,
    /// Region of the queue. Empty: that of `AWS_REGION` or of the profile.
    pub aws_region: String,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub aws: AwsOptions,
    /// Group of the messages. Empty: on a FIFO queue `tyk-pump`, on others none.
    pub aws_message_group_id: String,
    /// Messages have deduplication ids. On FIFO queues they always have; with `compat` only then.
    pub aws_message_id_deduplication_enabled: bool,
    /// Seconds before messages can be received, 900 at most. 0: as the queue says. Without effect on FIFO queues.
    pub aws_delay_seconds: i64,
    /// Messages of a request, from 1 to 10. 0: 10.
    pub aws_sqs_batch_limit: i64,
}

/// What is made of the options.
pub(super) struct Plan {
    pub(super) keys: Option<Keys>,
    pub(super) is_fifo: bool,
    /// Messages of a request.
    pub(super) batch: usize,
    /// Empty: none.
    pub(super) group: String,
    pub(super) deduplicates: bool,
    pub(super) delay: i64,
}

impl Plan {
    pub(super) fn of(options: &Options, context: &BuildContext) -> Result<Plan, BuildError> {
        let wrong = |text: String| Err(BuildError::Options(text));
        let warn = |text: String| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        if options.aws_queue_name.is_empty() {
            return wrong("meta.aws_queue_name is missing – write the name of the queue".to_owned());
        }
        let keys = options.aws.keys(warn);
        let is_fifo = options.aws_queue_name.ends_with(".fifo");
        let limit = options.aws_sqs_batch_limit;
        let batch = match limit {
            0 => MOST_MESSAGES,
            1..=MOST_MESSAGES => limit,
            _ => {
                warn(format!(
                    "meta.aws_sqs_batch_limit is {limit}: SQS takes from 1 to {MOST_MESSAGES}"
                ));
                MOST_MESSAGES
            }
        };
        let mut delay = options.aws_delay_seconds;
        if !(0..=LONGEST_DELAY).contains(&delay) {
            return wrong(format!(
                "meta.aws_delay_seconds is {delay}, expected seconds from 0 to {LONGEST_DELAY}"
            ));
        }
        if is_fifo && delay != 0 {
            warn(
                "meta.aws_delay_seconds has no effect: on a FIFO queue only the queue itself can have a delay"
                    .to_owned(),
            );
            delay = 0;
        }
        let mut deduplicates = options.aws_message_id_deduplication_enabled;
        if !context.compat {
            if deduplicates && !is_fifo {
                warn("meta.aws_message_id_deduplication_enabled has no effect: only FIFO queues know ids".to_owned());
            }
            deduplicates = is_fifo;
        }
        let mut group = options.aws_message_group_id.clone();
        if group.is_empty() && is_fifo {
            group = GROUP.to_owned();
        }
        Ok(Plan {
            keys,
            is_fifo,
            batch: usize::try_from(batch).unwrap_or(1),
            group,
            deduplicates,
            delay,
        })
    }
}
