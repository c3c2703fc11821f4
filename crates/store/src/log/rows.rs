//! Where the elements of a list stand: not one entry an element, but one for a stretch of a segment.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How far a stretch may reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grain {
    /// Its bytes, foreign ones included.
    stretch: u32,
    /// Foreign bytes at a time.
    gap: u32,
}

impl Grain {
    /// Reading over foreign bytes costs less than another entry costs in memory.
    pub(super) const FINE: Grain = Grain {
        stretch: 256 << 10,
        gap: 4 << 10,
    };
    /// When there are many entries: reading costs more, but memory and images stay small.
    pub(super) const COARSE: Grain = Grain {
        stretch: 8 << 20,
        gap: 8 << 20,
    };
}

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the segment.
    pub(super) segment: u32,
    /// Offset of the header.
    pub(super) start: u32,
    /// First byte behind the frame.
    pub(super) end: u32,
}

/// Rows of one list between two places of a segment; frames of other lists may stand between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Row number of the first one that counts.
    #[serde(rename = "f")]
    pub(super) first: u64,
    /// Rows that count.
    #[serde(rename = "n")]
    pub(super) count: u32,
    /// Rows in front of them, in the same stretch, that do not count any more.
    #[serde(rename = "k", default)]
    pub(super) skip: u32,
    /// Number of the segment.
    #[serde(rename = "s")]
    pub(super) segment: u32,
    /// Offset of the first frame.
    #[serde(rename = "a")]
    pub(super) start: u32,
    /// First byte behind the last frame.
    #[serde(rename = "b")]
    pub(super) end: u32,
    /// Elements that were written without anything taken away in between; only these may be joined.
    #[serde(rename = "i")]
    pub(super) series: u32,
}

impl Run {
    pub(super) fn end_row(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// The elements of a list, or of a claim.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) runs: VecDeque<Run>,
    /// The next element belongs to this series.
    pub(super) series: u32,
}

/// How many stretches more (or fewer) stand in a segment.
pub(super) type Tally<'a> = &'a mut dyn FnMut(u32, i64);

impl Rows {
    pub(super) fn new(series: u32) -> Self {
        Self {
            runs: VecDeque::new(),
            series,
        }
    }

    /// Row number of the first one.
    pub(super) fn base(&self) -> u64 {
        self.runs.front().map_or(0, |run| run.first)
    }

    /// Number behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.runs.back().map_or(0, Run::end_row)
    }

    pub(super) fn len(&self) -> u64 {
        self.end() - self.base()
    }

    /// Notes a frame that has been appended to the log.
    pub(super) fn append(&mut self, place: Place, count: u32, grain: Grain, tally: Tally<'_>) {
        let series = self.series;
        if let Some(last) = self.runs.back_mut()
            && joins(last, place, series, grain)
            && last.count.checked_add(count).is_some()
        {
            last.end = place.end;
            last.count += count;
            return;
        }
        let run = Run {
            first: self.end(),
            count,
            skip: 0,
            segment: place.segment,
            start: place.start,
            end: place.end,
            series,
        };
        self.runs.push_back(run);
        tally(place.segment, 1);
    }

    /// Joins neighbours in the same segment as far as this grain allows.
    pub(super) fn join_neighbours(&mut self, grain: Grain, tally: Tally<'_>) {
        let mut joined: VecDeque<Run> = VecDeque::new();
        for run in self.runs.drain(..) {
            let place = Place {
                segment: run.segment,
                start: run.start,
                end: run.end,
            };
            match joined.back_mut() {
                Some(last)
                    if run.skip == 0
                        && last.end_row() == run.first
                        && joins(last, place, run.series, grain)
                        && last.count.checked_add(run.count).is_some() =>
                {
                    last.end = run.end;
                    last.count += run.count;
                    tally(run.segment, -1);
                }
                _ => joined.push_back(run),
            }
        }
        joined.shrink_to_fit();
        self.runs = joined;
    }

    /// Takes rows below `row` away.
    pub(super) fn drop_below(&mut self, row: u64, tally: Tally<'_>) {
        while let Some(front) = self.runs.front_mut() {
            if front.end_row() <= row {
                tally(front.segment, -1);
                self.runs.pop_front();
                continue;
            }
            if front.first < row {
                let gone = (row - front.first) as u32;
                front.first = row;
                front.skip += gone;
                front.count -= gone;
            }
            break;
        }
    }

    /// Takes rows from `row` on away; what is appended later begins `series`.
    pub(super) fn drop_from(&mut self, row: u64, series: u32, tally: Tally<'_>) {
        while let Some(back) = self.runs.back_mut() {
            if back.first >= row {
                tally(back.segment, -1);
                self.runs.pop_back();
                continue;
            }
            if back.end_row() > row {
                back.count = (row - back.first) as u32;
            }
            break;
        }
        self.series = series;
    }

    /// Takes everything away.
    pub(super) fn clear(&mut self, tally: Tally<'_>) {
        for run in self.runs.drain(..) {
            tally(run.segment, -1);
        }
    }

    /// Numbers the rows from `base` on.
    pub(super) fn number_from(&mut self, base: u64) {
        let mut next = base;
        for run in &mut self.runs {
            run.first = next;
            next = run.end_row();
        }
    }

    /// Puts `front` before what is here, and numbers from 0 on.
    pub(super) fn put_in_front(&mut self, front: Rows) {
        let mut runs = front.runs;
        runs.append(&mut self.runs);
        self.runs = runs;
        self.number_from(0);
    }

    /// The stretches that hold rows `from..to`, cut to them.
    pub(super) fn slice(&self, from: u64, to: u64) -> Vec<Run> {
        let mut at = self.runs.partition_point(|run| run.end_row() <= from);
        let mut slice = Vec::new();
        while let Some(run) = self.runs.get(at).filter(|run| run.first < to) {
            let mut run = *run;
            if run.first < from {
                let before = (from - run.first) as u32;
                run.first = from;
                run.skip += before;
                run.count -= before;
            }
            if run.end_row() > to {
                run.count = (to - run.first) as u32;
            }
            slice.push(run);
            at += 1;
        }
        slice
    }
}

fn joins(last: &Run, place: Place, series: u32, grain: Grain) -> bool {
    last.series == series
        && last.segment == place.segment
        && place.end - last.start <= grain.stretch
        && place.start.saturating_sub(last.end) <= grain.gap
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append { count: u32, gap: u32, roll: bool },
        DropBelow(u64),
        DropFrom(u64),
        Join,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..50u32, 0..20_000u32, prop::bool::weighted(0.1))
                .prop_map(|(count, gap, roll)| Step::Append { count, gap, roll }),
            1 => (0..60u64).prop_map(Step::DropBelow),
            1 => (0..60u64).prop_map(Step::DropFrom),
            1 => Just(Step::Join),
        ]
    }

    proptest! {
        /// Every row keeps its number and stays findable, and the tally is the number of stretches in each segment.
        #[test]
        fn rows_keep_their_numbers(steps in prop::collection::vec(step(), 1..80)) {
            let mut rows = Rows::new(0);
            let mut tallies: HashMap<u32, i64> = HashMap::new();
            let (mut segment, mut offset, mut series) = (0, 0, 0);
            let (mut base, mut end) = (0u64, 0u64);
            for step in steps {
                let mut tally = |segment: u32, by: i64| *tallies.entry(segment).or_default() += by;
                match step {
                    Step::Append { count, gap, roll } => {
                        if roll {
                            segment += 1;
                            offset = 0;
                        }
                        let start = offset + gap;
                        offset = start + 100 * count;
                        if base == end {
                            (base, end) = (0, 0);
                        }
                        rows.append(Place { segment, start, end: offset }, count, Grain::FINE, &mut tally);
                        end += u64::from(count);
                    }
                    Step::DropBelow(by) => {
                        base = (base + by).min(end);
                        rows.drop_below(base, &mut tally);
                    }
                    Step::DropFrom(by) => {
                        end = end.saturating_sub(by).max(base);
                        series += 1;
                        rows.drop_from(end, series, &mut tally);
                    }
                    Step::Join => rows.join_neighbours(Grain::COARSE, &mut tally),
                }
                prop_assert_eq!(rows.len(), end - base);
                let mut next = base;
                for run in &rows.runs {
                    prop_assert_eq!(run.first, next);
                    prop_assert!(run.count > 0);
                    next = run.end_row();
                }
                if base < end {
                    prop_assert_eq!((rows.base(), rows.end()), (base, end));
                    let middle = base + (end - base) / 2;
                    let slice = rows.slice(middle, end);
                    prop_assert_eq!(slice.first().map(|run| run.first), Some(middle));
                    prop_assert_eq!(slice.iter().map(|run| u64::from(run.count)).sum::<u64>(), end - middle);
                }
            }
            for (segment, tally) in tallies {
                let runs = rows.runs.iter().filter(|run| run.segment == segment).count();
                prop_assert_eq!(tally, runs as i64);
            }
        }
    }
}
