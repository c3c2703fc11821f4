//! The field table: the one source of every name that a field has anywhere.
//!
//! [`FIELDS`] holds the record's own fields in declaration order, which is the order of keys in msgpack, JSON, BSON, SQL
//! and CSV. Fields that are structures lead to further rows through [`Store::Struct`]; [`LEAVES`] has all fields that
//! hold a value, flat and in the same order.

macro_rules! indexes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant),* }
        impl $name {
            /// All of them, in order.
            pub const ALL: &[$name] = &[$($name::$variant),*];
            /// Number of fields of this kind.
            pub const COUNT: usize = Self::ALL.len();
        }
    };
}

pub(crate) use indexes;

indexes! {
    /// Text fields: strings of any bytes.
    #[allow(missing_docs)]
    Text { Method, Host, Path, RawPath, UserAgent, ApiKey, ApiVersion, ApiName, ApiId, OrgId, OauthId, RawRequest, RawResponse,
           IpAddress, GeoCountryIsoCode, GeoLocationTimeZone, Alias, ApiSchema, OriginalPath, ListenPath,
           GraphVariables, McpJsonRpcMethod, McpPrimitiveType, McpPrimitiveName }
}
indexes! {
    /// Integer fields.
    #[allow(missing_docs)]
    Int { ContentLength, Day, Month, Year, Hour, ResponseCode, RequestTime, GeoNameId, NetworkOpenConnections,
          NetworkClosedConnections, NetworkBytesIn, NetworkBytesOut, LatencyTotal, LatencyUpstream, LatencyGateway,
          GraphOperationType }
}
indexes! {
    /// Float fields.
    #[allow(missing_docs)]
    Float { Latitude, Longitude }
}
indexes! {
    /// Time fields.
    #[allow(missing_docs)]
    When { TimeStamp, ExpireAt }
}
indexes! {
    /// Boolean fields.
    #[allow(missing_docs)]
    Flag { TrackPath, GraphHasErrors, IsGraphQl, IsMcp }
}

indexes! {
    /// Top-level fields in declaration order: the order of keys in msgpack, JSON, BSON and SQL.
    #[allow(missing_docs)]
    Field { Method, Host, Path, RawPath, ContentLength, UserAgent, Day, Month, Year, Hour, ResponseCode, ApiKey, TimeStamp,
            ApiVersion, ApiName, ApiId, OrgId, OauthId, RequestTime, RawRequest, RawResponse, IpAddress, Geo, Network, Latency,
            Tags, Alias, TrackPath, ExpireAt, ApiSchema, OriginalPath, ListenPath, GraphQlStats, McpStats, CollectionName }
}

/// How an integer is declared. All are kept as `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Go's `int`: cut to 32 bits in protobuf, and in BSON 32 bits wide where the value fits.
    Int,
    /// `int64`: 64 bits wide everywhere.
    Long,
    /// Go's `uint`, kept as bits: `uint32` in protobuf, otherwise as [`Width::Int`] but unsigned.
    Unsigned,
}

/// Structures inside the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shape {
    Geo,
    Country,
    City,
    Location,
    Network,
    Latency,
    GraphQlStats,
    McpStats,
}

impl Shape {
    /// The structure's fields in declaration order.
    pub const fn fields(self) -> &'static [FieldInfo] {
        match self {
            Shape::Geo => GEO,
            Shape::Country => COUNTRY,
            Shape::City => CITY,
            Shape::Location => LOCATION,
            Shape::Network => NETWORK,
            Shape::Latency => LATENCY,
            Shape::GraphQlStats => GRAPHQL_STATS,
            Shape::McpStats => MCP_STATS,
        }
    }
}

/// Where a record keeps the value of a field, and so of which type it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// A string of any bytes.
    Text(Text),
    /// An integer.
    Int(Int, Width),
    /// A float.
    Float(Float),
    /// An instant.
    Time(When),
    /// A boolean.
    Flag(Flag),
    /// The list of tags.
    Tags,
    /// Map of language to the city's name.
    CityNames,
    /// List of strings.
    RootFields,
    /// Map of type name to list of strings.
    Types,
    /// List of GraphQL errors; keys in [`graph_error`].
    Errors,
    /// Travels in msgpack as a string, but is never kept.
    Nothing,
    /// A structure with rows of its own.
    Struct(Shape),
}

/// The names of one field in every encoding.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    /// The top-level field that this one is or lies in.
    pub field: Field,
    /// Go's name, which is also the msgpack key.
    pub go: &'static str,
    /// JSON key inside the enclosing object.
    pub json: Option<&'static str>,
    /// BSON key inside the enclosing document.
    pub bson: Option<&'static str>,
    /// Column of table `tyk_analytics`; structures have none of their own.
    pub sql: Option<&'static str>,
    /// CSV header; structures have none of their own.
    pub csv: Option<&'static str>,
    /// Protobuf field number inside the enclosing message; 0: not carried.
    pub protobuf: u32,
    /// Where a record keeps it.
    pub store: Store,
}

/// Names of a GraphQL error's fields.
pub mod graph_error {
    /// msgpack key of the text.
    pub const MESSAGE: &str = "Message";
    /// msgpack key of the place in the response.
    pub const PATH: &str = "Path";
    /// JSON and BSON key of the text.
    pub const JSON_MESSAGE: &str = "message";
    /// JSON and BSON key of the place in the response.
    pub const JSON_PATH: &str = "path";
}

/// One row of the table; an empty name stands for none.
#[allow(clippy::too_many_arguments)]
const fn row(
    field: Field,
    go: &'static str,
    json: &'static str,
    bson: &'static str,
    sql: &'static str,
    csv: &'static str,
    protobuf: u32,
    store: Store,
) -> FieldInfo {
    FieldInfo {
        field,
        go,
        json: name(json),
        bson: name(bson),
        sql: name(sql),
        csv: name(csv),
        protobuf,
        store,
    }
}

const fn name(text: &'static str) -> Option<&'static str> {
    if text.is_empty() { None } else { Some(text) }
}

/// The record's own fields, by [`Field`].
#[rustfmt::skip]
pub const FIELDS: &[FieldInfo] = &[
    row(Field::Method, "Method", "method", "method", "method", "Method", 2, Store::Text(Text::Method)),
    row(Field::Host, "Host", "host", "host", "host", "Host", 1, Store::Text(Text::Host)),
    row(Field::Path, "Path", "path", "path", "path", "Path", 3, Store::Text(Text::Path)),
    row(Field::RawPath, "RawPath", "raw_path", "rawpath", "rawpath", "RawPath", 4, Store::Text(Text::RawPath)),
    row(Field::ContentLength, "ContentLength", "content_length", "contentlength", "contentlength", "ContentLength", 5, Store::Int(Int::ContentLength, Width::Long)),
    row(Field::UserAgent, "UserAgent", "user_agent", "useragent", "useragent", "UserAgent", 6, Store::Text(Text::UserAgent)),
    row(Field::Day, "Day", "day", "day", "day", "Day", 7, Store::Int(Int::Day, Width::Int)),
    row(Field::Month, "Month", "month", "month", "month", "Month", 8, Store::Int(Int::Month, Width::Int)),
    row(Field::Year, "Year", "year", "year", "year", "Year", 9, Store::Int(Int::Year, Width::Int)),
    row(Field::Hour, "Hour", "hour", "hour", "hour", "Hour", 10, Store::Int(Int::Hour, Width::Int)),
    row(Field::ResponseCode, "ResponseCode", "response_code", "responsecode", "responsecode", "ResponseCode", 11, Store::Int(Int::ResponseCode, Width::Int)),
    row(Field::ApiKey, "APIKey", "api_key", "apikey", "apikey", "APIKey", 12, Store::Text(Text::ApiKey)),
    row(Field::TimeStamp, "TimeStamp", "timestamp", "timestamp", "timestamp", "TimeStamp", 13, Store::Time(When::TimeStamp)),
    row(Field::ApiVersion, "APIVersion", "api_version", "apiversion", "apiversion", "APIVersion", 14, Store::Text(Text::ApiVersion)),
    row(Field::ApiName, "APIName", "api_name", "apiname", "api_name", "APIName", 15, Store::Text(Text::ApiName)),
    row(Field::ApiId, "APIID", "api_id", "apiid", "apiid", "APIID", 16, Store::Text(Text::ApiId)),
    row(Field::OrgId, "OrgID", "org_id", "orgid", "orgid", "OrgID", 17, Store::Text(Text::OrgId)),
    row(Field::OauthId, "OauthID", "oauth_id", "oauthid", "oauthid", "OauthID", 29, Store::Text(Text::OauthId)),
    row(Field::RequestTime, "RequestTime", "request_time", "requesttime", "requesttime", "RequestTime", 18, Store::Int(Int::RequestTime, Width::Long)),
    row(Field::RawRequest, "RawRequest", "raw_request", "rawrequest", "rawrequest", "RawRequest", 20, Store::Text(Text::RawRequest)),
    row(Field::RawResponse, "RawResponse", "raw_response", "rawresponse", "rawresponse", "RawResponse", 21, Store::Text(Text::RawResponse)),
    row(Field::IpAddress, "IPAddress", "ip_address", "ipaddress", "ipaddress", "IPAddress", 22, Store::Text(Text::IpAddress)),
    row(Field::Geo, "Geo", "geo", "geo", "", "", 23, Store::Struct(Shape::Geo)),
    row(Field::Network, "Network", "network", "network", "", "", 24, Store::Struct(Shape::Network)),
    row(Field::Latency, "Latency", "latency", "latency", "", "", 19, Store::Struct(Shape::Latency)),
    row(Field::Tags, "Tags", "tags", "tags", "tags", "Tags", 25, Store::Tags),
    row(Field::Alias, "Alias", "alias", "alias", "alias", "Alias", 26, Store::Text(Text::Alias)),
    row(Field::TrackPath, "TrackPath", "track_path", "trackpath", "trackpath", "TrackPath", 27, Store::Flag(Flag::TrackPath)),
    row(Field::ExpireAt, "ExpireAt", "expireAt", "expireAt", "expireAt", "ExpireAt", 28, Store::Time(When::ExpireAt)),
    row(Field::ApiSchema, "ApiSchema", "api_schema", "", "", "ApiSchema", 31, Store::Text(Text::ApiSchema)),
    row(Field::OriginalPath, "OriginalPath", "original_path", "originalpath", "originalpath", "OriginalPath", 34, Store::Text(Text::OriginalPath)),
    row(Field::ListenPath, "ListenPath", "listen_path", "listenpath", "listenpath", "ListenPath", 35, Store::Text(Text::ListenPath)),
    row(Field::GraphQlStats, "GraphQLStats", "graphql_stats", "", "", "", 32, Store::Struct(Shape::GraphQlStats)),
    row(Field::McpStats, "MCPStats", "mcp_stats", "", "", "", 33, Store::Struct(Shape::McpStats)),
    row(Field::CollectionName, "CollectionName", "", "", "", "", 0, Store::Nothing),
];

#[rustfmt::skip]
const GEO: &[FieldInfo] = &[
    row(Field::Geo, "Country", "country", "country", "", "", 1, Store::Struct(Shape::Country)),
    row(Field::Geo, "City", "city", "city", "", "", 2, Store::Struct(Shape::City)),
    row(Field::Geo, "Location", "location", "location", "", "", 3, Store::Struct(Shape::Location)),
];

#[rustfmt::skip]
const COUNTRY: &[FieldInfo] = &[
    row(Field::Geo, "ISOCode", "iso_code", "isocode", "geo_country_iso_code", "GeoData.Country.ISOCode", 1, Store::Text(Text::GeoCountryIsoCode)),
];

#[rustfmt::skip]
const CITY: &[FieldInfo] = &[
    row(Field::Geo, "GeoNameID", "geoname_id", "geonameid", "geo_city_geoname_id", "GeoData.City.GeoNameID", 2, Store::Int(Int::GeoNameId, Width::Unsigned)),
    row(Field::Geo, "Names", "names", "names", "geo_city_names", "GeoData.City.Names", 1, Store::CityNames),
];

#[rustfmt::skip]
const LOCATION: &[FieldInfo] = &[
    row(Field::Geo, "Latitude", "latitude", "latitude", "geo_location_latitude", "GeoData.Location.Latitude", 1, Store::Float(Float::Latitude)),
    row(Field::Geo, "Longitude", "longitude", "longitude", "geo_location_longitude", "GeoData.Location.Longitude", 2, Store::Float(Float::Longitude)),
    row(Field::Geo, "TimeZone", "time_zone", "timezone", "geo_location_time_zone", "GeoData.Location.TimeZone", 3, Store::Text(Text::GeoLocationTimeZone)),
];

#[rustfmt::skip]
const NETWORK: &[FieldInfo] = &[
    row(Field::Network, "OpenConnections", "open_connections", "openconnections", "network_open_connections", "NetworkStats.OpenConnections", 1, Store::Int(Int::NetworkOpenConnections, Width::Long)),
    row(Field::Network, "ClosedConnection", "closed_connections", "closedconnection", "network_closed_connections", "NetworkStats.ClosedConnection", 2, Store::Int(Int::NetworkClosedConnections, Width::Long)),
    row(Field::Network, "BytesIn", "bytes_in", "bytesin", "network_bytes_in", "NetworkStats.BytesIn", 3, Store::Int(Int::NetworkBytesIn, Width::Long)),
    row(Field::Network, "BytesOut", "bytes_out", "bytesout", "network_bytes_out", "NetworkStats.BytesOut", 4, Store::Int(Int::NetworkBytesOut, Width::Long)),
];

#[rustfmt::skip]
const LATENCY: &[FieldInfo] = &[
    row(Field::Latency, "Total", "total", "total", "latency_total", "Latency.Total", 1, Store::Int(Int::LatencyTotal, Width::Long)),
    row(Field::Latency, "Upstream", "upstream", "upstream", "latency_upstream", "Latency.Upstream", 2, Store::Int(Int::LatencyUpstream, Width::Long)),
    row(Field::Latency, "Gateway", "gateway", "gateway", "latency_gateway", "Latency.Gateway", 0, Store::Int(Int::LatencyGateway, Width::Long)),
];

#[rustfmt::skip]
const GRAPHQL_STATS: &[FieldInfo] = &[
    row(Field::GraphQlStats, "Variables", "Variables", "", "graphql_stats_variables", "", 4, Store::Text(Text::GraphVariables)),
    row(Field::GraphQlStats, "RootFields", "RootFields", "", "graphql_stats_root_fields", "", 5, Store::RootFields),
    row(Field::GraphQlStats, "Types", "Types", "", "graphql_stats_types", "", 2, Store::Types),
    row(Field::GraphQlStats, "Errors", "Errors", "", "graphql_stats_errors", "", 7, Store::Errors),
    row(Field::GraphQlStats, "OperationType", "OperationType", "", "graphql_stats_operation_type", "", 3, Store::Int(Int::GraphOperationType, Width::Int)),
    row(Field::GraphQlStats, "HasErrors", "HasErrors", "", "graphql_stats_has_errors", "", 6, Store::Flag(Flag::GraphHasErrors)),
    row(Field::GraphQlStats, "IsGraphQL", "IsGraphQL", "", "graphql_stats_is_graph_ql", "", 1, Store::Flag(Flag::IsGraphQl)),
];

#[rustfmt::skip]
const MCP_STATS: &[FieldInfo] = &[
    row(Field::McpStats, "IsMCP", "is_mcp", "", "mcp_stats_is_mcp", "", 1, Store::Flag(Flag::IsMcp)),
    row(Field::McpStats, "JSONRPCMethod", "jsonrpc_method", "", "mcp_stats_jsonrpc_method", "", 2, Store::Text(Text::McpJsonRpcMethod)),
    row(Field::McpStats, "PrimitiveType", "primitive_type", "", "mcp_stats_primitive_type", "", 3, Store::Text(Text::McpPrimitiveType)),
    row(Field::McpStats, "PrimitiveName", "primitive_name", "", "mcp_stats_primitive_name", "", 4, Store::Text(Text::McpPrimitiveName)),
];

const fn count(fields: &[FieldInfo]) -> usize {
    let (mut at, mut leaves) = (0, 0);
    while at < fields.len() {
        leaves += match fields[at].store {
            Store::Struct(shape) => count(shape.fields()),
            _ => 1,
        };
        at += 1;
    }
    leaves
}

const fn flatten(
    fields: &'static [FieldInfo],
    mut flat: [FieldInfo; LEAF_COUNT],
    mut end: usize,
) -> ([FieldInfo; LEAF_COUNT], usize) {
    let mut at = 0;
    while at < fields.len() {
        if let Store::Struct(shape) = fields[at].store {
            (flat, end) = flatten(shape.fields(), flat, end);
        } else {
            flat[end] = fields[at];
            end += 1;
        }
        at += 1;
    }
    (flat, end)
}

const LEAF_COUNT: usize = count(FIELDS);

/// Every field that holds a value, nested ones in the place of their structure.
pub static LEAVES: [FieldInfo; LEAF_COUNT] = flatten(FIELDS, [FIELDS[0]; LEAF_COUNT], 0).0;

macro_rules! top_level_fields {
    ($($name:ident, $store:pat => $index:expr;)*) => {
        $(impl $name {
            /// The top-level field that this one is or lies in.
            pub const fn field(self) -> Field {
                const TOP: [Field; $name::COUNT] = {
                    let leaves = flatten(FIELDS, [FIELDS[0]; LEAF_COUNT], 0).0;
                    let mut top = [Field::Method; $name::COUNT];
                    let mut at = 0;
                    while at < leaves.len() {
                        if let $store = leaves[at].store {
                            top[$index as usize] = leaves[at].field;
                        }
                        at += 1;
                    }
                    top
                };
                TOP[self as usize]
            }
        })*
    };
}

top_level_fields! {
    Text, Store::Text(text) => text;
    Int, Store::Int(int, _) => int;
    Float, Store::Float(float) => float;
    When, Store::Time(when) => when;
    Flag, Store::Flag(flag) => flag;
}

impl Field {
    /// The field's row of [`FIELDS`].
    pub const fn info(self) -> &'static FieldInfo {
        &FIELDS[self as usize]
    }

    /// The field with this JSON key, exactly.
    pub fn by_json(key: &str) -> Option<Field> {
        FIELDS.iter().find(|info| info.json == Some(key)).map(|info| info.field)
    }
}

#[cfg(test)]
mod tests {
    use super::{FIELDS, LEAVES, Store, Text};

    #[test]
    fn csv_columns_are_the_leaves_in_order() {
        let header: Vec<&str> = LEAVES.iter().filter_map(|info| info.csv).collect();
        let want = "Method,Host,Path,RawPath,ContentLength,UserAgent,Day,Month,Year,Hour,ResponseCode,APIKey,TimeStamp,\
            APIVersion,APIName,APIID,OrgID,OauthID,RequestTime,RawRequest,RawResponse,IPAddress,GeoData.Country.ISOCode,\
            GeoData.City.GeoNameID,GeoData.City.Names,GeoData.Location.Latitude,GeoData.Location.Longitude,\
            GeoData.Location.TimeZone,NetworkStats.OpenConnections,NetworkStats.ClosedConnection,NetworkStats.BytesIn,\
            NetworkStats.BytesOut,Latency.Total,Latency.Upstream,Latency.Gateway,Tags,Alias,TrackPath,ExpireAt,ApiSchema,\
            OriginalPath,ListenPath";
        assert_eq!(header.join(","), want);
    }

    #[test]
    fn sql_columns_are_those_of_existing_tables() {
        let columns: Vec<&str> = LEAVES.iter().filter_map(|info| info.sql).collect();
        let want = "method,host,path,rawpath,contentlength,useragent,day,month,year,hour,responsecode,apikey,timestamp,\
            apiversion,api_name,apiid,orgid,oauthid,requesttime,rawrequest,rawresponse,ipaddress,geo_country_iso_code,\
            geo_city_geoname_id,geo_city_names,geo_location_latitude,geo_location_longitude,geo_location_time_zone,\
            network_open_connections,network_closed_connections,network_bytes_in,network_bytes_out,latency_total,\
            latency_upstream,latency_gateway,tags,alias,trackpath,expireAt,originalpath,listenpath,graphql_stats_variables,\
            graphql_stats_root_fields,graphql_stats_types,graphql_stats_errors,graphql_stats_operation_type,\
            graphql_stats_has_errors,graphql_stats_is_graph_ql,mcp_stats_is_mcp,mcp_stats_jsonrpc_method,\
            mcp_stats_primitive_type,mcp_stats_primitive_name";
        assert_eq!(columns.join(","), want);
    }

    #[test]
    fn rows_stand_where_their_enums_count() {
        for (at, info) in FIELDS.iter().enumerate() {
            assert_eq!(info.field as usize, at);
        }
        for &text in Text::ALL {
            let info = LEAVES.iter().find(|info| info.store == Store::Text(text));
            assert_eq!(info.map(|info| info.field), Some(text.field()));
        }
    }
}
