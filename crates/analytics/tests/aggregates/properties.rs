//! What holds for any records.

use analytics::{
    Flag, Int, Text,
    aggregate::{Aggregate, Bucketing, Counter, Dimension, Engine, Rules, Window},
    record::Builder,
};
use proptest::prelude::*;

use crate::{aggregate, clock, connection, latency, record, tracked};

const CODES: [i64; 8] = [200, 201, 301, 404, 500, 0, -1, 200];

fn any_record() -> impl Strategy<Value = Builder> {
    let choice = || 0..3_usize;
    (
        (choice(), choice(), 0..CODES.len(), 0..7200_i64),
        (0..50_i64, 0..50_i64, choice(), choice(), choice()),
        (any::<bool>(), prop::collection::vec(choice(), 0..3)),
    )
        .prop_map(
            |((org, api, code, second), (total, upstream, key, client, path), (track, tags))| {
                let pick = |names: [&'static str; 3], at: usize| names[at];
                let mut builder = record(
                    pick(["o1", "o2", "o.3"], org),
                    pick(["a1", "a2", ""], api),
                    CODES[code],
                    clock(9, 0, second),
                );
                latency(&mut builder, total, total, upstream);
                connection(&mut builder, 1, 2, total, upstream);
                builder
                    .text(Text::ApiKey, pick(["", "k1", "k.2"], key))
                    .text(Text::OauthId, pick(["", "c1", "c2"], client))
                    .text(Text::ApiVersion, pick(["", "v1", "v2"], client))
                    .text(Text::GeoCountryIsoCode, pick(["", "GB", "US"], path))
                    .tags(tags.into_iter().map(|tag| pick(["t.1", "t1", "key-a"], tag)));
                tracked(&mut builder, pick(["/", "/x.y", "/z"], path));
                builder.flag(Flag::TrackPath, track);
                builder
            },
        )
}

fn records() -> impl Strategy<Value = Vec<Builder>> {
    prop::collection::vec(any_record(), 0..60)
}

fn rules() -> impl Strategy<Value = Rules> {
    (1..=60_i64, any::<bool>()).prop_map(|(minutes, escape_keys)| Rules {
        window: Window::minutes(minutes).unwrap(),
        escape_keys,
        ..Rules::default()
    })
}

fn sum(aggregates: &[Aggregate], dimension: Dimension, figure: impl Fn(&Counter) -> i64) -> i64 {
    let entries = aggregates.iter().flat_map(|aggregate| aggregate.dimension(dimension));
    entries.map(|entry| figure(&entry.counter)).sum()
}

/// Everything that may not depend on the order of records.
fn without_latest(mut aggregates: Vec<Aggregate>) -> Vec<String> {
    let counter = |counter: &Counter| {
        let traffic = [
            counter.open_connections,
            counter.closed_connections,
            counter.bytes_in,
            counter.bytes_out,
        ];
        format!("{} {traffic:?}", crate::figures(counter))
    };
    aggregates
        .iter_mut()
        .flat_map(|aggregate| {
            let head = format!(
                "{:?} {:?} {}",
                aggregate.owner,
                aggregate.bucket,
                counter(&aggregate.total)
            );
            let entries = aggregate.entries.iter().map(|entry| {
                let value = String::from_utf8_lossy(&entry.value()).into_owned();
                format!("{} {value} {}", entry.dimension.name(), counter(&entry.counter))
            });
            std::iter::once(head).chain(entries).collect::<Vec<_>>()
        })
        .collect()
}

proptest! {
    #[test]
    fn a_dimension_adds_up_to_the_total(records in records(), rules in rules()) {
        let got = aggregate(Engine::Rest, &rules, &records);
        let total = |figure: fn(&Counter) -> i64| got.iter().map(|one| figure(&one.total)).sum::<i64>();
        prop_assert_eq!(sum(&got, Dimension::Errors, |c| c.hits), total(|c| c.error));
        prop_assert_eq!(sum(&got, Dimension::Errors, |c| c.total_latency) <= total(|c| c.total_latency), true);
        let requests = |matches: &dyn Fn(&Builder) -> bool| {
            let hits = records.iter().filter(|one| one.view().int(Int::ResponseCode) != -1 && matches(one));
            hits.count() as i64
        };
        prop_assert_eq!(requests(&|_| true), total(|c| c.hits));
        let named = |field: Text| requests(&|one| !one.view().text(field).is_empty());
        prop_assert_eq!(sum(&got, Dimension::ApiId, |c| c.hits), named(Text::ApiId));
        prop_assert_eq!(sum(&got, Dimension::ApiKeys, |c| c.hits), named(Text::ApiKey));
        prop_assert_eq!(sum(&got, Dimension::Versions, |c| c.hits), named(Text::ApiVersion));
        let track = requests(&|one| one.view().flag(Flag::TrackPath));
        prop_assert_eq!(sum(&got, Dimension::Endpoints, |c| c.hits), track);
        prop_assert_eq!(sum(&got, Dimension::ApiEndpoints, |c| c.hits), track);
    }

    #[test]
    fn two_halves_merge_to_the_whole(records in records(), rules in rules(), at in 0..60_usize) {
        let (first, second) = records.split_at(at.min(records.len()));
        let mut merged = aggregate(Engine::Rest, &rules, first);
        for later in aggregate(Engine::Rest, &rules, second) {
            match merged.iter_mut().find(|one| (&one.owner, one.bucket) == (&later.owner, later.bucket)) {
                Some(one) => one.merge(later),
                None => merged.push(later),
            }
        }
        merged.sort_by(|a, b| (&a.owner, a.bucket.seconds).cmp(&(&b.owner, b.bucket.seconds)));
        prop_assert_eq!(merged, aggregate(Engine::Rest, &rules, &records));
    }

    #[test]
    fn the_order_of_records_does_not_matter(records in records().prop_shuffle(), rules in rules()) {
        let mut sorted = records.clone();
        sorted.sort_by_key(|one| format!("{:?}", one.view().text(Text::OrgId)) + &one.view().int(Int::LatencyTotal).to_string());
        let [a, b] = [&records, &sorted].map(|records| without_latest(aggregate(Engine::Rest, &rules, records)));
        prop_assert_eq!(a, b);
    }

    #[test]
    fn totals_do_not_depend_on_bucketing(records in records(), rules in rules()) {
        let first = Rules { bucketing: Bucketing::FirstRecord, ..rules.clone() };
        let hits = |rules: &Rules| {
            let got = aggregate(Engine::Rest, rules, &records);
            Dimension::ALL.map(|dimension| sum(&got, dimension, |c| c.hits))
        };
        prop_assert_eq!(hits(&first), hits(&rules));
    }

    #[test]
    fn entries_are_sorted_and_unique(records in records(), rules in rules()) {
        for one in aggregate(Engine::Rest, &rules, &records) {
            let places: Vec<_> = one.entries.iter().map(|entry| (entry.dimension, entry.outer(), entry.key())).collect();
            prop_assert!(places.is_sorted_by(|a, b| a < b));
        }
    }
}
