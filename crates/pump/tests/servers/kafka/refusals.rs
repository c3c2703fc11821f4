//! What a broker refuses, and what the pump says of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use analytics::Text;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fakes::http::{HttpServer, Reply};
use serde_json::json;

use super::{Shared, once, unclaimed, wait_for_state};
use crate::{
    services::records::{element, element_with, push},
    support::{self, daemon::Site},
};

#[test]
fn one_message_that_is_too_large_for_the_topic_is_one_dead_letter() {
    let (Some(redis), Some(shared)) = (
        support::redis("plain", &[]),
        Shared::create(&[("max.message.bytes", "20000")]),
    ) else {
        return;
    };
    let meta = json!({"broker": [shared.address], "topic": shared.topic});
    let site = Site::new(&redis, json!({"events": {"type": "kafka", "meta": meta}}));
    let daemon = site.start_ready();
    let elements = (0..5_000).map(|serial| match serial {
        2_345 => element_with(serial, |record| {
            record.text(Text::RawResponse, "x".repeat(30_000));
        }),
        serial => element(serial),
    });
    push(&redis, elements);
    site.wait_until_drained(&redis, 120);
    let letters = site.operate_json("dlq list --json --pump EVENTS");
    assert_eq!(letters.len(), 1, "{letters:?}");
    let cause = letters[0]["cause"].as_str().unwrap();
    let is_named = cause.contains("takes 20000 (max.message.bytes)") && cause.contains("the message has 3");
    assert!(is_named, "{cause}");
    assert_eq!(shared.numbers(), once((0..5_000).filter(|serial| *serial != 2_345)));
    // Smaller batches are remembered.
    push(&redis, (5_000..6_000).map(element));
    site.wait_until_drained(&redis, 60);
    assert_eq!(shared.numbers(), once((0..6_000).filter(|serial| *serial != 2_345)));
    assert!(daemon.stop().success());
}

#[test]
fn a_user_without_rights_pauses_the_pump_and_loses_nothing() {
    let (Some(redis), Some(shared)) = (support::redis("plain", &[]), Shared::create(&[])) else {
        return;
    };
    let guest = json!({"sasl_mechanism": "PLAIN", "sasl_username": "guest", "sasl_password": "secret"});
    let site = Site::new(&redis, shared.with_login(guest));
    let daemon = site.start();
    push(&redis, (0..100).map(element));
    wait_for_state(&site, "paused", &["TopicAuthorizationFailed", "Describe and Write"]);
    assert!(daemon.stop().success());
    let site = site
        .configure("/pumps/events/meta/sasl_username", json!("tyk"))
        .configure("/pumps/events/meta/sasl_mechanism", json!("scram-sha-512"));
    let daemon = site.start();
    site.wait_until_drained(&redis, 60);
    assert_eq!(shared.numbers(), once(0..100));
    assert!(daemon.stop().success());
}

#[test]
fn a_wrong_password_pauses_the_pump_and_is_not_shown() {
    let (Some(redis), Some(shared)) = (support::redis("plain", &[]), Shared::create(&[])) else {
        return;
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let login = json!({"sasl_mechanism": mechanism, "sasl_username": "tyk", "sasl_password": "wr0ng"});
        let site = Site::new(&redis, shared.with_login(login));
        let daemon = site.start();
        push(&redis, (0..10).map(element));
        wait_for_state(&site, "paused", &["meta.sasl_password"]);
        assert!(daemon.stop().success());
        assert!(!site.log().contains("wr0ng"), "{}", site.log());
    }
}

#[test]
fn tokens_of_a_provider_open_the_broker() {
    let (Some(redis), Some(shared)) = (support::redis("plain", &[]), Shared::create(&[])) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let provider = runtime.block_on(HttpServer::start(|request| {
        if request.header("authorization") != "Basic dHlrLXB1bXA6czNjcmV0" {
            return Reply::new(401, r#"{"error":"invalid_client"}"#);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let claims = json!({"sub": "tyk", "iat": now.as_secs(), "exp": (now + Duration::from_secs(60)).as_secs()});
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let token = format!(
            "{}.{}.",
            encode(json!({"alg": "none"}).to_string()),
            encode(claims.to_string())
        );
        Reply::new(200, json!({"access_token": token, "expires_in": 60}).to_string())
    }));
    let provider = provider.unwrap();
    let login = json!({
        "sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_url": format!("{}/token", provider.url()),
        "sasl_oauth_scope": "kafka write", "sasl_username": "tyk-pump", "sasl_password": "wr0ng",
    });
    let site = Site::new(&redis, shared.with_login(login));
    let daemon = site.start();
    push(&redis, (0..100).map(element));
    wait_for_state(&site, "paused", &["401", "meta.sasl_oauth_token_url"]);
    assert!(daemon.stop().success());
    let site = site.configure("/pumps/events/meta/sasl_password", json!("s3cret"));
    let daemon = site.start();
    site.wait_until_drained(&redis, 60);
    assert_eq!(shared.numbers(), once(0..100));
    let asked = provider.seen();
    let body = String::from_utf8_lossy(&asked.last().unwrap().body).into_owned();
    assert_eq!(body, "grant_type=client_credentials&scope=kafka%20write");
    assert!(daemon.stop().success());
    assert_eq!(unclaimed(&mut redis.client(0, "")), 0);
}
