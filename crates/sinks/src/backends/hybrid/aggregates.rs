//! Which calls a group makes with `aggregated`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use analytics::{
    Flag, RecordView, RowId, Selection, Time, When,
    aggregate::{Aggregate, Aggregator, Bucketing, Engine, Filling, Rules, Window},
    gotime,
    json::write_string,
};

use super::{Options, json, pieces::Piece};
use crate::Rejected;

/// How records are counted.
#[derive(Clone)]
pub(super) struct Counting(Arc<Settings>);

struct Settings {
    rules: Rules,
    /// Of MCP records, if they are counted.
    mcp_rules: Option<Rules>,
    compat: bool,
}

/// What is sent of a group.
#[derive(Default)]
pub(super) struct Plan {
    /// Aggregates by organisation.
    pub(super) calls: Vec<Piece>,
    /// Aggregates by API.
    pub(super) mcp_calls: Vec<Piece>,
    /// Rows that are sent as records.
    pub(super) as_records: Vec<RowId>,
    /// Records that are in none of these.
    pub(super) left_out: u64,
    /// Records whose times cannot be said.
    pub(super) rejected: Vec<Rejected>,
}

impl Counting {
    pub(super) fn new(options: &Options, compat: bool) -> Counting {
        let rules = |track_all_paths, ignored: &[String]| Rules {
            track_all_paths,
            ignore_tag_prefixes: ignored.iter().map(|prefix| prefix.clone().into_bytes()).collect(),
            window: match options.store_analytics_per_minute {
                true => Window::MINUTE,
                false => Window::HOUR,
            },
            bucketing: match compat {
                true => Bucketing::Filling(Arc::new(Filling::default())),
                false => Bucketing::OwnTime,
            },
            answered_minima: false,
            compat,
            ..Rules::default()
        };
        let of_records = rules(options.track_all_paths, &options.ignore_tag_prefix_list);
        let mut of_mcp = rules(false, &[]);
        of_mcp.bucketing = of_records.bucketing.clone();
        Counting(Arc::new(Settings {
            mcp_rules: options.enable_mcp_aggregation.then_some(of_mcp),
            rules: of_records,
            compat,
        }))
    }

    /// Which records are in no call, in words.
    pub(super) fn left_out_kinds(&self) -> &'static str {
        match (self.0.compat, &self.0.mcp_rules) {
            (false, _) => "they have no organisation",
            (true, None) => {
                "GraphQL and MCP records, and those without an organisation; without compat the first two are sent as \
                 records"
            }
            (true, Some(_)) => {
                "GraphQL records, and those without an organisation; without compat the first are sent as records"
            }
        }
    }

    /// Counts a group. Calls are at most `bytes` long; a longer aggregate stands alone.
    pub(super) fn plan(&self, group: &[Selection], bytes: usize) -> Plan {
        let settings = &*self.0;
        let mut plan = Plan::default();
        let mut rest = Counted::new(Engine::Rest, &settings.rules);
        let mut mcp = settings
            .mcp_rules
            .as_ref()
            .map(|rules| Counted::new(Engine::Mcp, rules));
        let mut others = Vec::new();
        for (row, record) in group.iter().flat_map(Selection::records) {
            if let Some(reason) = unsayable(&record) {
                plan.rejected.push(Rejected { row, reason });
            } else if !rest.add(row, &record) {
                others.push((row, record));
            }
        }
        // After all the others, as upstream does: with compat both fill the same minutes.
        for (row, record) in others {
            if mcp.as_mut().is_some_and(|mcp| mcp.add(row, &record)) {
                continue;
            }
            let has_own_kind = record.flag(Flag::IsGraphQl) || record.flag(Flag::IsMcp);
            match has_own_kind && !settings.compat {
                true => plan.as_records.push(row),
                false => plan.left_out += 1,
            }
        }
        plan.calls = rest.calls(bytes, &mut plan.rejected);
        if let Some(mcp) = mcp {
            plan.mcp_calls = mcp.calls(bytes, &mut plan.rejected);
        }
        // Upstream makes this call whatever is in it.
        let is_quiet = plan.as_records.is_empty() && plan.mcp_calls.is_empty();
        if plan.calls.is_empty() && (settings.compat || is_quiet) {
            plan.calls.push(Piece {
                body: b"{}".to_vec(),
                rows: Vec::new(),
            });
        }
        plan
    }
}

/// Why a record cannot be part of an aggregate.
fn unsayable(record: &RecordView<'_>) -> Option<String> {
    // 1970 to 9998 in every zone.
    let is_plain = |time: Time| (86_400..253_339_200_000).contains(&time.seconds);
    for (name, when) in [("timestamp", When::TimeStamp), ("expireAt", When::ExpireAt)] {
        let time = record.time(when);
        if !is_plain(time)
            && let Err(error) = gotime::write_rfc3339_nano(&mut Vec::new(), time)
        {
            return Some(format!("{name}: {error}"));
        }
    }
    None
}

/// What tells the buckets of an owner apart, where there is more than one.
fn bucket_number(rules: &Rules, bucket: Time) -> i64 {
    match rules.bucketing {
        Bucketing::OwnTime => bucket.seconds,
        _ => 0,
    }
}

/// Records that are being counted, and who they are.
struct Counted<'r> {
    engine: Engine,
    rules: &'r Rules,
    aggregator: Aggregator<'r>,
    /// By owner, and by bucket where there is more than one.
    rows: HashMap<(Box<[u8]>, i64), Vec<RowId>>,
}

impl<'r> Counted<'r> {
    fn new(engine: Engine, rules: &'r Rules) -> Self {
        Counted {
            engine,
            rules,
            aggregator: Aggregator::new(engine, rules),
            rows: HashMap::new(),
        }
    }

    fn add(&mut self, row: RowId, record: &RecordView<'_>) -> bool {
        if !self.aggregator.add(record) {
            return false;
        }
        let owner = record.text(self.engine.owner());
        let bucket = self.rules.window.start(record.time(When::TimeStamp));
        let key = (owner.into(), bucket_number(self.rules, bucket));
        self.rows.entry(key).or_default().push(row);
        true
    }

    /// An object has one aggregate for each owner: the first bucket of every owner goes into the first calls, the second
    /// into the next ones, and so on.
    fn calls(self, bytes: usize, rejected: &mut Vec<Rejected>) -> Vec<Piece> {
        let Counted {
            engine,
            rules,
            aggregator,
            rows: mut counted,
        } = self;
        let aggregates = aggregator.finish();
        let mut waves: BTreeMap<usize, Vec<&Aggregate>> = BTreeMap::new();
        for of_owner in aggregates.chunk_by(|a, b| a.owner == b.owner) {
            for (number, aggregate) in of_owner.iter().enumerate() {
                waves.entry(number).or_default().push(aggregate);
            }
        }
        let mut calls = Vec::new();
        for wave in waves.into_values() {
            let mut piece = Piece::default();
            for aggregate in wave {
                let key = (aggregate.owner.clone(), bucket_number(rules, aggregate.bucket));
                let rows = counted.remove(&key).unwrap_or_default();
                let start = piece.body.len();
                piece.body.push(if start == 0 { b'{' } else { b',' });
                write_string(&mut piece.body, &aggregate.owner);
                piece.body.push(b':');
                let written = json::write_aggregate(&mut piece.body, aggregate, engine == Engine::Mcp);
                if let Err(error) = written {
                    piece.body.truncate(start);
                    let refused = rows.into_iter().map(|row| Rejected {
                        row,
                        reason: format!("its aggregate has no JSON form: {error}"),
                    });
                    rejected.extend(refused);
                    continue;
                }
                if piece.body.len() > bytes && start > 0 {
                    let rest = piece.body.split_off(start + 1);
                    piece.body.truncate(start);
                    piece.body.push(b'}');
                    calls.push(std::mem::take(&mut piece));
                    piece.body.push(b'{');
                    piece.body.extend_from_slice(&rest);
                }
                piece.rows.extend(rows);
            }
            if !piece.body.is_empty() {
                piece.body.push(b'}');
                calls.push(piece);
            }
        }
        calls
    }
}
