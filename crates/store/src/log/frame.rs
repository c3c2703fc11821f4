//! What stands in a segment: a magic number, length, checksum and payload, one behind the other.
//!
//! The magic number lets recovery find the next good frame behind a damaged one.

use bytes::{BufMut, Bytes};

/// First bytes of every frame.
pub(crate) const MAGIC: [u8; 4] = *b"TPf1";
/// Magic number, length of the payload, CRC-32 of the payload.
pub(crate) const HEADER: usize = 12;
/// Longest payload; a command of a client cannot be longer either.
pub(crate) const MAX_PAYLOAD: usize = 80 << 20;

const ELEMENTS: u8 = 1;
const CHANGE: u8 = 2;

/// A decoded payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    /// Elements that were appended to a list.
    Elements(Elements<'a>),
    /// A change of anything else, as JSON.
    Change(&'a [u8]),
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

    /// The finished frame.
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

/// A frame of a change that is already JSON.
pub(crate) fn change(json: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + 1 + json.len());
    frame.put_slice(&[0; HEADER]);
    frame.put_u8(CHANGE);
    frame.put_slice(json);
    seal(&mut frame);
    frame
}

fn seal(frame: &mut [u8]) {
    let Some((header, payload)) = frame.split_at_mut_checked(HEADER) else {
        return;
    };
    let crc = crc32fast::hash(payload);
    let mut place = header;
    place.put_slice(&MAGIC);
    place.put_u32_le(payload.len() as u32);
    place.put_u32_le(crc);
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

/// Looks at the beginning of `bytes`.
pub(crate) fn look(bytes: &[u8]) -> Found {
    let Some(len) = length(bytes) else {
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

/// Where the next good frame begins, from `from` on and before `written`.
pub(crate) fn next(contents: &[u8], from: usize, written: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = contents
        .get(at..written)?
        .windows(MAGIC.len())
        .position(|four| four == MAGIC)
    {
        at += found;
        if matches!(look(contents.get(at..)?), Found::Frame(_)) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Length of the payload, when there is a plausible header.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let len = u32::from_le_bytes(*rest.first_chunk()?) as usize;
    (bytes.len() >= HEADER && len > 0 && len <= MAX_PAYLOAD).then_some(len)
}

/// The payload, when its checksum is right.
fn payload(bytes: &[u8], len: usize) -> Option<&[u8]> {
    let crc = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    let payload = bytes.get(HEADER..HEADER + len)?;
    (crc32fast::hash(payload) == crc).then_some(payload)
}

/// The frame at the beginning of `bytes`, checked; `None`: damaged.
pub(crate) fn read(bytes: &[u8]) -> Option<Payload<'_>> {
    let payload = payload(bytes, length(bytes)?)?;
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
        let bytes = frame.finish().bytes;
        assert_eq!(look(&bytes), Found::Frame(bytes.len()));
        let Some(Payload::Elements(elements)) = read(&bytes) else {
            panic!("no elements")
        };
        assert_eq!((elements.list, elements.count), ("list", 2));
        let texts: Vec<_> = elements.spans().map(|(at, len)| &elements.body[at..at + len]).collect();
        assert_eq!(texts, [&b"one"[..], b""]);
        assert!(is_of(&bytes, "list") && !is_of(&bytes, "lis"));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(look(&changed), Found::Damage, "byte {at}");
        }
        assert_eq!(look(&bytes[..bytes.len() - 1]), Found::Damage);
    }

    #[test]
    fn zeros_are_the_end_of_what_was_written() {
        assert_eq!(look(&[0; 100]), Found::Nothing);
        assert_eq!(look(&[]), Found::Nothing);
        assert_eq!(look(&[0, 0, 7]), Found::Damage);
    }
}
