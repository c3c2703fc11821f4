//! The sink `hybrid`: a bridge against servers that behave, misbehave and come back.

#![allow(clippy::unwrap_used, clippy::panic)]

mod aggregates;
mod link;
mod mdcb;
mod records;
