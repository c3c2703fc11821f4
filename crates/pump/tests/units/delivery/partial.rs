//! Back-ends that take a part of what they are offered: that is progress.

use std::time::Duration;

use tyk_pump::{
    config::OnFull,
    delivery::status::LaneState,
    source::{Operate, memory::MemorySource},
};

use super::{
    back_end::{Act, BackEnd, Kind},
    process::{Options, Process, until},
    refusals::{items, plan},
    world::{LanePlan, World},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn full() -> Options {
    Options {
        on_full: OnFull::DropOldest,
        max_unacked: Some(10_000),
        timeout: Some(3 * SECOND),
        ..Options::default()
    }
}

/// Every write fails after half of its rows, as with a collector that answers 503 to every tenth event.
#[tokio::test(start_paused = true)]
async fn a_part_that_is_accepted_resets_the_back_off_counts_as_delivered_and_keeps_the_lane_from_failing() {
    for act in [Act::Half, Act::HalfThenHang] {
        for kind in [Kind::Items, Kind::Whole] {
            let back_end = BackEnd::willing("P", 0, kind);
            back_end.follow(move |_| (SECOND, act));
            let drops = LanePlan {
                drops: true,
                ..plan(&back_end)
            };
            let world = World::new(MemorySource::with_records(Vec::new()), vec![drops], Vec::new());
            let process = Process::start(&world, "one", &full()).await;
            world.push(0, items(2_000, &[]));
            let mut failed = 0;
            let began = tokio::time::Instant::now();
            until("everything is there", 60 * MINUTE, || {
                failed += u32::from(process.lane(0).state != LaneState::Running);
                back_end.count() == 2_000
            })
            .await;
            until("nothing is left", MINUTE, || process.lane(0).backlog_rows == 0).await;
            assert_eq!(
                process.dropped(0),
                0,
                "{act:?} {kind:?}: rows of a lane that makes progress are dropped"
            );
            assert_eq!((process.lane(0).delivered, failed), (2_000, 0), "{act:?} {kind:?}");
            let doubled = back_end.look(|contents| contents.rows.values().filter(|times| **times > 1).count());
            assert_eq!(doubled, 0, "{act:?} {kind:?}: rows that are marked were sent again");
            // Each write takes a second, or the timeout, and the pause behind it never grows.
            let longest = Duration::from_millis(if act == Act::Half { 1_200 } else { 3_200 });
            let attempts = back_end.calls().len() as u32;
            assert!(
                began.elapsed() <= longest * (attempts + 2),
                "{act:?} {kind:?}: {:?}",
                began.elapsed()
            );
            process.stop().await;
            assert_eq!(world.violations(), Vec::<String>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_write_that_goes_on_in_parts_is_not_stalled() {
    let back_end = BackEnd::willing("P", 0, Kind::Items);
    back_end.follow(|call| (Duration::ZERO, if call == 0 { Act::Trickle } else { Act::Accept }));
    let world = World::new(
        MemorySource::with_records(Vec::new()),
        vec![plan(&back_end)],
        Vec::new(),
    );
    let process = Process::start(&world, "one", &Options::default()).await;
    world.push(0, items(20, &[]));
    until("the write begins", MINUTE, || process.lane(0).in_flight > 0).await;
    let mut stalled = false;
    until("the write ends", 60 * MINUTE, || {
        stalled |= process.lane(0).state == LaneState::Stalled;
        process.lane(0).delivered == 20
    })
    .await;
    assert!(!stalled);
    process.stop().await;
}

/// The first lane gives its write up in the middle; what was marked is its successor's knowledge.
#[tokio::test(start_paused = true)]
async fn a_successor_knows_what_was_accepted_before_the_write_was_given_up() {
    let back_end = BackEnd::willing("P", 0, Kind::Items);
    back_end.follow(|call| (Duration::ZERO, if call == 0 { Act::HalfThenHang } else { Act::Accept }));
    let world = World::new(
        MemorySource::with_records(Vec::new()),
        vec![plan(&back_end)],
        Vec::new(),
    );
    let process = Process::start(&world, "one", &Options::default()).await;
    world.push(0, items(20, &[]));
    until("half of it is there", MINUTE, || back_end.count() == 10).await;
    process.replace(0).await;
    until("everything is there", MINUTE, || back_end.count() == 20).await;
    until("nothing is left", MINUTE, || process.lane(0).backlog_rows == 0).await;
    let doubled = back_end.look(|contents| contents.rows.values().filter(|times| **times > 1).count());
    assert_eq!((doubled, process.lane(0).delivered), (0, 20));
    process.stop().await;
    assert!(world.memory.list().await.unwrap().is_empty());
}
