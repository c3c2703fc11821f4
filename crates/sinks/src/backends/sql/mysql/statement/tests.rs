use std::sync::Arc;

use super::*;
use crate::backends::sql::table::Merge;

fn server(version: &str) -> Server {
    Server::new(version, 1 << 20)
}

fn sums() -> Table {
    let average = Merge::Average {
        total: "total",
        hits: "hits",
    };
    let least = Merge::AnsweredMin {
        hits: "hits",
        errors: "errors",
    };
    Table {
        name: "sums".to_owned(),
        layout: Arc::new(Layout {
            columns: vec![
                Column::new("id", Class::Text),
                Column::new("hits", Class::Int).merged(Merge::Add),
                Column::new("total", Class::Float).merged(Merge::Add),
                Column::new("mean", Class::Float).merged(average),
                Column::new("least", Class::Int).merged(least),
                Column::new("last", Class::Time).merged(Merge::Replace),
                Column::new("tags", Class::Json),
                Column::new("geo", Class::Uint),
                Column::new("flag", Class::Bool),
            ],
            key: &["id"],
        }),
        indexes: vec![Index {
            name: "sums_idx".to_owned(),
            columns: &["tags", "hits"],
            concurrent: true,
        }],
    }
}

#[test]
fn tables_have_upstreams_types() {
    let options = options::Mysql::default();
    assert_eq!(
        create_table(&sums(), &options, &server("8.0.36"), false),
        "CREATE TABLE `sums` (`id` varchar(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,`hits` bigint,`total` double,\
         `mean` double,`least` bigint,`last` datetime(3) NULL,`tags` longtext,`geo` bigint unsigned,`flag` boolean,\
         PRIMARY KEY (`id`),INDEX `sums_idx` (`tags`(191),`hits`)) ENGINE=InnoDB"
    );
}

#[test]
fn options_change_types() {
    let types = |size: u64, precise: bool, version: &str| {
        let options = options::Mysql {
            default_string_size: size,
            disable_datetime_precision: !precise,
            ..options::Mysql::default()
        };
        let table = sums();
        let kind = |name: &str| {
            let column = table.layout.columns.iter().find(|column| column.name == name).unwrap();
            column_type(column, &table.layout, &options, &server(version))
        };
        (
            kind("tags"),
            kind("last"),
            index_columns(&table.indexes[0], &|name| declared_length(&table, &options, name)),
        )
    };
    let datetime = |digits: &str| format!("datetime{digits} NULL");
    assert_eq!(
        types(191, true, "8.0.1"),
        ("varchar(191)".into(), datetime("(3)"), "(`tags`,`hits`)".into())
    );
    assert_eq!(
        types(256, false, "8.0.1"),
        ("varchar(256)".into(), datetime(""), "(`tags`(191),`hits`)".into())
    );
    assert_eq!(types(70_000, true, "5.5.9").0, "mediumtext");
    assert_eq!(types(0, true, "5.5.9").1, datetime(""));
    assert_eq!(types(20_000_000, true, "10.11.2-MariaDB").0, "longtext");
}

#[test]
fn averages_and_minima_are_assigned_before_the_sums_that_they_depend_on() {
    assert_eq!(
        on_duplicate(&sums().layout, "`sums`", &server("10.11.2-MariaDB")),
        " ON DUPLICATE KEY UPDATE \
         `mean` = COALESCE((0e0 + COALESCE(`sums`.`total`, 0) + VALUES(`total`)) / NULLIF(COALESCE(`sums`.`hits`, 0) + VALUES(`hits`), 0), 0), \
         `least` = CASE \
         WHEN CASE WHEN COALESCE(`sums`.`hits`, 0) = 0 THEN 0 WHEN COALESCE(`sums`.`hits`, 0) = COALESCE(`sums`.`errors`, 0) THEN 1 ELSE 2 END \
         > CASE WHEN VALUES(`hits`) = 0 THEN 0 WHEN VALUES(`hits`) = VALUES(`errors`) THEN 1 ELSE 2 END \
         THEN COALESCE(`sums`.`least`, 0) \
         WHEN CASE WHEN COALESCE(`sums`.`hits`, 0) = 0 THEN 0 WHEN COALESCE(`sums`.`hits`, 0) = COALESCE(`sums`.`errors`, 0) THEN 1 ELSE 2 END \
         < CASE WHEN VALUES(`hits`) = 0 THEN 0 WHEN VALUES(`hits`) = VALUES(`errors`) THEN 1 ELSE 2 END \
         THEN VALUES(`least`) \
         ELSE LEAST(COALESCE(`sums`.`least`, VALUES(`least`)), VALUES(`least`)) END, \
         `hits` = COALESCE(`sums`.`hits`, 0) + VALUES(`hits`), \
         `total` = COALESCE(`sums`.`total`, 0) + VALUES(`total`), \
         `last` = VALUES(`last`)"
    );
}

#[test]
fn newer_servers_call_the_proposed_row_excluded() {
    let sql = insert(&sums(), 2, true, &server("8.0.36"));
    assert!(
        sql.starts_with(
            "INSERT INTO `sums` (`id`,`hits`,`total`,`mean`,`least`,`last`,`tags`,`geo`,`flag`) VALUES \
             (?,?,?,?,?,?,?,?,?),(?,?,?,?,?,?,?,?,?) AS excluded ON DUPLICATE KEY UPDATE `mean` = "
        ),
        "{sql}"
    );
    assert!(sql.ends_with("`last` = excluded.`last`"), "{sql}");
    assert!(!insert(&sums(), 1, false, &server("8.0.36")).contains("excluded"));
}

#[test]
fn names_are_quoted_part_by_part() {
    assert_eq!(quoted("a`b"), "`a``b`");
    assert_eq!(quoted("a.b"), "`a`.`b`");
    assert_eq!(quoted("a.b.c"), "`a.b.c`");
}
