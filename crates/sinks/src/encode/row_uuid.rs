//! Ids that are the same whenever the same row is sent.

use analytics::RowId;

use super::uuid;

/// A number made from the pump and the identity of a row.
fn row_hash(pump: &str, row: RowId, purpose: &str) -> u128 {
    // FNV-1a: the values must be the same on every machine and in every version of this program.
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash = OFFSET;
    let mut feed = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    };
    feed(pump.as_bytes());
    feed(&[0]);
    feed(purpose.as_bytes());
    feed(&[0]);
    feed(&row.claim.0.0.to_be_bytes());
    feed(&row.row.to_be_bytes());
    feed(&[0; 8]);
    hash
}

/// A text of the form of a ULID; `purpose` tells ids of one row apart.
#[cfg(feature = "aws")]
pub(crate) fn row_ulid(pump: &str, row: RowId, purpose: &str) -> String {
    ulid::Ulid(row_hash(pump, row, purpose)).to_string()
}

/// A UUID (of the form of version 4) made from the pump and the identity of a row; `purpose` tells ids of one row apart.
pub(crate) fn row_uuid(pump: &str, row: RowId, purpose: &str) -> String {
    uuid::text(uuid::version_4(row_hash(pump, row, purpose)))
}

/// A number that is the same whenever the same row is drawn.
pub(crate) fn row_draw(pump: &str, row: RowId) -> u64 {
    let uuid = row_uuid(pump, row, "draw");
    let digits = uuid.get(24..).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use analytics::ClaimId;

    use super::*;

    fn row(claim: u128, row: u64) -> RowId {
        RowId {
            claim: ClaimId(ulid::Ulid(claim)),
            row,
        }
    }

    #[test]
    fn ids_are_uuids_that_never_change() {
        // A row that is sent again after an upgrade must have the id that it had before.
        assert_eq!(
            row_uuid("SEGMENT", row(1, 2), "event"),
            "06bce3fc-051d-40f9-a0c0-0e416985ff27"
        );
        let uuid = row_uuid("SEGMENT", row(1, 2), "event");
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }

    #[test]
    fn every_row_pump_and_purpose_has_its_own_id() {
        let mut seen = HashSet::new();
        for claim in 0..10 {
            for number in 0..2000 {
                assert!(seen.insert(row_uuid("A", row(claim << 40, number), "event")));
                #[cfg(feature = "aws")]
                assert!(seen.insert(row_ulid("A", row(claim << 40, number), "event")));
            }
        }
        assert!(seen.insert(row_uuid("B", row(0, 0), "event")));
        assert!(seen.insert(row_uuid("A", row(0, 0), "batch")));
    }

    #[test]
    fn draws_are_spread_evenly() {
        let low = (0..10_000).filter(|&number| row_draw("A", row(7, number)) % 100 < 30);
        let low = low.count();
        assert!((2_700..3_300).contains(&low), "{low}");
    }
}
