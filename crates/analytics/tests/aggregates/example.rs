//! Six records whose figures the reference has been seen to write.

use analytics::{
    Text,
    aggregate::{Aggregate, Bucketing, Dimension, Engine, Rules},
    record::Builder,
};

use crate::{clock, connection, entry, figures, keys, latency, one, record, tracked};

const V1: &str = "YXBpMTp2MQ";
const B1: &str = "YXBpMTovb3JkZXJzL2xpc3QuanNvbg";
const B2: &str = "YXBpMjovdXNlcnM";
const H1: &str = "617069313a76313a2f6f72646572732f6c6973742e6a736f6e";
const H2: &str = "617069323a3a2f7573657273";
const E1: &str = r"/orders/list\u2ejson";

pub(crate) fn records() -> Vec<Builder> {
    let orders = |code, time| {
        let mut builder = record("org1", "api1", code, time);
        builder.text(Text::ApiName, "Orders").text(Text::ApiVersion, "v1");
        builder
    };
    let mobile = |builder: &mut Builder| {
        builder
            .text(Text::ApiKey, "aa11")
            .text(Text::Alias, "mobile-app")
            .text(Text::GeoCountryIsoCode, "GB");
        tracked(builder, "/orders/list.json");
    };
    let mut first = orders(
        200,
        analytics::Time {
            nanos: 345_000_000,
            ..clock(10, 5, 12)
        },
    );
    mobile(&mut first);
    latency(&mut first, 30, 30, 20);
    first.tags(["key-aa11", "org-org1", "eu.west"]);

    let mut second = orders(500, clock(10, 5, 40));
    mobile(&mut second);
    latency(&mut second, 5, 5, 1);
    second.tags(["eu.west", " beta "]);

    let mut third = record("org1", "api2", 302, clock(10, 6, 0));
    third.text(Text::ApiName, "Users").text(Text::OauthId, "client-9");
    tracked(&mut third, "/users");
    latency(&mut third, 10, 10, 4);

    let mut fourth = record("org1", "api1", -1, clock(10, 6, 30));
    fourth.text(Text::ApiName, "Orders");
    connection(&mut fourth, 3, 1, 500, 700);

    let mut fifth = record("org2", "api3", 404, clock(10, 7, 0));
    fifth
        .text(Text::ApiName, "Billing")
        .text(Text::ApiVersion, "v2")
        .text(Text::ApiKey, "cc33")
        .text(Text::Path, "/pay")
        .text(Text::GeoCountryIsoCode, "US")
        .tags(["beta"]);
    latency(&mut fifth, 40, 40, 0);

    let mut sixth = orders(200, clock(11, 2, 0));
    sixth
        .text(Text::ApiKey, "bb22")
        .text(Text::Path, "/orders/list.json")
        .tags(["beta"]);
    latency(&mut sixth, 20, 20, 5);
    vec![first, second, third, fourth, fifth, sixth]
}

fn rules(compat: bool) -> Rules {
    Rules {
        ignore_tag_prefixes: vec![b"org-".to_vec()],
        bucketing: if compat {
            Bucketing::FirstRecord
        } else {
            Bucketing::OwnTime
        },
        answered_minima: !compat,
        compat,
        ..Rules::default()
    }
}

fn run(rules: &Rules) -> Vec<Aggregate> {
    crate::aggregate(Engine::Rest, rules, &records())
}

#[test]
fn the_figures_of_the_reference_come_out_in_compat() {
    let rules = rules(true);
    let mut aggregates = run(&rules);
    let (other, ours) = (aggregates.pop().unwrap(), one(aggregates));
    assert_eq!((*ours.owner).as_ref(), b"org1");
    assert_eq!(ours.bucket, clock(10, 0, 0));
    assert_eq!(ours.last_time, clock(11, 2, 0));
    assert_eq!(
        (ours.first_time.seconds, ours.expire_at),
        (clock(10, 5, 12).seconds, crate::EXPIRY)
    );

    let total = &ours.total;
    assert_eq!(figures(total), "4 2 1 65 16.25 65 30 30/20 20/5 500:1");
    assert_eq!(total.last_time, clock(11, 2, 0));
    let traffic = [
        total.open_connections,
        total.closed_connections,
        total.bytes_in,
        total.bytes_out,
    ];
    assert_eq!(traffic, [3, 1, 500, 700]);

    let mobile = "2 1 1 35 17.5 35 21 30/30 20/20 500:1";
    let redirect = "1 0 0 10 10 10 4 10/10 4/4";
    let orders = "3 2 1 55 18.333333333333332 55 26 30/20 20/5 500:1";
    let want = [
        (Dimension::ApiId, "api1", orders, "api1", "Orders"),
        (Dimension::ApiId, "api2", redirect, "api2", "Users"),
        (Dimension::Errors, "500", "1 0 1 5 5 5 1 5/5 1/1 500:1", "500", ""),
        (Dimension::Versions, V1, orders, "v1", "v1"),
        (Dimension::ApiKeys, "aa11", mobile, "aa11", "mobile-app"),
        (Dimension::ApiKeys, "bb22", "1 1 0 20 20 20 5 20/20 5/5", "bb22", ""),
        (Dimension::OauthIds, "client-9", redirect, "client-9", ""),
        (Dimension::Geo, "GB", mobile, "GB", "GB"),
        (
            Dimension::Tags,
            "beta",
            "2 1 1 25 12.5 25 6 20/5 5/1 500:1",
            "beta",
            "beta",
        ),
        (Dimension::Tags, "euwest", mobile, "euwest", "euwest"),
        (
            Dimension::Endpoints,
            E1,
            mobile,
            "/orders/list.json",
            "/orders/list.json",
        ),
        (Dimension::Endpoints, "/users", redirect, "/users", "/users"),
        (Dimension::KeyEndpoints, &format!("aa11.{B1}"), mobile, B1, B1),
        (Dimension::OauthEndpoints, &format!("client-9.{B2}"), redirect, B2, B2),
        (Dimension::ApiEndpoints, H1, mobile, H1, "/orders/list.json"),
        (Dimension::ApiEndpoints, H2, redirect, H2, "/users"),
    ];
    assert_eq!(ours.entries.len(), want.len());
    for (entry, (dimension, value, line, identifier, human)) in ours.entries.iter().zip(want) {
        assert_eq!((entry.dimension, &*entry.value()), (dimension, value.as_bytes()));
        assert_eq!(figures(&entry.counter), line, "{dimension:?} {value}");
        assert_eq!(entry.identifier(), identifier.as_bytes(), "{dimension:?} {value}");
        assert_eq!(entry.human_identifier(), human.as_bytes(), "{dimension:?} {value}");
    }
    let api = &entry(&ours, Dimension::ApiId, "api1").counter;
    let traffic = [
        api.open_connections,
        api.closed_connections,
        api.bytes_in,
        api.bytes_out,
    ];
    assert_eq!((traffic, api.last_time.nanos), ([0, 0, 500, 700], 345_000_000));
    assert_eq!(
        entry(&ours, Dimension::Tags, "beta").counter.last_time,
        clock(10, 5, 40)
    );
    let nested = entry(&ours, Dimension::KeyEndpoints, &format!("aa11.{B1}"));
    assert_eq!((nested.outer(), nested.key()), (b"aa11".as_slice(), B1.as_bytes()));

    assert_eq!(other.last_time, clock(10, 7, 0));
    let line = "1 0 1 40 40 40 0 40/40 0/0 404:1";
    assert_eq!(figures(&other.total), line);
    assert!(
        other
            .entries
            .iter()
            .all(|entry| figures(&entry.counter) == line && !entry.counter.has_minimum())
    );
    let dimensions: Vec<_> = other.entries.iter().map(|entry| entry.dimension.name()).collect();
    assert_eq!(dimensions, ["apiid", "errors", "versions", "apikeys", "geo", "tags"]);
}

#[test]
fn each_record_is_booked_into_its_own_hour() {
    let rules = rules(false);
    let aggregates = run(&rules);
    let owners: Vec<_> = aggregates.iter().map(|one| (&*one.owner, one.bucket)).collect();
    let want: [(&[u8], _); 3] = [
        (b"org1", clock(10, 0, 0)),
        (b"org1", clock(11, 0, 0)),
        (b"org2", clock(10, 0, 0)),
    ];
    assert_eq!(owners, want);
    assert_eq!(figures(&aggregates[0].total), "3 1 1 45 15 45 25 30/30 20/20 500:1");
    assert_eq!(figures(&aggregates[1].total), "1 1 0 20 20 20 5 20/20 5/5");
    assert_eq!(keys(&aggregates[1], Dimension::Tags), ["beta"]);
}

#[test]
fn an_error_that_comes_first_does_not_set_the_minimum() {
    let rules = Rules {
        bucketing: Bucketing::FirstRecord,
        ..rules(false)
    };
    let aggregates = run(&rules);
    let beta = entry(&aggregates[0], Dimension::Tags, "beta");
    assert_eq!(figures(&beta.counter), "2 1 1 25 12.5 25 6 20/20 5/5 500:1");
}
