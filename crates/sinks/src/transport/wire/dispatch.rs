//! Rows on their way out as datagrams.

use std::{io, ops::Range};

use analytics::RowId;

use super::{Datagrams, local::LocalDatagrams};
use crate::{Applied, Rejected, WriteError, Written};

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has left, and nobody has said that it is not wanted.
    Left,
    /// This machine sends none that long.
    TooLarge,
}

/// Hears what became of a datagram, by its position.
pub(crate) type Told<'a> = dyn FnMut(usize, Fate) + Send + 'a;

pub(super) fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

/// A receiver of datagrams.
pub(crate) enum Post {
    /// Over UDP.
    Network(Datagrams),
    /// On this machine.
    Local(LocalDatagrams),
}

impl Post {
    async fn send_each(&self, bytes: &[u8], ends: &[usize], told: &mut Told<'_>) -> Result<(), WriteError> {
        match self {
            Post::Network(datagrams) => datagrams.send_each(bytes, ends, told).await,
            Post::Local(datagrams) => datagrams.send_each(bytes, ends, told).await,
        }
    }
}

/// How much a datagram takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Lines.
    pub(crate) lines: usize,
    /// Bytes.
    pub(crate) bytes: usize,
}

/// Datagrams of lines that are ready to be sent, and the rows that are in them.
#[derive(Debug, Default)]
pub(crate) struct Dispatch {
    /// The datagrams, one behind the other.
    bytes: Vec<u8>,
    /// Lines behind the last end.
    open: usize,
    /// Ends of the datagrams.
    ends: Vec<usize>,
    /// Rows with the datagrams of each, in order. Rows that are in no datagram need not be sent.
    rows: Vec<(RowId, Range<usize>)>,
    rejected: Vec<Rejected>,
}

impl Dispatch {
    /// Puts a line into the datagram that is being put together, or into a new one where that has no room for it. A line
    /// that no datagram has room for gets one for itself. Returns the position of its datagram.
    pub(crate) fn write(&mut self, line: &[u8], limits: Limits) -> usize {
        let length = self.bytes.len() - self.ends.last().copied().unwrap_or_default();
        if self.open >= limits.lines || length + 1 + line.len() > limits.bytes {
            self.close();
        }
        if self.open > 0 {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(line);
        self.open += 1;
        self.ends.len()
    }

    /// Ends the datagram that is being put together.
    pub(crate) fn close(&mut self) {
        if self.open > 0 {
            self.ends.push(self.bytes.len());
            self.open = 0;
        }
    }

    /// Bytes of all datagrams.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// A row is in these datagrams, and in no earlier ones than the row before.
    pub(crate) fn carry(&mut self, row: RowId, datagrams: Range<usize>) {
        self.rows.push((row, datagrams));
    }

    /// A row is in none.
    pub(crate) fn reject(&mut self, row: RowId, reason: String) {
        self.rejected.push(Rejected { row, reason });
    }

    /// The datagrams.
    #[cfg(test)]
    pub(crate) fn datagrams(&mut self) -> Vec<&[u8]> {
        self.close();
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
            .collect()
    }

    /// The rows that are in no datagram.
    #[cfg(test)]
    pub(crate) fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Sends the datagrams. A row is marked in `applied` when its last one has left, so that it is not counted twice
    /// when others have to come again.
    pub(crate) async fn send(mut self, post: &Post, applied: &Applied) -> Result<Written, WriteError> {
        self.close();
        let Dispatch {
            bytes,
            ends,
            rows,
            mut rejected,
            ..
        } = self;
        if !ends.is_empty() {
            let mut tally = Tally {
                rows: &rows,
                settled: 0,
                too_large: Vec::new(),
                applied,
            };
            post.send_each(&bytes, &ends, &mut |datagram, fate| tally.take(datagram, fate))
                .await?;
            let refused = rows
                .iter()
                .filter(|(_, datagrams)| tally.too_large.iter().any(|lost| datagrams.contains(lost)));
            rejected.extend(refused.map(|&(row, _)| Rejected {
                row,
                reason: "this machine does not send datagrams as long as its one".to_owned(),
            }));
        }
        Ok(Written {
            rejected,
            possibly_doubled: 0,
        })
    }
}

/// Which rows have left.
struct Tally<'a> {
    rows: &'a [(RowId, Range<usize>)],
    /// Rows whose last datagram has been heard of.
    settled: usize,
    too_large: Vec<usize>,
    applied: &'a Applied,
}

impl Tally<'_> {
    fn take(&mut self, datagram: usize, fate: Fate) {
        if fate == Fate::TooLarge {
            self.too_large.push(datagram);
            return;
        }
        while let Some((row, datagrams)) = self.rows.get(self.settled).filter(|(_, d)| d.end <= datagram + 1) {
            self.settled += 1;
            if !self.too_large.iter().any(|lost| datagrams.contains(lost)) {
                self.applied.mark([*row]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use analytics::ClaimId;

    use super::*;

    #[test]
    fn a_row_has_left_with_its_last_datagram() {
        let claim = ClaimId(ulid::Ulid(1));
        let row = |row| RowId { claim, row };
        // Two datagrams a row, then two rows in one.
        let rows = [
            (row(0), 0..2),
            (row(1), 2..4),
            (row(2), 4..5),
            (row(3), 4..5),
            (row(4), 5..6),
        ];
        let applied = Applied::default();
        let mut tally = Tally {
            rows: &rows,
            settled: 0,
            too_large: Vec::new(),
            applied: &applied,
        };
        let steps = [
            (0, Fate::Left, ""),
            (1, Fate::Left, "0-0"),
            (3, Fate::TooLarge, "0-0"),
            (2, Fate::Left, "0-0"),
            (4, Fate::Left, "0-0,2-3"),
            (5, Fate::TooLarge, "0-0,2-3"),
        ];
        for (datagram, fate, marked) in steps {
            tally.take(datagram, fate);
            assert_eq!(applied.ranges(claim).to_string(), marked, "{datagram}");
        }
        assert_eq!(tally.too_large, [3, 5]);
    }
}
