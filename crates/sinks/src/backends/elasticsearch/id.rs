//! Ids of documents.

use analytics::{Int, RecordView, RowId, Text, When};

/// MurmurHash3, x64, 128 bits, seed 0.
fn murmur3(data: &[u8]) -> (u64, u64) {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let finish = |mut k: u64| {
        k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        k ^ (k >> 33)
    };
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    };
    let (mut h1, mut h2) = (0u64, 0u64);
    let (blocks, tail) = data.as_chunks::<16>();
    for block in blocks {
        let (low, high) = block.split_at(8);
        h1 = (h1 ^ mix1(word(low))).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(word(high))).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (low, high) = tail.split_at(tail.len().min(8));
    h1 ^= mix1(word(low));
    h2 ^= mix2(word(high));
    let len = data.len() as u64;
    (h1, h2) = (h1 ^ len, h2 ^ len);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finish(h1), finish(h2));
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2)
}

/// An id that a row has whenever and by whomever it is written: 8 hexadecimal digits of the record's time, so that ids of
/// one time are neighbours in the index, and 24 of a hash of pump, claim and row.
pub(super) struct RowIds {
    /// Pump, then room for claim and row.
    input: Vec<u8>,
    pump: usize,
}

impl RowIds {
    pub(super) fn new(pump: &str) -> RowIds {
        RowIds {
            input: pump.as_bytes().to_vec(),
            pump: pump.len(),
        }
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>, row: RowId, record: &RecordView<'_>) {
        self.input.truncate(self.pump);
        self.input.extend_from_slice(&row.claim.0.0.to_be_bytes());
        self.input.extend_from_slice(&row.row.to_be_bytes());
        let (high, low) = murmur3(&self.input);
        write_hex(out, &(record.time(When::TimeStamp).seconds as u32).to_be_bytes());
        write_hex(out, &high.to_be_bytes());
        write_hex(out, &(low as u32).to_be_bytes());
    }
}

/// The id of `generate_id`: 8 bytes that hang on what the record says alone.
pub(super) fn of_content(record: &RecordView<'_>) -> [u8; 8] {
    let time = record.time(When::TimeStamp);
    let nanos = time
        .seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(i64::from(time.nanos));
    let mut input = nanos.to_string().into_bytes();
    for text in [Text::Method, Text::Path, Text::IpAddress, Text::ApiId, Text::OauthId] {
        input.extend_from_slice(&record.text(text));
    }
    input.extend_from_slice(record.int(Int::RequestTime).to_string().as_bytes());
    input.extend_from_slice(&record.text(Text::Alias));
    murmur3(&input).0.to_be_bytes()
}

/// Appends two small digits a byte.
pub(super) fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 0xf)];
    for &byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte)]);
    }
}

#[cfg(test)]
mod tests {
    use analytics::{ClaimId, Time, Zone, record::Builder};

    use super::*;

    #[test]
    fn the_hash_is_that_of_the_reference() {
        assert_eq!(murmur3(b"").0, 0);
        assert_eq!(murmur3(b"hello").0, 0xcbd8_a7b3_41bd_9b02);
        let long = b"1704164645060000000POST/orders203.0.113.9api-142alice";
        assert_eq!(murmur3(long).0, 0x007e_c836_de07_f44a);
        assert_eq!(
            murmur3(b"The quick brown fox jumps over the lazy dog"),
            (0xe34b_bc7b_bc07_1b6c, 0x7a43_3ca9_c49a_9347)
        );
    }

    fn record() -> Builder {
        let mut builder = Builder::new();
        builder
            .text(Text::Method, "POST")
            .text(Text::Path, "/orders")
            .text(Text::IpAddress, "203.0.113.9")
            .text(Text::ApiId, "api-1")
            .text(Text::Alias, "alice")
            .int(Int::RequestTime, 42)
            .time(
                When::TimeStamp,
                Time {
                    seconds: 1_704_164_645,
                    nanos: 60_000_000,
                    zone: Zone::UTC,
                },
            );
        builder
    }

    #[test]
    fn the_id_of_a_content_is_that_of_the_reference() {
        let mut hex = Vec::new();
        write_hex(&mut hex, &of_content(&record().view()));
        assert_eq!(hex, b"007ec836de07f44a");
    }

    #[test]
    fn the_id_of_a_row_hangs_on_pump_claim_and_row() {
        let id = |pump: &str, claim: u128, row: u64| {
            let claim = ClaimId(ulid::Ulid(claim));
            let mut out = Vec::new();
            RowIds::new(pump).write(&mut out, RowId { claim, row }, &record().view());
            String::from_utf8(out).unwrap()
        };
        let one = id("ES", 1, 1);
        // A row that is written again after an upgrade must have the id that it had before.
        assert_eq!(one, "65937d256a1bd9f516cc470311a07c85");
        for other in [id("ES2", 1, 1), id("ES", 2, 1), id("ES", 1, 2)] {
            assert_ne!(one, other);
        }
        let mut many: Vec<String> = (0..20_000).map(|row| id("ES", 7, row)).collect();
        many.sort();
        many.dedup();
        assert_eq!(many.len(), 20_000);
    }
}
