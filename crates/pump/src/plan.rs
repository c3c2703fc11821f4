//! Which pumps of a configuration run, and of which type each is: the engine and operators' commands make it of the same
//! settings, and so agree about it.

use std::sync::Arc;

use analytics::logrus::LogForm;
use sinks::{BuildContext, Fleet, Known, SinkSpec};

use crate::config::{PumpSettings, Settings};

/// A pump of the configuration with its type.
#[derive(Clone)]
pub struct Pump {
    /// Its settings.
    pub settings: PumpSettings,
    /// Its type.
    pub spec: &'static SinkSpec,
}

impl Pump {
    /// What its sink is made from.
    pub fn context(&self, log: LogForm, fleet: &Fleet) -> BuildContext {
        BuildContext {
            pump: self.settings.name.clone(),
            meta: self.settings.meta.clone(),
            compat: self.settings.compat,
            log,
            fleet: fleet.clone(),
        }
    }
}

/// A pump whose type this program does not have; reading the configuration has reported it.
pub struct Absent {
    /// Its name.
    pub name: Arc<str>,
    /// Its type as the configuration has it.
    pub kind: String,
    /// Why it is not there, and what was probably meant.
    pub reason: String,
}

/// The pumps of a configuration.
#[derive(Default)]
pub struct PumpPlan {
    /// Pumps of traffic whose type is built, in the order of the configuration.
    pub traffic: Vec<Pump>,
    /// The pump that takes uptime data, if a destination is named and its type is built.
    pub uptime: Option<Pump>,
    /// Pumps that cannot run in this program.
    pub absent: Vec<Absent>,
    /// The type of uptime data's destination, if this binary lacks it.
    pub absent_uptime: Option<String>,
}

impl PumpPlan {
    /// The plan for these settings.
    pub fn of(settings: &Settings) -> Self {
        let mut plan = Self::default();
        for pump in &settings.pumps {
            match known(pump) {
                Ok(pump) => plan.traffic.push(pump),
                Err(reason) => plan.absent.push(Absent {
                    name: pump.name.clone(),
                    kind: pump.kind.clone(),
                    reason,
                }),
            }
        }
        if let Some(uptime) = &settings.uptime {
            match sinks::find_uptime(&uptime.kind) {
                Some(spec) => {
                    plan.uptime = Some(Pump {
                        settings: uptime.clone(),
                        spec,
                    });
                }
                None => plan.absent_uptime = Some(uptime.kind.clone()),
            }
        }
        plan
    }

    /// All pumps that can run, that of uptime data last.
    pub fn pumps(&self) -> impl Iterator<Item = &Pump> {
        self.traffic.iter().chain(&self.uptime)
    }
}

fn known(pump: &PumpSettings) -> Result<Pump, String> {
    match sinks::find_known(&pump.kind) {
        Some(Known::Built(spec)) => Ok(Pump {
            settings: pump.clone(),
            spec,
        }),
        Some(Known::Absent(absent)) => Err(format!("the type {} {}", absent.name, absent.missing)),
        None => {
            let meant = sinks::suggest(&pump.kind).map(|name| format!(" – did you mean \"{name}\"?"));
            let meant = meant.unwrap_or_default();
            Err(format!("{} Not found: unknown type{meant}", pump.kind))
        }
    }
}
