//! Around every sink: what its back-end says is freed of secrets and of what repeats records before the lane hears it.

use std::{borrow::Cow, sync::Arc};

use analytics::{ClaimId, RowRanges, Selection};
use async_trait::async_trait;
use serde_json::Value;
use sinks::{Applied, BoxError, BuildError, Guarantee, Rejected, Resource, Sink, WriteError, Written};

use crate::scrub::{self, Contents, Group};

/// A sink whose errors can be shown to anybody.
pub(super) struct Discreet {
    sink: Box<dyn Sink>,
    /// The pump's options as a text.
    own: Arc<str>,
}

impl Discreet {
    /// Around a sink with these options.
    pub(super) fn new(sink: Box<dyn Sink>, meta: &Value) -> Self {
        Self {
            sink,
            own: meta.to_string().into(),
        }
    }

    fn error(&self, error: WriteError, records: &[Selection]) -> WriteError {
        let group = Group {
            records,
            own: &self.own,
        };
        match error {
            WriteError::Retry { after, source } => WriteError::Retry {
                after,
                source: plain(source, group),
            },
            WriteError::Reject { mut rows, source } => {
                reasons(&mut rows, group);
                WriteError::Reject {
                    rows,
                    source: plain(source, group),
                }
            }
            WriteError::Config(source) => WriteError::Config(plain(source, group)),
        }
    }
}

/// The same for what keeps a sink from being made.
pub(super) fn build_error(error: BuildError) -> BuildError {
    let group = Group { records: &[], own: "" };
    match error {
        BuildError::Options(mut text) => {
            clean(&mut text, group);
            BuildError::Options(text)
        }
        BuildError::Unavailable(source) => BuildError::Unavailable(plain(source, group)),
        BuildError::Occupied(source) => BuildError::Occupied(plain(source, group)),
    }
}

/// What is said of rows. A back-end may refuse every row of a large group, each in words of its own.
fn reasons(rows: &mut [Rejected], group: Group<'_>) {
    if let [row] = rows {
        return clean(&mut row.reason, group);
    }
    if rows.is_empty() {
        return;
    }
    let contents = Contents::of(group);
    for row in rows {
        if let Cow::Owned(clean) = contents.words(&row.reason) {
            row.reason = clean;
        }
    }
}

fn clean(text: &mut String, group: Group<'_>) {
    if let Cow::Owned(clean) = scrub::words(text, group) {
        *text = clean;
    }
}

/// The error itself where there is nothing to hide, so that its causes can still be looked at.
fn plain(error: BoxError, group: Group<'_>) -> BoxError {
    match scrub::words(&error.to_string(), group) {
        Cow::Borrowed(_) => error,
        Cow::Owned(text) => text.into(),
    }
}

#[async_trait]
impl Sink for Discreet {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let written = self.sink.write(group, applied).await;
        let mut written = written.map_err(|error| self.error(error, group))?;
        let group = Group {
            records: group,
            own: &self.own,
        };
        reasons(&mut written.rejected, group);
        Ok(written)
    }

    fn guarantee(&self) -> Option<Guarantee> {
        self.sink.guarantee()
    }

    fn notice(&self) -> Option<String> {
        let mut notice = self.sink.notice()?;
        let own = Group {
            records: &[],
            own: &self.own,
        };
        clean(&mut notice, own);
        Some(notice)
    }

    fn resources(&self) -> Vec<Resource> {
        self.sink.resources()
    }

    async fn forget(&self, claims: &[ClaimId]) {
        self.sink.forget(claims).await;
    }

    async fn applied(&self, claim: ClaimId, former: Option<&str>) -> Result<Option<RowRanges>, WriteError> {
        let applied = self.sink.applied(claim, former).await;
        applied.map_err(|error| self.error(error, &[]))
    }

    async fn close(&self) -> Result<(), WriteError> {
        self.sink.close().await.map_err(|error| self.error(error, &[]))
    }
}
