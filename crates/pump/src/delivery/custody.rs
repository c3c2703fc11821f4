//! Claims that are no longer simply ours: taken over by another instance, evicted by Redis, or made under another name.

use std::ops::Range;

use analytics::ClaimId;
use sinks::Sink;

use super::{
    lane::{Lane, Origin, Work, WorkId},
    report::Context,
};

impl Lane {
    /// Forgets claims that another instance owns now.
    pub(super) fn drop_lost(&mut self) {
        let is_lost = |work: &Work| match &work.origin {
            Origin::Claim(held) if held.is_lost() => Some(held.id()),
            _ => None,
        };
        let lost: Vec<ClaimId> = self.work.values().filter_map(is_lost).collect();
        lost.into_iter().for_each(|claim| self.lose(claim));
    }

    /// Rows have vanished from the source: they are counted, and the claim goes on without them.
    pub(super) async fn evicted(&mut self, claim: ClaimId, rows: Range<u64>, sink: &dyn Sink) {
        let Some(work) = self.work.get_mut(&WorkId::Claimed { claim }) else {
            return;
        };
        let before = work.progress.left();
        work.progress.finish(rows.clone());
        let lost = before - work.progress.left();
        if let Origin::Claim(held) = &work.origin {
            held.undecodable().finish(rows);
        }
        self.board.dropped("evicted", lost);
        let text = "records that were not delivered yet have vanished: Redis has evicted them (set maxmemory-policy to noeviction), or \
                    the embedded store is damaged (see its folder quarantine)";
        let context = Context {
            rows: Some(lost),
            ..Context::pump(&self.settings.name)
        };
        self.shared.log.error(text, context);
        self.finish_done(sink).await;
    }

    /// Leaves out what was written under a name that the pump had before.
    pub(super) async fn apply_adoptions(&mut self, sink: &dyn Sink) {
        for (claim, former) in std::mem::take(&mut self.adoptions) {
            match sink.applied(claim, Some(&former)).await {
                Ok(applied) => {
                    let work = self.work.get_mut(&WorkId::Claimed { claim });
                    if let (Some(work), Some(rows)) = (work, applied) {
                        rows.iter().for_each(|rows| work.progress.finish(rows.clone()));
                    }
                }
                Err(error) => {
                    let text = format!("cannot read the ledger that pump {former} has left, trying again: {error}");
                    self.shared.log.error(&text, Context::pump(&self.settings.name));
                    self.adoptions.push((claim, former));
                }
            }
        }
    }

    /// Lets go of a claim that another instance owns now.
    pub(super) fn lose(&mut self, claim: ClaimId) {
        if let Some(Work {
            origin: Origin::Claim(held),
            progress,
        }) = self.work.remove(&WorkId::Claimed { claim })
        {
            held.lose();
            if held.has_vanished() {
                self.count_vanished(progress.left());
            }
            self.shared.holdings.remove(&held);
        }
    }

    /// Lets go of a claim that the source has lost; what this lane has not delivered of it is gone.
    pub(super) fn vanish(&mut self, claim: ClaimId) {
        if let Some(Work {
            origin: Origin::Claim(held),
            ..
        }) = self.work.get(&WorkId::Claimed { claim })
        {
            held.vanish();
        }
        self.lose(claim);
    }

    fn count_vanished(&self, rows: u64) {
        if rows == 0 {
            return;
        }
        self.board.dropped("vanished", rows);
        let text = "records that were claimed and not delivered yet are gone: their source has lost its data";
        let context = Context {
            rows: Some(rows),
            ..Context::pump(&self.settings.name)
        };
        self.shared.log.error(text, context);
    }
}
