//! The back-end of `statsd` and `dogstatsd`: a Unix socket that takes datagrams. Over UDP nothing can be counted on.

use async_trait::async_trait;
use fakes::{
    Mailbox,
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, SinkSpec};

use crate::{BackEnd, Reason};

/// The harness of `statsd`.
pub fn statsd() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(
        &sinks::statsd::SPEC,
        |address| json!({"address": address, "fields": ["request_time"], "tags": ["path"]}),
        Err("no record of the suite makes a metric of 64 KiB"),
    )
}

/// The harness of `dogstatsd`.
pub fn dogstatsd() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(
        &sinks::dogstatsd::SPEC,
        |address| {
            json!({
                "address": address, "tags": ["path"], "async_uds": true, "async_uds_write_timeout_seconds": 60,
                "max_datagram_size": 64,
            })
        },
        // Twenty digits, for which there is no room.
        Ok(|record| record.int[analytics::Int::RequestTime as usize] = i64::MIN),
    )
}

fn start(
    spec: &'static SinkSpec,
    options: fn(&str) -> Value,
    refused: Result<Alter, Reason>,
) -> BoxFuture<'static, Box<dyn BackEnd>> {
    async move {
        Box::new(Datagrams {
            spec,
            options,
            refused,
            mailbox: Mailbox::open().map_err(|error| error.to_string()),
        }) as Box<dyn BackEnd>
    }
    .boxed()
}

struct Datagrams {
    spec: &'static SinkSpec,
    options: fn(&str) -> Value,
    refused: Result<Alter, Reason>,
    mailbox: Result<Mailbox, String>,
}

impl Datagrams {
    fn mailbox(&self) -> Result<&Mailbox, Reason> {
        self.mailbox.as_ref().map_err(|_| "no socket can be made")
    }
}

#[async_trait]
impl BackEnd for Datagrams {
    fn options(&self) -> Value {
        let path = self.mailbox().map(Mailbox::path).unwrap_or_default();
        (self.options)(&format!("unix://{}", path.display()))
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (self.spec.build)(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Ok(rows::serials(&self.mailbox()?.content()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.mailbox()?.close();
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.mailbox()?.stall();
        Ok(())
    }

    async fn heal(&self) {
        if let Ok(mailbox) = self.mailbox() {
            // A check that goes on without a socket fails and says so.
            let _ = mailbox.resume();
        }
    }

    fn refused(&self) -> Result<Alter, Reason> {
        self.refused
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("what does not fit a datagram is refused alone")
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Err("it keeps no ledger: best effort")
    }
}
