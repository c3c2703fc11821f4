//! The sink `hybrid`: a bridge against servers that behave, misbehave and come back.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use analytics::{ClaimId, Record, Selection, When};
use fakes::{
    certificates::Certificates,
    rows::{self, Row},
};
use futures::FutureExt;
use gorpc::{Answer, IncomingCall, Outcome, Server, ServerOptions, gob::Basic};
use serde_json::{Value, json};
use sinks::{Applied, BuildContext, BuildError, Sink, SinkSpec, WriteError, Written, find};

fn spec() -> &'static SinkSpec {
    find("hybrid").unwrap()
}

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// What a test's server does with a call; `None`: what an MDCB does.
type Whim = Arc<dyn Fn(&IncomingCall) -> Option<Answer> + Send + Sync>;

fn failed(text: &str) -> Option<Answer> {
    Some(Answer::Outcome(Outcome::Failed(text.to_owned())))
}

/// A server and the calls that it has taken: name and argument. Logins with "key" are right.
struct Mdcb {
    server: Server,
    calls: Calls,
}

impl Mdcb {
    async fn start(whim: impl Fn(&IncomingCall) -> Option<Answer> + Send + Sync + 'static) -> Mdcb {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::at(local, Calls::default(), ServerOptions::default(), Arc::new(whim)).await
    }

    async fn at(address: SocketAddr, calls: Calls, options: ServerOptions, whim: Whim) -> Mdcb {
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

    fn meta(&self) -> Value {
        json!({"connection_string": self.server.address().to_string(), "api_key": "key", "call_timeout": 1})
    }

    /// Names of calls, without the dot.
    fn names(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|(name, _)| name[1..].to_owned()).collect()
    }

    /// Arguments of one function's calls.
    fn arguments(&self, function: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let of_function = calls.iter().filter(|(name, _)| name[1..] == *function);
        of_function.map(|(_, argument)| argument.clone()).collect()
    }

    fn serials(&self) -> Vec<u64> {
        let mut serials = Vec::new();
        for argument in self.arguments("PurgeAnalyticsData") {
            serials.extend(rows::serials(argument.as_bytes()));
        }
        serials
    }
}

/// A sink, and what its lane knows of its rows.
struct Pump {
    sink: Box<dyn Sink>,
    applied: Arc<Applied>,
}

impl Pump {
    async fn write(&self, group: &[Selection]) -> Result<Written, WriteError> {
        self.sink.write(group, &self.applied).await
    }
}

async fn built(meta: Value, compat: bool) -> Pump {
    let mut context = BuildContext::new("TEST", "fleet", meta);
    context.compat = compat;
    Pump {
        sink: (spec().build)(context).await.unwrap(),
        applied: Arc::default(),
    }
}

fn with(mut meta: Value, options: Value) -> Value {
    for (key, value) in options.as_object().unwrap() {
        meta[key] = value.clone();
    }
    meta
}

fn group(rows: impl IntoIterator<Item = Row>) -> Vec<Selection> {
    vec![rows::all(&rows::batch(CLAIM, 0, rows))]
}

fn good(rows: std::ops::Range<u64>) -> Vec<Selection> {
    rows::group(CLAIM, rows)
}

fn graph(record: &mut Record) {
    record.flag[analytics::Flag::IsGraphQl as usize] = true;
}

fn mcp(record: &mut Record) {
    record.flag[analytics::Flag::IsMcp as usize] = true;
}

#[tokio::test]
async fn records_arrive_after_ping_and_login() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(mdcb.meta(), false).await;
    pump.write(&good(0..10)).await.unwrap();
    pump.write(&good(10..12)).await.unwrap();
    assert_eq!(
        mdcb.names(),
        [
            "Ping",
            "Login",
            "Login",
            "PurgeAnalyticsData",
            "Login",
            "PurgeAnalyticsData"
        ]
    );
    assert_eq!(mdcb.serials(), (0..12).collect::<Vec<_>>());
    pump.sink.close().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while mdcb.server.open() > 0 {
        assert!(Instant::now() < deadline, "connections stay open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(mdcb.server.connections() <= 5, "dialled after close");
}

#[tokio::test]
async fn a_refused_login_pauses_the_pump_and_names_the_remedy() {
    let right = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = right.clone();
    let mdcb = Mdcb::start(move |call| {
        let refused = call.name == ".Login" && !switch.load(std::sync::atomic::Ordering::SeqCst);
        refused.then(|| Answer::Outcome(Outcome::Returned(Some(Basic::Bool(false)))))
    })
    .await;
    let pump = built(mdcb.meta(), false).await;
    right.store(false, std::sync::atomic::Ordering::SeqCst);
    let error = pump.write(&good(0..3)).await.unwrap_err();
    assert!(matches!(error, WriteError::Config(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("RPC login incorrect") && text.contains("meta.api_key"),
        "{text}"
    );
    assert!(!text.contains("\"key\""), "{text}");
    right.store(true, std::sync::atomic::Ordering::SeqCst);
    pump.write(&good(0..3)).await.unwrap();
    assert_eq!(mdcb.serials(), [0, 1, 2]);
}

#[tokio::test]
async fn an_answer_to_the_login_that_is_no_bool_is_an_error_with_a_question() {
    let mdcb = Mdcb::start(|call| {
        (call.name == ".Login").then(|| Answer::Outcome(Outcome::Returned(Some(Basic::from("yes")))))
    })
    .await;
    let error = (spec().build)(BuildContext::new("TEST", "fleet", mdcb.meta()))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, BuildError::Unavailable(_)));
    assert!(error.to_string().contains("string instead of a bool"), "{error}");
    assert_eq!(mdcb.names().iter().filter(|name| *name == "Login").count(), 4);
}

#[tokio::test]
async fn wrong_options_are_named() {
    for (options, part) in [
        (json!({}), "empty connection_string"),
        (json!({"connection_string": "mdcb"}), "has no port"),
        (
            json!({"connection_string": "mdcb:1", "rpc_pool_size": "five"}),
            "meta.rpc_pool_size",
        ),
        (
            json!({"connection_string": "mdcb:1", "use_ssl": true, "ssl_min_version": "1.1"}),
            "meta.ssl_min_version is \"1.1\"",
        ),
        (
            json!({"connection_string": "mdcb:1", "use_ssl": true, "ssl_min_version": "1.3", "ssl_max_version": "1.2"}),
            "exchange them",
        ),
        (
            json!({"connection_string": "mdcb:1", "use_ssl": true, "ssl_ca_file": "/nowhere.pem"}),
            "ssl_ca_file /nowhere.pem",
        ),
    ] {
        let error = (spec().build)(BuildContext::new("TEST", "fleet", options))
            .await
            .err()
            .unwrap();
        assert!(matches!(error, BuildError::Options(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_repeated_and_counted_and_answered_ones_are_not() {
    let mishaps = Arc::new(Mutex::new(vec!["close", "silence", "error", "crash"]));
    let next = mishaps.clone();
    let mdcb = Mdcb::start(move |call| {
        // The second call of every write goes wrong.
        let holds_40 = matches!(&call.argument, Some(Basic::Text(text)) if rows::serials(text).contains(&40));
        if !holds_40 {
            return None;
        }
        match next.lock().unwrap().pop()? {
            "close" => Some(Answer::Close),
            "silence" => Some(Answer::Silence),
            "error" => failed("storage unavailable"),
            _ => Some(Answer::Outcome(Outcome::Broken("handler crashed".to_owned()))),
        }
    })
    .await;
    // About a record a kilobyte: several calls a write.
    let pump = built(with(mdcb.meta(), json!({"max_call_bytes": 20_000})), false).await;
    let mut texts = Vec::new();
    let written = loop {
        match pump.write(&good(0..100)).await {
            Ok(written) => break written,
            Err(WriteError::Retry { source, .. }) => texts.push(source.to_string()),
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(texts.len(), 4, "{texts:?}");
    for (text, part) in texts
        .iter()
        .zip(["handler crashed", "storage unavailable", "no answer", "was lost"])
    {
        assert!(text.contains(part), "{texts:?}");
    }
    let mut serials = mdcb.serials();
    serials.sort_unstable();
    assert_eq!(
        serials,
        (0..100).collect::<Vec<_>>(),
        "nothing that was answered came again"
    );
    assert!(
        written.possibly_doubled > 0,
        "the silent and the closed call may have arrived"
    );
}

#[tokio::test]
async fn a_call_goes_on_when_the_write_is_dropped_and_its_answer_counts() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(mdcb.meta(), false).await;
    let group = good(0..2000);
    // Dropped after its first poll: the call is on its way.
    let _ = tokio::time::timeout(Duration::from_millis(1), pump.write(&group)).await;
    pump.write(&group).await.unwrap();
    assert_eq!(mdcb.serials(), (0..2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_restarts_loses_nothing() {
    let whim: Whim = Arc::new(|call| (call.number == 7).then_some(Answer::Close));
    let calls = Calls::default();
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut mdcb = Mdcb::at(local, calls.clone(), ServerOptions::default(), whim.clone()).await;
    let pump = built(with(mdcb.meta(), json!({"rpc_pool_size": 2})), false).await;
    let address = mdcb.server.address();
    for round in 0..30u64 {
        if round % 10 == 5 {
            mdcb.server.stop().await;
            drop(mdcb);
            let group = good(round * 5..round * 5 + 5);
            assert!(pump.write(&group).await.is_err());
            mdcb = Mdcb::at(address, calls.clone(), ServerOptions::default(), whim.clone()).await;
        }
        let group = good(round * 5..round * 5 + 5);
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = pump.write(&group).await {
            assert!(Instant::now() < deadline, "{error}");
        }
        assert!(mdcb.server.most_open() <= 4, "{} connections", mdcb.server.most_open());
    }
    let mut serials = mdcb.serials();
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials, (0..150).collect::<Vec<_>>());
}

/// Records every 20 minutes from one hour to the next.
fn spread(record: &mut Record) {
    let seconds = record.time[When::TimeStamp as usize].seconds - 1_700_000_000;
    record.time[When::TimeStamp as usize].seconds = 1_700_000_000 + seconds * 1200;
}

fn parsed(arguments: &[String]) -> Vec<Value> {
    arguments
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

#[tokio::test]
async fn aggregates_count_each_record_in_its_own_hour() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(with(mdcb.meta(), json!({"aggregated": true})), false).await;
    pump.write(&group((0..12).map(|row| Row::Odd(row, spread))))
        .await
        .unwrap();
    let calls = parsed(&mdcb.arguments("PurgeAnalyticsDataAggregated"));
    let mut hits = BTreeMap::new();
    for call in &calls {
        let (org, aggregate) = call.as_object().unwrap().iter().next().unwrap();
        assert_eq!(org, "o1");
        hits.insert(
            aggregate["TimeStamp"].as_str().unwrap(),
            aggregate["Total"]["hits"].as_i64().unwrap(),
        );
    }
    // From 22:13:20 on.
    let expected = [("22", 3), ("23", 3), ("00", 3), ("01", 3)];
    assert_eq!(hits.values().sum::<i64>(), 12);
    assert!(hits.len() >= 4, "{hits:?}");
    for (hour, count) in expected {
        let of_hour: Vec<_> = hits
            .iter()
            .filter(|(start, _)| start.contains(&format!("T{hour}:00:00")))
            .collect();
        assert_eq!(of_hour.len(), 1, "{hits:?}");
        assert_eq!(*of_hour[0].1, count, "{hits:?}");
    }

    let with_compat = Mdcb::start(|_| None).await;
    let pump = built(with(with_compat.meta(), json!({"aggregated": true})), true).await;
    pump.write(&group((0..12).map(|row| Row::Odd(row, spread))))
        .await
        .unwrap();
    let calls = parsed(&with_compat.arguments("PurgeAnalyticsDataAggregated"));
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["o1"]["Total"]["hits"], 12);
}

#[tokio::test]
async fn buckets_of_different_owners_share_a_call_and_those_of_one_do_not() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(
        with(
            mdcb.meta(),
            json!({"aggregated": true, "store_analytics_per_minute": true}),
        ),
        false,
    )
    .await;
    // Serial numbers are seconds: two minutes and a bit.
    pump.write(&good(0..130)).await.unwrap();
    let calls = parsed(&mdcb.arguments("PurgeAnalyticsDataAggregated"));
    assert_eq!(calls.len(), 3);
    let hits: i64 = calls
        .iter()
        .map(|call| call["o1"]["Total"]["hits"].as_i64().unwrap())
        .sum();
    assert_eq!(hits, 130);
}

#[tokio::test]
async fn an_aggregate_that_was_answered_is_not_counted_again() {
    let calls = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mdcb = Mdcb::start(move |call| {
        let is_second = call.name == ".PurgeAnalyticsDataAggregated"
            && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
        is_second.then(|| failed("busy")).flatten()
    })
    .await;
    let pump = built(
        with(
            mdcb.meta(),
            json!({"aggregated": true, "store_analytics_per_minute": true}),
        ),
        false,
    )
    .await;
    assert!(pump.write(&good(0..130)).await.is_err());
    pump.write(&good(0..130)).await.unwrap();
    let calls = parsed(&mdcb.arguments("PurgeAnalyticsDataAggregated"));
    let hits: i64 = calls
        .iter()
        .map(|call| call["o1"]["Total"]["hits"].as_i64().unwrap())
        .sum();
    assert_eq!((calls.len(), hits), (3, 130));
}

#[tokio::test]
async fn records_without_an_aggregate_are_sent_as_records_without_bodies() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(with(mdcb.meta(), json!({"aggregated": true})), false).await;
    let rows = [Row::Good(0), Row::Odd(1, graph), Row::Odd(2, mcp), Row::Good(3)];
    pump.write(&group(rows)).await.unwrap();
    let calls = parsed(&mdcb.arguments("PurgeAnalyticsDataAggregated"));
    assert_eq!(calls[0]["o1"]["Total"]["hits"], 2);
    assert_eq!(mdcb.serials(), [1, 2]);
    let records = &parsed(&mdcb.arguments("PurgeAnalyticsData"))[0];
    assert_eq!(
        (&records[0]["raw_request"], &records[0]["raw_response"]),
        (&json!(""), &json!(""))
    );

    let with_compat = Mdcb::start(|_| None).await;
    let pump = built(with(with_compat.meta(), json!({"aggregated": true})), true).await;
    pump.write(&group([Row::Odd(1, graph), Row::Odd(2, mcp)]))
        .await
        .unwrap();
    assert_eq!(with_compat.arguments("PurgeAnalyticsDataAggregated"), ["{}"]);
    assert!(with_compat.serials().is_empty());
}

#[tokio::test]
async fn an_mdcb_without_mcp_aggregates_gets_mcp_records() {
    let mdcb = Mdcb::start(|call| match &*call.name {
        ".PurgeAnalyticsDataMCPAggregated" => {
            failed("gorpc.Dispatcher: unknown method [.PurgeAnalyticsDataMCPAggregated]")
        }
        _ => None,
    })
    .await;
    let options = json!({"aggregated": true, "enable_mcp_aggregation": true});
    let pump = built(with(mdcb.meta(), options), false).await;
    pump.write(&group([Row::Good(0), Row::Odd(1, mcp)])).await.unwrap();
    pump.write(&[rows::all(&rows::batch(CLAIM, 2, [Row::Odd(2, mcp)]))])
        .await
        .unwrap();
    assert_eq!(mdcb.serials(), [1, 2]);
}

#[tokio::test]
async fn tls_with_a_private_authority_and_a_client_certificate() {
    let files = Certificates::make().unwrap();
    let options = ServerOptions {
        tls: Some(files.acceptor("server", true).unwrap()),
        ..ServerOptions::default()
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mdcb = Mdcb::at(local, Calls::default(), options, Arc::new(|_| None)).await;
    let identity = json!({
        "use_ssl": true, "ssl_cert_file": files.text("client.crt"), "ssl_key_file": files.text("client.key"),
        "rpc_pool_size": 1,
    });
    let trusted = with(
        with(mdcb.meta(), identity.clone()),
        json!({"ssl_ca_file": files.text("ca.crt")}),
    );
    built(trusted.clone(), false).await.write(&good(0..3)).await.unwrap();
    let newest = with(trusted, json!({"ssl_min_version": "1.3"}));
    built(newest, false).await.write(&good(3..5)).await.unwrap();
    let unchecked = with(
        with(mdcb.meta(), identity.clone()),
        json!({"ssl_insecure_skip_verify": true}),
    );
    built(unchecked, false).await.write(&good(5..7)).await.unwrap();
    assert_eq!(mdcb.serials(), (0..7).collect::<Vec<_>>());

    let untrusted = with(
        with(mdcb.meta(), identity),
        json!({"ssl_ca_file": files.text("rogue.crt")}),
    );
    let error = (spec().build)(BuildContext::new("TEST", "fleet", untrusted))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("certificate"), "{error}");
    let nobody = json!({"use_ssl": true, "ssl_ca_file": files.text("ca.crt"), "rpc_pool_size": 1});
    let error = (spec().build)(BuildContext::new("TEST", "fleet", with(mdcb.meta(), nobody)))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, BuildError::Unavailable(_)), "{error:?}");
}
