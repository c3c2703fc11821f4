//! `tyk-pump`: see the library of the same name.

use std::{io::Write, process::ExitCode, time::Duration};

use analytics::logrus::LogForm;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;
use tyk_pump::{
    app::{self, Fatal},
    cli::{self, Invocation, Printed, RunOptions},
    config::{self, Request, Settings},
    demo::DemoOptions,
    failpoints, logging, operations, scrub, signals,
};

/// How long writes in threads may still run when everything else has ended.
const LAST_WRITES: Duration = Duration::from_secs(1);

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
    raise_descriptor_limit();
    let Some(settings) = load(&options) else {
        logging::flush();
        return ExitCode::FAILURE;
    };
    let demo = demo(&options);
    let code = match run_until_stopped(settings, demo) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            logging::fatal(fatal.prefix, &fatal.text);
            ExitCode::FAILURE
        }
    };
    logging::flush();
    code
}

/// As many descriptors as the process may have, as every program of Go takes them. Where that is refused the lower limit
/// counts.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn run_until_stopped(settings: Settings, demo: Option<DemoOptions>) -> Result<(), Fatal> {
    let runtime = runtime()?;
    let stop = listen(settings.delivery.stop_deadline)?;
    let ended = runtime.block_on(app::run(settings, demo, stop));
    // A write that hangs in a thread, into a pipe that nobody reads for instance, must not keep the process.
    runtime.shutdown_timeout(LAST_WRITES);
    ended
}

fn listen(deadline: Duration) -> Result<CancellationToken, Fatal> {
    signals::listen(deadline).map_err(|error| Fatal::new(format!("cannot listen for stop signals: {error}")))
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
    let done = runtime().map_err(anyhow::Error::from).and_then(|runtime| {
        let done = runtime.block_on(operations::run(command, &mut std::io::stdout()));
        runtime.shutdown_timeout(LAST_WRITES);
        done
    });
    logging::flush();
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // There is nowhere left to complain.
            let text = format!("tyk-pump: error: {}", tyk_pump::error_text(&error));
            let _ = writeln!(std::io::stderr(), "{}", scrub::secrets(&text));
            ExitCode::FAILURE
        }
    }
}
