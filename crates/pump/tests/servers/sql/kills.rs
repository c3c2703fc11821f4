//! SIGKILL at random moments, and commits that the pump never learns of.

use serde_json::json;

use super::{
    database::Database,
    stored::{assert_aggregates, assert_rows},
};
use crate::support::{
    self,
    deck::Deck,
    kills::{Plan, deliver},
};

/// Small enough for every day.
const SMALL: Plan = Plan {
    deck: Deck {
        records: 40_000,
        start: 1_780_000_123,
        seconds: 3 * 3600,
    },
    kills: 6,
    cut_one_in: 4,
    commits: 0..4,
    later: 0..120,
    patience: 20,
};

fn full() -> Plan {
    Plan {
        deck: Deck::ordinary(1_000_000),
        kills: 20,
        cut_one_in: 10,
        commits: 0..8,
        later: 0..400,
        patience: 120,
    }
}

fn raw_and_aggregated_survive(kind: &str, plan: &Plan) {
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create(kind)) else {
        return;
    };
    let pumps = json!({
        "raw": {"type": "sql", "meta": database.meta(json!({}))},
        "aggregated": {"type": "sql_aggregate", "meta": database.meta(json!({}))},
    });
    deliver(&redis, &database, pumps, plan);
    assert_rows(&mut database, &["tyk_analytics".to_owned()], plan.deck.records);
    assert_aggregates(
        &mut database,
        &["tyk_aggregated".to_owned()],
        &plan.deck.expected(|_| 0),
    );
}

#[test]
fn kills_and_lost_replies_of_commits_leave_postgres_exact() {
    raw_and_aggregated_survive("postgres", &SMALL);
}

#[test]
fn kills_and_lost_replies_of_commits_leave_mariadb_exact() {
    raw_and_aggregated_survive("mariadb", &SMALL);
}

#[test]
#[ignore = "full size: 1 M records, 20 kills"]
fn a_million_records_and_twenty_kills_leave_postgres_exact() {
    raw_and_aggregated_survive("postgres", &full());
}

#[test]
#[ignore = "full size: 1 M records, 20 kills"]
fn a_million_records_and_twenty_kills_leave_mariadb_exact() {
    raw_and_aggregated_survive("mariadb", &full());
}
