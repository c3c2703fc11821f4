//! The conformance suite, and back-ends to run it against.

/// How the suite starts and inspects a back-end.
pub struct Harness {}
