//! The thread that writes log lines, so that whoever logs never waits for the error output: a reader that has stopped
//! must not stop delivery, the admin pages or a signal.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Lines that wait at most.
const LINES: usize = 4_096;
/// Their bytes at most.
const BYTES: usize = 4 << 20;
/// How often a full queue is looked at again, and a stream that would block.
const PAUSE: Duration = Duration::from_millis(5);

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

#[derive(Default)]
struct Counts {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// Lines left out since the start.
    left_out: AtomicU64,
}

/// The queue in front of the thread.
pub(super) struct LogWriter {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

impl LogWriter {
    /// Starts the thread, which hands each line to `out`. `tell` makes the line that says how many were left out.
    pub(super) fn start(
        mut out: impl FnMut(&[u8]) + Send + 'static,
        tell: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, lines) = sync_channel(LINES);
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        let run = move || write_lines(&lines, &shared, &mut out, &tell);
        thread::Builder::new().name("log".to_owned()).spawn(run)?;
        Ok(Self { queue, counts })
    }

    /// Puts a line into the queue, or counts it when the queue is full.
    pub(super) fn write(&self, line: Vec<u8>) {
        let bytes = line.len();
        let waiting = self.counts.waiting.fetch_add(bytes, Relaxed) + bytes;
        if waiting > BYTES || self.queue.try_send(Message::Line(line)).is_err() {
            self.counts.waiting.fetch_sub(bytes, Relaxed);
            self.counts.left_out.fetch_add(1, Relaxed);
        }
    }

    /// Waits until every line so far is written. `false`: that takes longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.queue.try_send(message) {
                Ok(()) => {
                    return written
                        .recv_timeout(end.saturating_duration_since(Instant::now()))
                        .is_ok();
                }
                Err(TrySendError::Full(back)) if Instant::now() < end => message = back,
                Err(_) => return false,
            }
            thread::sleep(PAUSE);
        }
    }

    /// Lines left out since the start.
    pub(super) fn left_out(&self) -> u64 {
        self.counts.left_out.load(Relaxed)
    }
}

fn write_lines(
    lines: &Receiver<Message>,
    counts: &Counts,
    out: &mut impl FnMut(&[u8]),
    tell: &impl Fn(u64) -> Vec<u8>,
) {
    // Lines left out that lines have told of.
    let mut told = 0;
    for message in lines {
        match message {
            Message::Line(line) => {
                counts.waiting.fetch_sub(line.len(), Relaxed);
                out(&line);
            }
            Message::Flush(done) => {
                // Whoever asked may have lost patience.
                let _ = done.try_send(());
            }
        }
        let left_out = counts.left_out.load(Relaxed);
        if left_out > told {
            out(&tell(left_out - told));
            told = left_out;
        }
    }
}

/// Writes a line to the error output, in one piece unless the stream takes less.
pub(super) fn write_stderr(line: &[u8]) {
    let mut stream = io::stderr().lock();
    let mut rest = line;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody made the stream non-blocking and its reader is slow.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            // There is nowhere left to complain.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc::channel};

    use super::*;

    #[test]
    fn a_stuck_output_costs_lines_that_are_counted_and_told_of_and_no_time() {
        let (open, gate) = channel::<()>();
        let written = Arc::new(Mutex::new(Vec::<String>::new()));
        let (seen, begun) = (written.clone(), Instant::now());
        let mut stuck = true;
        let writer = LogWriter::start(
            move |line| {
                if std::mem::take(&mut stuck) {
                    gate.recv().unwrap();
                }
                seen.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
            },
            |left_out| format!("{left_out} left out").into_bytes(),
        )
        .unwrap();
        let all = LINES + 1_000;
        (0..all).for_each(|number| writer.write(number.to_string().into_bytes()));
        assert!(!writer.flush(Duration::from_millis(20)), "nothing can be written");
        let left_out = writer.left_out();
        assert!((999..=1_000).contains(&left_out), "{left_out}");
        assert!(begun.elapsed() < Duration::from_secs(5));

        open.send(()).unwrap();
        assert!(writer.flush(Duration::from_secs(10)));
        let lines = written.lock().unwrap().clone();
        assert_eq!(lines.len(), all - left_out as usize + 1, "and one that tells");
        assert!(lines.contains(&format!("{left_out} left out")), "{:?}", lines.last());
        assert_eq!(writer.left_out(), left_out);
    }

    #[test]
    fn enormous_lines_are_bounded_by_their_bytes() {
        let (open, gate) = channel::<()>();
        let writer = LogWriter::start(
            move |_| {
                let _ = gate.recv();
            },
            |_| Vec::new(),
        )
        .unwrap();
        (0..20).for_each(|_| writer.write(vec![b'x'; 1 << 20]));
        assert!(writer.left_out() >= 15, "{}", writer.left_out());
        drop(open);
    }
}
