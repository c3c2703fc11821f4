//! The services, and how each is configured.

use serde_json::{Value, json};

use super::endpoint::Fault;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Protocol {
    Http,
    Tcp,
    Tls,
}

/// A service as one pump uses it.
pub(crate) struct Kind {
    /// Tells pumps apart.
    pub(crate) label: &'static str,
    /// Type of the pump.
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    /// What `/status` promises.
    pub(crate) guarantee: &'static str,
    /// Options without the address.
    pub(crate) options: fn() -> Value,
    /// Sets the address: URL and port.
    pub(crate) address: fn(&mut Value, &str, u16),
}

/// What `/status` says meanwhile.
pub(crate) struct Expected {
    pub(crate) state: &'static str,
    /// Part of the cause.
    pub(crate) cause: &'static str,
}

const RAW_VALUES: [&str; 3] = ["method", "path", "response_code"];

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        label: "elasticsearch",
        name: "elasticsearch",
        protocol: Protocol::Http,
        guarantee: "exactly once",
        options: || json!({}),
        address: |meta, url, _| meta["elasticsearch_url"] = url.into(),
    },
    Kind {
        label: "elasticsearch_singly",
        name: "elasticsearch",
        protocol: Protocol::Http,
        guarantee: "exactly once",
        options: || json!({"disable_bulk": true}),
        address: |meta, url, _| meta["elasticsearch_url"] = url.into(),
    },
    Kind {
        label: "elasticsearch_by_content",
        name: "elasticsearch",
        protocol: Protocol::Http,
        guarantee: "at least once",
        options: || json!({"generate_id": true}),
        address: |meta, url, _| meta["elasticsearch_url"] = url.into(),
    },
    Kind {
        label: "splunk",
        name: "splunk",
        protocol: Protocol::Http,
        guarantee: "at least once",
        options: || json!({"collector_token": "token", "enable_batch": true}),
        address: |meta, url, _| meta["collector_url"] = url.into(),
    },
    Kind {
        label: "splunk_singly",
        name: "splunk",
        protocol: Protocol::Http,
        guarantee: "at least once",
        options: || json!({"collector_token": "token"}),
        address: |meta, url, _| meta["collector_url"] = url.into(),
    },
    Kind {
        label: "splunk_acknowledged",
        name: "splunk",
        protocol: Protocol::Http,
        guarantee: "at least once",
        options: || json!({"collector_token": "token", "enable_batch": true, "use_ack": true}),
        address: |meta, url, _| meta["collector_url"] = url.into(),
    },
    Kind {
        label: "logzio",
        name: "logzio",
        protocol: Protocol::Http,
        guarantee: "at least once",
        options: || json!({"token": "token"}),
        address: |meta, url, _| meta["url"] = url.into(),
    },
    Kind {
        label: "moesif",
        name: "moesif",
        protocol: Protocol::Http,
        guarantee: "at least once",
        options: || json!({"application_id": "application", "enable_bulk": true, "bulk_config": {}}),
        address: |meta, url, _| meta["bulk_config"]["api_endpoint"] = url.into(),
    },
    Kind {
        label: "resurfaceio",
        name: "resurfaceio",
        protocol: Protocol::Http,
        guarantee: "at least once",
        options: || json!({"rules": "include debug\nskip_compression"}),
        address: |meta, url, _| meta["capture_url"] = url.into(),
    },
    Kind {
        label: "segment",
        name: "segment",
        protocol: Protocol::Http,
        guarantee: "at least once",
        options: || json!({"segment_write_key": "key", "anonymous": true}),
        address: |meta, url, _| meta["endpoint"] = format!("{url}/v1/batch").into(),
    },
    Kind {
        label: "graylog",
        name: "graylog",
        protocol: Protocol::Tcp,
        guarantee: "best effort",
        options: || json!({"host": "localhost", "transport": "tcp", "tags": RAW_VALUES}),
        address: |meta, _, port| meta["port"] = port.into(),
    },
    Kind {
        label: "graylog_tls",
        name: "graylog",
        protocol: Protocol::Tls,
        guarantee: "best effort",
        options: || json!({"host": "localhost", "transport": "tls", "tags": RAW_VALUES}),
        address: |meta, _, port| meta["port"] = port.into(),
    },
    Kind {
        label: "syslog",
        name: "syslog",
        protocol: Protocol::Tcp,
        guarantee: "best effort",
        options: || json!({"transport": "tcp", "log_level": 134}),
        address: |meta, _, port| meta["network_addr"] = format!("localhost:{port}").into(),
    },
    Kind {
        label: "syslog_tls",
        name: "syslog",
        protocol: Protocol::Tls,
        guarantee: "best effort",
        options: || json!({"transport": "tls", "log_level": 134, "format": "json", "framing": "octet_counting"}),
        address: |meta, _, port| meta["network_addr"] = format!("localhost:{port}").into(),
    },
];

impl Kind {
    /// What can be wrong with it.
    pub(crate) fn faults(&self) -> &'static [Fault] {
        match self.protocol {
            Protocol::Http => &[
                Fault::Refused,
                Fault::Slow,
                Fault::Silent,
                Fault::HangsUp,
                Fault::BreaksOff,
                Fault::Certificate,
                Fault::TooLarge,
                Fault::AllTooLarge,
                Fault::Status(401),
                Fault::Status(403),
                Fault::Status(404),
                Fault::Status(429),
                Fault::Status(503),
            ],
            Protocol::Tcp => &[Fault::Refused, Fault::Slow, Fault::HalfClosed],
            Protocol::Tls => &[
                Fault::Refused,
                Fault::Slow,
                Fault::Silent,
                Fault::HalfClosed,
                Fault::Certificate,
            ],
        }
    }

    /// What `/status` says while it is so.
    pub(crate) fn expected(&self, fault: Fault) -> Expected {
        let (state, cause) = match fault {
            Fault::Refused => ("retrying", "Connection refused"),
            // What TLS has to say goodbye with comes before the first record here: the service is not believed to read on.
            Fault::HalfClosed if self.protocol == Protocol::Tls => ("retrying", "it hung up after the handshake"),
            Fault::Slow | Fault::TooLarge | Fault::HalfClosed => ("running", ""),
            Fault::Silent => ("retrying", "no answer"),
            Fault::HangsUp => ("retrying", "connection"),
            Fault::BreaksOff => ("retrying", "cut off"),
            Fault::Certificate => ("paused", "certificate"),
            Fault::AllTooLarge => ("paused", "413"),
            Fault::Status(401) => ("paused", "401"),
            Fault::Status(403) => ("paused", "403"),
            Fault::Status(404) => ("paused", "404"),
            Fault::Status(429) => ("retrying", "429"),
            Fault::Status(_) => ("retrying", "503"),
        };
        Expected { state, cause }
    }

    /// Whether a record may come twice: the service had taken it, and could not say so.
    pub(crate) fn may_double(&self, fault: Fault) -> bool {
        self.guarantee == "at least once" && matches!(fault, Fault::Silent | Fault::BreaksOff)
    }
}
