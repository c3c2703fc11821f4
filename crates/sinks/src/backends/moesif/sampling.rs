//! Which events are sent, by the application's settings at Moesif.

use serde_json::Value;

/// Percentages that are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sampling {
    /// Of everybody; 100 unless set.
    all: Option<i64>,
    users: Vec<(String, i64)>,
    companies: Vec<(String, i64)>,
    /// Draws as upstream does, which keeps one in a hundred more.
    one_more: bool,
}

impl Sampling {
    /// Everything is kept. `one_more`: draws as upstream does, which keeps one in a hundred more.
    pub(super) fn new(one_more: bool) -> Sampling {
        Sampling {
            one_more,
            ..Sampling::default()
        }
    }

    /// Takes over what an answer of Moesif says. What it does not mention, or has another type, stays.
    pub(super) fn merge(&mut self, answer: &Value) {
        if let Some(rate) = answer.get("sample_rate").and_then(Value::as_f64) {
            self.all = Some(rate as i64);
        }
        for (name, rates) in [
            ("user_sample_rate", &mut self.users),
            ("company_sample_rate", &mut self.companies),
        ] {
            if let Some(given) = answer.get(name).and_then(Value::as_object) {
                *rates = given
                    .iter()
                    .filter_map(|(id, rate)| Some((id.clone(), rate.as_f64()? as i64)))
                    .collect();
            }
        }
    }

    /// The percentage for an event of this user and company.
    pub(super) fn rate(&self, user: &str, company: &str) -> i64 {
        let of = |rates: &[(String, i64)], id: &str| rates.iter().find(|(known, _)| known == id).map(|(_, rate)| *rate);
        of(&self.users, user)
            .or_else(|| of(&self.companies, company))
            .or(self.all)
            .unwrap_or(100)
    }

    /// Whether an event is kept. The same draw is decided the same way, so that nothing changes when a group comes again.
    pub(super) fn keeps(&self, rate: i64, draw: u64) -> bool {
        let draw = (draw % 100) as i64;
        draw < rate || (self.one_more && draw == rate)
    }

    /// For how many events one that is kept stands.
    pub(super) fn weight(&self, rate: i64) -> i64 {
        if rate == 0 { 1 } else { 100 / rate }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_narrowest_rate_counts() {
        let mut sampling = Sampling::default();
        assert_eq!(sampling.rate("alice", "acme"), 100);
        sampling
            .merge(&json!({"sample_rate": 40.9, "user_sample_rate": {"alice": 7}, "company_sample_rate": {"acme": 8}}));
        assert_eq!(sampling.rate("alice", "acme"), 7);
        assert_eq!(sampling.rate("bob", "acme"), 8);
        assert_eq!(sampling.rate("bob", ""), 40);
        sampling.merge(&json!({"sample_rate": "10", "user_sample_rate": 3}));
        assert_eq!(
            (sampling.rate("bob", ""), sampling.rate("alice", "")),
            (40, 7),
            "wrong types are passed over"
        );
    }

    #[test]
    fn a_rate_keeps_its_percentage() {
        let kept = |sampling: &Sampling, rate| (0..100).filter(|&draw| sampling.keeps(rate, draw)).count();
        let ours = Sampling::default();
        assert_eq!([0, 1, 40, 100, 200].map(|rate| kept(&ours, rate)), [0, 1, 40, 100, 100]);
        let reference = Sampling::new(true);
        assert_eq!(
            [0, 1, 40, 99, 200].map(|rate| kept(&reference, rate)),
            [1, 2, 41, 100, 100]
        );
    }

    #[test]
    fn weights_are_whole_numbers() {
        let sampling = Sampling::default();
        assert_eq!(
            [0, 1, 40, 100, 200, -3].map(|rate| sampling.weight(rate)),
            [1, 100, 2, 1, 0, -33]
        );
    }
}
