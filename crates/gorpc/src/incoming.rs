//! The receiving half of a connection: values from bytes.

use crate::{
    RpcError,
    deflate::{DeflateError, Inflater},
    gob::{Decoder, Frames, GobError, Value},
};

/// What a peer's stream can do wrong. It cannot be continued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Garbled {
    #[error(transparent)]
    Deflate(#[from] DeflateError),
    #[error(transparent)]
    Gob(#[from] GobError),
    /// A value that is no request or response.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// An answer that nobody waits for.
    #[error("{0}")]
    Answer(String),
}

/// What a peer sends, however it is cut.
pub(crate) struct Incoming {
    /// `None`: the connection is not compressed.
    inflater: Option<Inflater>,
    frames: Frames,
    decoder: Decoder,
}

impl Incoming {
    pub(crate) fn new(compressed: bool) -> Incoming {
        Incoming {
            inflater: compressed.then(Inflater::default),
            frames: Frames::default(),
            decoder: Decoder::default(),
        }
    }

    /// Hands over, in order, every value that is complete with `bytes`, up to the first error.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Value) -> Result<(), Garbled>,
    ) -> Result<(), Garbled> {
        let Incoming {
            inflater,
            frames,
            decoder,
        } = self;
        let mut read = |plain: &[u8]| {
            frames.feed(plain);
            while let Some(message) = frames.next_message()? {
                if let Some(value) = decoder.push(message)? {
                    take(value)?;
                }
            }
            Ok::<(), Garbled>(())
        };
        match inflater {
            None => read(bytes),
            Some(inflater) => inflater.decompress(bytes, read),
        }
    }
}
