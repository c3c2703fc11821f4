//! Logins, options, TLS.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use fakes::certificates::Certificates;
use gorpc::{Answer, Outcome, ServerOptions, gob::Basic};
use serde_json::json;
use sinks::{BuildContext, BuildError, WriteError};

use crate::mdcb::{Calls, Mdcb, built, good, spec, with};

#[tokio::test]
async fn a_refused_login_pauses_the_pump_and_names_the_remedy() {
    let right = Arc::new(AtomicBool::new(true));
    let switch = right.clone();
    let mdcb = Mdcb::start(move |call| {
        let refused = call.name == ".Login" && !switch.load(Ordering::SeqCst);
        refused.then(|| Answer::Outcome(Outcome::Returned(Some(Basic::Bool(false)))))
    })
    .await;
    let pump = built(mdcb.meta(), false).await;
    right.store(false, Ordering::SeqCst);
    let error = pump.write(&good(0..3)).await.unwrap_err();
    assert!(matches!(error, WriteError::Config(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("RPC login incorrect") && text.contains("meta.api_key"),
        "{text}"
    );
    assert!(!text.contains("\"key\""), "{text}");
    right.store(true, Ordering::SeqCst);
    pump.write(&good(0..3)).await.unwrap();
    assert_eq!(mdcb.serials(), [0, 1, 2]);
}

#[tokio::test]
async fn an_answer_to_the_login_that_is_no_bool_is_an_error_with_a_question() {
    let mdcb = Mdcb::start(|call| {
        (call.name == ".Login").then(|| Answer::Outcome(Outcome::Returned(Some(Basic::text("yes")))))
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

/// A server that has many names shows the certificate of the one that it is asked for.
#[tokio::test]
async fn tls_asks_for_the_server_by_the_name_of_its_certificate() {
    let files = Certificates::make().unwrap();
    let options = ServerOptions {
        tls: Some(files.acceptor_of("server", "localhost").unwrap()),
        ..ServerOptions::default()
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mdcb = Mdcb::at(local, Calls::default(), options, Arc::new(|_| None)).await;
    // It is dialled by its address, which is no name that can be asked for.
    let named = json!({"use_ssl": true, "ssl_ca_file": files.text("ca.crt"), "ssl_server_name": "localhost"});
    let pump = built(with(mdcb.meta(), named), false).await;
    pump.write(&good(0..3)).await.unwrap();
    assert_eq!(mdcb.serials(), [0, 1, 2]);
}
