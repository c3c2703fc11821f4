//! A bridge that does what a test wants, and a pump that writes to it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use analytics::{ClaimId, Selection};
use fakes::rows::{self, Row};
use futures::FutureExt;
use gorpc::{Answer, IncomingCall, Outcome, Server, ServerOptions, gob::Basic};
use serde_json::{Value, json};
use sinks::{Applied, BuildContext, Sink, SinkSpec, WriteError, Written, find};

pub(crate) fn spec() -> &'static SinkSpec {
    find("hybrid").unwrap()
}

pub(crate) const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

pub(crate) type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// What a test's server does with a call; `None`: what an MDCB does.
pub(crate) type Whim = Arc<dyn Fn(&IncomingCall) -> Option<Answer> + Send + Sync>;

pub(crate) fn failed(text: &str) -> Option<Answer> {
    Some(Answer::Outcome(Outcome::Failed(text.to_owned())))
}

/// A server and the calls that it has taken: name and argument. Logins with "key" are right.
pub(crate) struct Mdcb {
    pub(crate) server: Server,
    calls: Calls,
}

impl Mdcb {
    pub(crate) async fn start(whim: impl Fn(&IncomingCall) -> Option<Answer> + Send + Sync + 'static) -> Mdcb {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::at(local, Calls::default(), ServerOptions::default(), Arc::new(whim)).await
    }

    pub(crate) async fn at(address: SocketAddr, calls: Calls, options: ServerOptions, whim: Whim) -> Mdcb {
        let seen = calls.clone();
        let handler = move |call: IncomingCall| {
            let text = match &call.argument {
                Some(Basic::Text(text)) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            };
            let answer = whim(&call).unwrap_or_else(|| {
                Answer::Outcome(Outcome::Returned(match &*call.name {
                    ".Ping" => Some(Basic::Bool(true)),
                    ".Login" => Some(Basic::Bool(text == "key")),
                    _ => None,
                }))
            });
            let is_taken = matches!(answer, Answer::Outcome(Outcome::Returned(_)));
            if is_taken {
                seen.lock().unwrap().push((call.name, text));
            }
            async { answer }.boxed()
        };
        let server = Server::start(address, options, Arc::new(handler)).await.unwrap();
        Mdcb { server, calls }
    }

    pub(crate) fn meta(&self) -> Value {
        json!({"connection_string": self.server.address().to_string(), "api_key": "key", "call_timeout": 1})
    }

    /// Names of calls, without the dot.
    pub(crate) fn names(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|(name, _)| name[1..].to_owned()).collect()
    }

    /// Arguments of one function's calls.
    pub(crate) fn arguments(&self, function: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let of_function = calls.iter().filter(|(name, _)| name[1..] == *function);
        of_function.map(|(_, argument)| argument.clone()).collect()
    }

    pub(crate) fn serials(&self) -> Vec<u64> {
        let mut serials = Vec::new();
        for argument in self.arguments("PurgeAnalyticsData") {
            serials.extend(rows::serials(argument.as_bytes()));
        }
        serials
    }
}

/// A sink, and what its lane knows of its rows.
pub(crate) struct Pump {
    pub(crate) sink: Box<dyn Sink>,
    applied: Arc<Applied>,
}

impl Pump {
    pub(crate) async fn write(&self, group: &[Selection]) -> Result<Written, WriteError> {
        self.sink.write(group, &self.applied).await
    }
}

pub(crate) async fn built(meta: Value, compat: bool) -> Pump {
    let mut context = BuildContext::new("TEST", "fleet", meta);
    context.compat = compat;
    Pump {
        sink: (spec().build)(context).await.unwrap(),
        applied: Arc::default(),
    }
}

pub(crate) fn with(mut meta: Value, options: Value) -> Value {
    for (key, value) in options.as_object().unwrap() {
        meta[key] = value.clone();
    }
    meta
}

pub(crate) fn group(rows: impl IntoIterator<Item = Row>) -> Vec<Selection> {
    vec![rows::all(&rows::batch(CLAIM, 0, rows))]
}

pub(crate) fn good(rows: std::ops::Range<u64>) -> Vec<Selection> {
    rows::group(CLAIM, rows)
}
