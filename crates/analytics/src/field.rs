//! The field table: the one source of every name that a field has anywhere.
//! Facts: column order and names of the record as the gateway declares it.

macro_rules! indexes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant),* }
        impl $name {
            /// Number of fields of this kind.
            pub const COUNT: usize = [$($name::$variant),*].len();
        }
    };
}

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

/// The names of one field in every encoding.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    /// Which.
    pub field: Field,
}

/// The table.
pub const FIELDS: &[FieldInfo] = &[];
