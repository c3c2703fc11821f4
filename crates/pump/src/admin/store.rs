//! What operators do to the pump's own store while it runs: its folder belongs to this process, so the subcommands
//! `claims` and `dlq` ask here.

use std::sync::Arc;

use axum::{
    extract::Query,
    http::{StatusCode, Uri},
    response::Response,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::json;

use super::json_answer;
use crate::source::{DeadLetterId, Source, SourceError, letter::Written};

/// What is wanted: a call of [`Operate`](crate::source::Operate) or [`DeadStore`](crate::source::DeadStore).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Wanted {
    /// `list`
    List,
    /// `drop_lane`
    DropLane {
        /// Lane.
        lane: String,
    },
    /// `adopt_lane`
    AdoptLane {
        /// The name it had.
        old: String,
        /// The name it has.
        new: String,
    },
    /// `list_dead`
    ListDead {
        /// Of this lane alone.
        lane: Option<String>,
        /// At most so many.
        #[serde(deserialize_with = "number")]
        limit: usize,
    },
    /// `remove_dead`
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
            let letters: Vec<Written> = letters.iter().map(Written::from).collect();
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
