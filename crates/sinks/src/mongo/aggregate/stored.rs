//! Reading a stored document: averages and lists for its second update, and what it holds already.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use analytics::{Time, aggregate::Engine};
use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, doc};

use super::update::int;
use crate::mongo::bson::milliseconds;

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

    fn note(&mut self, dimension: &'static str, path: &str) {
        self.counters.insert(hash(path));
        *self.by_dimension.entry(dimension).or_default() += 1;
    }
}

fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// The second update: averages, error lists and lists, computed from all that is stored.
///
/// `late_request_time`: the average request time in lists is the one before, as upstream's.
pub(super) fn averages(document: &RawDocument, engine: Engine, late_request_time: bool) -> (Document, Contents) {
    let mut set = Document::new();
    let mut contents = Contents {
        size: document.as_bytes().len(),
        ..Contents::default()
    };
    if let Ok(total) = document.get_document("total") {
        Stored::read(total).average("total", &mut set);
    }
    let mcp: &[&str] = if engine == Engine::Mcp { MCP } else { &[] };
    for &dimension in FLAT.iter().chain(mcp) {
        let mut list = Vec::new();
        if let Ok(entries) = document.get_document(dimension) {
            list = average_all(
                dimension,
                dimension,
                entries,
                late_request_time,
                &mut set,
                &mut contents,
            );
        }
        set.insert(format!("lists.{dimension}"), list);
    }
    for &dimension in NESTED {
        let Ok(outer) = document.get_document(dimension) else {
            continue;
        };
        for (key, entries) in documents(outer) {
            let path = format!("{dimension}.{key}");
            let list = average_all(dimension, &path, entries, late_request_time, &mut set, &mut contents);
            set.insert(format!("lists.{path}"), list);
        }
    }
    (doc! {"$set": set}, contents)
}

fn average_all(
    dimension: &'static str,
    prefix: &str,
    entries: &RawDocument,
    late_request_time: bool,
    set: &mut Document,
    contents: &mut Contents,
) -> Vec<Bson> {
    let mut sorted: Vec<(&str, &RawDocument)> = documents(entries).collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    let mut list = Vec::with_capacity(sorted.len());
    for (key, entry) in sorted {
        let path = format!("{prefix}.{key}");
        let counter = Stored::read(entry);
        contents.note(dimension, &path);
        counter.average(&path, set);
        list.push(Bson::Document(counter.into_element(late_request_time)));
    }
    list
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
    document: &'a RawDocument,
    hits: i64,
    total_request_time: f64,
    total_latency: i64,
    total_upstream_latency: i64,
    codes: Vec<(&'a str, i64)>,
}

impl<'a> Stored<'a> {
    fn read(document: &'a RawDocument) -> Stored<'a> {
        let mut codes = Vec::new();
        if let Ok(map) = document.get_document("errormap") {
            let counts = map.iter().filter_map(Result::ok);
            codes.extend(counts.map(|(code, count)| (code.as_str(), whole(count))));
        }
        codes.sort_unstable();
        Stored {
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

    fn error_list(&self) -> Vec<Bson> {
        let codes = self.codes.iter();
        codes
            .map(|(code, count)| Bson::Document(doc! {"code": *code, "count": int(*count)}))
            .collect()
    }

    fn average(&self, path: &str, set: &mut Document) {
        set.insert(format!("{path}.errorlist"), self.error_list());
        set.insert(format!("{path}.requesttime"), self.per_hit(self.total_request_time));
        set.insert(format!("{path}.latency"), self.latency());
        set.insert(format!("{path}.upstreamlatency"), self.upstream_latency());
    }

    /// As an element of a list.
    fn into_element(self, late_request_time: bool) -> Document {
        let text = |key| self.document.get_str(key).unwrap_or_default();
        let number = |key| long(self.document, key);
        let request_time = match late_request_time {
            true => double(self.document, "requesttime"),
            false => self.per_hit(self.total_request_time),
        };
        let last_time = self.document.get_datetime("lasttime");
        let mut codes = Document::new();
        for (code, count) in &self.codes {
            codes.insert(*code, int(*count));
        }
        doc! {
            "hits": int(self.hits),
            "success": int(number("success")),
            "errortotal": int(number("errortotal")),
            "requesttime": request_time,
            "totalrequesttime": self.total_request_time,
            "identifier": text("identifier"),
            "humanidentifier": text("humanidentifier"),
            "lasttime": last_time.unwrap_or(DateTime::from_millis(milliseconds(Time::ZERO))),
            "openconnections": number("openconnections"),
            "closedconnections": number("closedconnections"),
            "bytesin": number("bytesin"),
            "bytesout": number("bytesout"),
            "maxupstreamlatency": number("maxupstreamlatency"),
            "minupstreamlatency": number("minupstreamlatency"),
            "totalupstreamlatency": self.total_upstream_latency,
            "upstreamlatency": self.upstream_latency(),
            "maxlatency": number("maxlatency"),
            "minlatency": number("minlatency"),
            "totallatency": self.total_latency,
            "latency": self.latency(),
            "errormap": codes,
            "errorlist": self.error_list(),
        }
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
