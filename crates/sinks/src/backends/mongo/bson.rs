//! BSON straight into bytes: documents are made from a record's spans without a tree in between.

use mongodb::bson::{RawDocument, RawDocumentBuf, error::Error};

/// A document that is being written. Keys and texts may be any bytes: what is not UTF-8 becomes U+FFFD, and so does a
/// NUL in a key, which BSON cannot express.
pub(super) struct Writer {
    out: Vec<u8>,
}

/// An open document or array inside a [`Writer`].
#[must_use]
pub(super) struct Open(usize);

impl Writer {
    /// `capacity`: bytes that the document will probably have.
    pub(super) fn new(capacity: usize) -> Writer {
        let mut out = Vec::with_capacity(capacity);
        out.extend_from_slice(&[0; 4]);
        Writer { out }
    }

    /// Ends the document. Fails only when it is longer than BSON can say.
    pub(super) fn finish(mut self) -> Result<RawDocumentBuf, Error> {
        self.close(Open(0));
        RawDocumentBuf::from_bytes(self.out)
    }

    fn key(&mut self, kind: u8, key: &[u8]) {
        self.out.push(kind);
        for (at, part) in key.split(|&byte| byte == 0).enumerate() {
            if at > 0 {
                self.out.extend_from_slice("\u{FFFD}".as_bytes());
            }
            self.out.extend_from_slice(String::from_utf8_lossy(part).as_bytes());
        }
        self.out.push(0);
    }

    fn open(&mut self, kind: u8, key: &[u8]) -> Open {
        self.key(kind, key);
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        Open(start)
    }

    /// Begins a document inside.
    pub(super) fn open_document(&mut self, key: impl AsRef<[u8]>) -> Open {
        self.open(0x03, key.as_ref())
    }

    /// Begins an array inside; its elements' keys are 0, 1, 2 and so on.
    pub(super) fn open_array(&mut self, key: impl AsRef<[u8]>) -> Open {
        self.open(0x04, key.as_ref())
    }

    /// Ends what was opened last.
    pub(super) fn close(&mut self, open: Open) {
        self.out.push(0);
        let length = (self.out.len() - open.0) as u32;
        if let Some(place) = self.out.get_mut(open.0..open.0 + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    pub(super) fn text(&mut self, key: impl AsRef<[u8]>, text: &[u8]) {
        self.key(0x02, key.as_ref());
        let text = String::from_utf8_lossy(text);
        self.out.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
    }

    /// 32 bits wide where the value fits, else 64.
    pub(super) fn int(&mut self, key: impl AsRef<[u8]>, value: i64) {
        match i32::try_from(value) {
            Ok(short) => {
                self.key(0x10, key.as_ref());
                self.out.extend_from_slice(&short.to_le_bytes());
            }
            Err(_) => self.long(key, value),
        }
    }

    pub(super) fn long(&mut self, key: impl AsRef<[u8]>, value: i64) {
        self.key(0x12, key.as_ref());
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn double(&mut self, key: impl AsRef<[u8]>, value: f64) {
        self.key(0x01, key.as_ref());
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bool(&mut self, key: impl AsRef<[u8]>, value: bool) {
        self.key(0x08, key.as_ref());
        self.out.push(u8::from(value));
    }

    pub(super) fn null(&mut self, key: impl AsRef<[u8]>) {
        self.key(0x0A, key.as_ref());
    }

    pub(super) fn binary(&mut self, key: impl AsRef<[u8]>, bytes: &[u8]) {
        self.key(0x05, key.as_ref());
        self.out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.out.push(0);
        self.out.extend_from_slice(bytes);
    }

    /// An instant; what is finer than a millisecond is cut off.
    pub(super) fn date(&mut self, key: impl AsRef<[u8]>, time: analytics::Time) {
        self.instant(key, milliseconds(time));
    }

    /// An instant in milliseconds since 1970.
    pub(super) fn instant(&mut self, key: impl AsRef<[u8]>, milliseconds: i64) {
        self.key(0x09, key.as_ref());
        self.out.extend_from_slice(&milliseconds.to_le_bytes());
    }

    /// A document that is there already.
    pub(super) fn document(&mut self, key: impl AsRef<[u8]>, document: &RawDocument) {
        self.key(0x03, key.as_ref());
        self.out.extend_from_slice(document.as_bytes());
    }

    pub(super) fn object_id(&mut self, key: impl AsRef<[u8]>, id: [u8; 12]) {
        self.key(0x07, key.as_ref());
        self.out.extend_from_slice(&id);
    }
}

/// Milliseconds since 1970; far outside of what 64 bits hold they wrap, as upstream's do.
pub(super) fn milliseconds(time: analytics::Time) -> i64 {
    time.seconds
        .wrapping_mul(1000)
        .wrapping_add(i64::from(time.nanos / 1_000_000))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc, oid::ObjectId};

    use super::*;

    #[test]
    fn every_type_is_what_the_library_reads() {
        let mut writer = Writer::new(64);
        writer.object_id("_id", *b"abcdefghijkl");
        writer.text("text", b"a\xff\0b");
        writer.text("empty", b"");
        writer.int("short", -5);
        writer.int("wide", 1 << 40);
        writer.long("long", 7);
        writer.double("double", 0.5);
        writer.bool("yes", true);
        writer.null("null");
        writer.date(
            "date",
            analytics::Time {
                seconds: -1,
                nanos: 1_999_999,
                zone: analytics::Zone::UTC,
            },
        );
        let outer = writer.open_document("outer");
        let list = writer.open_array("list");
        writer.text("0", b"x");
        writer.close(list);
        let empty = writer.open_document(b"n\0\xffn");
        writer.close(empty);
        writer.close(outer);
        let document = mongodb::bson::Document::try_from(writer.finish().unwrap()).unwrap();
        let wanted = doc! {
            "_id": ObjectId::from_bytes(*b"abcdefghijkl"),
            "text": "a\u{FFFD}\0b",
            "empty": "",
            "short": -5i32,
            "wide": 1i64 << 40,
            "long": 7i64,
            "double": 0.5,
            "yes": true,
            "null": null,
            "date": DateTime::from_millis(-999),
            "outer": {"list": ["x"], "n\u{FFFD}\u{FFFD}n": {}},
        };
        assert_eq!(document, wanted);
    }
}
