//! Reading a stored document: averages and lists for its second update, and what it holds already.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use analytics::{Time, aggregate::Engine};
use mongodb::bson::{DateTime, RawBsonRef, RawDocument};

use crate::backends::mongo::bson::{Writer, milliseconds};

const FLAT: &[&str] = &[
    "apiid",
    "errors",
    "versions",
    "apikeys",
    "oauthids",
    "geo",
    "tags",
    "endpoints",
    "apiendpoints",
];
const NESTED: &[&str] = &["keyendpoints", "oauthendpoints"];
const MCP: &[&str] = &["methods", "primitives", "names"];

/// What is known about a stored document without keeping it.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// Its size in bytes.
    pub(super) size: usize,
    /// Hashes of the paths of its counters.
    counters: HashSet<u64>,
    /// Number of counters by dimension.
    by_dimension: HashMap<&'static str, usize>,
}

impl Contents {
    pub(super) fn has(&self, path: &str) -> bool {
        self.counters.contains(&hash(path))
    }

    pub(super) fn count(&self, dimension: &str) -> usize {
        self.by_dimension.get(dimension).copied().unwrap_or_default()
    }

    /// What a stored document holds.
    pub(super) fn of(document: &RawDocument, engine: Engine) -> Contents {
        let mut contents = Contents {
            size: document.as_bytes().len(),
            ..Contents::default()
        };
        for dimension in flat(engine) {
            if let Ok(entries) = document.get_document(dimension) {
                contents.note(dimension, dimension, entries);
            }
        }
        for &dimension in NESTED {
            let outer = document.get_document(dimension);
            for (key, entries) in outer.into_iter().flat_map(documents) {
                contents.note(dimension, &format!("{dimension}.{key}"), entries);
            }
        }
        contents
    }

    fn note(&mut self, dimension: &'static str, prefix: &str, entries: &RawDocument) {
        for (key, _) in documents(entries) {
            self.counters.insert(hash(&format!("{prefix}.{key}")));
            *self.by_dimension.entry(dimension).or_default() += 1;
        }
    }
}

fn flat(engine: Engine) -> impl Iterator<Item = &'static str> {
    let mcp: &[&str] = if engine == Engine::Mcp { MCP } else { &[] };
    FLAT.iter().chain(mcp).copied()
}

fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// Writes the second update: averages, error lists and lists, computed from all that is stored.
///
/// `late_request_time`: the average request time in lists is the one before, as upstream's.
pub(super) fn write_averages(out: &mut Writer, document: &RawDocument, engine: Engine, late_request_time: bool) {
    let set = out.open_document("$set");
    if let Ok(total) = document.get_document("total") {
        Stored::read("", total).write_averages("total", out);
    }
    for dimension in flat(engine) {
        let entries = document.get_document(dimension).ok();
        write_dimension(out, dimension, entries, late_request_time);
    }
    for &dimension in NESTED {
        let outer = document.get_document(dimension);
        for (key, entries) in outer.into_iter().flat_map(documents) {
            write_dimension(out, &format!("{dimension}.{key}"), Some(entries), late_request_time);
        }
    }
    out.close(set);
}

fn write_dimension(out: &mut Writer, prefix: &str, entries: Option<&RawDocument>, late_request_time: bool) {
    let entries = entries.into_iter().flat_map(documents);
    let mut sorted: Vec<Stored<'_>> = entries.map(|(key, entry)| Stored::read(key, entry)).collect();
    sorted.sort_unstable_by_key(|stored| stored.key);
    for stored in &sorted {
        stored.write_averages(&format!("{prefix}.{}", stored.key), out);
    }
    let list = out.open_array(format!("lists.{prefix}"));
    for (number, stored) in sorted.iter().enumerate() {
        stored.write_element(number, late_request_time, out);
    }
    out.close(list);
}

/// The documents inside. Others are no counters, whoever put them there.
fn documents(document: &RawDocument) -> impl Iterator<Item = (&str, &RawDocument)> {
    document.iter().filter_map(|element| match element.ok()? {
        (key, RawBsonRef::Document(inner)) => Some((key.as_str(), inner)),
        _ => None,
    })
}

/// A counter as it is stored; what is missing is zero.
struct Stored<'a> {
    key: &'a str,
    document: &'a RawDocument,
    hits: i64,
    total_request_time: f64,
    total_latency: i64,
    total_upstream_latency: i64,
    codes: Vec<(&'a str, i64)>,
}

impl<'a> Stored<'a> {
    fn read(key: &'a str, document: &'a RawDocument) -> Stored<'a> {
        let mut codes = Vec::new();
        if let Ok(map) = document.get_document("errormap") {
            let counts = map.iter().filter_map(Result::ok);
            codes.extend(counts.map(|(code, count)| (code.as_str(), whole(count))));
        }
        codes.sort_unstable();
        Stored {
            key,
            document,
            hits: long(document, "hits"),
            total_request_time: double(document, "totalrequesttime"),
            total_latency: long(document, "totallatency"),
            total_upstream_latency: long(document, "totalupstreamlatency"),
            codes,
        }
    }

    fn per_hit(&self, sum: f64) -> f64 {
        if self.hits == 0 { 0.0 } else { sum / self.hits as f64 }
    }

    fn latency(&self) -> f64 {
        self.per_hit(self.total_latency as f64)
    }

    fn upstream_latency(&self) -> f64 {
        self.per_hit(self.total_upstream_latency as f64)
    }

    fn write_error_list(&self, key: &str, out: &mut Writer) {
        let list = out.open_array(key);
        for (number, (code, count)) in self.codes.iter().enumerate() {
            let element = out.open_document(number.to_string());
            out.text("code", code.as_bytes());
            out.int("count", *count);
            out.close(element);
        }
        out.close(list);
    }

    fn write_averages(&self, path: &str, out: &mut Writer) {
        self.write_error_list(&format!("{path}.errorlist"), out);
        out.double(format!("{path}.requesttime"), self.per_hit(self.total_request_time));
        out.double(format!("{path}.latency"), self.latency());
        out.double(format!("{path}.upstreamlatency"), self.upstream_latency());
    }

    /// As an element of a list.
    fn write_element(&self, number: usize, late_request_time: bool, out: &mut Writer) {
        let text = |key| self.document.get_str(key).unwrap_or_default().as_bytes();
        let number_of = |key| long(self.document, key);
        let request_time = match late_request_time {
            true => double(self.document, "requesttime"),
            false => self.per_hit(self.total_request_time),
        };
        let last_time = self.document.get_datetime("lasttime").map(DateTime::timestamp_millis);
        let element = out.open_document(number.to_string());
        out.int("hits", self.hits);
        out.int("success", number_of("success"));
        out.int("errortotal", number_of("errortotal"));
        out.double("requesttime", request_time);
        out.double("totalrequesttime", self.total_request_time);
        out.text("identifier", text("identifier"));
        out.text("humanidentifier", text("humanidentifier"));
        out.instant("lasttime", last_time.unwrap_or(milliseconds(Time::ZERO)));
        for key in [
            "openconnections",
            "closedconnections",
            "bytesin",
            "bytesout",
            "maxupstreamlatency",
            "minupstreamlatency",
        ] {
            out.long(key, number_of(key));
        }
        out.long("totalupstreamlatency", self.total_upstream_latency);
        out.double("upstreamlatency", self.upstream_latency());
        out.long("maxlatency", number_of("maxlatency"));
        out.long("minlatency", number_of("minlatency"));
        out.long("totallatency", self.total_latency);
        out.double("latency", self.latency());
        let codes = out.open_document("errormap");
        for (code, count) in &self.codes {
            out.int(code, *count);
        }
        out.close(codes);
        self.write_error_list("errorlist", out);
        out.close(element);
    }
}

fn long(document: &RawDocument, key: &str) -> i64 {
    document.get(key).ok().flatten().map_or(0, whole)
}

fn double(document: &RawDocument, key: &str) -> f64 {
    match document.get(key) {
        Ok(Some(RawBsonRef::Double(value))) => value,
        Ok(Some(other)) => whole(other) as f64,
        _ => 0.0,
    }
}

/// A number of any type.
fn whole(value: RawBsonRef<'_>) -> i64 {
    match value {
        RawBsonRef::Int32(value) => i64::from(value),
        RawBsonRef::Int64(value) => value,
        RawBsonRef::Double(value) => value as i64,
        _ => 0,
    }
}

/// Requests that a document has counted.
pub(super) fn hits(document: &RawDocument) -> i64 {
    document.get_document("total").map_or(0, |total| long(total, "hits"))
}

/// Names of the tags, for the warning about too many of them.
pub(super) fn tags(document: &RawDocument) -> Vec<&str> {
    let tags = document.get_document("tags");
    tags.into_iter().flat_map(documents).map(|(tag, _)| tag).collect()
}
