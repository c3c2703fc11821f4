//! Memory, and what a failing lane may hold.

use std::{sync::Arc, time::Duration};

use tyk_pump::{
    config::OnFull,
    delivery::status::LaneState,
    source::{Claims, Operate, SpoolNotes, memory::MemorySource},
};

use super::{
    back_end::{Act, BackEnd, Kind},
    process::{Options, Process, until},
    refusals::{items, plan, world},
    world::{LanePlan, World},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn full(on_full: OnFull) -> Options {
    Options {
        on_full,
        max_unacked: Some(10_000),
        purge_chunk: 20,
        timeout: Some(2 * SECOND),
        ..Options::default()
    }
}

#[tokio::test(start_paused = true)]
async fn every_purge_chunk_is_written_by_itself() {
    for compat in [true, false] {
        let back_end = BackEnd::willing("P", 0, Kind::Ledger);
        let memory = MemorySource::with_records(Vec::new());
        let world = World::new(memory, vec![plan(&back_end)], Vec::new());
        world.push(0, items(30, &[]));
        let options = Options {
            compat,
            purge_chunk: 10,
            ..Options::default()
        };
        let process = Process::start(&world, "one", &options).await;
        until("everything is there", MINUTE, || back_end.count() == 30).await;
        process.stop().await;
        let calls: Vec<usize> = back_end.look(|contents| contents.calls.iter().map(|call| call.batches).collect());
        assert_eq!(calls, [1, 1, 1], "compat {compat}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pump_takes_no_more_records_in_a_second_than_it_may() {
    let (slow, free) = (
        BackEnd::willing("S", 0, Kind::Ledger),
        BackEnd::willing("F", 0, Kind::Ledger),
    );
    for (back_end, most, seconds) in [(slow, std::num::NonZeroU64::new(100), 9..12), (free, None, 0..2)] {
        let memory = MemorySource::with_records(Vec::new());
        let world = World::new(memory, vec![plan(&back_end)], Vec::new());
        world.push(0, items(1000, &[]));
        let options = Options {
            most_per_second: most,
            ..Options::default()
        };
        let began = tokio::time::Instant::now();
        let process = Process::start(&world, "one", &options).await;
        until("everything is there", MINUTE, || back_end.count() == 1000).await;
        let took = began.elapsed().as_secs();
        assert!(seconds.contains(&took), "{took} s");
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_lane_moves_its_rows_to_disk_and_delivers_them_first_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let back_end = BackEnd::willing("P", 0, Kind::Ledger);
    back_end.follow(|_| (Duration::ZERO, Act::Hang));
    let memory = MemorySource::with_records(Vec::new());
    let world = World::new(memory, vec![plan(&back_end)], vec![folder.path().to_owned()]);
    let options = Options {
        spool_dir: Some(folder.path().to_owned()),
        ..full(OnFull::Spool)
    };
    let process = Process::start(&world, "one", &options).await;
    for round in 0..10 {
        world.push(0, items(round * 50 + 50, &[]).split_off(round as usize * 50));
        tokio::time::sleep(SECOND).await;
    }
    until("rows are spooled", MINUTE, || process.lane(0).spooled_rows > 100).await;
    until("it holds no more than it may", MINUTE, || {
        process.lane(0).backlog_bytes <= 10_000
    })
    .await;
    process.crash().await;
    let process = Process::start(&world, "one", &options).await;
    until("the spool is found again", 10 * SECOND, || {
        process.lane(0).spooled_rows > 100
    })
    .await;
    assert!(!world.memory.spooled().await.unwrap().is_empty());
    back_end.follow(|_| (Duration::ZERO, Act::Accept));
    until("everything is there", 10 * MINUTE, || back_end.count() == 500).await;
    until("the spool is empty", MINUTE, || process.lane(0).spooled_files == 0).await;
    tokio::time::sleep(MINUTE).await;
    let order: Vec<u64> = back_end.look(|contents| {
        let rows = contents.order.iter();
        rows.map(|row| world.item(*row).unwrap().number).collect()
    });
    assert!(order.is_sorted(), "{order:?}");
    assert!(world.memory.list().await.unwrap().is_empty());
    assert!(world.memory.spooled().await.unwrap().is_empty());
    process.stop().await;
    world.check_end(&[0]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn rows_stay_where_they_are_when_the_source_and_not_the_disk_fails() {
    let folder = tempfile::tempdir().unwrap();
    let back_end = BackEnd::willing("P", 0, Kind::Ledger);
    back_end.follow(|_| (Duration::ZERO, Act::Retry(None)));
    let memory = MemorySource::with_records(Vec::new());
    let world = World::new(memory, vec![plan(&back_end)], vec![folder.path().to_owned()]);
    let options = Options {
        spool_dir: Some(folder.path().to_owned()),
        memory_budget: 0,
        ..full(OnFull::Spool)
    };
    let process = Process::start(&world, "one", &options).await;
    for round in 0..10 {
        world.push(0, items(round * 50 + 50, &[]).split_off(round as usize * 50));
        tokio::time::sleep(SECOND / 10).await;
        // Half of the calls fail from now on.
        world.memory.fail_next(3);
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(process.dropped(0), 0);
    back_end.follow(|_| (Duration::ZERO, Act::Accept));
    until("everything is there", 10 * MINUTE, || back_end.count() == 500).await;
}

/// It holds more than a failing lane may, and every third write fails.
#[tokio::test(start_paused = true)]
async fn a_lane_that_only_stumbles_over_a_large_backlog_drops_nothing() {
    let back_end = BackEnd::willing("P", 0, Kind::Ledger);
    back_end.follow(|call| match call % 3 {
        0 => (SECOND, Act::Retry(None)),
        _ => (SECOND, Act::Accept),
    });
    let world = World::new(
        MemorySource::with_records(Vec::new()),
        vec![plan(&back_end)],
        Vec::new(),
    );
    world.push(0, items(1_000, &[]));
    let process = Process::start(&world, "one", &full(OnFull::DropOldest)).await;
    until("a failed write with a large backlog", MINUTE, || {
        process.lane(0).backlog_bytes > 10_000 && process.lane(0).state == LaneState::Retrying
    })
    .await;
    until("everything is there", 10 * MINUTE, || back_end.count() == 1_000).await;
    assert_eq!(process.dropped(0), 0);
}

/// A write that follows a failed one takes its time, as large ones do: it is under way, and has not failed.
#[tokio::test(start_paused = true)]
async fn a_lane_that_is_only_slow_after_a_failure_drops_nothing() {
    let back_end = BackEnd::willing("P", 0, Kind::Ledger);
    back_end.follow(|call| match call % 2 {
        0 => (SECOND, Act::Retry(None)),
        _ => (20 * SECOND, Act::Accept),
    });
    let world = World::new(
        MemorySource::with_records(Vec::new()),
        vec![plan(&back_end)],
        Vec::new(),
    );
    world.push(0, items(1_000, &[]));
    let patient = Options {
        timeout: None,
        ..full(OnFull::DropOldest)
    };
    let process = Process::start(&world, "one", &patient).await;
    until("everything is there", 60 * MINUTE, || back_end.count() == 1_000).await;
    assert_eq!(process.dropped(0), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_counted_and_its_claims_end() {
    let back_end = BackEnd::willing("P", 0, Kind::Items);
    back_end.follow(|_| (Duration::ZERO, Act::Hang));
    let drops = LanePlan {
        drops: true,
        ..plan(&back_end)
    };
    let world = World::new(MemorySource::with_records(Vec::new()), vec![drops], Vec::new());
    let process = Process::start(&world, "one", &full(OnFull::DropOldest)).await;
    for round in 0..20 {
        world.push(0, items(round * 50 + 50, &[]).split_off(round as usize * 50));
        tokio::time::sleep(SECOND).await;
    }
    until("rows are dropped", MINUTE, || process.dropped(0) > 0).await;
    back_end.follow(|_| (Duration::ZERO, Act::Accept));
    until("the lane is through", 10 * MINUTE, || {
        process.lane(0).backlog_rows == 0 && process.lane(0).state == LaneState::Running
    })
    .await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(back_end.count() as u64 + process.dropped(0), 1_000);
    assert!(world.memory.list().await.unwrap().is_empty(), "no claim stays behind");
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_can_never_start_holds_no_more_than_a_failing_one_and_the_status_says_so() {
    let (broken, healthy) = (
        BackEnd::willing("BROKEN", 0, Kind::Items),
        BackEnd::willing("P", 1, Kind::Items),
    );
    broken.never_start();
    let drops = LanePlan {
        drops: true,
        ..plan(&broken)
    };
    let world = World::new(
        MemorySource::with_records(Vec::new()),
        vec![drops, plan(&healthy)],
        Vec::new(),
    );
    let process = Process::start(&world, "one", &full(OnFull::DropOldest)).await;
    for round in 0..40 {
        world.push(0, items(round * 50 + 50, &[]).split_off(round as usize * 50));
        tokio::time::sleep(SECOND).await;
    }
    until("the oldest rows are given up", 5 * MINUTE, || {
        process.dropped(0) > 0 && process.lane(0).backlog_bytes <= 10_000
    })
    .await;
    assert_eq!(healthy.count(), 2_000);
    let status = process.status.snapshot();
    let lane = &status.pumps[0];
    assert_eq!(lane.state, LaneState::Disabled);
    assert_eq!(lane.cause.as_deref(), Some("wrong options"));
    assert!(
        lane.remedy.as_deref().unwrap_or_default().contains("max_unacked"),
        "{:?}",
        lane.remedy
    );
    assert_eq!(lane.backlog_rows + process.dropped(0), 2_000);
    assert!(
        status
            .not_ready
            .iter()
            .any(|line| line.contains("BROKEN is disabled: wrong options"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_blocks_stops_the_claims_and_nothing_is_lost() {
    let back_end = BackEnd::willing("P", 0, Kind::Items);
    back_end.follow(|_| (Duration::ZERO, Act::Hang));
    let world = world(&[&back_end]);
    let process = Process::start(&world, "one", &full(OnFull::Block)).await;
    world.push(0, items(500, &[]));
    until("claiming is held back", MINUTE, || {
        process.status.snapshot().source.claiming_held.is_some()
    })
    .await;
    world.push(0, items(600, &[]).split_off(500));
    tokio::time::sleep(MINUTE).await;
    let waiting = world.memory.pending().await.unwrap();
    assert_eq!(waiting.len(), 1, "the list is left alone");
    back_end.follow(|_| (Duration::ZERO, Act::Accept));
    until("everything is there", 10 * MINUTE, || back_end.count() == 600).await;
    assert_eq!(process.dropped(0), 0);
}

#[tokio::test(start_paused = true)]
async fn lanes_at_different_places_hold_no_more_windows_than_the_budget_and_a_few() {
    let back_ends: Vec<Arc<BackEnd>> = (0..3)
        .map(|number| BackEnd::willing(&format!("P{number}"), number, Kind::Whole))
        .collect();
    for (number, back_end) in back_ends.iter().enumerate() {
        let pause = Duration::from_millis(50 * (1 + 4 * number as u64));
        back_end.follow(move |_| (pause, Act::Accept));
    }
    let world = world(&back_ends.iter().collect::<Vec<_>>());
    // A budget of nothing: one window for each lane, one that is being read, and none that is only kept.
    let options = Options {
        memory_budget: 0,
        purge_chunk: 10,
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    world.push(0, items(2_000, &[]));
    let mut most = 0;
    until("everything is everywhere", 10 * MINUTE, || {
        most = most.max(world.windows_alive());
        back_ends.iter().all(|back_end| back_end.count() == 2_000)
    })
    .await;
    assert!((1..=6).contains(&most), "{most} windows at once");
    process.stop().await;
    assert_eq!(world.violations(), Vec::<String>::new());
}
