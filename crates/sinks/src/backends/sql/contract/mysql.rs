//! What only MySQL and MariaDB have.

use analytics::Zone;

use super::*;
use crate::{
    Guarantee,
    sql::{
        connect, options,
        poison::{Way, write_accepted},
    },
};

/// Runs a test on MariaDB and on MySQL.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Arc<Place>) -> F) {
    for name in ["mariadb", "mysql56"] {
        if let Some(place) = Place::mysql(name).await {
            let place = Arc::new(place);
            test(place.clone()).await;
            place.remove().await;
        }
    }
}

/// The database with more in its options.
fn with(place: &Place, parameters: &str, mysql: options::Mysql) -> Arc<dyn Database> {
    let options = options::Connection {
        connection_string: format!("{}?{parameters}", place.options.connection_string),
        mysql,
        ..place.options.clone()
    };
    connect(&options, "test", Access::Full).unwrap()
}

fn long_rows(lengths: &[usize]) -> Arc<dyn Rows> {
    let rows = lengths.iter().enumerate().map(|(serial, length)| {
        vec![
            Cell::Int(serial as i64),
            text("x".repeat(*length)),
            Cell::Time(Time::ZERO),
        ]
    });
    cells(rows.collect())
}

#[tokio::test]
async fn statements_are_cut_to_the_packets_that_the_server_takes() {
    on_both(async |place| {
        // MySQL 5.6 takes 4 MiB, this MariaDB 16 MiB.
        let database = place.database();
        make(database.as_ref(), &log_table()).await.unwrap();
        let rows = long_rows(&[1_900_000; 12]);
        let mut transaction = database.begin().await.unwrap();
        transaction.insert(&log_table(), &rows, 0..12).await.unwrap();
        transaction.commit().await.unwrap();
        // One that is too large costs only itself.
        let rows = long_rows(&[10, 17 << 20, 10]);
        let mut transaction = database.begin().await.unwrap();
        let refused = write_accepted(transaction.as_mut(), &log_table(), &rows, Way::Insert, 100)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        assert!(
            matches!(&refused[..], [(1, reason)] if reason.contains("max_allowed_packet")),
            "{}: {refused:?}",
            place.name
        );
        assert_eq!(place.rows(&log_table(), "1").await.len(), 14, "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn statements_are_cut_to_the_packets_that_the_connection_string_allows() {
    on_both(async |place| {
        let database = with(&place, "maxAllowedPacket=20000", options::Mysql::default());
        make(database.as_ref(), &log_table()).await.unwrap();
        let mut transaction = database.begin().await.unwrap();
        let rows = long_rows(&[9_000; 21]);
        transaction.insert(&log_table(), &rows, 0..21).await.unwrap();
        let error = transaction
            .insert(&log_table(), &long_rows(&[20_000]), 0..1)
            .await
            .unwrap_err();
        assert!(matches!(error, DatabaseError::Row(_)), "{error}");
        transaction.commit().await.unwrap();
        assert_eq!(place.rows(&log_table(), "1").await.len(), 21, "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn a_batch_may_be_larger_than_the_parameters_of_a_statement() {
    on_both(async |place| {
        let mut options = place.options.clone();
        options.batch_size = 100_000;
        let database = connect(&options, "test", Access::Full).unwrap();
        make(database.as_ref(), &log_table()).await.unwrap();
        let mut transaction = database.begin().await.unwrap();
        transaction
            .insert(&log_table(), &log_rows(0..50_001), 0..50_001)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let count = place.query("SELECT COUNT(*), SUM(serial) FROM log").await;
        assert_eq!(
            count,
            [[Some("50001".to_owned()), Some("1250025000".to_owned())]],
            "{}",
            place.name
        );
    })
    .await;
}

#[tokio::test]
async fn times_have_the_zone_of_the_connection_string() {
    on_both(async |place| {
        let database = with(
            &place,
            "loc=Asia%2FTokyo&time_zone=%27%2B05%3A00%27",
            options::Mysql::default(),
        );
        make(database.as_ref(), &log_table()).await.unwrap();
        let instant = Time {
            seconds: 1_715_940_300,
            nanos: 120_000_000,
            zone: Zone::named(b"America/New_York").unwrap(),
        };
        let rows = cells(vec![
            vec![Cell::Int(1), text(""), Cell::Time(instant)],
            vec![Cell::Int(2), text(""), Cell::Time(Time::ZERO)],
        ]);
        let mut transaction = database.begin().await.unwrap();
        transaction.insert(&log_table(), &rows, 0..2).await.unwrap();
        transaction.commit().await.unwrap();
        let found = place.query("SELECT expireAt FROM log ORDER BY serial").await;
        assert_eq!(
            found,
            [[Some("2024-05-17 19:05:00.120".to_owned())], [None]],
            "{}",
            place.name
        );
    })
    .await;
}

#[tokio::test]
async fn a_table_that_upstream_has_made_gets_its_index() {
    on_both(async |place| {
        for (number, kind) in ["longtext", "varchar(191)", "varchar(256)"].into_iter().enumerate() {
            let table = Table {
                name: format!("sums_{number}"),
                ..sums_table()
            };
            let columns = table.layout.columns.iter().map(|column| match column.class {
                _ if column.name == "id" => "id varchar(191)".to_owned(),
                Class::Text => format!("`{}` {kind}", column.name),
                Class::Float => format!("`{}` double", column.name),
                Class::Time => format!("`{}` datetime(3)", column.name),
                _ => format!("`{}` bigint", column.name),
            });
            let columns: Vec<String> = columns.collect();
            let create = format!("CREATE TABLE {} ({}, PRIMARY KEY (id))", table.name, columns.join(","));
            place.query(&create).await;
            let database = place.database();
            let statements = database.plan(&table).await.unwrap();
            let length = if kind == "varchar(191)" { "" } else { "(191)" };
            let expected = format!("CREATE INDEX `sums_idx_value` ON `sums_{number}` (`value`{length},`hits`,`id`)");
            assert_eq!(statements.len(), 1, "{}: {statements:?}", place.name);
            assert_eq!(statements[0].sql, expected);
            make(database.as_ref(), &table).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn texts_are_widened_but_never_cut() {
    on_both(async |place| {
        let sized = |size| options::Mysql {
            default_string_size: size,
            ..options::Mysql::default()
        };
        make(with(&place, "", sized(100)).as_ref(), &log_table()).await.unwrap();
        make(with(&place, "", sized(50)).as_ref(), &log_table()).await.unwrap();
        let kind = "SELECT character_maximum_length FROM information_schema.columns \
                    WHERE table_schema = DATABASE() AND table_name = 'log' AND column_name = 'note'";
        assert_eq!(place.query(kind).await, [[Some("100".to_owned())]], "{}", place.name);
        make(with(&place, "", sized(300)).as_ref(), &log_table()).await.unwrap();
        assert_eq!(place.query(kind).await, [[Some("300".to_owned())]], "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn a_table_without_transactions_is_written_to_at_least_once() {
    on_both(async |place| {
        place
            .query("CREATE TABLE log (serial bigint, note longtext, expireAt datetime(3)) ENGINE=MyISAM")
            .await;
        let database = place.database();
        assert_eq!(database.guarantee(), None);
        assert_eq!(database.plan(&log_table()).await.unwrap(), []);
        assert_eq!(database.guarantee(), Some(Guarantee::AtLeastOnce), "{}", place.name);
        let mut transaction = database.begin().await.unwrap();
        transaction.insert(&log_table(), &log_rows(0..3), 0..3).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(place.rows(&log_table(), "1").await.len(), 3, "{}", place.name);
        // The ledger's table counts as well, and the remedy helps.
        place.query("ALTER TABLE log ENGINE=InnoDB").await;
        place
            .query("CREATE TABLE sums (id varchar(191), PRIMARY KEY (id)) ENGINE=MyISAM")
            .await;
        database.plan(&log_table()).await.unwrap();
        assert_eq!(database.guarantee(), None, "{}", place.name);
        database.plan(&sums_table()).await.unwrap();
        assert_eq!(database.guarantee(), Some(Guarantee::AtLeastOnce), "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_needs_somebody() {
    on_both(async |place| {
        let mut options = place.options.clone();
        options.connection_string = options.connection_string.replace("secret", "hunter2");
        let error = connect(&options, "test", Access::Full)
            .unwrap()
            .ping()
            .await
            .unwrap_err();
        assert!(matches!(error, DatabaseError::Config(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("Error 1045") && text.contains("check user and password"),
            "{text}"
        );
        assert!(!text.contains("hunter2"));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_tried_again() {
    let options = options::Connection {
        kind: "mysql".to_owned(),
        connection_string: "tyk:hunter2@tcp(127.0.0.1:1)/d?timeout=5s".to_owned(),
        ..options::Connection::default()
    };
    let error = connect(&options, "test", Access::Full)
        .unwrap()
        .ping()
        .await
        .unwrap_err();
    assert!(matches!(error, DatabaseError::Retry(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("failed to connect to user=tyk database=d at 127.0.0.1:1: "),
        "{text}"
    );
}

#[tokio::test]
async fn connections_that_the_server_has_closed_are_replaced() {
    on_both(async |place| {
        let database = place.database();
        make(database.as_ref(), &log_table()).await.unwrap();
        let ours = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
        for row in place.query(ours).await {
            place.query(&format!("KILL {}", row[0].clone().unwrap())).await;
        }
        let mut transaction = database.begin().await.unwrap();
        transaction.insert(&log_table(), &log_rows(0..3), 0..3).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(place.rows(&log_table(), "1").await.len(), 3, "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn a_change_does_not_make_readers_wait_for_long() {
    on_both(async |place| {
        let database = place.database();
        make(database.as_ref(), &log_table()).await.unwrap();
        // Somebody reads the table for a long time.
        let mut reading = database.begin().await.unwrap();
        reading.insert(&log_table(), &log_rows(0..1), 0..1).await.unwrap();
        let error = database.execute(&database.drop_table("log")).await.unwrap_err();
        assert!(matches!(&error, DatabaseError::Retry(_)), "{error}");
        assert!(error.to_string().contains("1205"), "{error}");
        reading.commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn tls_is_as_strict_as_the_connection_string_says() {
    let Some(address) = fakes::server::address("mariadb-tls") else {
        return;
    };
    let ping = async |tls: &str| {
        let options = options::Connection {
            kind: "mysql".to_owned(),
            connection_string: format!("{address}?tls={tls}"),
            ..options::Connection::default()
        };
        connect(&options, "test", Access::Full).unwrap().ping().await
    };
    ping("skip-verify").await.unwrap();
    ping("preferred").await.unwrap();
    // The user must not come without TLS.
    let error = ping("false").await.unwrap_err();
    assert!(matches!(&error, DatabaseError::Config(_)), "{error}");
    // This machine does not trust the server's authority.
    let error = ping("true").await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_only_spoken_to_where_that_is_allowed() {
    on_both(async |place| {
        with(&place, "tls=preferred", options::Mysql::default())
            .ping()
            .await
            .unwrap();
        for tls in ["true", "skip-verify"] {
            let error = with(&place, &format!("tls={tls}"), options::Mysql::default())
                .ping()
                .await;
            let error = error.unwrap_err().to_string();
            assert!(error.contains("SSL"), "{}: {error}", place.name);
        }
    })
    .await;
}

#[tokio::test]
async fn texts_that_make_a_row_too_large_need_somebody() {
    on_both(async |place| {
        let options = options::Mysql {
            default_string_size: 16_000,
            ..options::Mysql::default()
        };
        let wide = Table {
            layout: crate::backends::sql::raw::RawLayout::plain().layout.clone(),
            ..log_table()
        };
        let error = make(with(&place, "", options).as_ref(), &wide).await.unwrap_err();
        assert!(matches!(&error, DatabaseError::Config(_)), "{}: {error}", place.name);
        assert!(error.to_string().contains("1118"), "{}: {error}", place.name);
    })
    .await;
}
