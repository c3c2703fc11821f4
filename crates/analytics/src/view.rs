//! A record as one sink sees it: after omitting, trimming, ignoring and decoding.

use std::{borrow::Cow, slice};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    Field, Flag, Float, Int, Record, Span, Text, Time, Transform, When,
    record::{GraphError, PathItem, Rare},
};

/// Standard alphabet, padding required, left-over bits ignored: what Go's decoder takes, line breaks apart.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// A record as one sink sees it. Cheap to copy; nothing is allocated unless a base64 text is decoded.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    buffer: &'a [u8],
    record: &'a Record,
    transform: &'a Transform,
}

impl<'a> RecordView<'a> {
    /// `buffer` is the one that `record` was decoded from.
    pub fn new(buffer: &'a [u8], record: &'a Record, transform: &'a Transform) -> Self {
        Self {
            buffer,
            record,
            transform,
        }
    }

    /// A text field: any bytes.
    pub fn text(&self, field: Text) -> Cow<'a, [u8]> {
        if self.transform.ignores(field.field()) {
            return Cow::Borrowed(&[]);
        }
        match field {
            Text::RawRequest => self.body(field, self.transform.decode_request),
            Text::RawResponse => self.body(field, self.transform.decode_response),
            _ => Cow::Borrowed(self.stored_text(field)),
        }
    }

    fn body(&self, field: Text, decode: bool) -> Cow<'a, [u8]> {
        if self.transform.omit_detailed {
            return Cow::Borrowed(&[]);
        }
        let mut text = self.stored_text(field);
        if self.transform.max_record_size > 0 {
            text = text.get(..self.transform.max_record_size).unwrap_or(text);
        }
        match decode.then(|| decode_base64(text)).flatten() {
            Some(decoded) => Cow::Owned(decoded),
            None => Cow::Borrowed(text),
        }
    }

    /// A raw request or response (`field`) without its base64, whether or not the options ask for that. `Err`: it is no
    /// base64 (any more), and this is the text as [`RecordView::text`] gives it.
    pub fn plain_body(&self, field: Text) -> Result<Cow<'a, [u8]>, Cow<'a, [u8]>> {
        if self.transform.omit_detailed || self.transform.ignores(field.field()) {
            return Ok(Cow::Borrowed(&[]));
        }
        match self.body(field, true) {
            Cow::Owned(decoded) => Ok(Cow::Owned(decoded)),
            Cow::Borrowed(text) => {
                // Trimming cuts anywhere; what stands before the cut is base64 still.
                let is_cut = text.len() < self.stored_text(field).len();
                let whole = text.get(..text.len() / 4 * 4).filter(|_| is_cut);
                match whole.and_then(decode_base64) {
                    Some(decoded) => Ok(Cow::Owned(decoded)),
                    None => Err(Cow::Borrowed(text)),
                }
            }
        }
    }

    /// A text field as it came, whatever the sink's options.
    pub fn stored_text(&self, field: Text) -> &'a [u8] {
        self.record.text[field as usize].of(self.buffer)
    }

    /// An integer field. [`Int::GeoNameId`] holds the bits of an unsigned value.
    pub fn int(&self, field: Int) -> i64 {
        if self.transform.ignores(field.field()) {
            return 0;
        }
        self.stored_int(field)
    }

    /// An integer field as it came, whatever the sink's options.
    pub fn stored_int(&self, field: Int) -> i64 {
        self.record.int[field as usize]
    }

    /// A float field.
    pub fn float(&self, field: Float) -> f64 {
        if self.transform.ignores(field.field()) {
            return 0.0;
        }
        self.record.float[field as usize]
    }

    /// A time field; [`Time::ZERO`] when ignored.
    pub fn time(&self, field: When) -> Time {
        if self.transform.ignores(field.field()) {
            return Time::ZERO;
        }
        self.record.time[field as usize]
    }

    /// A boolean field.
    pub fn flag(&self, field: Flag) -> bool {
        self.record.flag[field as usize] && !self.transform.ignores(field.field())
    }

    /// The tags; `None` when absent, which is not the same as empty.
    pub fn tags(&self) -> Option<Texts<'a>> {
        if self.transform.ignores(Field::Tags) {
            return None;
        }
        self.record.tags.as_deref().map(|spans| self.texts(spans))
    }

    /// Names of the client's city by language, sorted by language; `None` when absent.
    pub fn city_names(&self) -> Option<impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a>> {
        let names = self.rare(Field::Geo)?.city_names.as_ref()?;
        let buffer = self.buffer;
        Some(
            names
                .iter()
                .map(move |(language, name)| (language.of(buffer), name.of(buffer))),
        )
    }

    /// Root fields of the GraphQL operation; `None` when absent.
    pub fn root_fields(&self) -> Option<Texts<'a>> {
        let fields = self.rare(Field::GraphQlStats)?.root_fields.as_deref()?;
        Some(self.texts(fields))
    }

    /// Types that the GraphQL operation touches with the fields of each, sorted by type name; `None` when absent.
    pub fn types(&self) -> Option<impl ExactSizeIterator<Item = (&'a [u8], Option<Texts<'a>>)> + Clone + use<'a>> {
        let types = self.rare(Field::GraphQlStats)?.types.as_ref()?;
        let view = *self;
        Some(types.iter().map(move |(name, fields)| {
            let fields = fields.as_deref().map(|fields| view.texts(fields));
            (name.of(view.buffer), fields)
        }))
    }

    /// Errors of the GraphQL response; `None` when absent.
    pub fn errors(&self) -> Option<impl ExactSizeIterator<Item = ErrorView<'a>> + Clone + use<'a>> {
        let errors = self.rare(Field::GraphQlStats)?.errors.as_ref()?;
        let buffer = self.buffer;
        Some(errors.iter().map(move |error| ErrorView::new(buffer, error)))
    }

    /// Whether every text of the record, as it came, is valid UTF-8. Costs one pass over the texts.
    pub fn is_utf8(&self) -> bool {
        let valid = |span: &Span| span.len == 0 || is_utf8(span.of(self.buffer));
        let Record { text, tags, rare, .. } = self.record;
        text.iter().all(valid) && tags.iter().flatten().all(valid) && rare.as_ref().is_none_or(|rare| rare.all(valid))
    }

    fn rare(&self, field: Field) -> Option<&'a Rare> {
        if self.transform.ignores(field) {
            return None;
        }
        self.record.rare.as_deref()
    }

    fn texts(&self, spans: &'a [Span]) -> Texts<'a> {
        Texts {
            buffer: self.buffer,
            spans: spans.iter(),
        }
    }
}

/// Short texts are nearly always ASCII, which is cheaper to see than to validate; long ones are validated by vectors.
#[inline]
pub(crate) fn is_utf8(text: &[u8]) -> bool {
    (text.len() < 64 && text.is_ascii()) || simdutf8::basic::from_utf8(text).is_ok()
}

/// `None` when `text` is not base64.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    if !text.iter().any(is_break) {
        return BASE64.decode(text).ok();
    }
    let joined: Vec<u8> = text.iter().copied().filter(|byte| !is_break(byte)).collect();
    BASE64.decode(joined).ok()
}

/// The strings of a list.
#[derive(Clone, Debug)]
pub struct Texts<'a> {
    buffer: &'a [u8],
    spans: slice::Iter<'a, Span>,
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.spans.next().map(|span| span.of(self.buffer))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl ExactSizeIterator for Texts<'_> {}

/// One GraphQL error.
#[derive(Clone, Debug)]
pub struct ErrorView<'a> {
    /// Its text.
    pub message: &'a [u8],
    /// Where in the response it belongs; `None` when absent.
    pub path: Option<PathValues<'a>>,
}

impl<'a> ErrorView<'a> {
    fn new(buffer: &'a [u8], error: &'a GraphError) -> Self {
        ErrorView {
            message: error.message.of(buffer),
            path: error.path.as_deref().map(|items| PathValues {
                buffer,
                items: items.iter(),
            }),
        }
    }
}

/// One element of a GraphQL error's path.
#[derive(Clone, Debug)]
pub enum PathValue<'a> {
    /// null
    Null,
    /// true or false
    Bool(bool),
    /// A negative integer.
    Int(i64),
    /// Any other integer.
    Uint(u64),
    /// A float.
    Float(f64),
    /// A string of any bytes.
    Text(&'a [u8]),
    /// Bytes, which JSON shows as base64.
    Bytes(&'a [u8]),
    /// A list.
    List(PathValues<'a>),
    /// A map, which has no JSON form.
    Map(PathPairs<'a>),
}

impl<'a> PathValue<'a> {
    fn new(buffer: &'a [u8], item: &'a PathItem) -> Self {
        match item {
            PathItem::Null => PathValue::Null,
            PathItem::Bool(value) => PathValue::Bool(*value),
            PathItem::Int(value) => PathValue::Int(*value),
            PathItem::Uint(value) => PathValue::Uint(*value),
            PathItem::Float(value) => PathValue::Float(*value),
            PathItem::Text(span) => PathValue::Text(span.of(buffer)),
            PathItem::Bytes(span) => PathValue::Bytes(span.of(buffer)),
            PathItem::List(items) => PathValue::List(PathValues {
                buffer,
                items: items.iter(),
            }),
            PathItem::Map(pairs) => PathValue::Map(PathPairs {
                buffer,
                pairs: pairs.iter(),
            }),
        }
    }
}

/// The elements of a path, or of a list inside one.
#[derive(Clone, Debug)]
pub struct PathValues<'a> {
    buffer: &'a [u8],
    items: slice::Iter<'a, PathItem>,
}

impl<'a> Iterator for PathValues<'a> {
    type Item = PathValue<'a>;

    fn next(&mut self) -> Option<PathValue<'a>> {
        self.items.next().map(|item| PathValue::new(self.buffer, item))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl ExactSizeIterator for PathValues<'_> {}

/// The pairs of a map inside a path.
#[derive(Clone, Debug)]
pub struct PathPairs<'a> {
    buffer: &'a [u8],
    pairs: slice::Iter<'a, (PathItem, PathItem)>,
}

impl<'a> Iterator for PathPairs<'a> {
    type Item = (PathValue<'a>, PathValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.pairs.next()?;
        Some((PathValue::new(self.buffer, key), PathValue::new(self.buffer, value)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pairs.size_hint()
    }
}

impl ExactSizeIterator for PathPairs<'_> {}
