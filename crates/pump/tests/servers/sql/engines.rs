//! Tables of MySQL without transactions.

use serde_json::json;

use super::{database::Database, stored::assert_rows};
use crate::support::{self, daemon::Site, deck::Deck};

#[test]
fn a_table_without_transactions_lowers_the_promise_that_the_status_shows() {
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create("mariadb")) else {
        return;
    };
    database.query("CREATE TABLE tyk_analytics (path longtext) ENGINE=MyISAM");
    let pumps = json!({
        "raw": {"type": "sql", "meta": database.meta(json!({}))},
        "aggregated": {"type": "sql_aggregate", "meta": database.meta(json!({}))},
    });
    let site = Site::new(&redis, pumps);
    let deck = Deck::ordinary(1_000);
    deck.push(&redis, 1);
    let daemon = site.start_ready();
    site.wait_until_drained(&redis, 20);
    for (pump, promise) in [("RAW", "at least once"), ("AGGREGATED", "exactly once")] {
        let (_, status) = site.status(pump).unwrap();
        assert_eq!(status["guarantee"], promise, "{pump}");
    }
    assert!(daemon.stop().success());
    assert!(site.log().contains("ALTER TABLE `tyk_analytics` ENGINE=InnoDB"));
    assert_rows(&mut database, &["tyk_analytics".to_owned()], deck.records);
}
