//! What operators do to the pump's own store while it runs: its folder belongs to this process, so the subcommands
//! `claims` and `dlq` ask here.

use std::sync::Arc;

use axum::{
    extract::Query,
    http::{StatusCode, Uri},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::json;

use super::json_answer;
use crate::source::{DeadLetter, DeadLetterId, ElementForm, Source, SourceError};

/// What is wanted: a call of [`Source`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Wanted {
    /// [`Source::list`]
    List,
    /// [`Source::drop_lane`]
    DropLane {
        /// Lane.
        lane: String,
    },
    /// [`Source::adopt_lane`]
    AdoptLane {
        /// The name it had.
        old: String,
        /// The name it has.
        new: String,
    },
    /// [`Source::list_dead`]
    ListDead {
        /// Of this lane alone.
        lane: Option<String>,
        /// At most so many.
        #[serde(deserialize_with = "number")]
        limit: usize,
    },
    /// [`Source::remove_dead`]
    RemoveDead {
        /// Lane of all of them.
        lane: String,
        /// `<claim>/<row>`, separated by commas.
        rows: String,
    },
}

/// A number in a query is text, which serde does not take for a number within an enum.
fn number<'de, D: Deserializer<'de>>(text: D) -> Result<usize, D::Error> {
    String::deserialize(text)?.parse().map_err(D::Error::custom)
}

/// A dead letter on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letter {
    lane: Arc<str>,
    key: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    form: Option<ElementForm>,
    row: String,
    cause: String,
    at_ms: u64,
    /// Base64.
    raw: String,
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Letter {
            lane: letter.lane,
            key: letter.key,
            form: letter.form,
            row: letter.row.to_string(),
            cause: letter.cause,
            at_ms: letter.at_ms,
            raw: STANDARD.encode(&letter.raw),
        }
    }
}

impl Letter {
    /// The letter; `None`: it is none of this version.
    pub fn decode(self) -> Option<DeadLetter> {
        Some(DeadLetter {
            lane: self.lane,
            key: self.key,
            form: self.form,
            row: row_id(&self.row)?,
            cause: self.cause,
            at_ms: self.at_ms,
            raw: Bytes::from(STANDARD.decode(&self.raw).ok()?),
        })
    }
}

fn row_id(text: &str) -> Option<analytics::RowId> {
    let (claim, row) = text.split_once('/')?;
    Some(analytics::RowId {
        claim: analytics::ClaimId(claim.parse().ok()?),
        row: row.parse().ok()?,
    })
}

pub(super) async fn answer(source: Option<Arc<dyn Source>>, uri: &Uri) -> Response {
    let wanted = match Query::<Wanted>::try_from_uri(uri) {
        Ok(Query(wanted)) => wanted,
        Err(error) => return json_answer(StatusCode::BAD_REQUEST, &json!({ "error": error.body_text() })),
    };
    let Some(source) = source else {
        let error = "the pump is still starting";
        return json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error }));
    };
    match carry_out(&*source, wanted).await {
        Ok(answer) => json_answer(StatusCode::OK, &answer),
        Err(error) => json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.to_string() })),
    }
}

async fn carry_out(source: &dyn Source, wanted: Wanted) -> Result<serde_json::Value, SourceError> {
    Ok(match wanted {
        Wanted::List => json!({ "claims": source.list().await? }),
        Wanted::DropLane { lane } => json!({ "rows": source.drop_lane(&lane).await? }),
        Wanted::AdoptLane { old, new } => json!({ "rows": source.adopt_lane(&old, &new).await? }),
        Wanted::ListDead { lane, limit } => {
            let letters = source.list_dead(lane.as_deref(), limit).await?;
            let letters: Vec<Letter> = letters.into_iter().map(Letter::from).collect();
            json!({ "letters": letters })
        }
        Wanted::RemoveDead { lane, rows } => {
            let lane: Arc<str> = lane.into();
            let rows = rows.split(',').filter_map(row_id);
            let ids: Vec<DeadLetterId> = rows
                .map(|row| DeadLetterId {
                    lane: lane.clone(),
                    row,
                })
                .collect();
            json!({ "rows": source.remove_dead(&ids).await? })
        }
    })
}
