//! A record that is being made up.

use analytics::{
    Flag, Float, Int, Record, RecordView, Span, Text, Time, Transform, When, Wire, Zone, gotime::Civil, msgpack,
    protobuf,
};

/// A record that is being made up, field by field; what is not set is zero or empty.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    buffer: Vec<u8>,
    record: Record,
}

impl Draft {
    fn span(&mut self, text: &str) -> Span {
        let start = self.buffer.len() as u32;
        self.buffer.extend_from_slice(text.as_bytes());
        Span {
            start,
            len: text.len() as u32,
        }
    }

    /// Sets a text.
    pub fn text(&mut self, field: Text, text: &str) -> &mut Self {
        self.record.text[field as usize] = self.span(text);
        self
    }

    /// Sets an integer.
    pub fn int(&mut self, field: Int, value: i64) -> &mut Self {
        self.record.int[field as usize] = value;
        self
    }

    /// Sets a float.
    pub fn float(&mut self, field: Float, value: f64) -> &mut Self {
        self.record.float[field as usize] = value;
        self
    }

    /// Sets a boolean.
    pub fn flag(&mut self, field: Flag, value: bool) -> &mut Self {
        self.record.flag[field as usize] = value;
        self
    }

    /// Sets a time.
    pub fn time(&mut self, field: When, time: Time) -> &mut Self {
        self.record.time[field as usize] = time;
        self
    }

    /// Sets the tags.
    pub fn tags(&mut self, tags: &[&str]) -> &mut Self {
        self.record.tags = Some(tags.iter().map(|tag| self.span(tag)).collect());
        self
    }

    /// Sets the time stamp, and day, month, year and hour from it (UTC).
    pub fn recorded_at(&mut self, seconds: i64, nanos: u32) -> &mut Self {
        let time = Time {
            seconds,
            nanos,
            zone: Zone::UTC,
        };
        let civil = Civil::of(time);
        self.time(When::TimeStamp, time)
            .int(Int::Day, civil.day.into())
            .int(Int::Month, civil.month.into())
            .int(Int::Year, civil.year)
            .int(Int::Hour, civil.hour.into())
    }

    /// The list element, as a gateway encodes it.
    pub fn encode(&self, wire: Wire) -> Vec<u8> {
        let transform = Transform::default();
        let view = RecordView::new(&self.buffer, &self.record, &transform);
        let mut element = Vec::with_capacity(1024 + self.buffer.len());
        match wire {
            Wire::Msgpack => msgpack::encode(&mut element, &view),
            Wire::Protobuf => protobuf::encode(&mut element, &view),
        }
        element
    }
}
