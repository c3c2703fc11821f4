//! Telling the source, or the spool, what is finished.

use std::sync::Arc;

use analytics::Key;
use sinks::Sink;

use super::{
    backlog::{Backlog, Origin, WorkId},
    custody,
    desk::Desk,
    spooling::Spooling,
};
use crate::{
    delivery::{held::HeldClaim, retry::Backoff, spool::SpoolFile, undecodable},
    source::{Acknowledged, ClaimRef, SourceError},
};

/// Acknowledges what is finished and lets go of work that is done. `sink`: what may forget claims of which nothing is left;
/// without one they are remembered until there is.
pub(super) async fn acknowledge(desk: &Desk, backlog: &mut Backlog, spool: &Spooling, sink: Option<&dyn Sink>) {
    for (id, cursor) in backlog.moved() {
        let done = match backlog.origin(id).cloned() {
            None => false,
            Some(Origin::Claim(held)) => acknowledge_claim(desk, backlog, id, &held, cursor).await,
            Some(Origin::Spool(file, key)) => {
                let done = backlog.ends_at(id, cursor);
                if done {
                    remove_spooled(desk, backlog, spool, file, key).await;
                }
                done
            }
            Some(Origin::Letter(batch, slip)) => {
                slip.accept(batch.row_id(0));
                true
            }
        };
        if done {
            backlog.remove(id);
            backlog.settle(id);
            if id.is_letter() {
                backlog.forget_marks(vec![id.claim()]);
            }
        }
    }
    if let Some(sink) = sink {
        let settled = backlog.take_settled();
        if !settled.is_empty() {
            sink.forget(&settled).await;
        }
    }
}

/// `true`: the claim is done, as far as this lane goes.
async fn acknowledge_claim(desk: &Desk, backlog: &mut Backlog, id: WorkId, held: &Arc<HeldClaim>, cursor: u64) -> bool {
    crate::failpoints::hit(crate::failpoints::BEFORE_ACK);
    let mut backoff = Backoff::default();
    loop {
        let mut cursors = vec![(desk.settings.name.clone(), cursor)];
        let bad = held.undecodable().unacknowledged();
        cursors.extend(bad.map(|cursor| (undecodable::LANE.into(), cursor)));
        match desk.services.source.acknowledge(&held.reference, &cursors).await {
            Ok(state) => {
                crate::failpoints::hit(crate::failpoints::AFTER_ACK);
                if let Some(cursor) = bad {
                    held.undecodable().acknowledge(cursor);
                }
                let done = backlog.acknowledge(id, cursor);
                if state == Acknowledged::Finished {
                    held.finish();
                }
                if done {
                    held.lane_done();
                }
                return done;
            }
            Err(SourceError::LeaseLost(claim)) => {
                custody::lose(desk, backlog, claim);
                return false;
            }
            Err(SourceError::Vanished(claim)) => {
                custody::vanish(desk, backlog, claim);
                return false;
            }
            Err(error) => {
                let text = format!("cannot acknowledge, trying again: {error}");
                desk.error(&text);
                desk.facts.failed(&text);
                if held.is_lost() || desk.stopped_for(backoff.next(None)).await {
                    return false;
                }
            }
        }
    }
}

async fn remove_spooled(desk: &Desk, backlog: &Backlog, spool: &Spooling, file: SpoolFile, key: Arc<Key>) {
    let name = &desk.settings.name;
    let claim = file.claim;
    if let Err(error) = spool.remove(file).await {
        desk.error(&format!(
            "a delivered spool file cannot be removed; its rows may be delivered again: {error}"
        ));
    }
    // This one is still in the backlog.
    if backlog.extent().spooled_files <= 1 {
        tracing::info!(prefix = "main", pump = %name, "the spool is empty again: what was on disk is delivered");
    }
    if backlog.files_of(claim) > 1 {
        return;
    }
    let claim = ClaimRef {
        id: claim,
        key,
        fence: 0,
    };
    if let Err(error) = desk.services.source.note_spooled(&claim, name, false).await {
        let text = format!("cannot note that the spool is empty: {error}");
        desk.services.log.warning(&text, desk.context());
    }
}
