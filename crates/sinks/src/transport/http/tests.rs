use std::time::Instant;

use tokio::net::TcpListener;

use super::*;
use crate::transport::tls::{PemFile, Verification};
use fakes::{
    certificates::Certificates,
    http::{Fault, HttpServer, Received, Reply},
};

async fn echo() -> HttpServer {
    HttpServer::start(|request: &Received| Reply::new(200, request.body.clone()))
        .await
        .unwrap()
}

fn quick() -> HttpClient {
    HttpClient::new(HttpSettings {
        timeout: Duration::from_millis(300),
        secrets: vec!["s3cret".to_owned()],
        tls: TlsSettings {
            verification: Verification::None,
            ..TlsSettings::default()
        },
        ..HttpSettings::default()
    })
    .unwrap()
}

fn post(server: &HttpServer, path: &str) -> Request {
    let url = Url::parse(&format!("{}{path}", server.url())).unwrap();
    Request::post(url).body("hello")
}

async fn outcome(server: &HttpServer, path: &str) -> Result<Answer, WriteError> {
    quick().send(post(server, path)).await.and_then(Answer::accepted)
}

#[tokio::test]
async fn requests_share_a_connection_and_bodies_can_be_compressed() {
    let server = echo().await;
    let client = quick();
    for _ in 0..5 {
        let request = post(&server, "/in?x=1")
            .header("content-type", "text/plain")
            .gzip("hello");
        let answer = client.send(request).await.unwrap().accepted().unwrap();
        assert_eq!(answer.body, "hello");
    }
    let seen = server.seen();
    assert_eq!(server.connections(), 1);
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/in?x=1"));
    assert_eq!(seen[0].header("content-encoding"), "gzip");
    assert_eq!(seen[0].header("content-type"), "text/plain");
}

#[tokio::test]
async fn each_status_has_its_consequence() {
    let server = echo().await;
    for (status, want) in [
        (204, "ok"),
        (302, "config"),
        (400, "reject"),
        (401, "config"),
        (403, "config"),
        (404, "config"),
        (408, "retry"),
        (409, "reject"),
        (413, "reject"),
        (429, "retry"),
        (500, "retry"),
        (503, "retry"),
    ] {
        let mut reply = Reply::new(status, "because  of\ns3cret and much more: ".repeat(50));
        reply.headers.push(("retry-after", "7".to_owned()));
        server.set_fault(Some(Fault::Answers(reply)));
        let outcome = outcome(&server, "/in?token=t0ken").await;
        let got = match &outcome {
            Ok(_) => "ok",
            Err(WriteError::Retry { after, .. }) => {
                assert_eq!(*after, Some(Duration::from_secs(7)));
                "retry"
            }
            Err(WriteError::Reject { rows, .. }) => {
                assert!(rows.is_empty());
                "reject"
            }
            Err(WriteError::Config(_)) => "config",
        };
        assert_eq!(got, want, "{status}");
        if let Err(error) = outcome {
            let text = error.to_string();
            assert!(text.contains(&status.to_string()), "{text}");
            assert!(!text.contains("s3cret") && !text.contains("t0ken"), "{text}");
            assert!(text.len() < 600, "{text}");
        }
    }
}

#[tokio::test]
async fn a_server_can_name_the_date_of_its_return() {
    let server = echo().await;
    let at = jiff::Timestamp::now() + Duration::from_secs(60);
    let mut reply = Reply::new(503, "");
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at)
        .unwrap();
    reply.headers.push(("retry-after", date));
    server.set_fault(Some(Fault::Answers(reply)));
    let Err(WriteError::Retry { after: Some(after), .. }) = outcome(&server, "/").await else {
        panic!("no pause");
    };
    assert!((50..=60).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn no_answer_is_tried_again() {
    let server = echo().await;
    for fault in [Fault::HangsUp, Fault::BreaksOff, Fault::Stalls] {
        server.set_fault(Some(fault.clone()));
        let error = outcome(&server, "/in").await.unwrap_err();
        assert!(
            matches!(error, WriteError::Retry { after: None, .. }),
            "{fault:?}: {error}"
        );
        assert!(error.to_string().contains("/in: "), "{error}");
        server.set_fault(None);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{nobody}/")).unwrap();
    let error = quick().send(Request::post(url)).await.unwrap_err();
    assert!(
        error.to_string().contains("cannot connect: Connection refused"),
        "{error}"
    );
    assert!(matches!(error, WriteError::Retry { .. }));
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_meanwhile_costs_nothing() {
    let server = echo().await;
    let client = quick();
    client.send(post(&server, "/")).await.unwrap();
    server.set_fault(Some(Fault::HangsUp));
    assert!(client.send(post(&server, "/")).await.is_err());
    server.set_fault(None);
    let began = Instant::now();
    client.send(post(&server, "/")).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn redirects_are_followed_only_with_the_body() {
    let target = echo().await;
    let to = format!("{}/there", target.url());
    let server = HttpServer::start(move |request: &Received| {
        let mut reply = Reply::new(if request.path == "/keep" { 307 } else { 302 }, "");
        reply.headers.push(("location", to.clone()));
        reply
    })
    .await
    .unwrap();
    let answer = outcome(&server, "/keep").await.unwrap();
    assert_eq!(answer.body, "hello");
    let error = outcome(&server, "/lose").await.unwrap_err();
    assert!(matches!(error, WriteError::Config(_)), "{error}");
    assert!(error.to_string().contains("/there"), "{error}");
    assert_eq!(target.seen().len(), 1);
}

#[tokio::test]
async fn a_redirect_to_another_origin_gets_no_credentials_whatever_their_header() {
    let target = echo().await;
    let to = format!("{}/there", target.url());
    let server = HttpServer::start(move |request: &Received| {
        let location = match request.path.as_str() {
            "/near" => "/there".to_owned(),
            "/there" => return Reply::new(200, "hello"),
            "/port" => to.clone(),
            "/far" => to.replace("127.0.0.1", "localhost"),
            path => path.to_owned(),
        };
        let mut reply = Reply::new(308, "");
        reply.headers.push(("location", location));
        reply
    })
    .await
    .unwrap();
    let send = async |path: &str| {
        quick()
            .send(
                post(&server, path)
                    .header("content-type", "text/plain")
                    .header("x-moesif-application-id", "app")
                    .header("cookie", "session=1")
                    .authorization(Some(&basic("u", "p"))),
            )
            .await
    };
    assert_eq!(send("/near").await.unwrap().body, "hello");
    let near = server.seen().pop().unwrap();
    assert_eq!(
        (near.header("authorization"), near.header("x-moesif-application-id")),
        ("Basic dTpw", "app")
    );
    for path in ["/port", "/far"] {
        assert_eq!(send(path).await.unwrap().body, "hello");
        let far = target.seen().pop().unwrap();
        assert_eq!(far.header("content-type"), "text/plain");
        for name in ["authorization", "x-moesif-application-id", "cookie", "referer"] {
            assert_eq!(far.header(name), "", "{path} {name}");
        }
    }
    let before = server.seen().len();
    assert_eq!(send("/round").await.unwrap().status, 308);
    assert_eq!(server.seen().len(), before + 1 + MAX_REDIRECTS);
    let url = |text: &str| Url::parse(text).unwrap();
    for (first, next, want) in [
        ("https://a.example/x", "https://a.example:8088/y", false),
        ("https://a.example/", "https://b.a.example/", false),
        ("https://a.example/", "https://ba.example/", false),
        ("https://b.a.example/", "https://a.example/", false),
        ("https://a.example/", "http://a.example/", false),
        ("http://a.example/", "https://a.example/", true),
        ("http://a.example:8080/", "https://a.example:8443/", false),
        ("https://a.example/x", "https://a.example:443/y", true),
    ] {
        assert_eq!(shares_credentials(&url(first), &url(next)), want, "{first} {next}");
    }
}

#[test]
fn a_path_is_appended_to_the_url_as_it_was_written() {
    for (url, want) in [
        ("http://h", "http://h"),
        ("http://h/", "http://h"),
        ("http://h/in", "http://h/in"),
        ("http://u:p@h/in/", "http://h/in/"),
    ] {
        assert_eq!(Endpoint::parse("meta.url", url).unwrap().base(), want);
    }
}

#[tokio::test]
async fn a_wrong_certificate_is_a_matter_of_configuration() {
    let made = Certificates::make().unwrap();
    let trusting = || {
        HttpClient::new(HttpSettings {
            tls: TlsSettings {
                ca_files: PemFile::of("ssl_ca_file", &made.text("ca.crt")).into_iter().collect(),
                ..TlsSettings::default()
            },
            ..HttpSettings::default()
        })
        .unwrap()
    };
    for (certificate, asks, good) in [
        ("server", false, true),
        ("rogue", false, false),
        ("wronghost", false, false),
        ("expired", false, false),
        ("server", true, false),
    ] {
        let acceptor = made.acceptor(certificate, asks).unwrap();
        let server = HttpServer::start_with(Some(acceptor), |_: &Received| Reply::new(200, ""))
            .await
            .unwrap();
        match trusting().send(post(&server, "/")).await {
            Ok(_) => assert!(good, "{certificate}"),
            Err(WriteError::Config(error)) => assert!(!good && error.to_string().contains("TLS"), "{error}"),
            Err(error) => panic!("{certificate}: {error}"),
        }
    }
}

#[test]
fn credentials_leave_the_url() {
    let endpoint = Endpoint::parse("meta.url", "http://us%40er:p%3Aw@host:1/x?y=1").unwrap();
    assert_eq!(endpoint.url.as_str(), "http://host:1/x?y=1");
    let authorization = endpoint.authorization.unwrap();
    assert_eq!(authorization, basic("us@er", "p:w"));
    assert!(!format!("{authorization:?}").contains("Basic"));
    assert_eq!(endpoint.secret.as_deref(), Some("p:w"));
    for wrong in ["", "localhost:9200", "ftp://host", "http://u:s3cret@"] {
        let error = Endpoint::parse("meta.url", wrong).unwrap_err().to_string();
        assert!(error.starts_with("meta.url: ") && !error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_request_shows_nothing_of_it() {
    let server = HttpServer::start(|request: &Received| {
        Reply::new(400, [b"Bad request: cannot parse ", request.body.as_slice()].concat())
    })
    .await
    .unwrap();
    let url = Url::parse(&server.url()).unwrap();
    let record = r#"{"api_key":"5f2bKEY","alias":"alice","raw":"R0VUIC8gSFRUUC8xLjE=","ip":"10.9.8.7"}"#;
    let sent = quick()
        .send(Request::post(url).body(record))
        .await
        .and_then(Answer::accepted);
    let text = sent.unwrap_err().to_string();
    assert!(text.contains("400") && text.contains("cannot parse"), "{text}");
    for part in ["5f2bKEY", "alice", "R0VUIC8", "10.9.8.7", "alias"] {
        assert!(!text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_web_page_is_no_success() {
    let server = echo().await;
    for body in ["<!DOCTYPE html><html>login</html>", " <HTML>"] {
        server.set_fault(Some(Fault::Answers(Reply::new(200, body))));
        let error = outcome(&server, "/in").await.unwrap_err();
        assert!(matches!(error, WriteError::Config(_)), "{error}");
        assert!(error.to_string().contains("web page"), "{error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let server = echo().await;
    server.set_fault(Some(Fault::Answers(Reply::new(200, vec![b'x'; 10 << 20]))));
    let error = outcome(&server, "/in").await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}
