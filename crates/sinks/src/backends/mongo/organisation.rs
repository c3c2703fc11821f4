//! Names of collections that are made from organisations, so from records.

/// Bytes of a database's and a collection's name, with the dot between them.
const LONGEST: usize = 255;

/// The name of an organisation's collection. Not every one can exist: see [`collection`].
pub(super) fn name(prefix: &str, organisation: &[u8]) -> String {
    format!("{prefix}{}", String::from_utf8_lossy(organisation))
}

/// The collection of an organisation; an error says why there can be none.
pub(super) fn collection(database: &str, prefix: &str, organisation: &[u8]) -> Result<String, &'static str> {
    let wrong = match organisation {
        id if id.contains(&b'\0') => {
            Some("its organisation id has a NUL character, which no collection can have in its name")
        }
        id if id.contains(&b'$') => Some("its organisation id has a $, which no collection can have in its name"),
        id if id.ends_with(b".") => Some("its organisation id ends with a dot, which no collection can have there"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    let name = name(prefix, organisation);
    match database.len() + 1 + name.len() > LONGEST {
        true => Err("its organisation id is too long for the name of a collection"),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organisation_that_makes_no_name_is_told_from_others() {
        let of = |id: &[u8]| collection("tyk", "z_tyk_analyticz_", id);
        assert_eq!(
            of(b"5e9d9544a1dcd60001d0ed20").unwrap(),
            "z_tyk_analyticz_5e9d9544a1dcd60001d0ed20"
        );
        assert_eq!(of(b"").unwrap(), "z_tyk_analyticz_");
        assert_eq!(of("é a.b".as_bytes()).unwrap(), "z_tyk_analyticz_é a.b");
        for id in [&b"a\0b"[..], b"a$b", b"$", b"a.", &[b'x'; 240]] {
            assert!(of(id).is_err(), "{id:?}");
        }
    }
}
