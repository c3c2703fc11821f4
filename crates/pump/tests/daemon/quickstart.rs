//! The first thing that a newcomer runs.

use std::process::Command;

#[test]
fn quickstart_shows_the_whole_way() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_tyk-pump"))
            .args(["quickstart", "here", "--records", "2000", "--once"])
            .current_dir(folder.path())
            .env_clear()
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        text
    };
    // What the standard ports are used for on this machine is none of the test's business: both are taken.
    let taken: Vec<_> = [6380, 8083]
        .map(|port| std::net::TcpListener::bind(("0.0.0.0", port)))
        .into();
    let text = run();
    for port in [6380, 8083] {
        assert!(
            text.contains(&format!("Port {port} is taken: this folder uses ")),
            "{text}"
        );
    }
    let conf = || std::fs::read_to_string(folder.path().join("here/pump.conf")).unwrap();
    let first = conf();
    assert!(first.contains("\"admin_listen\": \"127.0.0.1:"), "{first}");
    assert!(
        !text.contains("/status") && !text.contains("/s:"),
        "a page that is gone, or a second rate: {text}"
    );
    assert!(!text.contains("earlier runs"), "{text}");
    for expected in [
        "2000 made-up records",
        "delivered to every pump",
        "SELECT api_name",
        "requests",
        "enable_separate_analytics_store",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let share = |text: &str| {
        text.lines()
            .filter(|line| line.trim_end().ends_with(|c: char| c.is_ascii_digit()) && line.contains('%'))
            .count()
    };
    assert!(share(&text) >= 3, "{text}");
    let csv = std::fs::read_dir(folder.path().join("here/csv")).unwrap();
    assert!(
        csv.filter(|entry| entry.as_ref().unwrap().path().extension().is_some())
            .count()
            >= 1
    );
    // It can be run again in the same folder, with the ports that a gateway was told.
    drop(taken);
    let again = run();
    assert!(again.contains("delivered to every pump"), "{again}");
    assert!(again.contains("counts 2000 records of earlier runs, too"), "{again}");
    assert_eq!(conf(), first);
}
