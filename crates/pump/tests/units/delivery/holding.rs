//! Every history of a small Redis that others fill as well: a failing pump beside a healthy one, lists that expire, and the
//! decision that holds claiming back. What is decided is the daemon's own decision, not a copy of it.

use std::collections::{HashSet, VecDeque};

use tyk_pump::{
    config::OnFull,
    delivery::budget::{Budgets, LaneLoad, decide},
    source::Usage,
};

/// Units of memory; a row is one.
const MAX: u64 = 100;
const BUDGETS: Budgets = Budgets {
    max_unacked: 10,
    max_backlog: 40,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    /// What others keep in Redis.
    others: u64,
    /// Rows in the list, and whether they expire before the next round.
    list: u64,
    expiring: bool,
    /// Rows that the failing and the healthy pump have not delivered.
    failing: u64,
    healthy: u64,
    /// Rows that the healthy pump has lost because they were not claimed.
    expired: bool,
}

impl World {
    fn claimed(&self) -> u64 {
        self.failing.max(self.healthy)
    }

    fn used(&self) -> u64 {
        self.others + self.list + self.claimed()
    }

    fn decide(&self, on_full: OnFull) -> (Vec<u64>, Option<String>) {
        let lane = |pump: &str, fails, rows| LaneLoad {
            pump: pump.into(),
            fails,
            on_full,
            rows,
            bytes: rows,
        };
        let usage = Usage {
            claimed_rows: self.claimed(),
            claims: self.claimed().div_ceil(5),
            used_memory: Some(self.used()),
            max_memory: Some(MAX),
            ..Usage::default()
        };
        let lanes = [
            lane("FAILING", true, self.failing),
            lane("HEALTHY", false, self.healthy),
        ];
        let decision = decide(&usage, &lanes, BUDGETS);
        (decision.allowances, decision.held)
    }

    fn successors(self, on_full: OnFull) -> Vec<World> {
        let mut next = Vec::new();
        // Others fill Redis, or let go of it.
        for others in [self.others.saturating_sub(20), self.others + 20] {
            if others <= 98 {
                next.push(World { others, ..self });
            }
        }
        // Gateways push.
        if self.used() + 5 <= MAX {
            next.push(World {
                list: self.list + 5,
                ..self
            });
        }
        // The healthy pump delivers.
        next.push(World {
            healthy: self.healthy.saturating_sub(10),
            ..self
        });
        // A look at the budgets: the failing pump sheds, the list is claimed or comes nearer to its end.
        let (allowances, held) = self.decide(on_full);
        let mut seen = World {
            failing: self.failing.min(allowances[0]),
            ..self
        };
        match held {
            Some(_) if seen.expiring && seen.list > 0 => {
                seen.expired = true;
                (seen.list, seen.expiring) = (0, false);
            }
            Some(_) => seen.expiring = seen.list > 0,
            None => {
                seen.failing += seen.list;
                seen.healthy += seen.list;
                (seen.list, seen.expiring) = (0, false);
            }
        }
        next.push(seen);
        next
    }
}

/// Goes through every history; `broken` says what must not be.
fn explore(on_full: OnFull, broken: impl Fn(&World) -> Option<String>) -> usize {
    let first = World {
        others: 78,
        list: 0,
        expiring: false,
        failing: 0,
        healthy: 0,
        expired: false,
    };
    let (mut seen, mut queue) = (HashSet::from([first]), VecDeque::from([first]));
    while let Some(world) = queue.pop_front() {
        if let Some(broken) = broken(&world) {
            panic!("{broken}: {world:?}");
        }
        for next in world.successors(on_full) {
            // An expiry is no way to go on.
            if !world.expired && seen.insert(next) {
                queue.push_back(next);
            }
        }
    }
    seen.len()
}

#[test]
fn memory_that_others_use_never_keeps_a_healthy_pump_from_its_records() {
    for on_full in [OnFull::Spool, OnFull::DropOldest] {
        let states = explore(on_full, |world| {
            let (allowances, held) = world.decide(on_full);
            if held.is_some() && world.claimed() < MAX / 20 && world.healthy <= BUDGETS.max_backlog {
                return Some(format!(
                    "claiming is held although claims hold next to nothing: {held:?}"
                ));
            }
            if world.expired && world.healthy == 0 && world.failing == 0 {
                return Some("a healthy pump that was up to date has lost records".to_owned());
            }
            let in_danger = world.used() > MAX / 5 * 4 || world.claimed() > BUDGETS.max_backlog;
            if in_danger && allowances[0] > 0 {
                return Some("a failing pump may go on to hold rows although Redis is nearly full".to_owned());
            }
            (allowances[1] != u64::MAX).then(|| "a healthy pump is to shed rows".to_owned())
        });
        assert!(states > 1_000, "{states}");
    }
}

#[test]
fn once_the_failing_pump_has_shed_its_rows_claiming_goes_on() {
    for on_full in [OnFull::Spool, OnFull::DropOldest] {
        explore(on_full, |world| {
            // Whatever has happened: looks at the budgets and a healthy pump at work bring claiming back.
            let mut later = *world;
            for _ in 0..20 {
                let (allowances, held) = later.decide(on_full);
                if held.is_none() {
                    return None;
                }
                later.failing = later.failing.min(allowances[0]);
                later.healthy = later.healthy.saturating_sub(10);
            }
            Some("claiming is held for ever".to_owned())
        });
    }
}

#[test]
fn a_pump_that_blocks_does_so_for_what_it_holds_and_not_for_what_others_use() {
    explore(OnFull::Block, |world| {
        let (allowances, held) = world.decide(OnFull::Block);
        if allowances[0] != u64::MAX {
            return Some("a pump that blocks is to shed rows".to_owned());
        }
        if world.failing > BUDGETS.max_unacked && held.is_none() {
            return Some("it does not block".to_owned());
        }
        let little = world.claimed() < MAX / 20;
        (held.is_some() && little).then(|| "it blocks for memory of others".to_owned())
    });
}
