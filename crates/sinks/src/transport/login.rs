//! User and password in a URL.

/// What to say of a URL that [`is_cut`].
pub(crate) const UNESCAPED: &str = "the user or the password has a character that ends it early: write / as %2F, ? as %3F, \
                                    # as %23, @ as %40 and : as %3A";

/// Whether the password of a URL was written as it is and has a character with a meaning of its own: what stands before
/// that is then taken for host and port, and would be shown in errors. `rest` is what follows `://`, `ends` are the characters
/// that end host and port.
pub(crate) fn is_cut(rest: &str, ends: &[char]) -> bool {
    let Some(end) = rest.find(ends) else {
        return false;
    };
    let (authority, behind) = rest.split_at(end);
    if authority.contains('@') || !behind.contains('@') {
        return false;
    }
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    // An @ behind a proper port may belong to a path.
    port.is_some_and(|port| behind.starts_with('#') || !port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_ends_early_is_noticed_and_a_path_is_left_alone() {
        let ends = ['/', '?', '#'];
        for cut in ["u:pa/ss@h/db", "u:pa?ss@h/db", "u:pa#ss@h/db", "u:12#ss@h:1/db"] {
            assert!(is_cut(cut, &ends), "{cut}");
        }
        for fine in [
            "u:p@ss@h/db",
            "h:1/db?user=me@home",
            "h:8088/a@b",
            "h/db?user=me@home",
            "u:p@h/a@b",
            "h",
            "u:p@h#a@b",
        ] {
            assert!(!is_cut(fine, &ends), "{fine}");
        }
        assert!(!is_cut("u:pa#ss@h/db", &['/', '?']), "no end here");
    }
}
