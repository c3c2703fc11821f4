//! What the operating system says about this process, under the names that Prometheus' own clients use.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Name of the metric.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Value.
    pub value: f64,
}

/// What is known, in alphabetical order; a figure that cannot be read is left out.
pub fn figures() -> Vec<Figure> {
    let memory = memory();
    let figure = |name, kind, help, value: Option<f64>| {
        value.map(|value| Figure {
            name,
            kind,
            help,
            value,
        })
    };
    [
        figure(
            "process_cpu_seconds_total",
            "counter",
            "CPU time that the process has used.",
            Some(cpu_seconds()),
        ),
        figure(
            "process_max_fds",
            "gauge",
            "Most file descriptors that may be open.",
            Some(limit(Resource::Nofile)),
        ),
        figure(
            "process_open_fds",
            "gauge",
            "Open file descriptors.",
            open_descriptors(),
        ),
        figure(
            "process_resident_memory_bytes",
            "gauge",
            "Memory that the process has in RAM.",
            memory.map(|(_, resident)| resident),
        ),
        figure(
            "process_start_time_seconds",
            "gauge",
            "When the process started, seconds since 1970.",
            start_seconds(),
        ),
        figure(
            "process_virtual_memory_bytes",
            "gauge",
            "Addresses that the process has mapped.",
            memory.map(|(mapped, _)| mapped),
        ),
        figure(
            "process_virtual_memory_max_bytes",
            "gauge",
            "Most addresses that the process may map.",
            Some(limit(Resource::As)),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// No limit is the largest number.
fn limit(resource: Resource) -> f64 {
    getrlimit(resource).current.unwrap_or(u64::MAX) as f64
}

/// Mapped and resident, in bytes.
fn memory() -> Option<(f64, f64)> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = pages.split(' ').map_while(|pages| pages.parse::<u64>().ok());
    let bytes = |pages: u64| pages as f64 * page_size() as f64;
    Some((bytes(pages.next()?), bytes(pages.next()?)))
}

fn open_descriptors() -> Option<f64> {
    // One of them is that of the listing itself.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn start_seconds() -> Option<f64> {
    let this = fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which is in brackets and may hold anything, the 20th number.
    let (_, numbers) = this.rsplit_once(')')?;
    let ticks: u64 = numbers.split_whitespace().nth(19)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted: u64 = machine
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(booted as f64 + ticks as f64 / clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_this_process_can_be_read() {
        let figures = figures();
        let names: Vec<_> = figures.iter().map(|figure| figure.name).collect();
        assert_eq!(names.len(), 7, "{names:?}");
        assert!(names.is_sorted());
        let of = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - of("process_start_time_seconds");
        assert!((-2.0..3_600.0).contains(&age), "started {age} s ago");
        assert!(of("process_virtual_memory_bytes") >= of("process_resident_memory_bytes"));
        assert!(of("process_resident_memory_bytes") > 100_000.0);
        assert!(of("process_open_fds") >= 3.0 && of("process_open_fds") <= of("process_max_fds"));
    }
}
