//! A traffic record as positions in the bytes it was decoded from.

use smallvec::SmallVec;

use crate::{Flag, Float, Int, RecordView, Text, Transform, When, Zone, gotime::Civil};

/// A byte range inside the buffer of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of this span; empty if `buffer` is not the one that it was made for.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let start = self.start as usize;
        buffer
            .get(start..start.saturating_add(self.len as usize))
            .unwrap_or_default()
    }
}

/// An instant together with the zone in which the reference would print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z; may be far outside the years that calendars handle.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
    /// Zone of every rendering.
    pub zone: Zone,
}

impl Time {
    /// Go's zero time: year 1, January 1, UTC. What a field without a value holds.
    pub const ZERO: Time = Time {
        seconds: -62_135_596_800,
        nanos: 0,
        zone: Zone::UTC,
    };

    /// An instant whose nanoseconds may be outside of one second. Seconds beyond 64 bits wrap, as Go's do.
    pub fn normalised(seconds: i64, nanos: i64, zone: Zone) -> Time {
        Time {
            seconds: seconds.wrapping_add(nanos.div_euclid(1_000_000_000)),
            nanos: nanos.rem_euclid(1_000_000_000) as u32,
            zone,
        }
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::ZERO
    }
}

/// A traffic record. Text fields are spans of the batch's buffer and may hold any bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Text fields, by [`Text`].
    pub text: [Span; Text::COUNT],
    /// Integers, by [`Int`]. `Int::GeoNameId` holds the bits of an unsigned value.
    pub int: [i64; Int::COUNT],
    /// Floats, by [`Float`].
    pub float: [f64; Float::COUNT],
    /// Times, by [`When`].
    pub time: [Time; When::COUNT],
    /// Booleans, by [`Flag`].
    pub flag: [bool; Flag::COUNT],
    /// `Tags`; `None` when absent, which is not the same as empty.
    pub tags: Option<SmallVec<[Span; 4]>>,
    /// Parts that few records have.
    pub rare: Option<Box<Rare>>,
}

/// Lists and maps that only GraphQL records and records with a located client carry. `None` = absent on the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rare {
    /// `Geo.City.Names`, language to name, sorted by language; a later duplicate has replaced an earlier one.
    pub city_names: Option<Vec<(Span, Span)>>,
    /// `GraphQLStats.RootFields`.
    pub root_fields: Option<Vec<Span>>,
    /// `GraphQLStats.Types`: type name to its fields, sorted by name without duplicates.
    pub types: Option<Vec<(Span, Option<Vec<Span>>)>>,
    /// `GraphQLStats.Errors`.
    pub errors: Option<Vec<GraphError>>,
}

impl Rare {
    /// Puts the maps' entries in order; of duplicates only the last one stays.
    pub(crate) fn sort(&mut self, buffer: &[u8]) {
        if let Some(names) = &mut self.city_names {
            sort_by_key(names, buffer);
        }
        if let Some(types) = &mut self.types {
            sort_by_key(types, buffer);
        }
    }

    /// Whether `valid` holds for every text.
    pub(crate) fn all(&self, mut valid: impl FnMut(&Span) -> bool) -> bool {
        let mut names = self.city_names.iter().flatten().flat_map(|(key, value)| [key, value]);
        let mut root_fields = self.root_fields.iter().flatten();
        let mut types = self.types.iter().flatten();
        let mut errors = self.errors.iter().flatten();
        names.all(&mut valid)
            && root_fields.all(&mut valid)
            && types.all(|(name, fields)| valid(name) && fields.iter().flatten().all(&mut valid))
            && errors.all(|error| valid(&error.message) && error.path.iter().flatten().all(|item| item.all(&mut valid)))
    }
}

/// One GraphQL error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphError {
    /// Its text.
    pub message: Span,
    /// Where in the response it belongs; `None` when absent.
    pub path: Option<Vec<PathItem>>,
}

/// One element of a GraphQL error's path; msgpack allows anything there.
#[derive(Clone, Debug, PartialEq)]
pub enum PathItem {
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
    /// A string.
    Text(Span),
    /// A msgpack bin value.
    Bytes(Span),
    /// A list.
    List(Vec<PathItem>),
    /// A map, which has no JSON form.
    Map(Vec<(PathItem, PathItem)>),
}

fn sort_by_key<V>(entries: &mut Vec<(Span, V)>, buffer: &[u8]) {
    entries.reverse();
    entries.sort_by(|(a, _), (b, _)| a.of(buffer).cmp(b.of(buffer)));
    entries.dedup_by(|(a, _), (b, _)| a.of(buffer) == b.of(buffer));
}

impl PathItem {
    /// Whether `valid` holds for every text.
    fn all(&self, valid: &mut dyn FnMut(&Span) -> bool) -> bool {
        match self {
            PathItem::Text(span) => valid(span),
            PathItem::List(items) => items.iter().all(|item| item.all(valid)),
            PathItem::Map(pairs) => pairs.iter().all(|(key, value)| key.all(valid) && value.all(valid)),
            _ => true,
        }
    }
}

/// Why bytes are no record. `Display` gives the reason as the reference words it where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before an item begins.
    #[error("EOF")]
    Eof,
    /// The bytes end inside an item.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// A msgpack code that the field cannot hold.
    #[error("msgpack: invalid code {code:x} decoding {what}")]
    InvalidCode {
        /// The first byte of the offending item.
        code: u8,
        /// What was expected there.
        what: &'static str,
    },
    /// Nested deeper than any encoder nests.
    #[error("msgpack: nested deeper than {0} levels")]
    TooDeep(usize),
    /// Malformed protobuf.
    #[error("proto: {0}")]
    Protobuf(&'static str),
    /// A protobuf string that is not UTF-8.
    #[error("proto: field {0} contains invalid UTF-8")]
    InvalidUtf8(&'static str),
}

/// Makes records where none are decoded: demonstration data, generated load, tests.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    buffer: Vec<u8>,
    record: Record,
}

impl Builder {
    /// A record without any value.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Keeps `text` and returns where, for [`PathItem`]s.
    pub fn keep(&mut self, text: impl AsRef<[u8]>) -> Span {
        let text = text.as_ref();
        let span = Span {
            start: self.buffer.len() as u32,
            len: text.len() as u32,
        };
        self.buffer.extend_from_slice(text);
        span
    }

    fn keep_all(&mut self, texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Span> {
        texts.into_iter().map(|text| self.keep(text)).collect()
    }

    fn rare(&mut self) -> &mut Rare {
        self.record.rare.get_or_insert_default()
    }

    /// Sets a text field.
    pub fn text(&mut self, field: Text, text: impl AsRef<[u8]>) -> &mut Self {
        self.record.text[field as usize] = self.keep(text);
        self
    }

    /// Sets an integer field.
    pub fn int(&mut self, field: Int, value: i64) -> &mut Self {
        self.record.int[field as usize] = value;
        self
    }

    /// Sets a float field.
    pub fn float(&mut self, field: Float, value: f64) -> &mut Self {
        self.record.float[field as usize] = value;
        self
    }

    /// Sets a time field.
    pub fn time(&mut self, field: When, value: Time) -> &mut Self {
        self.record.time[field as usize] = value;
        self
    }

    /// Sets the time stamp, and day, month, year and hour as its zone's clock shows them.
    pub fn recorded_at(&mut self, time: Time) -> &mut Self {
        let civil = Civil::of(time);
        self.time(When::TimeStamp, time)
            .int(Int::Day, civil.day.into())
            .int(Int::Month, civil.month.into())
            .int(Int::Year, civil.year)
            .int(Int::Hour, civil.hour.into())
    }

    /// Sets a boolean field.
    pub fn flag(&mut self, field: Flag, value: bool) -> &mut Self {
        self.record.flag[field as usize] = value;
        self
    }

    /// Sets the tags.
    pub fn tags(&mut self, tags: impl IntoIterator<Item = impl AsRef<[u8]>>) -> &mut Self {
        self.record.tags = Some(self.keep_all(tags).into());
        self
    }

    /// Sets the names of the client's city by language.
    pub fn city_names<T: AsRef<[u8]>>(&mut self, names: impl IntoIterator<Item = (T, T)>) -> &mut Self {
        let names = names
            .into_iter()
            .map(|(language, name)| (self.keep(language), self.keep(name)))
            .collect();
        self.rare().city_names = Some(names);
        self.sorted()
    }

    /// Sets the root fields of the GraphQL operation.
    pub fn root_fields(&mut self, fields: impl IntoIterator<Item = impl AsRef<[u8]>>) -> &mut Self {
        let fields = self.keep_all(fields);
        self.rare().root_fields = Some(fields);
        self
    }

    /// Sets the types that the GraphQL operation touches with the fields of each.
    pub fn types<T: AsRef<[u8]>>(&mut self, types: impl IntoIterator<Item = (T, Option<Vec<T>>)>) -> &mut Self {
        let types = types
            .into_iter()
            .map(|(name, fields)| (self.keep(name), fields.map(|fields| self.keep_all(fields))))
            .collect();
        self.rare().types = Some(types);
        self.sorted()
    }

    /// Sets the errors of the GraphQL response; their texts come from [`Builder::keep`].
    pub fn errors(&mut self, errors: Vec<GraphError>) -> &mut Self {
        self.rare().errors = Some(errors);
        self
    }

    fn sorted(&mut self) -> &mut Self {
        if let Some(rare) = &mut self.record.rare {
            rare.sort(&self.buffer);
        }
        self
    }

    /// The record as it is so far, unchanged by any option.
    pub fn view(&self) -> RecordView<'_> {
        RecordView::new(&self.buffer, &self.record, &Transform::NONE)
    }

    /// The record and the bytes that it holds positions of.
    pub fn build(self) -> (Vec<u8>, Record) {
        (self.buffer, self.record)
    }
}
