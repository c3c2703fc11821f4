//! Free ports, for servers that take theirs a moment later.

use std::{
    collections::HashSet,
    net::TcpListener,
    sync::{LazyLock, Mutex, PoisonError},
};

use rand::Rng;

/// What this process has given out: tests run side by side, and a port is free until its server has started.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// The first of `count` consecutive free ports, below those that the system hands out by itself; `also` are distances
/// that must be free too. No port is given out twice.
pub fn free_ports(count: u16, also: &[u16]) -> u16 {
    loop {
        let first = rand::rng().random_range(12_000..31_000);
        let wanted: Vec<u16> = (0..count)
            .chain(also.iter().copied())
            .map(|distance| first + distance)
            .collect();
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        let held: Vec<_> = wanted
            .iter()
            .map(|port| TcpListener::bind(("127.0.0.1", *port)))
            .collect();
        if held.iter().all(Result::is_ok) && wanted.iter().all(|port| !given.contains(port)) {
            given.extend(wanted);
            return first;
        }
    }
}
