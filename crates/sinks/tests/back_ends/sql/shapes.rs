//! Tables, shards, indexes, old databases.

use std::{sync::Arc, time::Duration};

use analytics::{Flag, Float, Int, Text, Time, When, Zone, record::Builder};
use fakes::{postgres::Place, rows};
use serde_json::json;
use sinks::{MigrationMode, find};

use super::support::{claim, context, meta, selection, sink};

async fn columns(place: &Place, table: &str) -> Vec<String> {
    let query = format!(
        "SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    );
    place.column(&query).await
}

async fn indexes(place: &Place, table: &str) -> Vec<String> {
    let query = format!(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
        WHERE i.indrelid = to_regclass('{table}') AND i.indisvalid ORDER BY 1"
    );
    place.column(&query).await
}

async fn tables(place: &Place) -> Vec<String> {
    let query =
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY 1";
    place.column(query).await
}

fn at(date: &str) -> Builder {
    let seconds: i64 = format!("{date}T12:00:00Z")
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_second();
    let mut record = Builder::new();
    record.time(
        When::TimeStamp,
        Time {
            seconds,
            nanos: 123_456_789,
            zone: Zone::UTC,
        },
    );
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_databases_get_the_tables_that_dashboards_know() {
    let Some(place) = Place::start().await else { return };
    for pump in ["sql", "sql-graph", "sql-mcp"] {
        sink(&place, pump, json!({})).await;
    }
    let plain = columns(&place, "tyk_analytics").await;
    assert_eq!(plain.len(), 52);
    for column in [
        "method text",
        "responsecode bigint",
        "timestamp timestamp with time zone",
        "geo_city_geoname_id bigint",
        "geo_location_latitude numeric",
        "tags text",
        "trackpath boolean",
        "expireAt timestamp with time zone",
        "graphql_stats_is_graph_ql boolean",
    ] {
        assert!(plain.iter().any(|name| name == column), "{column} is not in {plain:?}");
    }
    let graph = columns(&place, "tyk_analytics_graph").await;
    assert_eq!(
        (graph.len(), graph[0].as_str(), graph[57].as_str()),
        (58, "types text", "has_errors boolean")
    );
    assert_eq!(graph[1], "analytics_method text");
    let mcp = columns(&place, "tyk_analytics_mcp").await;
    assert_eq!(
        (mcp.len(), mcp[54].as_str()),
        (55, "analytics_mcp_stats_primitive_name text")
    );
    for table in ["tyk_analytics", "tyk_analytics_graph", "tyk_analytics_mcp"] {
        assert!(indexes(&place, table).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_table_gets_its_columns_and_a_second_start_changes_nothing() {
    let Some(place) = Place::start().await else { return };
    sink(&place, "sql", json!({})).await;
    place
        .client
        .batch_execute(
            "ALTER TABLE tyk_analytics DROP latency_gateway, DROP originalpath, DROP mcp_stats_is_mcp, \
             ALTER responsecode TYPE integer, ADD our_own text DEFAULT 'x', ALTER apikey TYPE varchar(200), \
             ALTER tags TYPE jsonb USING tags::jsonb, ALTER requesttime TYPE double precision",
        )
        .await
        .unwrap();
    let sink = sink(&place, "sql", json!({})).await;
    let upgraded = columns(&place, "tyk_analytics").await;
    assert_eq!(upgraded.len(), 53);
    for column in [
        "latency_gateway bigint",
        "originalpath text",
        "mcp_stats_is_mcp boolean",
        "responsecode bigint",
    ] {
        assert!(
            upgraded.iter().any(|name| name == column),
            "{column} is not in {upgraded:?}"
        );
    }
    let mut record = at("2024-05-17");
    record.text(Text::ApiKey, "k").tags(["a"]).int(Int::RequestTime, 7);
    sink.write(&[selection(claim(1), 0, vec![record])], &Arc::default())
        .await
        .unwrap();
    let row = "SELECT concat_ws('|', apikey, tags, requesttime, our_own) FROM tyk_analytics";
    assert_eq!(place.column(row).await, [r#"k|["a"]|7|x"#]);
    let before = place
        .column("SELECT xmin FROM pg_class WHERE oid = 'tyk_analytics'::regclass")
        .await;
    super::support::sink(&place, "sql", json!({})).await;
    assert_eq!(columns(&place, "tyk_analytics").await, upgraded);
    assert_eq!(
        place
            .column("SELECT xmin FROM pg_class WHERE oid = 'tyk_analytics'::regclass")
            .await,
        before
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_to_the_shard_of_their_date_and_every_used_shard_has_six_indexes() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql", json!({"table_sharding": true})).await;
    let dates = ["2024-05-16", "2024-05-16", "2024-05-17", "2024-05-16"];
    sink.write(&[selection(claim(1), 0, dates.map(at).into())], &Arc::default())
        .await
        .unwrap();
    for (table, rows) in [("tyk_analytics_20240516", "3"), ("tyk_analytics_20240517", "1")] {
        assert_eq!(place.column(&format!("SELECT count(*) FROM {table}")).await, [rows]);
        let names = ["apiid", "apikey", "oauthid", "orgid", "responsecode", "timestamp"];
        assert_eq!(
            indexes(&place, table).await,
            names.map(|name| format!("{table}_idx_{name}"))
        );
    }
    assert!(!tables(&place).await.contains(&"tyk_analytics".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_made_at_the_start_gets_its_indexes_with_its_first_rows() {
    let Some(place) = Place::start().await else { return };
    for (kind, base, count) in [("sql", "tyk_analytics", 6), ("sql_aggregate", "tyk_aggregated", 2)] {
        let before = jiff::Zoned::now().date();
        let sink = sink(&place, kind, json!({"table_sharding": true})).await;
        let today = jiff::Zoned::now().date();
        if before != today {
            return; // midnight has just passed
        }
        let table = format!("{base}_{}", today.strftime("%Y%m%d"));
        // Counters have a primary key from the beginning.
        assert_eq!(indexes(&place, &table).await.len(), usize::from(count == 2), "{table}");
        let mut record = at(&today.to_string());
        record.text(Text::OrgId, "o").text(Text::ApiId, "a");
        sink.write(&[selection(claim(1), 0, vec![record])], &Arc::default())
            .await
            .unwrap();
        until_indexed(&place, &table, count).await;
    }
}

/// Indexes that are built in the background are waited for.
async fn until_indexed(place: &Place, table: &str, count: usize) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while indexes(place, table).await.len() < count {
        assert!(std::time::Instant::now() < deadline, "{table} has no indexes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_shards_touches_valid_names_only_and_a_used_one_gets_its_indexes() {
    let Some(place) = Place::start().await else { return };
    for table in [
        "tyk_analytics_20240516",
        "tyk_analytics_20240230",
        "tyk_analytics_graph_20240516",
    ] {
        place
            .client
            .batch_execute(&format!("CREATE TABLE {table} (method text)"))
            .await
            .unwrap();
    }
    let sink = sink(
        &place,
        "sql",
        json!({"table_sharding": true, "migrate_sharded_tables": true}),
    )
    .await;
    assert_eq!(columns(&place, "tyk_analytics_20240516").await.len(), 52);
    assert_eq!(columns(&place, "tyk_analytics_20240230").await.len(), 1);
    assert_eq!(columns(&place, "tyk_analytics_graph_20240516").await.len(), 1);
    assert!(indexes(&place, "tyk_analytics_20240516").await.is_empty());
    sink.write(&[selection(claim(1), 0, vec![at("2024-05-16")])], &Arc::default())
        .await
        .unwrap();
    until_indexed(&place, "tyk_analytics_20240516", 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_shards_are_dropped_only_when_retention_is_set() {
    let Some(place) = Place::start().await else { return };
    let today = jiff::Zoned::now().strftime("%Y%m%d").to_string();
    let keeping = sink(&place, "sql", json!({"table_sharding": true})).await;
    let old = selection(claim(1), 0, vec![at("2024-05-16")]);
    keeping
        .write(std::slice::from_ref(&old), &Arc::default())
        .await
        .unwrap();
    assert!(tables(&place).await.contains(&"tyk_analytics_20240516".to_owned()));
    place
        .client
        .batch_execute("CREATE TABLE tyk_analytics_20240230 (x int)")
        .await
        .unwrap();
    let dropping = sink(&place, "sql", json!({"table_sharding": true, "retention_days": 30})).await;
    dropping
        .write(&rows::group(claim(2), 0..1), &Arc::default())
        .await
        .unwrap();
    let left = tables(&place).await;
    assert_eq!(
        left,
        [
            "tyk_analytics_20240230".to_owned(),
            format!("tyk_analytics_{today}"),
            "tyk_pump_ledger".to_owned()
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_read_back_as_they_were() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql", json!({})).await;
    let mut record = at("2024-05-17");
    record
        .text(Text::RawRequest, "x".repeat(1 << 20))
        .int(Int::GeoNameId, i64::MAX)
        .int(Int::ContentLength, i64::MIN)
        .float(Float::Latitude, 51.5142)
        .float(Float::Longitude, -1.5e-10)
        .flag(Flag::TrackPath, true)
        .city_names([("en", "Vienna"), ("de", "Wien")]);
    let tokyo = Zone::named(b"Asia/Tokyo").unwrap();
    let mut other = Builder::new();
    other.time(
        When::ExpireAt,
        Time {
            seconds: 0,
            nanos: 1_000,
            zone: tokyo,
        },
    );
    sink.write(&[selection(claim(1), 0, vec![record, other])], &Arc::default())
        .await
        .unwrap();
    let read = place
        .column(
            "SET TimeZone = 'UTC'; SELECT concat_ws('|', timestamp, length(rawrequest), geo_city_geoname_id, \
             contentlength, geo_location_latitude, geo_location_longitude, trackpath, geo_city_names, tags, \
             apikey = '', \"expireAt\") FROM tyk_analytics ORDER BY timestamp DESC",
        )
        .await;
    assert_eq!(
        read,
        [
            "2024-05-17 12:00:00.123456+00|1048576|9223372036854775807|-9223372036854775808|51.5142|-0.00000000015|t|\
             {\"de\":\"Wien\",\"en\":\"Vienna\"}|[]|t|0001-01-01 00:00:00+00",
            "0001-01-01 00:00:00+00|0|0|0|0|0|f|{}|[]|t|1970-01-01 00:00:00.000001+00",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_names_may_need_quotes_and_name_a_schema() {
    let Some(place) = Place::start().await else { return };
    let schema = place.column("SELECT current_schema()").await.join("");
    let mut record = at("2024-05-17");
    record.flag(Flag::IsGraphQl, true);
    for (number, (name, quoted)) in [
        ("rand-table", "\"rand-table\"".to_owned()),
        (&format!("{schema}.Own"), format!("{schema}.\"Own\"")),
    ]
    .into_iter()
    .enumerate()
    {
        let sink = sink(&place, "sql-graph", json!({"table_name": name})).await;
        sink.write(
            &[selection(claim(number as u128), 0, vec![record.clone()])],
            &Arc::default(),
        )
        .await
        .unwrap();
        assert_eq!(place.column(&format!("SELECT count(*) FROM {quoted}")).await, ["1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_changes_nothing_and_is_empty_once_it_is_applied() {
    let Some(place) = Place::start().await else { return };
    place
        .client
        .batch_execute("CREATE TABLE tyk_analytics_graph (types text)")
        .await
        .unwrap();
    let run = async |kind: &str, mode| {
        let meta = meta(&place, json!({"table_sharding": kind == "sql"}));
        find(kind).unwrap().migrate.unwrap()(context("TEST", meta), mode)
            .await
            .unwrap()
    };
    let plan = run("sql", MigrationMode::Plan).await;
    assert_eq!(plan.len(), 8, "{plan:?}");
    assert!(
        plan[0].starts_with(r#"CREATE TABLE "tyk_pump_ledger" ("pump" text,"#),
        "{plan:?}"
    );
    assert!(plan[1].starts_with(r#"CREATE TABLE "tyk_analytics_2"#), "{plan:?}");
    assert_eq!(tables(&place).await, ["tyk_analytics_graph"]);
    assert_eq!(run("sql", MigrationMode::Apply).await, plan);
    assert!(run("sql", MigrationMode::Plan).await.is_empty());
    let plan = run("sql-graph", MigrationMode::Plan).await;
    assert!(
        plan[0].starts_with(r#"ALTER TABLE "tyk_analytics_graph" ADD "analytics_method" text, ADD "#),
        "{plan:?}"
    );
    run("sql-graph", MigrationMode::Apply).await;
    assert_eq!(columns(&place, "tyk_analytics_graph").await.len(), 58);
    assert!(find("csv").unwrap().migrate.is_none());
}
