//! Writing as upstream does, with `compat`: at least once, everything into the bucket that is being filled, and a smaller
//! window when a document has become too large.

use std::{collections::HashSet, sync::Arc};

use analytics::{
    Selection, Time,
    aggregate::{Aggregate, Filling, Window},
};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use tokio::sync::Mutex;

use super::{
    pump::Aggregates,
    stored,
    update::{Moved, Update},
};
use crate::{
    WriteError,
    mongo::{bson::Writer, failure::Failure},
};

/// Full documents in a row after which a write fails.
const MAX_FULL: usize = 60;

impl Aggregates {
    pub(super) async fn write_filling(
        &self,
        group: &[Selection],
        window: &Mutex<Window>,
        filling: &Arc<Filling>,
    ) -> Result<(), WriteError> {
        // What is counted already is not counted again under a smaller window.
        let mut done: HashSet<(String, Box<[u8]>)> = HashSet::new();
        let mut full_documents = 0;
        loop {
            let now = *window.lock().await;
            let aggregates = self.aggregate(group, &self.filling_rules(now, filling));
            match self.add_all(&aggregates, &mut done).await {
                Ok(()) => return Ok(()),
                Err((failure, full)) => {
                    if !self.setup.heals || !failure.is_about_size() || full_documents == MAX_FULL {
                        return Err(failure.into_write_error());
                    }
                    full_documents += 1;
                    let halved = Window::minutes(now.seconds() / 120).unwrap_or(Window::MINUTE);
                    self.warn(format!(
                        "a document is too large ({failure}): the window is {} minutes from now on",
                        halved.seconds() / 60
                    ));
                    *window.lock().await = halved;
                    self.leave_bucket(group, halved, filling, full);
                }
            }
        }
    }

    /// Begins a new bucket, which must not be the one of the full document.
    fn leave_bucket(&self, group: &[Selection], window: Window, filling: &Arc<Filling>, full: Time) {
        filling.resume(Time::ZERO);
        let next = self.aggregate(group, &self.filling_rules(window, filling));
        if next.iter().any(|aggregate| aggregate.bucket.seconds == full.seconds) {
            filling.resume(Time {
                seconds: full.seconds.saturating_add(60),
                ..full
            });
        }
    }

    /// An error says which bucket it happened in.
    async fn add_all(
        &self,
        aggregates: &[Aggregate],
        done: &mut HashSet<(String, Box<[u8]>)>,
    ) -> Result<(), (Failure, Time)> {
        for aggregate in aggregates {
            for collection in self.collections(aggregate) {
                let target = (collection, aggregate.owner.clone());
                if done.contains(&target) {
                    continue;
                }
                self.prepare(&target.0).await;
                self.add(&target.0, aggregate)
                    .await
                    .map_err(|failure| (failure, aggregate.bucket))?;
                done.insert(target);
            }
        }
        Ok(())
    }

    async fn add(&self, collection: &str, aggregate: &Aggregate) -> Result<(), Failure> {
        let filter = self.filter(aggregate);
        let counted = Update::of(aggregate, &Moved::new()).into_document();
        let document = self.upsert(collection, &filter, counted).await?;
        // Everything is counted from here on: to write it again would double it, and the next write makes new averages.
        match self.add_averages(collection, &filter, &document).await {
            Ok(document) => self.look_at_tags(collection, &document),
            Err(failure) => tracing::warn!(
                prefix = self.prefix,
                "averages and lists of {collection} are as old as the write before: {failure}"
            ),
        }
        Ok(())
    }

    async fn add_averages(
        &self,
        collection: &str,
        filter: &Document,
        document: &RawDocumentBuf,
    ) -> Result<RawDocumentBuf, Failure> {
        let mut averages = Writer::new(document.as_bytes().len());
        stored::write_averages(&mut averages, document, self.setup.engine, true);
        let averages = averages.finish().map_err(mongodb::error::Error::from)?;
        let averages = Document::try_from(averages).map_err(mongodb::error::Error::from)?;
        self.upsert(collection, filter, averages).await
    }

    async fn upsert(&self, collection: &str, filter: &Document, update: Document) -> Result<RawDocumentBuf, Failure> {
        let command = doc! {
            "findAndModify": collection,
            "new": true,
            "query": filter.clone(),
            "update": update,
            "upsert": true,
        };
        let answer = self.connection.run_write(command).await?;
        let document = answer.get_document("value").map_err(mongodb::error::Error::custom)?;
        Ok(RawDocumentBuf::try_from(document).map_err(mongodb::error::Error::from)?)
    }
}
