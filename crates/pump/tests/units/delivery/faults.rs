//! Lanes and the daemon's own lane under faults that last: hung writes, letters that cannot be stored, folders that cannot be
//! used, back-ends that ask for too much.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tyk_pump::{
    config::OnFull,
    delivery::{dead_letter::DeadLetters, disk::Disk, status::LaneState},
    source::{DeadLetter, DeadLimits, Operate, memory::MemorySource},
};

use super::{
    back_end::{Act, BackEnd, Kind},
    process::{Options, Process, until},
    refusals::{items, plan, world},
    world::{Item, LanePlan, World},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Items with these numbers; one in each `every` is no record.
fn mixed(numbers: std::ops::Range<u64>, every: u64) -> Vec<Item> {
    numbers
        .map(|number| Item {
            decodable: number % every != 0,
            ..Item::good(number)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_that_moves_nothing_for_a_minute_is_shown_and_counts_as_failing() {
    let back_end = BackEnd::willing("HUNG", 0, Kind::Items);
    back_end.follow(|call| (Duration::ZERO, if call == 0 { Act::Hang } else { Act::Accept }));
    let drops = LanePlan {
        drops: true,
        ..plan(&back_end)
    };
    let world = World::new(MemorySource::with_records(Vec::new()), vec![drops], Vec::new());
    let options = Options {
        on_full: OnFull::DropOldest,
        max_unacked: Some(10_000),
        purge_chunk: 20,
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    world.push(0, items(100, &[]));
    tokio::time::sleep(50 * SECOND).await;
    let lane = process.lane(0);
    assert_eq!((lane.state, process.dropped(0)), (LaneState::Running, 0));
    world.push(0, items(200, &[]).split_off(100));
    process.reaches(0, LaneState::Stalled, 20 * SECOND).await;
    let status = process.status.snapshot();
    let line = "pump HUNG is stalled: a write has moved nothing for 60 s – ";
    let said = status.not_ready.iter().any(|said| said.starts_with(line));
    assert!(said, "{:?}", status.not_ready);
    assert!(process.lane(0).remedy.is_some());
    until("it holds what it may", 10 * SECOND, || {
        process.lane(0).backlog_bytes <= 30_000
    })
    .await;
    let (dropped, in_flight) = (process.dropped(0), process.lane(0).in_flight);
    // What is being written may still arrive, so that it is never what is dropped.
    assert!(
        dropped > 0 && dropped + in_flight <= 200,
        "{dropped} dropped, {in_flight} in flight"
    );
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_back_end_cannot_park_its_lane_for_a_day_and_the_next_attempt_is_shown() {
    let back_end = BackEnd::willing("BUSY", 0, Kind::Whole);
    let day = Duration::from_secs(86_400);
    back_end.follow(move |call| {
        (
            Duration::ZERO,
            if call == 0 { Act::Retry(Some(day)) } else { Act::Accept },
        )
    });
    let world = world(&[&back_end]);
    world.push(0, items(5, &[]));
    let process = Process::start(&world, "one", &Options::default()).await;
    process.reaches(0, LaneState::Retrying, MINUTE).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let next = process.lane(0).next_attempt_at.unwrap();
    assert!((now + 290..=now + 301).contains(&next), "{next}, {now}");
    until("all rows are there", 6 * MINUTE, || back_end.count() == 5).await;
    assert_eq!(process.lane(0).next_attempt_at, None);
}

#[tokio::test(start_paused = true)]
async fn rows_that_a_filter_keeps_out_are_counted_once_however_often_the_others_are_tried() {
    for kind in [Kind::Items, Kind::Whole, Kind::Ledger] {
        let back_end = BackEnd::willing("P", 0, kind);
        back_end.follow(|call| {
            (
                Duration::ZERO,
                if call % 4 != 3 { Act::Retry(None) } else { Act::Accept },
            )
        });
        let filtered = LanePlan {
            filtered: true,
            ..plan(&back_end)
        };
        let world = World::new(MemorySource::with_records(Vec::new()), vec![filtered], Vec::new());
        let all = (0..100).map(|number| Item {
            api: (number % 5) as u8,
            refused_by: u8::from(number == 41),
            ..Item::good(number)
        });
        world.push(0, all.collect());
        let process = Process::start(&world, "one", &Options::default()).await;
        until("all rows are there", 10 * MINUTE, || back_end.count() == 79).await;
        until("nothing is left", MINUTE, || process.lane(0).backlog_rows == 0).await;
        let lane = process.lane(0);
        assert_eq!((lane.filtered, lane.delivered, lane.dead), (20, 79, 1), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pumps_start_side_by_side() {
    let back_ends: Vec<Arc<BackEnd>> = (0..4)
        .map(|number| BackEnd::willing(&format!("P{number}"), number, Kind::Whole))
        .collect();
    back_ends
        .iter()
        .skip(1)
        .for_each(|back_end| back_end.start_slowly(MINUTE));
    let world = world(&back_ends.iter().collect::<Vec<_>>());
    world.push(0, items(5, &[]));
    let began = tokio::time::Instant::now();
    let process = Process::start(&world, "one", &Options::default()).await;
    assert!(began.elapsed() < 6 * SECOND, "{:?}", began.elapsed());
    until("the first pump delivers", 2 * SECOND, || back_ends[0].count() == 5).await;
    until("the others deliver", 2 * MINUTE, || {
        back_ends.iter().all(|back_end| back_end.count() == 5)
    })
    .await;
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_spool_folder_that_cannot_be_made_ends_nothing_but_spooling() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let (back_end, other) = (
        BackEnd::willing("P", 0, Kind::Items),
        BackEnd::willing("Q", 1, Kind::Items),
    );
    back_end.follow(|_| (Duration::ZERO, Act::Retry(None)));
    let lanes = [&back_end, &other].map(|back_end| LanePlan {
        drops: true,
        ..plan(back_end)
    });
    let world = World::new(MemorySource::with_records(Vec::new()), lanes.to_vec(), Vec::new());
    let options = Options {
        spool_dir: Some(file.join("spool")),
        on_full: OnFull::Spool,
        max_unacked: Some(10_000),
        purge_chunk: 20,
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    world.push(0, items(500, &[]));
    until("the other pump delivers", MINUTE, || other.count() == 500).await;
    until("the failing one drops what it may not hold", MINUTE, || {
        process.dropped(0) > 0
    })
    .await;
    // A refused row finds a place in the source.
    let poison = Item {
        refused_by: 2,
        ..Item::good(1_000)
    };
    world.push(0, vec![poison]);
    until("a dead letter", MINUTE, || world.dead().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn undecodable_elements_that_turn_out_older_ones_are_counted() {
    let back_end = BackEnd::willing("P", 0, Kind::Items);
    let world = world(&[&back_end]);
    let options = Options {
        dead_letters: 5,
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    for round in 0..12 {
        world.push(0, mixed(round * 50..round * 50 + 50, 50));
        tokio::time::sleep(SECOND).await;
    }
    until("all are stored", MINUTE, || {
        process.status.snapshot().source.undecodable == 12
    })
    .await;
    let dropped = process.status.snapshot().source.undecodable_dropped;
    assert_eq!(dropped.get("dead_letters_full"), Some(&7), "{dropped:?}");
}

/// Each list has an element that is no record, and 200 kB of records.
#[tokio::test(start_paused = true)]
async fn letters_that_cannot_be_stored_cost_neither_memory_nor_the_other_records() {
    let back_end = BackEnd::willing("P", 0, Kind::Whole);
    let world = world(&[&back_end]);
    let process = Process::start(&world, "one", &Options::default()).await;
    process.no_letters.store(true, Ordering::Relaxed);
    let mut most = 0;
    for round in 0..300 {
        world.push(0, mixed(round * 1_000..round * 1_000 + 1_000, 1_000));
        tokio::time::sleep(SECOND).await;
        most = most.max(world.windows_alive());
    }
    until("all records are there", MINUTE, || back_end.count() == 300 * 999).await;
    let window = 1_000 * size_of::<analytics::Decoded>();
    assert!(most * window <= 20 << 20, "{most} windows of at least {window} bytes");
    let status = process.status.snapshot();
    assert!(
        status.not_ready.iter().any(|line| line.contains("undecodable")),
        "{:?}",
        status.not_ready
    );
    process.no_letters.store(false, Ordering::Relaxed);
    until("everything is stored in the end", 30 * MINUTE, || {
        world.dead().len() == 300
    })
    .await;
    tokio::time::sleep(MINUTE).await;
    assert!(world.memory.list().await.unwrap().is_empty());
    assert!(process.status.snapshot().ready);
}

#[tokio::test]
async fn a_letter_as_large_as_all_of_them_does_not_turn_out_the_others() {
    let folder = tempfile::tempdir().unwrap();
    for folder in [None, Some(folder.path())] {
        let source = Arc::new(MemorySource::with_records(Vec::new()));
        let limits = DeadLimits {
            count: 100,
            bytes: 1_000,
        };
        let dead = DeadLetters::new(source, folder, Disk::default(), limits);
        let letter = |row, bytes: usize| DeadLetter {
            lane: "P".into(),
            key: "k".into(),
            form: None,
            row: analytics::RowId {
                claim: analytics::ClaimId(ulid::Ulid(1)),
                row,
            },
            cause: "refused".to_owned(),
            at_ms: row,
            raw: vec![b'x'; bytes].into(),
        };
        dead.store(&[letter(0, 100), letter(1, 100)]).await.unwrap();
        let kept = dead.store(&[letter(2, 990), letter(3, 100)]).await.unwrap();
        assert_eq!((kept.too_large, kept.evicted), (1, 0));
        let rows: Vec<u64> = dead
            .list(None, 100)
            .await
            .unwrap()
            .iter()
            .map(|letter| letter.row.row)
            .collect();
        assert_eq!(rows, [0, 1, 3]);
    }
}
