//! Numbers and texts in the frames of a state file.

use analytics::ClaimId;
use ulid::Ulid;

/// Writes them.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn claim(&mut self, claim: ClaimId) {
        self.0.extend_from_slice(&claim.0.0.to_le_bytes());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads them; `None`: they are not there.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(frame: &'a [u8]) -> Reader<'a> {
        Reader(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn claim(&mut self) -> Option<ClaimId> {
        let (claim, rest) = self.0.split_first_chunk::<16>()?;
        self.0 = rest;
        Some(ClaimId(Ulid(u128::from_le_bytes(*claim))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Writer::default();
        for number in [0, 1, 127, 128, u64::MAX] {
            out.number(number);
        }
        out.bytes(b"text");
        out.claim(ClaimId(Ulid(u128::MAX - 5)));
        let frame = out.finish();
        let mut reader = Reader::new(&frame);
        for number in [0, 1, 127, 128, u64::MAX] {
            assert_eq!(reader.number(), Some(number));
        }
        assert_eq!(reader.bytes(), Some(&b"text"[..]));
        assert_eq!(reader.claim(), Some(ClaimId(Ulid(u128::MAX - 5))));
        assert!(reader.is_empty());
        for end in 0..frame.len() {
            let mut reader = Reader::new(&frame[..end]);
            let read =
                (0..5).all(|_| reader.number().is_some()) && reader.bytes().is_some() && reader.claim().is_some();
            assert!(!read, "{end}");
        }
    }
}
