//! Dead letters that are offered once more.

use std::time::Duration;

use tyk_pump::delivery::status::LaneState;

use super::{
    back_end::{Act, BackEnd, Kind},
    process::{Options, Process, until},
    refusals::{items, world},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_back_end_that_hangs_during_a_replay_does_not_hold_the_lane_up() {
    let back_end = BackEnd::willing("P", 0, Kind::Items);
    let world = world(&[&back_end]);
    world.push(0, items(200, &[7, 8]));
    let options = Options {
        timeout: Some(2 * SECOND),
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    until("two dead letters", MINUTE, || world.dead().len() == 2).await;
    let before = back_end.calls().len();
    back_end.follow(move |call| (Duration::ZERO, if call < before + 3 { Act::Hang } else { Act::Accept }));
    let engine = process.engine.clone();
    let replay = tokio::spawn(async move { engine.replay(None, 100).await.unwrap() });
    until("the replay hangs", MINUTE, || back_end.calls().len() > before).await;
    world.push(0, items(300, &[]).split_off(200));
    until("later records are there", 30 * SECOND, || back_end.count() == 298).await;
    let replayed = replay.await.unwrap();
    assert_eq!((replayed.accepted, replayed.kept), (0, 2));
    assert!(replayed.cause.unwrap().contains("no answer within"));
    assert_eq!(process.lane(0).state, LaneState::Running);
    assert_eq!(world.dead().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn letters_go_under_their_old_numbers_and_those_that_are_refused_again_stay() {
    for kind in [Kind::Items, Kind::Whole, Kind::Ledger] {
        let back_end = BackEnd::willing("P", 0, kind);
        let world = world(&[&back_end]);
        world.push(0, items(200, &[7, 8, 9]));
        let process = Process::start(&world, "one", &Options::default()).await;
        until("three dead letters", MINUTE, || world.dead().len() == 3).await;
        world.cure(&[7, 9]);
        let replayed = process.engine.replay(Some("P"), 100).await.unwrap();
        assert_eq!((replayed.accepted, replayed.kept), (2, 1), "{kind:?}");
        assert_eq!(replayed.cause.as_deref(), Some("mapping"), "{kind:?}");
        assert_eq!(back_end.count(), 199, "{kind:?}");
        let again = process.engine.replay(Some("P"), 100).await.unwrap();
        assert_eq!((again.accepted, again.kept), (0, 1), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_to_a_back_end_that_is_away_says_so_and_stops_with_the_process() {
    let back_end = BackEnd::willing("P", 0, Kind::Items);
    let world = world(&[&back_end]);
    world.push(0, items(100, &[7]));
    let process = Process::start(&world, "one", &Options::default()).await;
    until("a dead letter", MINUTE, || world.dead().len() == 1).await;
    back_end.follow(|_| (Duration::ZERO, Act::Retry(None)));
    let replayed = process.engine.replay(None, 100).await.unwrap();
    assert_eq!((replayed.accepted, replayed.kept), (0, 1));
    back_end.follow(|_| (Duration::ZERO, Act::Hang));
    let engine = process.engine.clone();
    let replay = tokio::spawn(async move { engine.replay(None, 100).await.unwrap() });
    tokio::time::sleep(SECOND).await;
    let began = tokio::time::Instant::now();
    process.stop().await;
    assert!(began.elapsed() < 15 * SECOND);
    assert_eq!(replay.await.unwrap().kept, 1);
}
