//! Tables and indexes.

use super::*;

#[tokio::test]
async fn a_table_is_made_once() {
    everywhere(async |place| {
        let database = place.database();
        database.ping().await.unwrap();
        for table in [log_table(), sums_table(), crate::backends::sql::ledger::table()] {
            let statements = database.plan(&table).await.unwrap();
            assert!(!statements.is_empty(), "{}", place.name);
            for statement in statements.iter().chain(&statements) {
                // The second time it is there already.
                database.execute(statement).await.unwrap();
            }
            assert_eq!(
                database.plan(&table).await.unwrap(),
                [],
                "{} {}",
                place.name,
                table.name
            );
        }
        database.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_older_table_gets_what_it_lacks_and_keeps_its_rows() {
    everywhere(async |place| {
        let database = place.database();
        let whole = sums_table();
        let mut columns = whole.layout.columns.clone();
        columns.retain(|column| !["average", "last", "value"].contains(&&*column.name));
        let old = Table {
            layout: Arc::new(Layout {
                columns,
                key: whole.layout.key,
            }),
            indexes: Vec::new(),
            ..whole.clone()
        };
        make(database.as_ref(), &old).await.unwrap();
        place
            .query("INSERT INTO \"sums\" (\"id\", \"hits\") VALUES ('a', 3)")
            .await;
        make(database.as_ref(), &whole).await.unwrap();
        assert_eq!(database.plan(&whole).await.unwrap(), [], "{}", place.name);
        // What is new is NULL: zero for a sum, nothing for an extreme.
        let rows = cells(vec![merges::row("a", 2, 8.0, 4, 9)]);
        let mut transaction = database.begin().await.unwrap();
        transaction.upsert(&whole, &rows, 0..1).await.unwrap();
        transaction.commit().await.unwrap();
        let found = place.rows(&whole, "id").await;
        let get = |name: &str| found[0][name].clone();
        assert_eq!(
            (get("hits"), get("average"), get("most")),
            ("5".into(), format!("{:.12e}", 1.6), "9".into())
        );
        assert_eq!(get("least"), "4");
    })
    .await;
}

#[tokio::test]
async fn tables_are_found_by_the_beginning_of_their_names() {
    everywhere(async |place| {
        let database = place.database();
        for name in ["log_20240518", "log_20240517", "logs", "other"] {
            let table = Table {
                name: name.to_owned(),
                ..log_table()
            };
            make(database.as_ref(), &table).await.unwrap();
        }
        assert_eq!(
            database.tables("log_").await.unwrap(),
            ["log_20240517", "log_20240518"],
            "{}",
            place.name
        );
    })
    .await;
}

#[tokio::test]
async fn names_are_quoted() {
    everywhere(async |place| {
        let database = place.database();
        let table = Table {
            name: "rand-table\"`'".to_owned(),
            ..log_table()
        };
        make(database.as_ref(), &table).await.unwrap();
        assert_eq!(database.plan(&table).await.unwrap(), [], "{}", place.name);
        let mut transaction = database.begin().await.unwrap();
        transaction.insert(&table, &log_rows(0..3), 0..3).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(database.tables("rand-").await.unwrap(), ["rand-table\"`'"]);
    })
    .await;
}

#[tokio::test]
async fn a_shard_can_be_dropped() {
    everywhere(async |place| {
        let database = place.database();
        make(database.as_ref(), &log_table()).await.unwrap();
        for _ in 0..2 {
            database.execute(&database.drop_table("log")).await.unwrap();
        }
        assert_eq!(database.tables("log").await.unwrap(), [""; 0], "{}", place.name);
    })
    .await;
}
