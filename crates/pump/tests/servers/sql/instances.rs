//! Several instances on one Redis and one database.

use std::{thread, time::Duration};

use rustix::process::Signal;
use serde_json::json;

use super::{
    database::Database,
    stored::{assert_aggregates, assert_rows},
};
use crate::support::{
    self, Server,
    daemon::{Daemon, Site},
    deck::Deck,
    kills::Watched,
};

fn site(redis: &Server, database: &Database) -> Site {
    let pumps = json!({
        "raw": {"type": "sql", "meta": database.meta(json!({}))},
        "aggregated": {"type": "sql_aggregate", "meta": database.meta(json!({}))},
    });
    Site::new(redis, pumps)
}

fn stop(sites: &[Site], daemons: Vec<Daemon>) {
    for daemon in daemons {
        assert!(daemon.stop().success());
    }
    for site in sites {
        let log = site.log();
        let bad: Vec<&str> = log
            .lines()
            .filter(|line| line.to_lowercase().contains("deadlock") || line.contains("level=error"))
            .collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

/// Three instances share ten lists that are filled over this time, so that all of them add to the same rows all the time.
fn share(kind: &str, deck: Deck, over: Duration) {
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create(kind)) else {
        return;
    };
    let sites: Vec<Site> = (0..3).map(|_| site(&redis, &database)).collect();
    database.cut_commits(u32::MAX);
    let daemons: Vec<Daemon> = sites.iter().map(Site::start).collect();
    sites.iter().for_each(Site::wait_until_ready);
    deck.push_over(&redis, 10, over);
    sites[0].wait_until_drained(&redis, 60);
    stop(&sites, daemons);
    println!(
        "commits {}, claims {}",
        database.commits(),
        database.number("SELECT count(DISTINCT claim) FROM tyk_pump_ledger")
    );
    if kind == "postgres" {
        let deadlocks = database.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
        assert_eq!(deadlocks, 0);
    }
    assert_rows(&mut database, &["tyk_analytics".to_owned()], deck.records);
    assert_aggregates(&mut database, &["tyk_aggregated".to_owned()], &deck.expected(|_| 0));
    for site in &sites {
        assert!(
            site.log().contains("Purged"),
            "an instance had nothing to do:\n{}",
            site.log()
        );
    }
}

#[test]
fn three_instances_count_into_the_same_rows_of_postgres() {
    share("postgres", Deck::ordinary(40_000), Duration::from_secs(8));
}

#[test]
fn three_instances_count_into_the_same_rows_of_mariadb() {
    share("mariadb", Deck::ordinary(20_000), Duration::from_secs(6));
}

#[test]
#[ignore = "full size: 10 minutes"]
fn three_instances_count_for_minutes() {
    share("postgres", Deck::ordinary(1_000_000), Duration::from_secs(600));
}

/// An instance that is frozen within a transaction keeps the locks of rows to which everybody adds, until the server ends
/// it. `is_within`: counts such transactions.
fn frozen(kind: &str, is_within: &str) {
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create(kind)) else {
        return;
    };
    let sites = [(); 2].map(|()| {
        let site = site(&redis, &database);
        site.configure("/delivery/lease", json!("3s"))
    });
    let deck = Deck::ordinary(100_000);
    deck.push(&redis, 10);
    let frozen = sites[0].start_ready();
    sites[0].wait("a moment within a transaction", 60, || {
        frozen.signal(Signal::STOP);
        // What it has sent is answered by then.
        thread::sleep(Duration::from_millis(200));
        let within = database.number(is_within) > 0;
        if !within {
            frozen.signal(Signal::CONT);
        }
        within.then_some(())
    });
    let other = sites[1].start();
    sites[1].wait_until_drained(&redis, 180);
    frozen.signal(Signal::CONT);
    sites[0].wait_until_ready();
    assert!(frozen.stop().success() && other.stop().success());
    assert_rows(&mut database, &["tyk_analytics".to_owned()], deck.records);
    assert_aggregates(&mut database, &["tyk_aggregated".to_owned()], &deck.expected(|_| 0));
}

#[test]
#[ignore = "the server waits for a minute"]
fn a_frozen_instance_does_not_hold_up_the_others_for_long() {
    frozen(
        "postgres",
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND state = 'idle in transaction'",
    );
}

#[test]
#[ignore = "the server waits for a minute"]
fn a_frozen_instance_does_not_hold_up_the_others_on_mariadb_for_long() {
    frozen(
        "mariadb",
        "SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist \
         ON id = trx_mysql_thread_id WHERE command = 'Sleep' AND db = DATABASE() AND trx_rows_locked > 0",
    );
}

/// Three instances find the tables of an old version at the same moment, with records already there.
#[test]
fn three_instances_take_over_an_old_database_at_once() {
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create("postgres")) else {
        return;
    };
    for file in ["old-1.8-raw.sql", "old-1.11-aggregate.sql"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden/sql")
            .join(file);
        database.query(&std::fs::read_to_string(path).unwrap());
    }
    let deck = Deck::ordinary(6_000);
    deck.push(&redis, 10);
    let sites: Vec<Site> = (0..3).map(|_| site(&redis, &database)).collect();
    let daemons: Vec<Daemon> = sites.iter().map(Site::start).collect();
    sites.iter().for_each(Site::wait_until_ready);
    sites[0].wait_until_drained(&redis, 30);
    // Indexes are built in the background; none of them twice, none half.
    let broken = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    sites[0].wait("valid indexes", 20, || {
        thread::sleep(Duration::from_millis(100));
        (database.number(broken) == 0).then_some(())
    });
    stop(&sites, daemons);
    assert_eq!(
        database.number("SELECT count(*) FROM tyk_analytics WHERE orgid = 'old' AND contentlength IS NULL"),
        1
    );
    assert_eq!(
        database.number("SELECT counter_hits FROM tyk_aggregated WHERE id = 'old'"),
        7
    );
    database.query("DELETE FROM tyk_analytics WHERE orgid = 'old'; DELETE FROM tyk_aggregated WHERE id = 'old'");
    assert_rows(&mut database, &["tyk_analytics".to_owned()], deck.records);
    assert_aggregates(&mut database, &["tyk_aggregated".to_owned()], &deck.expected(|_| 0));
}
