//! A back-end that follows a script, and remembers what stands in it.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use analytics::{RowId, Selection, Text};
use async_trait::async_trait;
use futures::future::BoxFuture;
use sinks::{Applied, BuildContext, BuildError, Gather, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written};
use tokio::{sync::watch, time::Instant};

use super::world::{Item, World};

/// How a back-end says that it refuses rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Item by item; the others are accepted.
    Items,
    /// All or nothing, without saying which rows are at fault.
    Whole,
    /// All or nothing, naming the rows; leaves out what it has applied before.
    Ledger,
}

/// What one write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Accept,
    Retry(Option<Duration>),
    Config,
    Hang,
    /// The first half of the rows arrives and is marked, then an error.
    Half,
    /// One row after the other arrives and is marked, each after most of a minute.
    Trickle,
    /// The first half arrives and is marked, then no answer.
    HalfThenHang,
    /// Everything arrives, then an error.
    LostReply,
    /// Everything arrives, and no answer.
    LostAnswer,
    /// Every row is refused, as with a wrong index name.
    RefuseAll,
}

/// One call of `write`.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Instant,
    pub batches: usize,
}

pub type Script = Box<dyn FnMut(usize) -> (Duration, Act) + Send>;

#[derive(Default)]
pub struct Contents {
    /// How often each row stands in the back-end.
    pub rows: HashMap<RowId, u32>,
    /// Rows in the order in which they came.
    pub order: Vec<RowId>,
    /// What the ledger covers.
    pub applied: HashMap<RowId, ()>,
    pub calls: Vec<Call>,
}

/// What a lane writes to; outlives the processes that write.
pub struct BackEnd {
    pub name: Arc<str>,
    pub number: usize,
    pub kind: Kind,
    script: Mutex<Script>,
    /// How long it takes to connect.
    start_up: Mutex<Duration>,
    contents: Mutex<Contents>,
}

impl BackEnd {
    pub fn new(name: &str, number: usize, kind: Kind, script: Script) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            number,
            kind,
            script: Mutex::new(script),
            start_up: Mutex::default(),
            contents: Mutex::default(),
        })
    }

    /// Accepts whatever comes.
    pub fn willing(name: &str, number: usize, kind: Kind) -> Arc<Self> {
        Self::new(name, number, kind, Box::new(|_| (Duration::ZERO, Act::Accept)))
    }

    pub fn follow(&self, script: impl FnMut(usize) -> (Duration, Act) + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub fn start_slowly(&self, start_up: Duration) {
        *self.start_up.lock().unwrap() = start_up;
    }

    /// Its options are wrong: it is never made.
    pub fn never_start(&self) {
        self.start_slowly(Duration::MAX);
    }

    fn start_up(&self) -> Duration {
        *self.start_up.lock().unwrap()
    }

    pub fn look<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.contents.lock().unwrap())
    }

    pub fn calls(&self) -> Vec<Call> {
        self.look(|contents| contents.calls.clone())
    }

    pub fn count(&self) -> usize {
        self.look(|contents| contents.rows.len())
    }

    pub fn refuses(&self, item: &Item) -> bool {
        item.refused_by & (1 << self.number) != 0
    }

    fn next_act(&self, group: &[Selection]) -> (Duration, Act) {
        let mut contents = self.contents.lock().unwrap();
        let (latency, act) = (self.script.lock().unwrap())(contents.calls.len());
        contents.calls.push(Call {
            at: Instant::now(),
            batches: group.len(),
        });
        (latency, act)
    }

    /// Takes up to `limit` rows, without waiting in between.
    fn apply(&self, group: &[Selection], limit: usize, refused: &[RowId]) {
        let mut contents = self.contents.lock().unwrap();
        let rows = group.iter().flat_map(|selection| {
            let batch = selection.batch().clone();
            selection.indexes().map(move |index| batch.row_id(index))
        });
        for row in rows.take(limit).filter(|row| !refused.contains(row)) {
            if self.kind == Kind::Ledger && contents.applied.contains_key(&row) {
                continue;
            }
            *contents.rows.entry(row).or_default() += 1;
            contents.order.push(row);
        }
        if self.kind == Kind::Ledger {
            for selection in group {
                let claim = selection.batch().claim;
                for rows in selection.covered().iter() {
                    contents
                        .applied
                        .extend(rows.clone().map(|row| (RowId { claim, row }, ())));
                }
            }
        }
    }
}

/// Whether a process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Runs,
    Paused,
    Dead,
}

/// What everything of a process passes before it has any effect on the world.
#[derive(Clone)]
pub struct Gate(pub watch::Receiver<Phase>);

impl Gate {
    pub async fn pass(&self) {
        if self.0.clone().wait_for(|phase| *phase == Phase::Runs).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A process' connection to a back-end.
#[derive(Clone)]
pub struct Desk {
    pub world: Arc<World>,
    pub back_end: Arc<BackEnd>,
    pub gate: Gate,
    busy: Arc<AtomicBool>,
}

static DESKS: LazyLock<Mutex<HashMap<u64, Desk>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Registers a connection; the number goes into the pump's `meta`.
pub fn open_desk(world: Arc<World>, back_end: Arc<BackEnd>, gate: Gate) -> u64 {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let desk = Desk {
        world,
        back_end,
        gate,
        busy: Arc::default(),
    };
    DESKS.lock().unwrap().insert(number, desk);
    number
}

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    Box::pin(async move {
        let number = context.meta.as_u64().unwrap_or_default();
        let desk = DESKS.lock().unwrap().remove(&number);
        let start_up = desk.as_ref().map(|desk| desk.back_end.start_up());
        match start_up {
            Some(Duration::MAX) => return Err(BuildError::Options("wrong options".to_owned())),
            Some(start_up) => tokio::time::sleep(start_up).await,
            None => {}
        }
        desk.map(|desk| Box::new(desk) as Box<dyn Sink>)
            .ok_or_else(|| BuildError::Options("no back-end".to_owned()))
    })
}

const fn spec(name: &'static str, guarantee: Guarantee, gather: Gather) -> SinkSpec {
    SinkSpec {
        guarantee,
        gather,
        ..SinkSpec::new(name, "Test Pump", "test-pump", "", build)
    }
}

const SMALL: Gather = Gather {
    rows: 20,
    bytes: 1 << 20,
    wait: Duration::from_millis(50),
};

pub static ITEMS: SinkSpec = spec("items", Guarantee::AtLeastOnce, SMALL);
pub static WHOLE: SinkSpec = spec("whole", Guarantee::AtLeastOnce, Gather::WINDOW);
pub static LEDGER: SinkSpec = spec("ledger", Guarantee::ExactlyOnce, Gather::WINDOW);

impl Kind {
    pub fn spec(self) -> &'static SinkSpec {
        match self {
            Kind::Items => &ITEMS,
            Kind::Whole => &WHOLE,
            Kind::Ledger => &LEDGER,
        }
    }
}

/// Notices when a lane begins a write before its last one has ended.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[async_trait]
impl Sink for Desk {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let name = &self.back_end.name;
        if self.busy.swap(true, Ordering::AcqRel) {
            self.world.violation(format!("{name}: two writes at once"));
        }
        let _busy = Busy(&self.busy);
        self.gate.pass().await;
        let (latency, act) = self.back_end.next_act(group);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
            self.gate.pass().await;
        }
        // What it has already is not sent again.
        let rest = applied.rest_of(group);
        let group = rest.as_slice();
        self.world.check_group(&self.back_end, group);
        let all = usize::MAX;
        let offered: Vec<RowId> = group
            .iter()
            .flat_map(|selection| selection.records().map(|(row, _)| row).collect::<Vec<_>>())
            .collect();
        let refused: Vec<RowId> = if act == Act::RefuseAll {
            offered.clone()
        } else {
            let refuses = |row: &RowId| self.world.item(*row).is_some_and(|item| self.back_end.refuses(&item));
            offered.iter().copied().filter(refuses).collect()
        };
        match act {
            Act::Retry(after) => {
                let source = "away".into();
                return Err(WriteError::Retry { after, source });
            }
            Act::Config => return Err(WriteError::Config("401".into())),
            Act::Hang => return std::future::pending().await,
            Act::Trickle => {
                for row in &offered {
                    tokio::time::sleep(Duration::from_secs(50)).await;
                    self.back_end.apply(group, all, &offered_but(&offered, *row));
                    applied.mark([*row]);
                }
            }
            Act::Half | Act::HalfThenHang => {
                // What keeps a ledger never applies a part.
                if self.back_end.kind != Kind::Ledger {
                    let half = offered.len().div_ceil(2);
                    self.back_end.apply(group, half, &refused);
                    let taken = offered.iter().take(half).filter(|row| !refused.contains(row));
                    applied.mark(taken.copied());
                }
                if act == Act::HalfThenHang {
                    return std::future::pending().await;
                }
                return Err(WriteError::retry("reset"));
            }
            Act::Accept | Act::LostReply | Act::LostAnswer | Act::RefuseAll => {}
        }
        let rejected: Vec<Rejected> = refused
            .iter()
            .map(|&row| Rejected {
                row,
                reason: "mapping".to_owned(),
            })
            .collect();
        match self.back_end.kind {
            Kind::Whole if !rejected.is_empty() => {
                return Err(WriteError::Reject {
                    rows: Vec::new(),
                    source: "mapping".into(),
                });
            }
            Kind::Ledger if !rejected.is_empty() => {
                return Err(WriteError::Reject {
                    rows: rejected,
                    source: "mapping".into(),
                });
            }
            _ if act == Act::Trickle => {}
            _ => self.back_end.apply(group, all, &refused),
        }
        match act {
            Act::LostReply => Err(WriteError::retry("reset")),
            Act::LostAnswer => std::future::pending().await,
            _ => Ok(Written {
                rejected,
                possibly_doubled: 0,
            }),
        }
    }
}

/// All of them but one.
fn offered_but(offered: &[RowId], row: RowId) -> Vec<RowId> {
    offered.iter().copied().filter(|other| *other != row).collect()
}

/// What a record says it is.
pub fn path(record: &analytics::RecordView<'_>) -> String {
    String::from_utf8_lossy(&record.text(Text::Path)).into_owned()
}
