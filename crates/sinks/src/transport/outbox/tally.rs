//! What became of the rows of a write.

use analytics::RowId;

use crate::{Applied, Rejected, WriteError, Written};

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The back-end has it.
    Accepted,
    /// Never accepted; why.
    Rejected(String),
    /// Perhaps accepted later; why not now.
    Later(String),
    /// Not accepted before somebody changes something; what.
    Blocked(String),
}

/// What became of the rows of a write.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The back-end accepts rows.
    pub(crate) accepted: bool,
    rejected: Vec<Rejected>,
    /// How many, and why the first of them.
    later: Option<(usize, String)>,
    blocked: Option<String>,
}

impl Tally {
    /// Rows that were not sent, because they have no encoding.
    pub(crate) fn reject(&mut self, rows: Vec<Rejected>) {
        self.rejected.extend(rows);
    }

    pub(crate) fn add(&mut self, applied: &Applied, row: RowId, fate: Fate) {
        match fate {
            Fate::Accepted => {
                self.accepted = true;
                applied.mark([row]);
            }
            Fate::Rejected(reason) => self.rejected.push(Rejected { row, reason }),
            Fate::Later(why) => self.later.get_or_insert((0, why)).0 += 1,
            Fate::Blocked(why) => {
                self.blocked.get_or_insert(why);
            }
        }
    }

    /// Rows were refused, and none was accepted.
    pub(crate) fn refuses_everything(&self) -> bool {
        !self.accepted && !self.rejected.is_empty()
    }

    /// The rows that were refused so far, where the others were not tried.
    pub(crate) fn refused(mut self, why: String) -> WriteError {
        self.rejected.sort_by_key(|rejected| rejected.row);
        WriteError::Reject {
            rows: self.rejected,
            source: why.into(),
        }
    }

    /// # Errors
    /// Rows are blocked, or must wait.
    pub(crate) fn finish(mut self) -> Result<Written, WriteError> {
        if let Some(why) = self.blocked {
            return Err(WriteError::Config(why.into()));
        }
        if let Some((rows, why)) = self.later {
            return Err(WriteError::retry(format!("{rows} rows are not accepted yet: {why}")));
        }
        self.rejected.sort_by_key(|rejected| rejected.row);
        Ok(Written {
            rejected: self.rejected,
            ..Written::default()
        })
    }
}
