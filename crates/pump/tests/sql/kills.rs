//! SIGKILL at random moments, and commits that the pump never learns of.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    database::Database,
    deck::{Deck, assert_aggregates, assert_rows},
    support::{
        self, Server,
        daemon::{Site, left},
    },
};

/// What is tried.
struct Plan {
    deck: Deck,
    kills: u32,
    /// One of so many commits loses its reply.
    cut_one_in: u32,
    /// Commits of a process before it is killed.
    commits: Range<u32>,
    /// Milliseconds after them.
    later: Range<u64>,
    /// Seconds that a process has for its commits.
    patience: u64,
}

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

/// Kills pumps until so many are dead; returns how many left work behind.
fn kill_at_random(redis: &Server, site: &Site, database: &Database, plan: &Plan) -> u32 {
    let seed: u64 = rand::rng().random();
    println!("moments of the kills: seed {seed}");
    let mut moments = StdRng::seed_from_u64(seed);
    let mut client = redis.client(0, "");
    let mut with_work = 0;
    for kill in 1..=plan.kills {
        let before = database.commits();
        let daemon = site.start();
        let wanted = before + moments.random_range(plan.commits.clone());
        site.wait("commits of a pump that will be killed", plan.patience, || {
            let started = site.log().matches("Starting purge loop").count() == kill as usize;
            (started && (database.commits() >= wanted || left(&mut client).is_empty())).then_some(())
        });
        thread::sleep(Duration::from_millis(moments.random_range(plan.later.clone())));
        daemon.kill();
        with_work += u32::from(!left(&mut client).is_empty());
    }
    with_work
}

/// Runs the plan with these pumps; afterwards everything is in the database exactly once, whatever died.
fn deliver(redis: &Server, database: &mut Database, pumps: Value, plan: &Plan) {
    let site = Site::new(redis, pumps);
    plan.deck.push(redis, 10);
    database.cut_commits(plan.cut_one_in);
    let began = Instant::now();
    let with_work = kill_at_random(redis, &site, database, plan);
    let last = site.start_ready();
    site.wait_until_drained(redis, plan.patience * 3);
    assert!(last.stop().success());
    let commits = database.commits();
    println!(
        "records {}, kills {}, of them with work left {with_work}, commits {commits}, replies cut {}, {:.1} s",
        plan.deck.records,
        plan.kills,
        commits.div_ceil(plan.cut_one_in),
        began.elapsed().as_secs_f64()
    );
    assert!(with_work > 0, "every kill came too late");
    assert!(commits > plan.cut_one_in, "hardly a commit was seen");
}

fn raw_and_aggregated_survive(kind: &str, plan: &Plan) {
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create(kind)) else {
        return;
    };
    let pumps = json!({
        "raw": {"type": "sql", "meta": database.meta(json!({}))},
        "aggregated": {"type": "sql_aggregate", "meta": database.meta(json!({}))},
    });
    deliver(&redis, &mut database, pumps, plan);
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
