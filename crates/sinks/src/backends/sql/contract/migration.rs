//! `tyk-pump migrate` on every dialect.

use serde_json::{Value, json};

use super::{raw::meta, *};
use crate::{BuildContext, BuildError, MigrationMode};

async fn migrate(place: &Place, kind: &str, more: Value, mode: MigrationMode) -> Result<Vec<String>, BuildError> {
    (crate::find(kind).unwrap().migrate.unwrap())(BuildContext::new("TEST", "fleet", meta(place, more)), mode).await
}

/// All tables of the pumps.
async fn tables(place: &Place) -> Vec<String> {
    let mut names = place.database().tables("tyk_").await.unwrap();
    // Postgres lists indexes beside tables.
    names.retain(|name| !name.contains("_idx_") && !name.ends_with("_pkey"));
    names
}

#[tokio::test]
async fn a_plan_changes_nothing_and_is_empty_once_it_is_applied() {
    everywhere(async |place| {
        for (kind, table) in [("sql", "tyk_analytics"), ("sql_aggregate", "tyk_aggregated")] {
            let before = tables(&place).await;
            let plan = migrate(&place, kind, json!({}), MigrationMode::Plan).await.unwrap();
            assert!(
                plan.iter()
                    .any(|sql| sql.starts_with("CREATE TABLE") && sql.contains(table))
            );
            assert_eq!(tables(&place).await, before, "{} {kind}", place.name);
            let applied = migrate(&place, kind, json!({}), MigrationMode::Apply).await.unwrap();
            assert_eq!(applied, plan, "{} {kind}", place.name);
            let again = migrate(&place, kind, json!({}), MigrationMode::Plan).await.unwrap();
            assert_eq!(again, [""; 0], "{} {kind}", place.name);
        }
        let all = ["tyk_aggregated", "tyk_analytics", "tyk_pump_ledger"];
        assert_eq!(tables(&place).await, all, "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn shards_of_older_versions_are_brought_up_to_date_and_nothing_else() {
    everywhere(async |place| {
        let (old, foreign) = (
            ["tyk_analytics_20240517", "tyk_analytics_20240518"],
            [
                "tyk_analytics_20240230",
                "tyk_analytics_20240519x",
                "tyk_analytics_graph_20240517",
            ],
        );
        for table in old.iter().chain(&foreign) {
            place
                .query(&format!("CREATE TABLE {table} (method varchar(20), path varchar(20))"))
                .await;
            place
                .query(&format!("INSERT INTO {table} VALUES ('GET', '/old')"))
                .await;
        }
        let options = || json!({"table_sharding": true, "migrate_sharded_tables": true});
        let plan = migrate(&place, "sql", options(), MigrationMode::Plan).await.unwrap();
        for table in foreign {
            assert!(!plan.iter().any(|sql| sql.contains(table)), "{}: {plan:?}", place.name);
        }
        for table in old {
            let changes = |sql: &&String| sql.starts_with("ALTER TABLE") && sql.contains(table);
            assert!(plan.iter().any(|sql| changes(&sql)), "{}: {plan:?}", place.name);
        }
        migrate(&place, "sql", options(), MigrationMode::Apply).await.unwrap();
        for table in old {
            let found = place
                .query(&format!(
                    "SELECT path, mcp_stats_is_mcp FROM {table} WHERE apiid IS NULL"
                ))
                .await;
            assert_eq!(found, [[Some("/old".to_owned()), None]], "{} {table}", place.name);
        }
        let again = migrate(&place, "sql", options(), MigrationMode::Plan).await.unwrap();
        assert_eq!(again, [""; 0], "{}", place.name);
        // Without the option only today's shard is looked at.
        let options = json!({"table_sharding": true});
        let today = migrate(&place, "sql", options, MigrationMode::Plan).await.unwrap();
        assert!(
            today.iter().all(|sql| !sql.contains("_2024")),
            "{}: {today:?}",
            place.name
        );
    })
    .await;
}

#[tokio::test]
async fn shards_beyond_the_retention_are_dropped() {
    everywhere(async |place| {
        for table in ["tyk_aggregated_20200101", "tyk_aggregated_20990101"] {
            place.query(&format!("CREATE TABLE {table} (id varchar(20))")).await;
        }
        let options = || json!({"table_sharding": true, "retention_days": 7});
        let plan = migrate(&place, "sql_aggregate", options(), MigrationMode::Plan)
            .await
            .unwrap();
        let dropped: Vec<&String> = plan.iter().filter(|sql| sql.starts_with("DROP TABLE")).collect();
        assert!(
            matches!(dropped[..], [sql] if sql.contains("20200101")),
            "{}: {plan:?}",
            place.name
        );
        migrate(&place, "sql_aggregate", options(), MigrationMode::Apply)
            .await
            .unwrap();
        let left = place.database().tables("tyk_aggregated_20").await.unwrap();
        assert!(
            left.contains(&"tyk_aggregated_20990101".to_owned()),
            "{}: {left:?}",
            place.name
        );
        assert!(
            !left.contains(&"tyk_aggregated_20200101".to_owned()),
            "{}: {left:?}",
            place.name
        );
    })
    .await;
}

#[tokio::test]
async fn an_error_names_table_and_remedy() {
    everywhere(async |place| {
        place.query("CREATE VIEW tyk_analytics AS SELECT 1 AS method").await;
        let error = migrate(&place, "sql", json!({}), MigrationMode::Apply)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("table tyk_analytics: "), "{}: {text}", place.name);
        assert!(text.contains("execute what --plan lists"), "{}: {text}", place.name);
    })
    .await;
}
