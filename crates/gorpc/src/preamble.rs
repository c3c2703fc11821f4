//! What a client sends right after connecting.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

const MAGIC: &[u8; 6] = b"proto2";

/// The first bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Names the pool that the connection belongs to: up to 255 bytes, by custom a UUID.
    pub pool: Bytes,
    /// Whether both directions are compressed.
    pub compressed: bool,
}

impl Preamble {
    /// The bytes; of a longer pool id the first 255 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pool = self.pool.get(..255).unwrap_or(&self.pool);
        let mut bytes = MAGIC.to_vec();
        bytes.push(pool.len() as u8);
        bytes.extend_from_slice(pool);
        bytes.push(self.compressed.into());
        bytes
    }

    /// Reads exactly the bytes of a preamble, however they are grouped.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Preamble> {
        let mut magic = [0; 6];
        stream.read_exact(&mut magic).await?;
        if magic != *MAGIC {
            let text = format!(
                "the connection begins with {:?} instead of \"proto2\"",
                magic.escape_ascii().to_string()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut pool = vec![0; stream.read_u8().await?.into()];
        stream.read_exact(&mut pool).await?;
        let compressed = stream.read_u8().await? != 0;
        Ok(Preamble {
            pool: pool.into(),
            compressed,
        })
    }
}
