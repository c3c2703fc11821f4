//! Ids of documents: the same for the same row, so that writing it again changes nothing.

use analytics::{Key, RowId, Time, Wire};

/// Makes the ids of one pump's documents.
#[derive(Clone, Copy)]
pub(super) struct Ids(u64);

impl Ids {
    pub(super) fn new(pump: &str) -> Ids {
        Ids(absorb(0xcbf2_9ce4_8422_2325, pump.as_bytes()))
    }

    /// The id of a row's document. Ids sort by arrival, as those do that a client makes up: an id begins with the seconds
    /// in which the claim was taken and the place of its list (five bits), goes on with a hash of pump and claim, and ends
    /// with the row. Two rows of one claim never share it.
    pub(super) fn of(self, row: RowId, key: &Key) -> [u8; 12] {
        let claim = mix(absorb(self.0, &row.claim.0.to_bytes()));
        let hash = mix(claim.wrapping_add(row.row >> 24)) >> 29 << 24;
        // Rounded up: behind what others stored in the same second, before the claim was taken.
        let seconds = row.claim.0.timestamp_ms().div_ceil(1000) as i64;
        join(seconds, place(key) << 59 | hash | (row.row & 0x00ff_ffff))
    }
}

/// An id whose time part is `time` and whose rest is a hash of `parts`.
pub(super) fn derived(time: Time, parts: &[&[u8]]) -> [u8; 12] {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        hash = absorb(hash, &(part.len() as u64).to_be_bytes());
        hash = absorb(hash, part);
    }
    join(time.seconds, mix(hash))
}

/// Where a list stands in the order in which upstream empties them: the plain one, 0 to 9, each followed by its
/// protobuf twin.
fn place(key: &Key) -> u64 {
    let name = key.short.strip_suffix("_protobuf").unwrap_or(&key.short);
    let digit = name.rsplit('_').next().and_then(|number| number.parse::<u64>().ok());
    let number = digit.map_or(0, |digit| digit.min(9) + 1);
    2 * number + u64::from(key.wire == Wire::Protobuf)
}

fn join(seconds: i64, hash: u64) -> [u8; 12] {
    let seconds = seconds.clamp(0, i64::from(u32::MAX)) as u32;
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
    use analytics::{ClaimId, RecordKind};

    use super::*;

    fn key() -> Key {
        Key {
            name: "analytics-tyk-system-analytics_3".into(),
            short: "tyk-system-analytics_3".into(),
            wire: Wire::Msgpack,
            records: RecordKind::Traffic,
        }
    }

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
        let claim = 1_700_000_000_001 << 80 | 1;
        assert_eq!(
            hex(Ids::new("MONGO").of(row(claim, 0), &key())),
            "6553f10144e409bb18000000"
        );
        assert_eq!(
            hex(Ids::new("MONGO").of(row(claim, 1), &key())),
            "6553f10144e409bb18000001"
        );
    }

    #[test]
    fn rows_claims_and_pumps_have_ids_of_their_own() {
        let of = |pump: &str, claim, n| Ids::new(pump).of(row(claim, n), &key());
        let mut ids: Vec<_> = (0..10_000).map(|n| of("MONGO", 1, n)).collect();
        ids.extend((2..1_000).map(|claim| of("MONGO", claim, 0)));
        ids.extend((0..1_000).map(|n| of("OTHER", 1, n)));
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    #[test]
    fn ids_sort_by_arrival() {
        let of = |claim, n| Ids::new("M").of(row(claim, n), &key());
        let claim = 1 << 90;
        assert!((0..10_000).all(|n| of(claim, n) < of(claim, n + 1)));
        assert_ne!(of(claim, 5), of(claim, 5 + (1 << 24)));
        assert!(of(claim, u64::MAX) < of(claim + (1000 << 80), 0), "a second later");
    }

    #[test]
    fn lists_keep_the_order_in_which_upstream_empties_them() {
        let of = |short: &str, wire| {
            place(&Key {
                short: short.into(),
                wire,
                ..key()
            })
        };
        let places = [
            of("tyk-system-analytics", Wire::Msgpack),
            of("tyk-system-analytics_protobuf", Wire::Protobuf),
            of("tyk-system-analytics_0", Wire::Msgpack),
            of("tyk-system-analytics_0_protobuf", Wire::Protobuf),
            of("tyk-system-analytics_9_protobuf", Wire::Protobuf),
        ];
        assert_eq!(places, [0, 1, 2, 3, 21]);
    }
}
