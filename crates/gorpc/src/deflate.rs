//! The compression of a connection: raw DEFLATE, one endless stream in each direction.
//!
//! Each call of [`Deflater::compress`] ends with a sync flush, the bytes `00 00 ff ff`, so that the receiver has everything
//! up to there. The window is kept. [`Inflater`] accepts pieces of any size.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

const STEP: usize = 64 << 10;

/// The sending side.
pub struct Deflater(Compress);

/// The receiving side.
pub struct Inflater(Decompress);

/// A stream that is no DEFLATE, or has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the compressed stream: {what}")]
pub struct DeflateError {
    /// How many compressed bytes came before.
    pub at: u64,
    /// What is wrong.
    pub what: String,
}

impl Default for Deflater {
    fn default() -> Self {
        Self(Compress::new(Compression::fast(), false))
    }
}

impl Deflater {
    /// Appends `plain`, compressed and flushed.
    pub fn compress(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<(), DeflateError> {
        let compress = &mut self.0;
        let mut step = |plain: &[u8], out: &mut Vec<u8>, flush| {
            out.reserve(STEP);
            let before = compress.total_in();
            match compress.compress_vec(plain, out, flush) {
                Ok(_) => Ok((compress.total_in() - before) as usize),
                Err(error) => Err(DeflateError {
                    at: compress.total_out(),
                    what: error.to_string(),
                }),
            }
        };
        while !plain.is_empty() {
            let taken = step(plain, out, FlushCompress::None)?;
            plain = plain.get(taken..).unwrap_or_default();
        }
        // A flush is complete when it leaves room.
        loop {
            step(&[], out, FlushCompress::Sync)?;
            if out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Inflater {
    /// Hands over, in pieces, everything that can be made of `packed`.
    pub fn decompress<E: From<DeflateError>>(
        &mut self,
        mut packed: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut plain = Vec::with_capacity(STEP);
        loop {
            plain.clear();
            let before = self.0.total_in();
            let status = self.0.decompress_vec(packed, &mut plain, FlushDecompress::Sync);
            let error = |what: String| DeflateError { at: before, what };
            let status = status.map_err(|fault| error(fault.to_string()))?;
            let used = (self.0.total_in() - before) as usize;
            packed = packed.get(used..).unwrap_or_default();
            take(&plain)?;
            match status {
                Status::StreamEnd => return Err(error("it has ended".to_owned()).into()),
                // All of the input is used, and what it made had room.
                _ if packed.is_empty() && plain.len() < plain.capacity() => return Ok(()),
                // Nothing was used and nothing came of it: the rest is for later.
                _ if used == 0 && plain.is_empty() => return Ok(()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inflate(inflater: &mut Inflater, packed: &[u8]) -> Result<Vec<u8>, DeflateError> {
        let mut plain = Vec::new();
        inflater.decompress(packed, |piece| {
            plain.extend_from_slice(piece);
            Ok::<_, DeflateError>(())
        })?;
        Ok(plain)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn messages_arrive_whole_however_the_stream_is_cut(
            messages in proptest::collection::vec(proptest::collection::vec(0u8..8, 0..5000), 1..6),
            cut in 1usize..300,
        ) {
            let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
            for message in messages {
                let mut packed = Vec::new();
                deflater.compress(&message, &mut packed).unwrap();
                prop_assert!(packed.ends_with(&[0, 0, 0xff, 0xff]));
                let mut plain = Vec::new();
                for piece in packed.chunks(cut) {
                    plain.extend(inflate(&mut inflater, piece).unwrap());
                }
                prop_assert_eq!(plain, message);
            }
        }

        #[test]
        fn garbage_is_an_error_or_bytes(packed in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = inflate(&mut Inflater::default(), &packed);
        }
    }

    #[test]
    fn large_messages_are_complete_after_their_flush() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        let mut state = 1u32;
        let message: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(3 << 20)
        .collect();
        let mut packed = Vec::new();
        deflater.compress(&message, &mut packed).unwrap();
        assert_eq!(inflate(&mut inflater, &packed).unwrap(), message);
    }

    #[test]
    fn a_stream_that_ends_is_an_error() {
        // An empty final block.
        let error = inflate(&mut Inflater::default(), &[3, 0]).unwrap_err();
        assert_eq!(error.to_string(), "byte 0 of the compressed stream: it has ended");
    }
}
