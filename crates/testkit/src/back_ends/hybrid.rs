//! The back-end of `hybrid`: an MDCB that keeps the calls that it answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use analytics::When;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use gorpc::{Answer, IncomingCall, Outcome, Server, ServerOptions, gob::Basic};
use serde_json::{Value, json};
use tokio::sync::watch;

use fakes::rows::{self, Alter};
use sinks::{BuildContext, BuildError, Sink, hybrid::SPEC};

use crate::{BackEnd, Reason};

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Fails,
    Stalls,
}

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async {
        let taken = Taken::default();
        let (fault, faults) = watch::channel(Fault::None);
        let calls = taken.clone();
        let handler = move |call: IncomingCall| answer(call, calls.clone(), faults.clone()).boxed();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(address, ServerOptions::default(), Arc::new(handler)).await;
        Box::new(Mdcb { server, taken, fault }) as Box<dyn BackEnd>
    }
    .boxed()
}

type Taken = Arc<Mutex<Vec<u8>>>;

fn lock(taken: &Taken) -> MutexGuard<'_, Vec<u8>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(call: IncomingCall, taken: Taken, mut faults: watch::Receiver<Fault>) -> Answer {
    let outcome = match (&*call.name, call.argument) {
        (".Ping", _) => Outcome::Returned(Some(Basic::Bool(true))),
        (".Login", Some(Basic::Text(key))) => Outcome::Returned(Some(Basic::Bool(key == "key"))),
        (".PurgeAnalyticsData", Some(Basic::Text(records))) => {
            let fault = *faults.borrow();
            if fault == Fault::Stalls {
                // Until it is healed, or gone.
                let _ = faults.wait_for(|fault| *fault != Fault::Stalls).await;
            }
            if fault == Fault::Fails {
                Outcome::Failed("storage unavailable".to_owned())
            } else {
                lock(&taken).extend_from_slice(&records);
                Outcome::Returned(None)
            }
        }
        _ => Outcome::Failed(format!("gorpc.Dispatcher: unknown method [{}]", call.name)),
    };
    Answer::Outcome(outcome)
}

struct Mdcb {
    server: std::io::Result<Server>,
    taken: Taken,
    fault: watch::Sender<Fault>,
}

#[async_trait]
impl BackEnd for Mdcb {
    fn options(&self) -> Value {
        let address = self.server.as_ref().map(|server| server.address().to_string());
        json!({"connection_string": address.unwrap_or_default(), "api_key": "key", "rpc_pool_size": 2})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (SPEC.build)(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Ok(rows::serials(&lock(&self.taken)))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.fault.send_replace(Fault::Fails);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.fault.send_replace(Fault::Stalls);
        Ok(())
    }

    async fn heal(&self) {
        self.fault.send_replace(Fault::None);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        // A year that JSON has no form for.
        Ok(|record| record.time[When::TimeStamp as usize].seconds = 400_000_000_000)
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("MDCB takes whatever is JSON")
    }
}
