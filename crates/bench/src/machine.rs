//! The machine that figures belong to: without it they mean nothing.

use std::fs;

use serde_json::{Value, json};

/// Processor, cores, memory and kernel.
pub(crate) fn describe() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kilobytes: u64 = value_of(&memory, "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    json!({
        "cpu": value_of(&cpu, "model name").unwrap_or("unknown"),
        "cores": cores,
        "memory_gib": kilobytes / (1 << 20),
        "kernel": kernel.trim(),
        "arch": std::env::consts::ARCH,
    })
}

fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}
