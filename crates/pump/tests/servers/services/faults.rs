//! Every service with every fault, all at the same time: one pump each.

use std::{
    collections::BTreeMap,
    sync::OnceLock,
    time::{Duration, Instant},
};

use fakes::certificates::Certificates;
use serde_json::{Map, Value, json};

use super::{
    endpoint::{Endpoint, Fault},
    kinds::KINDS,
    records::{element, push},
};
use crate::support::{self, daemon::Site, free_ports, oracle::Tally};

/// What pumps are called in `/status`.
fn pump(endpoint: &Endpoint) -> String {
    let fault = format!("{:?}", endpoint.fault).replace(['(', ')'], "");
    format!("{}-{fault}", endpoint.kind.label).to_uppercase()
}

fn pumps(endpoints: &[Endpoint]) -> Value {
    let mut pumps = Map::new();
    for endpoint in endpoints {
        let mut meta = (endpoint.kind.options)();
        let url = match endpoint.is_tls() {
            true => format!("https://localhost:{}", endpoint.port),
            false => format!("http://127.0.0.1:{}", endpoint.port),
        };
        (endpoint.kind.address)(&mut meta, &url, endpoint.port);
        let mut settings = json!({"type": endpoint.kind.name, "meta": meta});
        if endpoint.fault == Fault::Silent {
            settings["timeout"] = 2.into();
        }
        pumps.insert(pump(endpoint), settings);
    }
    pumps.into()
}

/// The pumps of `/status`, by name.
fn status(site: &Site) -> Option<BTreeMap<String, Value>> {
    let (_, body) = site.get("/status")?;
    let status: Value = serde_json::from_str(&body).ok()?;
    let pumps = status["pumps"].as_array()?.iter();
    Some(
        pumps
            .map(|pump| (pump["pump"].as_str().unwrap_or_default().to_owned(), pump.clone()))
            .collect(),
    )
}

/// What is not as it should be, a line a pump.
fn odd(site: &Site, endpoints: &[Endpoint]) -> Vec<String> {
    let Some(shown) = status(site) else {
        return vec!["no /status".to_owned()];
    };
    let mut odd = Vec::new();
    for endpoint in endpoints {
        let (name, expected) = (pump(endpoint), endpoint.kind.expected(endpoint.fault));
        let Some(shown) = shown.get(&name) else {
            odd.push(format!("{name} is not shown"));
            continue;
        };
        let cause = shown["cause"].as_str().unwrap_or_default();
        let is_so = shown["state"] == expected.state
            && cause.contains(expected.cause)
            && (expected.state != "running" || cause.is_empty())
            && (expected.state != "paused" || shown["remedy"].is_string());
        // A status that says that a document is there already is enough, so that one by one all of them may be through.
        let is_through =
            endpoint.fault == Fault::BreaksOff && shown["state"] == "running" && shown["backlog_rows"] == 0;
        if !is_so && !is_through {
            odd.push(format!("{name}: {} {cause:?} {}", shown["state"], shown["remedy"]));
        }
    }
    odd
}

fn outage() -> Duration {
    let seconds = std::env::var("PUMP_TEST_OUTAGE").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(3))
}

fn wait_for(what: &str, seconds: u64, mut missing: impl FnMut() -> Vec<String>) {
    let began = Instant::now();
    let deadline = began + Duration::from_secs(seconds);
    loop {
        let missing = missing();
        if missing.is_empty() {
            println!("{what}: after {} ms", began.elapsed().as_millis());
            return;
        }
        if Instant::now() > deadline {
            panic!("{what}: not within {seconds} s\n{}", missing.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

const BEFORE: u64 = 100;
const MEANWHILE: u64 = 200;
const ALL: u64 = 250;

#[test]
fn a_service_that_fails_later_says_what_is_wrong_and_gets_everything_afterwards() {
    run(BEFORE, 0);
}

#[test]
fn a_service_that_fails_at_first_says_what_is_wrong_and_gets_everything_afterwards() {
    run(0, 1);
}

/// Ports for both tests, which run at the same time.
static PORTS: OnceLock<u16> = OnceLock::new();

/// Lets every service fail after it has got the records `0..before`. `number` is that of the test.
fn run(before: u64, number: u16) {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let certificates = Certificates::make().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cells: Vec<_> = KINDS
        .iter()
        .flat_map(|kind| kind.faults().iter().map(move |fault| (kind, *fault)))
        .collect();
    let count = cells.len() as u16;
    let first = PORTS.get_or_init(|| free_ports(2 * count, &[])) + number * count;
    let mut endpoints: Vec<Endpoint> = runtime.block_on(async {
        let mut endpoints = Vec::new();
        for (port, (kind, fault)) in (first..).zip(cells) {
            endpoints.push(Endpoint::start(kind, fault, port, &certificates).await);
        }
        endpoints
    });
    let site = Site::new(&redis, pumps(&endpoints));
    let daemon = site.start_with(&[("SSL_CERT_FILE", &certificates.text("ca.crt"))]);
    site.wait_until_ready();
    if before > 0 {
        push(&redis, (0..before).map(element));
    }
    let incomplete = |endpoints: &[Endpoint], pushed: u64| -> Vec<String> {
        let tally = |endpoint: &Endpoint| (pump(endpoint), Tally::of(pushed, endpoint.held.serials()));
        let tallies = endpoints.iter().map(tally);
        let missing = tallies.filter(|(_, tally)| !tally.lost.is_empty());
        missing.map(|(name, tally)| format!("{name}: {tally}")).collect()
    };
    wait_for("the first records everywhere", 60, || incomplete(&endpoints, before));

    runtime.block_on(async {
        for endpoint in &mut endpoints {
            endpoint.break_down(&certificates).await;
        }
    });
    let until = Instant::now() + outage();
    push(&redis, (before..MEANWHILE).map(element));
    wait_for("what is wrong", 60, || odd(&site, &endpoints));
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    assert_eq!(odd(&site, &endpoints), [""; 0]);

    runtime.block_on(async {
        for endpoint in &mut endpoints {
            endpoint.heal(&certificates).await;
        }
    });
    push(&redis, (MEANWHILE..ALL).map(element));
    // A paused pump looks every 30 seconds, one that tries again waits up to 60.
    wait_for("everything everywhere", 120, || incomplete(&endpoints, ALL));
    site.wait_until_drained(&redis, 20);
    site.wait_until_ready();
    let shown = status(&site).unwrap();
    let letters = site.operate_json("dlq list --json");
    assert!(letters.is_empty(), "{letters:?}");
    assert!(daemon.stop().success());
    for endpoint in &endpoints {
        let name = pump(endpoint);
        let tally = Tally::of(ALL, endpoint.held.serials());
        assert!(tally.lost.is_empty() && tally.foreign == 0, "{name}: {tally}");
        assert!(
            tally.doubled.is_empty() || endpoint.kind.may_double(endpoint.fault),
            "{name}: {tally}"
        );
        assert_eq!(shown[&name]["dead"], 0, "{name}");
        assert_eq!(shown[&name]["guarantee"], endpoint.kind.guarantee, "{name}");
        assert_eq!(shown[&name]["dropped"], json!({}), "{name}");
    }
}
