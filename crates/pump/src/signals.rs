//! What signals do to the process. They are waited for on a thread of their own, so that nothing that delivery waits
//! for can keep them from being heard.

use std::{io, process, thread, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::logging;

/// What a stop may take beyond its deadline, to give claims back.
const GRACE: Duration = Duration::from_secs(5);

/// Exit code of a process that did not end in time.
const STUCK: i32 = 1;

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// From now on SIGINT and SIGTERM cancel the token that is returned, and SIGHUP is ignored with a line in the log.
/// `deadline` after the first stop signal, and some seconds to give claims back, the process exits whatever still runs;
/// after the second one it exits at once.
///
/// # Errors
/// The operating system refuses.
pub fn listen(deadline: Duration) -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _context = runtime.enter();
        Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        }
    };
    let token = stop.clone();
    let wait = move || runtime.block_on(signals.obey(&token, deadline));
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(stop)
}

impl Signals {
    async fn obey(mut self, stop: &CancellationToken, deadline: Duration) {
        self.stop_signal().await;
        stop.cancel();
        tokio::select! {
            second = self.stop_signal() => {
                tracing::warn!(prefix = "main", "second stop signal: exiting at once; what is claimed is delivered after the next start");
                exit(128 + second.as_raw_value());
            }
            () = tokio::time::sleep(deadline.saturating_add(GRACE)) => {
                tracing::error!(
                    prefix = "main",
                    "something is still running {} s after the stop signal (delivery.stop_deadline): exiting; what is \
                     claimed is delivered after the next start",
                    (deadline + GRACE).as_secs()
                );
                exit(STUCK);
            }
        }
    }

    /// The next signal that stops the process.
    async fn stop_signal(&mut self) -> SignalKind {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return SignalKind::interrupt(),
                _ = self.terminate.recv() => return SignalKind::terminate(),
                _ = self.hang_up.recv() => tracing::warn!(
                    prefix = "main",
                    "SIGHUP is ignored: the configuration is read at the start alone; restart to read it again"
                ),
            }
        }
    }
}

fn exit(code: i32) -> ! {
    logging::flush();
    process::exit(code)
}
