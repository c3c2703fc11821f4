//! Calls that wait for a connection.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::sync::{Notify, oneshot};

use super::CallError;
use crate::gob::Basic;

/// As many as the original client lets wait.
const ROOM: usize = 32_768;

pub(super) type Reply = oneshot::Sender<Result<Option<Basic>, CallError>>;
type Answer = oneshot::Receiver<Result<Option<Basic>, CallError>>;

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;
const DONE: u8 = 3;

/// A call on its way to a connection.
pub(super) struct Ticket {
    pub(super) name: String,
    pub(super) argument: Option<Basic>,
    pub(super) reply: Reply,
    state: Arc<AtomicU8>,
}

/// Takes a call back when its caller goes.
pub(super) struct Withdrawal<'a> {
    state: Arc<AtomicU8>,
    queue: &'a Queue,
}

impl Ticket {
    pub(super) fn new(name: &str, argument: Option<Basic>) -> (Ticket, Answer) {
        let (reply, answer) = oneshot::channel();
        let ticket = Ticket {
            name: name.to_owned(),
            argument,
            reply,
            state: Arc::new(AtomicU8::new(WAITING)),
        };
        (ticket, answer)
    }

    /// To be dropped after the answer's receiver.
    pub(super) fn withdrawal<'a>(&self, queue: &'a Queue) -> Withdrawal<'a> {
        let state = self.state.clone();
        Withdrawal { state, queue }
    }

    fn move_to(state: &AtomicU8, next: u8) -> bool {
        let moved = state.compare_exchange(WAITING, next, Ordering::AcqRel, Ordering::Acquire);
        moved.is_ok()
    }
}

impl Withdrawal<'_> {
    /// Whether the call was still waiting. Then it is never sent.
    pub(super) fn withdraw(&self) -> bool {
        Ticket::move_to(&self.state, WITHDRAWN)
    }

    /// The call was answered.
    pub(super) fn is_done(&self) {
        self.state.store(DONE, Ordering::Release);
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        self.withdraw();
        if self.state.load(Ordering::Acquire) == TAKEN {
            self.queue.given_up.notify_waiters();
        }
    }
}

/// Calls in the order they came.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Ticket>>,
    came: Notify,
    /// A caller has stopped waiting for a call that a connection has taken.
    pub(super) given_up: Notify,
}

impl Queue {
    /// `Err`: so many wait already.
    pub(super) fn push(&self, ticket: Ticket) -> Result<(), usize> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= ROOM {
            waiting.retain(|ticket| ticket.state.load(Ordering::Acquire) == WAITING);
        }
        if waiting.len() >= ROOM {
            return Err(waiting.len());
        }
        waiting.push_back(ticket);
        drop(waiting);
        self.came.notify_one();
        Ok(())
    }

    /// The next call that nobody has withdrawn.
    pub(super) async fn take(&self) -> Ticket {
        loop {
            if let Some(ticket) = self.try_take() {
                return ticket;
            }
            self.came.notified().await;
        }
    }

    /// The next call, if one waits.
    pub(super) fn try_take(&self) -> Option<Ticket> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ticket) = waiting.pop_front() {
            if Ticket::move_to(&ticket.state, TAKEN) {
                if !waiting.is_empty() {
                    // A wake-up may have met nobody: pass it on.
                    self.came.notify_one();
                }
                return Some(ticket);
            }
        }
        None
    }

    /// Forgets every call; their callers are told that the client has stopped.
    pub(super) fn clear(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
