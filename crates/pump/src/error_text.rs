//! Errors and what caused them on one line, without saying anything twice.

/// The messages of a chain, joined by colons. Many errors repeat their cause in their own text; what a message ends in
/// is not written once more.
pub fn error_text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for message in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = message;
        } else if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("Redis at x: {0}")]
    struct Repeating(#[source] std::io::Error);

    #[test]
    fn a_cause_that_its_error_repeats_is_written_once() {
        let refused = std::io::Error::from_raw_os_error(111);
        let error = Err::<(), _>(Repeating(refused)).context("Redis").unwrap_err();
        let doubled = format!("{error:#}");
        assert_eq!(doubled.matches("os error 111").count(), 2, "{doubled}");
        assert_eq!(
            error_text(&error),
            "Redis: Redis at x: Connection refused (os error 111)"
        );
    }

    #[test]
    fn causes_that_say_more_stay() {
        let error = anyhow::anyhow!("no such file")
            .context("cannot read a.pem")
            .context("TLS");
        assert_eq!(error_text(&error), "TLS: cannot read a.pem: no such file");
    }
}
