//! What GraphQL and MCP add to the standard dimensions.

use analytics::{
    Flag, Int, Text,
    aggregate::{Aggregate, Dimension, Engine, Rules},
    record::Builder,
};

use crate::{clock, connection, entry, keys, latency, one, record};

fn query(code: i64) -> Builder {
    let mut builder = record("org", "api", code, clock(10, 0, 0));
    builder
        .flag(Flag::IsGraphQl, true)
        .int(Int::GraphOperationType, 1)
        .types([("Characters", Some(vec!["info"])), ("Info", Some(vec!["count"]))])
        .root_fields(["characters"]);
    builder
}

fn with_errors(mut builder: Builder) -> Builder {
    builder.flag(Flag::GraphHasErrors, true);
    builder
}

fn graph(records: &[Builder], compat: bool) -> Aggregate {
    let rules = Rules {
        compat,
        ..Rules::default()
    };
    one(crate::aggregate(Engine::Graph, &rules, records))
}

const QUERY: [(Dimension, &str); 6] = [
    (Dimension::Types, "Characters"),
    (Dimension::Types, "Info"),
    (Dimension::Fields, "Characters_info"),
    (Dimension::Fields, "Info_count"),
    (Dimension::Operation, "Query"),
    (Dimension::RootFields, "characters"),
];

fn assert_query(aggregate: &Aggregate, want: (i64, i64, i64)) {
    for (dimension, value) in QUERY {
        let found = entry(aggregate, dimension, value);
        let counter = &found.counter;
        assert_eq!((counter.hits, counter.success, counter.error), want, "{value}");
        assert_eq!(found.identifier(), value.as_bytes());
        assert_eq!(found.human_identifier(), value.as_bytes());
    }
}

#[test]
fn every_type_field_operation_and_root_field_is_counted() {
    assert_query(&graph(&[query(200), query(200), query(200)], false), (3, 3, 0));
    let plain = record("org", "api", 200, clock(10, 0, 0));
    assert_query(&graph(&[query(200), plain], false), (1, 1, 0));
    let failed = [query(200), query(500), query(200), query(500), query(200)];
    assert_query(&graph(&failed, false), (5, 3, 2));
}

#[test]
fn errors_in_the_answer_count_as_errors_beside_the_standard_dimensions() {
    let got = graph(&[query(200), with_errors(query(200)), query(200)], false);
    assert_query(&got, (3, 2, 1));
    assert_eq!((got.total.success, got.total.error), (3, 0));
    assert_eq!(entry(&got, Dimension::ApiId, "api").counter.success, 3);
    assert!(entry(&got, Dimension::Operation, "Query").counter.codes.is_empty());
}

#[test]
fn a_redirect_with_errors_takes_no_success_away() {
    let records = [with_errors(query(302))];
    assert_query(&graph(&records, false), (1, 0, 1));
    assert_query(&graph(&records, true), (1, -1, 1));
}

#[test]
fn an_unknown_operation_is_counted_without_name() {
    let mut unknown = query(200);
    unknown.int(Int::GraphOperationType, 9);
    assert_eq!(keys(&graph(&[unknown], false), Dimension::Operation), [""]);
}

#[test]
fn graphql_and_mcp_are_grouped_by_api_without_regard_to_organisation_and_options() {
    let mut builder = query(200);
    builder.text(Text::OrgId, "").text(Text::Path, "/x").tags(["team-a"]);
    let rules = Rules {
        track_all_paths: true,
        ignore_tag_prefixes: vec![b"team".to_vec()],
        ignored: [Dimension::Tags].into_iter().collect(),
        ..Rules::default()
    };
    let got = one(crate::aggregate(Engine::Graph, &rules, &[builder, query(200)]));
    assert_eq!((&*got.owner, &*got.org_id), (b"api".as_slice(), b"".as_slice()));
    assert_eq!(keys(&got, Dimension::Tags), ["team-a"]);
    assert_eq!(keys(&got, Dimension::Endpoints), [""; 0]);
}

#[test]
fn duplicate_root_fields_count_again() {
    let mut builder = query(200);
    builder.root_fields(["a", "b", "a"]);
    let got = graph(&[builder], false);
    assert_eq!(entry(&got, Dimension::RootFields, "a").counter.hits, 2);
    assert_eq!(got.total.hits, 1);
}

fn call(kind: &str, name: &str, code: i64) -> Builder {
    let mut builder = record("org", "api", code, clock(10, 0, 0));
    builder
        .flag(Flag::IsMcp, true)
        .text(Text::McpJsonRpcMethod, "tools/call")
        .text(Text::McpPrimitiveType, kind)
        .text(Text::McpPrimitiveName, name);
    builder
}

#[test]
fn mcp_calls_are_counted_by_method_primitive_and_name() {
    let mut first = call("tool", "weather", 200);
    latency(&mut first, 30, 30, 20);
    let mut second = call("tool", "weather", 500);
    latency(&mut second, 5, 5, 1);
    let got = one(crate::aggregate(Engine::Mcp, &Rules::default(), &[first, second]));
    for (dimension, value, human) in [
        (Dimension::Methods, "tools/call", "tools/call"),
        (Dimension::Primitives, "tool", "tool"),
        (Dimension::Names, "tool_weather", "weather"),
    ] {
        let found = entry(&got, dimension, value);
        assert_eq!(crate::figures(&found.counter), "2 1 1 35 17.5 35 21 30/30 20/20 500:1");
        assert_eq!(found.identifier(), value.as_bytes());
        assert_eq!(found.human_identifier(), human.as_bytes());
    }
}

#[test]
fn a_name_without_type_stands_alone_and_empty_ones_are_left_out() {
    let got = one(crate::aggregate(
        Engine::Mcp,
        &Rules::default(),
        &[call("", "bare", 200), call("resource", "", 200)],
    ));
    assert_eq!(keys(&got, Dimension::Names), ["bare"]);
    assert_eq!(keys(&got, Dimension::Primitives), ["resource"]);
}

#[test]
fn connections_of_mcp_apis_have_no_hits() {
    let mut network = call("tool", "weather", -1);
    connection(&mut network, 1, 2, 3, 4);
    let got = one(crate::aggregate(
        Engine::Mcp,
        &Rules::default(),
        &[network.clone(), network],
    ));
    let counter = &entry(&got, Dimension::Methods, "tools/call").counter;
    assert_eq!((counter.hits, counter.request_time(), counter.bytes_in), (0, 0.0, 6));
}
