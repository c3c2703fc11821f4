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
    let text = run();
    for expected in [
        "pushed 2000 records",
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
    // It can be run again in the same folder.
    assert!(run().contains("delivered to every pump"));
}
