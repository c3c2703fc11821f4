//! The messages of one write, from the moment that librdkafka has them until it says what became of them.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use analytics::RowId;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use crate::Applied;

/// The messages of one write. A write that is dropped leaves its flight behind, and the next one waits until it has landed.
pub(super) struct Flight {
    applied: Arc<Applied>,
    /// Messages under way, and one more while messages are still added.
    aloft: AtomicUsize,
    given_up: AtomicBool,
    failed: Mutex<Vec<Failed>>,
    landed: Notify,
}

/// A message that was not delivered.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) row: RowId,
    /// Of the message, as the limit counts them.
    pub(super) bytes: usize,
    /// Where it was to go.
    pub(super) topic: Arc<str>,
    pub(super) code: RDKafkaErrorCode,
}

impl Flight {
    /// Nothing is under way; it has not landed before [`Flight::complete`].
    pub(super) fn new(applied: Arc<Applied>) -> Arc<Flight> {
        Arc::new(Flight {
            applied,
            aloft: AtomicUsize::new(1),
            given_up: AtomicBool::new(false),
            failed: Mutex::new(Vec::new()),
            landed: Notify::new(),
        })
    }

    /// No message comes to it any more.
    pub(super) fn complete(&self) {
        self.land();
    }

    /// No further message may be sent.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Returns once nothing is under way.
    pub(super) async fn landed(&self) {
        loop {
            // Whoever lands last wakes everyone who has asked before.
            let landed = self.landed.notified();
            if self.aloft.load(Ordering::Acquire) == 0 {
                return;
            }
            landed.await;
        }
    }

    /// What was not delivered; empty from now on.
    pub(super) fn take_failed(&self) -> Vec<Failed> {
        std::mem::take(&mut self.failed())
    }

    fn failed(&self) -> MutexGuard<'_, Vec<Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn land(&self) {
        if self.aloft.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.landed.notify_waiters();
        }
    }
}

/// A message under way. It has landed when it is dropped.
pub(super) struct Message {
    flight: Arc<Flight>,
    row: RowId,
    bytes: usize,
    topic: Arc<str>,
}

impl Message {
    pub(super) fn new(flight: &Arc<Flight>, row: RowId, bytes: usize, topic: &Arc<str>) -> Box<Message> {
        flight.aloft.fetch_add(1, Ordering::AcqRel);
        Box::new(Message {
            flight: flight.clone(),
            row,
            bytes,
            topic: topic.clone(),
        })
    }

    /// The brokers have it.
    pub(super) fn delivered(self) {
        self.flight.applied.mark([self.row]);
    }

    /// The brokers do not have it, as far as anybody knows.
    pub(super) fn failed(self, code: RDKafkaErrorCode) {
        self.flight.failed().push(Failed {
            row: self.row,
            bytes: self.bytes,
            topic: self.topic.clone(),
            code,
        });
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.flight.land();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_flight_has_landed_when_all_is_said_about_every_message() {
        let claim = analytics::ClaimId(ulid::Ulid(1));
        let (applied, topic) = (Arc::new(Applied::default()), Arc::from("t"));
        let flight = Flight::new(applied.clone());
        let message = |row| Message::new(&flight, RowId { claim, row }, 10, &topic);
        let (one, other, lost) = (message(1), message(2), message(3));
        one.delivered();
        assert!(flight.landed().now_or_never().is_none());
        flight.complete();
        other.failed(RDKafkaErrorCode::MessageSizeTooLarge);
        assert!(flight.landed().now_or_never().is_none());
        drop(lost);
        assert!(flight.landed().now_or_never().is_some());
        assert_eq!(applied.ranges(claim).to_string(), "1-1");
        let failed: Vec<_> = flight.take_failed().iter().map(|failed| failed.row.row).collect();
        assert_eq!(failed, [2]);
        assert!(flight.take_failed().is_empty());
    }
}
