//! SIGKILL while clients push: what was acknowledged arrives once, what was not at most once.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use analytics::{Text, Time, Zone, msgpack, record::Builder};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::support::{daemon::Site, free_ports, oracle::csv_serials};

const CLIENTS: u64 = 4;
const PIPELINE: u64 = 100;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A record with `/serial/000000000000` as its path, and where the digits stand.
fn template() -> (Vec<u8>, Vec<usize>) {
    let mut record = Builder::new();
    record
        .text(Text::Method, "GET")
        .text(Text::Path, "/serial/000000000000")
        .recorded_at(Time {
            seconds: 1_790_000_000,
            nanos: 0,
            zone: Zone::UTC,
        });
    let mut element = Vec::new();
    msgpack::encode(&mut element, &record.view());
    let places = element
        .windows(8)
        .enumerate()
        .filter(|(_, window)| window == b"/serial/");
    let places = places.map(|(at, _)| at + 8).collect();
    (element, places)
}

struct Pushing {
    port: u16,
    records: u64,
    next: AtomicU64,
    /// Serials whose reply came.
    acknowledged: Mutex<Vec<u64>>,
    stop: AtomicBool,
}

/// One connection until it breaks.
fn push_until_broken(pushing: &Pushing, element: &mut [u8], places: &[usize]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", pushing.port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    loop {
        let first = pushing.next.fetch_add(PIPELINE, Ordering::Relaxed);
        if first >= pushing.records {
            return Ok(());
        }
        let serials = first..(first + PIPELINE).min(pushing.records);
        let mut bytes = Vec::new();
        for serial in serials.clone() {
            let digits = format!("{serial:012}");
            for at in places {
                element[*at..at + 12].copy_from_slice(digits.as_bytes());
            }
            let list = format!("analytics-tyk-system-analytics_{}", first / PIPELINE % 10);
            bytes.extend(
                format!(
                    "*3\r\n$5\r\nrpush\r\n${}\r\n{list}\r\n${}\r\n",
                    list.len(),
                    element.len()
                )
                .bytes(),
            );
            bytes.extend(&*element);
            bytes.extend(b"\r\n");
        }
        stream.write_all(&bytes)?;
        let mut left = serials;
        let mut answers = [0; 4096];
        while left.start < left.end {
            let len = stream.read(&mut answers)?;
            if len == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            assert!(
                !answers[..len].contains(&b'-'),
                "{}",
                String::from_utf8_lossy(&answers[..len])
            );
            let lines = answers[..len].iter().filter(|byte| **byte == b'\n').count() as u64;
            pushing
                .acknowledged
                .lock()
                .unwrap()
                .extend(left.start..left.start + lines);
            left.start += lines;
        }
    }
}

fn push(pushing: &Pushing) {
    let (mut element, places) = template();
    while !pushing.stop.load(Ordering::Relaxed) {
        match push_until_broken(pushing, &mut element, &places) {
            Ok(()) => return,
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn kills_cost_nothing(fsync: &str, records: u64, kills: u64) {
    let site = Site::embedded(
        json!({"fsync": fsync}),
        json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}),
    );
    let pushing = Arc::new(Pushing {
        port: site.store_port(),
        records,
        next: AtomicU64::new(0),
        acknowledged: Mutex::new(Vec::new()),
        stop: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let pushing = pushing.clone();
            thread::spawn(move || push(&pushing))
        })
        .collect();
    let seed: u64 = rand::rng().random();
    println!("moments of the kills: seed {seed}");
    let mut moments = StdRng::seed_from_u64(seed);
    let share = records / (kills + 1);
    for kill in 1..=kills {
        let daemon = site.start();
        site.wait("pushed records", 120, || {
            (pushing.next.load(Ordering::Relaxed) >= kill * share).then_some(())
        });
        thread::sleep(Duration::from_millis(moments.random_range(0..100)));
        daemon.kill();
    }
    let last = site.start_ready();
    for client in clients {
        client.join().unwrap();
    }
    site.wait("everything delivered", 300, || {
        let (status, pump) = site.status("CSV")?;
        let idle = status["source"]["claims"] == 0
            && status["source"]["unclaimed"]
                .as_object()
                .is_some_and(|lists| lists.values().all(|rows| rows == 0))
            && pump["backlog_rows"] == 0;
        idle.then_some(())
    });
    assert!(last.stop().success());
    let mut times: HashMap<u64, u64> = HashMap::new();
    csv_serials(&site.path("csv"))
        .into_iter()
        .for_each(|serial| *times.entry(serial).or_default() += 1);
    let acknowledged = pushing.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|serial| !times.contains_key(serial))
        .collect();
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    let torn = site.log().matches("at the end are no whole entry").count();
    println!(
        "fsync {fsync}: {} of {records} acknowledged through {kills} kills, {} in CSV, {} lost, {} doubled, {torn} torn tails",
        acknowledged.len(),
        times.len(),
        lost.len(),
        doubled.len()
    );
    assert!(acknowledged.len() as u64 > records / 2, "{}", acknowledged.len());
    assert!(lost.is_empty(), "lost: {:?}", &lost[..lost.len().min(10)]);
    assert!(doubled.is_empty(), "doubled: {:?}", &doubled[..doubled.len().min(10)]);
    assert!(!site.log().contains("panicked"));
}

/// `SERIALS=1000000 KILLS=20` plays the full length.
#[test]
fn every_acknowledged_record_is_in_csv_once_whatever_dies_with_group_commit() {
    kills_cost_nothing("group", number("SERIALS", 40_000), number("KILLS", 5));
}

#[test]
fn every_acknowledged_record_is_in_csv_once_whatever_dies_with_fsync_always() {
    kills_cost_nothing("always", number("SERIALS", 20_000), number("KILLS", 4));
}

#[test]
fn another_pump_on_the_same_folder_or_port_says_so_and_ends() {
    let site = Site::embedded(json!({}), json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}));
    let first = site.start_ready();
    let other = site.configure("/health_check_endpoint_port", free_ports(1, &[]).into());
    let mut second = other.start();
    let status = other.wait("the second pump's end", 20, || second.ended());
    assert_eq!(status.code(), Some(1));
    assert!(other.log().contains("is open in another process"), "{}", other.log());
    drop(first);
}

#[test]
fn a_restore_beside_the_running_pump_is_refused_and_names_the_remedy() {
    let site = Site::embedded(json!({}), json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}));
    let daemon = site.start_ready();
    let refused = site.operate("claims restore");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("stop it first"), "{said}");
    // Its admin port is not the one that the configuration names by now.
    let other = site.configure("/health_check_endpoint_port", free_ports(1, &[]).into());
    let refused = other.operate("claims list");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("no pump answers at ") && said.contains("open in another process"),
        "{said}"
    );
    assert!(daemon.stop().success());
    assert!(other.operate("claims restore").status.success());
}
