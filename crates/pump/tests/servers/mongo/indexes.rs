//! `tyk-pump indexes` on collections of upstream, of somebody else and on none.

use std::process::Output;

use mongodb::bson::{Document, doc};
use serde_json::json;

use super::database::Database;
use crate::support::{self, daemon::Site};

fn index(name: &str, key: Document) -> Document {
    doc! {"name": name, "key": key}
}

/// The lines of a run that succeeds.
#[track_caller]
fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{text} {output:?}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn indexes_are_compared_and_only_what_is_missing_is_built() {
    let (Some(redis), Some(database)) = (support::redis("plain", &[]), Database::create()) else {
        return;
    };
    // Made by an old driver: no expiry. An index of somebody else, and a name that is taken.
    database.create_indexes("z_tyk_analyticz_o1", vec![index("expireAt_1", doc! {"expireAt": 1})]);
    database.create_indexes(
        "tyk_analytics",
        vec![
            index("mine", doc! {"path": 1}),
            index("logBrowserIndex", doc! {"timestamp": 1}),
        ],
    );
    database.create_indexes("z_tyk_analyticz_aggregate_o1", vec![index("any", doc! {"orgid": 1})]);
    let mut omitting = database.records();
    omitting["omit_index_creation"] = true.into();
    let site = Site::new(
        &redis,
        json!({
            "raw": {"type": "mongo", "meta": omitting},
            "selective": {"type": "mongo-pump-selective", "meta": database.aggregates()},
            "aggregated": {"type": "mongo-pump-aggregate", "meta": database.aggregates()},
            "lines": {"type": "stdout"},
        }),
    )
    .configure("/dont_purge_uptime_data", false.into())
    .configure("/uptime_pump_config", database.aggregates());

    let before = database.all_indexes();
    let plan = lines(&site.operate("indexes --plan"));
    assert_eq!(database.all_indexes(), before);
    let has = |lines: &[String], line: &str| assert!(lines.iter().any(|found| found == line), "{line}: {lines:#?}");
    has(&plan, "-- RAW: 2 missing, 0 built, 1 different");
    has(&plan, "-- mine: there, not of this pump, {path: 1}");
    has(
        &plan,
        r#"db.getCollection("tyk_analytics").createIndex({orgid: 1}, {name: "orgid_1"})"#,
    );
    has(
        &plan,
        "-- logBrowserIndex: different, its keys are {timestamp: 1}, not {timestamp: -1, orgid: 1, apiid: 1, apikey: 1, \
         responsecode: 1}; if nobody needs it like that: db.getCollection(\"tyk_analytics\").dropIndex(\"logBrowserIndex\"), \
         then tyk-pump indexes --apply",
    );
    has(&plan, "-- SELECTIVE: 2 missing, 0 built, 1 different");
    has(
        &plan,
        "-- expireAt_1: different, documents do not expire by it; if nobody needs it like that: \
         db.getCollection(\"z_tyk_analyticz_o1\").dropIndex(\"expireAt_1\"), then tyk-pump indexes --apply",
    );
    has(&plan, "-- AGGREGATED: 2 missing, 0 built, 0 different");
    has(&plan, "-- collection tyk_uptime_analytics");
    assert!(!plan.iter().any(|line| line.contains("LINES")), "{plan:#?}");

    let applied = lines(&site.operate("indexes --apply"));
    has(&applied, "-- RAW: 0 missing, 2 built, 1 different");
    has(&applied, "-- orgid_1: built");
    let names = |collection: &str| database.indexes(collection);
    assert_eq!(
        names("tyk_analytics"),
        ["_id_", "apiid_1", "logBrowserIndex", "mine", "orgid_1"]
    );
    assert_eq!(
        names("z_tyk_analyticz_aggregate_o1"),
        ["_id_", "any", "expireAt_1", "timestamp_1"]
    );
    assert_eq!(
        names("tyk_uptime_analytics"),
        ["_id_", "apiid_1", "logBrowserIndex", "orgid_1"]
    );

    let after = database.all_indexes();
    let again = lines(&site.operate("indexes --apply"));
    has(&again, "-- SELECTIVE: 0 missing, 0 built, 1 different");
    assert_eq!(database.all_indexes(), after);
    let none = lines(&site.operate("indexes --pump lines"));
    assert_eq!(none, ["-- no pump whose indexes can be compared"]);
}
