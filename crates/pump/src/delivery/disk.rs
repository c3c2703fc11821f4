//! Work on the disk, off the threads that everything else runs on.
//!
//! A sync can take seconds where a disk is slow or shared. On a worker thread it would hold up whatever else that worker
//! drives, and with it the renewal of leases; here it holds up whoever waits for it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::sync::Semaphore;

/// One thread at a time for the files of delivery: spools and dead letters. Jobs run in the order in which they were
/// asked for. Whoever asks waits for his job before he asks again, so the queue is as long as there are lanes.
#[derive(Clone, Debug)]
pub struct Disk {
    turn: Arc<Semaphore>,
    delay_ms: Arc<AtomicU64>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            delay_ms: Arc::default(),
        }
    }
}

impl Disk {
    /// From now on each job takes `delay` longer than the real disk does: for tests of what that does to others.
    pub fn slow_down(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Runs `job` to its end, even if nobody waits for it any more: files are never left to two jobs at once.
    ///
    /// # Errors
    /// The process stops, or the job panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let turn = self.turn.clone().acquire_owned().await.map_err(io::Error::other)?;
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
        let work = move || {
            if !delay.is_zero() {
                thread::sleep(delay);
            }
            let done = job();
            drop(turn);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }
}
