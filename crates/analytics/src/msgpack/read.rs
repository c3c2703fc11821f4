//! Reading single items.

use crate::{DecodeError, Span, Time, Zone};

pub(super) const NIL: u8 = 0xc0;

/// What a structure begins with.
pub(super) enum Head {
    /// No value.
    Nil,
    /// That many keys and values.
    Map(u32),
    /// That many values in declaration order.
    Array(u32),
}

/// A position in the bytes of one element.
pub(super) struct Reader<'a> {
    /// The buffer up to the element's end.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Stands at the first byte of `element`. An element that does not lie in `buffer` is empty.
    pub(super) fn new(buffer: &'a [u8], element: Span) -> Self {
        let start = element.start as usize;
        let end = start.saturating_add(element.len as usize);
        Reader {
            bytes: buffer.get(..end).unwrap_or_default(),
            at: start,
        }
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Steps over `expected` if it comes next.
    #[inline(always)]
    pub(super) fn next_is<const N: usize>(&mut self, expected: &[u8; N]) -> bool {
        let found = self.rest().first_chunk() == Some(expected);
        if found {
            self.at += N;
        }
        found
    }

    /// Steps over `expected` if it comes next.
    #[inline(always)]
    pub(super) fn next_are(&mut self, expected: &[u8]) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Steps over a value of any kind, and returns its bytes.
    pub(super) fn skipped(&mut self) -> Result<&'a [u8], DecodeError> {
        let from = self.at;
        self.skip()?;
        Ok(self.bytes.get(from..self.at).unwrap_or_default())
    }

    #[inline(always)]
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Eof)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next byte, which stays.
    pub(super) fn peek(&self) -> Result<u8, DecodeError> {
        self.bytes.get(self.at).copied().ok_or(DecodeError::Eof)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(bytes) = self.rest().first_chunk() else {
            return Err(self.cut());
        };
        self.at += N;
        Ok(*bytes)
    }

    #[inline(always)]
    pub(super) fn take(&mut self, len: usize) -> Result<Span, DecodeError> {
        if len > self.rest().len() {
            return Err(self.cut());
        }
        let span = Span {
            start: self.at as u32,
            len: len as u32,
        };
        self.at += len;
        Ok(span)
    }

    /// Why an item of several bytes is not there.
    #[cold]
    fn cut(&self) -> DecodeError {
        match self.rest() {
            [] => DecodeError::Eof,
            _ => DecodeError::UnexpectedEof,
        }
    }

    #[inline]
    pub(super) fn length8(&mut self) -> Result<u32, DecodeError> {
        self.array().map(|[byte]| u32::from(byte))
    }

    #[inline]
    pub(super) fn length16(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u16::from_be_bytes).map(u32::from)
    }

    #[inline]
    pub(super) fn length32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A string of either family; nil is the empty one.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Span, DecodeError> {
        let code = self.byte()?;
        if let 0xa0..=0xbf = code {
            return self.take(usize::from(code & 0x1f));
        }
        self.long_string(code)
    }

    fn long_string(&mut self, code: u8) -> Result<Span, DecodeError> {
        let len = match code {
            NIL => return Ok(Span::default()),
            0xc4 | 0xd9 => self.length8()?,
            0xc5 | 0xda => self.length16()?,
            0xc6 | 0xdb => self.length32()?,
            _ => return Err(invalid(code, "bytes length")),
        };
        self.take(len as usize)
    }

    /// An integer of any width; unsigned values beyond the signed range wrap, nil is 0.
    #[inline(always)]
    pub(super) fn int(&mut self) -> Result<i64, DecodeError> {
        let code = self.byte()?;
        if code < 0x80 {
            return Ok(i64::from(code));
        }
        self.long_int(code)
    }

    fn long_int(&mut self, code: u8) -> Result<i64, DecodeError> {
        self.wide_int(code)?.ok_or_else(|| invalid(code, "int64"))
    }

    /// The integer that `code` begins; `None` if it begins something else.
    #[inline]
    fn wide_int(&mut self, code: u8) -> Result<Option<i64>, DecodeError> {
        Ok(Some(match code {
            0x00..=0x7f => i64::from(code),
            0xe0.. => i64::from(code as i8),
            NIL => 0,
            0xcc => self.array().map(|[byte]| i64::from(byte))?,
            0xcd => self.array().map(u16::from_be_bytes)?.into(),
            0xce => self.array().map(u32::from_be_bytes)?.into(),
            0xcf => self.array().map(u64::from_be_bytes)? as i64,
            0xd0 => self.array().map(i8::from_be_bytes)?.into(),
            0xd1 => self.array().map(i16::from_be_bytes)?.into(),
            0xd2 => self.array().map(i32::from_be_bytes)?.into(),
            0xd3 => self.array().map(i64::from_be_bytes)?,
            _ => return Ok(None),
        }))
    }

    /// The number that `code` begins, as a float; `None` if it begins something else.
    #[inline]
    pub(super) fn float_after(&mut self, code: u8) -> Result<Option<f64>, DecodeError> {
        match code {
            0xcb => self.array().map(f64::from_be_bytes).map(Some),
            0xca => self.array().map(f32::from_be_bytes).map(|value| Some(value.into())),
            _ => Ok(None),
        }
    }

    /// A float of either width, or an integer; nil is 0.
    pub(super) fn float(&mut self) -> Result<f64, DecodeError> {
        let code = self.byte()?;
        if let Some(value) = self.float_after(code)? {
            return Ok(value);
        }
        match (code, self.wide_int(code)?) {
            (0xcf, Some(bits)) => Ok(bits as u64 as f64),
            (_, Some(value)) => Ok(value as f64),
            (_, None) => Err(invalid(code, "float64")),
        }
    }

    /// The integer that `code` begins, as (bits, whether they are unsigned); `None` if it begins something else.
    pub(super) fn int_after(&mut self, code: u8) -> Result<Option<(i64, bool)>, DecodeError> {
        let value = self.wide_int(code)?;
        Ok(value.map(|value| (value, code == 0xcf || value >= 0)))
    }

    #[inline]
    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            code => Err(invalid(code, "bool")),
        }
    }

    /// An array of seconds and nanoseconds. The wire has no zone: the reference shows such times in its local one.
    #[inline]
    pub(super) fn time(&mut self) -> Result<Time, DecodeError> {
        match self.byte()? {
            0x92 => {}
            code => return Err(invalid(code, "time")),
        }
        let seconds = self.int()?;
        let nanos = self.int()?;
        Ok(Time::normalised(seconds, nanos, Zone::LOCAL))
    }

    /// Number of items of a list; `None` for nil.
    #[inline]
    pub(super) fn array_len(&mut self) -> Result<Option<u32>, DecodeError> {
        let code = self.byte()?;
        match code {
            NIL => Ok(None),
            0x90..=0x9f => Ok(Some(u32::from(code & 0x0f))),
            0xdc => self.length16().map(Some),
            0xdd => self.length32().map(Some),
            _ => Err(invalid(code, "array length")),
        }
    }

    /// Number of pairs of a map; `None` for nil. The header of an extension before the map is stepped over.
    #[inline]
    pub(super) fn map_len(&mut self) -> Result<Option<u32>, DecodeError> {
        let mut code = self.byte()?;
        if let Some(width) = extension_header(code) {
            self.take(width)?;
            code = self.byte()?;
        }
        match code {
            NIL => Ok(None),
            0x80..=0x8f => Ok(Some(u32::from(code & 0x0f))),
            0xde => self.length16().map(Some),
            0xdf => self.length32().map(Some),
            _ => Err(invalid(code, "map length")),
        }
    }

    /// The beginning of a structure.
    #[inline(always)]
    pub(super) fn head(&mut self) -> Result<Head, DecodeError> {
        let code = self.byte()?;
        if let 0x80..=0x8f = code {
            return Ok(Head::Map(u32::from(code & 0x0f)));
        }
        self.long_head(code)
    }

    fn long_head(&mut self, code: u8) -> Result<Head, DecodeError> {
        Ok(match code {
            0xde => Head::Map(self.length16()?),
            0xdf => Head::Map(self.length32()?),
            NIL => Head::Nil,
            0x90..=0x9f => Head::Array(u32::from(code & 0x0f)),
            0xdc => Head::Array(self.length16()?),
            0xdd => Head::Array(self.length32()?),
            _ => return Err(invalid(code, "map length")),
        })
    }

    /// The bytes of a span that this reader made.
    pub(super) fn text(&self, span: Span) -> &'a [u8] {
        span.of(self.bytes)
    }
}

/// Bytes between an extension's code and its payload.
fn extension_header(code: u8) -> Option<usize> {
    match code {
        0xd4..=0xd8 => Some(1),
        0xc7 => Some(2),
        0xc8 => Some(3),
        0xc9 => Some(5),
        _ => None,
    }
}

#[cold]
pub(super) fn invalid(code: u8, what: &'static str) -> DecodeError {
    DecodeError::InvalidCode { code, what }
}
