//! What is known about a sink type.

use analytics::RecordKind;
use futures::FutureExt;

use super::{Build, BuildContext, BuildError, Check, Gather, Guarantee, Indexes, Migrate};

/// One sink type: everything that the rest of the program, the documentation and the tests know about it.
pub struct SinkSpec {
    /// Value of `type` in a configuration.
    pub name: &'static str,
    /// Display name in logs and self-metrics, upstream's own ("CSV Pump").
    pub title: &'static str,
    /// `prefix` of its log lines ("csv-pump").
    pub log_prefix: &'static str,
    /// Default prefix of its environment variables ("TYK_PMP_PUMPS_CSV_META"); empty: no options.
    pub env_prefix: &'static str,
    /// Which records it takes.
    pub records: RecordKind,
    /// What it promises at best; see [`Sink::guarantee`](super::Sink::guarantee).
    pub guarantee: Guarantee,
    /// Group size.
    pub gather: Gather,
    /// Whether `raw_request_decoded` and `raw_response_decoded` have an effect; else they are refused with a warning.
    pub decodes_bodies: bool,
    /// Whether `write` is wanted although no row of a group passes the filters (CSV makes its file then).
    pub writes_empty: bool,
    /// Whether the lane logs `Purged N records...` after a write; `dummy` has a line of its own instead.
    pub purge_line: bool,
    /// JSON schema of the options struct; doc comments are the reference page.
    pub options: fn() -> schemars::Schema,
    /// Makes the sink.
    pub build: Build,
    /// The part of `build` that reads the options, for types that then connect, listen or open files: `tyk-pump check`
    /// does none of that. `None`: `build` reads the options and is done.
    pub check: Option<Check>,
    /// Lists or makes the changes to tables that the start would make, for back-ends that have tables.
    pub migrate: Option<Migrate>,
    /// Compares indexes with those that the pump wants, for back-ends whose existing collections a start leaves alone.
    pub indexes: Option<Indexes>,
}

impl SinkSpec {
    /// A type of traffic records, at least once, in windows, whose options may be anything. A sink names what it has
    /// otherwise: `SinkSpec { guarantee: …, ..SinkSpec::new(…) }`, so that a further field concerns only those that use it.
    pub const fn new(
        name: &'static str,
        title: &'static str,
        log_prefix: &'static str,
        env_prefix: &'static str,
        build: Build,
    ) -> SinkSpec {
        SinkSpec {
            name,
            title,
            log_prefix,
            env_prefix,
            records: RecordKind::Traffic,
            guarantee: Guarantee::AtLeastOnce,
            gather: Gather::WINDOW,
            decodes_bodies: true,
            writes_empty: false,
            purge_line: true,
            options: crate::options::any,
            build,
            check: None,
            migrate: None,
            indexes: None,
        }
    }
    /// Refuses what [`build`](Self::build) refuses, without reaching out to anything. What `build` warns of is logged as it
    /// is at a start.
    ///
    /// # Errors
    /// [`BuildError::Options`]; others only where not even the options can be looked at.
    pub fn validate(&self, context: &BuildContext) -> Result<(), BuildError> {
        match self.check {
            Some(check) => check(context),
            // What has to wait for something has read its options by then.
            None => (self.build)(context.clone())
                .now_or_never()
                .map_or(Ok(()), |built| built.map(drop)),
        }
    }
}
