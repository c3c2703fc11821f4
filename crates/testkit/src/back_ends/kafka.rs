//! The back-end of `kafka`: a broker in this process.

use std::time::Duration;

use analytics::When;
use async_trait::async_trait;
use fakes::{
    kafka::{self, Broker},
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, kafka::SPEC};

use crate::{BackEnd, Reason};

const TOPIC: &str = "tyk";
/// The broker keeps the last 5 MB of each, and the suite writes some 12 MB.
const PARTITIONS: i32 = 6;
/// Longer than a test gives a stalled write, and shorter than a closing sink waits.
const DELAY: Duration = Duration::from_millis(400);
/// The first second of the year 10000, which JSON cannot express.
const TOO_LATE: i64 = 253_402_300_800;

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async {
        let broker = Broker::start();
        if let Ok(broker) = &broker {
            broker.create(TOPIC, PARTITIONS);
        }
        Box::new(Topic { broker: broker.ok() }) as Box<dyn BackEnd>
    }
    .boxed()
}

struct Topic {
    broker: Option<Broker>,
}

impl Topic {
    fn broker(&self) -> Result<&Broker, Reason> {
        self.broker.as_ref().ok_or("no broker")
    }
}

#[async_trait]
impl BackEnd for Topic {
    fn options(&self) -> Value {
        let address = self.broker().map(Broker::address).unwrap_or_default();
        json!({"broker": address.split(',').collect::<Vec<_>>(), "topic": TOPIC})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (SPEC.build)(context).await
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let address = self.broker()?.address();
        let read = tokio::task::spawn_blocking(move || kafka::messages(&address, TOPIC)).await;
        let messages = read.ok().and_then(Result::ok).ok_or("the broker cannot be read")?;
        Ok(messages
            .iter()
            .flat_map(|message| rows::serials(&message.value))
            .collect())
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.broker()?.refuse();
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.broker()?.delay(DELAY);
        Ok(())
    }

    async fn heal(&self) {
        if let Ok(broker) = self.broker() {
            broker.heal();
        }
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Ok(|record| record.time[When::TimeStamp as usize].seconds = TOO_LATE)
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("each message is taken or refused by itself")
    }
}
