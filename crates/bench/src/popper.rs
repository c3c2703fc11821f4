//! An old pump beside the new one: it takes whole lists by MULTI, LRANGE, DEL, and knows no claims.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{anyhow, bail};

use crate::{
    fixture::serial_in,
    serials::Serials,
    wire::{self, Client, Reply},
};

/// Time between two rounds: not that of the pump, so that both get their share.
const INTERVAL: Duration = Duration::from_millis(700);

/// A running popper.
pub(crate) struct Popper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Serials>>,
}

impl Popper {
    pub(crate) fn start(port: u16, lists: Vec<String>, records: u64) -> anyhow::Result<Popper> {
        let mut client = Client::connect(port)?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = thread::spawn(move || {
            let mut serials = Serials::new(records);
            while !seen.load(Ordering::Relaxed) {
                for list in &lists {
                    pop(&mut client, list, &mut serials)?;
                }
                thread::sleep(INTERVAL);
            }
            Ok(serials)
        });
        Ok(Popper { stop, thread })
    }

    /// Ends it; answers what it took.
    pub(crate) fn stop(self) -> anyhow::Result<Serials> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the popper has crashed"))?
    }
}

fn pop(client: &mut Client, list: &str, serials: &mut Serials) -> anyhow::Result<()> {
    let mut commands = Vec::new();
    wire::encode(&mut commands, &[b"MULTI"]);
    wire::encode(&mut commands, &[b"LRANGE", list.as_bytes(), b"0", b"-1"]);
    wire::encode(&mut commands, &[b"DEL", list.as_bytes()]);
    wire::encode(&mut commands, &[b"EXEC"]);
    client.send(&commands)?;
    for _ in 0..3 {
        client.read()?;
    }
    let Reply::List(answers) = client.read()? else {
        bail!("EXEC answered something else than a list");
    };
    let Some(Reply::List(elements)) = answers.into_iter().next() else {
        bail!("LRANGE answered something else than a list");
    };
    for element in elements {
        match element {
            Reply::Text(element) => serials.note(serial_in(&element).unwrap_or(u64::MAX)),
            _ => bail!("an element is no text"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::{backlog, redis::Redis};

    #[test]
    fn the_popper_takes_every_record_once_and_leaves_nothing() {
        let (redis, lists) = (Redis::start().unwrap(), backlog::keys(3));
        backlog::push_serials(redis.port, &lists, 1_234, None, &AtomicU64::new(0)).unwrap();
        let (mut client, mut serials) = (redis.client().unwrap(), Serials::new(1_234));
        for list in &lists {
            pop(&mut client, list, &mut serials).unwrap();
        }
        assert_eq!((serials.lost(), serials.doubled(), serials.foreign()), (0, 0, 0));
        assert_eq!(client.call(&[b"DBSIZE"]).unwrap(), Reply::Int(0));
    }
}
