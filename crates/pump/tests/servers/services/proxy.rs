//! Services that are reached through a proxy, as the environment says.

use std::sync::{Arc, Mutex};

use fakes::{
    certificates::Certificates,
    http::{Fault, HttpServer, Received, Reply},
    rows,
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::records::{element, push};
use crate::support::{self, daemon::Site};

/// Who went where.
type Calls = Arc<Mutex<Vec<String>>>;

/// Connects everybody who has the password to `target`, whatever host was asked for.
async fn tunnel(listener: TcpListener, target: std::net::SocketAddr, calls: Calls) {
    while let Ok((stream, _)) = listener.accept().await {
        let calls = calls.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).await? > 2 {
                head.push_str(&std::mem::take(&mut line));
            }
            let host = head.split(' ').nth(1).unwrap_or_default().to_owned();
            calls.lock().unwrap().push(host);
            // user:secret
            if !head.contains("Basic dXNlcjpzZWNyZXQ=") {
                let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                return stream.write_all(refusal).await;
            }
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
            let mut server = TcpStream::connect(target).await?;
            copy_bidirectional(&mut stream, &mut server).await?;
            Ok(())
        });
    }
}

#[test]
fn a_proxy_leads_to_the_service_and_its_certificate_is_still_checked() {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let certificates = Certificates::make().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let calls = Calls::default();
    let (far, plain, port) = runtime.block_on(async {
        let acceptor = certificates.acceptor("wronghost", false).unwrap();
        let ok = |_: &Received| Reply::new(200, r#"{"text":"Success","code":0}"#);
        let far = HttpServer::start_with(Some(acceptor), ok).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(tunnel(listener, far.address(), calls.clone()));
        (far, HttpServer::start(ok).await.unwrap(), port)
    });
    let ca = certificates.text("ca.crt");
    let splunk = |url: &str, name: &str| {
        let meta = json!({
            "collector_token": "token", "collector_url": url, "enable_batch": true, "gzip": true,
            "ssl_ca_file": ca, "ssl_server_name": name,
        });
        json!({"type": "splunk", "meta": meta})
    };
    let pumps = json!({
        // The certificate is made out to elsewhere.invalid, and no resolver knows any of these hosts.
        "right": splunk("https://elsewhere.invalid", ""),
        "named": splunk("https://splunk.invalid:8088", "elsewhere.invalid"),
        "wrong": splunk("https://splunk.invalid:8088", ""),
        "plain": {"type": "logzio", "meta": {"token": "token", "url": "http://logs.invalid:8070"}},
    });
    let site = Site::new(&redis, pumps);
    let start = |proxy: String| site.start_with(&[("HTTPS_PROXY", &proxy), ("HTTP_PROXY", &plain.url())]);
    let state = |pump: &str| {
        let (_, shown) = site.status(pump)?;
        Some((
            shown["state"].as_str()?.to_owned(),
            shown["cause"].as_str().unwrap_or_default().to_owned(),
        ))
    };

    let daemon = start(format!("http://user:wrong@127.0.0.1:{port}"));
    site.wait_until_ready();
    plain.set_fault(Some(Fault::Answers(Reply::new(407, "who are you"))));
    push(&redis, (0..100).map(element));
    for pump in ["RIGHT", "NAMED", "WRONG", "PLAIN"] {
        site.wait("the proxy's refusal to be shown", 20, || {
            let (state, cause) = state(pump)?;
            (state == "paused" && cause.contains("407")).then_some(())
        });
    }
    assert!(daemon.stop().success());
    assert!(!site.log().contains("user:") && far.seen().is_empty());

    plain.set_fault(None);
    calls.lock().unwrap().clear();
    let daemon = start(format!("http://user:secret@127.0.0.1:{port}"));
    site.wait("the wrong certificate to be shown", 20, || {
        let (state, cause) = state("WRONG")?;
        (state == "paused" && cause.contains("certificate")).then_some(())
    });
    let came = |server: &HttpServer| -> Vec<u64> {
        let mut serials: Vec<u64> = server
            .seen()
            .iter()
            .flat_map(|request| rows::serials(&request.body))
            .collect();
        serials.sort_unstable();
        serials
    };
    let twice: Vec<u64> = (0..100).flat_map(|serial| [serial, serial]).collect();
    site.wait("both of the others", 20, || (came(&far) == twice).then_some(()));
    assert!(daemon.stop().success());

    assert_eq!(far.seen()[0].header("content-encoding"), "gzip");
    let mut hosts = calls.lock().unwrap().clone();
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts, ["elsewhere.invalid:443", "splunk.invalid:8088"]);
    let plain = plain.seen();
    let last = plain.last().unwrap();
    assert_eq!(last.path, "http://logs.invalid:8070/?token=token");
    assert_eq!(rows::serials(&last.body), (0..100).collect::<Vec<_>>());
}
