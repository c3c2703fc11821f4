//! When a claim may go back to its list, and from which row on: one rule for every source.

use std::{collections::BTreeMap, sync::Arc};

use analytics::ClaimId;
use async_trait::async_trait;

use super::error::SourceError;

/// What back-ends say about how far they have applied a claim.
#[async_trait]
pub trait Ledgers: Send + Sync {
    /// The first row that the ledger of `lane` does not cover; 0 when nothing is applied, or there is no ledger.
    async fn first_missing(&self, lane: &str, claim: ClaimId) -> anyhow::Result<u64>;
}

/// What putting a claim back did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Rows that are in their list again.
    pub moved: u64,
    /// Rows that every lane had finished, and that are gone.
    pub finished: u64,
}

/// What an operator accepts when claims are put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Records that some pumps have, or may have, come to them again.
    pub accept_duplicates: bool,
    /// Claims are put back although an instance works on them, which will take them again.
    pub despite_owner: bool,
}

/// A claim as this rule looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Identity.
    pub id: ClaimId,
    /// Rows in all.
    pub len: u64,
    /// Next row of every lane.
    pub cursors: &'a BTreeMap<Arc<str>, u64>,
    /// Who works on it, if its lease is live and its process not known to be gone.
    pub owner: Option<&'a str>,
}

/// What the ledger of a lane says: the first row that it does not cover.
pub type Applied = BTreeMap<Arc<str>, anyhow::Result<u64>>;

/// Asks the ledgers of all lanes of a claim, each under the name that it knows.
pub async fn ask(
    ledgers: &dyn Ledgers,
    id: ClaimId,
    cursors: &BTreeMap<Arc<str>, u64>,
    adopted: &BTreeMap<Arc<str>, Arc<str>>,
) -> Applied {
    let mut applied = Applied::new();
    for lane in cursors.keys() {
        let known = adopted.get(lane).unwrap_or(lane);
        applied.insert(lane.clone(), ledgers.first_missing(known, id).await);
    }
    applied
}

/// The first row that goes back to the list.
///
/// # Errors
/// [`SourceError::Refused`]: somebody works on the claim, a ledger cannot be read, or some pumps would get rows twice,
/// and the terms do not accept that.
pub fn first_row(claim: Candidate<'_>, applied: &Applied, terms: Terms) -> Result<u64, SourceError> {
    let Candidate {
        id,
        len,
        cursors,
        owner,
    } = claim;
    let refused = |why: String| Err(SourceError::Refused(anyhow::anyhow!("claim {id}: {why}")));
    if let Some(owner) = owner.filter(|_| !terms.despite_owner) {
        return refused(format!(
            "{owner} works on it and would take it again at once: stop that pump first (--force puts it back nevertheless)"
        ));
    }
    let mut reached = BTreeMap::new();
    for (lane, &cursor) in cursors {
        let covered = match applied.get(lane) {
            Some(Ok(covered)) => *covered,
            None => 0,
            Some(Err(_)) if terms.accept_duplicates => 0,
            Some(Err(error)) => {
                return refused(format!(
                    "the ledger of the pump {lane} cannot be read ({error}); --accept-duplicates goes on without it"
                ));
            }
        };
        reached.insert(lane, cursor.max(covered).min(len));
    }
    let low = reached.values().copied().fold(len, u64::min);
    if !terms.accept_duplicates && reached.values().any(|&row| row != low) {
        return refused(format!(
            "its pumps have got differently far {reached:?}; the ones ahead would get rows twice (--accept-duplicates)"
        ));
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors(of: &[(&str, u64)]) -> BTreeMap<Arc<str>, u64> {
        of.iter().map(|(lane, row)| (Arc::from(*lane), *row)).collect()
    }

    fn applied(of: &[(&str, Option<u64>)]) -> Applied {
        let say = |row: Option<u64>| row.ok_or_else(|| anyhow::anyhow!("it is away"));
        of.iter().map(|(lane, row)| (Arc::from(*lane), say(*row))).collect()
    }

    const STRICT: Terms = Terms {
        accept_duplicates: false,
        despite_owner: false,
    };
    const LENIENT: Terms = Terms {
        accept_duplicates: true,
        ..STRICT
    };

    fn decide(
        known: &[(&str, u64)],
        ledgers: &[(&str, Option<u64>)],
        owner: Option<&str>,
        terms: Terms,
    ) -> Result<u64, String> {
        let claim = Candidate {
            id: ClaimId(ulid::Ulid::from_parts(1, 1)),
            len: 10,
            cursors: &cursors(known),
            owner,
        };
        first_row(claim, &applied(ledgers), terms).map_err(|error| error.to_string())
    }

    #[test]
    fn a_ledger_that_is_ahead_of_its_cursor_counts() {
        assert_eq!(
            decide(&[("A", 3), ("B", 5)], &[("A", Some(5)), ("B", Some(0))], None, STRICT),
            Ok(5)
        );
        assert_eq!(
            decide(&[("A", 3)], &[("A", Some(99))], None, STRICT),
            Ok(10),
            "never behind the end"
        );
        assert_eq!(decide(&[("A", 3)], &[], None, STRICT), Ok(3), "no ledger");
        assert_eq!(decide(&[], &[], None, STRICT), Ok(10), "nobody wants it");
    }

    #[test]
    fn rows_that_would_come_twice_need_consent() {
        let (known, ledgers) = ([("A", 3), ("B", 5)], [("A", Some(0)), ("B", Some(0))]);
        let error = decide(&known, &ledgers, None, STRICT).unwrap_err();
        assert!(
            error.contains("differently far") && error.contains("--accept-duplicates"),
            "{error}"
        );
        assert_eq!(decide(&known, &ledgers, None, LENIENT), Ok(3));
    }

    #[test]
    fn a_ledger_that_cannot_be_read_needs_consent() {
        let error = decide(&[("A", 3)], &[("A", None)], None, STRICT).unwrap_err();
        assert!(error.contains("pump A") && error.contains("it is away"), "{error}");
        assert_eq!(decide(&[("A", 3)], &[("A", None)], None, LENIENT), Ok(3));
    }

    #[test]
    fn a_claim_that_somebody_works_on_stays_unless_forced() {
        let error = decide(&[("A", 3)], &[("A", Some(3))], Some("host@x"), LENIENT).unwrap_err();
        assert!(error.contains("host@x") && error.contains("--force"), "{error}");
        let forced = Terms {
            despite_owner: true,
            ..STRICT
        };
        assert_eq!(decide(&[("A", 3)], &[("A", Some(3))], Some("host@x"), forced), Ok(3));
    }
}
