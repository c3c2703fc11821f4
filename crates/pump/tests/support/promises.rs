//! What every source promises, whatever keeps the records.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use analytics::{ClaimId, RowId};
use async_trait::async_trait;
use bytes::Bytes;
use tyk_pump::source::{
    Acknowledged, Claim, ClaimRef, DeadLetter, DeadLetterId, DeadLimits, DeadStore, DeadStored, Ledgers, Lost, Source,
    SourceError, Terms,
};

use super::until;

/// Lease of every instance that a world makes.
pub const LEASE: Duration = Duration::from_millis(1000);

/// Lists that several instances work on.
#[async_trait]
pub trait World: Send + Sync {
    /// A new instance, opened.
    async fn instance(&self, id: &str) -> Box<dyn Source>;
    /// Appends to the list at this index of `keys`.
    async fn push(&self, key: usize, elements: Vec<Bytes>);
    /// Whether operators' changes (restore, drop, adopt) are possible.
    fn operable(&self) -> bool {
        true
    }
}

pub fn lanes(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

pub fn elements(count: usize) -> Vec<Bytes> {
    (0..count)
        .map(|row| Bytes::from(format!("element \r\n {row}")))
        .collect()
}

/// Reads rows `first..` of a claim to its end, window by window, and checks how they are numbered.
pub async fn read_all(source: &dyn Source, claim: &Claim, first: u64) -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    let mut next = first;
    while next < claim.len {
        let window = source.read(&claim.reference(), next, 5000).await.unwrap();
        assert_eq!(window.first_row, next);
        assert!(!window.elements.is_empty());
        rows.extend(window.elements.iter().map(|span| span.of(&window.buffer).to_vec()));
        next += window.elements.len() as u64;
    }
    assert_eq!(next, claim.len);
    rows
}

/// Acknowledges for one lane, as most tests do.
#[async_trait]
pub trait AcknowledgeOne {
    async fn acknowledge_one(&self, claim: &ClaimRef, lane: &str, cursor: u64) -> Result<Acknowledged, SourceError>;
}

#[async_trait]
impl<S: Source + ?Sized> AcknowledgeOne for S {
    async fn acknowledge_one(&self, claim: &ClaimRef, lane: &str, cursor: u64) -> Result<Acknowledged, SourceError> {
        self.acknowledge(claim, &[(lane.into(), cursor)]).await
    }
}

async fn claim(world: &dyn World, source: &dyn Source, pushed: Vec<Bytes>, names: &[&str]) -> Claim {
    world.push(0, pushed).await;
    source
        .claim(&source.keys()[0], &lanes(names))
        .await
        .unwrap()
        .expect("there are rows")
}

fn is_lost<T: std::fmt::Debug>(result: Result<T, SourceError>) -> bool {
    matches!(result, Err(SourceError::LeaseLost(_)))
}

async fn taken(source: &dyn Source, names: &[&str], id: ClaimId) -> Claim {
    let lanes = lanes(names);
    until("take-over", async || {
        let taken = source.take_over(&lanes, &[]).await.unwrap();
        taken.into_iter().find(|claim| claim.id == id)
    })
    .await
}

/// Runs all of them on a fresh world each.
pub async fn hold<W: World>(world: impl AsyncFn() -> W) {
    a_claim_takes_the_whole_list_and_gives_every_row(&world().await).await;
    a_claim_ends_when_every_lane_is_through(&world().await).await;
    a_lease_that_is_renewed_is_left_alone(&world().await).await;
    a_released_claim_is_taken_over_at_its_cursors(&world().await).await;
    a_paused_owner_can_neither_read_nor_acknowledge(&world().await).await;
    only_claims_with_rows_for_our_lanes_are_taken_over(&world().await).await;
    the_head_is_trimmed_and_rows_keep_their_numbers(&world().await).await;
    dead_letters_are_kept_once_and_the_oldest_go(&*world().await.instance("a").await).await;
    spooled_rows_are_remembered(&world().await).await;
    claims_are_reported(&world().await).await;
    if world().await.operable() {
        a_restored_claim_is_back_in_order(&world().await).await;
        a_restore_that_would_double_is_refused(&world().await).await;
        a_lane_can_be_dropped_and_adopted(&world().await).await;
    }
}

async fn a_claim_takes_the_whole_list_and_gives_every_row(world: &dyn World) {
    let source = world.instance("a").await;
    assert!(source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().is_none());
    assert!(source.pending().await.unwrap().is_empty());
    world.push(0, elements(10)).await;
    let pending = source.pending().await.unwrap();
    assert!(matches!(&pending[..], [(0, Ok(10))]), "{pending:?}");
    let first = source
        .claim(&source.keys()[0], &lanes(&["A", "B"]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((first.len, first.base, first.fence), (10, 0, 1));
    assert_eq!(first.cursors, BTreeMap::from([("A".into(), 0), ("B".into(), 0)]));
    assert!(source.pending().await.unwrap().is_empty());
    let second = claim(world, &*source, elements(7000), &["A"]).await;
    assert!(second.id > first.id);
    assert_eq!(read_all(&*source, &first, 0).await, elements(10));
    assert_eq!(read_all(&*source, &second, 0).await, elements(7000));
    assert_eq!(read_all(&*source, &second, 6999).await, elements(7000)[6999..]);
    let window = source.read(&second.reference(), 5, 3).await.unwrap();
    assert_eq!((window.first_row, window.elements.len()), (5, 3));
}

async fn a_claim_ends_when_every_lane_is_through(world: &dyn World) {
    let source = world.instance("a").await;
    let claim = claim(world, &*source, elements(5), &["A", "B"]).await;
    let at = claim.reference();
    assert!(matches!(
        source.acknowledge_one(&at, "A", 5).await.unwrap(),
        Acknowledged::Open { .. }
    ));
    assert!(matches!(
        source.acknowledge_one(&at, "B", 3).await.unwrap(),
        Acknowledged::Open { .. }
    ));
    // Cursors never go back.
    assert!(matches!(
        source.acknowledge_one(&at, "B", 1).await.unwrap(),
        Acknowledged::Open { .. }
    ));
    let list = source.list().await.unwrap();
    assert_eq!(
        list[0].cursors,
        BTreeMap::from([("A".to_owned(), 5), ("B".to_owned(), 3)])
    );
    assert!(matches!(
        source.acknowledge_one(&at, "C", 5).await,
        Err(SourceError::Refused(_))
    ));
    let both: [(Arc<str>, u64); 2] = [("A".into(), 5), ("B".into(), 4)];
    assert!(matches!(
        source.acknowledge(&at, &both).await.unwrap(),
        Acknowledged::Open { .. }
    ));
    assert_eq!(source.list().await.unwrap()[0].cursors["B"], 4);
    assert_eq!(
        source.acknowledge_one(&at, "B", 5).await.unwrap(),
        Acknowledged::Finished
    );
    assert!(is_lost(source.acknowledge_one(&at, "B", 5).await));
    assert!(is_lost(source.read(&at, 0, 1).await));
    assert_eq!(
        source.renew(std::slice::from_ref(&at), &lanes(&["A"])).await.unwrap(),
        [Lost::Taken(at.id)]
    );
    assert!(source.list().await.unwrap().is_empty());
}

async fn a_lease_that_is_renewed_is_left_alone(world: &dyn World) {
    let (a, b) = (world.instance("a").await, world.instance("b").await);
    let claim = claim(world, &*a, elements(5), &["A"]).await;
    let end = tokio::time::Instant::now() + LEASE * 2;
    while tokio::time::Instant::now() < end {
        assert!(a.renew(&[claim.reference()], &lanes(&["A"])).await.unwrap().is_empty());
        assert!(b.take_over(&lanes(&["A"]), &[]).await.unwrap().is_empty());
        tokio::time::sleep(LEASE / 10).await;
    }
    let taken = taken(&*b, &["A"], claim.id).await;
    assert_eq!(taken.fence, claim.fence + 1);
    assert_eq!(
        a.renew(&[claim.reference()], &lanes(&["A"])).await.unwrap(),
        [Lost::Taken(claim.id)]
    );
}

async fn a_released_claim_is_taken_over_at_its_cursors(world: &dyn World) {
    let (a, b) = (world.instance("a").await, world.instance("b").await);
    let claim = claim(world, &*a, elements(100), &["A", "B"]).await;
    a.acknowledge_one(&claim.reference(), "A", 40).await.unwrap();
    a.release(&[claim.reference()]).await.unwrap();
    assert!(
        b.take_over(&lanes(&["A"]), &[claim.id]).await.unwrap().is_empty(),
        "held ones are skipped"
    );
    let taken = b.take_over(&lanes(&["A"]), &[]).await.unwrap().pop().unwrap();
    assert_eq!((taken.id, taken.fence, taken.len), (claim.id, 2, 100));
    assert_eq!(taken.cursors, BTreeMap::from([("A".into(), 40), ("B".into(), 0)]));
    assert_eq!(read_all(&*b, &taken, 40).await, elements(100)[40..]);
}

/// The owner sleeps through its lease; the new one finishes rows, so that the head of the list is gone.
async fn a_paused_owner_can_neither_read_nor_acknowledge(world: &dyn World) {
    let (a, b) = (world.instance("a").await, world.instance("b").await);
    let old = claim(world, &*a, elements(30_000), &["A"]).await;
    a.read(&old.reference(), 0, 100).await.unwrap();
    let new = taken(&*b, &["A"], old.id).await;
    b.acknowledge_one(&new.reference(), "A", 25_000).await.unwrap();
    assert!(
        is_lost(a.read(&old.reference(), 100, 100).await),
        "rows under numbers that are not theirs"
    );
    assert!(is_lost(a.acknowledge_one(&old.reference(), "A", 30_000).await));
    a.release(&[old.reference()]).await.unwrap();
    assert!(
        a.take_over(&lanes(&["A"]), &[]).await.unwrap().is_empty(),
        "it belongs to the other"
    );
    let stale = ClaimRef {
        fence: old.fence,
        ..new.reference()
    };
    assert!(
        is_lost(b.read(&stale, 25_000, 1).await),
        "an older fence of our own counts no more"
    );
    assert!(is_lost(b.acknowledge_one(&stale, "A", 26_000).await));
    assert_eq!(read_all(&*b, &new, 25_000).await, elements(30_000)[25_000..]);
    assert_eq!(
        b.acknowledge_one(&new.reference(), "A", 30_000).await.unwrap(),
        Acknowledged::Finished
    );
}

async fn only_claims_with_rows_for_our_lanes_are_taken_over(world: &dyn World) {
    let (a, b) = (world.instance("a").await, world.instance("b").await);
    let claim = claim(world, &*a, elements(5), &["A", "B"]).await;
    a.acknowledge_one(&claim.reference(), "A", 5).await.unwrap();
    a.release(&[claim.reference()]).await.unwrap();
    assert!(b.take_over(&lanes(&["A", "C"]), &[]).await.unwrap().is_empty());
    assert_eq!(b.take_over(&lanes(&["B"]), &[]).await.unwrap().len(), 1);
}

async fn the_head_is_trimmed_and_rows_keep_their_numbers(world: &dyn World) {
    let source = world.instance("a").await;
    let claim = claim(world, &*source, elements(50_000), &["A", "B"]).await;
    let at = claim.reference();
    source.acknowledge_one(&at, "A", 45_000).await.unwrap();
    assert_eq!(
        source.acknowledge_one(&at, "B", 19_999).await.unwrap().base_or_len(),
        source.usage().await.unwrap().base_of(50_000)
    );
    for cursor in (20_000..=45_000).step_by(1_000) {
        source.acknowledge_one(&at, "B", cursor).await.unwrap();
        assert_eq!(read_all(&*source, &claim, cursor).await.len() as u64, 50_000 - cursor);
    }
    assert!(
        source.usage().await.unwrap().claimed_rows <= 10_000,
        "finished rows take no memory"
    );
    assert_eq!(read_all(&*source, &claim, 45_000).await, elements(50_000)[45_000..]);
    assert!(
        matches!(source.read(&at, 100, 10).await, Err(SourceError::Refused(_))),
        "it is gone"
    );
}

trait BaseOrLen {
    fn base_or_len(&self) -> u64;
}

impl BaseOrLen for Acknowledged {
    fn base_or_len(&self) -> u64 {
        match self {
            Acknowledged::Open { base } => *base,
            Acknowledged::Finished => u64::MAX,
        }
    }
}

trait BaseOf {
    fn base_of(&self, len: u64) -> u64;
}

impl BaseOf for tyk_pump::source::Usage {
    fn base_of(&self, len: u64) -> u64 {
        len - self.claimed_rows
    }
}

fn letter(lane: &str, row: u64, at_ms: u64) -> DeadLetter {
    DeadLetter {
        lane: lane.into(),
        key: "analytics-tyk-system-analytics".into(),
        form: Some(tyk_pump::source::ElementForm::Protobuf),
        row: RowId {
            claim: ClaimId(ulid::Ulid::from_parts(1, 1)),
            row,
        },
        cause: format!("row \"{row}\" is refused"),
        at_ms,
        raw: Bytes::from_static(b"\x00\xff raw \r\n"),
    }
}

pub async fn dead_letters_are_kept_once_and_the_oldest_go(source: &dyn DeadStore) {
    let roomy = DeadLimits {
        count: 100,
        bytes: 1 << 20,
    };
    let mut letters: Vec<DeadLetter> = (0..5).map(|row| letter("A", row, 1000 + row)).collect();
    letters.push(letter("!undecodable", 0, 900));
    for _ in 0..2 {
        assert_eq!(source.store_dead(&letters, roomy).await.unwrap(), DeadStored::default());
    }
    let all = source.list_dead(None, 100).await.unwrap();
    assert_eq!(all.len(), 6);
    assert_eq!(all[0], letters[5]);
    assert_eq!(all[1..], letters[..5]);
    assert_eq!(source.list_dead(Some("A"), 2).await.unwrap(), letters[..2]);

    let id = |letter: &DeadLetter| DeadLetterId {
        lane: letter.lane.clone(),
        row: letter.row,
    };
    assert_eq!(
        source.remove_dead(&[id(&letters[1]), id(&letters[1])]).await.unwrap(),
        1
    );
    let tight = DeadLimits { count: 3, ..roomy };
    assert_eq!(
        source.store_dead(&[letter("A", 9, 2000)], tight).await.unwrap().evicted,
        BTreeMap::from([("A".into(), 2)])
    );
    let rows = |letters: Vec<DeadLetter>| letters.iter().map(|letter| letter.row.row).collect::<Vec<_>>();
    assert_eq!(rows(source.list_dead(Some("A"), 100).await.unwrap()), [3, 4, 9]);
    assert_eq!(
        source.list_dead(Some("!undecodable"), 100).await.unwrap().len(),
        1,
        "caps are per pump"
    );
    let mut large = letter("A", 10, 3000);
    large.raw = Bytes::from(vec![b'x'; 2 << 20]);
    let stored = source.store_dead(&[large], roomy).await.unwrap();
    let refused = DeadStored {
        too_large: BTreeMap::from([("A".into(), 1)]),
        ..DeadStored::default()
    };
    assert_eq!(stored, refused, "one that exceeds the whole share");
    assert_eq!(
        rows(source.list_dead(Some("A"), 100).await.unwrap()),
        [3, 4, 9],
        "takes nobody else's place"
    );
    let single = DeadLimits { count: 1, ..roomy };
    assert_eq!(
        source
            .store_dead(&[letter("A", 11, 4000), letter("B", 1, 1), letter("B", 2, 2)], single)
            .await
            .unwrap()
            .evicted,
        BTreeMap::from([("A".into(), 3), ("B".into(), 1)]),
        "counted by pump"
    );
    let left = [id(&letter("A", 11, 0)), id(&letter("B", 2, 0))];
    assert_eq!(source.remove_dead(&left).await.unwrap(), 2);
    assert_eq!(source.remove_dead(&[id(&letters[5])]).await.unwrap(), 1);
    assert!(source.list_dead(None, 100).await.unwrap().is_empty());
}

async fn spooled_rows_are_remembered(world: &dyn World) {
    let source = world.instance("a").await;
    let claim = claim(world, &*source, elements(5), &["A"]).await;
    source.note_spooled(&claim.reference(), "A/1", true).await.unwrap();
    source.note_spooled(&claim.reference(), "A/1", true).await.unwrap();
    source.acknowledge_one(&claim.reference(), "A", 5).await.unwrap();
    assert_eq!(source.spooled().await.unwrap(), [(claim.id, Arc::from("A/1"))]);
    source.note_spooled(&claim.reference(), "A/1", false).await.unwrap();
    assert!(source.spooled().await.unwrap().is_empty());
}

async fn claims_are_reported(world: &dyn World) {
    let source = world.instance("inst@ance").await;
    let claim = claim(world, &*source, elements(5), &["A"]).await;
    world.push(1, elements(3)).await;
    let list = source.list().await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(
        (list[0].id.as_str(), list[0].len, list[0].fence),
        (claim.id.to_string().as_str(), 5, 1)
    );
    assert!(list[0].owner.starts_with("inst@ance"));
    assert!(list[0].lease_ms > 0 && list[0].lease_ms <= LEASE.as_millis() as i64);
    let usage = source.usage().await.unwrap();
    assert_eq!((usage.claims, usage.claimed_rows), (1, 5));
    let unclaimed: Vec<_> = usage
        .unclaimed
        .iter()
        .map(|(key, len)| (key.name.clone(), *len))
        .collect();
    assert_eq!(unclaimed, [(source.keys()[1].name.clone(), 3)]);
    assert_eq!(
        source.fleet().await.unwrap(),
        world.instance("b").await.fleet().await.unwrap()
    );
}

/// What ledgers say, by lane; a lane that is missing cannot be read.
pub struct Applied(pub BTreeMap<&'static str, u64>);

#[async_trait]
impl Ledgers for Applied {
    async fn first_missing(&self, lane: &str, _: ClaimId) -> anyhow::Result<u64> {
        self.0.get(lane).copied().ok_or_else(|| anyhow::anyhow!("no ledger"))
    }
}

async fn a_restored_claim_is_back_in_order(world: &dyn World) {
    let (a, operator) = (world.instance("a").await, world.instance("operator").await);
    let claimed = claim(world, &*a, elements(3500), &["A", "B"]).await;
    a.acknowledge_one(&claimed.reference(), "A", 700).await.unwrap();
    let later: Vec<Bytes> = vec![Bytes::from_static(b"later")];
    world.push(0, later.clone()).await;
    let ledgers = Applied(BTreeMap::from([("A", 650), ("B", 700)]));
    let strict = Terms::default();
    assert!(
        matches!(
            operator.restore(claimed.id, &ledgers, strict).await,
            Err(SourceError::Refused(error)) if error.to_string().contains("works on it")
        ),
        "its owner would take it again"
    );
    let forced = Terms {
        despite_owner: true,
        ..strict
    };
    let restored = operator.restore(claimed.id, &ledgers, forced).await.unwrap();
    assert_eq!((restored.moved, restored.finished), (2800, 700));
    assert!(
        is_lost(a.acknowledge_one(&claimed.reference(), "A", 800).await),
        "the owner learns of it"
    );
    assert!(operator.list().await.unwrap().is_empty());
    let again = a.claim(&a.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    assert_eq!(
        read_all(&*a, &again, 0).await,
        [&elements(3500)[700..], &later].concat()
    );
}

async fn a_restore_that_would_double_is_refused(world: &dyn World) {
    let (a, operator) = (world.instance("a").await, world.instance("operator").await);
    let claimed = claim(world, &*a, elements(10), &["A", "B"]).await;
    const FORCED: Terms = Terms {
        accept_duplicates: false,
        despite_owner: true,
    };
    let lenient = Terms {
        accept_duplicates: true,
        ..FORCED
    };
    let uneven = Applied(BTreeMap::from([("A", 0), ("B", 5)]));
    assert!(matches!(
        operator.restore(claimed.id, &uneven, FORCED).await,
        Err(SourceError::Refused(_))
    ));
    let unreadable = Applied(BTreeMap::from([("A", 0)]));
    assert!(matches!(
        operator.restore(claimed.id, &unreadable, FORCED).await,
        Err(SourceError::Refused(_))
    ));
    assert!(
        a.renew(&[claimed.reference()], &lanes(&["A"]))
            .await
            .unwrap()
            .is_empty(),
        "nothing was touched"
    );
    assert_eq!(operator.restore(claimed.id, &uneven, lenient).await.unwrap().moved, 10);
}

async fn a_lane_can_be_dropped_and_adopted(world: &dyn World) {
    let source = world.instance("a").await;
    let first = claim(world, &*source, elements(10), &["A", "OLD"]).await;
    source.acknowledge_one(&first.reference(), "OLD", 4).await.unwrap();
    assert_eq!(source.adopt_lane("OLD", "NEW").await.unwrap(), 6);
    assert!(is_lost(source.acknowledge_one(&first.reference(), "OLD", 5).await));
    let taken = source.take_over(&lanes(&["NEW"]), &[]).await.unwrap().pop().unwrap();
    assert_eq!(taken.cursors, BTreeMap::from([("A".into(), 0), ("NEW".into(), 4)]));
    assert_eq!(taken.adopted, BTreeMap::from([("NEW".into(), "OLD".into())]));
    assert_eq!(source.drop_lane("NEW").await.unwrap(), 6);
    assert_eq!(source.drop_lane("A").await.unwrap(), 10);
    assert!(source.list().await.unwrap().is_empty());
    assert!(is_lost(source.read(&taken.reference(), 0, 1).await));
}
