//! Writing points: requests, and which points a server refuses.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use analytics::{RowId, Selection};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    line::Lines,
    refusal::{Refusal, is_precision, remedy},
};
use crate::{
    Applied, Rejected, WriteError, Written,
    transport::{
        http::{Answer, HttpClient, Request, Url, header::HeaderValue},
        outbox::{Fate, Outbox, Pace, Packing, Parcel, Parcels, Reply},
    },
};

/// A line feed ends each line. Servers take 10 MB and more in a request, and advise 5,000 points.
const PACKING: Packing = Packing {
    separator: b"",
    rows: 5_000,
    bytes: 8 << 20,
};
/// Requests without the points that the server has named before the rest is halved: it names one at a time then.
const ROUNDS: usize = 8;
/// Points that were refused one by one, with none accepted before them, that look like a wrong set-up.
const SUSPICIOUS: usize = 25;

/// Where points go.
pub(super) struct Target {
    pub(super) client: HttpClient,
    /// With every parameter.
    pub(super) url: Url,
    /// The same with a unit of times that every server knows, if the first one is upstream's, which some refuse.
    pub(super) instead: Option<Url>,
    pub(super) authorization: Option<HeaderValue>,
    /// Upstream's client of InfluxDB 1 says that it does not know.
    pub(super) empty_content_type: bool,
}

/// Sends points, in groups as they come.
pub(super) struct Writer {
    log_prefix: &'static str,
    target: Target,
    /// Whether `target.instead` is used.
    instead: AtomicBool,
    lines: Arc<Lines>,
    outbox: Outbox,
}

/// What came of a request.
enum Posted {
    Written,
    TooLarge(String),
    Refused(Refusal, String),
}

impl Writer {
    pub(super) fn new(log_prefix: &'static str, target: Target, lines: Lines) -> Writer {
        Writer {
            log_prefix,
            target,
            instead: AtomicBool::new(false),
            lines: Arc::new(lines),
            outbox: Outbox::new(log_prefix, PACKING, Pace::AtOnce(1)),
        }
    }

    /// Whether a row that comes again overwrites itself.
    pub(super) fn is_exact(&self) -> bool {
        self.lines.are_steady()
    }

    /// As [`crate::Sink::write`].
    pub(super) async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let lines = self.lines.clone();
        let pack = move |group: &[Selection], parcels: &mut Parcels| {
            for (row, record) in group.iter().flat_map(Selection::records) {
                parcels.write(row, |out| {
                    lines.write(out, row, &record);
                    Ok::<_, String>(true)
                });
            }
        };
        let send = |parcel: Parcel| self.send(parcel, applied);
        self.outbox.deliver(group, applied, pack, send).await
    }

    /// Sends a parcel, and what is left of it when points are refused: those that a server has written already are written
    /// once more, which changes nothing.
    async fn send(&self, parcel: Parcel, applied: &Applied) -> Result<Reply, WriteError> {
        let mut refused: BTreeMap<RowId, String> = BTreeMap::new();
        let (mut accepted, mut rounds, mut guilty) = (false, 0, 0);
        let mut waiting = vec![parcel.clone()];
        while let Some(part) = waiting.pop() {
            let (refusal, reason) = match self.post(&part).await? {
                Posted::Written => {
                    accepted = true;
                    applied.mark(part.rows.iter().copied());
                    continue;
                }
                Posted::TooLarge(why) if part.rows.len() == parcel.rows.len() => return Ok(Reply::TooLarge(why)),
                Posted::TooLarge(why) => (Refusal::default(), why),
                Posted::Refused(refusal, reason) => (refusal, reason),
            };
            rounds += 1;
            if !refusal.named.is_empty() && rounds <= ROUNDS {
                for (&at, why) in &refusal.named {
                    refused.extend(part.rows.get(at).map(|&row| (row, why.clone())));
                }
                waiting.extend(part.retain(|at| !refusal.named.contains_key(&at)));
            } else if refusal.dropped == Some(part.rows.len()) {
                refused.extend(part.rows.iter().map(|&row| (row, reason.clone())));
            } else if let Some((left, right)) = part.halves() {
                waiting.extend([right, left]);
            } else {
                guilty += 1;
                refused.extend(part.rows.iter().map(|&row| (row, reason.clone())));
            }
            if !accepted && guilty >= SUSPICIOUS && !waiting.is_empty() {
                let rows = refused.into_iter().map(|(row, reason)| Rejected { row, reason });
                return Err(WriteError::Reject {
                    rows: rows.collect(),
                    source: reason.into(),
                });
            }
        }
        if refused.is_empty() {
            return Ok(Reply::Accepted);
        }
        let mut fate = |row: &RowId| refused.remove(row).map_or(Fate::Accepted, Fate::Rejected);
        Ok(Reply::Each(parcel.rows.iter().map(&mut fate).collect()))
    }

    async fn post(&self, parcel: &Parcel) -> Result<Posted, WriteError> {
        let mut answer = self.request(parcel).await?;
        if self.target.instead.is_some() && is_precision(&answer) && !self.instead.swap(true, Relaxed) {
            tracing::warn!(
                prefix = self.log_prefix,
                "the server does not know upstream's name for the unit of times (precision=us), so that it would take no \
                 point: the pump writes precision=ns"
            );
            answer = self.request(parcel).await?;
        }
        if let Some(remedy) = remedy(&answer) {
            return Err(WriteError::Config(format!("{} – {remedy}", answer.describe()).into()));
        }
        match answer.status.as_u16() {
            413 => Ok(Posted::TooLarge(answer.describe())),
            400 | 422 => Ok(Posted::Refused(Refusal::read(&answer, parcel), answer.describe())),
            _ => {
                let answer = answer.accepted()?;
                let refusal = match answer.body.is_empty() {
                    true => Refusal::default(),
                    // Early versions of InfluxDB 3 say 201 when they have written the other points.
                    false => Refusal::read(&answer, parcel),
                };
                if refusal.named.is_empty() {
                    return Ok(Posted::Written);
                }
                Ok(Posted::Refused(refusal, answer.describe()))
            }
        }
    }

    async fn request(&self, parcel: &Parcel) -> Result<Answer, WriteError> {
        let target = &self.target;
        let instead = target.instead.as_ref().filter(|_| self.instead.load(Relaxed));
        let mut request = Request::post(instead.unwrap_or(&target.url).clone())
            .authorization(target.authorization.as_ref())
            .body(parcel.body.clone());
        if target.empty_content_type {
            request = request.header("content-type", "");
        }
        target.client.send(request).await
    }
}

/// `base` with `path` appended and these parameters, escaped as Go escapes them.
pub(super) fn address(base: &Url, path: &str, parameters: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url.set_fragment(None);
    let query: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect();
    url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
    url
}

fn escape(value: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b' ');
    utf8_percent_encode(value, ESCAPED).to_string().replace(' ', "+")
}
