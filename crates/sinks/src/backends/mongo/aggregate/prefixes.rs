//! What very many tags have in common.

use std::collections::HashMap;

/// Tags that are compared with each other: comparing all would be quadratic.
const EXAMINED: usize = 300;

/// Up to five beginnings that tags share, the most frequent first; of one tag, the tag.
pub(super) fn of(tags: &[&str]) -> Vec<String> {
    let tags = tags.get(..tags.len().min(EXAMINED)).unwrap_or_default();
    if let [] | [_] = tags {
        return tags.iter().map(|&tag| tag.to_owned()).collect();
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (at, tag) in tags.iter().enumerate() {
        for other in tags.iter().skip(at + 1) {
            let shared = shared(tag, other);
            if !shared.is_empty() {
                *counts.entry(shared).or_default() += 1;
            }
        }
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    counts.into_iter().take(5).map(|(text, _)| text.to_owned()).collect()
}

fn shared<'a>(a: &'a str, b: &str) -> &'a str {
    let ends = a.char_indices().zip(b.chars());
    let mut end = 0;
    for ((at, ours), theirs) in ends {
        if ours != theirs {
            break;
        }
        end = at + ours.len_utf8();
    }
    a.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_most_frequent_beginnings_come_first() {
        assert_eq!(
            super::of(&["req-1", "req-2", "req-3", "env-a", "env-b", "x"]),
            ["req-", "env-"]
        );
        assert_eq!(super::of(&["one"]), ["one"]);
        assert!(super::of(&[]).is_empty());
    }
}
