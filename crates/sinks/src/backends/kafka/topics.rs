//! What is known of the topics that this pump writes to.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{producer::Producer as _, types::RDKafkaErrorCode as Code};

use super::{
    client::{Producer, failure},
    flight::Flight,
    partitions::Partitions,
    trouble::{Meaning, Troubles, meaning},
};
use crate::WriteError;

/// After which new partitions are noticed.
const FRESH: Duration = Duration::from_secs(60);
/// How long a topic may be missing until it counts as one that nobody makes.
const BEING_MADE: Duration = Duration::from_secs(5);
/// One question: a write that is given up ends it no sooner.
const QUESTION: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

/// The topics by name.
#[derive(Default)]
pub(super) struct Topics(HashMap<Arc<str>, Topic>);

struct Topic {
    partitions: Partitions,
    /// When the brokers last said what partitions it has; `None`: ask again.
    asked: Option<Instant>,
}

/// Whom to ask, and for how long.
pub(super) struct Ask<'a> {
    pub(super) producer: &'a Producer,
    pub(super) troubles: &'a Troubles,
    /// The write on whose behalf it is.
    pub(super) flight: &'a Flight,
    pub(super) patience: Duration,
}

impl Topics {
    /// A topic and its partitions. It blocks while brokers have to be asked.
    pub(super) fn get(&mut self, name: &str, ask: &Ask<'_>) -> Result<(Arc<str>, &mut Partitions), WriteError> {
        let known = self.0.get_key_value(name);
        let is_fresh = |topic: &Topic| topic.asked.is_some_and(|asked| asked.elapsed() < FRESH);
        let (name, count) = match known {
            Some((name, topic)) if is_fresh(topic) => (name.clone(), None),
            Some((name, _)) => (name.clone(), Some(ask.partitions(name)?)),
            None => (Arc::from(name), Some(ask.partitions(name)?)),
        };
        let topic = self.0.entry(name.clone()).or_insert_with(|| Topic {
            partitions: Partitions::default(),
            asked: None,
        });
        if let Some(count) = count {
            topic.partitions.resize(count);
            topic.asked = Some(Instant::now());
        }
        Ok((name, &mut topic.partitions))
    }

    /// Something went wrong: ask again before the next message.
    pub(super) fn doubt(&mut self) {
        for topic in self.0.values_mut() {
            topic.asked = None;
        }
    }
}

impl Ask<'_> {
    /// How many partitions a topic has.
    fn partitions(&self, name: &str) -> Result<usize, WriteError> {
        let began = Instant::now();
        loop {
            if self.flight.is_given_up() {
                return Err(WriteError::retry("the write was given up"));
            }
            let error = match self.producer.client().fetch_metadata(Some(name), QUESTION) {
                Ok(metadata) => {
                    self.troubles.clear();
                    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
                    let count = topic.map_or(0, |topic| topic.partitions().len());
                    let code = topic.and_then(|topic| topic.error()).map(Code::from);
                    let code = match (code, count) {
                        (None, 1..) => return Ok(count),
                        (None, 0) => Code::UnknownTopicOrPartition,
                        (Some(code), _) => code,
                    };
                    unusable(name, code, began.elapsed())?
                }
                Err(error) => {
                    let doing = "no broker of meta.broker answers";
                    match self.troubles.get() {
                        Some(trouble) if trouble.is_set_up() => return Err(trouble.error(doing)),
                        Some(trouble) => trouble.error(doing),
                        None => failure(doing, &error),
                    }
                }
            };
            if began.elapsed() >= self.patience {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// What it means that brokers say this about a topic, for so long. `Err`: waiting will not help; `Ok`: what to say if it does
/// not.
fn unusable(topic: &str, code: Code, since: Duration) -> Result<WriteError, WriteError> {
    match (code, meaning(code)) {
        (_, Meaning::SetUp(remedy)) => Err(WriteError::Config(
            format!("topic \"{topic}\": {code} – {remedy}").into(),
        )),
        (Code::UnknownTopicOrPartition | Code::UnknownTopic, _) if since >= BEING_MADE => {
            let text = format!(
                "the topic \"{topic}\" does not exist, and the brokers do not make it – make it, or correct meta.topic"
            );
            Err(WriteError::Config(text.into()))
        }
        _ => Ok(WriteError::retry(format!("topic \"{topic}\": {code}"))),
    }
}
