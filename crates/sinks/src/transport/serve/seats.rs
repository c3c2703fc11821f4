//! Who is connected to a listener, and who has to leave when others come.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A connection, as the others see it.
#[derive(Default)]
pub(super) struct Place {
    /// A request is being answered.
    pub(super) answers: AtomicBool,
    /// Cancelled when the connection has to end.
    pub(super) leave: CancellationToken,
}

/// The connections there are, oldest first.
#[derive(Clone)]
pub(super) struct Seats {
    most: usize,
    taken: Arc<Mutex<Vec<Arc<Place>>>>,
    /// Somebody has left.
    left: Arc<Notify>,
}

/// Held by a connection as long as it lasts.
pub(super) struct Seat {
    pub(super) place: Arc<Place>,
    seats: Seats,
}

impl Seats {
    /// So many at a time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
            left: Arc::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat; if there is none left, that of whoever has idled longest, once it is gone.
    pub(super) async fn take(&self) -> Seat {
        loop {
            if let Some(seat) = self.free_seat() {
                return seat;
            }
            self.left.notified().await;
        }
    }

    /// `None`: somebody is on the way out, or everybody is being answered.
    fn free_seat(&self) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.len() >= self.most {
            if !taken.iter().any(|place| place.leave.is_cancelled())
                && let Some(idle) = taken.iter().find(|place| !place.answers.load(Relaxed))
            {
                idle.leave.cancel();
            }
            return None;
        }
        let place = Arc::new(Place::default());
        taken.push(place.clone());
        Some(Seat {
            place,
            seats: self.clone(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().retain(|place| !Arc::ptr_eq(place, &self.place));
        self.seats.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newcomer_gets_the_seat_of_whoever_idles_longest() {
        let seats = Seats::new(3);
        let [busy, old, young] = [(); 3].map(|()| seats.free_seat().unwrap());
        busy.place.answers.store(true, Relaxed);
        assert!(
            seats.free_seat().is_none() && old.place.leave.is_cancelled(),
            "the oldest idler is asked to leave"
        );
        assert!(
            seats.free_seat().is_none() && !young.place.leave.is_cancelled(),
            "one is enough"
        );
        assert!(!busy.place.leave.is_cancelled());
        drop(old);
        let new = seats.take().await;
        for seat in [&young, &new] {
            seat.place.answers.store(true, Relaxed);
        }
        let waiting = tokio::spawn({
            let seats = seats.clone();
            async move { seats.take().await }
        });
        tokio::task::yield_now().await;
        assert!(
            !waiting.is_finished() && !young.place.leave.is_cancelled(),
            "all of them are answered first"
        );
        drop(young);
        waiting.await.unwrap();
    }
}
