//! Rows that a back-end refuses: poison becomes dead letters, a wrong set-up does not.

use std::{sync::Arc, time::Duration};

use tyk_pump::{
    delivery::{engine::Accepting, status::LaneState},
    source::memory::MemorySource,
};

use super::{
    back_end::{Act, BackEnd, Kind},
    process::{Options, Process, until},
    world::{Item, LanePlan, World},
};

pub fn plan(back_end: &Arc<BackEnd>) -> LanePlan {
    LanePlan {
        back_end: back_end.clone(),
        filtered: false,
        omits_bodies: false,
        drops: false,
    }
}

pub fn world(back_ends: &[&Arc<BackEnd>]) -> Arc<World> {
    let lanes = back_ends.iter().map(|back_end| plan(back_end)).collect();
    World::new(MemorySource::with_records(Vec::new()), lanes, Vec::new())
}

/// Items of which those with these numbers are refused by lane 0.
pub fn items(count: u64, poison: &[u64]) -> Vec<Item> {
    (0..count)
        .map(|number| Item {
            refused_by: u8::from(poison.contains(&number)),
            ..Item::good(number)
        })
        .collect()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_wrong_index_name_never_drains_into_the_dead_letters() {
    for kind in [Kind::Items, Kind::Whole, Kind::Ledger] {
        let back_end = BackEnd::willing("WRONG", 0, kind);
        back_end.follow(|_| (Duration::ZERO, Act::RefuseAll));
        let world = world(&[&back_end]);
        world.push(0, items(300, &[]));
        let process = Process::start(&world, "one", &Options::default()).await;
        process.reaches(0, LaneState::Paused, MINUTE).await;
        let status = process.lane(0);
        assert!(status.cause.unwrap().contains("refuses"), "{kind:?}");
        assert!(
            status.remedy.unwrap().contains("lane accept-refusals WRONG"),
            "{kind:?}"
        );
        tokio::time::sleep(10 * MINUTE).await;
        assert!(world.dead().is_empty(), "{kind:?}: {} dead letters", world.dead().len());
        let probes = back_end.calls().len();
        assert!(probes <= 22 * 80, "{kind:?}: {probes} writes in ten minutes");
        assert_eq!(process.engine.accept_refusals("other"), Accepting::UnknownPump);
        assert_eq!(process.engine.accept_refusals("wrong"), Accepting::Next, "{kind:?}");
        until("all rows are dead letters", 30 * MINUTE, || {
            let _ = process.engine.accept_refusals("wrong");
            world.dead().len() == 300
        })
        .await;
        assert_eq!((back_end.count(), world.violations()), (0, Vec::new()), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_right_index_name_delivers_what_had_waited() {
    let back_end = BackEnd::willing("P", 0, Kind::Whole);
    back_end.follow(|_| (Duration::ZERO, Act::RefuseAll));
    let world = world(&[&back_end]);
    world.push(0, items(300, &[]));
    let process = Process::start(&world, "one", &Options::default()).await;
    process.reaches(0, LaneState::Paused, MINUTE).await;
    back_end.follow(|_| (Duration::ZERO, Act::Accept));
    until("all rows are there", MINUTE, || back_end.count() == 300).await;
    process.reaches(0, LaneState::Running, MINUTE).await;
    assert!(world.dead().is_empty());
}

#[tokio::test(start_paused = true)]
async fn three_poison_rows_among_thousands_are_found_with_few_writes() {
    let back_end = BackEnd::willing("P", 0, Kind::Whole);
    let world = world(&[&back_end]);
    world.push(0, items(5_000, &[17, 2_500, 4_999]));
    let process = Process::start(&world, "one", &Options::default()).await;
    until("the good rows are there", MINUTE, || {
        back_end.count() == 4_997 && world.dead().len() == 3
    })
    .await;
    let writes = back_end.calls().len();
    // Twice the depth of the search for each of them.
    assert!(writes <= 75, "{writes} writes");
    process.stop().await;
    world.check_end(&[0]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn poison_rows_at_the_head_and_side_by_side_do_not_stop_a_lane() {
    for kind in [Kind::Items, Kind::Whole, Kind::Ledger] {
        let back_end = BackEnd::willing("P", 0, kind);
        let world = world(&[&back_end]);
        world.push(0, items(200, &[0, 1, 2, 77, 78]));
        let process = Process::start(&world, "one", &Options::default()).await;
        until("the good rows are there", Duration::from_secs(20), || {
            back_end.count() == 195 && world.dead().len() == 5
        })
        .await;
        process.stop().await;
        world.check_end(&[0]);
        assert_eq!(world.violations(), Vec::<String>::new(), "{kind:?}");
    }
}
