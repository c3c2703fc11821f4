//! Reads rows of a list as one buffer, and makes sure that they are the rows that they are taken for.

use analytics::ClaimId;
use redis::Cmd;

use super::{
    connect::Link,
    wire::{Connection, Elements, Reply, WireError},
};
use crate::source::{SourceError, Window};

/// Bytes that one window may have, unless a single row has more.
pub(super) const WINDOW_BYTES: usize = 2 << 20;
/// Rows of the first window of a claim.
const FIRST_ROWS: f64 = 64.0;
/// How much larger than the last one a window may be: sizes may have changed in between.
const GROWTH: f64 = 16.0;

/// How many rows to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rows: f64,
    average: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            rows: FIRST_ROWS,
            average: 0.0,
        }
    }
}

impl Pace {
    /// The pace for a new claim of a list in which rows had this size lately.
    pub(super) fn fresh(self) -> Pace {
        Pace {
            rows: self.rows.min(FIRST_ROWS),
            ..self
        }
    }

    fn rows(self, max_rows: usize) -> usize {
        (self.rows as usize).clamp(1, max_rows.max(1))
    }

    fn expected_bytes(self, rows: usize) -> usize {
        (rows as f64 * (self.average * 1.05 + 12.0)) as usize
    }

    fn learn(&mut self, elements: &Elements) {
        let kept = elements.spans.len() as f64;
        if kept == 0.0 {
            return;
        }
        let bytes: usize = elements.spans.iter().map(|span| span.len as usize).sum();
        self.average = bytes as f64 / kept;
        let grown = kept.max(FIRST_ROWS) * GROWTH;
        self.rows = (WINDOW_BYTES as f64 / self.average.max(1.0)).min(grown).max(1.0);
    }
}

/// What the guard said, when it said the same before and after.
pub(super) enum Guarded {
    /// The rows, and the guard's answer.
    Rows(Elements, Vec<Option<String>>),
    /// The answers differ: somebody wrote in between. The later one.
    Changed(Vec<Option<String>>),
}

/// Reads the elements `from..` of `list`, at most `max_rows`, at a size that suits `pace`.
///
/// The guard is a read-only command whose reply is an array of strings, or nothing at all. It runs before and after in
/// the same pipeline; MULTI would be refused when Redis is full.
pub(super) async fn read(
    link: &Link,
    list: &str,
    guard: &[&[u8]],
    from: u64,
    max_rows: usize,
    pace: &mut Pace,
) -> Result<Guarded, SourceError> {
    let rows = pace.rows(max_rows);
    let expected = pace.expected_bytes(rows);
    let commands = if guard.is_empty() { 1 } else { 3 };
    let mut taken = link.window(list, commands).await?;
    let read = async {
        let connection = &mut taken.connection;
        let (first, last) = (from.to_string(), (from + rows as u64 - 1).to_string());
        let range: [&[u8]; 4] = [b"LRANGE", list.as_bytes(), first.as_bytes(), last.as_bytes()];
        if guard.is_empty() {
            connection.send(&[&range]).await?;
        } else {
            connection.send(&[guard, &range, guard]).await?;
        }
        let before = strings(connection, guard).await?;
        let sent = connection.array().await?;
        let elements = connection.elements(sent, WINDOW_BYTES, expected).await?;
        connection.skip_elements(sent - elements.spans.len()).await?;
        let after = strings(connection, guard).await?;
        Ok::<_, WireError>((before, elements, after))
    };
    let (before, elements, after) = match read.await {
        Ok(answers) => answers,
        Err(error) => return Err(link.window_failed(taken, error)),
    };
    link.give_back(taken);
    if before != after {
        return Ok(Guarded::Changed(after));
    }
    pace.learn(&elements);
    Ok(Guarded::Rows(elements, after))
}

async fn strings(connection: &mut Connection, guard: &[&[u8]]) -> Result<Vec<Option<String>>, WireError> {
    if guard.is_empty() {
        return Ok(Vec::new());
    }
    match connection.reply().await? {
        Reply::Array(parts) => Ok(parts.iter().map(|part| part.text().map(str::to_owned)).collect()),
        Reply::Error(text) => Err(WireError::Server(text)),
        _ => Err(WireError::Protocol("not an array")),
    }
}

/// A window out of a reply.
pub(super) fn window(first_row: u64, elements: Elements) -> Window {
    Window {
        first_row,
        buffer: elements.buffer,
        elements: elements.spans,
    }
}

/// What an empty reply means: the list is gone although rows of it are not finished.
pub(super) async fn evicted(
    link: &Link,
    list: &str,
    claim: ClaimId,
    first_row: u64,
    len: u64,
) -> Result<SourceError, SourceError> {
    let exists = link.run(list, Cmd::new().arg("EXISTS").arg(list)).await?;
    if exists == redis::Value::Int(0) {
        return Ok(SourceError::Evicted {
            claim,
            rows: first_row..len,
        });
    }
    Ok(SourceError::Unavailable(anyhow::anyhow!(
        "claim {claim}: no element at row {first_row} of {len}"
    )))
}

#[cfg(test)]
mod tests {
    use analytics::Span;
    use bytes::Bytes;

    use super::*;

    fn elements(count: usize, len: u32) -> Elements {
        Elements {
            buffer: Bytes::new(),
            spans: vec![Span { start: 0, len }; count],
        }
    }

    #[test]
    fn windows_grow_to_two_mib_and_no_further() {
        let mut pace = Pace::default();
        assert_eq!(pace.rows(5000), 64);
        pace.learn(&elements(64, 1000));
        assert_eq!(pace.rows(5000), 1024);
        pace.learn(&elements(1024, 1000));
        assert_eq!(pace.rows(5000), 2097);
        assert_eq!(pace.rows(100), 100);
        pace.learn(&elements(10, 400_000));
        assert_eq!(pace.rows(5000), 5);
        pace.learn(&elements(1, 20_000_000));
        assert_eq!(pace.rows(5000), 1);
        assert_eq!(pace.fresh().rows(5000), 1);
    }
}
