//! Ids of documents: the same for the same row, so that writing it again changes nothing.

use analytics::{RowId, Time};

/// Makes the ids of one pump's documents.
#[derive(Clone, Copy)]
pub(super) struct Ids {
    pump: u64,
}

impl Ids {
    pub(super) fn new(pump: &str) -> Ids {
        Ids {
            pump: absorb(0xcbf2_9ce4_8422_2325, pump.as_bytes()),
        }
    }

    /// The id of a row's document. It begins with the seconds of the record's time, as every ObjectId does, so that
    /// sorting by `_id` sorts by time; the rest is a hash of pump, claim and row. Two rows of one claim never share it.
    pub(super) fn of(self, row: RowId, time: Time) -> [u8; 12] {
        let claim = mix(absorb(self.pump, &row.claim.0.to_bytes()));
        let hash = mix(claim.wrapping_add(row.row.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        join(time, hash)
    }
}

fn join(time: Time, hash: u64) -> [u8; 12] {
    let seconds = time.seconds.clamp(0, i64::from(u32::MAX)) as u32;
    let mut id = [0; 12];
    let (head, tail) = id.split_at_mut(4);
    head.copy_from_slice(&seconds.to_be_bytes());
    tail.copy_from_slice(&hash.to_be_bytes());
    id
}

/// FNV-1a.
fn absorb(mut hash: u64, bytes: &[u8]) -> u64 {
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output, and no two inputs share an output.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use analytics::{ClaimId, Zone};

    use super::*;

    const AT: Time = Time {
        seconds: 1_700_000_000,
        nanos: 5,
        zone: Zone::UTC,
    };

    fn row(claim: u128, row: u64) -> RowId {
        RowId {
            claim: ClaimId(ulid::Ulid(claim)),
            row,
        }
    }

    #[test]
    fn ids_do_not_change_between_versions() {
        // A replay after an update must find the documents that the old version wrote.
        let hex = |id: [u8; 12]| id.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(Ids::new("MONGO").of(row(1, 0), AT)), "6553f100eb52ad0bef4faf1b");
        assert_eq!(hex(Ids::new("MONGO").of(row(1, 1), AT)), "6553f1001ef5efc1ee86b3d4");
    }

    #[test]
    fn rows_claims_and_pumps_have_ids_of_their_own() {
        let mut ids: Vec<_> = (0..10_000).map(|n| Ids::new("MONGO").of(row(1, n), AT)).collect();
        ids.extend((2..1_000).map(|n| Ids::new("MONGO").of(row(n, 0), AT)));
        ids.extend((0..1_000).map(|n| Ids::new("OTHER").of(row(1, n), AT)));
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    #[test]
    fn ids_sort_by_time_even_at_its_ends() {
        let at = |seconds| Ids::new("M").of(row(1, 1), Time { seconds, ..AT });
        assert!(at(1_700_000_000) < at(1_700_000_001));
        assert_eq!(at(-5)[..4], [0; 4]);
        assert_eq!(at(i64::MAX)[..4], [255; 4]);
    }
}
