//! What the kernel knows about a process.

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process};

/// CPU seconds that a running process has used, in user and kernel mode, all threads.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name, in parentheses, may hold anything; the fields after it are numbers.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        let field = fields.get(index).ok_or_else(|| anyhow!("{path} is too short"))?;
        Ok(field.parse()?)
    };
    let (user, system) = (ticks(11)?, ticks(12)?);
    Ok((user + system) / rustix::param::clock_ticks_per_second() as f64)
}

/// Largest resident size of a running process so far, bytes.
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|text| text.split_whitespace().next());
    let kilobytes: u64 = kilobytes.ok_or_else(|| anyhow!("{path} has no VmHWM"))?.parse()?;
    Ok(kilobytes * 1024)
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.ok_or_else(|| anyhow!("no such process"))?, signal)?)
}
