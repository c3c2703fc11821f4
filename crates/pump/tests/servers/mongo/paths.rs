//! An hour in which every request has a path of its own.

use analytics::{Flag, Int, Text, Time, When, Zone, msgpack, record::Builder};
use serde_json::json;

use super::database::{Database, number};
use crate::support::{self, Server, daemon::Site};

const KEY: &str = "analytics-tyk-system-analytics";
/// 2023-11-14T22:00:00Z
const HOUR: i64 = 1_699_999_200;
/// Records that share a tag.
const OF_A_TAG: u64 = 5;
/// What a document may have.
const LARGEST: usize = 12 << 20;
/// What the pump may have.
const MEMORY: u64 = 256 << 20;

fn element(serial: u64) -> Vec<u8> {
    let time = |seconds| Time {
        seconds,
        nanos: 0,
        zone: Zone::UTC,
    };
    let mut record = Builder::new();
    record
        .recorded_at(time(HOUR + (serial % 3600) as i64))
        .time(When::ExpireAt, time(4_000_000_000))
        .text(Text::Path, format!("/customers/{serial}/orders/{}", serial * 7919))
        .text(Text::OrgId, "o1")
        .text(Text::ApiId, "api1")
        .text(Text::ApiVersion, "v1")
        .tags([format!("request-{}", serial / OF_A_TAG)])
        .flag(Flag::TrackPath, true)
        .int(Int::ResponseCode, 200)
        .int(Int::RequestTime, 10);
    let mut element = Vec::new();
    msgpack::encode(&mut element, &record.view());
    element
}

fn push(redis: &Server, records: u64) {
    let mut client = redis.client(0, "");
    for first in (0..records).step_by(1_000) {
        let mut push = redis::cmd("RPUSH");
        push.arg(KEY);
        for serial in first..records.min(first + 1_000) {
            push.arg(element(serial));
        }
        push.exec(&mut client).unwrap();
    }
}

/// `PUMP_TEST_PATHS` says how many, if not half a million.
#[test]
#[ignore = "full size: 500,000 paths and 100,000 tags in one hour"]
fn half_a_million_paths_in_an_hour_take_little_memory_and_count_exactly() {
    let records = std::env::var("PUMP_TEST_PATHS").map_or(500_000, |text| text.parse::<u64>().unwrap());
    let (Some(redis), Some(database)) = (support::redis("plain", &[]), Database::create()) else {
        return;
    };
    push(&redis, records);
    let site = Site::new(
        &redis,
        json!({"aggregated": {"type": "mongo-pump-aggregate", "meta": database.aggregates()}}),
    );
    let began = std::time::Instant::now();
    let daemon = site.start_ready();
    site.wait_until_drained(&redis, 3_600);
    let (memory, seconds) = (daemon.peak_memory(), began.elapsed().as_secs_f64());
    assert!(daemon.stop().success());

    let (mut documents, mut largest, mut hits) = (0, 0, 0);
    let (mut paths, mut tags) = (0, 0);
    database.each("z_tyk_analyticz_aggregate_o1", |document| {
        documents += 1;
        let bytes = mongodb::bson::serialize_to_vec(&document).unwrap().len();
        largest = largest.max(bytes);
        hits += number(document.get_document("total").unwrap(), "hits");
        for (dimension, sum) in [("endpoints", &mut paths), ("tags", &mut tags)] {
            let counters = document.get_document(dimension).unwrap().values();
            *sum += counters
                .map(|counter| number(counter.as_document().unwrap(), "hits"))
                .sum::<i64>();
        }
    });
    println!(
        "records {records}, {seconds:.0} s, documents {documents}, largest {largest} bytes, memory {} MiB",
        memory >> 20
    );
    assert_eq!((hits, paths, tags), (records as i64, records as i64, records as i64));
    assert!(largest < LARGEST, "{largest}");
    assert!(memory < MEMORY, "{memory}");
}
