//! Counters that outlive the process: a file of frames, each behind its length and checksum. The first one says which metrics
//! there are, every further one what a group has changed and which rows that were. A frame that is not whole never happened.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use analytics::ClaimId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    frame::{Reader, Writer},
    metric::{Kind, Metric},
};
use crate::{contract::ledger::Ledger, transport::durable::sync_folder};

const MAGIC: &[u8] = b"tyk-pump prometheus 1";
/// Length and checksum.
const HEAD: usize = 8;
/// Shorter files are not worth writing anew.
const LEAST_LIMIT: u64 = 4 << 20;

/// Decides how many bytes of a frame reach the disk; fewer than asked for means that the rest fails. For tests of faults.
pub type Hook = Arc<dyn Fn(usize) -> usize + Send + Sync>;

/// What a metric stands at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Standing {
    pub(super) keys: Vec<Arc<[u8]>>,
    pub(super) numbers: Vec<u64>,
    pub(super) folded: u64,
}

/// Everything that is in a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct State {
    /// One a metric.
    pub(super) standings: Vec<Standing>,
    pub(super) ledger: Ledger,
}

/// The file of a pump.
pub(super) struct Store {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    /// So much of it is whole frames.
    length: u64,
    /// Beyond it is written anew.
    limit: u64,
    pub(super) hook: Option<Hook>,
    /// Held as long as this lives.
    _lock: File,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("meta.state_dir {}: another process keeps the counters of this pump there – one at a time can", .0.display())]
    Held(PathBuf),
    #[error("meta.state_dir {}: this process still keeps the counters of this pump there", .0.display())]
    Ours(PathBuf),
    #[error("meta.state_dir {}: {source} – the pump needs a folder that it can write to", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Store {
    /// Opens the file of `pump` in `folder`, and reads what these metrics stand at. Metrics that were not there, or had other
    /// labels or buckets, begin at 0. `warn` hears of a file that cannot be read; it is put aside.
    pub(super) fn open(
        folder: &Path,
        pump: &str,
        metrics: &[Metric],
        warn: impl Fn(&str),
    ) -> Result<(Store, State), OpenError> {
        let failed = |source| OpenError::Io {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let name = utf8_percent_encode(pump, NON_ALPHANUMERIC).to_string();
        let path = folder.join(format!("{name}.metrics"));
        let mut lock = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(format!("{name}.lock")))
            .map_err(failed)?;
        let own = std::process::id().to_string();
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who cannot be read is another one.
                let _ = lock.read_to_string(&mut holder);
                return Err(match holder.trim() == own {
                    true => OpenError::Ours(folder.to_owned()),
                    false => OpenError::Held(folder.to_owned()),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(own.as_bytes()))
            .map_err(failed)?;
        let content = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed)?,
        };
        let state = match read(&content, metrics) {
            Some(state) => state,
            None if content.is_empty() => empty(metrics),
            None => {
                let aside = folder.join(format!("{name}.damaged"));
                fs::rename(&path, &aside).map_err(failed)?;
                warn(&format!(
                    "meta.state_dir: {} cannot be read; it is {} now, and the counters begin at 0",
                    path.display(),
                    aside.display()
                ));
                empty(metrics)
            }
        };
        let (file, length) = replace(folder, &path, metrics, &state).map_err(failed)?;
        let store = Store {
            folder: folder.to_owned(),
            path,
            file,
            length,
            limit: (4 * length).max(LEAST_LIMIT),
            hook: None,
            _lock: lock,
        };
        Ok((store, state))
    }

    /// Adds what a group has changed. After an error the file is as it was.
    pub(super) fn append(&mut self, change: &[u8]) -> io::Result<()> {
        let frame = frame(change);
        // What a failed append has left.
        self.file.set_len(self.length)?;
        let passes = self
            .hook
            .as_ref()
            .map_or(frame.len(), |hook| hook(frame.len()).min(frame.len()));
        self.file.write_all(frame.get(..passes).unwrap_or_default())?;
        if passes < frame.len() {
            return Err(io::Error::other("the append was made to fail"));
        }
        self.file.sync_data()?;
        self.length += frame.len() as u64;
        Ok(())
    }

    /// Whether the file has grown so long that it should be written anew.
    pub(super) fn is_long(&self) -> bool {
        self.length > self.limit
    }

    /// Writes the file anew. After an error it is as it was.
    pub(super) fn rewrite(&mut self, metrics: &[Metric], state: &State) -> io::Result<()> {
        // Not again at once if it fails.
        self.limit = self.length.saturating_mul(2);
        let (file, length) = replace(&self.folder, &self.path, metrics, state)?;
        (self.file, self.length) = (file, length);
        self.limit = (4 * length).max(LEAST_LIMIT);
        Ok(())
    }

    /// For errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Records name paths and keys.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn replace(folder: &Path, path: &Path, metrics: &[Metric], state: &State) -> io::Result<(File, u64)> {
    let next = path.with_extension("next");
    let mut content = frame(&header(metrics));
    content.extend(frame(&whole(metrics, state)));
    let mut file = private().write(true).create(true).truncate(true).open(&next)?;
    file.write_all(&content)?;
    file.sync_data()?;
    fs::rename(&next, path)?;
    sync_folder(folder)?;
    let file = private().append(true).open(path)?;
    Ok((file, content.len() as u64))
}

fn empty(metrics: &[Metric]) -> State {
    State {
        standings: metrics.iter().map(|_| Standing::default()).collect(),
        ledger: Ledger::default(),
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + HEAD);
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The payloads of whole frames.
fn frames(mut content: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = content.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<4>()?;
        let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if crc32fast::hash(payload) != u32::from_le_bytes(*sum) {
            return None;
        }
        content = rest;
        Some(payload)
    })
}

/// What tells a metric from another of the same name.
fn signature(metric: &Metric) -> String {
    let labels: Vec<_> = metric.labels.iter().map(|label| label.name).collect();
    let kind = match &metric.kind {
        Kind::Counter => "counter".to_owned(),
        Kind::Histogram { bounds, .. } => format!("histogram{bounds:?}"),
    };
    format!("{}{{{}}} {kind}", metric.name, labels.join(","))
}

fn header(metrics: &[Metric]) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(MAGIC);
    out.number(metrics.len() as u64);
    for metric in metrics {
        out.bytes(signature(metric).as_bytes());
        out.number(metric.width() as u64);
    }
    out.finish()
}

/// Everything as one change.
fn whole(metrics: &[Metric], state: &State) -> Vec<u8> {
    let mut change = Change::default();
    for (metric, standing) in metrics.iter().zip(&state.standings) {
        let series = standing.numbers.chunks(metric.width()).enumerate();
        let series = series.map(|(at, numbers)| (at as u32, numbers));
        change.metric(&standing.keys, series, standing.folded);
    }
    let ranges = state
        .ledger
        .iter()
        .flat_map(|(claim, ranges)| ranges.iter().map(|rows| (*claim, rows.clone())));
    change.finish(ranges, &[])
}

/// What a group changes, metric by metric.
#[derive(Default)]
pub(super) struct Change(Writer);

impl Change {
    /// New series, what series stand at, and what the counter of folded observations does.
    pub(super) fn metric<'a>(
        &mut self,
        fresh: &[Arc<[u8]>],
        changed: impl ExactSizeIterator<Item = (u32, &'a [u64])>,
        folded: u64,
    ) {
        self.0.number(fresh.len() as u64);
        for key in fresh {
            self.0.bytes(key);
        }
        self.0.number(changed.len() as u64);
        for (series, numbers) in changed {
            self.0.number(series.into());
            for number in numbers {
                self.0.number(*number);
            }
        }
        self.0.number(folded);
    }

    /// The rows of the group, and the claims that are done.
    pub(super) fn finish(
        mut self,
        rows: impl Iterator<Item = (ClaimId, std::ops::Range<u64>)>,
        forgotten: &[ClaimId],
    ) -> Vec<u8> {
        self.0.number(forgotten.len() as u64);
        for claim in forgotten {
            self.0.claim(*claim);
        }
        for (claim, rows) in rows {
            self.0.claim(claim);
            self.0.number(rows.start);
            self.0.number(rows.end);
        }
        self.0.finish()
    }
}

/// `None`: it is no file of this kind.
fn read(content: &[u8], metrics: &[Metric]) -> Option<State> {
    let mut frames = frames(content);
    let mut header = Reader::new(frames.next()?);
    if header.bytes()? != MAGIC {
        return None;
    }
    // Of each metric of the file: how wide, and which one it is now.
    let mut known = Vec::new();
    for _ in 0..header.number()? {
        let (name, width) = (header.bytes()?, header.number()?);
        let now = metrics.iter().position(|metric| signature(metric).as_bytes() == name);
        known.push((usize::try_from(width).ok()?, now));
    }
    let mut state = empty(metrics);
    for frame in frames {
        apply(&mut state, &mut Reader::new(frame), &known)?;
    }
    Some(state)
}

fn apply(state: &mut State, change: &mut Reader<'_>, known: &[(usize, Option<usize>)]) -> Option<()> {
    let mut unknown = Standing::default();
    for &(width, now) in known {
        let standing = match now.and_then(|now| state.standings.get_mut(now)) {
            Some(standing) => standing,
            None => &mut unknown,
        };
        for _ in 0..change.number()? {
            standing.keys.push(change.bytes()?.into());
        }
        let all = standing.keys.len() * width;
        if now.is_some() {
            standing.numbers.resize(all, 0);
        }
        for _ in 0..change.number()? {
            let start = usize::try_from(change.number()?).ok()?.checked_mul(width)?;
            for at in start..start + width {
                let number = change.number()?;
                match standing.numbers.get_mut(at) {
                    Some(slot) => *slot = number,
                    None if now.is_some() => return None,
                    None => {}
                }
            }
        }
        standing.folded = change.number()?;
        unknown = Standing::default();
    }
    let forgotten: Vec<ClaimId> = (0..change.number()?).map(|_| change.claim()).collect::<Option<_>>()?;
    state.ledger.forget(&forgotten);
    while !change.is_empty() {
        let claim = change.claim()?;
        state.ledger.insert(claim, change.number()?..change.number()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::prometheus::{Options, metric};

    fn metrics(custom: serde_json::Value) -> Vec<Metric> {
        let options: Options = crate::options::decode(&serde_json::json!({ "custom_metrics": custom })).unwrap();
        metric::metrics(&options, &[], |text| panic!("{text}"), |_| {})
    }

    fn open(folder: &Path, metrics: &[Metric]) -> (Store, State) {
        Store::open(folder, "P/1", metrics, |text| panic!("{text}")).unwrap()
    }

    fn change(metrics: &[Metric], key: &str, series: u32, number: u64, rows: std::ops::Range<u64>) -> Vec<u8> {
        let mut change = Change::default();
        for metric in metrics {
            let numbers = vec![number; metric.width()];
            let fresh: &[Arc<[u8]>] = &[key.as_bytes().into()];
            change.metric(fresh, [(series, &*numbers)].into_iter(), 7);
        }
        change.finish([(ClaimId(ulid::Ulid(1)), rows)].into_iter(), &[ClaimId(ulid::Ulid(2))])
    }

    #[test]
    fn what_was_appended_is_read_back_and_a_torn_end_never_happened() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = metrics(serde_json::json!([]));
        let (mut store, state) = open(folder.path(), &metrics);
        assert_eq!(state, empty(&metrics));
        store.append(&change(&metrics, "a", 0, 5, 0..10)).unwrap();
        let half = store.length;
        store.append(&change(&metrics, "b", 1, 6, 20..30)).unwrap();
        assert!(matches!(
            Store::open(folder.path(), "P/1", &metrics, |_| {}),
            Err(OpenError::Ours(_))
        ));
        let path = store.path.clone();
        drop(store);
        let content = fs::read(&path).unwrap();
        let (store, state) = open(folder.path(), &metrics);
        assert_eq!(state.standings[0].numbers, [5, 6]);
        assert_eq!((state.standings[4].numbers.len(), state.standings[4].folded), (56, 7));
        assert_eq!(state.ledger.ranges(ClaimId(ulid::Ulid(1))).to_string(), "0-9,20-29");
        drop(store);
        for end in [half as usize + 1, content.len() - 1] {
            fs::write(&path, &content[..end]).unwrap();
            let (_, state) = open(folder.path(), &metrics);
            assert_eq!(state.standings[0].numbers, [5], "cut at {end}");
            assert_eq!(state.ledger.ranges(ClaimId(ulid::Ulid(1))).to_string(), "0-9");
        }
    }

    #[test]
    fn a_metric_that_is_another_begins_anew_and_the_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let custom =
            |labels: &[&str]| serde_json::json!([{"name": "acme_total", "metric_type": "counter", "labels": labels}]);
        let before = metrics(custom(&["code"]));
        let (mut store, _) = open(folder.path(), &before);
        store.append(&change(&before, "a", 0, 5, 0..10)).unwrap();
        drop(store);
        let after = metrics(custom(&["code", "api"]));
        let (store, state) = open(folder.path(), &after);
        assert_eq!(
            (&*state.standings[0].numbers, &*state.standings[5].numbers),
            (&[5][..], &[][..])
        );
        drop(store);
        let (_, state) = open(folder.path(), &before[1..]);
        assert_eq!(state.standings[0].numbers, [5]);
    }

    #[test]
    fn a_damaged_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = metrics(serde_json::json!([]));
        let path = open(folder.path(), &metrics).0.path.clone();
        fs::write(&path, b"something else").unwrap();
        let said = std::cell::RefCell::new(String::new());
        let (_, state) = Store::open(folder.path(), "P/1", &metrics, |text| said.borrow_mut().push_str(text)).unwrap();
        assert_eq!(state, empty(&metrics));
        assert!(said.borrow().contains("P%2F1.damaged"), "{}", said.borrow());
        assert_eq!(
            fs::read(folder.path().join("P%2F1.damaged")).unwrap(),
            b"something else"
        );
    }
}
