//! Global keys, and those of delivery.

use super::{
    Kind::{Bool, Bytes, Int, Secret, Span, Text, Texts, Uint},
    Section, setting,
};

/// The document itself.
#[rustfmt::skip]
pub const TOP: Section = Section {
    key: "",
    prefixes: &["TYK_PMP_"],
    ours: false,
    objects: &["pumps", "analytics_storage_config", "uptime_pump_config", "delivery", "embedded_storage", "kv"],
    settings: &[
        setting("purge_delay", "PURGEDELAY", Int, "1", "How often, in seconds, the lists are looked at when there is no backlog; a backlog is drained without waiting."),
        setting("purge_chunk", "PURGECHUNK", Int, "0", "At most this many records in one batch; 0 leaves it to the pump."),
        setting("storage_expiration_time", "STORAGEEXPIRATIONTIME", Int, "60 with `purge_chunk`", "Seconds that a list may live after a chunked pop (`legacy` mode only: claimed records never expire)."),
        setting("analytics_storage_type", "ANALYTICSSTORAGETYPE", Text, "redis", "Where the records wait: `redis`, or empty; `embedded`: in a store of the pump's own, see `embedded_storage`."),
        setting("max_record_size", "MAXRECORDSIZE", Int, "0", "Raw request and response are cut to this many bytes for every pump that has no limit of its own; 0 is no limit."),
        setting("dont_purge_uptime_data", "DONTPURGEUPTIMEDATA", Bool, "false", "Leaves uptime data in Redis."),
        setting("omit_detailed_recording", "OMITDETAILEDRECORDING", Bool, "false", "Blanks raw request and response for every pump."),
        setting("log_level", "LOGLEVEL", Text, "info", "Least severe log lines that are written: `error`, `warn`, `info` or `debug`. `TYK_LOGLEVEL` goes before it."),
        setting("log_format", "LOGFORMAT", Text, "text", "Form of log lines: `text`, `json` or `legacy`. `TYK_LOGFORMAT` goes before it."),
        setting("health_check_endpoint_name", "HEALTHCHECKENDPOINTNAME", Text, "health", "Path of the health endpoint."),
        setting("health_check_endpoint_port", "HEALTHCHECKENDPOINTPORT", Int, "8083", "Port of the health endpoint and of the pump's other pages."),
        setting("admin_listen", "ADMINLISTEN", Text, "", "`address:port` of the pump's other pages and of what `tyk-pump lane` and `tyk-pump dlq replay` ask for. The port of the health endpoint then answers that, `/livez` and `/readyz` alone. With the same port as the health endpoint this is the one address of everything."),
        setting("admin_token", "ADMINTOKEN", Secret, "", "What whoever changes the fate of records or takes a profile must send as `Authorization: Bearer …`, from wherever it comes. Without one only programs on this machine may."),
        setting("admin_hosts", "ADMINHOSTS", Texts, "", "Names of this machine, beside `localhost`, that a request without a token may be sent to."),
        setting("enable_http_profiler", "HTTPPROFILE", Bool, "false", "Adds profiles of the process below `/debug/pprof` on that port."),
        setting("statsd_connection_string", "STATSDCONNECTIONSTRING", Text, "", "`host:port` of a StatsD server for the pump's own figures; `TYK_INSTRUMENTATION=1` switches them on."),
        setting("statsd_prefix", "STATSDPREFIX", Text, "", "First part of the names of these figures, without trailing dot."),
        setting("omit_config_file", "OMITCONFIGFILE", Bool, "false", "As the variable `TYK_PMP_OMITCONFIGFILE`: the file is not read. In the file itself it has no effect."),
        setting("raw_request_decoded", "DECODERAWREQUEST", Bool, "false", "Deprecated, without effect: set it in each pump."),
        setting("raw_response_decoded", "DECODERAWRESPONSE", Bool, "false", "Deprecated, without effect: set it in each pump."),
        setting("compat", "COMPAT", Bool, "false", "Writes the old values where this pump corrects what the original pump got wrong (see the differences), and reads environment variables under its names alone."),
    ],
};

/// How records get from Redis to the sinks.
#[rustfmt::skip]
pub const DELIVERY: Section = Section {
    key: "delivery",
    prefixes: &["TYK_PMP_DELIVERY_"],
    ours: true,
    objects: &[],
    settings: &[
        setting("mode", "MODE", Text, "auto", "How records are taken: `auto`, `claims`, `peek` or `legacy` (the original pump's way, which can lose records)."),
        setting("lease", "LEASE", Span, "30s", "After this time without a sign of life another instance takes over claims."),
        setting("instance_id", "INSTANCE_ID", Text, "host name and a hash of the file's path", "Name of this instance; a restarted process with the same name takes its claims over at once."),
        setting("max_unacked", "MAX_UNACKED", Bytes, "256MiB, or 10 % of `maxmemory` if that is less", "What failing pumps may keep waiting in Redis."),
        setting("max_backlog", "MAX_BACKLOG", Bytes, "8 × `max_unacked`", "What all claims together may hold in Redis."),
        setting("memory_budget", "MEMORY_BUDGET", Bytes, "48MiB", "Records that this process holds in memory."),
        setting("spool_dir", "SPOOL_DIR", Text, "", "Folder for records of failing pumps when Redis shall not hold more of them."),
        setting("stop_deadline", "STOP_DEADLINE", Span, "10s", "How long running writes may take after a stop signal."),
        setting("write_stall", "WRITE_STALL", Span, "60s", "How long a write may go on without a record being accepted before its pump counts as failing and the instance is no longer ready."),
        setting("dead_letter_max_count", "DEAD_LETTER_MAX_COUNT", Uint, "100000", "Rows that a pump keeps as dead letters; the oldest goes first."),
        setting("dead_letter_max_bytes", "DEAD_LETTER_MAX_BYTES", Bytes, "64MiB", "Bytes that a pump keeps as dead letters; the oldest goes first."),
    ],
};

/// A store of secrets, below `kv.stores.<name>`.
pub const STORE_KEYS: &[&str] = &["type", "required", "config"];
