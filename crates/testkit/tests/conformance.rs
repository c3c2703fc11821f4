//! Every sink keeps the promises that all sinks make: one test for each check of each sink, `conformance::csv::fills_holes`,
//! on a back-end of its own.

use std::{io::Write, process::ExitCode, thread};

use analytics::RecordKind;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sinks::{SINKS, UPTIME_SINKS};
use testkit::{
    HARNESSES, Harness,
    suite::{CHECKS, Check, Outcome},
};

fn main() -> ExitCode {
    let mut trials = vec![
        Trial::test("every_sink_has_a_harness", every_sink_has_a_harness),
        Trial::test(
            "every_harness_has_a_name_of_its_own",
            every_harness_has_a_name_of_its_own,
        ),
    ];
    for harness in HARNESSES {
        for check in CHECKS {
            let name = format!("conformance::{}::{}", harness.name(), check.name);
            trials.push(Trial::ignorable_test(name.clone(), move || run(name, harness, check)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(name: String, harness: &'static Harness, check: &'static Check) -> Result<Completion, Failed> {
    // In a thread of the test's name, as reports of missing servers name it.
    let checked = thread::Builder::new().name(name.clone()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(check.on(harness));
        // Nothing that a broken sink leaves behind can keep the others from being checked.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        Ok::<_, std::io::Error>(outcome)
    })?;
    let outcome = checked.join().map_err(|_| "it panics")??;
    let mut out = std::io::stdout().lock();
    match outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Failed(why) => Err(why.into()),
        Outcome::NotApplicable(reason) => {
            writeln!(out, "{name}: not applicable: {reason}")?;
            Ok(Completion::ignored_with(reason))
        }
        Outcome::Missing(reason) => {
            writeln!(out, "SKIP {name}: {reason}")?;
            Ok(Completion::ignored_with(reason))
        }
    }
}

fn every_sink_has_a_harness() -> Result<(), Failed> {
    let has = |records, name| {
        let mut specs = HARNESSES.iter().filter_map(Harness::spec);
        specs.any(|spec| spec.records == records && spec.name == name)
    };
    let traffic = SINKS.iter().map(|spec| (RecordKind::Traffic, spec.name));
    let uptime = UPTIME_SINKS.iter().map(|spec| (RecordKind::Uptime, spec.name));
    let missing: Vec<_> = traffic
        .chain(uptime)
        .filter(|&(records, name)| !has(records, name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("without an entry in testkit::HARNESSES: {missing:?}").into())
}

fn every_harness_has_a_name_of_its_own() -> Result<(), Failed> {
    let mut names: Vec<String> = HARNESSES.iter().map(Harness::name).collect();
    names.sort();
    let doubled: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    if doubled.is_empty() {
        return Ok(());
    }
    Err(format!("{doubled:?}").into())
}
