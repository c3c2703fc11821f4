//! What happens when a failing pump holds more unacknowledged rows than it may: they go to disk, or the oldest are
//! dropped, counted and logged. Rows that are being written stay where they are: their write may still succeed.

use std::{ops::Range, sync::Arc};

use analytics::Batch;
use sinks::Sink;

use super::{
    acknowledge::acknowledge,
    backlog::{Backlog, WorkId},
    desk::Desk,
    spooling::Spooling,
};
use crate::{
    config::OnFull,
    delivery::{held::HeldClaim, report::Context, spool::SpoolError},
};

/// Where shed rows go.
struct Way {
    spools: bool,
    /// Rows so far.
    spooled: u64,
    dropped: u64,
}

/// Sheds rows until the lane is within its budget again.
pub(super) async fn relieve(desk: &Desk, backlog: &mut Backlog, spool: &mut Spooling, sink: Option<&dyn Sink>) {
    desk.show(backlog);
    if desk.control.excess(backlog.extent().bytes).is_none() {
        return;
    }
    let had_files = backlog.extent().spooled_files > 0;
    let mut way = Way {
        spools: desk.settings.on_full == OnFull::Spool && is_open(desk, spool).await,
        spooled: 0,
        dropped: 0,
    };
    while let Some(excess) = desk.control.excess(backlog.extent().bytes) {
        let Some((id, held, rows)) = backlog.oldest_claimed() else {
            break;
        };
        if way.spools {
            match spool_window(desk, backlog, spool, &held, id, rows).await {
                Ok(rows) => way.spooled += rows,
                Err(error) if error.is::<SpoolError>() => {
                    desk.error(&format!(
                        "cannot spool to delivery.spool_dir, the oldest rows are dropped instead: {error}"
                    ));
                    way.spools = false;
                }
                // The disk is not at fault: the rows stay where they are until the source answers again.
                Err(error) => {
                    desk.error(&format!("cannot spool yet, trying again: {error}"));
                    break;
                }
            }
        } else {
            way.dropped += drop_oldest(desk, backlog, id, rows, excess);
        }
        acknowledge(desk, backlog, spool, sink).await;
        desk.show(backlog);
        if desk.is_stopped() {
            break;
        }
    }
    report(desk, &way, had_files);
}

/// Whether rows can be put into the spool.
async fn is_open(desk: &Desk, spool: &mut Spooling) -> bool {
    match spool.open().await {
        Ok(open) => open,
        Err(error) => {
            desk.error(&format!(
                "delivery.spool_dir cannot be used, the oldest rows are dropped instead: {error}"
            ));
            false
        }
    }
}

/// Says where the rows went; that rows are spooled is said when that begins.
fn report(desk: &Desk, way: &Way, had_files: bool) {
    if way.spooled > 0 && !had_files {
        let context = Context {
            rows: Some(way.spooled),
            ..desk.context()
        };
        let text = "rows go to the spool from now on: the pump fails and holds more than it may";
        desk.services.log.warning(text, context);
    }
    if way.dropped > 0 {
        desk.error(&format!(
            "the oldest rows are dropped: {} of them, the pump fails and holds more than it may (max_unacked)",
            way.dropped
        ));
    }
}

/// Gives up the oldest rows, as many as are too much. Returns how many.
fn drop_oldest(desk: &Desk, backlog: &mut Backlog, id: WorkId, rows: Range<u64>, excess: u64) -> u64 {
    let most = rows.end - rows.start;
    let count = excess.div_ceil(backlog.row_size()).min(most).max(1);
    let dropped = backlog.finish(id, rows.start..rows.start + count);
    // Counted before they are acknowledged: whatever happens in between, no loss goes uncounted.
    desk.facts.dropped("budget", dropped);
    dropped
}

/// Copies those of `rows` that are in the window at their start to disk; they are then no longer the source's business.
/// Returns how many they are.
async fn spool_window(
    desk: &Desk,
    backlog: &mut Backlog,
    spool: &Spooling,
    held: &Arc<HeldClaim>,
    id: WorkId,
    rows: Range<u64>,
) -> anyhow::Result<u64> {
    let lane = Some(desk.id.incarnation);
    let window = desk.services.reader.window(held, rows.start, lane).await?;
    let batch = Arc::new(part(&window.batch, &rows));
    let rows = batch.first_row..batch.end_row();
    let finished = backlog.finished(id, &rows);
    // Noted first: a file that could not be noted would lie there, unknown to the lane, until the next start.
    desk.services
        .source
        .note_spooled(&held.reference, &desk.settings.name, true)
        .await?;
    let file = spool.store(batch.clone(), finished.clone()).await?;
    backlog.accept_spooled(file, batch.key.clone(), rows.end, &finished);
    Ok(backlog.finish(id, rows))
}

/// The part of a window that lies in `rows`. After a crash all rows of a file count as done in their claim, so a file must
/// not span rows that are being written.
fn part(batch: &Batch, rows: &Range<u64>) -> Batch {
    let first_row = rows.start.max(batch.first_row);
    let index = |row: u64| row.min(batch.end_row()).saturating_sub(batch.first_row) as usize;
    let range = index(first_row)..index(rows.end.max(first_row));
    Batch {
        claim: batch.claim,
        key: batch.key.clone(),
        first_row,
        buffer: batch.buffer.clone(),
        elements: batch.elements.get(range.clone()).unwrap_or_default().to_vec(),
        rows: batch.rows.get(range).unwrap_or_default().to_vec(),
    }
}

/// Takes up what the spool held when the lane began. What it holds is shown as it is, also where it cannot be read.
pub(super) async fn adopt_spool(desk: &Desk, backlog: &mut Backlog, spool: &mut Spooling) {
    if let Err(error) = adopt_files(desk, backlog, spool).await {
        desk.error(&format!(
            "delivery.spool_dir cannot be used: rows of this pump that lie there wait, and none are added while it fails: {error}"
        ));
        desk.facts.failed(&error.to_string());
    }
    desk.show(backlog);
}

async fn adopt_files(desk: &Desk, backlog: &mut Backlog, spool: &mut Spooling) -> Result<(), SpoolError> {
    if !spool.open().await? {
        return Ok(());
    }
    for file in spool.files().await? {
        backlog.inherit(file.claim);
        match spool.load(file.clone()).await {
            Ok(spooled) => {
                let (key, end) = (spooled.batch.key.clone(), spooled.batch.end_row());
                backlog.accept_spooled(file, key, end, &spooled.finished);
            }
            Err(error @ SpoolError::Corrupt { .. }) => {
                let to = spool.quarantine(file).await?;
                desk.facts.dropped("spool_damaged", 1);
                desk.error(&format!(
                    "a spool file is damaged and was moved to {}: {error}",
                    to.display()
                ));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
