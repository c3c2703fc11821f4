//! Brokers of Kafka: one in this process, for faults; and what is in a topic of any, the real one of [`crate::server`] too.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
    mocking::MockCluster,
    producer::{BaseProducer, DefaultProducerContext, Producer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// More requests than any test makes while they fail.
const MANY: usize = 1000;

/// A broker in this process. It makes topics when they are asked for, with four partitions.
pub struct Broker {
    /// A client whose brokers are not elsewhere.
    client: BaseProducer,
}

impl Broker {
    /// A broker without topics.
    pub fn start() -> anyhow::Result<Broker> {
        let client = ClientConfig::new().set("test.mock.num.brokers", "1").create()?;
        Ok(Broker { client })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.with(|cluster| cluster.bootstrap_servers()).unwrap_or_default()
    }

    /// Makes a topic.
    pub fn create(&self, topic: &str, partitions: i32) {
        self.with(|cluster| cluster.create_topic(topic, partitions, 1).is_ok());
    }

    /// From now on messages are refused because of missing rights, until [`Broker::heal`].
    pub fn refuse(&self) {
        let errors = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; MANY];
        self.with(|cluster| cluster.request_errors(RDKafkaApiKey::Produce, &errors));
    }

    /// The next answers to messages are these errors.
    pub fn answer(&self, errors: &[RDKafkaRespErr]) {
        self.with(|cluster| cluster.request_errors(RDKafkaApiKey::Produce, errors));
    }

    /// From now on answers take so long, until [`Broker::heal`].
    pub fn delay(&self, delay: Duration) {
        self.with(|cluster| cluster.broker_round_trip_time(1, delay).is_ok());
    }

    /// Nobody listens any more, until [`Broker::heal`].
    pub fn stop(&self) {
        self.with(|cluster| cluster.broker_down(1).is_ok());
    }

    /// All is well.
    pub fn heal(&self) {
        self.with(|cluster| {
            cluster.clear_request_errors(RDKafkaApiKey::Produce);
            let _ = cluster.broker_round_trip_time(1, Duration::ZERO);
            let _ = cluster.broker_up(1);
        });
    }

    fn with<T>(&self, act: impl FnOnce(&MockCluster<'_, DefaultProducerContext>) -> T) -> Option<T> {
        self.client.client().mock_cluster().map(|cluster| act(&cluster))
    }
}

/// A message of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Which partition it is in.
    pub partition: i32,
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its value.
    pub value: Vec<u8>,
}

/// Makes a topic, and waits until it is there.
pub async fn create(address: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", address).create()?;
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for made in admin.create_topics([&new], &options).await? {
        made.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

/// The committed messages of a topic, by partition and then in their order; none if there is no such topic. It blocks.
pub fn messages(address: &str, topic: &str) -> anyhow::Result<Vec<Message>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let topics = metadata.topics().iter().filter(|found| found.name() == topic);
    let partitions: Vec<i32> = topics
        .flat_map(|topic| topic.partitions().iter().map(|partition| partition.id()))
        .collect();
    let mut found = Vec::new();
    for partition in partitions {
        found.extend(of_partition(&consumer, topic, partition).with_context(|| format!("{topic}/{partition}"))?);
    }
    Ok(found)
}

fn of_partition(consumer: &BaseConsumer, topic: &str, partition: i32) -> anyhow::Result<Vec<Message>> {
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let (until, mut found) = (Instant::now() + PATIENCE, Vec::new());
    while Instant::now() < until {
        let message = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => return Ok(found),
            Some(Err(KafkaError::PartitionEOF(_))) => continue,
            Some(Err(error)) => bail!(error),
            Some(Ok(message)) => message,
        };
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        found.push(Message {
            partition,
            key: message.key().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                .collect(),
            value: message.payload().unwrap_or_default().to_vec(),
        });
    }
    bail!("the end does not come")
}
