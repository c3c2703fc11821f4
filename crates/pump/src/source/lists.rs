//! The lists that gateways push to, and the key where Tyk Dashboard looks for this product.

use std::sync::Arc;

use analytics::{Key, RecordKind, Wire};

/// Prefix of the uptime list; fixed, as `key_prefix` does not apply to it.
const UPTIME_PREFIX: &str = "host-checker:";
/// Where Tyk Dashboard looks for the version of the pump.
pub const VERSION_KEY: &str = "version-check-pump";

/// The lists in the order in which they are read; the uptime list last, if wanted.
pub fn keys(prefix: &str, uptime: bool) -> Vec<Arc<Key>> {
    let mut keys = Vec::with_capacity(23);
    let mut add = |short: String, wire, records, prefix: &str| {
        keys.push(Arc::new(Key {
            name: format!("{prefix}{short}").into(),
            short: short.into(),
            wire,
            records,
        }));
    };
    for shard in std::iter::once(String::new()).chain((0..10).map(|shard| format!("_{shard}"))) {
        for (suffix, wire) in [("", Wire::Msgpack), ("_protobuf", Wire::Protobuf)] {
            let short = format!("tyk-system-analytics{shard}{suffix}");
            add(short, wire, RecordKind::Traffic, prefix);
        }
    }
    if uptime {
        let short = "tyk-uptime-analytics".to_owned();
        add(short, Wire::Msgpack, RecordKind::Uptime, UPTIME_PREFIX);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_come_in_the_order_of_the_reference() {
        let keys = keys("analytics-", true);
        let names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
        assert_eq!(names.len(), 23);
        assert_eq!(names[0], "analytics-tyk-system-analytics");
        assert_eq!(names[1], "analytics-tyk-system-analytics_protobuf");
        assert_eq!(names[2], "analytics-tyk-system-analytics_0");
        assert_eq!(names[21], "analytics-tyk-system-analytics_9_protobuf");
        assert_eq!(names[22], "host-checker:tyk-uptime-analytics");
        assert_eq!(&*keys[22].short, "tyk-uptime-analytics");
    }
}
