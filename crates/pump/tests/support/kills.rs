//! SIGKILL at random moments, and commits that the pump never learns of.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

use super::{
    Server,
    daemon::{Site, left},
    deck::Deck,
};

/// A back-end whose commits are seen on their way.
pub trait Watched {
    /// From now on one of `every` commits happens, and the pump never learns of it.
    fn cut_commits(&self, every: u32);

    /// Commits since then.
    fn commits(&self) -> u32;
}

/// What is tried.
pub struct Plan {
    /// The records.
    pub deck: Deck,
    /// Pumps that are killed.
    pub kills: u32,
    /// One of so many commits loses its reply.
    pub cut_one_in: u32,
    /// Commits of a process before it is killed.
    pub commits: Range<u32>,
    /// Milliseconds after them.
    pub later: Range<u64>,
    /// Seconds that a process has for its commits.
    pub patience: u64,
}

/// Kills pumps until so many are dead; returns how many left work behind.
fn kill_at_random(redis: &Server, site: &Site, back_end: &impl Watched, plan: &Plan) -> u32 {
    let seed: u64 = rand::rng().random();
    println!("moments of the kills: seed {seed}");
    let mut moments = StdRng::seed_from_u64(seed);
    let mut client = redis.client(0, "");
    let mut with_work = 0;
    for kill in 1..=plan.kills {
        let before = back_end.commits();
        let daemon = site.start();
        let wanted = before + moments.random_range(plan.commits.clone());
        site.wait("commits of a pump that will be killed", plan.patience, || {
            let started = site.log().matches("Starting purge loop").count() == kill as usize;
            (started && (back_end.commits() >= wanted || left(&mut client).is_empty())).then_some(())
        });
        thread::sleep(Duration::from_millis(moments.random_range(plan.later.clone())));
        daemon.kill();
        with_work += u32::from(!left(&mut client).is_empty());
    }
    with_work
}

/// Runs the plan with these pumps; afterwards everything has to be in the back-end exactly once, whatever died.
pub fn deliver(redis: &Server, back_end: &impl Watched, pumps: Value, plan: &Plan) {
    let site = Site::new(redis, pumps);
    plan.deck.push(redis, 10);
    back_end.cut_commits(plan.cut_one_in);
    let began = Instant::now();
    let with_work = kill_at_random(redis, &site, back_end, plan);
    let last = site.start_ready();
    site.wait_until_drained(redis, plan.patience * 3);
    assert!(last.stop().success());
    let commits = back_end.commits();
    println!(
        "records {}, kills {}, of them with work left {with_work}, commits {commits}, replies cut {}, {:.1} s",
        plan.deck.records,
        plan.kills,
        commits.div_ceil(plan.cut_one_in),
        began.elapsed().as_secs_f64()
    );
    let log = site.log();
    let dropped: Vec<&str> = log.lines().filter(|line| line.contains("rows are dropped")).collect();
    assert!(dropped.is_empty(), "{dropped:#?}");
    assert!(with_work > 0, "every kill came too late");
    assert!(commits > plan.cut_one_in, "hardly a commit was seen");
}
