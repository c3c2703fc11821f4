//! SIGKILL at random moments.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tyk_pump::load::LoadOptions;

use super::{csv_pump, csv_site};
use crate::support::{
    self, Server,
    daemon::Site,
    lists::Lists,
    oracle::{Tally, csv_serials, push_serials},
};

const KILLS: usize = 6;

fn ten_keys(records: u64) -> LoadOptions {
    LoadOptions {
        records,
        keys: "10".to_owned(),
        ..LoadOptions::default()
    }
}

/// Starts the pump and kills it, again and again, at moments `within` these milliseconds after it has claims or finds nothing to
/// claim.
pub(super) fn kill_at_random(site: &Site, kills: usize, within: Range<u64>) {
    let seed: u64 = rand::rng().random();
    println!("moments of the kills: seed {seed}");
    let mut moments = StdRng::seed_from_u64(seed);
    for kill in 1..=kills {
        let daemon = site.start();
        site.wait("the pump's work", 10, || {
            (site.is_at_work() && site.log().matches("Starting purge loop").count() == kill).then_some(())
        });
        thread::sleep(Duration::from_millis(moments.random_range(within.clone())));
        daemon.kill();
    }
}

#[test]
fn random_kills_cost_no_record_and_no_lease() {
    Lists::both().for_each(|lists| random_kills_cost_nothing(&lists));
}

fn random_kills_cost_nothing(lists: &Lists) {
    let site = lists.site(csv_pump());
    site.push_serials(ten_keys(60_000));
    kill_at_random(&site, KILLS, 0..250);
    let last = site.start_ready();
    // The lease is 600 s: whatever waits for it fails here.
    site.wait_until_empty(30);
    assert!(last.stop().success());
    let tally = Tally::of(60_000, csv_serials(&site.path("csv"))).after(KILLS + 1, &site.log());
    println!("{tally}");
    tally.assert_exactly_once();
    assert!(tally.recovered > 0, "no kill left anything to take up: {tally}");
}

/// Takes whole lists away as the original pump does, until `done`; what is pushed after its last round stays. Returns the serials.
fn pop(redis: &Server, done: &AtomicBool) -> Vec<u64> {
    let mut client = redis.client(0, "");
    let mut serials = Vec::new();
    while !done.load(Ordering::Acquire) {
        for shard in 0..10 {
            let key = format!("analytics-tyk-system-analytics_{shard}");
            let mut pop = redis::pipe();
            pop.atomic().lrange(&key, 0, -1).del(&key).ignore();
            let (elements,): (Vec<Vec<u8>>,) = pop.query(&mut client).unwrap();
            serials.extend(elements.iter().map(|element| serial(element)));
        }
        thread::sleep(Duration::from_millis(400));
    }
    serials
}

fn serial(element: &[u8]) -> u64 {
    let at = element.windows(8).position(|window| window == b"/serial/").unwrap() + 8;
    std::str::from_utf8(&element[at..at + 12]).unwrap().parse().unwrap()
}

#[test]
fn an_old_pump_beside_it_and_kills_share_every_record_once() {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let site = csv_site(&redis);
    let pushed = AtomicBool::new(false);
    let popped = thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            let options = LoadOptions {
                rate: Some(4_000.0),
                ..ten_keys(30_000)
            };
            push_serials(&redis, options);
            pushed.store(true, Ordering::Release);
        });
        let popper = scope.spawn(|| pop(&redis, &pushed));
        // The first claim comes a second after the start.
        kill_at_random(&site, KILLS, 900..1_500);
        pusher.join().unwrap();
        popper.join().unwrap()
    });
    let last = site.start_ready();
    site.wait_until_drained(&redis, 30);
    assert!(last.stop().success());
    let ours = csv_serials(&site.path("csv"));
    println!("the old pump has {}, ours {}", popped.len(), ours.len());
    assert!(!popped.is_empty() && !ours.is_empty());
    let tally = Tally::of(30_000, ours.into_iter().chain(popped)).after(KILLS + 1, &site.log());
    println!("{tally}");
    tally.assert_exactly_once();
}
