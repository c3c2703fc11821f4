//! The page of one pump.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{HeaderMap, Response, StatusCode, header, http::response::Builder};
use tokio::sync::Semaphore;

use super::{
    exposition::{self, Family, Form, Orders},
    negotiate::{Format, format, takes_gzip},
    protobuf::{self, DELIMITED},
    registry::Registry,
};
use crate::process::figures;

/// Pages that are written at a time: further scrapers wait.
const AT_A_TIME: usize = 2;

/// Text that scrapers of every age understand.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counts observations that went to a series of `__other__`.
pub(super) const FOLDED: &str = "tyk_pump_series_folded_total";
const IN_FLIGHT: &str = "promhttp_metric_handler_requests_in_flight";
const REQUESTS: &str = "promhttp_metric_handler_requests_total";

/// Names that are shown beside the metrics of records.
pub(super) const TAKEN: &[&str] = &[
    FOLDED,
    IN_FLIGHT,
    REQUESTS,
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
    "process_virtual_memory_max_bytes",
];

/// What a scraper gets.
pub(super) type Page = Response<Full<Bytes>>;

/// The metrics of a pump for those who ask for them.
pub(super) struct Exhibit {
    registry: Arc<Registry>,
    orders: Orders,
    in_flight: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    turns: Semaphore,
}

impl Exhibit {
    pub(super) fn new(registry: Arc<Registry>) -> Exhibit {
        Exhibit {
            registry,
            orders: Orders::default(),
            in_flight: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            turns: Semaphore::new(AT_A_TIME),
        }
    }

    /// Answers a scrape.
    pub(super) async fn answer(self: &Arc<Self>, headers: &HeaderMap) -> Page {
        let _present = Present::enter(&self.in_flight);
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let (this, format, packed) = (self.clone(), format(headers), takes_gzip(headers));
        let page = tokio::task::spawn_blocking(move || this.page(format, packed)).await;
        match page {
            Ok(page) => {
                self.answered.fetch_add(1, Relaxed);
                page
            }
            Err(_) => {
                self.failed.fetch_add(1, Relaxed);
                plain(
                    Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR),
                    "the metrics cannot be shown\n",
                )
            }
        }
    }

    fn page(&self, format: Format, packed: bool) -> Page {
        let families = self.families();
        let (mut body, form) = match format {
            Format::Text => (exposition::text(&families), TEXT),
            Format::Protobuf => (protobuf::delimited(&families), DELIMITED),
        };
        let mut response = Response::builder().header(header::CONTENT_TYPE, form);
        if packed {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
            // Writing to a vector cannot fail.
            if encoder.write_all(&body).is_ok()
                && let Ok(smaller) = encoder.finish()
            {
                body = smaller;
                response = response.header(header::CONTENT_ENCODING, "gzip");
            }
        }
        finish(response, body)
    }

    fn families(&self) -> Vec<Family> {
        let tables = self.registry.snapshot();
        let folded = self
            .registry
            .metrics
            .iter()
            .zip(&tables)
            .filter(|(_, table)| table.folded > 0);
        let folded: Vec<_> = folded
            .map(|(metric, table)| (metric.name.clone(), table.folded))
            .collect();
        let mut families = self.orders.families(&self.registry);
        families.push(Family::named(
            FOLDED,
            "Observations beyond max_series, which are counted under the value __other__ of a label.",
            "metric",
            folded,
        ));
        families.push(Family::plain(
            IN_FLIGHT,
            "Scrapes that are being answered.",
            Form::Gauge,
            Vec::new(),
            vec![(Vec::new(), self.in_flight.load(Relaxed) as f64)],
        ));
        let answers = [
            ("200", self.answered.load(Relaxed)),
            ("500", self.failed.load(Relaxed)),
            ("503", 0),
        ];
        families.push(Family::plain(
            REQUESTS,
            "Scrapes by the status of their answer.",
            Form::Counter,
            vec!["code"],
            answers.map(|(code, count)| (vec![code], count as f64)).to_vec(),
        ));
        for figure in figures() {
            let form = match figure.kind {
                "counter" => Form::Counter,
                _ => Form::Gauge,
            };
            let rows = vec![(Vec::new(), figure.value)];
            families.push(Family::plain(figure.name, figure.help, form, Vec::new(), rows));
        }
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families
    }
}

/// Counts a scraper as long as it is answered.
struct Present<'a>(&'a AtomicU64);

impl<'a> Present<'a> {
    fn enter(count: &'a AtomicU64) -> Present<'a> {
        count.fetch_add(1, Relaxed);
        Present(count)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// An answer in words.
pub(super) fn plain(response: Builder, text: &str) -> Page {
    let response = response
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    finish(response, text.as_bytes().to_vec())
}

fn finish(response: Builder, body: Vec<u8>) -> Page {
    // Every header is one of ours.
    response.body(Full::from(body)).unwrap_or_default()
}
