//! Lanes: one for each pump, from claims to acknowledgements.

pub mod status;
