//! What sinks say of their options, without being made: `tyk-pump check` asks them what a start asks them.

use std::sync::{Arc, Mutex, PoisonError};

use sinks::{Fleet, options};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
};

use super::{
    Settings,
    finding::{Finding, Severity},
    places::{OptionPlaces, PumpPlaces},
};
use crate::{
    plan::{Pump, PumpPlan},
    scrub,
};

/// Why pumps would not start with their options, and what they would warn of. Pumps that reading the configuration has
/// refused are left out.
pub(super) fn findings(settings: &Settings, places: &OptionPlaces) -> Vec<Finding> {
    let secrets = scrub::Secrets::of(settings);
    let plan = PumpPlan::of(settings);
    let unknown = PumpPlaces::default();
    let traffic = plan.traffic.iter().map(|pump| {
        let places = places.pump(&pump.settings.name);
        (pump, places.unwrap_or(&unknown))
    });
    let uptime = plan.uptime.iter().map(|pump| (pump, places.uptime()));
    let mut findings = Vec::new();
    for (pump, places) in traffic.chain(uptime) {
        if pump.settings.refused.is_some() {
            continue;
        }
        for (severity, text) in said_of(pump, settings) {
            let text = secrets.masked(&text);
            findings.push(Finding {
                severity,
                place: places.named_in(&text),
                text: format!("{}{}", places.context, text.replace("meta.", places.lead)),
                prefix: "main",
            });
        }
    }
    findings
}

fn said_of(pump: &Pump, settings: &Settings) -> Vec<(Severity, String)> {
    let wrong = options::problems(&(pump.spec.options)(), &pump.settings.meta);
    if !wrong.is_empty() {
        return wrong.into_iter().map(|text| (Severity::Error, text)).collect();
    }
    let heard = Heard::default();
    let context = pump.context(settings.log, &Fleet::default());
    let refused =
        tracing::subscriber::with_default(Registry::default().with(heard.clone()), || pump.spec.validate(&context));
    let warnings = std::mem::take(&mut *heard.0.lock().unwrap_or_else(PoisonError::into_inner));
    let mut said: Vec<(Severity, String)> = warnings.into_iter().map(|text| (Severity::Warning, text)).collect();
    said.extend(refused.err().map(|error| (Severity::Error, error.to_string())));
    said
}

/// Hears what sinks warn of.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Heard {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("sinks")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.0);
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
