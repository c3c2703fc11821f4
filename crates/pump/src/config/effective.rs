//! From values to [`Settings`]: defaults, corrections, and what pumps inherit.

use std::{num::NonZeroU64, path::PathBuf, sync::Arc, time::Duration};

use analytics::{
    FIELDS, Field, Filter, Transform,
    logrus::{LogForm, LogFormat, LogLevel},
};
use serde_json::Value;
use sinks::Known;

use super::{
    Config, DeliverySettings, ModeChoice, OnFull, PumpEntry, PumpSettings, Request, Settings, StatsdSettings,
    admin::admin_access,
    embedded::embedded_settings,
    env::Environment,
    finding::{Findings, Place, did_you_mean},
    schema::{DELIVERY, PUMP},
    storage,
    uptime::uptime_settings,
    values::{Values, parse_bytes, parse_span},
};

/// Translates everything; what cannot work is a fatal finding.
pub fn settings(
    config: &Config,
    request: &Request,
    env: &mut Environment,
    findings: &mut Findings,
) -> (Settings, LogForm) {
    let top = &config.top;
    warn_without_effect(top, findings);
    let log = log_form(top, request.debug, env, findings);
    let kind = top.text("analytics_storage_type");
    if !matches!(kind, "" | "redis" | "embedded") {
        let text = format!(
            "Invalid analytics storage type: {kind} – analytics_storage_type is where records wait: \"redis\"; sinks belong into \"pumps\""
        );
        findings.fatal(top.place("analytics_storage_type"), text);
    }
    let mut delivery = delivery(&config.delivery, request, findings);
    let embedded = (kind == "embedded").then(|| embedded_settings(&config.embedded, findings));
    match &embedded {
        // A disk holds more than a Redis does, and nothing else lives in it.
        Some(store) => {
            delivery.max_unacked.get_or_insert(store.max_bytes / 2);
            delivery.max_backlog.get_or_insert(store.max_bytes);
        }
        None => {
            if let Some((key, _)) = config.embedded.iter().next() {
                let text =
                    format!("embedded_storage.{key} has no effect without \"analytics_storage_type\": \"embedded\"");
                findings.mistake(config.embedded.place(key), text);
            }
        }
    }
    let inherited = Inherited {
        max_record_size: size(top, "max_record_size", "", findings),
        omit_detailed: top.is_on("omit_detailed_recording"),
        compat: top.is_on("compat"),
        spool: delivery.spool_dir.is_some(),
    };
    let purge_chunk = size(top, "purge_chunk", "", findings) as u64;
    let expiration = top.int("storage_expiration_time").unwrap_or(0).max(0).unsigned_abs();
    let settings = Settings {
        redis: storage::redis_settings(&config.storage, findings),
        embedded,
        pumps: config
            .pumps
            .iter()
            .map(|entry| pump(entry, &inherited, findings))
            .collect(),
        uptime: uptime_settings(config, &inherited, findings),
        purge_delay: purge_delay(top, findings),
        purge_chunk,
        // What the reference falls back to when it takes chunks.
        storage_expiration_time: if expiration == 0 && purge_chunk > 0 {
            60
        } else {
            expiration
        },
        log,
        health_name: health_name(top, findings),
        health_port: health_port(top, findings),
        admin: admin_access(top, findings),
        compat: inherited.compat,
        profiler: top.is_on("enable_http_profiler"),
        statsd: statsd(top, env, findings),
        delivery,
    };
    (settings, log)
}

/// What pumps get from the whole configuration.
pub(super) struct Inherited {
    max_record_size: usize,
    omit_detailed: bool,
    pub(super) compat: bool,
    pub(super) spool: bool,
}

fn warn_without_effect(top: &Values, findings: &mut Findings) {
    for key in ["raw_request_decoded", "raw_response_decoded"] {
        if top.is_on(key) {
            let text =
                format!("Global {key} setting is deprecated. Please use pump level {key} configuration instead.");
            findings.warn(top.place(key), text);
        }
    }
    if top.is_on("omit_detailed_recording") {
        let text = "omit_detailed_recording: raw requests and responses are blank for every pump, also for those that got \
                    them from Tyk Pump, which ignores it here – set it in the pumps that it is meant for, if it is not \
                    meant for all";
        findings.warn(top.place("omit_detailed_recording"), text);
    }
}

/// The level that counts before the configuration does.
pub fn first_level(env: &mut Environment, debug: bool) -> LogLevel {
    if debug {
        return LogLevel::Debug;
    }
    let text = env.take("TYK_LOGLEVEL").unwrap_or_default();
    // The reference knows `warn` alone here, and takes everything else for `info`.
    if text.eq_ignore_ascii_case("warning") && env.compat() == Some(true) {
        return LogLevel::Info;
    }
    level(&text).unwrap_or(LogLevel::Info)
}

fn level(text: &str) -> Option<LogLevel> {
    match text.to_lowercase().as_str() {
        "error" => Some(LogLevel::Error),
        "warn" | "warning" => Some(LogLevel::Warning),
        "info" => Some(LogLevel::Info),
        "debug" => Some(LogLevel::Debug),
        _ => None,
    }
}

fn log_form(top: &Values, debug: bool, env: &mut Environment, findings: &mut Findings) -> LogForm {
    let mut chosen = first_level(env, debug);
    let given = env.take("TYK_LOGLEVEL").is_some_and(|text| !text.is_empty());
    let text = top.text("log_level");
    if !given && !text.is_empty() {
        match level(text) {
            Some(level) if !debug => chosen = level,
            Some(_) => {}
            None => {
                let text = text.to_lowercase();
                let text =
                    format!("Invalid log level {text:?} specified in config, must be error, warn, debug or info. ");
                findings.fatal(top.place("log_level"), text);
            }
        }
    }
    let variable = env.take("TYK_LOGFORMAT").filter(|text| !text.is_empty());
    let (key, name, place) = match &variable {
        Some(name) => (
            "TYK_LOGFORMAT",
            name.as_str(),
            Place::Variable("TYK_LOGFORMAT".to_owned()),
        ),
        None => ("log_format", top.text("log_format"), top.place("log_format")),
    };
    let format = match name {
        "" | "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        "legacy" => LogFormat::Legacy,
        other => {
            findings.mistake(
                place,
                format!("{key} \"{other}\" is unknown – using text (text, json, legacy)"),
            );
            LogFormat::Text
        }
    };
    LogForm { format, level: chosen }
}

fn purge_delay(top: &Values, findings: &mut Findings) -> Duration {
    match top.int("purge_delay") {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        Some(seconds) => {
            let text =
                format!("purge_delay is {seconds} – using 1 s; write the seconds between two looks at the lists");
            findings.mistake(top.place("purge_delay"), text);
            Duration::from_secs(1)
        }
        None => Duration::from_secs(1),
    }
}

/// A size that is not negative; 0: no limit.
fn size(values: &Values, key: &str, context: &str, findings: &mut Findings) -> usize {
    let number = values.int(key).unwrap_or(0);
    if number < 0 {
        let text = format!("{context}{key} is {number} – no limit is 0, which is used");
        findings.mistake(values.place(key), text);
    }
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}

fn health_name(top: &Values, findings: &mut Findings) -> String {
    let given = top.text("health_check_endpoint_name");
    let name = given.trim_start_matches('/');
    if name != given {
        let text = format!("health_check_endpoint_name is \"{given}\" – using \"{name}\"; drop the slash");
        findings.mistake(top.place("health_check_endpoint_name"), text);
    }
    if name.is_empty() {
        "health".to_owned()
    } else {
        name.to_owned()
    }
}

fn health_port(top: &Values, findings: &mut Findings) -> u16 {
    match top.int("health_check_endpoint_port").unwrap_or(0) {
        0 => 8083,
        port => u16::try_from(port).unwrap_or_else(|_| {
            let text = format!("health_check_endpoint_port is {port} – write a port from 1 to 65535");
            findings.fatal(top.place("health_check_endpoint_port"), text);
            8083
        }),
    }
}

fn statsd(top: &Values, env: &mut Environment, findings: &mut Findings) -> Option<StatsdSettings> {
    if env.take("TYK_INSTRUMENTATION").as_deref() != Some("1") {
        return None;
    }
    let address = top.text("statsd_connection_string").to_owned();
    if address.is_empty() {
        let text = "Instrumentation is enabled, but no connectionstring set for statsd – set statsd_connection_string";
        findings.error(Place::Variable("TYK_INSTRUMENTATION".to_owned()), text);
        return None;
    }
    let prefix = top.text("statsd_prefix").to_owned();
    Some(StatsdSettings { address, prefix })
}

fn delivery(values: &Values, request: &Request, findings: &mut Findings) -> DeliverySettings {
    let mode = match values.text("mode").to_lowercase().as_str() {
        "" | "auto" => ModeChoice::Auto,
        "claims" => ModeChoice::Claims,
        "peek" => ModeChoice::Peek,
        "legacy" => ModeChoice::Legacy,
        other => {
            let near = did_you_mean(other, ["auto", "claims", "peek", "legacy"]);
            let text = format!("delivery.mode is \"{other}\"{near} – using auto (auto, claims, peek, legacy)");
            findings.error(values.place("mode"), text);
            ModeChoice::Auto
        }
    };
    let bad = |key: &str, findings: &mut Findings| {
        let setting = DELIVERY.find(key);
        let (words, default) = setting.map_or(("", ""), |setting| (setting.kind.words(), setting.default));
        let text = format!(
            "delivery.{key} is \"{}\" – write {words}; using {default}",
            values.text(key)
        );
        findings.error(values.place(key), text);
    };
    let span = |key: &str, default: u64, findings: &mut Findings| match values.text(key) {
        "" => Duration::from_secs(default),
        text => parse_span(text).filter(|span| !span.is_zero()).unwrap_or_else(|| {
            bad(key, findings);
            Duration::from_secs(default)
        }),
    };
    let bytes = |key: &str, findings: &mut Findings| match values.text(key) {
        "" => None,
        text => {
            let parsed = parse_bytes(text);
            if parsed.is_none() {
                bad(key, findings);
            }
            parsed
        }
    };
    let instance_id = match values.text("instance_id") {
        "" => default_instance_id(request),
        id => id.to_owned(),
    };
    DeliverySettings {
        mode,
        lease: span("lease", 30, findings),
        instance_id,
        max_unacked: bytes("max_unacked", findings),
        max_backlog: bytes("max_backlog", findings),
        memory_budget: bytes("memory_budget", findings).unwrap_or(48 << 20),
        spool_dir: Some(values.text("spool_dir"))
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from),
        stop_deadline: span("stop_deadline", 10, findings),
        write_stall: span("write_stall", 60, findings),
        dead_letter_max_count: values.int("dead_letter_max_count").map_or(100_000, i64::unsigned_abs),
        dead_letter_max_bytes: bytes("dead_letter_max_bytes", findings).unwrap_or(64 << 20),
    }
}

/// Host name and a short hash of the file's path, so that two pumps on one host are two instances.
fn default_instance_id(request: &Request) -> String {
    let path = std::path::absolute(&request.conf).unwrap_or_else(|_| request.conf.clone());
    format!(
        "{}-{:08x}",
        request.host,
        crc32fast::hash(path.as_os_str().as_encoded_bytes())
    )
}

fn pump(entry: &PumpEntry, inherited: &Inherited, findings: &mut Findings) -> PumpSettings {
    let values = &entry.values;
    let context = format!("pump \"{}\": ", entry.spelled);
    let compat = values.switch("compat").unwrap_or(inherited.compat);
    let mut transform = Transform {
        omit_detailed: values.is_on("omit_detailed_recording") || inherited.omit_detailed,
        max_record_size: match size(values, "max_record_size", &context, findings) {
            0 => inherited.max_record_size,
            own => own,
        },
        ignored: ignored(values, &context, findings),
        decode_request: values.is_on("raw_request_decoded"),
        decode_response: values.is_on("raw_response_decoded"),
    };
    if entry
        .known()
        .and_then(Known::built)
        .is_some_and(|spec| !spec.decodes_bodies)
    {
        for (key, on) in [
            ("raw_request_decoded", &mut transform.decode_request),
            ("raw_response_decoded", &mut transform.decode_response),
        ] {
            if std::mem::take(on) {
                findings.warn(
                    values.place(key),
                    format!("{context}{key} has no effect on pumps of this type – remove it"),
                );
            }
        }
    }
    let seconds = values.int("timeout").unwrap_or(0);
    if seconds < 0 {
        findings.mistake(
            values.place("timeout"),
            format!("{context}timeout is {seconds} – no limit is 0, which is used"),
        );
    }
    if !entry.has_meta
        && !entry.meta_unusable
        && entry.env_prefix.is_none()
        && entry.known().is_some_and(|kind| !kind.env_prefix().is_empty())
    {
        let text = format!("{context}meta is missing – every option of its type has its default");
        findings.warn(entry.place.clone(), text);
    }
    PumpSettings {
        name: Arc::from(entry.name.as_str()),
        kind: entry.kind(),
        filter: filter(values),
        transform,
        timeout: (seconds > 0).then(|| Duration::from_secs(seconds.unsigned_abs())),
        compat,
        most_per_second: NonZeroU64::new(values.int("max_records_per_second").unwrap_or(0).max(0).unsigned_abs()),
        on_full: on_full(values, &context, inherited.spool, findings),
        meta: Value::Object(entry.meta.clone()),
        refused: refusal(entry, &context, findings),
    }
}

fn ignored(values: &Values, context: &str, findings: &mut Findings) -> u64 {
    let mut ignored = 0;
    for name in values.texts("ignore_fields") {
        match Field::by_json(name) {
            Some(field) => ignored |= 1 << field as u64,
            None => {
                let near = did_you_mean(name, FIELDS.iter().filter_map(|field| field.json));
                let text = format!("{context}ignore_fields: \"{name}\" is no field, nothing is blanked for it{near}");
                findings.mistake(values.place("ignore_fields"), text);
            }
        }
    }
    ignored
}

fn filter(values: &Values) -> Filter {
    Filter {
        skip_api_ids: values.texts("filters.skip_api_ids").to_vec(),
        skip_org_ids: values.texts("filters.skip_org_ids").to_vec(),
        skip_response_codes: values.ints("filters.skip_response_codes").to_vec(),
        api_ids: values.texts("filters.api_ids").to_vec(),
        org_ids: values.texts("filters.org_ids").to_vec(),
        response_codes: values.ints("filters.response_codes").to_vec(),
    }
}

fn on_full(values: &Values, context: &str, spool: bool, findings: &mut Findings) -> OnFull {
    let default = if spool { OnFull::Spool } else { OnFull::DropOldest };
    match values.text("on_full") {
        "" => default,
        "drop_oldest" => OnFull::DropOldest,
        "block" => OnFull::Block,
        "spool" if spool => OnFull::Spool,
        "spool" => {
            let text = format!("{context}on_full is \"spool\", but delivery.spool_dir is missing – using drop_oldest");
            findings.error(values.place("on_full"), text);
            default
        }
        other => {
            let near = did_you_mean(other, ["spool", "drop_oldest", "block"]);
            let text = format!("{context}on_full is \"{other}\"{near} – write spool, drop_oldest or block");
            findings.error(values.place("on_full"), text);
            default
        }
    }
}

/// Why a pump must not start, if so. The reason is a finding too.
fn refusal(entry: &PumpEntry, context: &str, findings: &mut Findings) -> Option<String> {
    let kind = entry.kind();
    let refused = match entry.known() {
        None => format!("{context}{}", unknown_type(entry, &kind)),
        Some(Known::Absent(absent)) => {
            format!(
                "{context}pump type \"{}\" {} – it is skipped",
                absent.name, absent.missing
            )
        }
        Some(Known::Built(_)) => {
            let filters = PUMP
                .settings
                .iter()
                .filter(|setting| setting.key.starts_with("filters."));
            // A filter that is left out would let through, or hold back, records that were not meant; with defaults in place
            // of its options a pump would write where nobody looks.
            let mut broken = filters
                .map(|setting| setting.key)
                .filter(|key| entry.values.is_unusable(key))
                .chain(entry.meta_unusable.then_some("meta"));
            let broken = broken.next()?;
            format!("{context}it does not start, because {broken} cannot be used – correct it")
        }
    };
    let place = match entry.values.place("type") {
        Place::Missing => entry.place.clone(),
        place => place,
    };
    findings.error(place, refused.clone());
    Some(refused)
}

fn unknown_type(entry: &PumpEntry, kind: &str) -> String {
    let old_name = entry.values.text("name");
    if entry.values.text("type").is_empty() && sinks::find_known(old_name).is_some() {
        return format!("\"name\" is ignored – write \"type\": \"{}\"", old_name.to_lowercase());
    }
    match sinks::suggest(kind) {
        Some(near) => format!("unknown type \"{kind}\" – did you mean \"{near}\"?"),
        None => format!("unknown type \"{kind}\" – the types are listed in docs/sinks"),
    }
}
