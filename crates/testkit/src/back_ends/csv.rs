//! The back-end of `csv`: a temporary directory whose disk fails on demand.

use std::{
    fs, io,
    sync::{Arc, Mutex, PoisonError},
};

use analytics::Time;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tempfile::TempDir;

use fakes::{
    Gate,
    rows::{self, Alter},
};
use sinks::{
    BuildContext, BuildError, Sink,
    csv::{Csv, step::Step},
};

use crate::{BackEnd, Reason};

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async {
        let folder = tempfile::tempdir();
        let disk = Arc::new(Disk::default());
        Box::new(Folder { folder, disk }) as Box<dyn BackEnd>
    }
    .boxed()
}

struct Folder {
    folder: io::Result<TempDir>,
    disk: Arc<Disk>,
}

/// Name, step, and how many of its bytes get through.
type Death = (&'static str, Step, fn(usize) -> usize);

/// Where the process dies: before a step, or inside it after some of its bytes.
const DEATHS: &[Death] = &[
    ("before the intent", Step::Announce, |_| 0),
    ("before the file is created", Step::Create, |_| 0),
    ("before the append", Step::Append, |_| 0),
    ("after one byte", Step::Append, |_| 1),
    ("after half of the bytes", Step::Append, |len| len / 2),
    ("before the last byte", Step::Append, |len| len - 1),
    ("before the flush", Step::Sync, |_| 0),
];

#[derive(Default)]
struct Disk {
    gate: Gate,
    trouble: Mutex<Trouble>,
}

#[derive(Clone, Copy, Default)]
enum Trouble {
    #[default]
    None,
    /// Appends get half of their bytes out.
    Full,
    /// The process dies at this entry of `DEATHS`.
    DiesAt(usize),
    Dead,
}

impl Disk {
    fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn allow(&self, step: Step, len: usize) -> usize {
        if step == Step::Append {
            self.gate.pass();
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match *trouble {
            Trouble::None => len,
            Trouble::Full if step == Step::Append => len / 2,
            Trouble::Full => len,
            Trouble::Dead => 0,
            Trouble::DiesAt(death) => match DEATHS.get(death) {
                Some((_, at, bytes)) if *at == step => {
                    *trouble = Trouble::Dead;
                    bytes(len)
                }
                _ => len,
            },
        }
    }
}

#[async_trait]
impl BackEnd for Folder {
    fn options(&self) -> Value {
        let path = self.folder.as_ref().map(|folder| folder.path().join("a/b"));
        json!({"csv_dir": path.unwrap_or_default()})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        // One hour for all rows, so that there is one order of them.
        let sink = Csv::open(&context).await?.with_clock(|| Time::ZERO);
        let disk = self.disk.clone();
        sink.set_hook(Arc::new(move |step, len| disk.allow(step, len))).await;
        Ok(Box::new(sink))
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let folder = self.folder.as_ref().map_err(|_| "no temporary directory")?;
        let Ok(entries) = fs::read_dir(folder.path().join("a/b")) else {
            return Ok(Vec::new());
        };
        let mut content = Vec::new();
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().ends_with(".csv") {
                content.extend(fs::read(entry.path()).unwrap_or_default());
            }
        }
        Ok(rows::serials(&content))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.disk.set(Trouble::Full);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.disk.gate.set_shut(true);
        Ok(())
    }

    async fn heal(&self) {
        self.disk.set(Trouble::None);
        self.disk.gate.set_shut(false);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err("every record has a CSV row")
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("every record has a CSV row")
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Ok(DEATHS.iter().map(|(name, ..)| *name).collect())
    }

    async fn die_at(&self, death: usize) {
        self.disk.set(Trouble::DiesAt(death));
    }
}
