//! Who is shown the metrics, and how.

use super::*;

#[tokio::test]
async fn pumps_share_an_address_with_a_path_each() {
    let one = open(json!({"path": "/one"})).await;
    let address = one.address();
    let two = open(json!({"listen_address": address.to_string(), "path": "GET /two/"})).await;
    write(&one, &rows::group(CLAIM, 0..3)).await;
    let page = ask(address, "GET /one", "").await.text();
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 3.0);
    for path in ["/two/", "/two/anything/below?x=1", "/%74wo/"] {
        let answer = ask(address, &format!("GET {path}"), "").await;
        assert_eq!(
            (answer.status, answer.text().contains("tyk_http_status{")),
            (200, false)
        );
    }
    for path in ["/", "/metrics", "/one/", "/two", "/debug/pprof/"] {
        let answer = ask(address, &format!("GET {path}"), "").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
    let answer = ask(address, "POST /two/", "").await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    assert_eq!(ask(address, "POST /one", "").await.status, 200);
    let taken = json!({"listen_address": address.to_string(), "path": "/one"});
    assert!(matches!(refused(taken).await, BuildError::Unavailable(_)));
    let locked = json!({"listen_address": address.to_string(), "path": "/3", "username": "u", "password": "p"});
    assert!(matches!(refused(locked).await, BuildError::Options(_)));
    one.close().await.unwrap();
    assert_eq!(ask(address, "GET /one", "").await.status, 404);
    assert_eq!(ask(address, "HEAD /two/", "").await.status, 200);
    two.close().await.unwrap();
    // The port is free again.
    open(json!({"listen_address": address.to_string()})).await;
}

#[tokio::test]
async fn who_is_not_known_gets_nothing() {
    let sink = open(json!({"username": "prom", "password": "secret"})).await;
    let answer = ask(sink.address(), "GET /metrics", "").await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("www-authenticate: basic"), "{}", answer.head);
    let right = "Authorization: Basic cHJvbTpzZWNyZXQ=\r\n";
    assert_eq!(ask(sink.address(), "GET /metrics", right).await.status, 200);
    assert_eq!(ask(sink.address(), "GET /", "").await.status, 401);
}

#[tokio::test]
async fn gzip_is_the_same_page() {
    let meta = json!({"disabled_metrics": ["tyk_latency"]});
    let sink = open(meta).await;
    write(&sink, &rows::group(CLAIM, 0..3)).await;
    let answer = ask(sink.address(), "GET /metrics", "Accept-Encoding: gzip, deflate\r\n").await;
    assert!(answer.head.contains("content-encoding: gzip"), "{}", answer.head);
    let mut page = String::new();
    std::io::Read::read_to_string(&mut GzDecoder::new(&*answer.body), &mut page).unwrap();
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 3.0);
}

#[tokio::test]
async fn scrapers_can_be_asked_for_a_certificate() {
    let files = Certificates::make().unwrap();
    let named = |name: &str| files.text(name);
    let meta = json!({"ssl_cert_file": named("server.crt"), "ssl_key_file": named("server.key"), "ssl_ca_file": named("ca.crt")});
    let sink = open(meta).await;
    let get = async |identity: Option<Identity>| -> std::io::Result<String> {
        let settings = crate::tls::TlsSettings {
            ca_files: PemFile::of("ca", &named("ca.crt")).into_iter().collect(),
            identity,
            ..crate::tls::TlsSettings::default()
        };
        let config = crate::tls::client_config(&settings).unwrap();
        let stream = TcpStream::connect(sink.address()).await?;
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        let request = b"GET /metrics HTTP/1.1\r\nHost: pump\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let identity = Identity {
        certificate: PemFile::of("c", &named("client.crt")).unwrap(),
        key: PemFile::of("k", &named("client.key")).unwrap(),
    };
    assert!(get(Some(identity)).await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(None).await.is_err());
    assert!(ask_plainly(sink.address()).await.is_none());
}

async fn ask_plainly(address: SocketAddr) -> Option<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // An alert of TLS is no answer.
    answer.first().copied().filter(|first| *first == b'H')
}

#[tokio::test]
async fn scrapers_who_do_not_read_hold_nothing_up() {
    let meta = json!({"track_all_paths": true});
    let sink = open(meta).await;
    write(&sink, &rows::group(CLAIM, 0..2_000)).await;
    // They ask and do not read.
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(sink.address()).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: pump\r\n\r\n")
            .await
            .unwrap();
        waiting.push(stream);
    }
    for first in (2_000..10_000).step_by(1_000) {
        write(&sink, &rows::group(CLAIM, first..first + 1_000)).await;
    }
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 10_000.0);
}
