//! The back-end of the SQL pumps: a schema of its own on a Postgres server, behind a proxy with faults.

use analytics::{Flag, Time, When};
use async_trait::async_trait;
use fakes::{
    postgres::{BEGIN, COMMIT, Place},
    proxy::Cut,
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, SinkSpec, sql};

use crate::{BackEnd, Reason, flagged::Flagged};

/// See [`crate::Harness`].
pub fn start_raw() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&sql::SPEC, "SELECT path FROM tyk_analytics", &[], RAW_DEATHS).boxed()
}

/// See [`crate::Harness`].
pub fn start_graph() -> BoxFuture<'static, Box<dyn BackEnd>> {
    let query = "SELECT analytics_path FROM tyk_analytics_graph";
    start(&sql::GRAPH, query, &[Flag::IsGraphQl], RAW_DEATHS).boxed()
}

/// See [`crate::Harness`].
pub fn start_mcp() -> BoxFuture<'static, Box<dyn BackEnd>> {
    let query = "SELECT analytics_path FROM tyk_analytics_mcp";
    start(&sql::MCP, query, &[Flag::IsMcp], RAW_DEATHS).boxed()
}

/// See [`crate::Harness`]. A record is found by its path, as often as that is counted.
pub fn start_aggregate() -> BoxFuture<'static, Box<dyn BackEnd>> {
    let query = "SELECT dimension_value FROM tyk_aggregated, generate_series(1, counter_hits) \
                 WHERE dimension = 'endpoints'";
    start(&sql::AGGREGATE, query, &[Flag::TrackPath], COUNTER_DEATHS).boxed()
}

/// See [`crate::Harness`].
pub fn start_graph_aggregate() -> BoxFuture<'static, Box<dyn BackEnd>> {
    let query = "SELECT dimension_value FROM tyk_graph_aggregated, generate_series(1, counter_hits) \
                 WHERE dimension = 'endpoints'";
    let flags = &[Flag::IsGraphQl, Flag::TrackPath];
    start(&sql::GRAPH_AGGREGATE, query, flags, COUNTER_DEATHS).boxed()
}

/// See [`crate::Harness`].
pub fn start_mcp_aggregate() -> BoxFuture<'static, Box<dyn BackEnd>> {
    let query = "SELECT dimension_value FROM tyk_mcp_aggregated, generate_series(1, counter_hits) \
                 WHERE dimension = 'endpoints'";
    start(
        &sql::MCP_AGGREGATE,
        query,
        &[Flag::IsMcp, Flag::TrackPath],
        COUNTER_DEATHS,
    )
    .boxed()
}

/// See [`crate::Harness`]. A check is found by the address of its target, as often as that is counted.
pub fn start_uptime() -> BoxFuture<'static, Box<dyn BackEnd>> {
    let query = "SELECT dimension_value FROM tyk_uptime_analytics, generate_series(1, counter_hits) \
                 WHERE dimension = 'url'";
    start(&sql::UPTIME, query, &[], COUNTER_DEATHS).boxed()
}

async fn start(
    spec: &'static SinkSpec,
    query: &'static str,
    flags: &'static [Flag],
    deaths: &'static [Cut],
) -> Box<dyn BackEnd> {
    Box::new(Tables {
        place: Place::start().await,
        spec,
        query,
        flags,
        deaths,
    })
}

struct Tables {
    place: Option<Place>,
    spec: &'static SinkSpec,
    /// The path of every record that is stored.
    query: &'static str,
    /// What records need to be taken.
    flags: &'static [Flag],
    deaths: &'static [Cut],
}

/// Moments of a write, on any server.
pub(super) const MOMENTS: [&str; 6] = [
    "before the transaction",
    "after its beginning",
    "before the rows",
    "among the rows",
    "before the commit",
    "after the commit",
];

/// Rows that are appended, by [`MOMENTS`].
const RAW_DEATHS: &[Cut] = &[
    Cut::new(BEGIN, false),
    Cut::new(BEGIN, true),
    Cut::new(b"COPY ", false),
    Cut::new(b"PGCOPY\n", true),
    Cut::new(COMMIT, false),
    Cut::new(COMMIT, true),
];

/// Rows that are merged, by [`MOMENTS`].
const COUNTER_DEATHS: &[Cut] = &[
    Cut::new(BEGIN, false),
    Cut::new(BEGIN, true),
    Cut::new(b"unnest(", false),
    Cut::new(b"unnest(", true),
    Cut::new(COMMIT, false),
    Cut::new(COMMIT, true),
];

const NO_SERVER: Reason = "there is no Postgres server";

impl Tables {
    fn place(&self) -> Result<&Place, Reason> {
        self.place.as_ref().ok_or(NO_SERVER)
    }
}

#[async_trait]
impl BackEnd for Tables {
    fn options(&self) -> Value {
        let connection_string = self.place.as_ref().map(|place| place.connection_string.as_str());
        json!({"type": "postgres", "connection_string": connection_string.unwrap_or_default()})
    }

    fn present(&self) -> Result<(), Reason> {
        self.place().map(drop)
    }

    fn keeps_order(&self) -> bool {
        // A heap has none.
        false
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        let sink = (self.spec.build)(context).await?;
        Ok(Flagged::around(sink, self.flags))
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let paths = self.place()?.column(self.query).await;
        Ok(rows::serials(paths.join("\n").as_bytes()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.place()?.proxy.shut();
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.place()?.proxy.stall();
        Ok(())
    }

    async fn heal(&self) {
        if let Some(place) = &self.place {
            place.proxy.open();
        }
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err("a group is written as a whole or not at all")
    }

    fn poison(&self) -> Result<Alter, Reason> {
        if self.deaths == COUNTER_DEATHS {
            return Err("a row of counters is no record");
        }
        // The year 302000 is beyond what the server can store.
        Ok(|record| {
            record.time[When::TimeStamp as usize] = Time {
                seconds: 9_467_000_000_000,
                ..Time::ZERO
            }
        })
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Ok(MOMENTS.to_vec())
    }

    async fn die_at(&self, death: usize) {
        if let (Some(place), Some(cut)) = (&self.place, self.deaths.get(death)) {
            place.proxy.cut_at(*cut);
        }
    }
}
