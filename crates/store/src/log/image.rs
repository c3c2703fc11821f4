//! The state at the head of a segment.

use std::io;

use serde::Serialize;

use super::{
    frame::{self, HEADER, Payload},
    segment::Segment,
    state::{Change, State},
};

/// The image as it is written.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ImageOf<'a> {
    Image(&'a State),
}

/// The frame of an image of this state.
pub(super) fn frame(state: &State) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(&ImageOf::Image(state)).map_err(io::Error::other)?;
    Ok(frame::change(&json))
}

/// Whether a segment begins with a whole image, behind its head.
pub(super) fn begins(segment: &Segment) -> io::Result<bool> {
    let (start, filled) = (segment.first(), segment.filled() as u32);
    let mark = segment.mark(start);
    let header = segment.copy(start, (start + HEADER as u32).min(filled))?;
    let Some(len) = frame::length(&header, mark) else {
        return Ok(false);
    };
    let end = start + (HEADER + len) as u32;
    if end > filled {
        return Ok(false);
    }
    Ok(match frame::read(&segment.copy(start, end)?, mark) {
        Some(Payload::Change(json)) => matches!(serde_json::from_slice(json), Ok(Change::Image(_))),
        _ => false,
    })
}
