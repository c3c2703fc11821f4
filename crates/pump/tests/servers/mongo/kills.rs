//! SIGKILL at random moments, and inserts and updates that the pump never learns of.

use std::collections::BTreeMap;

use serde_json::json;

use super::database::{Database, counters, number};
use crate::support::{
    self,
    deck::{Deck, compare, compare_serials},
    kills::{Plan, deliver},
};

/// `PUMP_TEST_KILLS` says how many, with 50,000 records for each.
fn plan() -> Plan {
    let kills = std::env::var("PUMP_TEST_KILLS").ok();
    match kills.map(|text| text.parse::<u32>().unwrap()) {
        // Small enough for every day.
        None => Plan {
            deck: Deck::ordinary(12_000),
            kills: 3,
            cut_one_in: 4,
            commits: 0..4,
            later: 0..150,
            patience: 30,
        },
        Some(kills) => Plan {
            deck: Deck::ordinary(50_000 * u64::from(kills)),
            kills,
            cut_one_in: 6,
            commits: 0..10,
            later: 0..400,
            patience: 180,
        },
    }
}

#[test]
fn kills_and_lost_answers_leave_mongo_exact() {
    let (Some(redis), Some(database)) = (support::redis("plain", &[]), Database::create()) else {
        return;
    };
    let plan = plan();
    let pumps = json!({
        "raw": {"type": "mongo", "meta": database.records()},
        "aggregated": {"type": "mongo-pump-aggregate", "meta": database.aggregates()},
    });
    deliver(&redis, &database, pumps, &plan);

    let mut serials = Vec::new();
    database.each("tyk_analytics", |document| {
        serials.push(number(&document, "contentlength") as u64)
    });
    compare_serials(serials.into_iter(), plan.deck.records);

    let (mut found, mut wrong) = (BTreeMap::new(), Vec::new());
    for organisation in ["org0", "org1"] {
        database.each(&format!("z_tyk_analyticz_aggregate_{organisation}"), |document| {
            counters(&document, &mut found, &mut wrong);
        });
    }
    compare(&found, &plan.deck.expected(|_| 0), wrong);
}
