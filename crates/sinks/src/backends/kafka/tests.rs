use analytics::ClaimId;
use fakes::{kafka::Broker, rows};
use rdkafka::types::RDKafkaRespErr;
use serde_json::{Value, json};

use super::*;

const CLAIM: ClaimId = ClaimId(ulid::Ulid(7));

fn context(meta: Value) -> BuildContext {
    BuildContext::new("KAFKA", "fleet", meta)
}

fn refusal(meta: Value) -> String {
    match Kafka::new(&context(meta.clone())) {
        Err(BuildError::Options(text)) => text,
        Err(error) => panic!("{meta}: {error}"),
        Ok(_) => panic!("{meta} is accepted"),
    }
}

fn sink(broker: &Broker, more: Value) -> Kafka {
    let mut meta = json!({"broker": broker.address().split(',').collect::<Vec<_>>(), "topic": "t"});
    for (key, value) in more.as_object().unwrap() {
        meta[key] = value.clone();
    }
    Kafka::new(&context(meta)).unwrap()
}

async fn messages(broker: &Broker, topic: &'static str) -> Vec<fakes::kafka::Message> {
    let address = broker.address();
    let read = tokio::task::spawn_blocking(move || fakes::kafka::messages(&address, topic).unwrap());
    read.await.unwrap()
}

fn serials(messages: &[fakes::kafka::Message]) -> Vec<u64> {
    let mut serials: Vec<u64> = messages
        .iter()
        .flat_map(|message| rows::serials(&message.value))
        .collect();
    serials.sort_unstable();
    serials
}

#[tokio::test]
async fn wrong_options_are_named_with_what_to_write() {
    let with = |key: &str, value: Value| {
        let mut meta = json!({"broker": ["b:9092"], "topic": "t", "sasl_mechanism": ""});
        meta[key] = value;
        refusal(meta)
    };
    for (key, value) in [
        ("broker", json!([])),
        ("broker", json!(["kafka"])),
        ("broker", json!(["http://kafka:9092"])),
        ("topic", json!("")),
        ("topic", json!("{user}")),
        ("timeout", json!("soon")),
        ("timeout", json!(-1)),
        ("compression", json!("rar")),
        ("sasl_mechanism", json!("GSSAPI")),
        ("batch_bytes", json!(2_000_000_000)),
        ("key", json!("geo")),
        ("acks", json!("2")),
    ] {
        let text = with(key, value.clone());
        assert!(text.contains(&format!("meta.{key}")), "{key} {value}: {text}");
    }
    let scram = json!({"broker": ["b:9092"], "topic": "t", "sasl_mechanism": "scram", "sasl_algorithm": "md5",
        "sasl_username": "u", "sasl_password": "p"});
    assert!(refusal(scram.clone()).contains("meta.sasl_algorithm is \"md5\""));
    let compatible = BuildContext {
        compat: true,
        ..context(scram)
    };
    assert!(Kafka::new(&compatible).is_ok(), "upstream means sha-256 then");
    let oauth = json!({"broker": ["b:9092"], "topic": "t", "sasl_mechanism": "OAuthBearer"});
    assert!(refusal(oauth).contains("meta.sasl_oauth_token_url"));
    let zero = json!({"broker": ["b:9092"], "topic": "t", "sasl_mechanism": "plain", "sasl_password": "s3c\u{0}ret"});
    let text = refusal(zero);
    assert!(text.contains("zero byte") && !text.contains("s3c"), "{text}");
}

#[tokio::test]
async fn timeouts_have_every_form() {
    for (value, millis) in [
        (json!(null), None),
        (json!(0), None),
        (json!(""), None),
        (json!(true), None),
        (json!(1.9), Some(1_000)),
        (json!("1.5"), Some(1_500)),
        (json!("500ms"), Some(500)),
        (json!("1m10s"), Some(70_000)),
    ] {
        let options = Options {
            timeout: value.clone(),
            ..Options::default()
        };
        let timeout = options.timeout().unwrap().map(|timeout| timeout.as_millis());
        assert_eq!(timeout, millis, "{value}");
    }
}

#[tokio::test]
async fn mechanisms_have_every_spelling() {
    for (mechanism, algorithm, name) in [
        ("", "", None),
        ("Plain", "", Some("PLAIN")),
        ("scram", "", Some("SCRAM-SHA-256")),
        ("SCRAM", "SHA-512", Some("SCRAM-SHA-512")),
        ("scram-sha-512", "", Some("SCRAM-SHA-512")),
        ("OAuthBearer", "", Some("OAUTHBEARER")),
    ] {
        let options = Options {
            sasl_mechanism: mechanism.to_owned(),
            sasl_algorithm: algorithm.to_owned(),
            ..Options::default()
        };
        let found = options
            .mechanism(false, |_| {})
            .unwrap()
            .map(|mechanism| mechanism.name());
        assert_eq!(found, name, "{mechanism} {algorithm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_spread_by_bytes_and_kept_together_by_key() {
    let broker = Broker::start().unwrap();
    broker.create("t", 3);
    let plain = sink(&broker, json!({}));
    plain.write(&rows::group(CLAIM, 0..9), &Arc::default()).await.unwrap();
    let found = messages(&broker, "t").await;
    for partition in 0..3 {
        let here: Vec<_> = found.iter().filter(|message| message.partition == partition).collect();
        assert_eq!(here.len(), 3, "{found:?}");
        assert!(
            here.iter()
                .all(|message| message.key.is_none() && message.headers.is_empty())
        );
    }
    broker.create("k", 3);
    let keyed = sink(&broker, json!({"topic": "k", "key": "org_id", "headers": true}));
    keyed.write(&rows::group(CLAIM, 0..9), &Arc::default()).await.unwrap();
    let found = messages(&broker, "k").await;
    assert_eq!(serials(&found), (0..9).collect::<Vec<_>>());
    let first = found.first().unwrap();
    assert!(found.iter().all(|message| message.partition == first.partition));
    assert_eq!(first.key.as_deref(), Some(b"o1".as_slice()));
    let expected = [
        ("tyk-claim", CLAIM.to_string()),
        ("tyk-row", "0".to_owned()),
        ("tyk-encoding", "json".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value.into_bytes()));
    assert_eq!(first.headers, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_may_be_that_of_the_organisation() {
    let broker = Broker::start().unwrap();
    let sink = sink(&broker, json!({"topic": "tyk-{org_id}"}));
    sink.write(&rows::group(CLAIM, 0..10), &Arc::default()).await.unwrap();
    assert_eq!(serials(&messages(&broker, "tyk-o1").await), (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_with_size_and_limit() {
    let broker = Broker::start().unwrap();
    let sink = sink(&broker, json!({"batch_bytes": 300}));
    let written = sink.write(&rows::group(CLAIM, 0..2), &Arc::default()).await.unwrap();
    assert_eq!(written.rejected.len(), 2);
    let reason = &written.rejected.first().unwrap().reason;
    assert!(reason.ends_with("bytes, and meta.batch_bytes allows 300"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_before_a_failure_is_marked_and_not_sent_again() {
    let broker = Broker::start().unwrap();
    broker.create("t", 1);
    let sink = sink(&broker, json!({"batch_bytes": 1000}));
    broker.answer(&[
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    ]);
    let applied = Arc::new(Applied::default());
    let group = rows::group(CLAIM, 0..50);
    let error = sink.write(&group, &applied).await.unwrap_err();
    assert!(matches!(&error, WriteError::Config(_)), "{error}");
    assert!(error.to_string().contains("Describe and Write"), "{error}");
    let marked = applied.ranges(CLAIM);
    let count = (0..50).filter(|row| marked.contains(*row)).count();
    assert!((1..50).contains(&count), "{marked}");
    broker.heal();
    sink.write(&group, &applied).await.unwrap();
    assert_eq!(serials(&messages(&broker, "t").await), (0..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_named_soon_and_waited_for() {
    let broker = Broker::start().unwrap();
    broker.create("t", 1);
    let sink = sink(&broker, json!({"timeout": 2}));
    broker.stop();
    let group = rows::group(CLAIM, 0..10);
    let error = sink.write(&group, &Arc::default()).await.unwrap_err();
    assert!(matches!(&error, WriteError::Retry { .. }), "{error}");
    assert!(
        error.to_string().contains("no broker of meta.broker answers"),
        "{error}"
    );
    broker.heal();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while let Err(error) = sink.write(&group, &Arc::default()).await {
        assert!(std::time::Instant::now() < until, "{error}");
    }
    assert_eq!(serials(&messages(&broker, "t").await), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn nobody_has_to_acknowledge_is_best_effort() {
    let with = |acks: &str| {
        let meta = json!({"broker": ["b:9092"], "topic": "t", "acks": acks});
        Kafka::new(&context(meta)).unwrap().guarantee()
    };
    assert_eq!(with("0"), Some(Guarantee::BestEffort));
    assert_eq!((with("1"), with("all")), (None, None));
}
