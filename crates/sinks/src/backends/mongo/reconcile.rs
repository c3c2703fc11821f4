//! Comparing the indexes that a pump wants with those that its collections have. Only what is missing is built: dropping
//! an index, or building it anew, is left to the owner of the database.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::{
    client::Connection,
    failure::Failure,
    index::{Family, Index},
};
use crate::{BoxError, BuildError, IndexReport, IndexState, MigrationMode};

/// Options that change what an index is good for.
const DECISIVE: &[&str] = &["unique", "sparse", "partialFilterExpression", "collation", "hidden"];

/// The collections of a pump.
pub(super) enum Collections {
    /// One, which is capped when it is made, if a size is given.
    One(String, Option<i64>),
    /// All that begin like this, but not like that.
    Beginning(&'static str, Option<&'static str>),
}

impl Connection {
    /// Looks at every collection; with [`MigrationMode::Apply`] it builds what is missing.
    pub(super) async fn reconcile(
        &self,
        wanted: &[Collections],
        family: Family,
        mode: MigrationMode,
    ) -> Result<Vec<IndexReport>, BuildError> {
        let failed = |error: mongodb::error::Error| BuildError::Unavailable(BoxError::from(Failure::from(error)));
        let mut names = self.database.list_collection_names().await.map_err(failed)?;
        names.sort();
        let mut reports = Vec::new();
        for wanted in wanted {
            for collection in wanted.among(&names) {
                let exists = names.contains(&collection);
                let there = match exists {
                    true => self.indexes_of(&collection).await.map_err(failed)?,
                    false => Vec::new(),
                };
                if let (Collections::One(_, Some(bytes)), false, MigrationMode::Apply) = (wanted, exists, mode) {
                    let create = doc! {"create": &collection, "capped": true, "size": bytes};
                    self.database.run_command(create).await.map_err(failed)?;
                }
                self.reconcile_one(&collection, &there, family, mode, &mut reports)
                    .await;
            }
        }
        Ok(reports)
    }

    async fn reconcile_one(
        &self,
        collection: &str,
        there: &[Document],
        family: Family,
        mode: MigrationMode,
        reports: &mut Vec<IndexReport>,
    ) {
        let wanted = self.indexes(family);
        for index in &wanted {
            let mut state = compare(collection, index, there);
            if let (IndexState::Missing(statement), MigrationMode::Apply) = (&state, mode) {
                state = match self.build(collection, index).await {
                    Ok(()) => IndexState::Built(statement.clone()),
                    Err(error) => IndexState::Failed(error.to_string()),
                };
            }
            reports.push(IndexReport {
                collection: collection.to_owned(),
                name: index.name.to_owned(),
                state,
            });
        }
        for other in there {
            let name = other.get_str("name").unwrap_or_default();
            let is_ours = wanted
                .iter()
                .any(|index| index.name == name || same_key(&index.key, other));
            if name != "_id_" && !is_ours {
                reports.push(IndexReport {
                    collection: collection.to_owned(),
                    name: name.to_owned(),
                    state: IndexState::Other(key_text(other.get_document("key").unwrap_or(&Document::new()))),
                });
            }
        }
    }

    /// Waits as long as it takes: large collections need hours.
    async fn build(&self, collection: &str, index: &Index) -> Result<(), Failure> {
        let command = doc! {"createIndexes": collection, "indexes": [index.specification(self.dialect)]};
        self.database.run_command(command).await?;
        Ok(())
    }

    async fn indexes_of(&self, collection: &str) -> mongodb::error::Result<Vec<Document>> {
        let list = doc! {"listIndexes": collection};
        self.database.run_cursor_command(list).await?.try_collect().await
    }
}

impl Collections {
    fn among(&self, names: &[String]) -> Vec<String> {
        match self {
            Collections::One(name, _) => vec![name.clone()],
            Collections::Beginning(prefix, other) => {
                let is_other = |name: &str| other.is_some_and(|other| name.starts_with(other));
                let ours = names.iter().filter(|name| name.starts_with(prefix) && !is_other(name));
                ours.cloned().collect()
            }
        }
    }
}

/// What is to be said about an index that is wanted.
fn compare(collection: &str, wanted: &Index, there: &[Document]) -> IndexState {
    let named = |index: &&Document| index.get_str("name").is_ok_and(|name| name == wanted.name);
    let found = there.iter().find(named);
    let Some(found) = found.or_else(|| there.iter().find(|index| same_key(&wanted.key, index))) else {
        return IndexState::Missing(statement(collection, wanted));
    };
    let name = found.get_str("name").unwrap_or_default();
    let mut differences = Vec::new();
    if !same_key(&wanted.key, found) {
        let keys = found.get_document("key").map(key_text).unwrap_or_default();
        differences.push(format!("its keys are {keys}, not {}", key_text(&wanted.key)));
    }
    let expiry = found.get("expireAfterSeconds").and_then(whole);
    if expiry != wanted.expire_after {
        differences.push(match (expiry, wanted.expire_after) {
            (None, _) => "documents do not expire by it".to_owned(),
            (Some(_), None) => "documents expire by it".to_owned(),
            (Some(now), Some(wanted)) => format!("documents expire {now} s after, not {wanted} s after"),
        });
    }
    let decisive = DECISIVE.iter().filter(|option| is_set(found.get(option)));
    differences.extend(decisive.map(|option| format!("it is made with {option}")));
    if differences.is_empty() {
        return IndexState::Present;
    }
    if name != wanted.name {
        differences.insert(0, format!("it has the name {name}"));
    }
    let remedy = match (differences.len(), expiry, wanted.expire_after) {
        (1, Some(_), Some(seconds)) => format!(
            "db.runCommand({{collMod: \"{collection}\", index: {{name: \"{name}\", expireAfterSeconds: {seconds}}}}})"
        ),
        _ => format!("db.getCollection(\"{collection}\").dropIndex(\"{name}\"), then tyk-pump indexes --apply"),
    };
    IndexState::Differs {
        how: differences.join(", "),
        remedy,
    }
}

fn same_key(wanted: &Document, index: &Document) -> bool {
    let Ok(key) = index.get_document("key") else {
        return false;
    };
    let pairs = |key: &Document| -> Vec<(String, Option<i64>)> {
        key.iter().map(|(name, value)| (name.clone(), whole(value))).collect()
    };
    pairs(wanted) == pairs(key)
}

/// Servers and tools write such numbers in every type.
fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        Bson::Double(value) => Some(*value as i64),
        _ => None,
    }
}

fn is_set(value: Option<&Bson>) -> bool {
    !matches!(value, None | Some(Bson::Null | Bson::Boolean(false)))
}

fn key_text(key: &Document) -> String {
    let fields: Vec<String> = key.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{{{}}}", fields.join(", "))
}

/// As one types it into the server's shell.
fn statement(collection: &str, index: &Index) -> String {
    let expiry = index
        .expire_after
        .map(|seconds| format!(", expireAfterSeconds: {seconds}"));
    format!(
        "db.getCollection(\"{collection}\").createIndex({}, {{name: \"{}\"{}}})",
        key_text(&index.key),
        index.name,
        expiry.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(expire_after: Option<i64>) -> Index {
        Index {
            name: "expireAt_1",
            key: doc! {"expireAt": 1},
            expire_after,
            is_retention: false,
        }
    }

    fn differs(wanted: &Index, there: Document) -> (String, String) {
        match compare("c", wanted, &[there]) {
            IndexState::Differs { how, remedy } => (how, remedy),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_index_is_recognised_by_its_keys_under_any_name_and_number_type() {
        let there = doc! {"key": {"expireAt": 1.0}, "name": "mine", "expireAfterSeconds": 0i64, "sparse": false};
        assert_eq!(compare("c", &wanted(Some(0)), &[there]), IndexState::Present);
        assert_eq!(
            compare("c", &wanted(Some(0)), &[doc! {"key": {"other": 1}, "name": "other_1"}]),
            IndexState::Missing(
                r#"db.getCollection("c").createIndex({expireAt: 1}, {name: "expireAt_1", expireAfterSeconds: 0})"#
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_differs_is_said_with_what_to_do() {
        let drop = |name: &str| format!("db.getCollection(\"c\").dropIndex(\"{name}\"), then tyk-pump indexes --apply");
        assert_eq!(
            differs(&wanted(Some(0)), doc! {"key": {"expireAt": 1}, "name": "expireAt_1"}),
            ("documents do not expire by it".to_owned(), drop("expireAt_1"))
        );
        let (how, remedy) = differs(
            &wanted(Some(0)),
            doc! {"key": {"expireAt": 1}, "name": "old", "expireAfterSeconds": 60},
        );
        assert_eq!(how, "it has the name old, documents expire 60 s after, not 0 s after");
        assert_eq!(remedy, drop("old"));
        let (_, remedy) = differs(
            &wanted(Some(0)),
            doc! {"key": {"expireAt": 1}, "name": "expireAt_1", "expireAfterSeconds": 60},
        );
        assert_eq!(
            remedy,
            r#"db.runCommand({collMod: "c", index: {name: "expireAt_1", expireAfterSeconds: 0}})"#
        );
        let (how, _) = differs(
            &wanted(None),
            doc! {"key": {"expireAt": -1, "x": 1}, "name": "expireAt_1", "unique": true},
        );
        assert_eq!(
            how,
            "its keys are {expireAt: -1, x: 1}, not {expireAt: 1}, it is made with unique"
        );
    }
}
