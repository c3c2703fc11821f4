//! `embedded_storage`: the store that gateways push to when no Redis is wanted.

use super::{
    Kind::{Bytes, Int, Secret, Span, Text},
    Section, setting,
};

/// The pump's own store.
#[rustfmt::skip]
pub const EMBEDDED: Section = Section {
    key: "embedded_storage",
    prefixes: &["TYK_PMP_EMBEDDEDSTORAGE_"],
    ours: true,
    objects: &["tls"],
    settings: &[
        setting("listen", "LISTEN", Text, "127.0.0.1:6380", "Address and port on which gateways reach the store. Beyond this machine only with a password."),
        setting("dir", "DIR", Text, "tyk-pump-store", "Folder of the records. It belongs to one pump at a time."),
        setting("password", "PASSWORD", Secret, "", "Password that clients must give."),
        setting("username", "USERNAME", Text, "default", "User that goes with the password."),
        setting("tls.cert_file", "TLS_CERT_FILE", Text, "", "PEM file of the server's certificate; it switches TLS on and wants `tls.key_file` too."),
        setting("tls.key_file", "TLS_KEY_FILE", Text, "", "PEM file of its key."),
        setting("tls.client_ca_file", "TLS_CLIENT_CA_FILE", Text, "", "PEM file of the authorities whose client certificates are asked for; empty: none is asked for."),
        setting("max_bytes", "MAX_BYTES", Bytes, "10GiB", "Bytes on disk at which clients are refused with `-OOM` until records are delivered; at least 256MiB."),
        setting("fsync", "FSYNC", Text, "group", "When a client gets its reply: `group`, after a flush to the disk that it may share with others; `always`, after a flush of its own; `never`, when the operating system has the data (a power failure loses what it has not written yet)."),
        setting("max_clients", "MAX_CLIENTS", Int, "1000", "Connections at a time."),
        setting("max_command_size", "MAX_COMMAND_SIZE", Bytes, "64MiB", "Longest command, at most 64MiB."),
        setting("idle_timeout", "IDLE_TIMEOUT", Span, "10m", "A connection on which nothing happens for so long is closed."),
    ],
};
