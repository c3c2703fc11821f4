//! What a pump changes about the records that it sees: computed on access, so that a batch is never copied.

use std::fmt;

use crate::{FIELDS, Field};

/// The options of one pump that alter records, in the reference's order: omit or trim, then ignore, then decode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transform {
    /// `omit_detailed_recording`: raw request and response are empty.
    pub omit_detailed: bool,
    /// `max_record_size`: raw request and response are cut to this many bytes of the stored text; 0 = no limit.
    pub max_record_size: usize,
    /// `ignore_fields`: bit `Field as u64` set = the field has its zero value.
    pub ignored: u64,
    /// `raw_request_decoded`: the raw request is base64-decoded if it is valid base64.
    pub decode_request: bool,
    /// `raw_response_decoded`: likewise the response.
    pub decode_response: bool,
}

/// A name in `ignore_fields` that no top-level field has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// As it was given.
    pub name: String,
    /// The field whose name is nearest, if one is near.
    pub suggestion: Option<&'static str>,
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ignore_fields: no field is named \"{}\"", self.name)?;
        match self.suggestion {
            Some(name) => write!(f, "; did you mean \"{name}\"?"),
            None => Ok(()),
        }
    }
}

impl Transform {
    /// Changes nothing.
    pub const NONE: Transform = Transform {
        omit_detailed: false,
        max_record_size: 0,
        ignored: 0,
        decode_request: false,
        decode_response: false,
    };

    /// Whether `field` is blanked.
    pub const fn ignores(&self, field: Field) -> bool {
        self.ignored & (1 << field as u64) != 0
    }

    /// The value of `ignored` for these JSON names of top-level fields, and the names that there are none of.
    pub fn parse_ignore_fields<S: AsRef<str>>(names: &[S]) -> (u64, Vec<UnknownField>) {
        let mut ignored = 0;
        let mut unknown = Vec::new();
        for name in names {
            let name = name.as_ref();
            match Field::by_json(name) {
                Some(field) => ignored |= 1 << field as u64,
                None => unknown.push(UnknownField {
                    name: name.to_owned(),
                    suggestion: nearest(name),
                }),
            }
        }
        (ignored, unknown)
    }
}

fn nearest(name: &str) -> Option<&'static str> {
    // A name in another spelling (Go's, or without underscores) is as near as can be.
    let plain = |name: &str| name.replace(['_', '-', ' '], "").to_lowercase();
    let wanted = plain(name);
    let distance = |json: &str| strsim::damerau_levenshtein(&plain(json), &wanted);
    let names = FIELDS.iter().filter_map(|info| info.json);
    let (distance, nearest) = names
        .map(|json| (distance(json), json))
        .min_by_key(|&(distance, _)| distance)?;
    (distance <= wanted.len() / 3).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::Transform;
    use crate::Field;

    #[test]
    fn only_json_names_of_top_level_fields_can_be_ignored() {
        let (ignored, unknown) = Transform::parse_ignore_fields(&["api_key", "expireAt", "geo"]);
        let transform = Transform {
            ignored,
            ..Transform::default()
        };
        assert!(unknown.is_empty());
        for &field in Field::ALL {
            let want = matches!(field, Field::ApiKey | Field::ExpireAt | Field::Geo);
            assert_eq!(transform.ignores(field), want, "{field:?}");
        }
    }

    #[test]
    fn unknown_names_come_with_the_nearest_field() {
        let names = [
            "APIKey",
            "geo.country",
            "",
            "-",
            "rawrequest",
            "expire_at",
            "reponse_code",
            "x",
            "zzzzzzzzz",
        ];
        let (ignored, unknown) = Transform::parse_ignore_fields(&names);
        assert_eq!(ignored, 0);
        let suggestions: Vec<_> = unknown.iter().map(|unknown| unknown.suggestion).collect();
        let want = [
            Some("api_key"),
            None,
            None,
            None,
            Some("raw_request"),
            Some("expireAt"),
            Some("response_code"),
            None,
            None,
        ];
        assert_eq!(suggestions, want);
        assert_eq!(
            unknown[0].to_string(),
            "ignore_fields: no field is named \"APIKey\"; did you mean \"api_key\"?"
        );
    }
}
