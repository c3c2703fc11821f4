//! What a lane has to write: which rows, how far it has got with them, and which come next.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use analytics::{Batch, ClaimId, Key, RowId, RowRanges, Selection};
use sinks::Applied;

use crate::delivery::{
    held::HeldClaim,
    letters::{ReplayRequest, Slip},
    progress::Progress,
    spool::SpoolFile,
};

/// Bytes of a row before any was seen.
const ROW_BYTES: u64 = 1_000;
/// Windows with fewer rows and bytes than these do not count for the average size of a row.
const TELLING_ROWS: usize = 20;
const TELLING_BYTES: usize = 64 << 10;

/// Order of work: what an operator waits for, then the spool, then claims, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum WorkId {
    Letter { claim: ClaimId, row: u64 },
    Spooled { claim: ClaimId, first_row: u64 },
    Claimed { claim: ClaimId },
}

impl WorkId {
    pub(super) fn claim(self) -> ClaimId {
        match self {
            Self::Letter { claim, .. } | Self::Spooled { claim, .. } | Self::Claimed { claim } => claim,
        }
    }

    pub(super) fn is_letter(self) -> bool {
        matches!(self, Self::Letter { .. })
    }
}

/// Where rows are read from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Claim(Arc<HeldClaim>),
    Spool(SpoolFile, Arc<Key>),
    /// A dead letter that is replayed.
    Letter(Arc<Batch>, Arc<Slip>),
}

impl Origin {
    fn key(&self) -> &Key {
        match self {
            Self::Claim(held) => &held.reference.key,
            Self::Spool(_, key) => key,
            Self::Letter(batch, _) => &batch.key,
        }
    }

    fn is_lost(&self) -> bool {
        matches!(self, Self::Claim(held) if held.is_lost())
    }
}

#[derive(Debug)]
struct Work {
    origin: Origin,
    progress: Progress,
}

/// What a lane holds, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) spooled_rows: u64,
    pub(super) spooled_files: u64,
    /// When the oldest claim was made, milliseconds since 1970; 0 = none.
    pub(super) oldest_ms: u64,
}

/// What a lane has to write. It outlives the lane: its successor goes on with it.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Backlog {
    work: BTreeMap<WorkId, Work>,
    /// Claims that were made under a former name of the pump, whose ledger must be asked first.
    adoptions: Vec<(ClaimId, Arc<str>)>,
    /// Claims of spool files from before the start. A crash may have come between a file and its cursor, so the ledger
    /// must know their rows until the claim itself is done.
    inherited: BTreeSet<ClaimId>,
    /// Claims of which nothing is left, so that a sink may forget them.
    settled: BTreeSet<ClaimId>,
    /// What sinks have marked as accepted, also when the write that offered it failed or was given up.
    applied: Arc<Applied>,
    /// Rows that are being written.
    in_flight: Vec<(WorkId, Range<u64>)>,
    row_bytes: u64,
}

impl Backlog {
    /// Takes up a claim; `cursor` is the next row of `pump` in it.
    pub(super) fn accept_claim(&mut self, pump: &str, held: Arc<HeldClaim>, cursor: u64) {
        let mut progress = Progress::new(cursor, held.len);
        let claim = held.id();
        // Rows that this instance has on disk since before a crash need no second copy.
        for (id, work) in &self.work {
            if let WorkId::Spooled {
                claim: spooled,
                first_row,
            } = *id
                && spooled == claim
            {
                progress.finish(first_row..work.progress.end());
            }
        }
        if let Some(former) = held.adopted.get(pump) {
            self.adoptions.push((claim, former.clone()));
        }
        let origin = Origin::Claim(held);
        self.settled.remove(&claim);
        self.work.insert(WorkId::Claimed { claim }, Work { origin, progress });
    }

    /// Takes up dead letters.
    pub(super) fn accept_letters(&mut self, request: ReplayRequest) {
        for batch in request.letters {
            let (claim, row) = (batch.claim, batch.first_row);
            let id = WorkId::Letter { claim, row };
            if self.work.contains_key(&id) {
                request.slip.keep("it is being replayed already");
                continue;
            }
            let progress = Progress::new(row, batch.end_row());
            let origin = Origin::Letter(batch, request.slip.clone());
            self.work.insert(id, Work { origin, progress });
        }
    }

    /// Takes up a file of the spool with these rows, of which some are finished.
    pub(super) fn accept_spooled(&mut self, file: SpoolFile, key: Arc<Key>, end: u64, finished: &RowRanges) {
        let mut progress = Progress::new(file.first_row, end);
        finished.iter().for_each(|rows| progress.finish(rows.clone()));
        let id = WorkId::Spooled {
            claim: file.claim,
            first_row: file.first_row,
        };
        let origin = Origin::Spool(file, key);
        self.work.insert(id, Work { origin, progress });
    }

    /// The spool holds rows of this claim since before the start.
    pub(super) fn inherit(&mut self, claim: ClaimId) {
        self.inherited.insert(claim);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }

    pub(super) fn origin(&self, id: WorkId) -> Option<&Origin> {
        self.work.get(&id).map(|work| &work.origin)
    }

    /// The next unfinished row behind `at`, of the same key once there is one. Letters and other rows are not mixed.
    pub(super) fn next(&self, at: Option<(WorkId, u64)>, key: Option<&Key>) -> Option<(WorkId, u64)> {
        for (id, work) in &self.work {
            let from = match at {
                Some((current, _)) if *id < current || id.is_letter() != current.is_letter() => continue,
                Some((current, row)) if *id == current => row,
                _ => 0,
            };
            let same_key = key.is_none_or(|key| work.origin.key() == key);
            if let (Some(row), true, false) = (work.progress.next_unfinished(from), same_key, work.origin.is_lost()) {
                return Some((*id, row));
            }
        }
        None
    }

    /// Whether one of these rows still needs work, and is ours.
    pub(super) fn wants(&self, id: WorkId, rows: &Range<u64>) -> bool {
        let work = self.work.get(&id).filter(|work| !work.origin.is_lost());
        let next = work.and_then(|work| work.progress.next_unfinished(rows.start));
        next.is_some_and(|row| row < rows.end)
    }

    /// Those of `rows` that need no further work.
    pub(super) fn finished(&self, id: WorkId, rows: &Range<u64>) -> RowRanges {
        let mut finished = RowRanges::new();
        let Some(work) = self.work.get(&id) else {
            return finished;
        };
        let mut from = rows.start;
        while from < rows.end {
            let next = work.progress.next_unfinished(from).unwrap_or(rows.end).min(rows.end);
            finished.insert(from..next);
            from = (next..rows.end)
                .find(|&row| work.progress.is_finished(row))
                .unwrap_or(rows.end);
        }
        finished
    }

    /// These rows need no further work. Returns of how many that is new.
    pub(super) fn finish(&mut self, id: WorkId, rows: Range<u64>) -> u64 {
        let Some(work) = self.work.get_mut(&id) else { return 0 };
        let before = work.progress.left();
        work.progress.finish(rows);
        before - work.progress.left()
    }

    /// Where a sink marks rows.
    pub(super) fn applied(&self) -> &Arc<Applied> {
        &self.applied
    }

    /// Rows of these selections that are marked as accepted need no further work. Returns of how many that is new.
    pub(super) fn finish_applied<'a>(&mut self, offered: impl Iterator<Item = (WorkId, &'a Selection)>) -> u64 {
        let mut finished = 0;
        for (id, selection) in offered {
            let marked = self.applied.ranges(id.claim());
            if marked.is_empty() {
                continue;
            }
            let batch = selection.batch();
            let rows = selection.indexes().map(|index| batch.row_id(index).row);
            for row in rows.filter(|row| marked.contains(*row)) {
                finished += self.finish(id, row..row + 1);
            }
        }
        finished
    }

    /// This row of a claim needs no further work, wherever it is read from.
    pub(super) fn finish_row(&mut self, row: RowId) {
        for (_, work) in self.work.iter_mut().filter(|(id, _)| id.claim() == row.claim) {
            work.progress.finish(row.row..row.row + 1);
        }
    }

    /// Work whose cursor has moved, with that cursor.
    pub(super) fn moved(&self) -> Vec<(WorkId, u64)> {
        let work = self.work.iter();
        work.filter_map(|(id, work)| Some((*id, work.progress.unacknowledged()?)))
            .collect()
    }

    /// The source has stored `cursor`. `true`: the work is done.
    pub(super) fn acknowledge(&mut self, id: WorkId, cursor: u64) -> bool {
        let Some(work) = self.work.get_mut(&id) else {
            return true;
        };
        work.progress.acknowledge(cursor);
        work.progress.is_done()
    }

    /// Whether nothing of it is left but acknowledging `cursor`.
    pub(super) fn ends_at(&self, id: WorkId, cursor: u64) -> bool {
        self.work.get(&id).is_some_and(|work| cursor >= work.progress.end())
    }

    /// Done, or void.
    pub(super) fn remove(&mut self, id: WorkId) -> Option<Origin> {
        self.work.remove(&id).map(|work| work.origin)
    }

    /// Rows of it that need work.
    pub(super) fn left(&self, id: WorkId) -> u64 {
        self.work.get(&id).map_or(0, |work| work.progress.left())
    }

    /// A claim or a spool file is done: its claim is settled once nothing else of it is left.
    pub(super) fn settle(&mut self, id: WorkId) {
        let claim = id.claim();
        if matches!(id, WorkId::Claimed { .. }) {
            self.inherited.remove(&claim);
        }
        if !id.is_letter() {
            self.settled.insert(claim);
        }
    }

    /// Claims of which nothing is left, each named once.
    pub(super) fn take_settled(&mut self) -> Vec<ClaimId> {
        let kept: BTreeSet<ClaimId> = self
            .work
            .keys()
            .map(|id| id.claim())
            .chain(self.inherited.iter().copied())
            .collect();
        let settled: Vec<ClaimId> = self
            .settled
            .iter()
            .copied()
            .filter(|claim| !kept.contains(claim))
            .collect();
        settled.iter().for_each(|claim| {
            self.settled.remove(claim);
        });
        self.applied.forget(&settled);
        settled
    }

    /// Forgets what was marked of claims of which nothing is left here: another instance has them, or they are finished.
    pub(super) fn forget_marks(&self, mut claims: Vec<ClaimId>) {
        claims.retain(|claim| !self.work.keys().any(|id| id.claim() == *claim));
        self.applied.forget(&claims);
    }

    /// Files of the spool that hold rows of this claim.
    pub(super) fn files_of(&self, claim: ClaimId) -> usize {
        let files = self.work.keys();
        files
            .filter(|id| matches!(id, WorkId::Spooled { claim: known, .. } if *known == claim))
            .count()
    }

    /// Says which rows are being written from now on.
    pub(super) fn fly(&mut self, rows: impl Iterator<Item = (WorkId, Range<u64>)>) {
        self.in_flight = rows.collect();
    }

    fn is_in_flight(&self, id: WorkId, row: u64) -> bool {
        self.in_flight
            .iter()
            .any(|(known, rows)| *known == id && rows.contains(&row))
    }

    /// The oldest claimed row that needs work and is not being written, with the end of what lies between it and the next
    /// row that is.
    pub(super) fn oldest_claimed(&self) -> Option<(WorkId, Arc<HeldClaim>, Range<u64>)> {
        for (id, work) in &self.work {
            let Origin::Claim(held) = &work.origin else { continue };
            if held.is_lost() {
                continue;
            }
            let mut from = 0;
            while let Some(row) = work.progress.next_unfinished(from) {
                if self.is_in_flight(*id, row) {
                    let flying = self
                        .in_flight
                        .iter()
                        .filter(|(known, rows)| known == id && rows.contains(&row));
                    from = flying.map(|(_, rows)| rows.end).max().unwrap_or(row + 1);
                    continue;
                }
                let starts = self
                    .in_flight
                    .iter()
                    .filter(|(known, rows)| known == id && rows.start > row);
                let end = starts.map(|(_, rows)| rows.start).min().unwrap_or(held.len);
                return Some((*id, held.clone(), row..end));
            }
        }
        None
    }

    /// Forgets claims that another instance owns now, or that the source has lost. Returns how many rows of the latter are
    /// not delivered.
    pub(super) fn drop_lost(&mut self) -> u64 {
        let vanished = self.work.values().filter(|work| match &work.origin {
            Origin::Claim(held) => held.has_vanished(),
            _ => false,
        });
        let rows = vanished.map(|work| work.progress.left()).sum();
        let lost: Vec<ClaimId> = self
            .work
            .iter()
            .filter(|(_, work)| work.origin.is_lost())
            .map(|(id, _)| id.claim())
            .collect();
        self.work.retain(|_, work| !work.origin.is_lost());
        self.forget_marks(lost);
        rows
    }

    /// The claim with this id, if it is work here.
    pub(super) fn held(&self, claim: ClaimId) -> Option<&Arc<HeldClaim>> {
        match self.origin(WorkId::Claimed { claim }) {
            Some(Origin::Claim(held)) => Some(held),
            _ => None,
        }
    }

    /// Claims that were made under a former name, to be asked for in its ledger.
    pub(super) fn take_adoptions(&mut self) -> Vec<(ClaimId, Arc<str>)> {
        std::mem::take(&mut self.adoptions)
    }

    /// The ledger could not be asked.
    pub(super) fn adopt_later(&mut self, claim: ClaimId, former: Arc<str>) {
        self.adoptions.push((claim, former));
    }

    /// Whether ledgers are still to be asked.
    pub(super) fn has_adoptions(&self) -> bool {
        !self.adoptions.is_empty()
    }

    /// Learns from a window how large rows are, for the budgets. A few rows say little about those behind them.
    pub(super) fn learn_row_size(&mut self, bytes: usize, rows: usize) {
        if rows < TELLING_ROWS && bytes < TELLING_BYTES {
            return;
        }
        let seen = bytes.checked_div(rows).unwrap_or_default() as u64;
        self.row_bytes = match self.row_bytes {
            0 => seen,
            known => (known * 7 + seen) / 8,
        };
    }

    /// Average bytes of a row; a guess until one was read.
    pub(super) fn row_size(&self) -> u64 {
        match self.row_bytes {
            0 => ROW_BYTES,
            seen => seen,
        }
    }

    /// What is held.
    pub(super) fn extent(&self) -> Extent {
        let mut extent = Extent::default();
        let mut see = |made: u64| {
            extent.oldest_ms = match extent.oldest_ms {
                0 => made,
                oldest => oldest.min(made),
            }
        };
        let (mut rows, mut spooled_rows, mut spooled_files) = (0, 0, 0);
        for work in self.work.values() {
            match &work.origin {
                Origin::Claim(held) => {
                    rows += work.progress.left();
                    see(held.claimed_at_ms);
                }
                Origin::Spool(file, _) => {
                    spooled_rows += work.progress.left();
                    spooled_files += 1;
                    see(file.claim.0.timestamp_ms());
                }
                Origin::Letter(..) => {}
            }
        }
        Extent {
            rows,
            bytes: rows * self.row_size(),
            spooled_rows,
            spooled_files,
            ..extent
        }
    }

    /// The pump is gone: its rows are nobody's here, and their claims go on without them.
    pub(in crate::delivery) fn leave(self) {
        for work in self.work.into_values() {
            if let Origin::Claim(held) = work.origin {
                held.lane_done();
            }
        }
    }
}
