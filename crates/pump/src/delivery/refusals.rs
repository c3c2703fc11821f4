//! Telling poison rows from a wrong configuration: how much of what was offered lately was refused.

use std::collections::VecDeque;

/// Rows that are looked back on.
const LAST: usize = 1_000;
/// Refused rows among them that are always tolerated.
const TOLERATED: usize = 20;
/// Share of them that is tolerated: one in this many.
const SHARE: usize = 20;

/// Outcome of the last rows of a lane.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// `true` = refused.
    last: VecDeque<bool>,
    refused: usize,
    accepted_since_refusal: bool,
    let_through: bool,
}

impl Refusals {
    /// Rows were accepted.
    pub fn accept(&mut self, rows: usize) {
        if rows == 0 {
            return;
        }
        self.accepted_since_refusal = true;
        if self.refused == 0 && self.last.len() == LAST {
            return;
        }
        (0..rows.min(LAST)).for_each(|_| self.push(false));
    }

    /// Rows are refused. `false`: so many that the cause must lie in the configuration, not in the rows; nothing of it
    /// is counted then. `every_row_counts`: a lane of which nothing was accepted since its last accepted row is in
    /// doubt as well.
    pub fn refuse(&mut self, rows: usize, every_row_counts: bool) -> bool {
        if rows == 0 {
            return true;
        }
        let mut after = self.clone();
        (0..rows.min(LAST)).for_each(|_| after.push(true));
        let refused = after.refused.max(rows.min(LAST));
        let too_many = refused > TOLERATED && refused * SHARE > after.last.len();
        let nothing_accepted = every_row_counts && !self.accepted_since_refusal;
        if (too_many || nothing_accepted) && !self.let_through {
            return false;
        }
        after.accepted_since_refusal = false;
        *self = after;
        true
    }

    /// An operator has looked at the cause: what is refused from now on goes to the dead letters, until a row is
    /// accepted again.
    pub fn let_through(&mut self) {
        self.let_through = true;
    }

    /// The lane works again: the operator's word no longer counts.
    pub fn settle(&mut self) {
        self.let_through = false;
    }

    fn push(&mut self, refused: bool) {
        if self.last.len() == LAST && self.last.pop_front() == Some(true) {
            self.refused -= 1;
        }
        self.last.push_back(refused);
        self.refused += usize::from(refused);
    }
}

#[cfg(test)]
mod tests {
    use super::Refusals;

    #[test]
    fn a_few_poison_rows_among_good_ones_are_let_go() {
        let mut refusals = Refusals::default();
        refusals.accept(980);
        assert!(refusals.refuse(20, true));
        refusals.accept(10);
        assert!(
            refusals.refuse(20, true),
            "40 of 1,000 are no more than five in a hundred"
        );
    }

    #[test]
    fn more_than_one_row_in_twenty_is_a_matter_of_configuration() {
        let mut refusals = Refusals::default();
        refusals.accept(900);
        assert!(!refusals.refuse(60, true));
        refusals.let_through();
        assert!(refusals.refuse(60, true));
        refusals.settle();
        refusals.accept(1);
        assert!(!refusals.refuse(60, true));
    }

    #[test]
    fn a_lane_of_which_every_row_is_refused_stops_at_once() {
        let mut refusals = Refusals::default();
        assert!(!refusals.refuse(1, true));
        refusals.accept(1);
        assert!(refusals.refuse(1, true));
        assert!(!refusals.refuse(1, true));
    }

    #[test]
    fn single_undecodable_elements_do_not_stop_a_quiet_list() {
        let mut refusals = Refusals::default();
        assert!((0..20).all(|_| refusals.refuse(1, false)));
        assert!(!refusals.refuse(1, false));
    }
}
