//! An answer, and what its status means for the rows of the request.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, LOCATION, RETRY_AFTER},
};
use serde_json::Value;

use super::{ERROR_LIMIT, innermost};
use crate::{
    BoxError, WriteError,
    transport::words::{plain, shown},
};

/// Characters of a body that an error text shows.
const SHOWN: usize = 300;
/// Pieces of an error that are shown.
const MOST_PARTS: usize = 8;
/// The longest pause that a server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// An answer of any status.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; of an error only the beginning.
    pub body: Bytes,
    target: String,
    secrets: Arc<[String]>,
}

impl Answer {
    pub(super) async fn read(
        target: String,
        mut response: Response,
        most: usize,
        secrets: Arc<[String]>,
    ) -> Result<Answer, WriteError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let limit = if status.is_success() { most } else { ERROR_LIMIT };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                // The status of an error says enough.
                Err(_) if !status.is_success() => break,
                Err(error) if error.is_timeout() => {
                    return Err(WriteError::retry(format!("{target}: the answer does not end in time")));
                }
                Err(error) => {
                    let why = innermost(&error);
                    return Err(WriteError::retry(format!("{target}: the answer is cut off: {why}")));
                }
            }
            if body.len() > limit {
                if status.is_success() {
                    let text = format!("{target}: the answer is longer than {limit} bytes");
                    return Err(WriteError::Config(text.into()));
                }
                body.truncate(limit);
                break;
            }
        }
        Ok(Answer {
            status,
            headers,
            body: body.into(),
            target,
            secrets,
        })
    }

    /// What the status means when the sink does not know better: see the table of [`super`].
    pub fn accepted(self) -> Result<Answer, WriteError> {
        match self.status.as_u16() {
            200..=299 if self.is_page() => {
                let advice = "a web page in place of the service's answer: a login or a proxy stands before it – correct the \
                              address, or let the pump through";
                Err(WriteError::Config(
                    format!("{}: {}: {advice}", self.target, self.status).into(),
                ))
            }
            200..=299 => Ok(self),
            300..=399 => {
                let to = self
                    .headers
                    .get(LOCATION)
                    .and_then(|to| to.to_str().ok())
                    .unwrap_or("nowhere");
                let text = format!(
                    "{} that loses the body of a request, to {} – put the final address into the configuration",
                    self.describe(),
                    self.clean(to)
                );
                Err(WriteError::Config(text.into()))
            }
            408 | 425 | 429 | 500.. => Err(WriteError::Retry {
                after: self.retry_after(),
                source: self.describe().into(),
            }),
            401 | 403 | 404 | 405 | 407 => Err(WriteError::Config(self.describe().into())),
            _ => Err(self.rejected()),
        }
    }

    /// Whether it is a page for people, which no service answers with: that of a login, for instance.
    pub(crate) fn is_page(&self) -> bool {
        let start: Vec<u8> = self
            .body
            .trim_ascii_start()
            .iter()
            .take(64)
            .map(u8::to_ascii_lowercase)
            .collect();
        start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
    }

    /// The whole request is refused; which row is at fault is for the lane to find.
    fn rejected(self) -> WriteError {
        WriteError::Reject {
            rows: Vec::new(),
            source: BoxError::from(self.describe()),
        }
    }

    /// How long the server wants to be left alone: seconds or a date.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let pause = match value.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
                SystemTime::from(at)
                    .duration_since(SystemTime::now())
                    .unwrap_or_default()
            }
        };
        Some(pause.min(LONGEST_PAUSE))
    }

    /// Request, status, and of the body what cannot be a piece of the request, for an error text.
    pub fn describe(&self) -> String {
        let body = self.clean(&self.words());
        let status = self.status;
        match status.is_redirection() {
            true => format!("{}: {status}: a redirect", self.target),
            false if body.is_empty() => format!("{}: {status}", self.target),
            false => format!("{}: {status}: {body}", self.target),
        }
    }

    /// Codes, names of error types, and words of errors.
    fn words(&self) -> String {
        if self.is_page() {
            return "a web page".to_owned();
        }
        let Ok(reply) = serde_json::from_slice::<Value>(&self.body) else {
            return plain(&String::from_utf8_lossy(&self.body));
        };
        let mut parts: Vec<String> = Vec::new();
        let mut next = Some(&reply);
        while let Some(error) = next.filter(|_| parts.len() < MOST_PARTS) {
            for key in ["code", "status", "type", "error", "text", "message", "reason"] {
                parts.extend(match error.get(key) {
                    Some(Value::Number(code)) if key == "code" => Some(format!("code {code}")),
                    Some(Value::String(text)) => Some(shown(text).into_owned()),
                    _ => None,
                });
            }
            next = error
                .get("error")
                .filter(|inner| inner.is_object())
                .or_else(|| error.get("caused_by"));
        }
        parts.retain(|part| !part.is_empty());
        parts.join(": ")
    }

    /// `text` without secrets, cut to a length that a log line can take.
    fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter() {
            text = text.replace(secret.as_str(), "***");
        }
        if let Some((end, _)) = text.char_indices().nth(SHOWN) {
            text.truncate(end);
            text.push('…');
        }
        text
    }
}
