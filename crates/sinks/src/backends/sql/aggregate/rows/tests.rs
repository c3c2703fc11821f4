use analytics::{
    Flag, Int, Text, Time, When, Zone,
    aggregate::{Aggregator, Engine, Rules},
    record::Builder,
};

use super::*;

/// 2024-05-17T10:00:00Z
const HOUR: i64 = 1_715_940_000;

fn record(org: &str, api: &str) -> Builder {
    let mut builder = Builder::new();
    builder
        .text(Text::OrgId, org)
        .text(Text::ApiId, api)
        .int(Int::ResponseCode, 405)
        .time(When::TimeStamp, Time::normalised(HOUR + 300, 0, Zone::UTC));
    builder
}

fn lists(engine: Engine, records: &[Builder], long: usize) -> Vec<AggregateRows> {
    let rules = Rules::default();
    let mut aggregator = Aggregator::new(engine, &rules);
    for record in records {
        aggregator.add(&record.view());
    }
    let shape = if engine == Engine::Rest {
        Shape::Organisation
    } else {
        Shape::Api
    };
    AggregateRows::lists(shape, aggregator.finish(), long)
}

fn ids(rows: &AggregateRows) -> Vec<String> {
    rows.rows
        .iter()
        .map(|row| String::from_utf8_lossy(&row.id).into_owned())
        .collect()
}

fn values(rows: &AggregateRows, index: usize) -> Vec<String> {
    let mut values = Vec::new();
    rows.write(index, &mut |value| {
        values.push(match value {
            Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Value::Int(number) => number.to_string(),
            other => format!("{other:?}"),
        });
    })
    .unwrap();
    values
}

#[test]
fn keys_are_those_of_rows_that_upstream_wrote() {
    let lists = lists(Engine::Rest, &[record("orgA", "api1")], usize::MAX);
    assert_eq!(lists.len(), 1);
    assert_eq!(
        ids(&lists[0]),
        [
            "313731353934303030306f726741617069696461706931",
            "313731353934303030306f7267416572726f7273343035",
            "313731353934303030306f726741746f74616c",
        ]
    );
}

#[test]
fn keys_of_nested_dimensions_join_both_keys() {
    let mut tracked = record("orgA", "api1");
    tracked
        .text(Text::ApiKey, "k1")
        .text(Text::Path, "/orders/9.json")
        .flag(Flag::TrackPath, true);
    let lists = lists(Engine::Rest, &[tracked], usize::MAX);
    let want = hex(b"1715940000orgAkeyendpointsk1.YXBpMTovb3JkZXJzLzkuanNvbg");
    assert!(lists[0].rows.iter().any(|row| row.id == want));
}

#[test]
fn keys_of_graphql_and_mcp_have_the_api_instead_of_the_organisation() {
    let mut call = record("org", "api-mcp");
    call.flag(Flag::IsMcp, true)
        .time(When::TimeStamp, Time::normalised(1_735_689_600, 0, Zone::UTC))
        .text(Text::McpPrimitiveType, "tool")
        .text(Text::McpPrimitiveName, "my_tool");
    let lists = lists(Engine::Mcp, &[call], usize::MAX);
    let want = "313733353638393630306170692d6d63706e616d6573746f6f6c5f6d795f746f6f6c";
    assert!(ids(&lists[0]).contains(&want.to_owned()));
    let at = ids(&lists[0]).iter().position(|id| id == want).unwrap();
    let values = values(&lists[0], at);
    assert_eq!(values[1..5], ["org", "names", "tool_my_tool", "api-mcp"]);
    assert_eq!((values.len(), values[48].as_str()), (49, "1735689600"));
}

#[test]
fn a_row_has_a_value_for_every_column() {
    let lists = lists(Engine::Rest, &[record("orgA", "api1")], usize::MAX);
    let columns = Shape::Organisation.layout(false).columns.clone();
    for index in 0..lists[0].len() {
        let values = values(&lists[0], index);
        let value = |name: &str| values[columns.iter().position(|column| column.name == name).unwrap()].as_str();
        assert_eq!(values.len(), columns.len());
        assert_eq!(
            (value("counter_hits"), value("code_4x"), value("code_404")),
            ("1", "1", "0")
        );
        assert_eq!((value("counter_error_map"), value("counter_error_list")), ("{}", "[]"));
        assert_eq!(value("timestamp"), HOUR.to_string());
    }
    let total = values(&lists[0], 2);
    assert_eq!(total[24..27], ["orgA", "", "total"]);
}

#[test]
fn rows_are_sorted_and_two_with_the_same_key_go_into_different_statements() {
    let lists = lists(
        Engine::Rest,
        &[record("orgapiid", "x"), record("org", "total"), record("a", "b")],
        usize::MAX,
    );
    assert_eq!(lists.len(), 2);
    for list in &lists {
        assert!(ids(list).is_sorted_by(|a, b| a < b));
    }
    assert_eq!(lists[1].len(), 1);
}

#[test]
fn long_keys_go_into_a_list_of_their_own() {
    let long = "p".repeat(3000);
    let mut tracked = record("org", "api");
    tracked.text(Text::Path, &long).flag(Flag::TrackPath, true);
    let lists = lists(Engine::Rest, &[tracked], 2600);
    let sizes: Vec<usize> = lists.iter().map(AggregateRows::len).collect();
    assert_eq!(sizes, [3, 2]);
    assert_eq!([0, 1].map(|at| lists[1].dimension(at)), ["apiendpoints", "endpoints"]);
}
