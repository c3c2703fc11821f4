//! Records of kinds that the suite's are not.

use std::sync::Arc;

use analytics::{Batch, ClaimId, Decoded, Flag, RowRanges, Selection};
use async_trait::async_trait;

use sinks::{Applied, Sink, WriteError, Written};

/// Hands over records with flags that the suite's do not have.
pub(crate) struct Flagged {
    /// The sink that is checked.
    sink: Box<dyn Sink>,
    /// What every record gets.
    flags: &'static [Flag],
}

impl Flagged {
    /// `sink` itself where there are no flags.
    pub(crate) fn around(sink: Box<dyn Sink>, flags: &'static [Flag]) -> Box<dyn Sink> {
        match flags {
            [] => sink,
            flags => Box::new(Flagged { sink, flags }),
        }
    }

    fn flagged(&self, selection: &Selection) -> Selection {
        let batch = selection.batch();
        let mut rows = batch.rows.clone();
        for row in &mut rows {
            if let Decoded::Record(record) = row {
                for &flag in self.flags {
                    record.flag[flag as usize] = true;
                }
            }
        }
        let copy = Batch {
            claim: batch.claim,
            key: batch.key.clone(),
            first_row: batch.first_row,
            buffer: batch.buffer.clone(),
            elements: batch.elements.clone(),
            rows,
        };
        let chosen: Vec<usize> = selection.indexes().collect();
        let range = selection.rows();
        Selection::new(copy.into(), 0..batch.len(), selection.transform().clone())
            .retain(|index| chosen.contains(&index))
            .slice(range)
    }
}

#[async_trait]
impl Sink for Flagged {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let group: Vec<Selection> = group.iter().map(|selection| self.flagged(selection)).collect();
        self.sink.write(&group, applied).await
    }

    async fn forget(&self, claims: &[ClaimId]) {
        self.sink.forget(claims).await;
    }

    async fn applied(&self, claim: ClaimId, former: Option<&str>) -> Result<Option<RowRanges>, WriteError> {
        self.sink.applied(claim, former).await
    }

    async fn close(&self) -> Result<(), WriteError> {
        self.sink.close().await
    }
}
