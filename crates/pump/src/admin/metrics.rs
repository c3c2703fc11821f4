//! `/metrics`: the figures of `/status` as Prometheus text exposition. Written by hand: every figure comes from one
//! snapshot, so that a scrape never mixes two moments, which registered collectors would.

mod process;

use std::fmt::{Display, Write};

use crate::delivery::{
    cause::CauseClass,
    latency::BOUNDS_MS,
    status::{DROP_REASONS, LaneState, LaneStatus, SourceStatus, Status},
    undecodable::LANE as UNDECODABLE,
};

/// One figure of a pump: name without `tyk_pump_`, type, help, where it stands.
type LaneMetric = (&'static str, &'static str, &'static str, fn(&LaneStatus) -> u64);

const LANE_METRICS: [LaneMetric; 12] = [
    (
        "delivered_rows_total",
        "counter",
        "Records that the back-end accepted.",
        |lane| lane.delivered,
    ),
    (
        "filtered_rows_total",
        "counter",
        "Records that a filter kept out.",
        |lane| lane.filtered,
    ),
    (
        "retries_total",
        "counter",
        "Writes that failed and were repeated.",
        |lane| lane.retried,
    ),
    (
        "dead_rows_total",
        "counter",
        "Records that became dead letters.",
        |lane| lane.dead,
    ),
    (
        "possibly_doubled_rows_total",
        "counter",
        "Records that may stand in the back-end twice.",
        |lane| lane.possibly_doubled,
    ),
    ("in_flight_rows", "gauge", "Records being written.", |lane| {
        lane.in_flight
    }),
    ("backlog_rows", "gauge", "Records claimed and not delivered.", |lane| {
        lane.backlog_rows
    }),
    ("backlog_bytes", "gauge", "Their bytes, estimated.", |lane| {
        lane.backlog_bytes
    }),
    (
        "lag_seconds",
        "gauge",
        "Age of the oldest undelivered record.",
        |lane| lane.lag_seconds,
    ),
    ("spooled_files", "gauge", "Files in the spool.", |lane| {
        lane.spooled_files
    }),
    ("spooled_rows", "gauge", "Records in the spool.", |lane| {
        lane.spooled_rows
    }),
    (
        "state_since_seconds",
        "gauge",
        "When the pump entered its state, seconds since 1970.",
        |lane| lane.since,
    ),
];

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.head_of(&format!("tyk_pump_{name}"), kind, help);
    }

    /// The same with the whole name.
    fn head_of(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "tyk_pump_{name}");
        for (i, (label, text)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{line}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The page for one snapshot.
pub fn render(status: &Status) -> String {
    let mut page = Page(String::with_capacity(4096));
    page.head("info", "gauge", "Version and instance of this process.");
    let labels = [("version", status.version), ("instance_id", &status.instance)];
    page.sample("info", &labels, 1);
    page.single(
        "uptime_seconds",
        "gauge",
        "Seconds since the start.",
        status.uptime_seconds,
    );
    let ready = u8::from(status.ready);
    page.single(
        "ready",
        "gauge",
        "1 when every pump delivers and the source is up.",
        ready,
    );
    page.single(
        "log_lines_left_out_total",
        "counter",
        "Lines that are missing in the log because it was not read fast enough.",
        status.log_lines_left_out,
    );
    render_source(&mut page, &status.source);
    render_lanes(&mut page, &status.source, &status.pumps);
    render_latency(&mut page, &status.pumps);
    process::render(&mut page);
    page.0
}

fn render_source(page: &mut Page, source: &SourceStatus) {
    let up = u8::from(source.state == "up");
    page.single("source_up", "gauge", "1 when records can be taken.", up);
    if let Some(mode) = &source.mode {
        page.head("source_mode_info", "gauge", "How records are taken.");
        page.sample("source_mode_info", &[("mode", mode.label)], 1);
    }
    page.head("unclaimed_rows", "gauge", "Records in lists that nobody has claimed.");
    for (list, rows) in &source.unclaimed {
        page.sample("unclaimed_rows", &[("list", list)], rows);
    }
    page.single("claims", "gauge", "Claims of all instances.", source.claims);
    page.single("claimed_rows", "gauge", "Records in them.", source.claimed_rows);
    page.head(
        "orphaned_rows",
        "gauge",
        "Records that wait for a pump nobody has configured.",
    );
    for (pump, rows) in &source.orphans {
        page.sample("orphaned_rows", &[("pump", pump)], rows);
    }
    page.single("decoded_records_total", "counter", "Records decoded.", source.decoded);
    let undecodable = source.undecodable;
    page.single(
        "undecodable_elements_total",
        "counter",
        "List elements that are no record.",
        undecodable,
    );
    let held = u8::from(source.claiming_held.is_some());
    page.single("claiming_held", "gauge", "1 while claiming is held back.", held);
    let refused = source.refused;
    page.single(
        "refused_elements_total",
        "counter",
        "Elements that gateways were refused.",
        refused,
    );
    page.single(
        "source_not_lists",
        "gauge",
        "Lists whose name is taken by another type: gateways cannot push to them.",
        source.not_lists.len(),
    );
    if let Some(commands) = source.commands {
        page.single("redis_commands_total", "counter", "Commands sent to Redis.", commands);
    }
    page.single(
        "expired_rows_total",
        "counter",
        "Records that have vanished from their lists while claiming was held back, an estimate.",
        source.expired_rows,
    );
    if let Some(bytes) = source.used_memory {
        page.single("redis_used_memory_bytes", "gauge", "used_memory of Redis.", bytes);
    }
    if let Some(bytes) = source.max_memory {
        page.single("redis_max_memory_bytes", "gauge", "maxmemory of Redis.", bytes);
    }
}

fn render_lanes(page: &mut Page, source: &SourceStatus, lanes: &[LaneStatus]) {
    for (name, kind, help, figure) in LANE_METRICS {
        page.head(name, kind, help);
        for lane in lanes {
            page.sample(name, &[("pump", &lane.pump)], figure(lane));
        }
    }
    page.head(
        "dropped_rows_total",
        "counter",
        "Records that are gone for good, by reason.",
    );
    for lane in lanes {
        for reason in DROP_REASONS {
            let rows = lane.dropped.get(reason).copied().unwrap_or_default();
            page.sample("dropped_rows_total", &[("pump", &lane.pump), ("reason", reason)], rows);
        }
    }
    for reason in DROP_REASONS
        .into_iter()
        .filter(|reason| reason.starts_with("dead_letter"))
    {
        let rows = source.undecodable_dropped.get(reason).copied().unwrap_or_default();
        page.sample("dropped_rows_total", &[("pump", UNDECODABLE), ("reason", reason)], rows);
    }
    page.head("pump_state", "gauge", "1 for the state that the pump is in.");
    for lane in lanes {
        for state in LaneState::ALL {
            let value = u8::from(lane.state == state);
            page.sample("pump_state", &[("pump", &lane.pump), ("state", state.name())], value);
        }
    }
    page.head(
        "pump_info",
        "gauge",
        "Type, guarantee and state of each pump, and the kind of cause that holds it up.",
    );
    for lane in lanes {
        let labels = [
            ("pump", &*lane.pump),
            ("type", lane.kind.as_str()),
            ("guarantee", lane.guarantee.as_str()),
            ("state", lane.state.name()),
            ("cause", lane.cause_class.map_or("", CauseClass::name)),
        ];
        page.sample("pump_info", &labels, 1);
    }
}

fn render_latency(page: &mut Page, lanes: &[LaneStatus]) {
    page.head("write_seconds", "histogram", "How long writes to the back-end took.");
    for lane in lanes {
        let latency = &lane.latency;
        for (bound, writes) in BOUNDS_MS.iter().zip(latency.at_most) {
            let bound = (*bound as f64 / 1e3).to_string();
            page.sample("write_seconds_bucket", &[("pump", &lane.pump), ("le", &bound)], writes);
        }
        page.sample(
            "write_seconds_bucket",
            &[("pump", &lane.pump), ("le", "+Inf")],
            latency.writes,
        );
        page.sample(
            "write_seconds_sum",
            &[("pump", &lane.pump)],
            latency.micros as f64 / 1e6,
        );
        page.sample("write_seconds_count", &[("pump", &lane.pump)], latency.writes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::render;
    use crate::delivery::{
        cause::{Cause, CauseClass},
        status::{LaneState, StatusBoard},
    };

    #[test]
    fn every_drop_shows_with_its_pump_and_reason() {
        let board = StatusBoard::new("box-1".to_owned());
        let lane = board.add_lane("A\"B\\C".into(), "csv", Some(sinks::Guarantee::ExactlyOnce));
        lane.change(|facts| {
            facts.delivered = 7;
            facts.latency.observe(Duration::from_millis(7));
        });
        lane.enter(
            LaneState::Paused,
            Some(Cause::new(CauseClass::Refused, "a \"long\" story")),
        );
        lane.dropped("evicted", 3);
        lane.dropped("budget", 4);
        let page = render(&board.snapshot());
        for line in [
            r#"tyk_pump_delivered_rows_total{pump="A\"B\\C"} 7"#,
            r#"tyk_pump_dropped_rows_total{pump="A\"B\\C",reason="budget"} 4"#,
            r#"tyk_pump_dropped_rows_total{pump="A\"B\\C",reason="evicted"} 3"#,
            // A series that begins with its first drop hides that drop from increase().
            r#"tyk_pump_dropped_rows_total{pump="A\"B\\C",reason="dead_letters_full"} 0"#,
            r#"tyk_pump_dropped_rows_total{pump="!undecodable",reason="dead_letters_full"} 0"#,
            r#"tyk_pump_dropped_rows_total{pump="A\"B\\C",reason="spool_damaged"} 0"#,
            r#"tyk_pump_dead_rows_total{pump="A\"B\\C"} 0"#,
            r#"tyk_pump_pump_info{pump="A\"B\\C",type="csv",guarantee="exactly once",state="paused",cause="refused"} 1"#,
            r#"tyk_pump_write_seconds_bucket{pump="A\"B\\C",le="0.005"} 0"#,
            r#"tyk_pump_write_seconds_bucket{pump="A\"B\\C",le="0.01"} 1"#,
            r#"tyk_pump_write_seconds_bucket{pump="A\"B\\C",le="60"} 1"#,
            r#"tyk_pump_write_seconds_bucket{pump="A\"B\\C",le="+Inf"} 1"#,
            r#"tyk_pump_write_seconds_sum{pump="A\"B\\C"} 0.007"#,
            r#"tyk_pump_write_seconds_count{pump="A\"B\\C"} 1"#,
            "tyk_pump_log_lines_left_out_total 0",
            r#"tyk_pump_pump_state{pump="A\"B\\C",state="paused"} 1"#,
            r#"tyk_pump_pump_state{pump="A\"B\\C",state="running"} 0"#,
            "tyk_pump_ready 0",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn every_family_is_declared_once_and_before_its_samples() {
        let board = StatusBoard::new("box-1".to_owned());
        board.add_lane("A".into(), "csv", None);
        board.add_lane("B".into(), "csv", None);
        let page = render(&board.snapshot());
        let mut declared = Vec::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap_or_default().to_owned();
                assert!(!declared.contains(&name), "{name} is declared twice");
                declared.push(name);
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| {
                    name.strip_suffix(part)
                        .filter(|family| family.ends_with("write_seconds"))
                });
                assert_eq!(
                    declared.last().map(String::as_str),
                    Some(family.unwrap_or(name)),
                    "{line}"
                );
            }
        }
        assert!(declared.len() > 20);
        #[cfg(target_os = "linux")]
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
        ] {
            let value = page
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            assert!(value.is_some_and(|value| value > 0.0), "{name}: {value:?}");
        }
    }
}
