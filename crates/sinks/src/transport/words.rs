//! What may be shown of a server's words.
//!
//! A server may repeat what it was sent: an answer to a bad request quotes it, a database shows the row that breaks a
//! constraint. So no text of a server is shown as it is. Codes and names of types say most; of sentences the words that
//! errors are made of stay, and everything else becomes `…`.

#[cfg(feature = "http")]
use std::borrow::Cow;

/// Words of error messages, none of which a record is known by; sorted.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "a", "accepted", "access", "account", "acknowledgement", "action", "all", "allowed", "already", "an", "and",
    "api", "are", "array", "as", "at", "authentication",
    "authorization", "bad", "be", "been", "beyond", "blank", "blocked",
    "body", "boolean", "bulk", "busy", "by", "byte", "bytes", "can", "cannot", "channel", "character", "check",
    "client", "closed", "cluster", "code", "collection", "column", "conflict", "connect", "connection", "connections",
    "constraint", "content", "convert", "created", "credentials", "current", "data", "database", "date", "day",
    "denied", "description", "disabled", "disk", "document",
    "does", "down", "dropped", "duplicate", "duplicated", "during",
    "element", "email", "empty", "encoding", "end", "entity", "entry", "error", "errors", "event", "events", "exceed",
    "exceeded", "exceeds", "exception", "exist", "existing", "exists", "expected", "expired", "fail", "failed",
    "failure", "false", "field", "fields", "first", "for", "forbidden", "foreign", "format", "found", "from", "full",
    "gateway", "get", "group", "handler", "has", "have", "header", "headers", "host", "in", "incorrect", "index",
    "indexer", "input", "insert", "integer", "internal", "invalid", "is", "it", "item", "items", "json", "key",
    "large", "last", "later", "length", "less", "limit", "line", "list", "log", "long", "malformed", "many", "mapper",
    "mapping", "match", "maximum", "may", "message", "method", "missing", "more", "must", "name", "no", "node", "not",
    "null", "number", "numeric", "object", "of", "on", "only",
    "open", "operation", "or", "order", "out", "outside", "over",
    "overloaded", "parse", "parsing", "partial", "partition",
    "password", "payload", "per", "permission", "plan", "please",
    "points", "policy", "position", "post", "precision", "primary", "property",
    "quota", "quotes", "range", "rate", "reached", "read", "reason",
    "received", "refused", "rejected", "relation", "request",
    "requests", "required", "resource", "response", "retention", "retry",
    "row", "rule", "schema", "server", "service", "shard", "shards", "shutting", "size", "space", "state", "status",
    "still", "store", "string", "support", "supported", "syntax", "table", "temporarily", "than", "the", "this",
    "throttled", "time", "timeout", "timestamp", "to", "token", "too", "try", "type", "unable", "unauthorized",
    "unavailable", "unbalanced", "unexpected", "unique", "unknown",
    "unsupported", "update", "url", "use", "user", "valid",
    "validation", "value", "values", "varying", "version", "violates", "was", "while", "with", "write", "wrong",
    "you", "your",
];

/// Characters of a text that are shown.
const LONGEST: usize = 300;

/// The words of `text` that may be shown; empty if there are none.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::new();
    let (mut any, mut hidden) = (false, false);
    for token in text.split_whitespace() {
        let word = token.trim_matches(|c: char| c.is_ascii_punctuation());
        // Capitals are rather the method of a request than a word.
        let shouted = word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        if shouted || WORDS.binary_search(&word.to_ascii_lowercase().as_str()).is_err() {
            hidden = true;
            continue;
        }
        if hidden {
            shown.push_str(if shown.is_empty() { "… " } else { " … " });
        } else if any {
            shown.push(' ');
        }
        (any, hidden) = (true, false);
        shown.push_str(word);
        if shown.len() > LONGEST {
            break;
        }
    }
    if any && hidden {
        shown.push_str(" …");
    }
    shown
}

/// What may be shown of a text that may be the type of an error or a sentence: the type whole, else [`plain`] words.
#[cfg(feature = "http")]
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match identifier(text) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(plain(text)),
    }
}

/// `text` if it is a name, such as that of a field or an index: ASCII letters, digits and `signs` alone, at least one and
/// at most `longest` bytes.
#[cfg(any(feature = "http", feature = "mongo", feature = "mysql"))]
pub(crate) fn name<'a>(text: &'a str, signs: &str, longest: usize) -> Option<&'a str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || signs.contains(c);
    (!text.is_empty() && text.len() <= longest && text.chars().all(is_allowed)).then_some(text)
}

/// `text` if it is a name as programs have them, such as the type of an error: letters and `_ - .` alone.
#[cfg(feature = "http")]
fn identifier(text: &str) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_alphabetic() || "_-.".contains(c);
    let is_typed = text.contains('_') || text.ends_with("Exception") || text.ends_with("Error");
    (is_typed && text.len() <= 64 && text.chars().all(is_name)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_errors_are_shown() {
        assert!(WORDS.is_sorted(), "the search needs an order");
        assert_eq!(plain("Event field cannot be blank"), "Event field cannot be blank");
        assert_eq!(
            plain("Failing row contains (alice, 5f2b, 10.0.0.1, GET /x HTTP/1.1)."),
            "… row …"
        );
        assert_eq!(
            plain("invalid input syntax for type integer: \"s3cret\""),
            "invalid input syntax for type integer …"
        );
        assert_eq!(plain("eyJhbGciOi Basic dTpw"), "");
        assert_eq!(plain(""), "");
    }

    #[cfg(feature = "http")]
    #[test]
    fn names_of_error_types_are_shown() {
        assert_eq!(identifier("mapper_parsing_exception"), Some("mapper_parsing_exception"));
        assert_eq!(identifier("ThrottlingException"), Some("ThrottlingException"));
        for text in ["alice", "5f2b_c", "a b_c", "k_1"] {
            assert_eq!(identifier(text), None, "{text}");
        }
        assert_eq!(shown("mapper_parsing_exception"), "mapper_parsing_exception");
        assert_eq!(shown("field alice"), "field …");
    }

    #[cfg(any(feature = "http", feature = "mongo", feature = "mysql"))]
    #[test]
    fn names_have_no_other_signs_and_a_length() {
        assert_eq!(name("tyk.ix_path1", "_.", 12), Some("tyk.ix_path1"));
        for text in ["", "a b", "it's", "é", "tyk.ix_path12"] {
            assert_eq!(name(text, "_.", 12), None, "{text}");
        }
    }
}
