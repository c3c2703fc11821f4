//! Type `csv`: one file an hour, 42 columns a record, every record exactly once.

mod directory;
mod lock;
mod network;
mod state;
pub mod step;

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use analytics::{ClaimId, RowRanges, Selection, Time, gotime};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::directory::{Directory, OpenError};
use crate::{
    Applied, BoxError, BuildContext, BuildError, Gather, Guarantee, Resource, Sink, SinkSpec, WriteError, Written,
    encode::clock, options,
};

/// Writes one CSV file an hour, named after the local time of writing: `2023-November-14-9.csv`. A new file begins with
/// a header row.
///
/// Beside the files, `csv_dir` holds the folder `.tyk-pump`: which records are written, and a lock, so that one process
/// at a time uses the directory. Files may be moved away or removed at any time. On a network file system (NFS, SMB, FUSE)
/// the guarantee is at least once.
///
/// Texts stand in the files as they came, also those that a spreadsheet takes for a formula (`=cmd|…`, `@SUM(…)`): set
/// `escape_formulas` before people open the files with one.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"csv_dir": "/var/lib/tyk-pump/csv"}))]
pub struct Options {
    /// Directory of the files; it is created with its parents. Empty: the working directory.
    pub csv_dir: String,
    /// Put an apostrophe before texts and tags that begin with `=`, `+`, `-`, `@`, a tab or a carriage return. Callers of an
    /// API choose what stands in paths and headers, and a spreadsheet that opens the file would run such a text as a
    /// formula. Programs that read the files see the apostrophe, too.
    pub escape_formulas: bool,
}

/// The type `csv`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::ExactlyOnce,
    gather: Gather {
        rows: 10_000,
        bytes: 8 << 20,
        wait: Duration::ZERO,
    },
    writes_empty: true,
    options: options::schema::<Options>,
    check: Some(|context| context.options::<Options>().map(drop)),
    ..SinkSpec::new("csv", "CSV Pump", "csv-pump", "TYK_PMP_PUMPS_CSV_META", build)
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move {
        let sink = Csv::open(&context).await?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    }
    .boxed()
}

/// How a record becomes a row.
type WriteRow = fn(&mut Vec<u8>, &analytics::RecordView<'_>);

/// The time by which files are named.
pub type Clock = fn() -> Time;

type Shared = Arc<tokio::sync::Mutex<Directory>>;

/// A CSV directory as one pump uses it.
pub struct Csv {
    pump: Arc<str>,
    path: PathBuf,
    directory: Shared,
    is_remote: bool,
    write_row: WriteRow,
    clock: Clock,
}

impl Csv {
    /// Opens the directory, which only one process at a time can.
    pub async fn open(context: &BuildContext) -> Result<Csv, BuildError> {
        let options: Options = context.options()?;
        let pump = context.pump.clone();
        let write_row: WriteRow = match options.escape_formulas {
            true => analytics::csv::write_row_for_spreadsheets,
            false => analytics::csv::write_row,
        };
        let opened = tokio::task::spawn_blocking(move || share(PathBuf::from(options.csv_dir), &pump)).await;
        let directory =
            opened
                .map_err(|error| BuildError::Unavailable(error.into()))?
                .map_err(|error| match error {
                    OpenError::Held { .. } => BuildError::Occupied(error.into()),
                    OpenError::Failed(_) => BuildError::Unavailable(error.into()),
                })?;
        let (is_remote, path) = {
            let directory = directory.lock().await;
            (directory.remote, directory.path.clone())
        };
        tracing::info!(prefix = SPEC.log_prefix, "CSV Pump Initialized");
        Ok(Csv {
            pump: context.pump.clone(),
            path,
            is_remote,
            write_row,
            directory,
            clock: clock::local_time,
        })
    }

    /// Names files by another clock.
    pub fn with_clock(self, clock: Clock) -> Csv {
        Csv { clock, ..self }
    }

    /// Lets `hook` decide what fails from now on, as a test of faults does.
    pub async fn set_hook(&self, hook: step::Hook) {
        self.directory.lock().await.steps.hook = Some(hook);
    }
}

#[async_trait]
impl Sink for Csv {
    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        // The lock moves into the thread, so that a write whose future is dropped ends before the next one begins.
        let mut directory = self.directory.clone().lock_owned().await;
        let (pump, clock, group, write_row) = (self.pump.clone(), self.clock, group.to_vec(), self.write_row);
        let task = tokio::task::spawn_blocking(move || directory.write(&pump, &file_name(clock()), &group, write_row));
        task.await.map_err(WriteError::retry)?.map_err(write_error)
    }

    fn guarantee(&self) -> Option<Guarantee> {
        self.is_remote.then_some(Guarantee::AtLeastOnce)
    }

    fn resources(&self) -> Vec<Resource> {
        vec![Resource::Folder(self.path.clone())]
    }

    async fn forget(&self, claims: &[ClaimId]) {
        self.directory.lock().await.forget(&self.pump, claims);
    }

    async fn applied(&self, claim: ClaimId, former: Option<&str>) -> Result<Option<RowRanges>, WriteError> {
        let pump = former.unwrap_or(&self.pump);
        Ok(Some(self.directory.lock().await.applied(pump, claim)))
    }

    async fn close(&self) -> Result<(), WriteError> {
        let mut directory = self.directory.clone().lock_owned().await;
        let task = tokio::task::spawn_blocking(move || directory.close());
        let closed = task.await.map_err(WriteError::retry)?;
        closed.map_err(|failure| write_error(failure.into()))
    }
}

/// Pumps of one process that name the same directory share it.
fn share(path: PathBuf, pump: &str) -> Result<Shared, OpenError> {
    static OPEN: Mutex<Vec<(Identity, Weak<tokio::sync::Mutex<Directory>>)>> = Mutex::new(Vec::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|(_, directory)| directory.strong_count() > 0);
    if let Some(directory) = identity(&path).and_then(|id| open.iter().find(|(other, _)| *other == id)?.1.upgrade()) {
        return Ok(directory);
    }
    let directory = Arc::new(tokio::sync::Mutex::new(Directory::open(path.clone(), pump)?));
    if let Some(id) = identity(&path) {
        open.push((id, Arc::downgrade(&directory)));
    }
    Ok(directory)
}

/// Device and inode of a directory, however its path is spelled.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn write_error(error: OpenError) -> WriteError {
    match &error {
        OpenError::Failed(failure) if is_misconfigured(&failure.source) => WriteError::Config(error.into()),
        _ => WriteError::retry(BoxError::from(error)),
    }
}

/// What somebody has to mend; a full disk or a file system that turned read-only may mend itself.
fn is_misconfigured(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, PermissionDenied};
    matches!(error.kind(), IsADirectory | NotADirectory | PermissionDenied)
}

/// The file of the hour that `now` is in: no zero padding, 24-hour clock.
fn file_name(now: Time) -> String {
    let civil = gotime::Civil::of(now);
    let month = gotime::MONTHS.get(usize::from(civil.month) - 1).unwrap_or(&"");
    format!("{}-{month}-{}-{}.csv", civil.year, civil.day, civil.hour)
}

#[cfg(test)]
mod tests;
