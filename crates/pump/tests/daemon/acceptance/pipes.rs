//! Outputs that nobody reads, signals, and visitors who never finish their requests.

use std::{
    io::Write,
    net::TcpStream,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use tyk_pump::load::LoadOptions;

use crate::support::{
    daemon::{Daemon, Site, csv_rows},
    lists::Lists,
};

fn records(records: u64) -> LoadOptions {
    LoadOptions {
        records,
        ..LoadOptions::default()
    }
}

fn ended(site: &Site, daemon: &mut Daemon, seconds: u64) -> ExitStatus {
    site.wait("the process to end", seconds, || daemon.ended())
}

/// A site with a pump that writes JSON to a stdout that nobody reads, and is stuck in the middle of it.
fn stuck_in_stdout(lists: &Lists, deadline: &str) -> (Site, Daemon) {
    let pumps = json!({
        "csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}},
        "out": {"type": "stdout", "meta": {"format": "json"}},
    });
    let site = lists.site(pumps).configure("/delivery/stop_deadline", json!(deadline));
    site.push_serials(records(2_000));
    let daemon = site.start_piped(Stdio::piped(), site.log_file());
    site.wait("a write to stdout that does not end", 20, || {
        let (_, out) = site.status("OUT")?;
        let (_, csv) = site.status("CSV")?;
        (out["in_flight"].as_u64()? > 0 && csv["delivered"] == 2_000).then_some(())
    });
    (site, daemon)
}

#[test]
fn a_stdout_that_nobody_reads_does_not_keep_the_process() {
    let lists = Lists::Pump;
    let (site, mut daemon) = stuck_in_stdout(&lists, "2s");
    daemon.signal(Signal::TERM);
    let begun = Instant::now();
    assert!(ended(&site, &mut daemon, 10).success());
    assert!(begun.elapsed() >= Duration::from_secs(2), "the deadline is the write's");
    // What it held is taken up at once, by a process whose output is read.
    let again = site.start_ready();
    site.wait_until_empty(20);
    assert!(again.stop().success());
    assert_eq!(csv_rows(&site.path("csv")).len(), 2_000);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let lists = Lists::Pump;
    let (site, mut daemon) = stuck_in_stdout(&lists, "600s");
    daemon.signal(Signal::TERM);
    // A signal that was not heard yet would be the first one.
    site.wait("the first signal to be heard", 10, || {
        site.log().contains("Shutting down").then_some(())
    });
    assert!(daemon.ended().is_none(), "the first signal waits for the write");
    daemon.signal(Signal::INT);
    assert_eq!(ended(&site, &mut daemon, 5).code(), Some(128 + 2));
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_its_lines_are_counted() {
    let site = Lists::Pump.site(json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}));
    let mut daemon = site.start_piped(Stdio::null(), Stdio::piped());
    site.wait_until_ready();
    let left_out = || {
        let (_, page) = site.get("/metrics")?;
        let mut lines = page.lines();
        let figure = lines.find_map(|line| line.strip_prefix("tyk_pump_log_lines_left_out_total "))?;
        figure.parse::<u64>().ok()
    };
    // Each of them is a line, until the pipe and the queue are full.
    site.wait("lines to be left out", 60, || {
        for _ in 0..500 {
            daemon.signal(Signal::HUP);
            std::thread::sleep(Duration::from_micros(200));
        }
        left_out().filter(|lines| *lines > 100)
    });
    assert_eq!(site.get("/livez").unwrap().0, 200);
    site.push_serials(records(1_000));
    site.wait_until_empty(20);
    assert_eq!(csv_rows(&site.path("csv")).len(), 1_000);
    let (status, _) = site.status("CSV").unwrap();
    assert!(
        status["log_lines_left_out"].as_u64() >= left_out().filter(|lines| *lines > 100),
        "{status}"
    );
    daemon.signal(Signal::TERM);
    assert!(ended(&site, &mut daemon, 15).success());
}

#[test]
fn a_hang_up_is_ignored_and_said() {
    let lists = Lists::Pump;
    let site = lists.site(json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}));
    let mut daemon = site.start_ready();
    daemon.signal(Signal::HUP);
    site.wait("the line that says so", 10, || {
        site.log().contains("SIGHUP is ignored").then_some(())
    });
    site.push_serials(records(100));
    site.wait_until_empty(20);
    assert!(daemon.ended().is_none());
    assert!(daemon.stop().success());
    assert_eq!(csv_rows(&site.path("csv")).len(), 100);
}

#[test]
fn requests_that_never_end_take_no_descriptors_from_gateways_and_pumps() {
    for lists in Lists::both() {
        let site = lists.site(json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}));
        let daemon = site.start_with_descriptors(1024);
        site.wait_until_ready();
        let mut half = Vec::new();
        for _ in 0..1_100 {
            let mut visitor = TcpStream::connect(("127.0.0.1", site.admin_port())).unwrap();
            // The daemon may have made room already.
            let _ = visitor.write_all(b"GET /readyz HTTP/1.1\r\nHost: loc");
            half.push(visitor);
        }
        assert_eq!(site.get("/readyz").unwrap().0, 200);
        assert!(daemon.open_descriptors() < 512, "{}", daemon.open_descriptors());
        // A gateway that comes now.
        site.push_serials(records(1_000));
        site.wait_until_empty(20);
        assert_eq!(csv_rows(&site.path("csv")).len(), 1_000);
        assert_eq!(site.get("/readyz").unwrap().0, 200);
        drop(half);
        assert_eq!(daemon.stop().signal(), None);
    }
}
