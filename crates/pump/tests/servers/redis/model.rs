//! Random walks through the claim protocol on a real Redis: two instances that read, write, acknowledge, sleep, crash
//! and take over at any moment. One lane's back-end keeps a ledger, the other's does not.

use std::{collections::BTreeSet, time::Duration};

use crate::support::{
    self, Server,
    promises::{AcknowledgeOne, lanes},
};
use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tyk_pump::{
    config::{ModeChoice, RedisSettings, Secret},
    source::{Claim, Claims, SourceError, redis::RedisSource},
};

/// Rows of one step. As many as make the source trim the head of the list.
const UNIT: u64 = 20_000;
const UNITS: u64 = 4;
const LANES: [&str; 2] = ["ledger", "plain"];

/// What an instance is about to do.
enum Work {
    Nothing,
    /// It has read these units.
    Read {
        lane: usize,
        units: Vec<u64>,
        first: u64,
    },
    /// They are in the back-end.
    Written {
        lane: usize,
        end: u64,
    },
}

struct Instance {
    source: RedisSource,
    claim: Option<Claim>,
    cursors: [u64; 2],
    work: Work,
}

#[derive(Default)]
struct BackEnds {
    /// The first unit that the ledger does not cover, and every unit that was applied.
    ledger: u64,
    applied: Vec<u64>,
    plain: BTreeSet<u64>,
}

struct Walk<'a> {
    server: &'a Server,
    settings: RedisSettings,
    rng: StdRng,
    instances: [Instance; 2],
    back_ends: BackEnds,
    finished: bool,
}

fn lost<T>(result: Result<T, SourceError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(SourceError::LeaseLost(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn start(settings: &RedisSettings, id: usize) -> Instance {
    let lease = Duration::from_secs(3600);
    let source = support::source(settings, &format!("instance-{id}"), ModeChoice::Auto, lease);
    source.open().await.unwrap();
    Instance {
        source,
        claim: None,
        cursors: [0; 2],
        work: Work::Nothing,
    }
}

impl Walk<'_> {
    /// Ends every lease, as time does.
    fn expire(&self) {
        let key = "analytics-claims:{analytics-tyk-system-analytics}";
        let mut client = self.server.client(0, "");
        let ids: Vec<String> = redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).query(&mut client).unwrap();
        for id in ids {
            redis::cmd("ZADD")
                .arg(key)
                .arg("XX")
                .arg(1)
                .arg(id)
                .exec(&mut client)
                .unwrap();
        }
    }

    async fn step(&mut self) {
        let which = self.rng.random_range(0..2);
        if self.rng.random_ratio(1, 12) {
            self.instances[which] = start(&self.settings, which).await;
            return;
        }
        let instance = &mut self.instances[which];
        let Some(claim) = instance.claim.clone() else {
            if self.rng.random_ratio(1, 3) {
                self.expire();
                let instance = &mut self.instances[which];
                let taken = instance.source.take_over(&lanes(&LANES), &[]).await.unwrap();
                if let Some(claim) = taken.into_iter().next() {
                    instance.cursors = LANES.map(|lane| claim.cursors[lane] / UNIT);
                    instance.claim = Some(claim);
                }
            }
            return;
        };
        let at = claim.reference();
        match std::mem::replace(&mut instance.work, Work::Nothing) {
            Work::Nothing => {
                let lane = self.rng.random_range(0..2);
                let first = instance.cursors[lane];
                let last = (first + self.rng.random_range(1..=2)).min(UNITS);
                let mut units = Vec::new();
                for unit in first..last {
                    let Some(window) = lost(instance.source.read(&at, unit * UNIT, 1).await) else {
                        instance.claim = None;
                        return;
                    };
                    let text = String::from_utf8(window.elements[0].of(&window.buffer).to_vec()).unwrap();
                    let row: u64 = text.parse().unwrap();
                    assert_eq!(row, unit * UNIT, "a row under a number that is not its own");
                    units.push(row / UNIT);
                }
                if !units.is_empty() {
                    instance.work = Work::Read { lane, units, first };
                }
            }
            Work::Read { lane, units, first } => {
                let end = first + units.len() as u64;
                let back_ends = &mut self.back_ends;
                if lane == 0 {
                    let fresh = units.iter().filter(|unit| **unit >= back_ends.ledger);
                    back_ends.applied.extend(fresh);
                    back_ends.ledger = back_ends.ledger.max(end);
                } else {
                    back_ends.plain.extend(&units);
                }
                instance.work = Work::Written { lane, end };
            }
            Work::Written { lane, end } => {
                match lost(instance.source.acknowledge_one(&at, LANES[lane], end * UNIT).await) {
                    Some(tyk_pump::source::Acknowledged::Finished) => self.finished = true,
                    Some(_) => instance.cursors[lane] = instance.cursors[lane].max(end),
                    None => instance.claim = None,
                }
            }
        }
    }
}

async fn walk(server: &Server, settings: &RedisSettings, seed: u64) -> usize {
    redis::cmd("FLUSHALL").exec(&mut server.client(0, "")).unwrap();
    let mut client = server.client(0, "");
    let rows: Vec<Bytes> = (0..UNIT * UNITS).map(|row| Bytes::from(row.to_string())).collect();
    for part in rows.chunks(10_000) {
        let mut push = redis::cmd("RPUSH");
        push.arg("analytics-tyk-system-analytics");
        for row in part {
            push.arg(&row[..]);
        }
        push.exec(&mut client).unwrap();
    }
    let mut first = start(settings, 0).await;
    first.claim = first
        .source
        .claim(&first.source.keys()[0].clone(), &lanes(&LANES))
        .await
        .unwrap();
    let mut walk = Walk {
        server,
        settings: settings.clone(),
        rng: StdRng::seed_from_u64(seed),
        instances: [first, start(settings, 1).await],
        back_ends: BackEnds::default(),
        finished: false,
    };
    let mut steps = 0;
    while !walk.finished {
        walk.step().await;
        steps += 1;
        assert!(steps < 5000, "it goes on");
    }
    let all: Vec<u64> = (0..UNITS).collect();
    walk.back_ends.applied.sort_unstable();
    assert_eq!(walk.back_ends.applied, all, "the ledger's back-end has every row once");
    assert!(
        walk.back_ends.plain.iter().copied().eq(all),
        "the other one has every row"
    );
    let left: Vec<String> = redis::cmd("KEYS").arg("*claim*").query(&mut client).unwrap();
    assert!(left.is_empty(), "{left:?}");
    steps
}

async fn walks(name: &str, settings: impl Fn(&Server) -> RedisSettings, count: u64) {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let settings = settings(&server);
    let mut steps = 0;
    for seed in 0..count {
        println!("{name}: seed {seed}"); // shown when it fails
        steps += walk(&server, &settings, seed).await;
    }
    assert!(steps as u64 > count * 10, "the walks are no walks");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_interleaving_loses_or_doubles_rows_by_script() {
    walks("script", |server| support::redis_settings(server.addr(0)), 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_interleaving_loses_or_doubles_rows_by_watch() {
    let settings = |server: &Server| {
        let mut user = redis::cmd("ACL");
        user.arg(&["SETUSER", "plain", "on", ">plain", "~*", "+@all", "-@scripting"]);
        user.exec(&mut server.client(0, "")).unwrap();
        RedisSettings {
            username: "plain".to_owned(),
            password: Secret::new("plain".to_owned()),
            ..support::redis_settings(server.addr(0))
        }
    };
    walks("watch", settings, 40).await;
}
