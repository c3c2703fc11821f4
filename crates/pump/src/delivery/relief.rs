//! What happens when a failing pump holds more unacknowledged rows than it may: they go to disk, or the oldest are
//! dropped, counted and logged.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use analytics::{Batch, RowRanges};
use sinks::Sink;

use super::{
    held::Held,
    lane::{Lane, Origin, Work, WorkId},
    progress::Progress,
    report::Context,
    spool::{Spool, SpoolError, SpoolFile},
};
use crate::config::OnFull;

impl Lane {
    /// Sheds rows until the lane is within its budget again.
    pub(super) async fn relieve(&mut self, sink: Option<&dyn Sink>) {
        let mut spools = self.settings.on_full == OnFull::Spool && self.spool.is_some();
        let mut dropped = 0;
        self.update_board();
        while let Some(excess) = self.shared.excess(self.number, self.board.backlog_bytes.load(Relaxed)) {
            let Some((id, held, row)) = self.oldest_claimed() else {
                break;
            };
            if spools {
                match self.spool_window(&held, id, row).await {
                    Ok(()) => {}
                    Err(error) if error.is::<SpoolError>() => {
                        let text = format!("cannot spool, the oldest rows are dropped instead: {error}");
                        self.shared.log.error(&text, Context::pump(&self.settings.name));
                        spools = false;
                    }
                    // The disk is not at fault: the rows stay where they are until the source answers again.
                    Err(error) => {
                        let text = format!("cannot spool yet, trying again: {error}");
                        self.shared.log.error(&text, Context::pump(&self.settings.name));
                        break;
                    }
                }
            } else {
                let rows = excess.div_ceil(self.row_size()).min(held.len - row).max(1);
                if let Some(work) = self.work.get_mut(&id) {
                    let before = work.progress.left();
                    work.progress.finish(row..row + rows);
                    let rows = before - work.progress.left();
                    // Counted before they are acknowledged: whatever happens in between, no loss goes uncounted.
                    self.board.dropped("budget", rows);
                    dropped += rows;
                }
            }
            match sink {
                Some(sink) => self.finish_done(sink).await,
                None => self.finish_done(&NoSink).await,
            }
            self.update_board();
            if self.shared.stop.is_cancelled() {
                break;
            }
        }
        if dropped > 0 {
            let text =
                format!("{dropped} of the oldest rows are dropped: the pump fails and holds more than max_unacked");
            self.shared.log.error(&text, Context::pump(&self.settings.name));
        }
    }

    fn oldest_claimed(&self) -> Option<(WorkId, Arc<Held>, u64)> {
        self.work.iter().find_map(|(id, work)| match &work.origin {
            Origin::Claim(held) if !held.is_lost() => {
                work.progress.next_unfinished(0).map(|row| (*id, held.clone(), row))
            }
            _ => None,
        })
    }

    /// Copies the window at `row` to disk; its rows are then no longer the source's business.
    async fn spool_window(&mut self, held: &Arc<Held>, id: WorkId, row: u64) -> anyhow::Result<()> {
        let window = self
            .shared
            .reader
            .window(held, row, self.number, self.shared.lanes())
            .await?;
        let batch = window.batch.clone();
        let mut finished = RowRanges::new();
        if let Some(work) = self.work.get(&id) {
            (batch.first_row..batch.end_row())
                .filter(|&row| work.progress.is_finished(row))
                .for_each(|row| finished.insert(row..row + 1));
        }
        let Some(spool) = &self.spool else { return Ok(()) };
        // Noted first: a file that could not be noted would lie there, unknown to the lane, until the next start.
        self.shared
            .source
            .note_spooled(&held.reference, &self.settings.name, true)
            .await?;
        let file = spool.store(&batch, &finished)?;
        self.adopt_spooled(file, &batch, finished);
        if let Some(work) = self.work.get_mut(&id) {
            work.progress.finish(batch.first_row..batch.end_row());
        }
        Ok(())
    }

    fn adopt_spooled(&mut self, file: SpoolFile, batch: &Batch, finished: RowRanges) {
        let mut progress = Progress::new(file.first_row, batch.end_row());
        finished.iter().for_each(|rows| progress.finish(rows.clone()));
        let id = WorkId::Spooled {
            claim: file.claim,
            first_row: file.first_row,
        };
        self.work.insert(
            id,
            Work {
                origin: Origin::Spool(file, batch.key.clone()),
                progress,
            },
        );
    }

    /// Takes up what the spool held when the process started.
    pub(super) fn adopt_spool(&mut self) -> Result<(), SpoolError> {
        let Some(spool) = self.spool.take() else { return Ok(()) };
        let adopted = self.adopt_files(&spool);
        self.spool = Some(spool);
        adopted
    }

    fn adopt_files(&mut self, spool: &Spool) -> Result<(), SpoolError> {
        for file in spool.files()? {
            self.inherited.insert(file.claim);
            match spool.load(&file) {
                Ok(spooled) => self.adopt_spooled(file, &spooled.batch, spooled.finished),
                Err(error @ SpoolError::Corrupt { .. }) => {
                    let to = spool.quarantine(&file)?;
                    self.board.dropped("spool_damaged", 1);
                    let text = format!("a spool file is damaged and was moved to {}: {error}", to.display());
                    self.shared.log.error(&text, Context::pump(&self.settings.name));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Stands in for a sink that could not be made yet, when rows are shed before there is one.
struct NoSink;

#[async_trait::async_trait]
impl Sink for NoSink {
    async fn write(
        &self,
        _group: &[analytics::Selection],
        _applied: &Arc<sinks::Applied>,
    ) -> Result<sinks::Written, sinks::WriteError> {
        Err(sinks::WriteError::retry("the pump has not started yet"))
    }
}
