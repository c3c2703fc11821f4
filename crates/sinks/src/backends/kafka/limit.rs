//! How large batches and messages may be, as topics say when they refuse one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use tokio::runtime::Handle;

use super::{Kafka, Shared, State, client::Ear, flight::Failed};
use crate::WriteError;

/// How long the brokers may take to tell the settings of topics.
const PATIENCE: Duration = Duration::from_secs(5);
/// Batches are not made smaller than that.
const SMALLEST: usize = 1000;
/// The setting of a topic.
const SETTING: &str = "max.message.bytes";

/// What is known of limits.
pub(super) struct Limits {
    /// Most bytes of a batch.
    batch: usize,
    /// What topics take; `None`: they do not say.
    topics: BTreeMap<Arc<str>, Option<usize>>,
}

impl Limits {
    pub(super) fn new(batch: usize) -> Limits {
        Limits {
            batch,
            topics: BTreeMap::new(),
        }
    }

    /// Most bytes of a batch.
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// Why a message is refused that is larger than its topic takes: no batch made it so. `None`: it has to be seen alone.
    pub(super) fn refusal(&self, failed: &Failed) -> Option<String> {
        let limit = self.topics.get(&failed.topic).copied().flatten()?;
        (failed.bytes > limit).then(|| self.refusal_alone(failed))
    }

    /// Why a message is refused that was alone in its batch.
    pub(super) fn refusal_alone(&self, failed: &Failed) -> String {
        let Failed { bytes, topic, .. } = failed;
        match self.topics.get(topic).copied().flatten() {
            Some(limit) => {
                format!("the message has {bytes} bytes, and the topic \"{topic}\" takes {limit} ({SETTING})")
            }
            None => format!("the message has {bytes} bytes, more than the topic \"{topic}\" takes ({SETTING})"),
        }
    }

    /// Takes notice that batches were too large; whether they get smaller.
    fn shrink(&mut self, topics: BTreeMap<Arc<str>, Option<usize>>) -> bool {
        let before = self.batch;
        for limit in topics.values() {
            let limit = limit.unwrap_or(before / 2).max(SMALLEST);
            self.batch = self.batch.min(limit);
        }
        self.topics.extend(topics);
        self.batch < before
    }
}

impl Kafka {
    /// Learns from messages that were refused for their size, or for that of their batch; whether it is worth trying them
    /// again together, in smaller batches.
    pub(super) async fn learn(&self, state: &mut State, too_large: &[Failed]) -> Result<bool, WriteError> {
        let mut topics: Vec<Arc<str>> = too_large.iter().map(|failed| failed.topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        let is_known = |topic: &Arc<str>| {
            let limit = state.limits.topics.get(topic).copied().flatten();
            limit.is_some_and(|limit| state.limits.batch <= limit.max(SMALLEST))
        };
        topics.retain(|topic| !is_known(topic));
        if topics.is_empty() {
            return Ok(false);
        }
        let shared = self.shared.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&shared, topics));
        let smaller = state.limits.shrink(asked.await.map_err(WriteError::retry)?);
        if smaller {
            // Batches are a setting of the producer, which holds no messages now.
            let producer = state.producer.take();
            let _ = tokio::task::spawn_blocking(move || drop(producer)).await;
        }
        Ok(smaller)
    }
}

/// What topics take. It blocks.
fn ask(shared: &Shared, topics: Vec<Arc<str>>) -> BTreeMap<Arc<str>, Option<usize>> {
    let admin = shared.factory.make::<AdminClient<Ear>>(SMALLEST).ok();
    let limit = |topic: &str| -> Option<usize> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let about = [ResourceSpecifier::Topic(topic)];
        let answer = Handle::current().block_on(admin.as_ref()?.describe_configs(&about, &options));
        let settings = answer.ok()?.pop()?.ok()?;
        settings.get(SETTING)?.value.as_ref()?.parse().ok()
    };
    topics
        .into_iter()
        .map(|topic| {
            let limit = limit(&topic);
            (topic, limit)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use analytics::{ClaimId, RowId};
    use rdkafka::types::RDKafkaErrorCode;

    use super::*;

    #[test]
    fn a_refusal_names_size_and_limit_and_a_message_within_the_limit_is_tried_alone() {
        let topic: Arc<str> = Arc::from("t");
        let failed = |bytes| Failed {
            row: RowId {
                claim: ClaimId(ulid::Ulid(1)),
                row: 1,
            },
            bytes,
            topic: topic.clone(),
            code: RDKafkaErrorCode::MessageSizeTooLarge,
        };
        let mut limits = Limits::new(100_000);
        assert!(limits.shrink(BTreeMap::from([(topic.clone(), Some(20_000))])));
        assert_eq!(limits.batch(), 20_000);
        assert_eq!(
            limits.refusal(&failed(20_001)).as_deref(),
            Some("the message has 20001 bytes, and the topic \"t\" takes 20000 (max.message.bytes)")
        );
        assert_eq!(limits.refusal(&failed(20_000)), None);
        assert!(!limits.shrink(BTreeMap::from([(topic.clone(), Some(30_000))])));
    }

    #[test]
    fn batches_of_a_topic_that_does_not_say_are_halved_down_to_a_floor() {
        let mut limits = Limits::new(5_000);
        let silent = || BTreeMap::from([(Arc::from("t"), None)]);
        let sizes: Vec<_> = std::iter::from_fn(|| limits.shrink(silent()).then(|| limits.batch())).collect();
        assert_eq!(sizes, [2_500, 1_250, 1_000]);
    }
}
