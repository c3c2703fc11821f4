//! Uptime checks.

use analytics::{
    Span, Time, UptimeRecord, UptimeView, When,
    aggregate::{Aggregate, Dimension, UptimeAggregator},
    uptime::{UptimeInt, UptimeText},
};

use crate::{clock, entry, figures, keys, one};

struct Check {
    buffer: Vec<u8>,
    record: UptimeRecord,
}

fn check(org: &str, url: &str, code: i64, request_time: i64, time: Time) -> Check {
    let mut record = UptimeRecord::default();
    let buffer = [org, url].concat().into_bytes();
    let org = Span {
        start: 0,
        len: org.len() as u32,
    };
    record.text[UptimeText::OrgId as usize] = org;
    record.text[UptimeText::Url as usize] = Span {
        start: org.len,
        len: url.len() as u32,
    };
    record.int[UptimeInt::ResponseCode as usize] = code;
    record.int[UptimeInt::RequestTime as usize] = request_time;
    record.time[When::TimeStamp as usize] = time;
    Check { buffer, record }
}

fn aggregate(compat: bool, checks: &[Check]) -> Vec<Aggregate> {
    let mut aggregator = UptimeAggregator::new(compat);
    for check in checks {
        aggregator.add(&UptimeView::new(&check.buffer, &check.record));
    }
    aggregator.finish()
}

#[test]
fn successes_and_errors_are_kept_by_code() {
    let checks = [200, 200, 500].map(|code| check("org", "/get", code, 100, clock(8, 10, 0)));
    let got = one(aggregate(false, &checks));
    let line = "3 2 1 300 100 0 0 0/0 0/0 200:2 500:1";
    assert_eq!(figures(&got.total), line);
    let url = entry(&got, Dimension::Url, "/get");
    assert_eq!(
        (figures(&url.counter).as_str(), url.identifier(), url.human_identifier()),
        (line, b"/get".as_slice(), b"".as_slice())
    );
    assert_eq!(
        figures(&entry(&got, Dimension::Errors, "500").counter),
        "1 0 1 100 100 0 0 0/0 0/0 500:1"
    );
}

#[test]
fn other_codes_are_hits_alone_and_a_check_without_organisation_is_none() {
    let checks = [
        check("org", "", 301, 7, clock(8, 0, 0)),
        check("", "/get", 200, 7, clock(8, 0, 0)),
    ];
    let got = one(aggregate(false, &checks));
    assert_eq!(figures(&got.total), "1 0 0 7 7 0 0 0/0 0/0");
    assert_eq!(got.entries, []);
}

#[test]
fn each_check_is_booked_into_its_own_hour_and_totals_have_the_latest_time() {
    let checks = || {
        [
            check("org", "/a", 200, 1, clock(8, 59, 0)),
            check("org", "/a", 200, 1, clock(9, 1, 0)),
        ]
    };
    let got = aggregate(false, &checks());
    let buckets: Vec<_> = got.iter().map(|one| (one.bucket, one.total.last_time)).collect();
    assert_eq!(
        buckets,
        [(clock(8, 0, 0), clock(8, 59, 0)), (clock(9, 0, 0), clock(9, 1, 0))]
    );
    let got = one(aggregate(true, &checks()));
    assert_eq!(
        (got.bucket, got.total.last_time, got.last_time),
        (clock(8, 0, 0), Time::ZERO, clock(9, 1, 0))
    );
}

#[test]
fn a_check_without_result_names_its_target_and_spoils_nothing() {
    let checks = [
        check("org", "/a", -1, 1, clock(8, 0, 0)),
        check("org", "/a", 200, 6, clock(8, 1, 0)),
    ];
    let got = one(aggregate(false, &checks));
    assert_eq!(keys(&got, Dimension::Url), ["/a"]);
    assert_eq!(
        figures(&entry(&got, Dimension::Url, "/a").counter),
        "1 1 0 6 6 0 0 0/0 0/0 200:1"
    );
}
