//! `analytics_storage_config`: how to reach Redis.

use super::{
    Kind::{Bool, Int, Secret, Text, TextMap, Texts},
    Section, setting,
};

/// The Redis (or Valkey) that gateways push to.
#[rustfmt::skip]
pub const STORAGE: Section = Section {
    key: "analytics_storage_config",
    prefixes: &["TYK_PMP_ANALYTICSSTORAGECONFIG_", "TYK_PMP_REDIS_", "TYK_PMP_TEMPORAL_STORAGE_"],
    ours: false,
    objects: &["iam_auth"],
    settings: &[
        setting("type", "TYPE", Text, "redis", "Deprecated: `redis`, or empty."),
        setting("host", "HOST", Text, "127.0.0.1", "Host, unless `addrs` or `hosts` is set."),
        setting("port", "PORT", Int, "6379", "Port that belongs to `host`."),
        setting("hosts", "HOSTS", TextMap, "", "Deprecated: hosts with their ports, `{\"redis-1\": \"6379\"}`; write `addrs`."),
        setting("addrs", "ADDRS", Texts, "", "`host:port` of the server, or of every sentinel or cluster seed."),
        setting("master_name", "MASTERNAME", Text, "", "Name of the master that the sentinels watch; it makes `addrs` sentinels."),
        setting("sentinel_password", "SENTINELPASSWORD", Secret, "", "Password of the sentinels."),
        setting("username", "USERNAME", Text, "", "ACL user."),
        setting("password", "PASSWORD", Secret, "", "Password."),
        setting("database", "DATABASE", Int, "0", "Database number; clusters have only 0."),
        setting("timeout", "TIMEOUT", Int, "5", "Seconds for connecting, reading and writing."),
        setting("optimisation_max_idle", "MAXIDLE", Int, "", "Accepted, without effect."),
        setting("optimisation_max_active", "MAXACTIVE", Int, "", "Accepted, without effect: commands share their connections."),
        setting("enable_cluster", "ENABLECLUSTER", Bool, "false", "Redis Cluster."),
        setting("key_prefix", "KEYPREFIX", Text, "analytics-", "Prefix of the lists of records."),
        setting("redis_key_prefix", "REDISKEYPREFIX", Text, "", "Deprecated spelling of `key_prefix`, which goes before it."),
        setting("use_ssl", "USESSL", Bool, "false", "TLS."),
        setting("ssl_insecure_skip_verify", "SSLINSECURESKIPVERIFY", Bool, "false", "Does not verify the server's certificate."),
        setting("ssl_ca_file", "SSLCAFILE", Text, "", "PEM file of the authorities to trust, instead of the system's."),
        setting("ssl_cert_file", "SSLCERTFILE", Text, "", "PEM file of the client's certificate; wants `ssl_key_file` too."),
        setting("ssl_key_file", "SSLKEYFILE", Text, "", "PEM file of the client's key."),
        setting("ssl_max_version", "SSLMAXVERSION", Text, "1.3", "Newest version of TLS: `1.2` or `1.3`."),
        setting("ssl_min_version", "SSLMINVERSION", Text, "1.2", "Oldest version of TLS: `1.2` or `1.3`; older ones are raised to `1.2`."),
        setting("redis_use_ssl", "REDISUSESSL", Bool, "false", "Deprecated spelling of `use_ssl`."),
        setting("redis_ssl_insecure_skip_verify", "REDISSSLINSECURESKIPVERIFY", Bool, "false", "Deprecated spelling of `ssl_insecure_skip_verify`."),
        setting("iam_auth.enabled", "IAMAUTH_ENABLED", Bool, "false", "Log in with tokens of a cloud's IAM (not available yet)."),
        setting("iam_auth.provider", "IAMAUTH_PROVIDER", Text, "", "Cloud: `gcp`."),
        setting("iam_auth.service_account", "IAMAUTH_SERVICEACCOUNT", Text, "", "Service account to act as; empty: the application's own."),
        setting("iam_auth.token_refresh_before_expiry", "IAMAUTH_TOKENREFRESHBEFOREEXPIRY", Text, "5m", "How long before its end a token is renewed."),
    ],
};
