//! All clients together: how many there are, and how much unfinished commands may hold.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// What every client may hold without being counted.
pub(super) const FREE: usize = 128 << 10;
/// What unfinished commands of all clients may hold beyond that.
const MOST: usize = 96 << 20;

struct Member {
    bytes: usize,
    kick: CancellationToken,
}

#[derive(Default)]
struct Members {
    by_id: HashMap<u64, Member>,
    last_id: u64,
    total: usize,
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
            bytes: 0,
            kick: kick.clone(),
        };
        members.by_id.insert(id, member);
        Some(Seat {
            crowd: self.clone(),
            id,
            kick,
        })
    }
}

impl Seat {
    /// Says how much this client's buffer holds. When all of them hold too much, the one that holds most has to go.
    pub(super) fn holds(&self, bytes: usize) {
        let bytes = bytes.saturating_sub(FREE);
        let mut members = self.crowd.members();
        let Some(own) = members.by_id.get_mut(&self.id) else {
            return;
        };
        let before = std::mem::replace(&mut own.bytes, bytes);
        members.total = members.total - before + bytes;
        if members.total > MOST
            && let Some(most) = members.by_id.values_mut().max_by_key(|member| member.bytes)
        {
            most.kick.cancel();
            let freed = std::mem::take(&mut most.bytes);
            members.total -= freed;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut members = self.crowd.members();
        if let Some(own) = members.by_id.remove(&self.id) {
            members.total -= own.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_holds_most_has_to_go() {
        let crowd = Arc::new(Crowd::default());
        let [small, large, later] = [(); 3].map(|()| crowd.enter(3).unwrap());
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
}
