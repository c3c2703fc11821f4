//! `tyk-pump quickstart`: the whole way of a record, from the wire to a question in SQL, on one machine with nothing
//! else installed.

mod answers;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf, absolute},
    time::{Duration, Instant},
};

use analytics::logrus::LogLevel;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    admin::client::Client,
    app::{self, Fatal},
    config::{self, RedisSettings, Request, Settings, env::Environment, values::from_here},
    load::{self, LoadOptions},
    logging, signals,
    source::table,
};

/// Where gateways find the store, and the pages of the pump, unless something else is there.
const STORE_PORT: u16 = 6380;
const ADMIN_PORT: u16 = 8083;
/// How long delivery may take before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// The options of `tyk-pump quickstart`.
#[derive(Clone, Debug, clap::Args)]
pub struct QuickstartOptions {
    /// folder for the configuration, the store and what comes out
    #[arg(default_value = "tyk-pump-quickstart")]
    pub dir: PathBuf,
    /// how many records
    #[arg(long, default_value_t = 10_000)]
    pub records: u64,
    /// end after the table instead of waiting for a gateway
    #[arg(long)]
    pub once: bool,
}

/// Starts a pump with a store of its own, pushes records into it, shows what came out, and goes on until Ctrl-C.
///
/// # Errors
/// The folder cannot be used, the pump does not start, or the records do not arrive.
pub async fn run(options: QuickstartOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    // Another program may have set the log up already.
    let _ = logging::start(LogLevel::Warning);
    let dir = absolute(&options.dir)?;
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let conf = dir.join("pump.conf");
    let again = conf.exists();
    if !again {
        write_configuration(&dir, &conf, out)?;
    }
    let settings = settings(&conf)?;
    let Some(store) = settings.embedded.as_ref().map(|store| store.listen) else {
        bail!(
            "{} is no configuration of a quickstart: name another folder",
            conf.display()
        )
    };
    if again {
        writeln!(out, "{} is there already and counts as it is.", conf.display())?;
        refuse_if_taken(&conf, "embedded_storage.listen", store)?;
    }
    let daemon = Client::new(&settings);
    // As its gateways push: with the login, the TLS and the prefix that the file has.
    let target = (table::of(&settings).pushed_to)(&settings);

    let begun = Instant::now();
    let stop = signals::listen(settings.delivery.stop_deadline)?;
    let mut pump = tokio::spawn(app::run(settings, None, stop.clone()));
    wait_until_ready(&daemon, &mut pump).await?;
    writeln!(
        out,
        "A pump with a store of its own listens on {store}, as a Redis would.\n"
    )?;
    let database = dir.join("analytics.db");
    let (before, earlier) = (delivered(&daemon.status().await?), answers::rows(&database)?);
    let options_of_load = LoadOptions {
        records: options.records,
        keys: "10".to_owned(),
        ..LoadOptions::default()
    };
    load::push(&options_of_load, &target, |_| {}).await?;
    wait_until_delivered(&daemon, options.records, &before, &mut pump).await?;
    let seconds = begun.elapsed().as_secs_f64();
    writeln!(
        out,
        "{} made-up records went in, as a gateway pushes them, and were delivered to every pump; {seconds:.1} s in all\n\n  \
         SQLite  {}\n  CSV     {}\n  pump    {}\n",
        options.records,
        database.display(),
        dir.join("csv").display(),
        conf.display()
    )?;
    if earlier > 0 {
        writeln!(
            out,
            "The table counts {earlier} records of earlier runs, too; remove {} to begin anew.\n",
            dir.display()
        )?;
    }
    answers::show(&database, out)?;
    gateway_lines(from_here(store), &target, out)?;
    if options.once {
        stop.cancel();
        return ended(pump.await);
    }
    writeln!(
        out,
        "\nHow the pump is: http://{}/status\n\nWaiting for records. Ctrl-C ends it; the records stay.",
        daemon.address()
    )?;
    out.flush()?;
    ended(pump.await)
}

/// Writes the configuration once, so that its ports stay those that a gateway was told.
fn write_configuration(dir: &Path, conf: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = free_port(STORE_PORT, out)?;
    let admin = free_port(ADMIN_PORT, out)?;
    let document = serde_json::to_string_pretty(&document(dir, store, admin))?;
    std::fs::write(conf, document + "\n").with_context(|| conf.display().to_string())
}

/// The configuration that is written.
fn document(dir: &Path, store: u16, admin: u16) -> Value {
    let path = |name: &str| dir.join(name).display().to_string();
    json!({
        "analytics_storage_type": "embedded",
        "embedded_storage": {"listen": format!("127.0.0.1:{store}"), "dir": path("store")},
        "purge_delay": 1,
        "dont_purge_uptime_data": true,
        "health_check_endpoint_port": admin,
        "admin_listen": format!("127.0.0.1:{admin}"),
        "pumps": {
            "csv": {"type": "csv", "meta": {"csv_dir": path("csv")}},
            "sql": {"type": "sql", "meta": {"type": "sqlite", "connection_string": path("analytics.db")}},
        },
    })
}

/// This port when it is free, else any, which is said.
fn free_port(wanted: u16, out: &mut dyn Write) -> anyhow::Result<u16> {
    if TcpListener::bind((Ipv4Addr::UNSPECIFIED, wanted)).is_ok() {
        return Ok(wanted);
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    writeln!(out, "Port {wanted} is taken: this folder uses {port} instead.")?;
    Ok(port)
}

fn refuse_if_taken(conf: &Path, key: &str, address: SocketAddr) -> anyhow::Result<()> {
    if let Err(error) = TcpListener::bind(address) {
        bail!(
            "{address} cannot be used ({error}): does this quickstart run already? Else stop what uses it, or change \
             {key} in {}",
            conf.display()
        );
    }
    Ok(())
}

/// The environment of a gateway's machine must not change what is shown here.
fn settings(conf: &Path) -> anyhow::Result<Settings> {
    let mut request = Request::of_process(conf.to_owned(), false);
    request.environment = Environment::new([]);
    let loaded = config::load(&request);
    match loaded.settings {
        Some(settings) => Ok(settings),
        None => {
            let texts: Vec<&str> = loaded.findings.iter().map(|finding| finding.text.trim_end()).collect();
            bail!("{}: {}", conf.display(), texts.join("; "))
        }
    }
}

async fn wait_until_ready(daemon: &Client, pump: &mut JoinHandle<Result<(), Fatal>>) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if pump.is_finished() {
            ended(pump.await)?;
            bail!("the pump ended before it was ready");
        }
        if let Ok(status) = daemon.status().await
            && status.get("ready").and_then(Value::as_bool) == Some(true)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!(
        "the pump is not ready after {} s; http://{}/status says why",
        PATIENCE.as_secs(),
        daemon.address()
    )
}

/// What each pump has delivered so far.
fn delivered(status: &Value) -> Vec<u64> {
    let pumps = status
        .get("pumps")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let rows = |pump: &Value| pump.get("delivered").and_then(Value::as_u64).unwrap_or_default();
    pumps.iter().map(rows).collect()
}

async fn wait_until_delivered(
    daemon: &Client,
    records: u64,
    before: &[u64],
    pump: &mut JoinHandle<Result<(), Fatal>>,
) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if pump.is_finished() {
            ended(pump.await)?;
            bail!("the pump ended before it had delivered everything");
        }
        let now = delivered(&daemon.status().await?);
        let all = now.iter().zip(before).all(|(now, before)| now - before >= records);
        if all && now.len() == before.len() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!(
        "not everything is delivered after {} s; http://{}/status says why",
        PATIENCE.as_secs(),
        daemon.address()
    )
}

/// What a gateway needs to know, but for the password, which is not shown. Its file is the reader's: nothing here touches
/// it.
fn gateway_lines(store: SocketAddr, target: &RedisSettings, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut lines = json!({
        "enable_analytics": true,
        "analytics_config": {"type": ""},
        "enable_separate_analytics_store": true,
        "analytics_storage": {"type": "redis", "host": store.ip().to_string(), "port": store.port()},
    });
    let storage = &mut lines["analytics_storage"];
    if !target.password.reveal().is_empty() {
        storage["username"] = target.username.as_str().into();
        storage["password"] = "(embedded_storage.password)".into();
    }
    if target.tls.is_some() {
        storage["use_ssl"] = true.into();
    }
    let lines = serde_json::to_string_pretty(&lines)?;
    writeln!(
        out,
        "\nTo see the requests of a gateway on this machine here, merge this into its tyk.conf and restart it. It makes the \
         gateway record its requests, and push them to this pump instead of its own Redis; what else is in the file \
         stays as it is:\n\n{lines}"
    )?;
    Ok(())
}

fn ended(result: Result<Result<(), Fatal>, tokio::task::JoinError>) -> anyhow::Result<()> {
    result.context("the pump")?.map_err(anyhow::Error::from)
}
