//! Lists full of records, pushed in pipelines.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    fixture::{Fixture, Ordinary},
    wire::{self, Client},
};

/// The list that gateways push to.
const KEY: &str = "analytics-tyk-system-analytics";
/// Elements of one RPUSH.
const ELEMENTS: u64 = 100;
/// RPUSHes on their way at once.
const COMMANDS: u64 = 16;
/// Distinct elements of a backlog.
const POOL: u64 = 4_096;

/// The lists of a gateway that spreads its records over `count` of them.
pub(crate) fn keys(count: usize) -> Vec<String> {
    match count {
        0 | 1 => vec![KEY.to_owned()],
        _ => (0..count).map(|index| format!("{KEY}_{index}")).collect(),
    }
}

/// Records that a backlog is made of, again and again.
pub(crate) fn pool(file: Option<&Path>) -> anyhow::Result<Ordinary> {
    match file {
        Some(file) => Ordinary::from_file(file, None),
        None => Ok(Ordinary::msgpack(POOL)),
    }
}

/// Pushes the records of a pool.
pub(crate) fn fill(port: u16, keys: &[String], records: u64, pool: &Ordinary) -> anyhow::Result<()> {
    let (pushed, distinct) = (AtomicU64::new(0), pool.elements.len() as u64);
    push(port, keys, records, None, &pushed, |serial, element| {
        element.extend_from_slice(pool.element((serial % distinct) as usize));
    })
}

/// Pushes records of which each has its own serial number in its path, 0 first; all at once, or spread over a time.
pub(crate) fn push_serials(
    port: u16,
    keys: &[String],
    records: u64,
    over: Option<Duration>,
    pushed: &AtomicU64,
) -> anyhow::Result<()> {
    let mut fixture = Fixture::new();
    push(port, keys, records, over, pushed, |serial, element| {
        fixture.write_serial(element, serial);
    })
}

fn push(
    port: u16,
    keys: &[String],
    records: u64,
    over: Option<Duration>,
    pushed: &AtomicU64,
    mut write: impl FnMut(u64, &mut Vec<u8>),
) -> anyhow::Result<()> {
    let mut client = Client::connect(port)?;
    let started = Instant::now();
    let (mut commands, mut element) = (Vec::new(), Vec::new());
    let (mut next, mut round) = (0, 0);
    while next < records {
        commands.clear();
        let mut waiting = 0;
        while waiting < COMMANDS && next < records {
            let count = ELEMENTS.min(records - next);
            wire::begin(&mut commands, 2 + count as usize);
            wire::argument(&mut commands, b"RPUSH");
            wire::argument(&mut commands, keys[round % keys.len()].as_bytes());
            for serial in next..next + count {
                element.clear();
                write(serial, &mut element);
                wire::argument(&mut commands, &element);
            }
            next += count;
            round += 1;
            waiting += 1;
        }
        client.send(&commands)?;
        for _ in 0..waiting {
            client.read()?;
        }
        pushed.store(next, Ordering::Relaxed);
        if let Some(over) = over {
            let due = over.mul_f64(next as f64 / records as f64);
            thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    Ok(())
}
