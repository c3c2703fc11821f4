//! Every sink of the table keeps the promises that all sinks make.

use std::io::Write;

use sinks::{
    SINKS, UPTIME_SINKS,
    testkit::{
        Harness, mariadb, sqlite,
        suite::{self, Outcome},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_built_sink_passes_the_suite() {
    let mut failed = 0;
    for spec in SINKS.iter().chain(UPTIME_SINKS) {
        let Some(report) = suite::run(spec).await else {
            writeln!(
                std::io::stdout(),
                "{} FAILED: it is built and has no harness",
                spec.name
            )
            .unwrap();
            failed += 1;
            continue;
        };
        // Past the capture of the test runner: what does not apply is to be seen in every run.
        write!(std::io::stdout(), "{report}").unwrap();
        let failures = report
            .checks
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
        failed += failures.count();
    }
    assert_eq!(failed, 0, "checks failed, see above");
}

/// `sql` is checked on Postgres above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_passes_the_suite_on_every_dialect() {
    let sql = sinks::find("sql").unwrap();
    for (dialect, start) in [("sqlite", sqlite::start as Harness), ("mariadb", mariadb::start)] {
        let report = suite::run_on(sql, start).await;
        write!(std::io::stdout(), "on {dialect}:\n{report}").unwrap();
        let failed = |(_, outcome): &(_, Outcome)| matches!(outcome, Outcome::Failed(_));
        assert!(!report.checks.iter().any(failed), "checks failed, see above");
    }
}
