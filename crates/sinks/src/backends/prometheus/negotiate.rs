//! What a scraper wants.

use hyper::{HeaderMap, header};

/// Forms of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Protobuf,
}

/// The form that `Accept` prefers among those there are. As with upstream, OpenMetrics is none of them: it has other names for
/// the same counters.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let mut wanted: Vec<(f64, Format)> = items(headers, header::ACCEPT).filter_map(media).collect();
    wanted.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    wanted.first().map_or(Format::Text, |(_, format)| *format)
}

/// Whether the page may be compressed.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    items(headers, header::ACCEPT_ENCODING).any(|item| {
        item.split(';')
            .next()
            .is_some_and(|name| name.trim().eq_ignore_ascii_case("gzip"))
            && weight(item) > 0.0
    })
}

fn items(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
}

fn parameter<'a>(item: &'a str, name: &str) -> Option<&'a str> {
    let mut parameters = item.split(';').skip(1).filter_map(|part| part.split_once('='));
    parameters
        .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().trim_matches('"'))
}

fn weight(item: &str) -> f64 {
    parameter(item, "q")
        .and_then(|weight| weight.parse().ok())
        .unwrap_or(1.0)
}

fn media(item: &str) -> Option<(f64, Format)> {
    let kind = item.split(';').next().unwrap_or_default().trim();
    let format = match kind {
        "application/vnd.google.protobuf" => {
            let is_ours = parameter(item, "proto") == Some("io.prometheus.client.MetricFamily")
                && parameter(item, "encoding") == Some("delimited");
            is_ours.then_some(Format::Protobuf)?
        }
        "text/plain" => {
            let version = parameter(item, "version");
            version
                .is_none_or(|version| version == "0.0.4")
                .then_some(Format::Text)?
        }
        _ => return None,
    };
    Some((weight(item), format)).filter(|(weight, _)| *weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_who_asks_for_it_gets_gzip() {
        let takes = |value: &str| takes_gzip(&asking(header::ACCEPT_ENCODING, value));
        for value in ["gzip", "deflate, gzip", "GZIP;q=0.5", "gzip;q=1.0, *;q=0"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "identity", "gzip;q=0", "gzip; q=0.0", "xgzip"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn protobuf_is_for_who_prefers_it() {
        const PROTOBUF: &str =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let format = |value: &str| super::format(&asking(header::ACCEPT, value));
        // Prometheus with native histograms, and without.
        assert_eq!(
            format(&format!("{PROTOBUF};q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.2")),
            Format::Protobuf
        );
        let open = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(format(open), Format::Text);
        assert_eq!(format(&format!("text/plain, {PROTOBUF};q=0.9")), Format::Text);
        assert_eq!(
            format(&format!("text/plain;version=1.0.0, {PROTOBUF};q=0.9")),
            Format::Protobuf
        );
        assert_eq!(format("application/vnd.google.protobuf"), Format::Text);
        assert_eq!(format(&format!("{PROTOBUF};q=0")), Format::Text);
        assert_eq!(format("*/*"), Format::Text);
        assert_eq!(super::format(&HeaderMap::new()), Format::Text);
    }
}
