//! What requests are counted by.

/// What requests are counted by. The order is the one in which an aggregate lists its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Dimension {
    /// Target of an uptime check.
    Url,
    /// API.
    ApiId,
    /// Response code of 400 and above.
    Errors,
    /// Version of an API.
    Versions,
    /// API key.
    ApiKeys,
    /// OAuth client.
    OauthIds,
    /// Country.
    Geo,
    /// Tag.
    Tags,
    /// Path, across APIs.
    Endpoints,
    /// Path of an API, by key. Nested.
    KeyEndpoints,
    /// Path of an API, by OAuth client. Nested.
    OauthEndpoints,
    /// Path of an API and version.
    ApiEndpoints,
    /// Every request of the aggregate: one entry.
    Total,
    /// GraphQL type.
    Types,
    /// GraphQL type and field.
    Fields,
    /// GraphQL operation.
    Operation,
    /// GraphQL root field.
    RootFields,
    /// JSON-RPC method of MCP.
    Methods,
    /// MCP primitive type.
    Primitives,
    /// MCP primitive type and name.
    Names,
}

impl Dimension {
    /// All of them, in order.
    pub const ALL: [Dimension; 20] = [
        Dimension::Url,
        Dimension::ApiId,
        Dimension::Errors,
        Dimension::Versions,
        Dimension::ApiKeys,
        Dimension::OauthIds,
        Dimension::Geo,
        Dimension::Tags,
        Dimension::Endpoints,
        Dimension::KeyEndpoints,
        Dimension::OauthEndpoints,
        Dimension::ApiEndpoints,
        Dimension::Total,
        Dimension::Types,
        Dimension::Fields,
        Dimension::Operation,
        Dimension::RootFields,
        Dimension::Methods,
        Dimension::Primitives,
        Dimension::Names,
    ];

    /// Name in SQL rows and in paths of MongoDB documents; empty for [`Dimension::Total`].
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// Key in the JSON form of an aggregate.
    pub const fn json(self) -> &'static str {
        self.names().1
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Dimension::Url => ("url", "URL"),
            Dimension::ApiId => ("apiid", "APIID"),
            Dimension::Errors => ("errors", "Errors"),
            Dimension::Versions => ("versions", "Versions"),
            Dimension::ApiKeys => ("apikeys", "APIKeys"),
            Dimension::OauthIds => ("oauthids", "OauthIDs"),
            Dimension::Geo => ("geo", "Geo"),
            Dimension::Tags => ("tags", "Tags"),
            Dimension::Endpoints => ("endpoints", "Endpoints"),
            Dimension::KeyEndpoints => ("keyendpoints", "KeyEndpoint"),
            Dimension::OauthEndpoints => ("oauthendpoints", "OauthEndpoint"),
            Dimension::ApiEndpoints => ("apiendpoints", "ApiEndpoint"),
            Dimension::Total => ("", "Total"),
            Dimension::Types => ("types", "Types"),
            Dimension::Fields => ("fields", "Fields"),
            Dimension::Operation => ("operation", "Operation"),
            Dimension::RootFields => ("rootfields", "RootFields"),
            Dimension::Methods => ("methods", "Methods"),
            Dimension::Primitives => ("primitives", "Primitives"),
            Dimension::Names => ("names", "Names"),
        }
    }

    /// Whether entries lie two levels deep: key or client, then endpoint.
    pub const fn is_nested(self) -> bool {
        matches!(self, Dimension::KeyEndpoints | Dimension::OauthEndpoints)
    }

    /// The dimension that an element of `ignore_aggregations` names: its [`name`](Self::name) or its JSON key, exactly.
    /// The total and what GraphQL, MCP and uptime add cannot be left out.
    pub fn ignorable(name: &str) -> Option<Dimension> {
        let standard = Self::ALL
            .into_iter()
            .filter(|dimension| (Dimension::ApiId..=Dimension::ApiEndpoints).contains(dimension));
        let mut named = standard.filter(|dimension| dimension.name() == name || dimension.json() == name);
        named.next()
    }
}

/// A set of dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dimensions(u32);

impl Dimensions {
    /// Adds one.
    pub fn insert(&mut self, dimension: Dimension) {
        self.0 |= 1 << dimension as u32;
    }

    /// Whether it is in the set.
    pub const fn contains(self, dimension: Dimension) -> bool {
        self.0 & (1 << dimension as u32) != 0
    }
}

impl FromIterator<Dimension> for Dimensions {
    fn from_iter<I: IntoIterator<Item = Dimension>>(dimensions: I) -> Self {
        let mut set = Dimensions::default();
        dimensions.into_iter().for_each(|dimension| set.insert(dimension));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_standard_dimension_can_be_ignored_and_nothing_else() {
        assert_eq!(Dimension::ignorable("KeyEndpoint"), Some(Dimension::KeyEndpoints));
        assert_eq!(Dimension::ignorable("keyendpoints"), Some(Dimension::KeyEndpoints));
        for other in ["", "Total", "total", "APIId", "types", "url", "team.blue"] {
            assert_eq!(Dimension::ignorable(other), None, "{other}");
        }
    }

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let set: Dimensions = [Dimension::Geo, Dimension::Names].into_iter().collect();
        let held: Vec<_> = Dimension::ALL.into_iter().filter(|&one| set.contains(one)).collect();
        assert_eq!(held, [Dimension::Geo, Dimension::Names]);
    }
}
