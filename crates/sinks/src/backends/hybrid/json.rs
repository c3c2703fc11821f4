//! Aggregates as MDCB reads them.

use analytics::{
    Time,
    aggregate::{Aggregate, Counter, Dimension, Entry},
    gotime::{self, Civil},
    json::{JsonError, write_float, write_int, write_string},
};

/// Members before and after `Lists`, in order.
const DIMENSIONS: [&[Dimension]; 2] = [
    &[
        Dimension::ApiKeys,
        Dimension::Errors,
        Dimension::Versions,
        Dimension::ApiId,
        Dimension::OauthIds,
        Dimension::Geo,
        Dimension::Tags,
        Dimension::Endpoints,
    ],
    &[
        Dimension::KeyEndpoints,
        Dimension::OauthEndpoints,
        Dimension::ApiEndpoints,
    ],
];
const MCP: &[Dimension] = &[Dimension::Methods, Dimension::Primitives, Dimension::Names];
/// Lists are made by those who store aggregates.
const LISTS: &[u8] = br#","Lists":{"APIKeys":null,"APIID":null,"OauthIDs":null,"Geo":null,"Tags":null,"Errors":null,"Endpoints":null,"KeyEndpoint":null,"OauthEndpoint":null,"APIEndpoint":null}"#;

/// Appends an aggregate. On failure `out` may hold a part of it.
pub(super) fn write_aggregate(out: &mut Vec<u8>, aggregate: &Aggregate, is_mcp: bool) -> Result<(), JsonError> {
    out.extend_from_slice(br#"{"TimeStamp":"#);
    write_time(out, aggregate.bucket)?;
    out.extend_from_slice(br#","OrgID":"#);
    write_string(out, &aggregate.org_id);
    let first = Civil::of(aggregate.first_time);
    let time_id = [
        ("{\"Year\":", first.year),
        (",\"Month\":", first.month.into()),
        (",\"Day\":", first.day.into()),
        (",\"Hour\":", first.hour.into()),
    ];
    out.extend_from_slice(br#","TimeID":"#);
    for (name, number) in time_id {
        out.extend_from_slice(name.as_bytes());
        write_int(out, number);
    }
    out.push(b'}');
    let [before, after] = DIMENSIONS;
    write_dimensions(out, aggregate, before)?;
    out.extend_from_slice(LISTS);
    write_dimensions(out, aggregate, after)?;
    out.extend_from_slice(br#","Total":"#);
    write_counter(out, &aggregate.total, b"", b"")?;
    out.extend_from_slice(br#","expireAt":"#);
    write_time(out, aggregate.expire_at)?;
    out.extend_from_slice(br#","LastTime":"#);
    write_time(out, aggregate.last_time)?;
    if is_mcp {
        out.extend_from_slice(br#","OwnerAPIID":"#);
        write_string(out, &aggregate.owner);
        write_dimensions(out, aggregate, MCP)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_time(out: &mut Vec<u8>, time: Time) -> Result<(), JsonError> {
    out.push(b'"');
    gotime::write_rfc3339_nano(out, time)?;
    out.push(b'"');
    Ok(())
}

fn write_dimensions(out: &mut Vec<u8>, aggregate: &Aggregate, dimensions: &[Dimension]) -> Result<(), JsonError> {
    for &dimension in dimensions {
        out.push(b',');
        write_string(out, dimension.json().as_bytes());
        out.push(b':');
        let entries = aggregate.dimension(dimension);
        if !dimension.is_nested() {
            write_entries(out, entries)?;
            continue;
        }
        out.push(b'{');
        for (number, inner) in entries.chunk_by(|a, b| a.outer() == b.outer()).enumerate() {
            if number > 0 {
                out.push(b',');
            }
            write_string(out, inner.first().map(Entry::outer).unwrap_or_default());
            out.push(b':');
            write_entries(out, inner)?;
        }
        out.push(b'}');
    }
    Ok(())
}

fn write_entries(out: &mut Vec<u8>, entries: &[Entry]) -> Result<(), JsonError> {
    out.push(b'{');
    for (number, entry) in entries.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        write_string(out, entry.key());
        out.push(b':');
        write_counter(out, &entry.counter, entry.identifier(), entry.human_identifier())?;
    }
    out.push(b'}');
    Ok(())
}

fn write_counter(out: &mut Vec<u8>, counter: &Counter, identifier: &[u8], human: &[u8]) -> Result<(), JsonError> {
    let int = |out: &mut Vec<u8>, name: &str, number: i64| {
        out.extend_from_slice(name.as_bytes());
        write_int(out, number);
    };
    int(out, r#"{"hits":"#, counter.hits);
    int(out, r#","success":"#, counter.success);
    int(out, r#","error":"#, counter.error);
    out.extend_from_slice(br#","request_time":"#);
    write_float(out, counter.request_time())?;
    out.extend_from_slice(br#","total_request_time":"#);
    write_float(out, counter.total_request_time)?;
    out.extend_from_slice(br#","identifier":"#);
    write_string(out, identifier);
    out.extend_from_slice(br#","human_identifier":"#);
    write_string(out, human);
    out.extend_from_slice(br#","last_time":"#);
    write_time(out, counter.last_time)?;
    for (name, number) in [
        (r#","open_connections":"#, counter.open_connections),
        (r#","closed_connections":"#, counter.closed_connections),
        (r#","bytes_in":"#, counter.bytes_in),
        (r#","bytes_out":"#, counter.bytes_out),
        (r#","max_upstream_latency":"#, counter.max_upstream_latency),
        (r#","min_upstream_latency":"#, counter.min_upstream_latency),
        (r#","total_upstream_latency":"#, counter.total_upstream_latency),
        (r#","upstream_latency":"#, 0),
        (r#","max_latency":"#, counter.max_latency),
        (r#","min_latency":"#, counter.min_latency),
        (r#","total_latency":"#, counter.total_latency),
        (r#","latency":"#, 0),
    ] {
        int(out, name, number);
    }
    out.extend_from_slice(br#","error_map":{"#);
    // In the order of their texts.
    let mut codes: Vec<(String, i64)> = counter
        .codes
        .iter()
        .map(|(code, count)| (code.to_string(), count))
        .collect();
    codes.sort_unstable();
    for (number, (code, count)) in codes.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        write_string(out, code.as_bytes());
        out.push(b':');
        write_int(out, *count);
    }
    out.extend_from_slice(br#"},"error_list":null}"#);
    Ok(())
}
