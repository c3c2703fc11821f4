//! A record as one sink sees it: after omitting, trimming, ignoring and decoding.

use std::borrow::Cow;

use crate::{Flag, Float, Int, Record, Text, Time, Transform, When};

/// A record as one sink sees it. Cheap to copy.
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

    /// A text field.
    pub fn text(&self, field: Text) -> Cow<'a, [u8]> {
        Cow::Borrowed(self.record.text[field as usize].of(self.buffer))
    }

    /// An integer field.
    pub fn int(&self, field: Int) -> i64 {
        self.record.int[field as usize]
    }

    /// A float field.
    pub fn float(&self, field: Float) -> f64 {
        self.record.float[field as usize]
    }

    /// A time field.
    pub fn time(&self, field: When) -> Time {
        self.record.time[field as usize]
    }

    /// A boolean field.
    pub fn flag(&self, field: Flag) -> bool {
        self.record.flag[field as usize] && self.transform.ignored == 0
    }
}
