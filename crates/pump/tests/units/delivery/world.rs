//! What really happened, as somebody sees it who sees everything, and the promises that it is held against.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
};

use analytics::{Batch, ClaimId, Int, RowId, Selection, Text, record::Builder};
use bytes::Bytes;
use tyk_pump::{
    delivery::{dead_files::DeadFiles, durable, spool},
    source::memory::MemorySource,
};

use super::back_end::{BackEnd, path};

/// Lane of elements that are no records.
pub const UNDECODABLE: &str = "!undecodable";
/// The API whose records lanes with a filter do not want.
pub const UNWANTED: u8 = 2;

/// An element that a gateway has pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub number: u64,
    pub api: u8,
    /// Bit n: the back-end of lane n refuses it.
    pub refused_by: u8,
    pub decodable: bool,
}

impl Item {
    pub fn good(number: u64) -> Self {
        Self {
            number,
            api: 0,
            refused_by: 0,
            decodable: true,
        }
    }

    pub fn path(&self) -> String {
        format!("/{}", self.number)
    }

    pub fn element(&self) -> Bytes {
        if !self.decodable {
            return Bytes::from(format!("\u{1}junk{}", self.number));
        }
        let mut record = Builder::new();
        record
            .text(Text::Path, self.path())
            .text(Text::ApiId, format!("api{}", self.api))
            .text(Text::RawRequest, "Qk9EWQ==")
            .int(Int::ResponseCode, 200);
        let mut element = Vec::new();
        analytics::msgpack::encode(&mut element, &record.view());
        element.into()
    }
}

/// A lane and what it leaves out.
#[derive(Clone)]
pub struct LanePlan {
    pub back_end: Arc<BackEnd>,
    pub filtered: bool,
    pub omits_bodies: bool,
    /// Whether rows may be missing because they were dropped and counted.
    pub drops: bool,
}

#[derive(Default)]
struct Facts {
    items: HashMap<Bytes, Item>,
    rows: HashMap<RowId, Item>,
    cursors: HashMap<(Arc<str>, ClaimId), u64>,
    dead: HashSet<(Arc<str>, RowId)>,
    evicted: HashSet<ClaimId>,
    violations: BTreeSet<String>,
    /// Windows that back-ends have seen.
    windows: Vec<Weak<Batch>>,
}

pub struct World {
    pub memory: MemorySource,
    pub lanes: Vec<LanePlan>,
    /// Folders of spools, of all instances.
    pub spools: Vec<PathBuf>,
    facts: Mutex<Facts>,
}

impl World {
    pub fn new(memory: MemorySource, lanes: Vec<LanePlan>, spools: Vec<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            memory,
            lanes,
            spools,
            facts: Mutex::default(),
        })
    }

    pub fn push(&self, key: usize, items: Vec<Item>) {
        let elements: Vec<Bytes> = items.iter().map(Item::element).collect();
        self.facts
            .lock()
            .unwrap()
            .items
            .extend(elements.iter().cloned().zip(items));
        self.memory.push(key, elements);
    }

    pub fn violation(&self, text: String) {
        self.facts.lock().unwrap().violations.insert(text);
    }

    pub fn violations(&self) -> Vec<String> {
        self.facts.lock().unwrap().violations.iter().cloned().collect()
    }

    pub fn item(&self, row: RowId) -> Option<Item> {
        self.facts.lock().unwrap().rows.get(&row).cloned()
    }

    /// The source loses everything: rows of its claims may be missing from now on, and those of its lists are.
    pub fn lose(&self) {
        let mut claims = self.memory.lose();
        // What was in lists only is missing as well.
        claims.push(ClaimId(ulid::Ulid::nil()));
        self.facts.lock().unwrap().evicted.extend(claims);
    }

    /// Back-ends take these items from now on.
    pub fn cure(&self, numbers: &[u64]) {
        let mut facts = self.facts.lock().unwrap();
        let Facts { items, rows, .. } = &mut *facts;
        for item in items.values_mut().chain(rows.values_mut()) {
            if numbers.contains(&item.number) {
                item.refused_by = 0;
            }
        }
    }

    pub fn evict(&self, claim: ClaimId) {
        self.facts.lock().unwrap().evicted.insert(claim);
        self.memory.evict(claim);
    }

    /// Somebody reads this element under this number.
    pub fn was_read(&self, row: RowId, element: &[u8]) {
        let mut facts = self.facts.lock().unwrap();
        let Some(item) = facts.items.get(element).cloned() else {
            facts
                .violations
                .insert(format!("row {row} is an element that nobody pushed"));
            return;
        };
        let before = facts.rows.insert(row, item.clone());
        if before.as_ref().is_some_and(|before| *before != item) {
            facts
                .violations
                .insert(format!("row {row} was {before:?} and is {item:?}"));
        }
    }

    pub fn became_dead(&self, lane: &Arc<str>, row: RowId) {
        self.facts.lock().unwrap().dead.insert((lane.clone(), row));
    }

    /// A lane is about to say that it is through with all rows below `cursor`.
    pub fn check_cursor(&self, lane: &Arc<str>, claim: ClaimId, cursor: u64) {
        let from = self.facts.lock().unwrap().cursors.get(&(lane.clone(), claim)).copied();
        for row in from.unwrap_or(0)..cursor {
            let row = RowId { claim, row };
            if !self.is_settled(lane, row) {
                self.violation(format!("{lane}: {row} is acknowledged and not settled"));
            }
        }
    }

    pub fn acknowledged(&self, lane: &Arc<str>, claim: ClaimId, cursor: u64) {
        let mut facts = self.facts.lock().unwrap();
        let known = facts.cursors.entry((lane.clone(), claim)).or_default();
        *known = cursor.max(*known);
    }

    fn is_settled(&self, lane: &Arc<str>, row: RowId) -> bool {
        let (item, evicted) = {
            let facts = self.facts.lock().unwrap();
            (facts.rows.get(&row).cloned(), facts.evicted.contains(&row.claim))
        };
        let plan = self.lanes.iter().find(|plan| plan.back_end.name == *lane);
        if evicted || plan.is_some_and(|plan| plan.drops) {
            return true;
        }
        let Some(item) = item else { return false };
        match plan {
            None if item.decodable => return true,
            Some(_) if !item.decodable => return true,
            Some(plan) if plan.filtered && item.api == UNWANTED => return true,
            Some(plan) if plan.back_end.look(|contents| contents.rows.contains_key(&row)) => return true,
            _ => {}
        }
        self.is_dead(lane, row) || self.is_spooled(lane, row)
    }

    fn is_dead(&self, lane: &Arc<str>, row: RowId) -> bool {
        let known = self.facts.lock().unwrap().dead.contains(&(lane.clone(), row));
        known || self.dead_files().contains(&(lane.clone(), row))
    }

    fn spool_files(&self, lane: &str) -> Vec<PathBuf> {
        let folders = self.spools.iter().map(|folder| folder.join(durable::escape(lane)));
        let entries = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.to_string_lossy().ends_with(".batch"))
            .collect()
    }

    pub fn has_spool_files(&self) -> bool {
        let mut lanes = self.lanes.iter();
        lanes.any(|plan| !self.spool_files(&plan.back_end.name).is_empty())
    }

    fn is_spooled(&self, lane: &str, row: RowId) -> bool {
        self.spool_files(lane).into_iter().any(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let (claim, first_row) = name.split_once('-').unwrap();
            let file = spool::SpoolFile {
                claim: ClaimId(ulid::Ulid::from_string(claim).unwrap()),
                first_row: first_row.parse().unwrap(),
                path,
            };
            let batch = spool::decode(&bytes, &file).unwrap().batch;
            batch.claim == row.claim && (batch.first_row..batch.end_row()).contains(&row.row)
        })
    }

    fn dead_files(&self) -> HashSet<(Arc<str>, RowId)> {
        let stores = self.spools.iter().map(|folder| DeadFiles::new(folder));
        let letters = stores.flat_map(|store| store.list(None).unwrap());
        letters.map(|letter| (letter.lane, letter.row)).collect()
    }

    /// Every dead letter, wherever it is kept.
    pub fn dead(&self) -> HashSet<(Arc<str>, RowId)> {
        let mut dead = self.dead_files();
        dead.extend(self.facts.lock().unwrap().dead.iter().cloned());
        dead
    }

    /// Windows that were offered to a back-end and are still in memory.
    pub fn windows_alive(&self) -> usize {
        let mut facts = self.facts.lock().unwrap();
        facts.windows.retain(|window| window.strong_count() > 0);
        facts.windows.len()
    }

    /// A back-end receives these rows.
    pub fn check_group(&self, back_end: &BackEnd, group: &[Selection]) {
        for selection in group {
            let mut facts = self.facts.lock().unwrap();
            let window = Arc::downgrade(selection.batch());
            if !facts.windows.iter().any(|known| known.ptr_eq(&window)) {
                facts.windows.push(window);
            }
        }
        let plan = &self.lanes[back_end.number];
        for (row, record) in group.iter().flat_map(Selection::records) {
            let name = &back_end.name;
            match self.item(row) {
                Some(item) if item.path() != path(&record) => {
                    self.violation(format!("{name}: {row} has the content of another row"));
                }
                Some(item) if plan.filtered && item.api == UNWANTED => {
                    self.violation(format!("{name}: {row} should have been kept out"));
                }
                Some(_) if plan.omits_bodies && !record.text(Text::RawRequest).is_empty() => {
                    self.violation(format!("{name}: {row} has its body"));
                }
                Some(_) => {}
                None => self.violation(format!("{name}: {row} was never read")),
            }
        }
    }

    /// What must hold when there is nothing left to do. `dropped` are the rows that each lane says it has dropped.
    pub fn check_end(&self, dropped: &[u64]) {
        let dead = self.dead();
        let facts = self.facts.lock().unwrap();
        let (rows, evicted, pushed) = (facts.rows.clone(), facts.evicted.clone(), facts.items.len());
        drop(facts);
        if rows.len() != pushed && evicted.is_empty() && self.lanes.iter().all(|plan| !plan.drops) {
            self.violation(format!("{} of {pushed} elements were read", rows.len()));
        }
        for (plan, &dropped) in self.lanes.iter().zip(dropped) {
            let (name, mut missing) = (&plan.back_end.name, 0);
            for (&row, item) in &rows {
                let times = plan
                    .back_end
                    .look(|contents| contents.rows.get(&row).copied().unwrap_or_default());
                let wanted = item.decodable && !(plan.filtered && item.api == UNWANTED);
                let refused = wanted && plan.back_end.refuses(item);
                let is_dead = dead.contains(&(name.clone(), row));
                let tolerated = plan.drops || evicted.contains(&row.claim);
                match (wanted && !refused, times, plan.back_end.kind) {
                    (true, 0, _) if tolerated => missing += 1,
                    (true, 0, _) => self.violation(format!("{name}: {row} is lost")),
                    (true, 2.., super::back_end::Kind::Ledger) => {
                        self.violation(format!("{name}: {row} stands {times} times"));
                    }
                    (false, 1.., _) => self.violation(format!("{name}: {row} should not be there")),
                    _ => {}
                }
                if is_dead && !refused {
                    self.violation(format!("{name}: {row} is a dead letter without being refused"));
                }
                if refused && !is_dead && !tolerated {
                    self.violation(format!("{name}: refused {row} is no dead letter"));
                }
            }
            if missing > dropped && evicted.is_empty() {
                self.violation(format!("{name}: {missing} rows are missing, {dropped} were counted"));
            }
        }
        for (&row, item) in &rows {
            let is_dead = dead.contains(&(UNDECODABLE.into(), row));
            if is_dead == item.decodable && !evicted.contains(&row.claim) {
                self.violation(format!("{row}: decodable {}, dead letter {is_dead}", item.decodable));
            }
        }
    }
}
