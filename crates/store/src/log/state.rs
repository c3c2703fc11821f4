//! What the store knows: lists, claims, strings. Every change of it is a [`Change`] in the log, so that replaying the
//! log makes the same state again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use analytics::ClaimId;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::Claim;

use super::rows::{Grain, Place, Rows, Run};

/// A change of anything but the elements of lists.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// Everything, at the head of a segment.
    Image(Box<State>),
    /// The list became a claim.
    Claim {
        id: Ulid,
        list: String,
        lanes: Vec<Arc<str>>,
        ttl_ms: Option<u64>,
        at_ms: u64,
    },
    /// The claim has another owner.
    Fence { id: Ulid, fence: u64 },
    /// Lanes are through with the rows below.
    Cursors { id: Ulid, cursors: Vec<(Arc<str>, u64)> },
    /// Rows from `low` on go back to the head of their list; the claim ends.
    PutBack { id: Ulid, low: u64 },
    /// Nobody waits for this lane any more.
    DropLane { lane: String },
    /// The rows of one lane are another one's.
    AdoptLane { old: String, new: Arc<str> },
    /// Files of the claim wait in the spool of the lane, or no longer do.
    Spooled { id: Ulid, lane: String, waiting: bool },
    /// Only these rows of the list stay, counted from its head.
    Keep { list: String, from: u64, to: u64 },
    /// The key is gone.
    Remove { key: String },
    /// A time to live, or none any more.
    Expire { key: String, until_ms: Option<u64> },
    /// A string; base64.
    Set {
        key: String,
        value: String,
        until_ms: Option<u64>,
    },
    /// Rows between two places of a segment cannot be read any more: those of this list and of the claims on it; `None`:
    /// whoever's they are.
    Lost {
        #[serde(default)]
        list: Option<String>,
        segment: u32,
        start: u32,
        end: u32,
    },
}

impl Change {
    /// A string.
    pub(crate) fn set(key: &str, value: &[u8], until_ms: Option<u64>) -> Self {
        Self::Set {
            key: key.to_owned(),
            value: STANDARD.encode(value),
            until_ms,
        }
    }
}

/// Stretches of all lists and claims together that are kept fine.
const MOST_STRETCHES: u64 = 16 << 10;

/// A list that nobody has claimed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct List {
    pub(super) rows: Rows,
    /// What TTL counts down to; the list stays.
    pub(super) until_ms: Option<u64>,
}

impl List {
    /// What is left of its time to live.
    pub(crate) fn ttl_ms(&self, now_ms: u64) -> Option<u64> {
        self.until_ms
            .filter(|until| *until > now_ms)
            .map(|until| until - now_ms)
    }
}

/// A list that was taken away from its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClaimState {
    pub(crate) list: String,
    pub(crate) fence: u64,
    pub(crate) len: u64,
    pub(crate) base: u64,
    pub(crate) cursors: BTreeMap<Arc<str>, u64>,
    pub(crate) adopted: BTreeMap<Arc<str>, Arc<str>>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) at_ms: u64,
    pub(super) rows: Rows,
}

impl ClaimState {
    /// As the outside knows it.
    pub(crate) fn shown(&self, id: Ulid) -> Claim {
        Claim {
            id: ClaimId(id),
            list: self.list.as_str().into(),
            fence: self.fence,
            len: self.len,
            base: self.base,
            cursors: self.cursors.clone(),
            adopted: self.adopted.clone(),
            ttl: self.ttl_ms.map(Duration::from_millis),
            at_ms: self.at_ms,
        }
    }

    /// Rows that wait for a lane.
    pub(crate) fn waiting(&self, lane: &str) -> u64 {
        let cursor = self.cursors.get(lane);
        cursor.map_or(0, |cursor| self.len.saturating_sub(*cursor))
    }

    /// The first row that some lane still needs.
    pub(crate) fn low(&self) -> u64 {
        self.cursors.values().copied().fold(self.len, u64::min)
    }
}

/// A string.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Text {
    /// Base64.
    pub(crate) value: String,
    pub(crate) until_ms: Option<u64>,
}

impl Text {
    /// Whether its time has not come yet.
    pub(crate) fn counts(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| until > now_ms)
    }
}

/// Everything but the elements themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Random id of this store.
    pub(crate) fleet: String,
    pub(crate) lists: BTreeMap<String, List>,
    pub(crate) claims: BTreeMap<Ulid, ClaimState>,
    pub(crate) strings: BTreeMap<String, Text>,
    pub(crate) spooled: BTreeSet<(Ulid, String)>,
    /// Frames and segments that were damaged so far.
    pub(crate) damaged: u64,
    /// Torn tails that were cut off so far.
    pub(crate) torn: u64,
    next_series: u32,
    /// Stretches of everything together above which they are joined.
    #[serde(skip)]
    most_stretches: u64,
    /// Stretches in each segment; a segment without any is not needed any more.
    #[serde(skip)]
    pub(super) live: HashMap<u32, u64>,
}

fn tally(live: &mut HashMap<u32, u64>) -> impl FnMut(u32, i64) {
    move |segment, by| {
        let count = live.entry(segment).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            live.remove(&segment);
        }
    }
}

impl State {
    pub(super) fn new(fleet: String) -> Self {
        Self {
            fleet,
            ..Self::default()
        }
    }

    /// Elements have been appended to a list at this place. Returns the new length.
    pub(super) fn append(&mut self, list: &str, place: Place, count: u32) -> u64 {
        if !self.lists.contains_key(list) {
            self.next_series = self.next_series.wrapping_add(1);
            let fresh = List {
                rows: Rows::new(self.next_series),
                until_ms: None,
            };
            self.lists.insert(list.to_owned(), fresh);
        }
        let Some(known) = self.lists.get_mut(list) else {
            return 0;
        };
        let before = known.rows.runs.len();
        let grain = match self.most_stretches {
            0 => Grain::FINE,
            _ => Grain::COARSE,
        };
        known.rows.append(place, count, grain, &mut tally(&mut self.live));
        let (len, grown) = (known.rows.len(), known.rows.runs.len() > before);
        if grown {
            self.coarsen();
        }
        len
    }

    /// Stretches of all lists and claims.
    pub(super) fn stretches(&self) -> u64 {
        self.live.values().sum()
    }

    /// Joins stretches when there are too many of them, whatever lists and claims they belong to: memory, and the image
    /// at the head of every segment, follow the number of claims and segments alone.
    fn coarsen(&mut self) {
        let stretches = self.stretches();
        if stretches <= self.most_stretches.max(MOST_STRETCHES) {
            if stretches < MOST_STRETCHES / 2 {
                self.most_stretches = 0;
            }
            return;
        }
        {
            let mut tally = tally(&mut self.live);
            let lists = self.lists.values_mut().map(|list| &mut list.rows);
            for rows in lists.chain(self.claims.values_mut().map(|claim| &mut claim.rows)) {
                rows.join_neighbours(Grain::COARSE, &mut tally);
            }
        }
        // What is left cannot be joined; looking again soon would only cost time.
        self.most_stretches = MOST_STRETCHES.max(2 * self.stretches());
    }

    /// What comes next must not be joined with what has been: something between them cannot be read.
    pub(super) fn break_series(&mut self) {
        for list in self.lists.values_mut() {
            self.next_series = self.next_series.wrapping_add(1);
            list.rows.series = self.next_series;
        }
    }

    /// Length of a list; 0 when there is none.
    pub(crate) fn len(&self, list: &str) -> u64 {
        self.lists.get(list).map_or(0, |list| list.rows.len())
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Image(image) => self.become_image(*image),
            Change::Claim {
                id,
                list,
                lanes,
                ttl_ms,
                at_ms,
            } => self.claim(id, list, lanes, ttl_ms, at_ms),
            Change::Fence { id, fence } => {
                if let Some(claim) = self.claims.get_mut(&id) {
                    claim.fence = fence;
                }
            }
            Change::Cursors { id, cursors } => {
                if let Some(claim) = self.claims.get_mut(&id) {
                    for (lane, cursor) in cursors {
                        let len = claim.len;
                        if let Some(own) = claim.cursors.get_mut(&lane) {
                            *own = (*own).max(cursor).min(len);
                        }
                    }
                }
                self.settle(&id);
            }
            Change::PutBack { id, low } => self.put_back(&id, low),
            Change::DropLane { lane } => self.drop_lane(&lane),
            Change::AdoptLane { old, new } => self.adopt_lane(&old, &new),
            Change::Spooled { id, lane, waiting } => {
                if waiting {
                    self.spooled.insert((id, lane));
                } else {
                    self.spooled.remove(&(id, lane));
                }
            }
            Change::Keep { list, from, to } => self.keep(&list, from, to),
            Change::Remove { key } => {
                self.strings.remove(&key);
                if let Some(mut list) = self.lists.remove(&key) {
                    list.rows.clear(&mut tally(&mut self.live));
                }
            }
            Change::Expire { key, until_ms } => {
                if let Some(list) = self.lists.get_mut(&key) {
                    list.until_ms = until_ms;
                } else if let Some(text) = self.strings.get_mut(&key) {
                    text.until_ms = until_ms;
                }
            }
            Change::Set { key, value, until_ms } => {
                self.strings.insert(key, Text { value, until_ms });
            }
            Change::Lost {
                list,
                segment,
                start,
                end,
            } => self.lose(list.as_deref(), segment, start, end),
        }
    }

    fn become_image(&mut self, image: State) {
        *self = image;
        let mut live = HashMap::new();
        let lists = self.lists.values().map(|list| &list.rows);
        for rows in lists.chain(self.claims.values().map(|claim| &claim.rows)) {
            for run in &rows.runs {
                *live.entry(run.segment).or_default() += 1;
            }
        }
        self.live = live;
    }

    fn claim(&mut self, id: Ulid, list: String, lanes: Vec<Arc<str>>, ttl_ms: Option<u64>, at_ms: u64) {
        let Some(taken) = self.lists.remove(&list) else { return };
        let mut rows = taken.rows;
        rows.number_from(0);
        let claim = ClaimState {
            list,
            fence: 1,
            len: rows.len(),
            base: 0,
            cursors: lanes.into_iter().map(|lane| (lane, 0)).collect(),
            adopted: BTreeMap::new(),
            ttl_ms,
            at_ms,
            rows,
        };
        self.claims.insert(id, claim);
    }

    /// Removes what every lane has finished.
    fn settle(&mut self, id: &Ulid) {
        let Some(claim) = self.claims.get_mut(id) else { return };
        let low = claim.low();
        let mut tally = tally(&mut self.live);
        if low >= claim.len {
            claim.rows.clear(&mut tally);
            drop(tally);
            self.claims.remove(id);
            return;
        }
        claim.rows.drop_below(low, &mut tally);
        claim.base = low;
    }

    fn put_back(&mut self, id: &Ulid, low: u64) {
        let Some(mut claim) = self.claims.remove(id) else {
            return;
        };
        claim.rows.drop_below(low, &mut tally(&mut self.live));
        if claim.rows.len() == 0 {
            return;
        }
        self.next_series = self.next_series.wrapping_add(1);
        let series = self.next_series;
        let list = self.lists.entry(claim.list).or_default();
        if list.rows.runs.is_empty() {
            list.rows.series = series;
        }
        list.rows.put_in_front(claim.rows);
    }

    fn drop_lane(&mut self, lane: &str) {
        let ids: Vec<Ulid> = self.claims.keys().copied().collect();
        for id in ids {
            if let Some(claim) = self.claims.get_mut(&id)
                && claim.waiting(lane) > 0
            {
                claim.cursors.insert(lane.into(), claim.len);
                self.settle(&id);
            }
        }
    }

    fn adopt_lane(&mut self, old: &str, new: &Arc<str>) {
        for claim in self.claims.values_mut() {
            if claim.cursors.contains_key(new) {
                continue;
            }
            if let Some(cursor) = claim.cursors.remove(old) {
                let known = claim.adopted.remove(old).unwrap_or_else(|| old.into());
                claim.cursors.insert(new.clone(), cursor);
                claim.adopted.insert(new.clone(), known);
                claim.fence += 1;
            }
        }
    }

    fn keep(&mut self, list: &str, from: u64, to: u64) {
        self.next_series = self.next_series.wrapping_add(1);
        let series = self.next_series;
        let Some(known) = self.lists.get_mut(list) else { return };
        let base = known.rows.base();
        let mut tally = tally(&mut self.live);
        known.rows.drop_from(base.saturating_add(to), series, &mut tally);
        known.rows.drop_below(base.saturating_add(from), &mut tally);
        if known.rows.len() == 0 {
            self.lists.remove(list);
        }
    }

    /// Stretches that cannot be read any more: unclaimed rows close up, rows of claims keep their numbers and are
    /// missing. Between two places that one list reaches over stand healthy rows of others.
    fn lose(&mut self, list: Option<&str>, segment: u32, start: u32, end: u32) {
        self.damaged += 1;
        let mut tally = tally(&mut self.live);
        let mut stays = |run: &Run| {
            let lost = run.segment == segment && run.start >= start && run.end <= end;
            if lost {
                tally(segment, -1);
            }
            !lost
        };
        let hit = |name: &str| list.is_none_or(|list| list == name);
        for (_, list) in self.lists.iter_mut().filter(|(name, _)| hit(name)) {
            list.rows.runs.retain(&mut stays);
            list.rows.number_from(0);
        }
        for claim in self.claims.values_mut().filter(|claim| hit(&claim.list)) {
            claim.rows.runs.retain(&mut stays);
        }
        self.lists.retain(|_, list| !list.rows.runs.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_stay_few_however_many_lists_and_claims_there_are() {
        let mut state = State::new("id".to_owned());
        let lists: Vec<String> = (0..22).map(|number| format!("list {number}")).collect();
        let (mut segment, mut offset) = (1, 0);
        let mut rows = 0u64;
        // Single records of foreign lists between any two records of a list, and 10,000 claims.
        for round in 0..10_000u64 {
            for record in 0..220 {
                if offset + 1000 > 64 << 20 {
                    (segment, offset) = (segment + 1, 0);
                }
                let list = &lists[record % lists.len()];
                let place = Place {
                    segment,
                    start: offset,
                    end: offset + 1000,
                };
                state.append(list, place, 1);
                offset += 1000;
                rows += 1;
            }
            state.apply(Change::Claim {
                id: Ulid::from_parts(round, 0),
                list: lists[round as usize % lists.len()].clone(),
                lanes: vec!["A".into()],
                ttl_ms: None,
                at_ms: 0,
            });
        }
        assert_eq!(state.claims.len(), 10_000);
        assert!(state.stretches() < 50_000, "{} stretches", state.stretches());
        let image = serde_json::to_vec(&state).unwrap().len();
        assert!(image < 6 << 20, "an image of {image} bytes");
        let claimed: u64 = state.claims.values().map(|claim| claim.rows.len()).sum();
        let waiting: u64 = lists.iter().map(|list| state.len(list)).sum();
        assert_eq!(claimed + waiting, rows, "every row keeps its place");
    }
}
