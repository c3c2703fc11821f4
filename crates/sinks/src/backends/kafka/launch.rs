//! From rows to messages that the library has.

use std::{borrow::Cow, sync::Arc, time::Duration};

use analytics::{RecordView, RowId, Selection};
use rdkafka::{
    producer::{BaseRecord, Producer as _, PurgeConfig},
    types::RDKafkaErrorCode as Code,
};

use super::{
    Refused, Shared,
    client::{Producer, failure},
    flight::{Flight, Message},
    message::OVERHEAD,
    topics::{Ask, Topics},
};
use crate::WriteError;

/// How long to wait while the library has as many messages as it takes.
const FULL: Duration = Duration::from_millis(5);

/// Which rows of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Only(RowId),
}

/// Hands rows over to the library.
pub(super) struct Launch {
    pub(super) shared: Arc<Shared>,
    pub(super) producer: Arc<Producer>,
    pub(super) flight: Arc<Flight>,
    pub(super) which: Which,
    /// Rows that are passed over; those that cannot be messages are added.
    pub(super) refused: Refused,
}

/// The flight gets no more messages, however launching ends.
struct Launching<'a>(&'a Flight);

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        self.0.complete();
    }
}

impl Launch {
    /// It blocks: it encodes, and may have to ask brokers.
    pub(super) fn run(mut self, topics: &mut Topics, group: &[Selection]) -> (Refused, Result<(), WriteError>) {
        let flight = self.flight.clone();
        let launching = Launching(&flight);
        let outcome = self.launch(topics, group);
        if flight.is_given_up() {
            // A message may have slipped in beside the purge.
            self.producer.purge(PurgeConfig::default().queue());
        }
        drop(launching);
        (self.refused, outcome)
    }

    fn launch(&mut self, topics: &mut Topics, group: &[Selection]) -> Result<(), WriteError> {
        let mut value = Vec::with_capacity(1024);
        for (row, record) in group.iter().flat_map(Selection::records) {
            let is_meant = match self.which {
                Which::All => true,
                Which::Only(only) => only == row,
            };
            if !is_meant || self.refused.contains_key(&row) {
                continue;
            }
            if self.flight.is_given_up() {
                return Err(WriteError::retry("the write was given up"));
            }
            value.clear();
            if let Err(error) = self.shared.encoder.write(&mut value, &record) {
                self.refused.insert(row, error.to_string());
                continue;
            }
            self.hand_over(topics, row, &record, &value)?;
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        topics: &mut Topics,
        row: RowId,
        record: &RecordView<'_>,
        value: &[u8],
    ) -> Result<(), WriteError> {
        let Shared { encoder, limit, .. } = &*self.shared;
        let key: Option<Cow<'_, [u8]>> = encoder.key(record);
        let headers = encoder.headers(row);
        let of_headers = headers.as_ref().map_or(0, |(_, bytes)| *bytes);
        let bytes = value.len() + key.as_ref().map_or(0, |key| key.len()) + of_headers + OVERHEAD;
        if bytes > *limit {
            let reason = format!("the message has {bytes} bytes, and meta.batch_bytes allows {limit}");
            self.refused.insert(row, reason);
            return Ok(());
        }
        let ask = Ask {
            producer: &self.producer,
            troubles: self.shared.factory.troubles(),
            flight: &self.flight,
            patience: self.shared.patience,
        };
        let (topic, partitions) = topics.get(&encoder.topic(record), &ask)?;
        let message = Message::new(&self.flight, row, bytes, &topic);
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&topic, message).payload(value);
        record = match (&key, partitions.give(value.len())) {
            (Some(key), _) => record.key(key),
            (None, Some(partition)) => record.partition(partition),
            (None, None) => record,
        };
        if let Some((headers, _)) = headers {
            record = record.headers(headers);
        }
        while let Err((error, back)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(Code::QueueFull) {
                return Err(failure(&format!("topic \"{topic}\""), &error));
            }
            if self.flight.is_given_up() {
                return Err(WriteError::retry("the write was given up"));
            }
            record = back;
            std::thread::sleep(FULL);
        }
        Ok(())
    }
}
