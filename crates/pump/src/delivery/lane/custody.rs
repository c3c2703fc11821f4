//! Claims that are no longer simply ours: taken over by another instance, evicted by Redis, or made under another name.

use std::ops::Range;

use analytics::ClaimId;
use sinks::Sink;

use super::{
    backlog::{Backlog, Origin, WorkId},
    desk::Desk,
};
use crate::delivery::report::Context;

/// Rows have vanished from the source: they are counted, and the claim goes on without them.
pub(super) fn evicted(desk: &Desk, backlog: &mut Backlog, claim: ClaimId, rows: Range<u64>) {
    if let Some(held) = backlog.held(claim) {
        held.undecodable().finish(rows.clone());
    }
    let lost = backlog.finish(WorkId::Claimed { claim }, rows);
    if lost == 0 {
        return;
    }
    desk.facts.dropped("evicted", lost);
    let text = "records that were not delivered yet have vanished: Redis has evicted them (set maxmemory-policy to noeviction), or \
                the embedded store is damaged (see its folder quarantine)";
    let context = Context {
        rows: Some(lost),
        ..desk.context()
    };
    desk.services.log.error(text, context);
}

/// Leaves out what was written under a name that the pump had before.
pub(super) async fn apply_adoptions(desk: &Desk, backlog: &mut Backlog, sink: &dyn Sink) {
    for (claim, former) in backlog.take_adoptions() {
        match sink.applied(claim, Some(&former)).await {
            Ok(applied) => {
                for rows in applied.iter().flat_map(|applied| applied.iter()) {
                    backlog.finish(WorkId::Claimed { claim }, rows.clone());
                }
            }
            Err(error) => {
                desk.error(&format!(
                    "cannot read the ledger that pump {former} has left, trying again: {error}"
                ));
                backlog.adopt_later(claim, former);
            }
        }
    }
}

/// Forgets claims that another instance owns now. What the source has lost is counted.
pub(super) fn drop_lost(desk: &Desk, backlog: &mut Backlog) {
    let rows = backlog.drop_lost();
    if rows == 0 {
        return;
    }
    desk.facts.dropped("vanished", rows);
    let context = Context {
        rows: Some(rows),
        ..desk.context()
    };
    let text = "records that were claimed and not delivered have vanished: the source has lost its data";
    desk.services.log.error(text, context);
}

/// The source has lost a claim.
pub(super) fn vanish(desk: &Desk, backlog: &mut Backlog, claim: ClaimId) {
    if let Some(held) = backlog.held(claim) {
        held.vanish();
        desk.services.holdings.remove(held);
    }
    drop_lost(desk, backlog);
}

/// Lets go of a claim that another instance owns now.
pub(super) fn lose(desk: &Desk, backlog: &mut Backlog, claim: ClaimId) {
    if let Some(Origin::Claim(held)) = backlog.remove(WorkId::Claimed { claim }) {
        held.lose();
        backlog.forget_marks(vec![claim]);
        desk.services.holdings.remove(&held);
    }
}
