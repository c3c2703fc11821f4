//! What the operating system says about this process, under the names that Prometheus' own clients use.

use std::fs;

use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::Page;

/// Adds what is known; a figure that cannot be read is left out.
pub(super) fn render(page: &mut Page) {
    let figures = [
        (
            "process_cpu_seconds_total",
            "counter",
            "CPU time that the process has used.",
            Some(cpu_seconds()),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Memory that the process has in RAM.",
            resident_bytes(),
        ),
        (
            "process_open_fds",
            "gauge",
            "Open file descriptors.",
            open_descriptors(),
        ),
        (
            "process_max_fds",
            "gauge",
            "Most file descriptors that may be open.",
            getrlimit(Resource::Nofile).current.map(|most| most as f64),
        ),
    ];
    for (name, kind, help, value) in figures {
        if let Some(value) = value {
            page.head_of(name, kind, help);
            page.line(format_args!("{name} {value}"));
        }
    }
}

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn resident_bytes() -> Option<f64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm")
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(pages as f64 * page_size() as f64)
}

fn open_descriptors() -> Option<f64> {
    // One of them is that of the listing itself.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}
