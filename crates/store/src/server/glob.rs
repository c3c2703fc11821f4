//! Redis' patterns: `*`, `?`, `[a-z]`, `[^a]`, `\`.

/// Whether `text` matches. Takes time in proportion to both lengths, whatever the pattern.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where the last star stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, position));
            at += 1;
            continue;
        }
        let next = match (pattern.get(at), text.get(position)) {
            (None, None) => return true,
            (Some(_), Some(byte)) => one(pattern, at, *byte),
            (None, Some(_)) | (Some(_), None) => None,
        };
        match (next, star) {
            (Some(next), _) => {
                at = next;
                position += 1;
            }
            (None, Some((behind, taken))) if taken < text.len() => {
                star = Some((behind, taken + 1));
                (at, position) = (behind, taken + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Matches one byte; where the pattern goes on, if it does.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => class(pattern, at + 1, byte),
        b'\\' if pattern.len() > at + 1 => (pattern.get(at + 1) == Some(&byte)).then_some(at + 2),
        literal => (*literal == byte).then_some(at + 1),
    }
}

fn class(pattern: &[u8], from: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(from) == Some(&b'^');
    let mut at = from + usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(at..)? {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [low, b'-', high, ..] if *high != b']' => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_those_of_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("analytics-*", "analytics-tyk", true),
            ("*tyk*analytics*", "analytics-tyk-system-analytics_3", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[c-a]x", "bx", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a[", "a[", false),
            ("*b", "aab", true),
            ("*b", "aba", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
        let pattern = "*a".repeat(500);
        assert!(!matches(pattern.as_bytes(), "a".repeat(400).as_bytes()));
    }
}
