//! What a server says of points that it does not take.
//!
//! InfluxDB 1 names lines that it cannot read by their text, and counts those whose fields have other types than before, or
//! that are older than what it keeps; InfluxDB 2 names the first one; InfluxDB 3 names up to a hundred by number. What it
//! names is believed; who is meant otherwise is found out by smaller requests.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    encode::go_json::lossy,
    transport::{http::Answer, outbox::Parcel, words::plain},
};

/// In front of a line that cannot be read, and behind it.
const BEFORE_LINE: &str = "unable to parse '";
const AFTER_LINE: &str = "': ";

/// Points that are refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Which of the request, by position, and why.
    pub(super) named: BTreeMap<usize, String>,
    /// How many, if the server says it without naming them.
    pub(super) dropped: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    error: Value,
    message: Value,
    line: Value,
    data: Value,
}

impl Said {
    fn of(answer: &Answer) -> Said {
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    fn text(&self) -> &str {
        self.error.as_str().or(self.message.as_str()).unwrap_or_default()
    }
}

/// Whether the server does not know the unit of times.
pub(super) fn is_precision(answer: &Answer) -> bool {
    // Not anywhere in the text: a line that is quoted there may have the same words.
    answer.status.as_u16() == 400 && Said::of(answer).text().starts_with("invalid precision")
}

/// What is wrong with the set-up rather than with points, if that is it: what to do.
pub(super) fn remedy(answer: &Answer) -> Option<&'static str> {
    if is_precision(answer) {
        return Some("this server does not take times as the pump writes them: write its version into a report");
    }
    (Said::of(answer).text() == "database is required").then_some("write the database into meta.database_name")
}

impl Refusal {
    /// Reads the answer to `parcel`.
    pub(super) fn read(answer: &Answer, parcel: &Parcel) -> Refusal {
        let said = Said::of(answer);
        let text = said.text();
        let mut refusal = Refusal::default();
        refusal.by_text(answer, text, parcel);
        refusal.by_number(answer, &said, parcel);
        // A line that is quoted may have such a number.
        if refusal.named.is_empty() && !text.contains(BEFORE_LINE) {
            refusal.dropped = dropped(text);
        }
        refusal
    }

    fn by_text(&mut self, answer: &Answer, text: &str, parcel: &Parcel) {
        if !text.contains(BEFORE_LINE) {
            return;
        }
        let lines = (0..parcel.rows.len()).map(|row| {
            let line = parcel.encoding(row);
            (lossy(line.strip_suffix(b"\n").unwrap_or(line)), row)
        });
        let lines: HashMap<String, usize> = lines.collect();
        for part in text.split(BEFORE_LINE).skip(1) {
            // The line may have what stands behind lines.
            let ends = part.match_indices(AFTER_LINE);
            let found =
                ends.filter_map(|(end, _)| Some((lines.get(part.get(..end)?)?, part.get(end + AFTER_LINE.len()..)?)));
            if let Some((&row, why)) = found.last() {
                let why = why.lines().next().unwrap_or_default();
                self.named.insert(row, reason(answer, why));
            }
        }
    }

    fn by_number(&mut self, answer: &Answer, said: &Said, parcel: &Parcel) {
        let line_ends = parcel.body.iter().filter(|&&byte| byte == b'\n').count();
        if line_ends != parcel.rows.len() {
            return; // Texts have line ends of their own: lines are not rows.
        }
        let mut name = |number: &Value, why: &str| {
            let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
            if let Some(row) = number
                .and_then(|number| number.checked_sub(1))
                .filter(|&row| row < parcel.rows.len())
            {
                self.named.entry(row).or_insert_with(|| reason(answer, why));
            }
        };
        name(&said.line, said.text());
        for point in said.data.as_array().into_iter().flatten() {
            let why = point.get("error_message").and_then(Value::as_str).unwrap_or_default();
            name(point.get("line_number").unwrap_or(&Value::Null), why);
        }
    }
}

fn reason(answer: &Answer, why: &str) -> String {
    match plain(why) {
        words if words.is_empty() => format!("{}: the line is refused", answer.status),
        words => format!("{}: {words}", answer.status),
    }
}

/// The number behind the last `dropped=`.
fn dropped(text: &str) -> Option<usize> {
    let (_, behind) = text.rsplit_once("dropped=")?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
