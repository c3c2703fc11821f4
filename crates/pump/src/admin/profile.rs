//! `/debug/pprof/`: CPU profiles of this process, in the form that `go tool pprof` reads.

use std::time::Duration;

use axum::{
    extract::Query,
    http::{StatusCode, Uri},
    response::{Html, IntoResponse, Response},
};

use super::error_text;

/// Samples a second; a prime, so that sampling does not run in step with timers.
#[cfg(feature = "profile")]
const FREQUENCY: i32 = 99;

/// Seconds of a profile when the request names none.
const DEFAULT_SECONDS: u64 = 30;

/// Longest profile: whoever asked and went away must not keep others from taking one for ever.
const MOST_SECONDS: u64 = 600;

const INDEX: &str = "<!DOCTYPE html>
<html><head><title>/debug/pprof/</title></head><body>
<h1>/debug/pprof/</h1>
<p><a href=\"profile?seconds=30\">profile</a>: CPU profile (protobuf); <code>?seconds=N</code> sets how long it is taken.
Read it with <code>go tool pprof</code>.</p>
<p>There are no heap, goroutine, block or mutex profiles: this process has no Go runtime.</p>
</body></html>
";

#[derive(serde::Deserialize)]
struct Length {
    seconds: Option<String>,
}

/// Answers `/debug/pprof/<name>`, whatever the method.
pub(super) async fn answer(name: &str, uri: &Uri) -> Response {
    match name {
        "" => Html(INDEX).into_response(),
        "profile" => {
            let asked = Query::<Length>::try_from_uri(uri)
                .ok()
                .and_then(|query| query.0.seconds);
            let seconds = asked
                .and_then(|seconds| seconds.parse().ok())
                .filter(|&seconds| seconds > 0)
                .unwrap_or(DEFAULT_SECONDS);
            cpu_profile(Duration::from_secs(seconds.min(MOST_SECONDS))).await
        }
        other => error_text(
            StatusCode::NOT_FOUND,
            format!("no profile {other:?}: this process has no Go runtime; /debug/pprof/profile is its CPU profile\n"),
        ),
    }
}

#[cfg(not(feature = "profile"))]
async fn cpu_profile(_: Duration) -> Response {
    let text = "this binary was built without the feature \"profile\": take a full one\n".to_owned();
    error_text(StatusCode::NOT_IMPLEMENTED, text)
}

#[cfg(feature = "profile")]
async fn cpu_profile(length: Duration) -> Response {
    use anyhow::Context;
    use axum::http::{HeaderValue, header};

    let guard = match pprof::ProfilerGuardBuilder::default().frequency(FREQUENCY).build() {
        Ok(guard) => guard,
        Err(error) => {
            let cause = format!("could not start the CPU profile: {error}; only one can be taken at a time\n");
            return error_text(StatusCode::INTERNAL_SERVER_ERROR, cause);
        }
    };
    tokio::time::sleep(length).await;
    let encoded = tokio::task::spawn_blocking(move || encode(&guard)).await;
    match encoded
        .context("the profile could not be encoded")
        .and_then(|result| result)
    {
        Ok(body) => {
            let headers = [
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/octet-stream"),
                ),
                (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
                (
                    header::CONTENT_DISPOSITION,
                    HeaderValue::from_static("attachment; filename=\"profile\""),
                ),
            ];
            (headers, body).into_response()
        }
        Err(error) => error_text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{}\n", crate::error_text(&error)),
        ),
    }
}

#[cfg(feature = "profile")]
fn encode(guard: &pprof::ProfilerGuard<'static>) -> anyhow::Result<Vec<u8>> {
    use pprof::protos::Message;

    Ok(guard.report().build()?.pprof()?.encode_to_vec())
}
