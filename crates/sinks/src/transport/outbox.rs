//! Groups that go out in several requests: packing, sending side by side, splitting what is too large, and what became of
//! every row.

mod body_limit;
mod parcels;
mod tally;

use std::{collections::VecDeque, sync::Arc};

use analytics::Selection;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use self::body_limit::BodyLimit;
pub(crate) use self::{
    parcels::{Packing, Parcel, Parcels},
    tally::{Fate, Tally},
};
use super::http::Answer;
use crate::{Applied, WriteError, Written};

/// Single rows that are too large, before any other was accepted, after which the rest of a group is not tried.
const SUSPECTS: usize = 20;

/// What a back-end says of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It has every row.
    Accepted,
    /// It will have every row, and says so later: the sink marks them then.
    Unconfirmed,
    /// Row by row, in the request's order.
    Each(Vec<Fate>),
    /// The request is too large, with its reason; nothing of it is accepted.
    TooLarge(String),
}

impl Reply {
    /// What the answer means whose success is a success for every row.
    ///
    /// # Errors
    /// See [`Answer::accepted`].
    pub(crate) fn to_all(answer: Answer) -> Result<Reply, WriteError> {
        if answer.status.as_u16() == 413 {
            return Ok(Reply::TooLarge(answer.describe()));
        }
        answer.accepted().map(|_| Reply::Accepted)
    }
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// At most so many wait for their answers at the same time.
    AtOnce(usize),
    /// The same, but the first one goes alone: a service that is down, or refuses everything, is asked once.
    OneFirst(usize),
}

impl Pace {
    /// For services on the Internet.
    pub(crate) const SERVICE: Pace = Pace::OneFirst(4);
}

/// Sends the rows of groups in parcels. It remembers no rows: what is accepted stands in the lane's [`Applied`].
#[derive(Debug)]
pub(crate) struct Outbox {
    log_prefix: &'static str,
    pub(crate) packing: Packing,
    pace: Pace,
    /// What the back-end has said about the size of requests.
    limit: BodyLimit,
}

impl Outbox {
    pub(crate) fn new(log_prefix: &'static str, packing: Packing, pace: Pace) -> Outbox {
        Outbox {
            log_prefix,
            packing,
            pace,
            limit: BodyLimit::new(packing.bytes),
        }
    }

    /// `pack` encodes the rows of the group that are not applied yet, in a thread of its own; `send` sends one parcel.
    ///
    /// # Errors
    /// The first request that failed as a whole, after those that were on their way have ended; else rows that somebody must
    /// change something for, or that are only accepted later. Rows that are accepted are marked in any case.
    pub(crate) async fn deliver<Sending: Future<Output = Result<Reply, WriteError>>>(
        &self,
        group: &[Selection],
        applied: &Arc<Applied>,
        pack: impl FnOnce(&[Selection], &mut Parcels) + Send + 'static,
        send: impl Fn(Parcel) -> Sending,
    ) -> Result<Written, WriteError> {
        let packing = Packing {
            bytes: self.limit.bytes(),
            ..self.packing
        };
        let (group, known) = (group.to_vec(), applied.clone());
        // Packing waits for sending, so that a group takes the memory of a few parcels, whatever its rows become.
        let (out, mut packed) = mpsc::channel(1);
        let packing = tokio::task::spawn_blocking(move || {
            let mut parcels = Parcels::new(packing, out);
            pack(&known.rest_of(&group), &mut parcels);
            parcels.close()
        });
        let mut tally = Tally::default();
        let mut waiting = VecDeque::new();
        let mut under_way = FuturesUnordered::new();
        let (mut at_once, later_at_once) = match self.pace {
            Pace::AtOnce(count) => (count, count),
            Pace::OneFirst(count) => (1, count),
        };
        let (mut all_packed, mut failed, mut lonely, mut hopeless) = (false, None, 0, None);
        loop {
            let has_room = failed.is_none() && hopeless.is_none() && under_way.len() < at_once;
            if has_room && let Some(parcel) = waiting.pop_front() {
                if let Some((left, right)) = self.split(&parcel) {
                    waiting.push_front(right);
                    waiting.push_front(left);
                } else {
                    let sending = send(parcel.clone());
                    under_way.push(async move { (parcel, sending.await) });
                }
                continue;
            }
            let (parcel, reply): (Parcel, _) = tokio::select! {
                biased;
                Some(answered) = under_way.next() => answered,
                parcel = packed.recv(), if has_room && !all_packed => {
                    all_packed = parcel.is_none();
                    waiting.extend(parcel);
                    continue;
                }
                else => break,
            };
            match reply {
                Ok(Reply::Accepted) => {
                    at_once = later_at_once;
                    tally.accepted = true;
                    applied.mark(parcel.rows.iter().copied());
                }
                Ok(Reply::Unconfirmed) => {
                    at_once = later_at_once;
                    tally.accepted = true;
                }
                Ok(Reply::Each(fates)) => {
                    at_once = later_at_once;
                    for (&row, fate) in parcel.rows.iter().zip(fates) {
                        tally.add(applied, row, fate);
                    }
                }
                Ok(Reply::TooLarge(why)) => match parcel.halves() {
                    Some((left, right)) => {
                        self.lower(parcel.body.len(), &why);
                        waiting.push_front(right);
                        waiting.push_front(left);
                    }
                    None => {
                        lonely += parcel.rows.len();
                        for &row in parcel.rows.iter() {
                            tally.add(applied, row, Fate::Rejected(why.clone()));
                        }
                        if lonely > SUSPECTS && !tally.accepted {
                            hopeless = Some(why);
                        }
                    }
                },
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(why) = hopeless {
            // Nothing at all passes: the lane judges by those that were tried whether that is the rows' fault.
            self.limit.restore();
            return Err(tally.refused(why));
        }
        tally.reject(packing.await.map_err(WriteError::retry)?);
        if tally.refuses_everything() {
            self.limit.restore();
        }
        tally.finish()
    }

    /// In two, if it is larger than requests may be by now.
    fn split(&self, parcel: &Parcel) -> Option<(Parcel, Parcel)> {
        let is_too_large = parcel.body.len() > self.limit.bytes();
        is_too_large.then(|| parcel.halves()).flatten()
    }

    fn lower(&self, size: usize, why: &str) {
        let limit = self.limit.lower(size);
        tracing::warn!(
            prefix = self.log_prefix,
            "{why} – requests of this pump stay below {limit} bytes for an hour"
        );
    }
}

#[cfg(test)]
mod tests;
