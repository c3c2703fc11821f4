//! Protobuf: each input with the fields in which its result differs from the zero record.

/// Title, input in hexadecimal, result.
pub(crate) const ACCEPTED: &[(&str, &str, &str)] = &[
    (
        "P01 an empty record",
        "6a0b088092b8c398feffffff019a0100ba01060a0012001a00c20100e2010b088092b8c398feffffff01f20103555443",
        r#"{}"#,
    ),
    (
        "P02 a full record",
        "12034745541a022f78380e400b48e70f501658c8016a0c0880e2cfaa061080cab5ee0182010261318a01026f319a0104\
         080c1009ba01110a00120b0a070a02656e12014c10071a00c201021002ca010178ca010179e2010608c0b1f4aa06f201\
         03555443",
        r#"{"method":"GET","path":"/x","day":14,"month":11,"year":2023,"hour":22,"response_code":200,"api_id":"a1","org_id":"o1","timestamp":"2023-11-14T22:13:20.5Z","latency":{"total":12,"upstream":9},"geo":{"city":{"geoname_id":7}},"network":{"closed_connections":2},"tags":["x","y"],"expireAt":"2023-11-21T20:53:20Z"}"#,
    ),
    (
        "P03 times in a zone of their own",
        "12034745541a022f78380e400b48e70f501658c8016a060880b5eda50682010261318a01026f319a0104080c1009ba01\
         110a00120b0a070a02656e12014c10071a00c201021002ca010178ca010179e2010608c0b1f4aa06f2010d4575726f70\
         652f4c6f6e646f6e",
        r#"{"method":"GET","path":"/x","day":14,"month":11,"year":2023,"hour":22,"response_code":200,"api_id":"a1","org_id":"o1","timestamp":"2023-07-22T05:26:40+01:00","latency":{"total":12,"upstream":9},"geo":{"city":{"geoname_id":7}},"network":{"closed_connections":2},"tags":["x","y"],"expireAt":"2023-11-21T20:53:20Z"}"#,
    ),
    (
        "P04 a zone that no database has",
        "12034745541a022f78380e400b48e70f501658c8016a060880b5eda50682010261318a01026f319a0104080c1009ba01\
         110a00120b0a070a02656e12014c10071a00c201021002ca010178ca010179e2010608c0b1f4aa06f2010443455354",
        r#"{"method":"GET","path":"/x","day":14,"month":11,"year":2023,"hour":22,"response_code":200,"api_id":"a1","org_id":"o1","timestamp":"2023-07-22T04:26:40Z","latency":{"total":12,"upstream":9},"geo":{"city":{"geoname_id":7}},"network":{"closed_connections":2},"tags":["x","y"],"expireAt":"2023-11-21T20:53:20Z"}"#,
    ),
    (
        "P05 GraphQL and MCP",
        "6a0b088092b8c398feffffff01820101619a0100ba01060a0012001a00c20100e2010b088092b8c398feffffff01f201\
         035554438202220801120b0a015412060a01780a0179180222077b2261223a317d2a016630013a016d8a02170801120a\
         746f6f6c732f63616c6c1a04746f6f6c220177",
        r#"{"api_id":"a","graphql_stats":{"Variables":"{\"a\":1}","RootFields":["f"],"Types":{"T":["x","y"]},"Errors":[{"message":"m","path":null}],"OperationType":2,"HasErrors":true,"IsGraphQL":true},"mcp_stats":{"is_mcp":true,"jsonrpc_method":"tools/call","primitive_type":"tool","primitive_name":"w"}}"#,
    ),
    (
        "P06 GraphQL without details",
        "6a0b088092b8c398feffffff019a0100ba01060a0012001a00c20100e2010b088092b8c398feffffff01f20103555443\
         8202020801",
        r#"{"graphql_stats":{"Types":{},"Errors":[],"IsGraphQL":true}}"#,
    ),
    (
        "P07 no times and no zone",
        "9a0100ba01060a0012001a00c20100",
        r#"{"timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "P08 nothing",
        "",
        r#"{"timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "P08 one field",
        "0a0161",
        r#"{"host":"a","timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "P08 messages without theirs",
        "9a0100ba0100c20100",
        r#"{"timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "P11 an unknown field",
        "9a0100ba01060a0012001a00c20100f8ff0101",
        r#"{"timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "P12 integers cut to 32 bits",
        "38ffffffffffffffffff016a0b088092b8c398feffffff019a0100ba01080a00120210051a00c20100e2010b088092b8\
         c398feffffff01f20103555443",
        r#"{"day":-1,"geo":{"city":{"geoname_id":5}}}"#,
    ),
    (
        "a message in two parts",
        "9a010208019a01021002",
        r#"{"latency":{"total":1,"upstream":2},"timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "a scalar twice",
        "0a01610a0162",
        r#"{"host":"b","timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "an operation without a name",
        "8202021809",
        r#"{"graphql_stats":{"Types":{},"Errors":[]},"timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "a field with the wrong wire type",
        "08053a0161",
        r#"{"timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "a group under an unknown number",
        "fb7f08010b0cfc7f0a0161",
        r#"{"host":"a","timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "a type without fields",
        "82020512030a0154",
        r#"{"graphql_stats":{"Types":{"T":null},"Errors":[]},"timestamp":"1970-01-01T00:00:00Z","expireAt":"1970-01-01T00:00:00Z"}"#,
    ),
];

/// Title, input in hexadecimal, beginning of the reason.
pub(crate) const REJECTED: &[(&str, &str, &str)] = &[
    (
        "P09 text that is not UTF-8",
        "9a0100ba01060a0012001a00c201000a01ff",
        "proto: field Host contains invalid UTF-8",
    ),
    (
        "P10 a cut string",
        "9a0100ba01060a0012001a00c201000a05ff",
        "unexpected EOF",
    ),
    ("field number zero", "0000", "proto: cannot parse"),
    ("an unknown wire type", "0e", "proto: cannot parse"),
    ("an endless varint", "28ffffffffffffffffffff01", "proto: cannot parse"),
    ("a group that never ends", "fb7f0801", "unexpected EOF"),
    ("a group that another one ends", "fb7f0c", "proto: cannot parse"),
    ("an end without a group", "fc7f", "proto: cannot parse"),
    (
        "a name that is not UTF-8",
        "ba010912070a050a01ff1200",
        "proto: field Names contains invalid UTF-8",
    ),
    (
        "a tag that is not UTF-8",
        "ca0101ff",
        "proto: field Tags contains invalid UTF-8",
    ),
];
