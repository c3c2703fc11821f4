//! Every sink of the table keeps the promises that all sinks make.

use std::io::Write;

use sinks::{
    SINKS,
    testkit::suite::{self, Outcome},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_built_sink_passes_the_suite() {
    let mut failed = 0;
    for spec in SINKS {
        if !spec.is_built() {
            continue;
        }
        let Some(report) = suite::run(spec).await else {
            writeln!(std::io::stdout(), "{} FAILED: it is built and has no harness", spec.name).unwrap();
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
