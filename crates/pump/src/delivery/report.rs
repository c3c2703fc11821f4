//! Log lines of delivery, limited in rate: an outage must not fill the disk with its own description.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// What a line is about, as fields of the log entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Pump.
    pub pump: Option<&'a str>,
    /// List, without its prefix, as upstream calls it.
    pub analytic_key: Option<&'a str>,
    /// Rows concerned.
    pub rows: Option<u64>,
    /// What to do about it.
    pub remedy: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// A line about a pump.
    pub fn pump(pump: &'a str) -> Self {
        Self {
            pump: Some(pump),
            ..Self::default()
        }
    }
}

/// Writes a line at once, then the same line at most every interval, with the number of times that it was left out.
/// Lines are the same when pump and the text up to its first colon are.
#[derive(Debug)]
pub struct Report {
    interval: Duration,
    seen: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Report {
    /// Repeats a line at most every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            seen: Mutex::default(),
        }
    }

    /// Something failed.
    pub fn error(&self, text: &str, context: Context<'_>) {
        self.write(text, context, true);
    }

    /// Something failed that is tried again.
    pub fn warning(&self, text: &str, context: Context<'_>) {
        self.write(text, context, false);
    }

    fn write(&self, text: &str, context: Context<'_>, is_error: bool) {
        let Some(repeated) = self.due(text, context) else {
            return;
        };
        let Context {
            pump,
            analytic_key,
            rows,
            remedy,
        } = context;
        // The level of an event is fixed where it is written.
        match is_error {
            true => tracing::error!(prefix = "main", pump, analytic_key, rows, remedy, repeated, "{text}"),
            false => tracing::warn!(prefix = "main", pump, analytic_key, rows, remedy, repeated, "{text}"),
        }
    }

    /// `None`: not now. Else how often the line was left out since the last time, if it was.
    fn due(&self, text: &str, context: Context<'_>) -> Option<Option<u64>> {
        let subject = text.split(':').next().unwrap_or_default();
        let name = format!("{} {subject}", context.pump.unwrap_or_default());
        let now = Instant::now();
        let mut seen = self.seen.lock();
        if seen.len() > 1_000 {
            seen.retain(|_, (last, _)| now.duration_since(*last) < self.interval);
        }
        match seen.get_mut(&name) {
            Some((last, left_out)) if now.duration_since(*last) < self.interval => {
                *left_out += 1;
                None
            }
            Some((last, left_out)) => {
                *last = now;
                Some(Some(std::mem::take(left_out)).filter(|&times| times > 0))
            }
            None => {
                seen.insert(name, (now, 0));
                Some(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_is_left_out_and_counted() {
        let report = Report::new(Duration::from_secs(3600));
        let csv = Context::pump("CSV");
        assert_eq!(report.due("cannot write: disk full", csv), Some(None));
        assert_eq!(report.due("cannot write: disk still full", csv), None);
        assert_eq!(
            report.due("cannot write: disk full", Context::pump("OTHER")),
            Some(None)
        );
        assert_eq!(report.due("cannot read: x", csv), Some(None));
        let eager = Report::new(Duration::ZERO);
        assert_eq!((eager.due("a", csv), eager.due("a", csv)), (Some(None), Some(None)));
    }
}
