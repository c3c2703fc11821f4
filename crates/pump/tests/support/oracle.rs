//! Numbered records: pushed once, and counted where they arrive.

use std::{fmt, path::Path};

use tyk_pump::load::{LoadOptions, push};

use super::{Server, daemon::csv_rows};

/// Pushes records with the serials `0..records`.
pub fn push_serials(server: &Server, options: LoadOptions) {
    push_serials_to(&server.addr(0), options);
}

/// The same, to a host and port.
pub fn push_serials_to(address: &str, options: LoadOptions) {
    let options = LoadOptions {
        redis: Some(address.to_owned()),
        serials: true,
        ttl: -1,
        ..options
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(push(&options, &options.target(None), |_| ())).unwrap();
    assert_eq!(report.records, options.records);
}

/// The serials in the CSV files of a directory, once each time they stand there.
pub fn csv_serials(directory: &Path) -> Vec<u64> {
    csv_rows(directory)
        .iter()
        .map(|row| {
            let path = row.split(',').nth(2).unwrap_or_default();
            let digits = path.strip_prefix("/serial/").and_then(|digits| digits.parse().ok());
            digits.unwrap_or_else(|| panic!("no row of a numbered record: {row:?}"))
        })
        .collect()
}

/// The serials in JSON lines on stdout. A line that a kill has cut off is none.
pub fn json_serials(path: &Path) -> Vec<u64> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let serial = |line: &str| line.split_once("\"path\":\"/serial/")?.1.get(..12)?.parse().ok();
    text.lines().filter_map(serial).collect()
}

/// What became of numbered records.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often a pump was started.
    pub attempts: usize,
    /// Starts that took up what an earlier one had left.
    pub recovered: usize,
    pub pushed: u64,
    pub delivered: u64,
    pub lost: Vec<u64>,
    pub doubled: Vec<u64>,
    pub foreign: u64,
}

impl Tally {
    /// Compares with the serials `0..pushed`.
    pub fn of(pushed: u64, arrived: impl IntoIterator<Item = u64>) -> Tally {
        let mut times = vec![0u32; pushed as usize];
        let mut tally = Tally {
            pushed,
            ..Tally::default()
        };
        for serial in arrived {
            tally.delivered += 1;
            match times.get_mut(serial as usize) {
                Some(times) => *times += 1,
                None => tally.foreign += 1,
            }
        }
        let with = |wanted: fn(u32) -> bool| {
            let hits = times.iter().enumerate().filter(|(_, times)| wanted(**times));
            hits.map(|(serial, _)| serial as u64).collect()
        };
        tally.lost = with(|times| times == 0);
        tally.doubled = with(|times| times > 1);
        tally
    }

    /// Adds what is known about the runs.
    pub fn after(self, attempts: usize, log: &str) -> Tally {
        let runs = log.split("## Tyk Pump").skip(1);
        let recovered = runs.filter(|run| run.contains("taking up a claim")).count();
        Tally {
            attempts,
            recovered,
            ..self
        }
    }

    #[track_caller]
    pub fn assert_complete(&self) {
        assert!(self.lost.is_empty() && self.foreign == 0, "{self}");
    }

    #[track_caller]
    pub fn assert_exactly_once(&self) {
        self.assert_complete();
        assert!(self.doubled.is_empty(), "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |serials: &[u64]| format!("{:?}", &serials[..serials.len().min(5)]);
        write!(
            f,
            "attempts {}, recovered {}, pushed {}, delivered {}, foreign {}, lost {} {}, doubled {} {}",
            self.attempts,
            self.recovered,
            self.pushed,
            self.delivered,
            self.foreign,
            self.lost.len(),
            first(&self.lost),
            self.doubled.len(),
            first(&self.doubled),
        )
    }
}
