//! Lanes that are stopped, handed over and started again while records come in.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tyk_pump::{
    config::{OnFull, PumpSettings},
    delivery::{Engine, status::StatusBoard},
    instrumentation::Instrumentation,
    plan::Pump,
    source::{Mode, Operate, memory::MemorySource},
};

use super::{
    back_end::{Act, BackEnd, Kind},
    process::{Options, Process, settings, until},
    refusals::{items, plan, world},
    world::{Item, World},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_replaced_in_the_middle_of_a_write_loses_and_doubles_nothing() {
    for kind in [Kind::Items, Kind::Whole, Kind::Ledger] {
        let back_end = BackEnd::willing("P", 0, kind);
        back_end.follow(|call| (Duration::from_millis(300 * (call as u64 % 7)), Act::Accept));
        let world = world(&[&back_end]);
        let process = Process::start(&world, "one", &Options::default()).await;
        for round in 0..100 {
            world.push(0, items(round * 40 + 40, &[]).split_off(round as usize * 40));
            tokio::time::sleep(Duration::from_millis(37 * (round % 11))).await;
            process.replace(0).await;
        }
        until("all rows are there", 10 * MINUTE, || back_end.count() == 4_000).await;
        until("nothing is left", MINUTE, || process.lane(0).backlog_rows == 0).await;
        // Its figures are the pump's, not the lane's.
        assert_eq!(process.lane(0).delivered, 4_000, "{kind:?}");
        process.stop().await;
        let doubled = back_end.look(|contents| contents.rows.values().filter(|times| **times > 1).count());
        assert_eq!((doubled, world.violations()), (0, Vec::new()), "{kind:?}");
        assert!(world.memory.list().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_never_ends_is_given_up_and_its_rows_are_the_successors() {
    let back_end = BackEnd::willing("P", 0, Kind::Ledger);
    back_end.follow(|call| (Duration::ZERO, if call == 0 { Act::LostAnswer } else { Act::Accept }));
    let world = world(&[&back_end]);
    let process = Process::start(&world, "one", &Options::default()).await;
    world.push(0, items(100, &[]));
    until("a write that hangs", MINUTE, || process.lane(0).in_flight > 0).await;
    let began = tokio::time::Instant::now();
    process.replace(0).await;
    assert!(began.elapsed() <= 11 * SECOND, "{:?}", began.elapsed());
    until("nothing is left", MINUTE, || process.lane(0).backlog_rows == 0).await;
    process.stop().await;
    world.check_end(&[0]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_waits_on_disk_is_the_successors() {
    let folder = tempfile::tempdir().unwrap();
    let back_end = BackEnd::willing("P", 0, Kind::Ledger);
    back_end.follow(|_| (Duration::ZERO, Act::Retry(None)));
    let memory = MemorySource::with_records(Vec::new());
    let world = World::new(memory, vec![plan(&back_end)], vec![folder.path().to_owned()]);
    let options = Options {
        spool_dir: Some(folder.path().to_owned()),
        on_full: OnFull::Spool,
        max_unacked: Some(10_000),
        purge_chunk: 20,
        ..Options::default()
    };
    let process = Process::start(&world, "one", &options).await;
    world.push(0, items(500, &[]));
    until("rows are spooled", MINUTE, || process.lane(0).spooled_rows > 100).await;
    process.replace(0).await;
    assert!(process.lane(0).spooled_rows > 100);
    back_end.follow(|_| (Duration::ZERO, Act::Accept));
    until("everything is there", 10 * MINUTE, || back_end.count() == 500).await;
    until("the spool is empty", MINUTE, || process.lane(0).spooled_files == 0).await;
    process.stop().await;
    world.check_end(&[0]);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_pump_that_is_taken_away_wait_for_it_and_hold_nobody_up() {
    let (gone, stays) = (
        BackEnd::willing("GONE", 0, Kind::Ledger),
        BackEnd::willing("STAYS", 1, Kind::Items),
    );
    gone.follow(|_| (Duration::ZERO, Act::Hang));
    let world = world(&[&gone, &stays]);
    let process = Process::start(&world, "one", &Options::default()).await;
    world.push(0, items(100, &[]));
    until("a write that hangs", MINUTE, || process.lane(0).in_flight > 0).await;
    process.engine.remove_lane("gone").await.unwrap();
    assert!(process.engine.remove_lane("gone").await.is_err());
    assert_eq!(process.status.snapshot().pumps.len(), 1);
    world.push(0, items(200, &[]).split_off(100));
    until("the other pump goes on", MINUTE, || stays.count() == 200).await;
    until("the claim waits for the pump alone", MINUTE, || {
        let claims = futures::FutureExt::now_or_never(world.memory.list()).unwrap().unwrap();
        claims.len() == 1 && claims[0].lease_ms < 0 && claims[0].cursors["GONE"] == 0
    })
    .await;
    gone.follow(|_| (Duration::ZERO, Act::Accept));
    process.add(0).await;
    until("it gets what has waited", MINUTE, || gone.count() == 100).await;
    process.stop().await;
    assert!(world.memory.list().await.unwrap().is_empty());
}

fn real(kind: &str, meta: Value) -> Pump {
    let settings = PumpSettings {
        name: "REAL".into(),
        kind: kind.to_owned(),
        filter: Default::default(),
        transform: analytics::Transform::NONE,
        timeout: None,
        compat: false,
        most_per_second: None,
        on_full: OnFull::Block,
        meta,
        refused: None,
    };
    let spec = sinks::find(kind).unwrap();
    Pump { settings, spec }
}

/// Replaces the lane of a pump 100 times while records come in. Returns how many.
async fn replace_often(pump: impl Fn(usize) -> Pump) -> u64 {
    let source = MemorySource::with_records(Vec::new());
    let status = Arc::new(StatusBoard::new("one".to_owned()));
    let fleet = Arc::new(std::sync::OnceLock::from(Arc::from("fleet")));
    let engine = Engine::start(
        settings("one", &Options::default()),
        vec![pump(0)],
        Arc::new(source.clone()),
        status.clone(),
        Arc::new(Instrumentation::off()),
        fleet,
    )
    .await
    .unwrap();
    let running = engine.clone();
    let run = tokio::spawn(async move { running.run(Mode::memory(), false).await });
    let mut pushed = 0;
    for round in 1..=100 {
        source.push(0, (0..150).map(|row| Item::good(pushed + row).element()));
        pushed += 150;
        tokio::time::sleep(Duration::from_millis(round as u64 % 13 * 3)).await;
        engine.replace_lane(pump(round)).await.unwrap();
    }
    until("all rows are delivered", 2 * MINUTE, || {
        status.snapshot().pumps[0].delivered >= pushed && status.snapshot().pumps[0].backlog_rows == 0
    })
    .await;
    engine.close().await;
    run.await.unwrap();
    assert!(source.list().await.unwrap().is_empty());
    pushed
}

fn assert_once(rows: impl IntoIterator<Item = String>, pushed: u64) {
    let mut times: HashMap<String, u32> = HashMap::new();
    rows.into_iter().for_each(|path| *times.entry(path).or_default() += 1);
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).take(5).collect();
    let lost: Vec<_> = (0..pushed)
        .filter(|number| !times.contains_key(&format!("/{number}")))
        .collect();
    assert!(
        doubled.is_empty() && lost.is_empty(),
        "doubled {doubled:?}, lost {lost:?}"
    );
}

fn csv_paths(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths = Vec::new();
    for file in files.filter(|file| file.extension().is_some_and(|name| name == "csv")) {
        let text = std::fs::read_to_string(file).unwrap();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        let column = header.iter().position(|name| *name == "Path").unwrap();
        paths.extend(lines.map(|line| line.split(',').nth(column).unwrap().to_owned()));
    }
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_pump_replaced_100_times_under_traffic_has_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let pump = |_| real("csv", json!({"csv_dir": folder.path()}));
    let pushed = replace_often(pump).await;
    assert_once(csv_paths(folder.path()), pushed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_pump_replaced_100_times_under_traffic_has_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.db");
    let pump = |round: usize| {
        let batch = [1_000, 50][round % 2];
        real(
            "sql",
            json!({"type": "sqlite", "connection_string": file, "batch_size": batch}),
        )
    };
    let pushed = replace_often(pump).await;
    let database = rusqlite::Connection::open(&file).unwrap();
    let mut rows = database.prepare("SELECT path FROM tyk_analytics").unwrap();
    let paths = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    assert_once(paths.map(Result::unwrap), pushed);
}
