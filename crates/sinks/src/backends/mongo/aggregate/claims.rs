//! What is to be remembered of claims beside the documents that count them: the window that was set when the first of its
//! rows was counted, and when the last one was acknowledged. Every process that works on the claim learns it from here.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use analytics::{ClaimId, Selection, aggregate::Window};
use futures::TryStreamExt;
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
    options::ReturnDocument,
};
use tokio::{sync::Mutex, time::Instant};

use super::{applied::Ledger, pump::Aggregates};
use crate::{WriteError, mongo::failure::Failure};

/// The collection.
pub(in crate::backends::mongo) const LEDGER: &str = "tyk_pump_ledger";

/// How long finished claims are remembered.
const FINISHED_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long claims are remembered that never finish: given back, dropped, or the process ended just then.
const OTHERS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Claims in memory. The oldest go first: documents of their time are hardly written to any more.
const REMEMBERED: usize = 10_000;

/// What this process knows.
#[derive(Default)]
pub(super) struct Claims(Mutex<Known>);

#[derive(Default)]
struct Known {
    windows: HashMap<ClaimId, Window>,
    /// When every row was acknowledged.
    finished: BTreeMap<ClaimId, DateTime>,
    /// Whether those of earlier processes are among them.
    is_loaded: bool,
    pruned: Option<Instant>,
}

impl Known {
    fn finish(&mut self, claim: ClaimId, at: DateTime) {
        self.windows.remove(&claim);
        self.finished.insert(claim, at);
        while self.finished.len() > REMEMBERED {
            self.finished.pop_first();
        }
    }
}

impl Claims {
    /// Whether every row of a claim was acknowledged before `limit`.
    pub(super) async fn is_finished_before(&self, claim: ClaimId, limit: DateTime) -> bool {
        let known = self.0.lock().await;
        known.finished.get(&claim).is_some_and(|&at| at < limit)
    }
}

/// The time so long ago.
pub(super) fn ago(time: Duration) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() - time.as_millis() as i64)
}

impl Aggregates {
    /// Sorts a group by the windows of its claims.
    pub(super) async fn by_window(
        &self,
        ledger: &Ledger,
        group: &[Selection],
    ) -> Result<Vec<(Window, Vec<Selection>)>, WriteError> {
        let mut known = self.claims.0.lock().await;
        let mut sorted: Vec<(Window, Vec<Selection>)> = Vec::new();
        for selection in group {
            let claim = selection.batch().claim;
            let window = match known.windows.get(&claim) {
                Some(&window) => window,
                None => {
                    let window = self
                        .fix_window(ledger, claim)
                        .await
                        .map_err(Failure::into_write_error)?;
                    // Beyond, they are looked up again.
                    if known.windows.len() >= REMEMBERED {
                        known.windows.clear();
                    }
                    known.windows.insert(claim, window);
                    window
                }
            };
            match sorted.iter_mut().find(|(other, _)| *other == window) {
                Some((_, selections)) => selections.push(selection.clone()),
                None => sorted.push((window, vec![selection.clone()])),
            }
        }
        if !known.is_loaded {
            self.load_finished(ledger, &mut known)
                .await
                .map_err(Failure::into_write_error)?;
        }
        Ok(sorted)
    }

    /// The window of a claim: the first process that counts one of its rows sets it.
    async fn fix_window(&self, ledger: &Ledger, claim: ClaimId) -> Result<Window, Failure> {
        let configured = self.setup.rules.window;
        let entry = doc! {
            "pump": &self.pump,
            "fleet": ledger.fleet(),
            "minutes": configured.seconds() / 60,
            "at": DateTime::now(),
        };
        let claims = self.claims_collection();
        let change = claims
            .find_one_and_update(doc! {"_id": ledger.name(claim)}, doc! {"$setOnInsert": entry})
            .upsert(true)
            .return_document(ReturnDocument::After);
        let entry = self.connection.within(change.into_future()).await?;
        let minutes = entry.and_then(|entry| entry.get_i64("minutes").ok());
        Ok(minutes.and_then(Window::minutes).unwrap_or(configured))
    }

    async fn load_finished(&self, ledger: &Ledger, known: &mut Known) -> Result<(), Failure> {
        let claims = self.claims_collection();
        let query = doc! {"pump": &self.pump, "fleet": ledger.fleet(), "done": {"$gte": ago(FINISHED_KEPT)}};
        let found = async {
            let find = claims.find(query).sort(doc! {"done": -1}).limit(REMEMBERED as i64);
            find.await?.try_collect::<Vec<Document>>().await
        };
        for entry in self.connection.within(found).await? {
            let claim = entry.get_str("_id").ok().and_then(|name| ledger.claim_of(name));
            if let (Some(claim), Ok(&at)) = (claim, entry.get_datetime("done")) {
                known.finish(claim, at);
            }
        }
        known.is_loaded = true;
        Ok(())
    }

    /// Notes that every row of these claims is acknowledged. What is not noted costs a little room in documents.
    pub(super) async fn note_finished(&self, ledger: &Ledger, claims: &[ClaimId]) {
        let now = DateTime::now();
        let prune = {
            let mut known = self.claims.0.lock().await;
            claims.iter().for_each(|&claim| known.finish(claim, now));
            let prune = known.pruned.is_none_or(|last| last.elapsed() > PRUNE_EVERY);
            if prune {
                known.pruned = Some(Instant::now());
            }
            prune
        };
        let names: Vec<String> = claims.iter().map(|&claim| ledger.name(claim)).collect();
        let collection = self.claims_collection();
        let noted = async {
            let note = collection.update_many(doc! {"_id": {"$in": names}}, doc! {"$set": {"done": now}});
            self.connection.within(note.into_future()).await?;
            if prune {
                let old = doc! {
                    "pump": &self.pump,
                    "fleet": ledger.fleet(),
                    "$or": [{"done": {"$lt": ago(FINISHED_KEPT)}}, {"at": {"$lt": ago(OTHERS_KEPT)}}],
                };
                self.connection
                    .within(collection.delete_many(old).into_future())
                    .await?;
            }
            Ok::<(), Failure>(())
        };
        if let Err(failure) = noted.await {
            tracing::debug!(
                prefix = self.prefix,
                pump = self.pump,
                "claims are not noted as finished: {failure}"
            );
        }
    }

    fn claims_collection(&self) -> Collection<Document> {
        self.connection.database.collection(LEDGER)
    }
}
