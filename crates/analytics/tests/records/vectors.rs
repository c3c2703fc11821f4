//! MessagePack: each input with the fields in which its result differs from the zero record.

/// Title, input in hexadecimal, result.
pub(crate) const ACCEPTED: &[(&str, &str, &str)] = &[
    (
        "R01 every key, zero values",
        "de0023a64d6574686f64a0a4486f7374a0a450617468a0a752617750617468a0ad436f6e74656e744c656e67746800a9\
         557365724167656e74a0a344617900a54d6f6e746800a45965617200a4486f757200ac526573706f6e7365436f646500\
         a64150494b6579a0a954696d655374616d7092d3fffffff1886e090000aa41504956657273696f6ea0a74150494e616d\
         65a0a54150494944a0a54f72674944a0a74f617574684944a0ab5265717565737454696d6500aa526177526571756573\
         74a0ab526177526573706f6e7365a0a9495041646472657373a0a347656f83a7436f756e74727981a749534f436f6465\
         a0a44369747982a947656f4e616d65494400a54e616d6573c0a84c6f636174696f6e83a84c61746974756465cb000000\
         0000000000a94c6f6e676974756465cb0000000000000000a854696d655a6f6e65a0a74e6574776f726b84af4f70656e\
         436f6e6e656374696f6e7300b0436c6f736564436f6e6e656374696f6e00a74279746573496e00a842797465734f7574\
         00a74c6174656e637983a5546f74616c00a8557073747265616d00a74761746577617900a454616773c0a5416c696173\
         a0a9547261636b50617468c2a8457870697265417492d3fffffff1886e090000a9417069536368656d61a0ac4f726967\
         696e616c50617468a0aa4c697374656e50617468a0ac4772617068514c537461747387a95661726961626c6573a0aa52\
         6f6f744669656c6473c0a55479706573c0a64572726f7273c0ad4f7065726174696f6e5479706500a94861734572726f\
         7273c2a949734772617068514cc2a84d4350537461747384a549734d4350c2ad4a534f4e5250434d6574686f64a0ad50\
         72696d697469766554797065a0ad5072696d69746976654e616d65a0ae436f6c6c656374696f6e4e616d65a0",
        r#"{}"#,
    ),
    (
        "R02 a full record",
        "de0023a64d6574686f64a3474554a4486f7374b46874747062696e2e6578616d706c653a38303830a450617468ac2f6f\
         72646572732f7b69647da752617750617468aa2f6f72646572732f3737ad436f6e74656e744c656e67746800a9557365\
         724167656e74aa6375726c2f382e352e30a34461790ea54d6f6e74680ba459656172cd07e7a4486f757216ac52657370\
         6f6e7365436f6465ccc8a64150494b6579a83030303030303030a954696d655374616d7092ce6553f100ce075bcd15aa\
         41504956657273696f6ead4e6f6e2056657273696f6e6564a74150494e616d65a64f7264657273a54150494944a63063\
         39663365a54f72674944a435663061a74f617574684944a0ab5265717565737454696d650caa52617752657175657374\
         a8523056554943383dab526177526573706f6e7365ac53465255554338784c6a453da9495041646472657373ab323033\
         2e302e3131332e39a347656f83a7436f756e74727981a749534f436f6465a24742a44369747982a947656f4e616d6549\
         44ce0028571fa54e616d657381a2656ea64c6f6e646f6ea84c6f636174696f6e83a84c61746974756465cb4049c00000\
         000000a94c6f6e676974756465cbbfc0000000000000a854696d655a6f6e65ad4575726f70652f4c6f6e646f6ea74e65\
         74776f726b84af4f70656e436f6e6e656374696f6e7300b0436c6f736564436f6e6e656374696f6e00a7427974657349\
         6e00a842797465734f757400a74c6174656e637983a5546f74616c0ca8557073747265616d09a74761746577617903a4\
         5461677393ac6b65792d3030303030303030a86f72672d35663061aa6170692d306339663365a5416c696173a3626f62\
         a9547261636b50617468c3a8457870697265417492ce655d2b8000a9417069536368656d61a0ac4f726967696e616c50\
         617468ad2f65752f6f72646572732f3737aa4c697374656e50617468a42f65752fac4772617068514c537461747387a9\
         5661726961626c6573a0aa526f6f744669656c6473c0a55479706573c0a64572726f7273c0ad4f7065726174696f6e54\
         79706500a94861734572726f7273c2a949734772617068514cc2a84d4350537461747384a549734d4350c2ad4a534f4e\
         5250434d6574686f64a0ad5072696d697469766554797065a0ad5072696d69746976654e616d65a0ae436f6c6c656374\
         696f6e4e616d65a0",
        r#"{"method":"GET","host":"httpbin.example:8080","path":"/orders/{id}","raw_path":"/orders/77","user_agent":"curl/8.5.0","day":14,"month":11,"year":2023,"hour":22,"response_code":200,"api_key":"00000000",
            "timestamp":"2023-11-14T22:13:20.123456789Z","api_version":"Non Versioned","api_name":"Orders","api_id":"0c9f3e","org_id":"5f0a","request_time":12,"raw_request":"R0VUIC8=","raw_response":"SFRUUC8xLjE=",
            "ip_address":"203.0.113.9","geo":{"country":{"iso_code":"GB"},"city":{"geoname_id":2643743,"names":{"en":"London"}},"location":{"latitude":51.5,"longitude":-0.125,"time_zone":"Europe/London"}},
            "latency":{"total":12,"upstream":9,"gateway":3},"tags":["key-00000000","org-5f0a","api-0c9f3e"],"alias":"bob","track_path":true,"expireAt":"2023-11-21T22:13:20Z","original_path":"/eu/orders/77","listen_path":"/eu/"}"#,
    ),
    (
        "R03 text in several scripts",
        "83a450617468b22f636166c3a92fe697a5e69cac2ff09f9880a9557365724167656e74aa6e61c3af766520e29882a541\
         6c696173a2cea9",
        r#"{"path":"/café/日本/😀","user_agent":"naïve ☂","alias":"Ω"}"#,
    ),
    (
        "R04a bytes in a str",
        "81aa52617752657175657374a6fffe00800d0a",
        r#"{"raw_request":"\ufffd\ufffd\u0000\ufffd\r\n"}"#,
    ),
    (
        "R04b bytes in a bin",
        "81aa52617752657175657374c406fffe00800d0a",
        r#"{"raw_request":"\ufffd\ufffd\u0000\ufffd\r\n"}"#,
    ),
    (
        "R06 integers at their limits",
        "89ad436f6e74656e744c656e677468ffab5265717565737454696d65cf7fffffffffffffffa34461797fa54d6f6e7468\
         0ca459656172cdffffa4486f7572cc80ac526573706f6e7365436f6465ffa74c6174656e637983a5546f74616ccf0000\
         000100000000a8557073747265616dd0dfa747617465776179d18000a347656f81a44369747981a947656f4e616d6549\
         44ceffffffff",
        r#"{"content_length":-1,"request_time":9223372036854775807,"day":127,"month":12,"year":65535,"hour":128,"response_code":-1,"latency":{"total":4294967296,"upstream":-33,"gateway":-32768},"geo":{"city":{"geoname_id":4294967295}}}"#,
    ),
    ("R07a tags absent", "81a454616773c0", r#"{"tags":null}"#),
    ("R07b tags empty", "81a45461677390", r#"{"tags":[]}"#),
    (
        "R07c sixteen tags",
        "81a454616773dc0010a27430a27431a27432a27433a27434a27435a27436a27437a27438a27439a3743130a3743131a3\
         743132a3743133a3743134a3743135",
        r#"{"tags":["t0","t1","t2","t3","t4","t5","t6","t7","t8","t9","t10","t11","t12","t13","t14","t15"]}"#,
    ),
    (
        "R08 a time stamped elsewhere",
        "81a954696d655374616d7092ce6553f100ce1dcd6500",
        r#"{"timestamp":"2023-11-14T22:13:20.5Z"}"#,
    ),
    (
        "R09 times before 1970",
        "82a954696d655374616d7092ffce0ee6b280a8457870697265417492d3fffffff1886e090000",
        r#"{"timestamp":"1969-12-31T23:59:59.25Z"}"#,
    ),
    (
        "R10 GraphQL",
        "85a54150494944a26731ac526573706f6e7365436f6465ccc8a45461677392b374796b2d67726170682d616e616c7974\
         696373a66170692d6731a9417069536368656d61b064486c775a5342526457567965513d3dac4772617068514c537461\
         747387a95661726961626c6573ae7b22696e223a2268656c6c6f227daa526f6f744669656c647391aa63686172616374\
         657273a5547970657381a4496e666f91a5636f756e74a64572726f72739182a74d657373616765a4626f6f6da4506174\
         68c0ad4f7065726174696f6e5479706501a94861734572726f7273c3a949734772617068514cc3",
        r#"{"api_id":"g1","response_code":200,"tags":["tyk-graph-analytics","api-g1"],"api_schema":"dHlwZSBRdWVyeQ==","graphql_stats":{"Variables":"{\"in\":\"hello\"}","RootFields":["characters"],"Types":{"Info":["count"]},"Errors":[{"message":"boom","path":null}],"OperationType":1,"HasErrors":true,"IsGraphQL":true}}"#,
    ),
    (
        "R11 MCP",
        "83a54150494944a26d31ac526573706f6e7365436f6465ccc8a84d4350537461747384a549734d4350c3ad4a534f4e52\
         50434d6574686f64aa746f6f6c732f63616c6cad5072696d697469766554797065a4746f6f6cad5072696d6974697665\
         4e616d65ab6765745f77656174686572",
        r#"{"api_id":"m1","response_code":200,"mcp_stats":{"is_mcp":true,"jsonrpc_method":"tools/call","primitive_type":"tool","primitive_name":"get_weather"}}"#,
    ),
    (
        "R12 keys of other versions",
        "84a64d6574686f64a3474554ab4675747572654669656c6482a1619301c0c3a162cb3ff8000000000000a94150495363\
         68656d61a465413d3da450617468a22f78",
        r#"{"method":"GET","path":"/x"}"#,
    ),
    (
        "R14a nil for most types",
        "86a64d6574686f64c0ac526573706f6e7365436f6465c0a454616773c0a347656fc0a74c6174656e6379c0ac47726170\
         68514c5374617473c0",
        r#"{}"#,
    ),
    (
        "R15 an array of five",
        "95a3474554a5682e636f6da22f61a22f622a",
        r#"{"method":"GET","host":"h.com","path":"/a","raw_path":"/b","content_length":42}"#,
    ),
    (
        "R16 keys of gateways 2.9 to 4.0",
        "de001da64d6574686f64a3474554a4486f7374a168a450617468a22f61a752617750617468a22f61ad436f6e74656e74\
         4c656e67746800a9557365724167656e74a0a344617901a54d6f6e746802a459656172cd07e4a4486f757203ac526573\
         706f6e7365436f6465ccc8a64150494b6579a16ba954696d655374616d7092ce5e34e9b000aa41504956657273696f6e\
         ad4e6f6e2056657273696f6e6564a74150494e616d65a16ea54150494944a161a54f72674944a16fa74f617574684944\
         a0ab5265717565737454696d6505a74c6174656e637982a5546f74616c05a8557073747265616d04aa52617752657175\
         657374a0ab526177526573706f6e7365a0a9495041646472657373a7312e322e332e34a347656f83a7436f756e747279\
         81a749534f436f6465a0a44369747981a54e616d6573c0a84c6f636174696f6e83a84c61746974756465cb0000000000\
         000000a94c6f6e676974756465cb0000000000000000a854696d655a6f6e65a0a74e6574776f726b84af4f70656e436f\
         6e6e656374696f6e7300b0436c6f736564436f6e6e656374696f6e00a74279746573496e00a842797465734f757400a4\
         5461677391a56b65792d6ba5416c696173a0a9547261636b50617468c2a8457870697265417492ce5e34f7c000",
        r#"{"method":"GET","host":"h","path":"/a","raw_path":"/a","day":1,"month":2,"year":2020,"hour":3,"response_code":200,"api_key":"k","timestamp":"2020-02-01T03:00:00Z","api_version":"Non Versioned","api_name":"n","api_id":"a","org_id":"o","request_time":5,"ip_address":"1.2.3.4","latency":{"total":5,"upstream":4},"tags":["key-k"],"expireAt":"2020-02-01T04:00:00Z"}"#,
    ),
    (
        "R17 a network record",
        "84ac526573706f6e7365436f6465ffa54150494944a27431a54f72674944a26f31a74e6574776f726b84af4f70656e43\
         6f6e6e656374696f6e7302b0436c6f736564436f6e6e656374696f6e01a74279746573496ecd0400a842797465734f75\
         74ce00011170",
        r#"{"response_code":-1,"api_id":"t1","org_id":"o1","network":{"open_connections":2,"closed_connections":1,"bytes_in":1024,"bytes_out":70000}}"#,
    ),
    (
        "R18 key and value as bin",
        "81c4064d6574686f64c403474554",
        r#"{"method":"GET"}"#,
    ),
    ("R19a nothing but nil", "c0", r#"{}"#),
    (
        "R21c an integer for a float",
        "81a347656f81a84c6f636174696f6e81a84c6174697475646533",
        r#"{"geo":{"location":{"latitude":51}}}"#,
    ),
    (
        "R22 bytes after the record",
        "81a64d6574686f64a3474554c1ff",
        r#"{"method":"GET"}"#,
    ),
    (
        "R23 the same key twice",
        "82a64d6574686f64a3474554a64d6574686f64a3505554",
        r#"{"method":"PUT"}"#,
    ),
    (
        "R24 an extension under an unknown key",
        "82a158d6ff6553f100a64d6574686f64a3474554",
        r#"{"method":"GET"}"#,
    ),
    (
        "R25 an error path of several types",
        "81ac4772617068514c537461747382a949734772617068514cc3a64572726f72739182a74d657373616765a16da45061\
         746893a46865726502ff",
        r#"{"graphql_stats":{"Errors":[{"message":"m","path":["here",2,-1]}],"IsGraphQL":true}}"#,
    ),
    (
        "nanoseconds beyond a second",
        "81a954696d655374616d7092ce6553f100cf00000002540be400",
        r#"{"timestamp":"2023-11-14T22:13:30Z"}"#,
    ),
    (
        "nanoseconds below zero",
        "81a954696d655374616d7092ce6553f100ff",
        r#"{"timestamp":"2023-11-14T22:13:19.999999999Z"}"#,
    ),
    (
        "nil for both parts of a time",
        "81a954696d655374616d7092c0c0",
        r#"{"timestamp":"1970-01-01T00:00:00Z"}"#,
    ),
    (
        "seconds wider than needed",
        "81a954696d655374616d7092d3000000006553f10000",
        r#"{"timestamp":"2023-11-14T22:13:20Z"}"#,
    ),
    (
        "an unsigned value beyond the signed range",
        "81ad436f6e74656e744c656e677468cfffffffffffffffff",
        r#"{"content_length":-1}"#,
    ),
    ("a thirteenth month", "81a54d6f6e74680d", r#"{"month":13}"#),
    (
        "a negative unsigned value",
        "81a347656f81a44369747981a947656f4e616d654944ff",
        r#"{"geo":{"city":{"geoname_id":18446744073709551615}}}"#,
    ),
    (
        "a narrow float",
        "81a347656f81a84c6f636174696f6e81a84c61746974756465ca42280000",
        r#"{"geo":{"location":{"latitude":42}}}"#,
    ),
    (
        "nil for a float",
        "81a347656f81a84c6f636174696f6e81a84c61746974756465c0",
        r#"{}"#,
    ),
    ("a string as c4", "81a450617468c4022f61", r#"{"path":"/a"}"#),
    ("a string as c5", "81a450617468c500022f61", r#"{"path":"/a"}"#),
    ("a string as c6", "81a450617468c6000000022f61", r#"{"path":"/a"}"#),
    ("a string as d9", "81a450617468d9022f61", r#"{"path":"/a"}"#),
    ("a string as da", "81a450617468da00022f61", r#"{"path":"/a"}"#),
    ("a string as db", "81a450617468db000000022f61", r#"{"path":"/a"}"#),
    ("nil among tags", "81a45461677392c0a161", r#"{"tags":["","a"]}"#),
    (
        "an extension before a map",
        "81a347656f81a44369747981a54e616d6573c7010581a2656ea178",
        r#"{"geo":{"city":{"names":{"en":"x"}}}}"#,
    ),
    (
        "a short positional structure",
        "81a74c6174656e6379920a08",
        r#"{"latency":{"total":10,"upstream":8}}"#,
    ),
    (
        "a long positional structure",
        "81a74c6174656e6379940a0802a17a",
        r#"{"latency":{"total":10,"upstream":8,"gateway":2}}"#,
    ),
    ("an empty positional structure", "81a74c6174656e637990", r#"{}"#),
    (
        "positional structures inside one",
        "81a347656f9391a24742922a81a2656ea17893cb3ff800000000000001a3555443",
        r#"{"geo":{"country":{"iso_code":"GB"},"city":{"geoname_id":42,"names":{"en":"x"}},"location":{"latitude":1.5,"longitude":1,"time_zone":"UTC"}}}"#,
    ),
    (
        "an operation without a name",
        "81ac4772617068514c537461747381ad4f7065726174696f6e5479706509",
        r#"{"graphql_stats":{"OperationType":9}}"#,
    ),
    (
        "a path of every scalar type",
        "81ac4772617068514c537461747381a64572726f72739182a74d657373616765a0a45061746894cb3ff8000000000000\
         c3c0c401ff",
        r#"{"graphql_stats":{"Errors":[{"message":"","path":[1.5,true,null,"/w=="]}]}}"#,
    ),
    (
        "nil among errors",
        "81ac4772617068514c537461747381a64572726f727391c0",
        r#"{"graphql_stats":{"Errors":[{"message":"","path":null}]}}"#,
    ),
    (
        "nil for the fields of a type",
        "81ac4772617068514c537461747381a5547970657382a162c0a16190",
        r#"{"graphql_stats":{"Types":{"a":[],"b":null}}}"#,
    ),
    (
        "the collection name",
        "81ae436f6c6c656374696f6e4e616d65a66d79636f6c6c",
        r#"{}"#,
    ),
    ("a key in other case", "81a66d6574686f64a3474554", r#"{}"#),
    ("nil for a key", "81c0a3474554", r#"{}"#),
    (
        "a structure twice",
        "82a74c6174656e637981a5546f74616c01a74c6174656e637981a8557073747265616d02",
        r#"{"latency":{"total":1,"upstream":2}}"#,
    ),
    (
        "nil for a structure that had values",
        "82a74c6174656e637981a5546f74616c01a74c6174656e6379c0",
        r#"{}"#,
    ),
    (
        "nil for tags that had values",
        "82a45461677391a161a454616773c0",
        r#"{"tags":["a"]}"#,
    ),
    (
        "a name twice in a map",
        "81a347656f81a44369747981a54e616d657382a16ba131a16ba132",
        r#"{"geo":{"city":{"names":{"k":"2"}}}}"#,
    ),
];

/// Title, input in hexadecimal, beginning of the reason.
pub(crate) const REJECTED: &[(&str, &str, &str)] = &[
    (
        "R14b nil for a bool",
        "81a9547261636b50617468c0",
        "msgpack: invalid code c0 decoding bool",
    ),
    (
        "R14c nil for a time",
        "81a954696d655374616d70c0",
        "msgpack: invalid code c0 decoding time",
    ),
    (
        "R19b a string",
        "a568656c6c6f",
        "msgpack: invalid code a5 decoding map length",
    ),
    ("R19c nothing", "", "EOF"),
    (
        "R20 the timestamp extension",
        "81a954696d655374616d70d6ff6553f100",
        "msgpack: invalid code d6 decoding time",
    ),
    (
        "R21a a string for an integer",
        "81ac526573706f6e7365436f6465a3323030",
        "msgpack: invalid code a3 decoding",
    ),
    (
        "R21b a float for an integer",
        "81ac526573706f6e7365436f6465cb4069000000000000",
        "msgpack: invalid code cb decoding",
    ),
    ("R13 a short map header", "de00", "unexpected EOF"),
    ("R13 a short array header", "dc00", "unexpected EOF"),
    ("R13 a map of four billion pairs", "dfffffffff", "EOF"),
    (
        "R13 a string of four gigabytes",
        "81a450617468dbffffffff61",
        "unexpected EOF",
    ),
    ("R13 four billion tags", "81a454616773ddffffffff", "EOF"),
    (
        "time in a wide array",
        "81a954696d655374616d70dc0002ce6553f10000",
        "msgpack: invalid code dc decoding time",
    ),
    (
        "time of three parts",
        "81a954696d655374616d7093ce6553f1000000",
        "msgpack: invalid code 93 decoding time",
    ),
    (
        "time as a number",
        "81a954696d655374616d70ce6553f100",
        "msgpack: invalid code ce decoding time",
    ),
    (
        "time as a string",
        "81a954696d655374616d70a161",
        "msgpack: invalid code a1 decoding time",
    ),
    (
        "time with a float",
        "81a954696d655374616d7092cb41d954fc4000000000",
        "msgpack: invalid code cb decoding",
    ),
    (
        "time as an extension",
        "81a954696d655374616d70d7ff000000006553f100",
        "msgpack: invalid code d7 decoding time",
    ),
    (
        "latitude as a string",
        "81a347656f81a84c6f636174696f6e81a84c61746974756465a133",
        "msgpack: invalid code a1 decoding",
    ),
    (
        "a string as 01",
        "81a45061746801",
        "msgpack: invalid code 1 decoding bytes length",
    ),
    (
        "a string as c3",
        "81a450617468c3",
        "msgpack: invalid code c3 decoding bytes length",
    ),
    (
        "a string as 91",
        "81a4506174689101",
        "msgpack: invalid code 91 decoding bytes length",
    ),
    (
        "an integer among tags",
        "81a4546167739101",
        "msgpack: invalid code 1 decoding bytes length",
    ),
    (
        "tags as a string",
        "81a454616773a161",
        "msgpack: invalid code a1 decoding array length",
    ),
    (
        "tags as a map",
        "81a45461677380",
        "msgpack: invalid code 80 decoding array length",
    ),
    (
        "names as an array",
        "81a347656f81a44369747981a54e616d657390",
        "msgpack: invalid code 90 decoding map length",
    ),
    (
        "nil for a nested bool",
        "81ac4772617068514c537461747381a94861734572726f7273c0",
        "msgpack: invalid code c0 decoding bool",
    ),
    (
        "an integer as a key",
        "8101a3474554",
        "msgpack: invalid code 1 decoding bytes length",
    ),
    (
        "an extension in an error path",
        "81ac4772617068514c537461747381a64572726f72739181a45061746891d40100",
        "msgpack: invalid code d4 decoding",
    ),
    (
        "a code that nothing has",
        "81a158c1",
        "msgpack: invalid code c1 decoding",
    ),
    (
        "a structure as a string",
        "81a347656fa161",
        "msgpack: invalid code a1 decoding map length",
    ),
];
