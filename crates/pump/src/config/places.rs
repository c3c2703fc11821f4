//! Where the options of pumps were set, for what is found out about them when a sink reads them.

use std::collections::HashMap;

use super::{Config, finding::Place};

/// The options of every pump with their places.
#[derive(Clone, Debug, Default)]
pub struct OptionPlaces {
    /// By the pump's key in capitals.
    pumps: HashMap<String, PumpPlaces>,
    uptime: PumpPlaces,
}

/// One pump.
#[derive(Clone, Debug, Default)]
pub struct PumpPlaces {
    /// What its findings begin with: `pump "es": `.
    pub context: String,
    /// What keys of its options begin with: `meta.`.
    pub lead: &'static str,
    place: Place,
    /// By the option's name in small letters.
    options: HashMap<String, Place>,
}

impl OptionPlaces {
    /// Those of a configuration that is read.
    pub(super) fn of(config: &Config) -> Self {
        let pump = |pump: &super::PumpEntry| PumpPlaces {
            context: format!("pump \"{}\": ", pump.spelled),
            lead: "meta.",
            place: pump.place.clone(),
            options: pump.meta_places.clone(),
        };
        let uptime = config.uptime.iter().map(|(key, entry)| {
            let top = key.split('.').next().unwrap_or_default();
            (top.to_owned(), entry.place.clone())
        });
        Self {
            pumps: config
                .pumps
                .iter()
                .map(|entry| (entry.name.clone(), pump(entry)))
                .collect(),
            uptime: PumpPlaces {
                lead: "uptime_pump_config.",
                place: config.uptime.place("uptime_type"),
                options: uptime.collect(),
                ..PumpPlaces::default()
            },
        }
    }

    /// Those of a pump; `None`: it has none.
    pub fn pump(&self, name: &str) -> Option<&PumpPlaces> {
        self.pumps.get(name)
    }

    /// Those of the pump of uptime data.
    pub fn uptime(&self) -> &PumpPlaces {
        &self.uptime
    }
}

impl PumpPlaces {
    /// The place of the option that `text` speaks of: of the first one that is called by its full name (`meta.url`), else of
    /// the first one that is named at all; where none is that is set, of the pump.
    pub fn named_in(&self, text: &str) -> Place {
        let words = || text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.')));
        let option = |name: &str| {
            self.options
                .get(&name.split('.').next().unwrap_or_default().to_lowercase())
        };
        let full = words().filter_map(|word| word.strip_prefix("meta.")).find_map(option);
        full.or_else(|| words().filter(|word| word.contains('_')).find_map(option))
            .unwrap_or(&self.place)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::json::Position;

    #[test]
    fn a_full_name_counts_more_than_a_mention_and_what_is_missing_stands_at_the_pump() {
        let at = |line| Place::File(Position { line, column: 1 });
        let places = PumpPlaces {
            place: at(1),
            options: [("type", 2), ("ssl_ca_file", 3), ("bulk_config", 4)]
                .map(|(key, line)| (key.to_owned(), at(line)))
                .into(),
            ..PumpPlaces::default()
        };
        for (text, line) in [
            ("Unsupported `config_storage.type` value:x – meta.type is postgres", 2),
            ("ssl_ca_file /x: no such file", 3),
            ("meta.bulk_config.workers is the text \"x\"", 4),
            ("meta.url is missing – write its type", 1),
        ] {
            assert_eq!(places.named_in(text), at(line), "{text}");
        }
    }
}
