//! Rules of single dimensions.

use std::sync::Arc;

use analytics::{
    Flag, Text, Time, When, Zone,
    aggregate::{Bucketing, Dimension, Dimensions, Engine, Filling, Rules, Window},
    record::Builder,
};

use crate::{aggregate, clock, connection, entry, figures, keys, latency, one, record, tracked};

fn rest(rules: &Rules, records: &[Builder]) -> analytics::aggregate::Aggregate {
    one(aggregate(Engine::Rest, rules, records))
}

#[test]
fn records_without_organisation_and_those_of_other_engines_are_left_out() {
    let mut graph = record("org", "api", 200, clock(1, 0, 0));
    graph.flag(Flag::IsGraphQl, true);
    let mut mcp = record("org", "api", 200, clock(1, 0, 0));
    mcp.flag(Flag::IsMcp, true);
    let none = record("", "api", 200, clock(1, 0, 0));
    assert_eq!(aggregate(Engine::Rest, &Rules::default(), &[graph, mcp, none]), []);
}

#[test]
fn codes_are_success_error_or_neither() {
    let codes = [200, 299, 300, 304, 0, 100, -7, 400, 999, 1000, 199];
    let records: Vec<_> = codes.map(|code| record("org", "api", code, clock(1, 0, 0))).into();
    let got = rest(&Rules::default(), &records);
    let counter = &got.total;
    assert_eq!((counter.hits, counter.success, counter.error), (11, 2, 3));
    assert_eq!(keys(&got, Dimension::Errors), ["1000", "400", "999"]);
    assert_eq!(
        counter.codes.iter().collect::<Vec<_>>(),
        [(400, 1), (999, 1), (1000, 1)]
    );
}

#[test]
fn a_tag_is_cleaned_and_counted_as_often_as_it_occurs() {
    let mut one = record("org", "api", 200, clock(1, 0, 0));
    one.tags(["a.b", "ab", " key-x", "key-y", "...", "api-1", "Api-1"]);
    let rules = Rules {
        ignore_tag_prefixes: vec![b"api-".to_vec()],
        ..Rules::default()
    };
    let got = rest(&rules, &[one.clone()]);
    assert_eq!(keys(&got, Dimension::Tags), ["Api-1", "ab", "key-x"]);
    assert_eq!(entry(&got, Dimension::Tags, "ab").counter.hits, 2);
    let rules = Rules {
        ignore_tag_prefixes: vec![Vec::new()],
        ..Rules::default()
    };
    assert_eq!(keys(&rest(&rules, &[one]), Dimension::Tags), [""; 0]);
}

#[test]
fn names_are_those_of_the_last_record() {
    let named = |name: &str, alias: &str| {
        let mut builder = record("org", "api", 200, clock(1, 0, 0));
        builder
            .text(Text::ApiName, name)
            .text(Text::ApiKey, "key")
            .text(Text::Alias, alias);
        builder
    };
    let got = rest(&Rules::default(), &[named("old", "phone"), named("new", "")]);
    assert_eq!(entry(&got, Dimension::ApiId, "api").human_identifier(), b"new");
    assert_eq!(entry(&got, Dimension::ApiKeys, "key").human_identifier(), b"");
}

#[test]
fn endpoints_are_counted_for_tracked_records_or_for_all() {
    let mut tracks = record("org", "api", 200, clock(1, 0, 0));
    tracked(&mut tracks, "/a.b");
    let mut silent = record("org", "api", 200, clock(1, 0, 0));
    silent.text(Text::Path, "/c");
    let records = [tracks, silent];
    assert_eq!(
        keys(&rest(&Rules::default(), &records), Dimension::Endpoints),
        [r"/a\u2eb"]
    );
    let all = Rules {
        track_all_paths: true,
        ..Rules::default()
    };
    assert_eq!(keys(&rest(&all, &records), Dimension::Endpoints), [r"/a\u2eb", "/c"]);
}

#[test]
fn an_empty_path_is_no_endpoint_where_no_key_can_be_empty() {
    let mut pathless = record("org", "api", 200, clock(1, 0, 0));
    tracked(&mut pathless, "");
    let keyed = Rules {
        escape_keys: true,
        ..Rules::default()
    };
    assert_eq!(rest(&keyed, &[pathless.clone()]).entries.len(), 1);
    assert_eq!(keys(&rest(&Rules::default(), &[pathless]), Dimension::Endpoints), [""]);
}

#[test]
fn keys_with_one_stored_form_share_an_entry() {
    let at = |api: &str, version: &str, path: &str| {
        let mut builder = record("org", api, 200, clock(1, 0, 0));
        builder.text(Text::ApiVersion, version);
        tracked(&mut builder, path);
        builder
    };
    let got = rest(&Rules::default(), &[at("a:b", "c", "/x.y"), at("a", "b:c", r"/x\u2ey")]);
    for dimension in [Dimension::Versions, Dimension::Endpoints] {
        let [shared] = got.dimension(dimension) else {
            panic!("{:?}", got.dimension(dimension));
        };
        assert_eq!(shared.counter.hits, 2);
    }
    assert_eq!(got.dimension(Dimension::Versions)[0].identifier(), b"b:c");
    assert_eq!(got.dimension(Dimension::Endpoints)[0].identifier(), br"/x\u2ey");
}

#[test]
fn keys_are_safe_in_paths_of_mongodb_when_asked_for() {
    let mut builder = record("org", "a.p$i", 200, clock(1, 0, 0));
    builder
        .text(Text::ApiName, "name")
        .text(Text::ApiKey, "$key")
        .text(Text::GeoCountryIsoCode, "G\0B");
    tracked(&mut builder, "/x");
    let rules = Rules {
        escape_keys: true,
        ..Rules::default()
    };
    let got = rest(&rules, &[builder]);
    let api = entry(&got, Dimension::ApiId, r"a\u2ep$i");
    assert_eq!(
        (api.identifier(), api.human_identifier()),
        (b"a.p$i".as_slice(), b"name".as_slice())
    );
    assert_eq!(entry(&got, Dimension::ApiKeys, r"\u0024key").identifier(), b"$key");
    let geo = entry(&got, Dimension::Geo, "GB");
    assert_eq!(
        (geo.identifier(), geo.human_identifier()),
        (b"G\0B".as_slice(), b"G\0B".as_slice())
    );
    assert_eq!(got.dimension(Dimension::KeyEndpoints)[0].outer(), br"\u0024key");
}

#[test]
fn ignored_dimensions_are_not_counted() {
    let mut builder = record("org", "api", 500, clock(1, 0, 0));
    tracked(&mut builder, "/x");
    let names = ["APIID", "errors", "Endpoints", "nonsense"];
    let rules = Rules {
        ignored: names
            .into_iter()
            .filter_map(Dimension::ignorable)
            .collect::<Dimensions>(),
        ..Rules::default()
    };
    let got = rest(&rules, &[builder]);
    let left: Vec<_> = got.entries.iter().map(|entry| entry.dimension).collect();
    assert_eq!(
        (left.as_slice(), got.total.error),
        ([Dimension::ApiEndpoints].as_slice(), 1)
    );
}

#[test]
fn a_connection_before_an_error_ends_nothing_and_spoils_no_minimum() {
    let mut network = record("org", "api", -1, clock(1, 5, 0));
    connection(&mut network, 2, 1, 10, 20);
    let mut failed = record("org", "api", 500, clock(1, 6, 0));
    latency(&mut failed, 3, 3, 2);
    let mut good = record("org", "api", 200, clock(1, 7, 0));
    latency(&mut good, 9, 9, 8);
    let records = [network.clone(), network, failed, good];
    let got = rest(&Rules::default(), &records);
    let api = entry(&got, Dimension::ApiId, "api");
    assert_eq!(figures(&api.counter), "2 1 1 12 6 12 10 9/9 8/8 500:1");
    assert_eq!((api.counter.last_time, api.counter.bytes_out), (clock(1, 5, 0), 40));
    assert_eq!((got.total.open_connections, got.total.closed_connections), (4, 2));
    for (compat, time) in [(false, clock(1, 5, 0)), (true, Time::ZERO)] {
        let reference = Rules {
            answered_minima: false,
            compat,
            ..Rules::default()
        };
        let got = rest(&reference, &records);
        let api = &entry(&got, Dimension::ApiId, "api").counter;
        assert_eq!((api.min_latency, api.last_time), (0, time));
    }
}

#[test]
fn averages_without_hits_are_zero() {
    let got = rest(&Rules::default(), &[record("org", "api", -1, clock(1, 0, 0))]);
    let averages = [
        got.total.request_time(),
        got.total.latency(),
        got.total.upstream_latency(),
    ];
    assert_eq!((averages, got.total.has_minimum()), ([0.0; 3], false));
}

#[test]
fn a_filled_window_is_shared_by_organisations_and_goes_on_with_the_next_batch() {
    let rules = Rules {
        window: Window::minutes(15).unwrap(),
        bucketing: Bucketing::Filling(Arc::new(Filling::default())),
        ..Rules::default()
    };
    let buckets = |records: &[Builder]| -> Vec<Time> {
        let aggregates = aggregate(Engine::Rest, &rules, records);
        aggregates.iter().map(|aggregate| aggregate.bucket).collect()
    };
    let first = [
        record("a", "x", 200, clock(10, 17, 33)),
        record("b", "x", 200, clock(10, 20, 0)),
    ];
    assert_eq!(buckets(&first), [clock(10, 17, 0); 2]);
    let second = [
        record("a", "x", 200, clock(10, 31, 59)),
        record("a", "x", 200, clock(10, 40, 0)),
    ];
    assert_eq!(buckets(&second), [clock(10, 17, 0)]);
    assert_eq!(buckets(&[record("b", "x", 200, clock(10, 40, 0))]), [clock(10, 40, 0)]);
}

#[test]
fn buckets_follow_the_zone_of_the_record() {
    let zone = Zone::named(b"Asia/Kolkata").unwrap();
    let mut builder = record("org", "api", 200, clock(10, 17, 33));
    builder.time(
        When::TimeStamp,
        Time {
            zone,
            ..clock(10, 17, 33)
        },
    );
    let got = rest(&Rules::default(), &[builder]);
    assert_eq!(
        got.bucket,
        Time {
            zone,
            ..clock(9, 30, 0)
        }
    );
}
