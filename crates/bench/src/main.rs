//! Measures the pump from outside, and the work that it does inside; proves that it loses and doubles nothing.

mod aggregate;
mod backlog;
mod database;
mod decode;
mod exact;
mod files;
mod fixture;
mod follow;
mod machine;
mod popper;
mod probe;
mod process;
mod pump;
mod redis;
mod run;
mod serials;
mod sink;
mod spread;
mod store;
mod two;
mod window;
mod wire;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{
    pump::Kind,
    run::{Contender, Limits, Plan},
};

/// Measurements of Tyk Pump. What the figures mean: docs/benchmarks.md
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Seconds after which a pump that is not done has failed.
    #[arg(long, global = true, default_value_t = 600)]
    limit: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Rates of aggregation on one core.
    Aggregate {
        /// Writes all figures to this file.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Rates of decoding and rendering on one core.
    Decode {
        /// Elements to decode instead of the built-in records: lines of {"key": list, "b64": element}.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Writes all figures to this file.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// A backlog through a whole pump: rate, CPU, memory, and how long Redis keeps other clients waiting.
    Run {
        /// The pump.
        #[arg(long)]
        bin: PathBuf,
        /// Another pump that takes the same configuration, measured in turns.
        #[arg(long)]
        baseline_bin: Option<PathBuf>,
        /// `delivery.mode` of the baseline; without --baseline-bin the same binary is the baseline.
        #[arg(long)]
        baseline_mode: Option<String>,
        /// Where records go.
        #[arg(long)]
        config_kind: Kind,
        /// Records of the backlog.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// Elements of the backlog, again and again, instead of the built-in records: lines of {"key": list, "b64": element}.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Runs of each pump.
        #[arg(long, default_value_t = 2)]
        runs: usize,
        /// `delivery.mode` of the pump.
        #[arg(long)]
        mode: Option<String>,
        /// Writes all figures to this file.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// The rate at which a bare client reads a list in windows.
    Window {
        /// Records of the list.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
    },
    /// Every record once, while the pump is killed again and again.
    Exact {
        /// The pump.
        #[arg(long)]
        bin: PathBuf,
        /// Records, each with its own serial number.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// How often it is killed.
        #[arg(long, default_value_t = 20)]
        kills: usize,
        /// An old pump takes records from the same Redis.
        #[arg(long)]
        popper: bool,
        /// Lists that the records are spread over.
        #[arg(long, default_value_t = 10)]
        keys: usize,
    },
    /// RPUSH per second of the pump's own store, beside a Redis that writes to disk; memory of a backlog.
    Store {
        /// The pump.
        #[arg(long)]
        bin: PathBuf,
        /// Records.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// Bytes of a record.
        #[arg(long, default_value_t = 1024)]
        size: usize,
        /// Connections.
        #[arg(long, default_value_t = 4)]
        clients: u64,
        /// Commands that are sent at once.
        #[arg(long, default_value_t = 500)]
        pipeline: u64,
        /// Runs of each server.
        #[arg(long, default_value_t = 2)]
        runs: usize,
        /// `embedded_storage.fsync`
        #[arg(long, default_value = "group")]
        fsync: String,
        /// Leaves Redis out.
        #[arg(long)]
        only_store: bool,
    },
    /// Two instances, one of which sleeps longer than its lease.
    Two {
        /// The pump.
        #[arg(long)]
        bin: PathBuf,
        /// Records, each with its own serial number.
        #[arg(long, default_value_t = 1_000_000)]
        records: u64,
        /// Lists that the records are spread over.
        #[arg(long, default_value_t = 10)]
        keys: usize,
        /// Records that may be in both directories: one group.
        #[arg(long, default_value_t = 10_000)]
        group: u64,
    },
    /// A very large backlog within limits of memory and stalls.
    Drain {
        /// The pump.
        #[arg(long)]
        bin: PathBuf,
        /// Where records go.
        #[arg(long, default_value = "dummy")]
        config_kind: Kind,
        /// Records of the backlog.
        #[arg(long, default_value_t = 10_000_000)]
        records: u64,
        /// Runs.
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Most memory that the pump may have, MB.
        #[arg(long, default_value_t = 100.0)]
        max_memory: f64,
        /// Longest that 999 of 1,000 PINGs may take, ms.
        #[arg(long, default_value_t = 30.0)]
        max_ping: f64,
        /// Writes all figures to this file.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments.command, Duration::from_secs(arguments.limit)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every promise was kept.
fn execute(command: Command, limit: Duration) -> anyhow::Result<bool> {
    match command {
        Command::Aggregate { json } => aggregate::run(json.as_deref())?,
        Command::Decode { file, json } => decode::run(file.as_deref(), json.as_deref())?,
        Command::Window { records } => window::run(records)?,
        Command::Run {
            bin,
            baseline_bin,
            baseline_mode,
            config_kind,
            records,
            file,
            runs,
            mode,
            json,
        } => {
            let mut contenders = vec![Contender {
                name: "pump",
                bin: bin.clone(),
                mode,
            }];
            if baseline_bin.is_some() || baseline_mode.is_some() {
                let bin = baseline_bin.unwrap_or(bin);
                contenders.push(Contender {
                    name: "baseline",
                    bin,
                    mode: baseline_mode,
                });
            }
            run::run(
                &Plan {
                    kind: config_kind,
                    records,
                    file,
                    runs,
                    limit,
                    contenders,
                },
                json.as_deref(),
            )?;
        }
        Command::Drain {
            bin,
            config_kind,
            records,
            runs,
            max_memory,
            max_ping,
            json,
        } => {
            let contenders = vec![Contender {
                name: "pump",
                bin,
                mode: None,
            }];
            let samples = run::run(
                &Plan {
                    kind: config_kind,
                    records,
                    file: None,
                    runs,
                    limit,
                    contenders,
                },
                json.as_deref(),
            )?;
            let limits = Limits {
                peak_memory_mb: max_memory,
                ping_p999_ms: max_ping,
            };
            return Ok(run::judge(&samples.concat(), &limits));
        }
        Command::Exact {
            bin,
            records,
            kills,
            popper,
            keys,
        } => {
            return exact::run(&exact::Plan {
                bin,
                records,
                kills,
                keys,
                popper,
                limit,
            });
        }
        Command::Store {
            bin,
            records,
            size,
            clients,
            pipeline,
            runs,
            fsync,
            only_store,
        } => store::run(&store::Plan {
            bin,
            records,
            size,
            clients,
            pipeline,
            runs,
            fsync,
            only_store,
        })?,
        Command::Two {
            bin,
            records,
            keys,
            group,
        } => {
            return two::run(&two::Plan {
                bin,
                records,
                keys,
                group,
                limit,
            });
        }
    }
    Ok(true)
}
