//! Decoding of a sink's `meta`.
