//! `tyk-pump load` against a real Redis.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use analytics::{Int, Record, RecordView, Span, Text, Transform, When, Wire, msgpack, protobuf};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tyk_pump::{
    config::{RedisSettings, RedisTopology, Secret, TlsSettings, TlsVersion},
    load::{LoadOptions, Report, push},
};

use crate::support::free_ports;

/// The port of a cluster's bus is so much higher.
const CLUSTER_BUS: u16 = 10_000;

struct Redis {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    async fn start() -> (Redis, MultiplexedConnection) {
        Redis::start_with(&[]).await
    }

    async fn start_with(arguments: &[&str]) -> (Redis, MultiplexedConnection) {
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports(1, &[CLUSTER_BUS]);
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(folder.path())
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Redis {
            child,
            port,
            _folder: folder,
        };
        let connection = redis.answers().await;
        (redis, connection)
    }

    /// Waits until the server answers.
    async fn answers(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > deadline => panic!("redis-server does not answer: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn push(&self, options: &LoadOptions) -> Report {
        let options = LoadOptions {
            redis: Some(format!("127.0.0.1:{}", self.port)),
            ..options.clone()
        };
        push(&options, &options.target(None), |_| ()).await.unwrap()
    }
}

fn decode(element: &[u8], wire: Wire) -> Record {
    let span = Span {
        start: 0,
        len: element.len() as u32,
    };
    match wire {
        Wire::Msgpack => msgpack::decode(element, span).unwrap(),
        Wire::Protobuf => protobuf::decode(element, span).unwrap(),
    }
}

fn text(element: &[u8], record: &Record, field: Text) -> String {
    let transform = Transform::default();
    let view = RecordView::new(element, record, &transform);
    String::from_utf8(view.text(field).into_owned()).unwrap()
}

/// All elements by list.
async fn lists(connection: &mut MultiplexedConnection) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut lists = BTreeMap::new();
    let names: Vec<String> = connection.keys("*").await.unwrap();
    for name in names {
        let elements = connection.lrange(&name, 0, -1).await.unwrap();
        lists.insert(name, elements);
    }
    lists
}

#[tokio::test]
async fn every_number_arrives_once_in_ten_lists_that_expire() {
    let (redis, mut connection) = Redis::start().await;
    let options = LoadOptions {
        records: 20_000,
        serials: true,
        keys: "10".to_owned(),
        seed: Some(3),
        ..LoadOptions::default()
    };
    let report = redis.push(&options).await;
    let lists = lists(&mut connection).await;
    let mut seen = vec![0; 20_000];
    let mut bytes = 0;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    for (name, elements) in &lists {
        let digit = name
            .strip_prefix("analytics-tyk-system-analytics_")
            .expect("a list of a gateway");
        assert!(digit.len() == 1 && digit.parse::<u8>().is_ok(), "{name}");
        let left: i64 = connection.ttl(name).await.unwrap();
        assert!((1..=60).contains(&left), "{name} has {left} s left");
        for element in elements {
            bytes += element.len() as u64;
            let record = decode(element, Wire::Msgpack);
            let path = text(element, &record, Text::Path);
            seen[path.strip_prefix("/serial/").unwrap().parse::<usize>().unwrap()] += 1;
            assert_eq!(text(element, &record, Text::RawPath), path);
            assert!(text(element, &record, Text::OriginalPath).ends_with(&path));
            let age = now - record.time[When::TimeStamp as usize].seconds;
            assert!((0..=60).contains(&age), "{age} s old");
        }
    }
    assert!(seen.iter().all(|&times| times == 1));
    assert!(lists.len() > 5, "one of ten lists is picked for every flush");
    assert_eq!((report.records, report.bytes), (20_000, bytes));
}

#[tokio::test]
async fn protobuf_lists_never_expire() {
    let (redis, mut connection) = Redis::start().await;
    let options = LoadOptions {
        records: 3_000,
        serials: true,
        serializer: "protobuf".to_owned(),
        ..LoadOptions::default()
    };
    redis.push(&options).await;
    let lists = lists(&mut connection).await;
    let (name, elements) = lists.first_key_value().unwrap();
    assert_eq!(
        (lists.len(), name.as_str()),
        (1, "analytics-tyk-system-analytics_protobuf")
    );
    let left: i64 = connection.ttl(name).await.unwrap();
    assert_eq!(left, -1);
    let mut numbers: Vec<usize> = Vec::new();
    for element in elements {
        let record = decode(element, Wire::Protobuf);
        numbers.push(
            text(element, &record, Text::Path)
                .strip_prefix("/serial/")
                .unwrap()
                .parse()
                .unwrap(),
        );
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_mix_is_like_that_of_a_gateway() {
    let (redis, mut connection) = Redis::start().await;
    let options = LoadOptions {
        records: 10_000,
        errors: 0.25,
        seed: Some(4),
        ..LoadOptions::default()
    };
    let report = redis.push(&options).await;
    let mean = report.bytes / report.records;
    assert!((900..1300).contains(&mean), "{mean} bytes a record");
    let lists = lists(&mut connection).await;
    let (mut apis, mut keys, mut errors) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new(), 0);
    for element in lists.values().flatten() {
        let record = decode(element, Wire::Msgpack);
        *apis.entry(text(element, &record, Text::ApiId)).or_default() += 1;
        *keys.entry(text(element, &record, Text::ApiKey)).or_default() += 1;
        errors += usize::from(record.int[Int::ResponseCode as usize] >= 400);
        assert_eq!(
            record.int[Int::LatencyTotal as usize],
            record.int[Int::RequestTime as usize]
        );
    }
    assert_eq!(apis.len(), 50);
    assert!(apis.values().max() > Some(&1500), "some APIs are busy: {apis:?}");
    assert!(keys.len() > 1000, "{} keys", keys.len());
    assert!((2000..3000).contains(&errors), "{errors} errors");
}

#[tokio::test]
async fn bodies_and_sizes_fill_records() {
    let (redis, mut connection) = Redis::start().await;
    let options = LoadOptions {
        records: 300,
        bodies: true,
        ..LoadOptions::default()
    };
    let report = redis.push(&options).await;
    let mean = report.bytes / report.records;
    assert!((3_500..5_500).contains(&mean), "{mean} bytes a record");
    let element: Vec<u8> = connection.lindex("analytics-tyk-system-analytics", 0).await.unwrap();
    let record = decode(&element, Wire::Msgpack);
    for field in [Text::RawRequest, Text::RawResponse] {
        use base64::Engine;
        let body = base64::prelude::BASE64_STANDARD
            .decode(text(&element, &record, field))
            .unwrap();
        assert!(String::from_utf8(body).unwrap().contains("HTTP/1.1"));
    }

    connection.flushall::<()>().await.unwrap();
    let options = LoadOptions {
        records: 100,
        size: Some(40_000),
        ..LoadOptions::default()
    };
    redis.push(&options).await;
    for element in lists(&mut connection).await.values().flatten() {
        assert!((39_990..=40_010).contains(&element.len()), "{} bytes", element.len());
        decode(element, Wire::Msgpack);
    }
}

#[tokio::test]
async fn a_seed_repeats_the_mix_and_a_rate_takes_its_time() {
    let (redis, mut connection) = Redis::start().await;
    let options = LoadOptions {
        records: 500,
        seed: Some(5),
        clients: 1,
        rate: Some(1000.0),
        ..LoadOptions::default()
    };
    let mut runs = Vec::new();
    for _ in 0..2 {
        let report = redis.push(&options).await;
        assert!(report.elapsed >= Duration::from_millis(500), "{:?}", report.elapsed);
        let elements = lists(&mut connection).await.into_values().flatten();
        let mix: Vec<_> = elements
            .map(|element| {
                let record = decode(&element, Wire::Msgpack);
                [Text::Path, Text::ApiKey, Text::IpAddress].map(|field| text(&element, &record, field))
            })
            .collect();
        runs.push(mix);
        connection.flushall::<()>().await.unwrap();
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn a_cluster_and_a_password_are_served() {
    let arguments = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
    let (redis, mut connection) = Redis::start_with(&arguments).await;
    redis::cmd("CLUSTER")
        .arg("ADDSLOTSRANGE")
        .arg(0)
        .arg(16383)
        .exec_async(&mut connection)
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let info: String = redis::cmd("CLUSTER")
            .arg("INFO")
            .query_async(&mut connection)
            .await
            .unwrap();
        if info.contains("cluster_state:ok") {
            break;
        }
        assert!(Instant::now() < deadline, "{info}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let set = ["SET", "requirepass", "secret"];
    redis::cmd("CONFIG")
        .arg(&set)
        .exec_async(&mut connection)
        .await
        .unwrap();
    let options = LoadOptions {
        records: 5_000,
        serials: true,
        keys: "10".to_owned(),
        redis: Some(format!("127.0.0.1:{}", redis.port)),
        ..LoadOptions::default()
    };
    let target = RedisSettings {
        topology: RedisTopology::Cluster,
        password: Secret::new("secret".to_owned()),
        ..options.target(None)
    };
    let report = push(&options, &target, |_| ()).await.unwrap();
    let lists = lists(&mut connection).await;
    assert_eq!(
        (report.records, lists.values().map(Vec::len).sum::<usize>()),
        (5_000, 5_000)
    );
    for name in lists.keys() {
        let left: i64 = connection.ttl(name).await.unwrap();
        assert!((1..=60).contains(&left), "{name} has {left} s left");
    }
    let refused = RedisSettings {
        password: Secret::default(),
        topology: RedisTopology::Single,
        ..target
    };
    let error = push(&options, &refused, |_| ()).await.unwrap_err();
    assert!(format!("{error:#}").contains("NOAUTH"), "{error:#}");
}

#[tokio::test]
async fn tls_is_spoken_and_certificates_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .stderr(Stdio::null())
        .status()
        .expect("openssl is installed");
    assert!(made.success());
    let tls_port = free_ports(1, &[]).to_string();
    let arguments = [
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
    ];
    let arguments = [&arguments[..], &["--tls-auth-clients", "no"]].concat();
    let (_redis, mut connection) = Redis::start_with(&arguments).await;
    let options = LoadOptions {
        records: 100,
        redis: Some(format!("127.0.0.1:{tls_port}")),
        ..LoadOptions::default()
    };
    let target = |skip_verify, ca_file: Option<&str>| RedisSettings {
        tls: Some(TlsSettings {
            skip_verify,
            ca_file: ca_file.map(Into::into),
            identity: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        }),
        ..options.target(None)
    };
    push(&options, &target(false, Some(&certificate)), |_| ())
        .await
        .unwrap();
    push(&options, &target(true, None), |_| ()).await.unwrap();
    assert!(
        push(&options, &target(false, None), |_| ()).await.is_err(),
        "nobody vouches for this certificate"
    );
    let pushed: usize = connection.llen("analytics-tyk-system-analytics").await.unwrap();
    assert_eq!(pushed, 200);
}

#[tokio::test]
async fn the_master_behind_a_sentinel_is_found() {
    let (redis, mut connection) = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("sentinel.conf");
    std::fs::write(
        &configuration,
        format!("sentinel monitor main 127.0.0.1 {} 1\n", redis.port),
    )
    .unwrap();
    let port = free_ports(1, &[CLUSTER_BUS]);
    let child = Command::new("redis-server")
        .arg(&configuration)
        .args(["--sentinel", "--port", &port.to_string(), "--bind", "127.0.0.1"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sentinel = Redis {
        child,
        port,
        _folder: folder,
    };
    sentinel.answers().await;
    let options = LoadOptions {
        records: 100,
        redis: Some(format!("127.0.0.1:{port}")),
        ..LoadOptions::default()
    };
    let target = RedisSettings {
        topology: RedisTopology::Sentinel {
            master: "main".to_owned(),
            password: Secret::default(),
        },
        ..options.target(None)
    };
    push(&options, &target, |_| ()).await.unwrap();
    let pushed: usize = connection.llen("analytics-tyk-system-analytics").await.unwrap();
    assert_eq!(pushed, 100);
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = LoadOptions {
        redis: Some(free.to_string()),
        ..LoadOptions::default()
    };
    let error = push(&options, &options.target(None), |_| ()).await.unwrap_err();
    assert!(error.to_string().contains(&free.to_string()), "{error:#}");
}
