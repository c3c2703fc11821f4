//! Type `kafka`: records as messages of Apache Kafka.

mod client;
mod flight;
mod launch;
mod limit;
mod message;
mod oauth;
mod options;
mod partitions;
mod topics;
mod trouble;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use analytics::{RowId, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use rdkafka::producer::{Producer as _, PurgeConfig};
use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

pub use self::options::Options;
use self::{
    client::{Factory, Producer},
    flight::{Failed, Flight},
    launch::{Launch, Which},
    limit::Limits,
    message::Encoder,
    options::Acks,
    topics::Topics,
    trouble::{Meaning, meaning},
};
use crate::{
    Applied, BuildContext, BuildError, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written, options as schemas,
};

/// How long `close` waits for messages under way before it takes them back.
const GRACE: Duration = Duration::from_secs(2);
/// How long brokers may be silent when meta.timeout says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The type `kafka`.
pub const SPEC: SinkSpec = SinkSpec {
    options: schemas::schema::<Options>,
    check: Some(check),
    ..SinkSpec::new("kafka", "Kafka Pump", "kafka-pump", "TYK_PMP_PUMPS_KAFKA_META", build)
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Kafka::new(&context)?) as Box<dyn Sink>) }.boxed()
}

/// What a start finds wrong, without a producer that has somebody to contact.
fn check(context: &BuildContext) -> Result<(), BuildError> {
    let Shared { factory, limit, .. } = Shared::read(context)?;
    factory.without_brokers().make::<Producer>(limit).map(drop)
}

/// One pump's way to a topic.
struct Kafka {
    shared: Arc<Shared>,
    /// Held by the write that is under way, also after it was given up.
    state: Arc<Lock<State>>,
    /// What `close` may have to end.
    under_way: Mutex<Option<UnderWay>>,
    closed: AtomicBool,
}

/// What does not change.
struct Shared {
    encoder: Encoder,
    factory: Factory,
    /// Most bytes of a message.
    limit: usize,
    patience: Duration,
    acks: Acks,
}

impl Shared {
    fn read(context: &BuildContext) -> Result<Shared, BuildError> {
        let options: Options = context.options()?;
        let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        Ok(Shared {
            encoder: Encoder::new(&options)?,
            factory: Factory::new(&options, context, warn)?,
            limit: options.batch_bytes(warn)?,
            patience: options.timeout()?.unwrap_or(PATIENCE),
            acks: options.acks()?,
        })
    }
}

struct State {
    /// `None`: make one before the next message.
    producer: Option<Arc<Producer>>,
    topics: Topics,
    limits: Limits,
    /// What a write that was given up has left behind.
    flight: Option<Arc<Flight>>,
}

#[derive(Clone)]
struct UnderWay {
    flight: Arc<Flight>,
    producer: Arc<Producer>,
}

impl UnderWay {
    /// Nothing new may be sent, and what has not been sent is taken back.
    fn give_up(&self) {
        self.flight.give_up();
        self.producer.purge(PurgeConfig::default().queue().non_blocking());
    }

    /// Nobody waits for answers any more.
    fn abandon(&self) {
        self.flight.give_up();
        self.producer
            .purge(PurgeConfig::default().queue().inflight().non_blocking());
    }
}

/// Gives a flight up when the write that waits for it is dropped.
struct Waiting(Option<UnderWay>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(under_way) = &self.0 {
            under_way.give_up();
        }
    }
}

/// Rows that will never be delivered, and why.
type Refused = BTreeMap<RowId, String>;

impl Kafka {
    fn new(context: &BuildContext) -> Result<Kafka, BuildError> {
        let shared = Shared::read(context)?;
        let limit = shared.limit;
        // Wrong settings are found now; nobody is contacted before the first write.
        let producer: Producer = shared.factory.make(limit)?;
        tracing::info!(prefix = SPEC.log_prefix, "Kafka Pump Initialized");
        Ok(Kafka {
            shared: Arc::new(shared),
            state: Arc::new(Lock::new(State {
                producer: Some(Arc::new(producer)),
                topics: Topics::default(),
                limits: Limits::new(limit),
                flight: None,
            })),
            under_way: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// The producer; a new one in place of one that is beyond repair.
    async fn producer(&self, state: &mut State) -> Result<Arc<Producer>, WriteError> {
        if let Some(producer) = &state.producer
            && producer.client().fatal_error().is_none()
        {
            return Ok(producer.clone());
        }
        let (old, shared, batch) = (state.producer.take(), self.shared.clone(), state.limits.batch());
        let made = tokio::task::spawn_blocking(move || {
            drop(old); // It waits for threads.
            shared.factory.make::<Producer>(batch)
        });
        let made = made.await.map_err(WriteError::retry)?;
        let producer = Arc::new(made.map_err(|error| WriteError::Config(error.to_string().into()))?);
        state.producer = Some(producer.clone());
        Ok(producer)
    }

    /// Sends rows that are not marked and not refused, and waits until something is said about each; what was not delivered.
    async fn send(
        &self,
        mut state: OwnedMutexGuard<State>,
        (group, applied): (&[Selection], &Arc<Applied>),
        which: Which,
        refused: &mut Refused,
    ) -> Result<(OwnedMutexGuard<State>, Vec<Failed>), WriteError> {
        let producer = self.producer(&mut state).await?;
        let flight = Flight::new(applied.clone());
        let under_way = UnderWay {
            flight: flight.clone(),
            producer: producer.clone(),
        };
        self.set_under_way(Some(under_way.clone()));
        let mut waiting = Waiting(Some(under_way));
        if self.closed.load(Ordering::Acquire) {
            return Err(WriteError::retry("the pump stops"));
        }
        state.flight = Some(flight.clone());
        let launch = Launch {
            shared: self.shared.clone(),
            producer,
            flight: flight.clone(),
            which,
            refused: std::mem::take(refused),
        };
        let rest = applied.rest_of(group);
        // The lock goes along: should this future be dropped, the next write waits for the thread.
        let launched = tokio::task::spawn_blocking(move || {
            let (refused, outcome) = launch.run(&mut state.topics, &rest);
            (state, refused, outcome)
        });
        let (mut state, refused_now, outcome) = launched.await.map_err(WriteError::retry)?;
        *refused = refused_now;
        flight.landed().await;
        waiting.0 = None;
        self.set_under_way(None);
        state.flight = None;
        if let Err(error) = outcome {
            state.topics.doubt();
            return Err(error);
        }
        Ok((state, flight.take_failed()))
    }

    /// What failed messages mean for the write; what is left are those that were too large for their topic.
    fn judge(&self, state: &mut State, failed: Vec<Failed>, refused: &mut Refused) -> Result<Vec<Failed>, WriteError> {
        let mut too_large = Vec::new();
        let mut later = None;
        for failed in failed {
            let Failed { row, code, topic, .. } = &failed;
            match meaning(*code) {
                Meaning::TooLarge => too_large.push(failed),
                Meaning::Refused if !self.shared.encoder.has_key() => {
                    state.topics.doubt();
                    let text = format!(
                        "topic \"{topic}\": {code} – it may want messages with keys (cleanup.policy=compact): set meta.key"
                    );
                    return Err(WriteError::Config(text.into()));
                }
                Meaning::Refused => {
                    refused.insert(*row, format!("the broker refuses the message: {code}"));
                }
                Meaning::SetUp(remedy) => {
                    state.topics.doubt();
                    return Err(WriteError::Config(
                        format!("topic \"{topic}\": {code} – {remedy}").into(),
                    ));
                }
                Meaning::Later => {
                    later.get_or_insert(failed);
                }
            }
        }
        let Some(Failed { code, topic, .. }) = later else {
            return Ok(too_large);
        };
        state.topics.doubt();
        let doing = format!("topic \"{topic}\": messages are not acknowledged");
        Err(match self.shared.factory.troubles().get() {
            Some(trouble) => trouble.error(&doing),
            None => WriteError::retry(format!("{doing}: {code}")),
        })
    }

    fn set_under_way(&self, under_way: Option<UnderWay>) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = under_way;
    }

    fn under_way(&self) -> Option<UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Waits for what a write that was given up has left behind.
async fn settle(mut state: OwnedMutexGuard<State>) -> Result<OwnedMutexGuard<State>, WriteError> {
    let Some(flight) = state.flight.clone() else {
        return Ok(state);
    };
    flight.landed().await;
    // Taking back goes on in the background, where it would meet the messages of the next write; a second time waits for
    // the first.
    let settled = tokio::task::spawn_blocking(move || {
        if let Some(producer) = &state.producer {
            producer.purge(PurgeConfig::default().queue());
        }
        state.flight = None;
        state
    });
    settled.await.map_err(WriteError::retry)
}

#[async_trait]
impl Sink for Kafka {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let state = settle(self.state.clone().lock_owned().await).await?;
        if group.iter().all(Selection::is_empty) {
            return Ok(Written::default());
        }
        let rows = (group, applied);
        let mut refused = Refused::new();
        let (mut state, failed) = self.send(state, rows, Which::All, &mut refused).await?;
        let mut too_large = self.judge(&mut state, failed, &mut refused)?;
        if !too_large.is_empty() && self.learn(&mut state, &too_large).await? {
            // In smaller batches a large message takes no others with it.
            let (next, failed) = self.send(state, rows, Which::All, &mut refused).await?;
            state = next;
            too_large = self.judge(&mut state, failed, &mut refused)?;
        }
        for failed in too_large {
            let mut refusal = state.limits.refusal(&failed);
            if refusal.is_none() {
                let (next, again) = self.send(state, rows, Which::Only(failed.row), &mut refused).await?;
                state = next;
                let again = self.judge(&mut state, again, &mut refused)?;
                refusal = again.first().map(|failed| state.limits.refusal_alone(failed));
            }
            if let Some(reason) = refusal {
                refused.insert(failed.row, reason);
            }
        }
        let rejected = refused.into_iter().map(|(row, reason)| Rejected { row, reason });
        Ok(Written {
            rejected: rejected.collect(),
            possibly_doubled: 0,
        })
    }

    fn guarantee(&self) -> Option<Guarantee> {
        (self.shared.acks == Acks::Nobody).then_some(Guarantee::BestEffort)
    }

    async fn close(&self) -> Result<(), WriteError> {
        self.closed.store(true, Ordering::Release);
        let mut state = match tokio::time::timeout(GRACE, self.state.clone().lock_owned()).await {
            Ok(state) => state,
            Err(_) => {
                if let Some(under_way) = self.under_way() {
                    under_way.abandon();
                }
                self.state.clone().lock_owned().await
            }
        };
        if let Some(flight) = state.flight.take()
            && tokio::time::timeout(GRACE, flight.landed()).await.is_err()
        {
            if let Some(under_way) = self.under_way() {
                under_way.abandon();
            }
            flight.landed().await;
        }
        self.set_under_way(None);
        let producer = state.producer.take();
        // It waits for its threads.
        let _ = tokio::task::spawn_blocking(move || drop(producer)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
