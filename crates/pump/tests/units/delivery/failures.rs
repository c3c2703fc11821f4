//! Back-ends that are slow, away, or wrongly set up.

use std::time::Duration;

use tyk_pump::{delivery::status::LaneState, source::Operate};

use super::{
    back_end::{Act, BackEnd, Kind, Phase},
    process::{Options, Process, until},
    refusals::{items, world},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn after_a_timeout_the_first_batch_comes_alone_and_may_take_longer() {
    let back_end = BackEnd::willing("SLOW", 0, Kind::Whole);
    // While the first call takes its time three further claims come in, which go to the back-end together.
    back_end.follow(|call| match call {
        0 => (1500 * Duration::from_millis(1), Act::Accept),
        1..7 => (Duration::ZERO, Act::Hang),
        _ => (Duration::ZERO, Act::Accept),
    });
    let world = world(&[&back_end]);
    let options = Options {
        timeout: Some(2 * SECOND),
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    for _ in 0..4 {
        world.push(0, items(10, &[]));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    until("all rows are there", 5 * MINUTE, || back_end.count() == 40).await;
    let calls = back_end.calls().split_off(1);
    let batches: Vec<usize> = calls.iter().map(|call| call.batches).collect();
    assert_eq!(batches, [3, 1, 1, 1, 1, 1, 1, 2]);
    // Back-off apart, each attempt takes its deadline: doubled, up to ten times the timeout.
    let gaps = calls.windows(2).map(|pair| pair[1].at - pair[0].at);
    for ((gap, deadline), number) in gaps.zip([2, 4, 8, 16, 20, 20]).zip(0..) {
        let deadline = deadline * SECOND;
        assert!(
            gap >= deadline && gap <= deadline + 4 * SECOND,
            "attempt {number}: {gap:?} for a deadline of {deadline:?}"
        );
    }
    process.stop().await;
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_back_end_asks_for_is_honoured() {
    let back_end = BackEnd::willing("BUSY", 0, Kind::Whole);
    let asked = 17 * SECOND;
    back_end.follow(move |call| {
        (
            Duration::ZERO,
            if call < 3 { Act::Retry(Some(asked)) } else { Act::Accept },
        )
    });
    let world = world(&[&back_end]);
    world.push(0, items(5, &[]));
    let _process = Process::start(&world, "one", &Options::default()).await;
    until("all rows are there", 2 * MINUTE, || back_end.count() == 5).await;
    let calls = back_end.calls();
    assert_eq!(calls.len(), 4);
    assert!(calls.windows(2).all(|pair| {
        let gap = pair[1].at - pair[0].at;
        gap >= asked && gap < asked + SECOND
    }));
}

#[tokio::test(start_paused = true)]
async fn a_lane_has_nothing_to_retry_once_another_instance_has_its_claims() {
    let back_end = BackEnd::willing("AWAY", 0, Kind::Ledger);
    // Its connection is closed while it is frozen.
    back_end.follow(|call| (SECOND, if call == 0 { Act::Retry(None) } else { Act::Accept }));
    let world = world(&[&back_end]);
    world.push(0, items(5, &[]));
    let frozen = Process::start(&world, "one", &Options::default()).await;
    until("a write begins", MINUTE, || !back_end.calls().is_empty()).await;
    frozen.gate.send_replace(Phase::Paused);
    let _other = Process::start(&world, "two", &Options::default()).await;
    until("the other instance delivers", 2 * MINUTE, || back_end.count() == 5).await;
    back_end.follow(|_| (Duration::ZERO, Act::Retry(None)));
    frozen.gate.send_replace(Phase::Runs);
    until("the write has failed", MINUTE, || frozen.lane(0).retried > 0).await;
    frozen.reaches(0, LaneState::Running, MINUTE).await;
    assert_eq!(frozen.lane(0).backlog_rows, 0);
    assert_eq!(back_end.count(), 5);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_set_up_pauses_the_lane_which_probes_every_half_minute() {
    let back_end = BackEnd::willing("WRONG", 0, Kind::Items);
    back_end.follow(|_| (Duration::ZERO, Act::Config));
    let world = world(&[&back_end]);
    world.push(0, items(5, &[]));
    let process = Process::start(&world, "one", &Options::default()).await;
    process.reaches(0, LaneState::Paused, MINUTE).await;
    assert!(process.lane(0).remedy.is_some());
    tokio::time::sleep(5 * MINUTE).await;
    let calls = back_end.calls();
    assert!((10..=12).contains(&calls.len()), "{}", calls.len());
    assert!(calls.windows(2).all(|pair| pair[1].at - pair[0].at >= 30 * SECOND));
    back_end.follow(|_| (Duration::ZERO, Act::Accept));
    process.reaches(0, LaneState::Running, MINUTE).await;
    assert_eq!(back_end.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_dead_lane_does_not_hold_others_up() {
    let (dead, alive) = (
        BackEnd::willing("DEAD", 0, Kind::Whole),
        BackEnd::willing("ALIVE", 1, Kind::Items),
    );
    dead.follow(|_| (Duration::ZERO, Act::Hang));
    let world = world(&[&dead, &alive]);
    let process = Process::start(&world, "one", &Options::default()).await;
    for round in 0..20 {
        let start = round * 100;
        world.push(0, items(start + 100, &[]).split_off(start as usize));
        tokio::time::sleep(SECOND).await;
    }
    until("the other lane has everything", 10 * SECOND, || alive.count() == 2_000).await;
    assert_eq!(dead.count(), 0);
    assert!(process.lane(1).state == LaneState::Running && process.lane(1).backlog_rows == 0);
}

#[tokio::test(start_paused = true)]
async fn a_back_end_that_never_answers_does_not_keep_the_process_from_stopping() {
    let back_end = BackEnd::willing("BLACK HOLE", 0, Kind::Whole);
    back_end.follow(|_| (Duration::ZERO, Act::Hang));
    let world = world(&[&back_end]);
    world.push(0, items(5, &[]));
    let options = Options {
        timeout: Some(SECOND),
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    until("two attempts", MINUTE, || back_end.calls().len() >= 2).await;
    let began = tokio::time::Instant::now();
    process.stop().await;
    assert!(began.elapsed() <= 11 * SECOND);
    let claims = world.memory.list().await.unwrap();
    assert!(claims.iter().all(|claim| claim.lease_ms < 0), "given back: {claims:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_source_loses_is_counted_and_the_lane_goes_on() {
    let back_end = BackEnd::willing("P", 0, Kind::Whole);
    back_end.follow(|_| (Duration::ZERO, Act::Config));
    let world = world(&[&back_end]);
    world.push(0, items(100, &[]));
    let process = Process::start(&world, "one", &Options::default()).await;
    process.reaches(0, LaneState::Paused, MINUTE).await;
    world.lose();
    back_end.follow(|_| (Duration::ZERO, Act::Accept));
    world.push(0, items(110, &[]).split_off(100));
    until("the later rows are there", 10 * MINUTE, || back_end.count() == 10).await;
    assert_eq!(process.lane(0).dropped["vanished"], 100);
    process.reaches(0, LaneState::Running, MINUTE).await;
    assert_eq!(process.lane(0).backlog_rows, 0);
    assert!(world.memory.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn evicted_rows_are_counted_and_the_lane_goes_on() {
    let back_end = BackEnd::willing("P", 0, Kind::Whole);
    back_end.follow(|call| (Duration::ZERO, if call < 3 { Act::Config } else { Act::Accept }));
    let world = world(&[&back_end]);
    world.push(0, items(100, &[]));
    let options = Options {
        purge_chunk: 10,
        memory_budget: 0,
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    process.reaches(0, LaneState::Paused, MINUTE).await;
    let claim = world.memory.list().await.unwrap()[0].id.clone();
    world.evict(analytics::ClaimId(ulid::Ulid::from_string(&claim).unwrap()));
    world.push(0, items(110, &[]).split_off(100));
    until("the later rows are there", 10 * MINUTE, || {
        process.lane(0).backlog_rows == 0 && process.lane(0).state == LaneState::Running
    })
    .await;
    let evicted = process.lane(0).dropped["evicted"];
    assert!(
        evicted > 0 && back_end.count() as u64 + evicted == 110,
        "{evicted} of 110 are counted, {} arrived",
        back_end.count()
    );
    tokio::time::sleep(SECOND).await;
    assert!(world.memory.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rows_that_vanish_with_the_data_of_the_source_are_counted_by_every_lane() {
    let (slow, done) = (
        BackEnd::willing("SLOW", 0, Kind::Whole),
        BackEnd::willing("DONE", 0, Kind::Whole),
    );
    slow.follow(|_| (Duration::ZERO, Act::Config));
    let world = world(&[&slow, &done]);
    world.push(0, items(100, &[]));
    let process = Process::start(&world, "one", &Options::default()).await;
    process.reaches(0, LaneState::Paused, MINUTE).await;
    until("one pump has them", MINUTE, || process.lane(1).delivered == 100).await;
    world.lose();
    until("the loss is noticed", 10 * MINUTE, || process.lane(0).backlog_rows == 0).await;
    assert_eq!(process.lane(0).dropped["vanished"], 100);
    assert!(
        !process.lane(1).dropped.contains_key("vanished"),
        "it had delivered them"
    );
}
