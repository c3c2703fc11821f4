//! All clients together: how many there are, and how much unfinished commands may hold.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What every client may hold without being counted.
pub(super) const FREE: usize = 128 << 10;
/// What unfinished commands, transactions and replies of all clients may hold beyond that.
const MOST: usize = 96 << 20;

const WARNING: Duration = Duration::from_secs(60);

struct Member {
    /// Bytes of commands that are not finished, or wait in a transaction.
    held: usize,
    /// Bytes of replies that the client has not taken yet.
    owed: usize,
    kick: CancellationToken,
}

impl Member {
    /// What counts against everybody's share.
    fn counts(&self) -> usize {
        (self.held + self.owed).saturating_sub(FREE)
    }
}

#[derive(Default)]
struct Members {
    by_id: HashMap<u64, Member>,
    last_id: u64,
    total: usize,
    /// When somebody was last said to speak HTTP.
    warned: Option<Instant>,
}

/// The clients.
#[derive(Default)]
pub(super) struct Crowd {
    members: Mutex<Members>,
}

/// One of them, as long as this lives.
pub(super) struct Seat {
    crowd: Arc<Crowd>,
    pub(super) id: u64,
    /// When it came.
    pub(super) since: Instant,
    /// Cancelled when it must go.
    pub(super) kick: CancellationToken,
}

impl Crowd {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a client in, unless there are `most` already.
    pub(super) fn enter(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let mut members = self.members();
        if members.by_id.len() >= most {
            return None;
        }
        members.last_id += 1;
        let id = members.last_id;
        let kick = CancellationToken::new();
        let member = Member {
            held: 0,
            owed: 0,
            kick: kick.clone(),
        };
        members.by_id.insert(id, member);
        Some(Seat {
            crowd: self.clone(),
            id,
            since: Instant::now(),
            kick,
        })
    }
}

impl Seat {
    /// Says in the log that somebody speaks HTTP here, once a minute at most.
    pub(super) fn warn_of_http(&self) {
        let mut members = self.crowd.members();
        if members.warned.is_some_and(|warned| warned.elapsed() < WARNING) {
            return;
        }
        members.warned = Some(Instant::now());
        tracing::warn!(
            prefix = "embedded",
            "a client speaks HTTP to the store and is closed: a web page may be trying to write to it through a browser"
        );
    }

    /// Says how much this client's unfinished commands hold.
    pub(super) fn holds(&self, bytes: usize) {
        self.change(|member| member.held = bytes);
    }

    /// Notes a reply of so many bytes, until what is returned is dropped.
    pub(super) fn owes(self: &Arc<Self>, bytes: usize) -> Owed {
        self.change(|member| member.owed += bytes);
        Owed {
            seat: self.clone(),
            bytes,
        }
    }

    /// When all clients hold too much together, the one that holds most has to go.
    fn change(&self, change: impl FnOnce(&mut Member)) {
        let mut members = self.crowd.members();
        let Some(own) = members.by_id.get_mut(&self.id) else {
            return;
        };
        let before = own.counts();
        change(own);
        let after = own.counts();
        members.total = members.total - before + after;
        if members.total > MOST
            && let Some(most) = members.by_id.values_mut().max_by_key(|member| member.counts())
        {
            most.kick.cancel();
            let freed = most.counts();
            (most.held, most.owed) = (0, 0);
            members.total -= freed;
        }
    }
}

/// A reply that a client has not taken yet.
pub(super) struct Owed {
    seat: Arc<Seat>,
    bytes: usize,
}

impl Drop for Owed {
    fn drop(&mut self) {
        let bytes = self.bytes;
        self.seat
            .change(|member| member.owed = member.owed.saturating_sub(bytes));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut members = self.crowd.members();
        if let Some(own) = members.by_id.remove(&self.id) {
            members.total -= own.counts();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_holds_most_has_to_go() {
        let crowd = Arc::new(Crowd::default());
        let [small, large, later] = [(); 3].map(|()| Arc::new(crowd.enter(3).unwrap()));
        assert!(crowd.enter(3).is_none());
        small.holds(10 << 20);
        large.holds(60 << 20);
        later.holds(30 << 20);
        assert!(large.kick.is_cancelled() && !small.kick.is_cancelled() && !later.kick.is_cancelled());
        drop(large);
        later.holds(50 << 20);
        assert!(!later.kick.is_cancelled());
        assert!(crowd.enter(3).is_some());
    }

    #[test]
    fn replies_that_nobody_takes_count_and_those_that_are_taken_do_not() {
        let crowd = Arc::new(Crowd::default());
        let [takes, leaves] = [(); 2].map(|()| Arc::new(crowd.enter(2).unwrap()));
        for _ in 0..100 {
            drop(takes.owes(50 << 20));
        }
        let waiting: Vec<Owed> = (0..100).map(|_| leaves.owes(1 << 20)).collect();
        assert!(leaves.kick.is_cancelled() && !takes.kick.is_cancelled());
        drop(waiting);
        assert_eq!(crowd.members().total, 0);
    }
}
