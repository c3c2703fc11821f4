//! The daemon from start to stop: what starts in which order, and what ends it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use sinks::Guarantee;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Actions, AdminSettings, Refused},
    config::Settings,
    delivery::{
        Engine,
        cause::{Cause, CauseClass},
        engine::Accepting,
        replay::Replayed,
        retry::Backoff,
        status::{LaneState, StatusBoard},
    },
    demo::{self, DemoOptions},
    instrumentation::{self, Instrumentation},
    plan::{Pump, PumpPlan},
    scrub,
    source::{
        Mode, Source, SourceError,
        memory::MemorySource,
        table::{self, Started},
    },
};

/// Something that ends the process: a line at level fatal, exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Fatal {
    /// Field `prefix` of the line.
    pub prefix: &'static str,
    /// What, and what to do about it.
    pub text: String,
}

impl Fatal {
    /// A fatal error of the main part.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            prefix: "main",
            text: text.into(),
        }
    }
}

/// Runs the pump until `stop` is cancelled or, in demo mode, until the demo data is delivered.
///
/// # Errors
/// What keeps the process from working at all: see [`Fatal`].
pub async fn run(settings: Settings, demo: Option<DemoOptions>, stop: CancellationToken) -> Result<(), Fatal> {
    scrub::know(&settings);
    let instrumentation = Instrumentation::start(instrumentation::wanted(), settings.statsd.as_ref(), settings.compat)
        .map_err(|error| Fatal::new(error.to_string()))?;
    let status = Arc::new(StatusBoard::new(settings.delivery.instance_id.clone()));
    let running = Arc::new(Running::default());
    serve_admin(&settings, &status, &running)?;

    let plan = PumpPlan::of(&settings);
    let Started { source, service } = start_source(&settings, plan.uptime.is_some()).await?;
    announce_version(&*source).await;
    report_absent(&plan, &status);
    let mut pumps = plan.traffic;
    if pumps.is_empty() {
        return Err(Fatal::new("No pumps configured"));
    }
    // Demo records are traffic.
    pumps.extend(plan.uptime.filter(|_| demo.is_none()));
    let served = CancellationToken::new();
    let serving = service.map(|service| tokio::spawn(service.serve(served.clone())));
    match demo {
        Some(options) => run_demo(settings, options, pumps, status, Arc::new(instrumentation), &stop).await,
        None => {
            // Set once, as the engine is.
            let _ = running.source.set(source.clone());
            let drained = drain(
                settings,
                source,
                pumps,
                status,
                Arc::new(instrumentation),
                &running,
                &stop,
            )
            .await;
            if let Some(serving) = serving {
                served.cancel();
                // It ends with its token.
                let _ = serving.await;
            }
            drained
        }
    }
}

/// Where records come from, and what must run beside it.
async fn start_source(settings: &Settings, uptime: bool) -> Result<Started, Fatal> {
    let spec = table::of(settings);
    let started = (spec.start)(settings, uptime).await;
    started.map_err(|error| Fatal {
        prefix: spec.log_prefix,
        text: crate::error_text(&error),
    })
}

/// The ordinary run: drains the source until the stop signal.
async fn drain(
    settings: Settings,
    source: Arc<dyn Source>,
    pumps: Vec<Pump>,
    status: Arc<StatusBoard>,
    instrumentation: Arc<Instrumentation>,
    running: &Running,
    stop: &CancellationToken,
) -> Result<(), Fatal> {
    let fleet = Arc::new(OnceLock::new());
    let (delay, chunk) = (settings.purge_delay.as_secs(), settings.purge_chunk);
    let start = Engine::start(settings, pumps, source.clone(), status, instrumentation, fleet.clone());
    let engine = tokio::select! {
        engine = start => engine.map_err(|error| Fatal::new(crate::error_text(&error)))?,
        // Nothing is claimed yet.
        () = stop.cancelled() => {
            tracing::info!(prefix = "main", "Tyk-pump stopped.");
            return Ok(());
        }
    };
    refuse_if_nothing_runs(&engine).await?;
    // Set once: a second engine in one process does not exist.
    let _ = running.engine.set(engine.clone());
    tracing::info!(prefix = "main", "Starting purge loop @{delay}, chunk size {chunk}");
    let work = async {
        let mode = open(&engine, &*source, &fleet).await;
        report_mode(&mode);
        engine.run(mode, false).await;
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
    engine.stop().await;
    tracing::info!(prefix = "main", "Tyk-pump stopped.");
    Ok(())
}

/// Demo mode: records made here go through the same lanes, hour by hour.
async fn run_demo(
    settings: Settings,
    options: DemoOptions,
    pumps: Vec<Pump>,
    status: Arc<StatusBoard>,
    instrumentation: Arc<Instrumentation>,
    stop: &CancellationToken,
) -> Result<(), Fatal> {
    let source = Arc::new(MemorySource::with_records(Vec::new()));
    let fleet = Arc::new(OnceLock::new());
    let engine = Engine::start(settings, pumps, source.clone(), status, instrumentation, fleet.clone())
        .await
        .map_err(|error| Fatal::new(crate::error_text(&error)))?;
    refuse_if_nothing_runs(&engine).await?;
    open(&engine, &*source, &fleet).await;
    demo::announce();
    for hour in demo::hours(&options) {
        source.push(0, hour.elements);
        tokio::select! {
            () = engine.run(Mode::memory(), true) => {}
            () = stop.cancelled() => break,
        }
        if let Some(done) = hour.last_of_day {
            demo::finished(done);
        }
    }
    engine.close().await;
    Ok(())
}

/// Connects until it succeeds; the process goes on to answer on its admin port meanwhile.
async fn open(engine: &Engine, source: &dyn Source, fleet: &OnceLock<Arc<str>>) -> Mode {
    let mut backoff = Backoff::default();
    loop {
        let opened = async {
            let mode = source.open().await?;
            let id = source.fleet().await?;
            Ok::<_, SourceError>((mode, id))
        };
        match opened.await {
            Ok((mode, id)) => {
                fleet.get_or_init(|| id);
                engine.source_is_open();
                return mode;
            }
            Err(error) => {
                engine.source_is_down(&error);
                tokio::time::sleep(backoff.next(None).min(Duration::from_secs(5))).await;
            }
        }
    }
}

/// A process of which every pump has wrong options would hold records that it can never deliver.
async fn refuse_if_nothing_runs(engine: &Engine) -> Result<(), Fatal> {
    if engine.lanes().iter().any(|(_, state, _)| *state != LaneState::Disabled) {
        return Ok(());
    }
    // Each of them has said why.
    Err(Fatal::new("No pumps configured: none of them can start"))
}

/// One line, as what the pump can promise hangs on it; with upstream's pop it is a warning.
fn report_mode(mode: &Mode) {
    let Mode {
        label, action, reason, ..
    } = mode;
    if mode.promise == Guarantee::ExactlyOnce {
        tracing::info!(prefix = "main", mode = label, %reason, "{action}");
    } else {
        tracing::warn!(prefix = "main", mode = label, %reason, "{action}");
    }
}

/// Pumps that cannot run are shown as disabled; reading the configuration has reported them. Uptime data for a type that
/// this binary does not have stays where it is, and that is said.
fn report_absent(plan: &PumpPlan, status: &StatusBoard) {
    for pump in &plan.absent {
        let board = status.add_lane(pump.name.clone(), &pump.kind, None);
        let cause = Cause::new(CauseClass::Configuration, pump.reason.clone());
        board.enter(
            LaneState::Disabled,
            Some(cause.with_remedy("correct the type, or remove the pump")),
        );
    }
    if let Some(kind) = &plan.absent_uptime {
        tracing::error!(
            prefix = "main",
            "uptime pumps of type {kind} are not in this binary: uptime data stays in its list – take a binary that \
             `cargo build --release` builds, or set dont_purge_uptime_data"
        );
    }
}

/// The version that Tyk Dashboard reads. That Redis is away is no reason not to start.
async fn announce_version(source: &dyn Source) {
    if let Err(error) = source.announce_version(crate::COMPATIBLE_VERSION).await {
        tracing::error!(prefix = "main", "Error storing version: {error}");
    }
}

fn serve_admin(settings: &Settings, status: &Arc<StatusBoard>, running: &Arc<Running>) -> Result<(), Fatal> {
    let admin = AdminSettings {
        name: settings.health_name.clone(),
        port: settings.health_port,
        profiler: settings.profiler,
        compat: settings.compat,
        access: settings.admin.clone(),
    };
    let bound = admin::bind(&admin).map_err(|error| Fatal {
        prefix: "server",
        text: error.to_string(),
    })?;
    let (status, running) = (status.clone(), running.clone());
    tokio::spawn(admin::serve(bound, status, running, CancellationToken::new()));
    Ok(())
}

/// The engine as the admin server reaches it, once it runs.
#[derive(Default)]
struct Running {
    engine: OnceLock<Arc<Engine>>,
    source: OnceLock<Arc<dyn Source>>,
}

#[async_trait]
impl Actions for Running {
    fn source(&self) -> Option<Arc<dyn Source>> {
        self.source.get().cloned()
    }

    async fn accept_refusals(&self, pump: &str) -> Result<(), Refused> {
        match self.engine.get().map(|engine| engine.accept_refusals(pump)) {
            Some(Accepting::Next) => Ok(()),
            Some(Accepting::NothingRefused) => Err(Refused::NothingRefused(pump.to_owned())),
            Some(Accepting::UnknownPump) | None => Err(Refused::UnknownPump(pump.to_owned())),
        }
    }

    async fn replay(&self, pump: Option<&str>, limit: usize) -> anyhow::Result<Replayed> {
        match self.engine.get() {
            Some(engine) => engine.replay(pump, limit).await,
            None => anyhow::bail!("the pump is still starting"),
        }
    }
}
