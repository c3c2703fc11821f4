//! The figures of one key of one dimension.

use crate::{Int, RecordView, Time};

/// Requests by status code, ascending. Only codes of 400 and above are kept, for uptime checks those of success too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes(Vec<(i64, i64)>);

impl Codes {
    pub(super) fn add(&mut self, code: i64, count: i64) {
        match self.0.binary_search_by_key(&code, |&(known, _)| known) {
            Ok(at) => {
                if let Some((_, so_far)) = self.0.get_mut(at) {
                    *so_far += count;
                }
            }
            Err(at) => self.0.insert(at, (code, count)),
        }
    }

    /// Code and number of requests. For codes of three digits this is also the order of their texts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, i64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether no code was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The figures of one key of one dimension. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Requests.
    pub hits: i64,
    /// Requests with a code of 200 to 299.
    pub success: i64,
    /// Requests with a code of 400 and above. The others are neither success nor error.
    pub error: i64,
    /// Sum of request times. A float, as in every store: gateways may send any number.
    pub total_request_time: f64,
    /// Highest latency.
    pub max_latency: i64,
    /// Lowest latency; see [`Counter::has_minimum`].
    pub min_latency: i64,
    /// Sum of latencies.
    pub total_latency: i64,
    /// Highest upstream latency.
    pub max_upstream_latency: i64,
    /// Lowest upstream latency.
    pub min_upstream_latency: i64,
    /// Sum of upstream latencies.
    pub total_upstream_latency: i64,
    /// Time of the first record counted here; of the last one in totals.
    pub last_time: Time,
    /// Connections opened; only totals have it.
    pub open_connections: i64,
    /// Connections closed; only totals have it.
    pub closed_connections: i64,
    /// Bytes received over connections (TCP and TLS APIs).
    pub bytes_in: i64,
    /// Bytes sent over connections.
    pub bytes_out: i64,
    /// Requests by code.
    pub codes: Codes,
    /// Which records the minima come from: those of the highest rank so far.
    rank: Rank,
}

/// How well a record tells the lowest latency: errors are often answered without asking the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    None,
    Error,
    Other,
    Best,
}

/// What one record adds to every counter that it touches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) code: i64,
    /// 1; 0 for a connection.
    pub(super) hits: i64,
    /// 1 or 0; GraphQL in `compat` has -1.
    pub(super) success: i64,
    pub(super) error: i64,
    /// Whether the code goes into the counters' maps.
    pub(super) keeps_code: bool,
    pub(super) request_time: i64,
    pub(super) latency: i64,
    pub(super) upstream_latency: i64,
    pub(super) traffic: Option<Traffic>,
}

/// Figures of a connection, which stand in records with the code -1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    pub(super) open: i64,
    pub(super) closed: i64,
    pub(super) bytes_in: i64,
    pub(super) bytes_out: i64,
}

impl Hit {
    /// A request, or a connection: a record with the code -1, whose other figures mean nothing.
    pub(super) fn of(record: &RecordView<'_>) -> Hit {
        let hit = Hit::of_code(record.int(Int::ResponseCode));
        if hit.hits == 0 {
            return Hit {
                traffic: Some(Traffic {
                    open: record.int(Int::NetworkOpenConnections),
                    closed: record.int(Int::NetworkClosedConnections),
                    bytes_in: record.int(Int::NetworkBytesIn),
                    bytes_out: record.int(Int::NetworkBytesOut),
                }),
                ..hit
            };
        }
        Hit {
            request_time: record.int(Int::RequestTime),
            latency: record.int(Int::LatencyTotal),
            upstream_latency: record.int(Int::LatencyUpstream),
            ..hit
        }
    }

    pub(super) fn of_code(code: i64) -> Hit {
        Hit {
            code,
            hits: i64::from(code != -1),
            success: i64::from((200..300).contains(&code)),
            error: i64::from(code >= 400),
            keeps_code: code >= 400,
            request_time: 0,
            latency: 0,
            upstream_latency: 0,
            traffic: None,
        }
    }

    pub(super) fn is_connection(&self) -> bool {
        self.hits == 0
    }
}

impl Counter {
    pub(super) const fn new(last_time: Time) -> Counter {
        Counter {
            hits: 0,
            success: 0,
            error: 0,
            total_request_time: 0.0,
            max_latency: 0,
            min_latency: 0,
            total_latency: 0,
            max_upstream_latency: 0,
            min_upstream_latency: 0,
            total_upstream_latency: 0,
            last_time,
            open_connections: 0,
            closed_connections: 0,
            bytes_in: 0,
            bytes_out: 0,
            codes: Codes(Vec::new()),
            rank: Rank::None,
        }
    }

    /// Counts a record. Sums of integers wrap, as Go's do. `first_counts`: the first request sets the minima whatever its rank.
    pub(super) fn add(&mut self, hit: &Hit, rank: Rank, first_counts: bool) {
        if let Some(traffic) = &hit.traffic {
            self.add_traffic(traffic);
        }
        if hit.hits > 0 {
            let is_first = first_counts && self.rank == Rank::None;
            let rank = if is_first { Rank::Best } else { rank };
            self.note_latency(rank, [hit.latency; 2], [hit.upstream_latency; 2]);
        }
        self.hits += hit.hits;
        self.success += hit.success;
        self.error += hit.error;
        if hit.keeps_code {
            self.codes.add(hit.code, 1);
        }
        self.total_request_time += hit.request_time as f64;
        self.total_latency = self.total_latency.wrapping_add(hit.latency);
        self.total_upstream_latency = self.total_upstream_latency.wrapping_add(hit.upstream_latency);
    }

    /// `[lowest, highest]` of requests of this rank.
    fn note_latency(&mut self, rank: Rank, latency: [i64; 2], upstream: [i64; 2]) {
        let ([low, high], [upstream_low, upstream_high]) = (latency, upstream);
        if self.hits == 0 {
            self.max_latency = high;
            self.max_upstream_latency = upstream_high;
        } else {
            self.max_latency = self.max_latency.max(high);
            self.max_upstream_latency = self.max_upstream_latency.max(upstream_high);
        }
        if rank > self.rank {
            self.rank = rank;
            self.min_latency = low;
            self.min_upstream_latency = upstream_low;
        } else if rank == self.rank {
            self.min_latency = self.min_latency.min(low);
            self.min_upstream_latency = self.min_upstream_latency.min(upstream_low);
        }
    }

    /// Leaves no maximum below 0, where the reference begins to look for those of totals.
    pub(super) fn raise_maxima(&mut self) {
        self.max_latency = self.max_latency.max(0);
        self.max_upstream_latency = self.max_upstream_latency.max(0);
    }

    /// Counts a connection.
    pub(super) fn add_traffic(&mut self, traffic: &Traffic) {
        self.open_connections = self.open_connections.wrapping_add(traffic.open);
        self.closed_connections = self.closed_connections.wrapping_add(traffic.closed);
        self.bytes_in = self.bytes_in.wrapping_add(traffic.bytes_in);
        self.bytes_out = self.bytes_out.wrapping_add(traffic.bytes_out);
    }

    /// Leaves an untouched counter with the minimum 0 for good, as the reference does where a connection comes first, and,
    /// if it is to be `timeless`, without a time.
    pub(super) fn pin_minimum(&mut self, timeless: bool) {
        if self.rank == Rank::None {
            self.rank = Rank::Best;
            if timeless {
                self.last_time = Time::ZERO;
            }
        }
    }

    /// Adds the figures of `later`; `last_time` is left alone.
    pub(super) fn merge(&mut self, later: &Counter) {
        if later.hits > 0 {
            self.note_latency(
                later.rank,
                [later.min_latency, later.max_latency],
                [later.min_upstream_latency, later.max_upstream_latency],
            );
        }
        self.hits += later.hits;
        self.success += later.success;
        self.error += later.error;
        for (code, count) in later.codes.iter() {
            self.codes.add(code, count);
        }
        self.total_request_time += later.total_request_time;
        self.total_latency = self.total_latency.wrapping_add(later.total_latency);
        self.total_upstream_latency = self.total_upstream_latency.wrapping_add(later.total_upstream_latency);
        self.add_traffic(&Traffic {
            open: later.open_connections,
            closed: later.closed_connections,
            bytes_in: later.bytes_in,
            bytes_out: later.bytes_out,
        });
    }

    /// Average request time; 0 without hits.
    pub fn request_time(&self) -> f64 {
        self.average(self.total_request_time)
    }

    /// Average latency; 0 without hits.
    pub fn latency(&self) -> f64 {
        self.average(self.total_latency as f64)
    }

    /// Average upstream latency; 0 without hits.
    pub fn upstream_latency(&self) -> f64 {
        self.average(self.total_upstream_latency as f64)
    }

    fn average(&self, sum: f64) -> f64 {
        if self.hits == 0 {
            return 0.0;
        }
        sum / self.hits as f64
    }

    /// Whether the minima come from requests that were answered: not every hit is an error, and there are hits. Stores
    /// that can leave a minimum out (MongoDB) do so otherwise; others get the lowest error's, or 0 without hits.
    pub fn has_minimum(&self) -> bool {
        self.hits != self.error
    }
}
