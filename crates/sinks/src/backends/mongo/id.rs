//! Ids of documents: the same for the same row, so that writing it again changes nothing.

use analytics::{Key, RowId, Time, Wire};

/// Makes the ids of one pump's documents.
#[derive(Clone, Copy)]
pub(super) struct Ids {
    pump: u64,
    /// By arrival, as upstream's: `compat`.
    by_arrival: bool,
}

impl Ids {
    pub(super) fn new(pump: &str, by_arrival: bool) -> Ids {
        Ids {
            pump: absorb(0xcbf2_9ce4_8422_2325, pump.as_bytes()),
            by_arrival,
        }
    }

    /// The id of a row's document. It begins with the seconds of the record's time, as every ObjectId does, so that
    /// sorting by `_id` sorts by time; the rest is a hash of pump, claim and row. Two rows of one claim never share it.
    ///
    /// By arrival it begins with the seconds in which the claim was taken and the place of its list (five bits), and ends
    /// with the row.
    pub(super) fn of(self, row: RowId, time: Time, key: &Key) -> [u8; 12] {
        let claim = mix(absorb(self.pump, &row.claim.0.to_bytes()));
        if self.by_arrival {
            let hash = mix(claim.wrapping_add(row.row >> 24)) >> 29 << 24;
            // Rounded up: behind what others stored in the same second, before the claim was taken.
            let seconds = row.claim.0.timestamp_ms().div_ceil(1000) as i64;
            return join(seconds, place(key) << 59 | hash | (row.row & 0x00ff_ffff));
        }
        let hash = mix(claim.wrapping_add(row.row.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        join(time.seconds, hash)
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
    use analytics::{ClaimId, RecordKind, Zone};

    use super::*;

    const AT: Time = Time {
        seconds: 1_700_000_000,
        nanos: 5,
        zone: Zone::UTC,
    };

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
        assert_eq!(
            hex(Ids::new("MONGO", false).of(row(1, 0), AT, &key())),
            "6553f1005c00d78d3620873a"
        );
        assert_eq!(
            hex(Ids::new("MONGO", false).of(row(1, 1), AT, &key())),
            "6553f1000131c7b602e833c8"
        );
    }

    #[test]
    fn rows_claims_and_pumps_have_ids_of_their_own() {
        let mut ids: Vec<_> = (0..10_000)
            .map(|n| Ids::new("MONGO", false).of(row(1, n), AT, &key()))
            .collect();
        ids.extend((2..1_000).map(|n| Ids::new("MONGO", false).of(row(n, 0), AT, &key())));
        ids.extend((0..1_000).map(|n| Ids::new("OTHER", false).of(row(1, n), AT, &key())));
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    #[test]
    fn ids_sort_by_time_even_at_its_ends() {
        let at = |seconds| Ids::new("M", false).of(row(1, 1), Time { seconds, ..AT }, &key());
        assert!(at(1_700_000_000) < at(1_700_000_001));
        assert_eq!(at(-5)[..4], [0; 4]);
        assert_eq!(at(i64::MAX)[..4], [255; 4]);
    }

    #[test]
    fn ids_by_arrival_sort_by_row() {
        let of = |n| Ids::new("M", true).of(row(1 << 90, n), AT, &key());
        assert!((0..10_000).all(|n| of(n) < of(n + 1)));
        assert_ne!(of(5), of(5 + (1 << 24)));
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
