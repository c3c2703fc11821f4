//! The back-end of `graylog` and `syslog`: a receiver in memory, at the end of a connection.

use async_trait::async_trait;
use fakes::{
    Receiver,
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sinks::{
    BuildContext, BuildError, Sink,
    graylog::Graylog,
    syslog::Syslog,
    wire::{self, Connect},
};

use crate::{BackEnd, Reason};

/// The harness of `graylog`.
pub fn graylog() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(
        json!({"host": "localhost", "port": 12201, "transport": "tcp", "tags": ["path"]}),
        |context, peer| Ok(Box::new(Graylog::new(context, Some(peer))?)),
    )
}

/// The harness of `syslog`.
pub fn syslog() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(
        json!({"transport": "tcp", "network_addr": "localhost:5140", "log_level": 6}),
        |context, peer| Ok(Box::new(Syslog::new(context, Some(peer))?)),
    )
}

type Make = fn(&BuildContext, Connect) -> Result<Box<dyn Sink>, BuildError>;

fn start(options: Value, make: Make) -> BoxFuture<'static, Box<dyn BackEnd>> {
    async move {
        let receiver = Receiver::default();
        Box::new(Log {
            options,
            make,
            receiver,
        }) as Box<dyn BackEnd>
    }
    .boxed()
}

struct Log {
    options: Value,
    make: Make,
    receiver: Receiver,
}

#[async_trait]
impl BackEnd for Log {
    fn options(&self) -> Value {
        self.options.clone()
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        let receiver = self.receiver.clone();
        (self.make)(&context, wire::connections(move || receiver.connect()))
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Ok(rows::serials(&self.receiver.content()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.receiver.set_broken(true);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.receiver.set_stalled(true);
        Ok(())
    }

    async fn heal(&self) {
        self.receiver.set_broken(false);
        self.receiver.set_stalled(false);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err("the receiver never answers")
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("the receiver never answers")
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Err("it keeps no ledger: best effort")
    }
}
