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

/// Whether a segment begins with a whole image.
pub(super) fn begins(segment: &Segment) -> io::Result<bool> {
    let header = segment.copy(0, (HEADER as u32).min(segment.filled() as u32))?;
    let Some(len) = frame::length(&header) else {
        return Ok(false);
    };
    let end = (HEADER + len) as u32;
    if u64::from(end) > segment.filled() {
        return Ok(false);
    }
    Ok(match frame::read(&segment.copy(0, end)?) {
        Some(Payload::Change(json)) => matches!(serde_json::from_slice(json), Ok(Change::Image(_))),
        _ => false,
    })
}
