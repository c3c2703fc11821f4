//! Which serial numbers arrived, and how often.

/// How often each of `0..len` was seen.
#[derive(Clone, Debug)]
pub(crate) struct Serials {
    times: Vec<u8>,
    foreign: u64,
}

impl Serials {
    pub(crate) fn new(len: u64) -> Serials {
        Serials {
            times: vec![0; len as usize],
            foreign: 0,
        }
    }

    pub(crate) fn note(&mut self, serial: u64) {
        match self.times.get_mut(serial as usize) {
            Some(times) => *times = times.saturating_add(1),
            None => self.foreign += 1,
        }
    }

    /// Adds what another place saw.
    pub(crate) fn merge(&mut self, other: &Serials) {
        for (mine, theirs) in self.times.iter_mut().zip(&other.times) {
            *mine = mine.saturating_add(*theirs);
        }
        self.foreign += other.foreign;
    }

    /// Serial numbers seen at least once.
    pub(crate) fn seen(&self) -> u64 {
        self.times.iter().filter(|&&times| times > 0).count() as u64
    }

    /// Serial numbers never seen.
    pub(crate) fn lost(&self) -> u64 {
        self.times.len() as u64 - self.seen()
    }

    /// Serial numbers seen more than once.
    pub(crate) fn doubled(&self) -> u64 {
        self.times.iter().filter(|&&times| times > 1).count() as u64
    }

    /// Serial numbers that nobody pushed.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_in_two_places_is_doubled_and_one_in_none_is_lost() {
        let (mut one, mut other) = (Serials::new(4), Serials::new(4));
        [0, 1].into_iter().for_each(|serial| one.note(serial));
        [1, 2, 9].into_iter().for_each(|serial| other.note(serial));
        assert_eq!((one.doubled(), other.doubled()), (0, 0));
        one.merge(&other);
        assert_eq!((one.seen(), one.lost(), one.doubled(), one.foreign()), (3, 1, 1, 1));
    }
}
