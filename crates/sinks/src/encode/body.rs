//! Bodies of HTTP messages without their encodings.

use std::{borrow::Cow, io::Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The first `most` bytes of a body with this `Content-Encoding` (several ones separated by commas); `None`: the encoding is
/// unknown or does not fit the body.
pub(crate) fn decoded<'a>(body: &'a [u8], encodings: &str, most: u64) -> Option<Cow<'a, [u8]>> {
    let mut body = Cow::Borrowed(body);
    // The last one was applied last.
    for encoding in encodings.rsplit(',').map(str::trim) {
        let mut plain = Vec::new();
        let read = match encoding.to_ascii_lowercase().as_str() {
            "" | "none" | "identity" => continue,
            "gzip" | "x-gzip" => MultiGzDecoder::new(&*body).take(most).read_to_end(&mut plain),
            "deflate" | "zlib" | "deflated" => match ZlibDecoder::new(&*body).take(most).read_to_end(&mut plain) {
                Ok(read) => Ok(read),
                // Some servers leave the wrapping out.
                Err(_) => {
                    plain.clear();
                    DeflateDecoder::new(&*body).take(most).read_to_end(&mut plain)
                }
            },
            "br" => brotli_decompressor::Decompressor::new(&*body, 4096)
                .take(most)
                .read_to_end(&mut plain),
            _ => return None,
        };
        read.ok()?;
        body = Cow::Owned(plain);
    }
    let kept = body.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    Some(match body {
        Cow::Borrowed(body) => Cow::Borrowed(body.get(..kept)?),
        Cow::Owned(mut body) => {
            body.truncate(kept);
            Cow::Owned(body)
        }
    })
}

/// The chunks of a body that was sent in chunks, put together; `None`: it is not made of whole chunks.
pub(crate) fn joined(body: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::with_capacity(body.len());
    let mut rest = body;
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let (size, after) = rest.split_at(end);
        let size = std::str::from_utf8(size).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        let after = after.get(2..)?;
        if size == 0 {
            return Some(joined);
        }
        joined.extend_from_slice(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    #[test]
    fn every_encoding_is_undone_up_to_a_limit() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"hello").unwrap();
        let zlib = zlib.finish().unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(b"hello").unwrap();
        let bare = bare.finish().unwrap();
        let mut twice = GzEncoder::new(Vec::new(), Compression::fast());
        twice.write_all(&zlib).unwrap();
        let twice = twice.finish().unwrap();
        for (body, encodings) in [
            (&gzip, "gzip"),
            (&gzip, "X-GZIP"),
            (&zlib, "deflate"),
            (&bare, "deflate"),
            (&twice, "deflate, gzip"),
            (&b"hello".to_vec(), ""),
        ] {
            assert_eq!(decoded(body, encodings, 100).unwrap(), &b"hello"[..], "{encodings}");
            assert_eq!(decoded(body, encodings, 100).unwrap().len(), 5);
        }
        assert_eq!(decoded(&gzip, "gzip", 3).unwrap(), &b"hel"[..]);
        assert_eq!(decoded(b"hello", "gzip", 9), None);
        assert_eq!(decoded(&gzip, "zstd", 9), None);
    }

    #[test]
    fn chunks_are_joined_if_they_are_whole() {
        assert_eq!(joined(b"3\r\nabc\r\n2;x=1\r\nde\r\n0\r\n\r\n").unwrap(), b"abcde");
        for body in [&b"3\r\nab"[..], b"{\"a\":1}", b"", b"3\r\nabc\r\n"] {
            assert_eq!(joined(body), None);
        }
    }
}
