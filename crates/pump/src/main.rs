//! `tyk-pump`: see the library of the same name.

use std::{io::Write, process::ExitCode};

use analytics::logrus::LogForm;
use tyk_pump::{
    app::{self, Fatal},
    cli::{self, Invocation, Printed, RunOptions},
    config::{self, Request, Settings},
    demo::DemoOptions,
    failpoints, logging, operations,
};

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Invocation::Print(printed) => print(&printed),
        Invocation::Run(options) => run(options),
        Invocation::Command(command) => operate(command),
    }
}

fn print(printed: &Printed) -> ExitCode {
    // Whoever closed the outputs does not want to know.
    let _ = std::io::stdout().write_all(printed.stdout.as_bytes());
    let _ = std::io::stderr().write_all(printed.stderr.as_bytes());
    ExitCode::from(printed.code)
}

fn run(options: RunOptions) -> ExitCode {
    failpoints::expect_one_of(&failpoints::ALL);
    let Some(settings) = load(&options) else {
        return ExitCode::FAILURE;
    };
    let demo = demo(&options);
    let ended = runtime().and_then(|runtime| runtime.block_on(app::run(settings, demo)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            logging::fatal(fatal.prefix, &fatal.text);
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Fatal> {
    // One crypto provider for every TLS connection of the process; only the first call can set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One core is left to Redis and the back-ends, which mostly share a small machine with the pump: with a worker on
    // every core they wait for it, and it for them.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(1).max(1))
        .enable_all()
        .build()
        .map_err(|error| Fatal::new(format!("cannot start the runtime: {error}")))
}

/// Reads the configuration and starts the log. `None`: it is unusable, and the log says why.
fn load(options: &RunOptions) -> Option<Settings> {
    let request = Request::of_process(options.conf.clone(), options.debug);
    if logging::start(config::load::first_level(&request.environment, options.debug)).is_err() {
        return None;
    }
    let loaded = config::load(&request);
    if !logging::report(&loaded.findings) {
        return None;
    }
    // The level of the configuration counts from the line after this one.
    let level = config::load::first_level(&request.environment, options.debug);
    logging::switch(LogForm { level, ..loaded.log });
    tracing::info!(prefix = "main", "## Tyk Pump, {} ##", tyk_pump::VERSION);
    logging::switch(loaded.log);
    loaded.settings
}

/// Demo mode: `TYK_PMP_BUILDDEMODATA` goes before `--demo`.
fn demo(options: &RunOptions) -> Option<DemoOptions> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let from_environment = variable("TYK_PMP_BUILDDEMODATA");
    if from_environment.is_some() {
        tracing::warn!("Demo mode active via environemnt variable");
    }
    let org = from_environment.unwrap_or_else(|| options.demo.clone());
    let seed = variable("TYK_PMP_DEMO_SEED").and_then(|seed| seed.parse().ok());
    (!org.is_empty()).then(|| DemoOptions {
        org,
        api: Some(options.demo_api.clone()),
        api_version: options.demo_api_version.clone(),
        track_path: options.demo_track_path,
        days: options.demo_days,
        records_per_hour: options.demo_records_per_hour,
        future: options.demo_future_data,
        seed: options.demo_seed.or(seed),
    })
}

fn operate(command: cli::Command) -> ExitCode {
    let done = runtime().map_err(anyhow::Error::from);
    match done.and_then(|runtime| runtime.block_on(operations::run(command, &mut std::io::stdout()))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // There is nowhere left to complain.
            let _ = writeln!(std::io::stderr(), "tyk-pump: error: {}", tyk_pump::error_text(&error));
            ExitCode::FAILURE
        }
    }
}
