//! What only SQLite has.

use super::*;
use crate::backends::sql::{connect, options::Connection};

fn open(connection_string: String) -> Arc<dyn Database> {
    let options = Connection {
        kind: "sqlite".to_owned(),
        connection_string,
        ..Connection::default()
    };
    connect(&options, "test", Access::Full).unwrap()
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = open(format!("{}/pump.db", missing.display())).ping().await.unwrap_err();
    assert!(matches!(error, DatabaseError::Config(_)));
    assert_eq!(
        error.to_string(),
        format!(
            "connection_string: the folder {} does not exist; create it, the pump makes only the file",
            missing.display()
        )
    );
    // Once it is there, so is the database.
    std::fs::create_dir(&missing).unwrap();
    open(format!("file:{}/pump.db?mode=rwc", missing.display()))
        .ping()
        .await
        .unwrap();
    assert!(missing.join("pump.db").exists());
}

#[tokio::test]
async fn a_plan_leaves_no_file_and_changes_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pump.db");
    let plan = async || {
        let meta = serde_json::json!({"type": "sqlite", "connection_string": path});
        let migrate = crate::find("sql").unwrap().migrate.unwrap();
        migrate(
            crate::BuildContext::new("TEST", "fleet", meta),
            crate::MigrationMode::Plan,
        )
        .await
        .unwrap()
    };
    let files = || std::fs::read_dir(&folder).unwrap().count();
    assert_eq!((plan().await.len(), files()), (2, 0));

    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch("CREATE TABLE tyk_analytics (method text)").unwrap();
    drop(old);
    let before = std::fs::read(&path).unwrap();
    let planned = plan().await;
    assert!(planned.iter().any(|sql| sql.contains("ADD")), "{planned:?}");
    assert_eq!((std::fs::read(&path).unwrap() == before, files()), (true, 1));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "no database, but some notes".repeat(100)).unwrap();
    let error = open(path.to_str().unwrap().to_owned()).ping().await.unwrap_err();
    assert!(matches!(error, DatabaseError::Config(_)), "{error}");
    assert!(error.to_string().contains("not a database"), "{error}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("no database"));
}

#[tokio::test]
async fn commits_are_written_ahead_and_synced() {
    let place = Place::sqlite();
    let database = place.database();
    make(database.as_ref(), &log_table()).await.unwrap();
    assert_eq!(place.query("PRAGMA journal_mode").await, [[Some("wal".to_owned())]]);
}

#[tokio::test]
async fn readers_do_not_stop_a_writer() {
    let place = Place::sqlite();
    let database = place.database();
    make(database.as_ref(), &log_table()).await.unwrap();
    let reader = rusqlite::Connection::open(&place.options.connection_string).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM log").unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction.insert(&log_table(), &log_rows(0..3), 0..3).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(place.rows(&log_table(), "1").await.len(), 3);
}

#[tokio::test]
async fn another_writer_is_waited_for_and_then_it_is_tried_again() {
    let place = Place::sqlite();
    let database = open(format!("{}?_busy_timeout=50", place.options.connection_string));
    make(database.as_ref(), &log_table()).await.unwrap();
    let other = rusqlite::Connection::open(&place.options.connection_string).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let Err(error) = database.begin().await else {
        panic!("two writers at once")
    };
    assert!(matches!(&error, DatabaseError::Retry(_)), "{error}");
    assert!(
        error.to_string().contains("another program writes to the file"),
        "{error}"
    );
    other.execute_batch("COMMIT").unwrap();
    drop(database.begin().await.unwrap());
}

#[tokio::test]
async fn memory_is_a_database_too() {
    let database = open(":memory:".to_owned());
    make(database.as_ref(), &log_table()).await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction.insert(&log_table(), &log_rows(0..3), 0..3).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(database.tables("").await.unwrap(), ["log"]);
}

#[tokio::test]
async fn whoever_stops_waiting_for_a_transaction_does_not_leave_one_open() {
    let place = Place::sqlite();
    let database = place.database();
    make(database.as_ref(), &log_table()).await.unwrap();
    for _ in 0..20 {
        let begun = database.begin();
        tokio::select! {
            biased;
            _ = begun => {}
            () = tokio::task::yield_now() => {}
        }
    }
    let mut transaction = database.begin().await.unwrap();
    transaction.insert(&log_table(), &log_rows(0..3), 0..3).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(place.rows(&log_table(), "1").await.len(), 3);
}

#[tokio::test]
async fn a_file_that_is_moved_or_removed_is_made_anew() {
    use fakes::rows;
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("pump.db"), folder.path().join("moved.db"));
    let meta = serde_json::json!({"type": "sqlite", "connection_string": path});
    let sink = (crate::find("sql").unwrap().build)(crate::BuildContext::new("TEST", "fleet", meta))
        .await
        .unwrap();
    let write = async |rows: std::ops::Range<u64>| {
        let group = rows::group(analytics::ClaimId(ulid::Ulid(1)), rows);
        for _ in 0..5 {
            match sink.write(&group, &Arc::default()).await {
                Ok(_) => return,
                Err(crate::WriteError::Retry { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("the file does not come back");
    };
    let count = |path: &std::path::Path| -> i64 {
        let database = rusqlite::Connection::open(path).unwrap();
        database
            .query_row("SELECT count(*) FROM tyk_analytics", [], |row| row.get(0))
            .unwrap()
    };
    write(0..3).await;
    std::fs::rename(&path, &moved).unwrap();
    write(3..5).await;
    assert_eq!((count(&moved), count(&path)), (3, 2));
    std::fs::remove_file(&path).unwrap();
    write(5..6).await;
    assert_eq!(count(&path), 1);
}
