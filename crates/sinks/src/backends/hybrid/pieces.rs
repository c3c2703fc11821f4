//! Records in the JSON texts of calls.

use analytics::{RowId, Selection, json};

use crate::Rejected;

/// Argument of a call, and the rows that are in it.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) body: Vec<u8>,
    pub(super) rows: Vec<RowId>,
}

/// A piece of a group.
#[derive(Default)]
pub(super) struct Packed {
    pub(super) piece: Piece,
    /// Rows without a JSON form, before `next`.
    pub(super) rejected: Vec<Rejected>,
    /// Number of the record in the group that the next piece begins with.
    pub(super) next: usize,
}

/// The records of a group from number `from` on, as a JSON list of at most `rows` of them and `bytes` long; a longer
/// record stands alone.
pub(super) fn records(group: &[Selection], from: usize, rows: usize, bytes: usize) -> Packed {
    let mut packed = Packed {
        next: from,
        ..Packed::default()
    };
    let Piece { body, rows: taken } = &mut packed.piece;
    for (row, record) in group.iter().flat_map(Selection::records).skip(from) {
        let start = body.len();
        body.push(if start == 0 { b'[' } else { b',' });
        match json::write_record(body, &record) {
            Err(error) => {
                body.truncate(start);
                let reason = error.to_string();
                packed.rejected.push(Rejected { row, reason });
            }
            Ok(()) if !taken.is_empty() && (body.len() >= bytes || taken.len() >= rows) => {
                body.truncate(start);
                break;
            }
            Ok(()) => taken.push(row),
        }
        packed.next += 1;
    }
    body.push(b']');
    packed
}
