//! What is said of pumps that do not run, as docs/operations.md has it in its table of states.

use std::{fs, net::TcpListener};

use serde_json::json;

use crate::support::{daemon::Site, lists::Lists};

/// State, kind of cause and remedy of a pump, once it is in that state.
fn shown(site: &Site, pump: &str, state: &str) -> (String, String) {
    site.wait(&format!("{pump} to be {state}"), 20, || {
        let (_, shown) = site.status(pump)?;
        let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
        (shown["state"] == state).then(|| (text("cause_class"), text("remedy")))
    })
}

#[test]
fn a_pump_that_cannot_start_says_what_kind_of_cause_it_is_and_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site = Lists::Pump.site(json!({
        "good": {"type": "csv", "meta": {"csv_dir": "@/good"}},
        "folder": {"type": "csv", "meta": {"csv_dir": "@/file/csv"}},
        "away": {"type": "sql", "meta": {
            "type": "postgres", "connection_string": format!("host=127.0.0.1 port={} user=u password=s3cret-word", free.port()),
        }},
    }));
    fs::write(site.path("file"), "in the way").unwrap();
    let daemon = site.start();
    let (class, remedy) = shown(&site, "FOLDER", "paused");
    assert_eq!(class, "configuration");
    assert!(remedy.contains("correct the cause"), "{remedy}");
    let (class, remedy) = shown(&site, "AWAY", "retrying");
    assert_eq!(class, "unavailable");
    assert!(remedy.contains("no restart is needed"), "{remedy}");
    let (code, page) = site.get("/readyz").unwrap();
    assert_eq!(code, 503);
    for pump in ["pump FOLDER is paused: ", "pump AWAY is retrying: "] {
        let line = page.lines().find(|line| line.starts_with(pump)).unwrap_or_default();
        assert!(line.contains(" – "), "{pump} has no remedy: {page}");
    }
    let (_, metrics) = site.get("/metrics").unwrap();
    for (pump, kind, state, cause) in [
        ("GOOD", "csv", "running", ""),
        ("FOLDER", "csv", "paused", "configuration"),
        ("AWAY", "sql", "retrying", "unavailable"),
    ] {
        let guarantee = "exactly once";
        let line = format!(
            "tyk_pump_pump_info{{pump=\"{pump}\",type=\"{kind}\",guarantee=\"{guarantee}\",state=\"{state}\",cause=\"{cause}\"}} 1"
        );
        assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
    }
    // Nothing refused holds them up, and that is said instead of an order for later.
    for pump in ["GOOD", "FOLDER", "away", "!undecodable"] {
        let answer = site.operate(&format!("lane accept-refusals {pump}"));
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(
            !answer.status.success() && said.contains("nothing to accept"),
            "{pump}: {said}"
        );
    }
    fs::remove_file(site.path("file")).unwrap();
    site.wait("the folder to be used", 20, || {
        let (_, folder) = site.status("FOLDER")?;
        (folder["state"] == "running" && folder["remedy"].is_null()).then_some(())
    });
    assert!(!site.log().contains("s3cret-word"));
    assert!(daemon.stop().success());
}
