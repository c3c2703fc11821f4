//! A disk that takes its time: it holds up whoever waits for it, and nobody else. The clock is the real one.

use std::time::{Duration, Instant};

use tyk_pump::{
    config::OnFull,
    delivery::disk::Disk,
    source::{Claims, memory::MemorySource},
};

use super::{
    back_end::{Act, BackEnd, Kind},
    process::{Options, Process},
    refusals::{items, plan},
    world::World,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_disk_that_takes_five_seconds_a_write_costs_no_lease_and_delays_no_other_lane() {
    let folder = tempfile::tempdir().unwrap();
    let (away, well) = (
        BackEnd::willing("AWAY", 0, Kind::Ledger),
        BackEnd::willing("WELL", 1, Kind::Items),
    );
    away.follow(|_| (Duration::ZERO, Act::Hang));
    let world = World::new(
        MemorySource::with_records(Vec::new()),
        vec![plan(&away), plan(&well)],
        vec![folder.path().to_owned()],
    );
    let disk = Disk::default();
    let options = Options {
        lease: 2 * SECOND,
        on_full: OnFull::Spool,
        max_unacked: Some(2_000),
        purge_chunk: 5,
        write_stall: SECOND,
        spool_dir: Some(folder.path().to_owned()),
        disk: disk.clone(),
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    disk.slow_down(5 * SECOND);
    let other = world.memory.instance("two").lease(2 * SECOND);
    let mut pushed = 0;
    let began = Instant::now();
    while began.elapsed() < 18 * SECOND {
        world.push(0, items(pushed + 20, &[]).split_off(pushed as usize));
        pushed += 20;
        let at = Instant::now();
        while well.count() < pushed as usize {
            assert!(at.elapsed() < 2 * SECOND, "the other lane is {:?} behind", at.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let lanes = ["AWAY".into(), "WELL".into()];
        let taken = other.take_over(&lanes, &[]).await.unwrap();
        assert!(taken.is_empty(), "a lease ran out: {taken:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let spooled = process.lane(0).spooled_files;
    assert!(spooled > 0, "the disk was used");
    assert_eq!(world.violations(), Vec::<String>::new());
    process.crash().await;
}
