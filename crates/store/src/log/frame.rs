//! What stands in a segment: a mark, length, checksum and payload, one behind the other.
//!
//! The mark lets recovery find the next good frame behind a damaged one. Payloads are what clients send, and somebody who
//! calls an API chooses part of that: bytes that look like a frame, in the hope that a recovery takes them for one. So
//! the mark follows from the place of the frame and a secret of the store; only the first frame of a segment, which has
//! the secret, and files without bytes of clients have a mark that everybody knows.

use std::hash::Hasher;

use bytes::{BufMut, Bytes};
use siphasher::sip::SipHasher13;

/// The mark that everybody knows.
const MAGIC: [u8; 4] = *b"TPf1";
/// Mark, length of the payload, CRC-32 of the payload.
pub(crate) const HEADER: usize = 12;
/// The first frame of a segment, as [`head`] makes it.
pub(crate) const HEAD: usize = HEADER + 1 + 16;
/// Longest payload; a command of a client cannot be longer either.
pub(crate) const MAX_PAYLOAD: usize = 80 << 20;

const ELEMENTS: u8 = 1;
const CHANGE: u8 = 2;
const SECRET: u8 = 3;

/// What the marks of a store follow from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret([u8; 16]);

impl Secret {
    /// Another one than anybody has.
    pub(crate) fn random() -> Self {
        // The time in a ULID is no secret; the rest of two of them is.
        let random = ulid::Ulid::new().random() << 64 ^ ulid::Ulid::new().random();
        Self(random.to_le_bytes())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a frame begins with, by where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// The one that everybody knows.
    Known,
    /// In a segment, at an offset.
    At(Secret, u32, u32),
}

impl Mark {
    /// The bytes. `facts` are its length and checksum, as they stand behind the mark.
    fn of(self, facts: &[u8]) -> [u8; 4] {
        let Mark::At(Secret(secret), segment, at) = self else {
            return MAGIC;
        };
        let mut hasher = SipHasher13::new_with_key(&secret);
        hasher.write_u32(segment);
        hasher.write_u32(at);
        hasher.write(facts);
        (hasher.finish() as u32).to_le_bytes()
    }

    /// So many bytes further on in the same file.
    fn behind(self, bytes: usize) -> Self {
        match self {
            Mark::Known => Mark::Known,
            Mark::At(secret, segment, at) => Mark::At(secret, segment, at.saturating_add(bytes as u32)),
        }
    }
}

/// A decoded payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    /// Elements that were appended to a list.
    Elements(Elements<'a>),
    /// A change of anything else, as JSON.
    Change(&'a [u8]),
    /// What the marks of the other frames of this segment follow from.
    Secret(Secret),
}

/// Elements of one list, as they stand in a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Elements<'a> {
    /// Name of the list.
    pub(crate) list: &'a str,
    /// How many there are.
    pub(crate) count: u32,
    /// Each with its length in front.
    pub(crate) body: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Start and length of every element, counted from the start of `body`.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (usize, usize)> + use<'a> {
        let body = self.body;
        let mut at = 0;
        std::iter::from_fn(move || {
            let len = u32::from_le_bytes(*body.get(at..)?.first_chunk()?) as usize;
            let start = at + 4;
            at = start.checked_add(len).filter(|end| *end <= body.len())?;
            Some((start, len))
        })
    }
}

/// Collects the elements of one list into a frame.
#[derive(Debug)]
pub(crate) struct ElementsFrame {
    list: Box<str>,
    frame: Vec<u8>,
    count: u32,
    head: usize,
}

impl ElementsFrame {
    /// An empty frame with room for `bytes`. Names are at most 1 KiB long, which the server checks.
    pub(crate) fn new(list: &str, bytes: usize) -> Self {
        let mut frame = Vec::with_capacity(HEADER + list.len() + 16 + bytes);
        frame.put_slice(&[0; HEADER]);
        frame.put_u8(ELEMENTS);
        frame.put_u16_le(list.len() as u16);
        frame.put_slice(list.as_bytes());
        let head = frame.len();
        frame.put_u32_le(0);
        Self {
            list: list.into(),
            frame,
            count: 0,
            head,
        }
    }

    /// Appends an element.
    pub(crate) fn push(&mut self, element: &[u8]) {
        self.frame.put_u32_le(element.len() as u32);
        self.frame.put_slice(element);
        self.count += 1;
    }

    /// The list that the elements are for.
    pub(crate) fn list(&self) -> &str {
        &self.list
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    /// The finished frame, without its mark.
    pub(crate) fn finish(mut self) -> Sealed {
        if let Some(place) = self.frame.get_mut(self.head..self.head + 4) {
            place.copy_from_slice(&self.count.to_le_bytes());
        }
        seal(&mut self.frame);
        Sealed {
            list: self.list,
            count: self.count,
            bytes: self.frame,
        }
    }
}

/// An [`ElementsFrame`] that is ready to be appended.
pub(crate) struct Sealed {
    pub(super) list: Box<str>,
    pub(super) count: u32,
    pub(super) bytes: Vec<u8>,
}

impl Sealed {
    /// The list that the elements are for.
    pub(crate) fn list(&self) -> &str {
        &self.list
    }

    /// How many elements there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

/// A frame of a change that is already JSON, without its mark.
pub(crate) fn change(json: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + 1 + json.len());
    frame.put_slice(&[0; HEADER]);
    frame.put_u8(CHANGE);
    frame.put_slice(json);
    seal(&mut frame);
    frame
}

/// The first frame of a segment, without its mark.
pub(crate) fn head(secret: Secret) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD);
    frame.put_slice(&[0; HEADER]);
    frame.put_u8(SECRET);
    frame.put_slice(&secret.0);
    seal(&mut frame);
    frame
}

fn seal(frame: &mut [u8]) {
    let Some((header, payload)) = frame.split_at_mut_checked(HEADER) else {
        return;
    };
    let crc = crc32fast::hash(payload);
    let mut place = header.get_mut(4..).unwrap_or_default();
    place.put_u32_le(payload.len() as u32);
    place.put_u32_le(crc);
}

/// Gives a frame its mark.
pub(crate) fn mark(frame: &mut [u8], mark: Mark) {
    if let Some((place, rest)) = frame.split_first_chunk_mut() {
        *place = mark.of(rest.get(..HEADER - 4).unwrap_or_default());
    }
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame of so many bytes, header included.
    Frame(usize),
    /// Nothing has been written here: zeros, or the end.
    Nothing,
    /// Bytes that are no frame, or not a whole one, or whose checksum is wrong.
    Damage,
}

/// Looks at the beginning of `bytes`, where a frame has this mark.
pub(crate) fn look(bytes: &[u8], mark: Mark) -> Found {
    let Some(len) = length(bytes, mark) else {
        let rest = bytes.get(..HEADER).unwrap_or(bytes);
        return match rest.iter().all(|byte| *byte == 0) {
            true => Found::Nothing,
            false => Found::Damage,
        };
    };
    match payload(bytes, len) {
        Some(_) => Found::Frame(HEADER + len),
        None => Found::Damage,
    }
}

/// Where the next good frame begins, from `from` on and before `written`; `start` is the mark at the beginning of the contents.
pub(crate) fn next(contents: &[u8], from: usize, written: usize, start: Mark) -> Option<usize> {
    (from..written).find(|&at| {
        let bytes = contents.get(at..).unwrap_or_default();
        // Lengths are compared first, as that costs least.
        plausible_length(bytes).is_some_and(|len| HEADER + len <= bytes.len())
            && matches!(look(bytes, start.behind(at)), Found::Frame(_))
    })
}

/// Length of the payload, when there is a header that belongs here.
pub(crate) fn length(bytes: &[u8], mark: Mark) -> Option<usize> {
    let len = plausible_length(bytes)?;
    let (stored, rest) = bytes.split_first_chunk()?;
    (*stored == mark.of(rest.get(..HEADER - 4)?)).then_some(len)
}

fn plausible_length(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..HEADER)?;
    let len = u32::from_le_bytes(*header.get(4..)?.first_chunk()?) as usize;
    (len > 0 && len <= MAX_PAYLOAD).then_some(len)
}

/// The payload, when its checksum is right.
fn payload(bytes: &[u8], len: usize) -> Option<&[u8]> {
    let crc = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    let payload = bytes.get(HEADER..HEADER + len)?;
    (crc32fast::hash(payload) == crc).then_some(payload)
}

/// The frame at the beginning of `bytes`, whose mark must be this one, checked; `None`: damaged.
pub(crate) fn read(bytes: &[u8], mark: Mark) -> Option<Payload<'_>> {
    let payload = payload(bytes, length(bytes, mark)?)?;
    match payload.split_first()? {
        (&ELEMENTS, rest) => {
            let len = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
            let list = std::str::from_utf8(rest.get(2..2 + len)?).ok()?;
            let rest = rest.get(2 + len..)?;
            let count = u32::from_le_bytes(*rest.first_chunk()?);
            let body = rest.get(4..)?;
            Some(Payload::Elements(Elements { list, count, body }))
        }
        (&CHANGE, json) => Some(Payload::Change(json)),
        (&SECRET, secret) => Some(Payload::Secret(Secret(secret.try_into().ok()?))),
        _ => None,
    }
}

/// Whether the frame at the beginning of `bytes` has elements of this list; looks at the name alone.
pub(crate) fn is_of(bytes: &[u8], list: &str) -> bool {
    let name = bytes.get(HEADER..).and_then(|rest| match rest.split_first()? {
        (&ELEMENTS, rest) => rest.get(2..2 + usize::from(u16::from_le_bytes(*rest.first_chunk()?))),
        _ => None,
    });
    name == Some(list.as_bytes())
}

/// Elements out of frames, as one buffer with their places.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// The frames as they were read.
    pub(crate) buffer: Bytes,
    /// Start and length of each element.
    pub(crate) spans: Vec<analytics::Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_one_changed_bit_is_noticed() {
        let mut frame = ElementsFrame::new("list", 10);
        frame.push(b"one");
        frame.push(b"");
        let mut bytes = frame.finish().bytes;
        let place = Mark::At(Secret::random(), 3, 700);
        mark(&mut bytes, place);
        assert_eq!(look(&bytes, place), Found::Frame(bytes.len()));
        let Some(Payload::Elements(elements)) = read(&bytes, place) else {
            panic!("no elements")
        };
        assert_eq!((elements.list, elements.count), ("list", 2));
        let texts: Vec<_> = elements.spans().map(|(at, len)| &elements.body[at..at + len]).collect();
        assert_eq!(texts, [&b"one"[..], b""]);
        assert!(is_of(&bytes, "list") && !is_of(&bytes, "lis"));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(look(&changed, place), Found::Damage, "byte {at}");
        }
        assert_eq!(look(&bytes[..bytes.len() - 1], place), Found::Damage);
    }

    #[test]
    fn a_frame_counts_only_where_it_was_written() {
        let (secret, other) = (Secret::random(), Secret::random());
        let mut bytes = change(b"{}");
        mark(&mut bytes, Mark::At(secret, 3, 700));
        for place in [
            Mark::Known,
            Mark::At(other, 3, 700),
            Mark::At(secret, 4, 700),
            Mark::At(secret, 3, 701),
        ] {
            assert_eq!(look(&bytes, place), Found::Damage, "{place:?}");
        }
        let contents = [&[7; 100][..], &bytes].concat();
        let find = |start| next(&contents, 0, contents.len(), start);
        assert_eq!(find(Mark::At(secret, 3, 600)), Some(100));
        assert_eq!(find(Mark::At(secret, 3, 0)), None, "copied from elsewhere");
    }

    #[test]
    fn the_first_frame_says_what_the_others_are_marked_with() {
        let secret = Secret::random();
        let mut bytes = head(secret);
        mark(&mut bytes, Mark::Known);
        assert_eq!(bytes.len(), HEAD);
        assert_eq!(read(&bytes, Mark::Known), Some(Payload::Secret(secret)));
    }

    #[test]
    fn zeros_are_the_end_of_what_was_written() {
        assert_eq!(look(&[0; 100], Mark::Known), Found::Nothing);
        assert_eq!(look(&[], Mark::Known), Found::Nothing);
        assert_eq!(look(&[0, 0, 7], Mark::Known), Found::Damage);
    }
}
