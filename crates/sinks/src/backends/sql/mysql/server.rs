//! What a server can do.

use super::statement::quoted_part;

/// Version and limits of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) mariadb: bool,
    pub(super) version: (u16, u16, u16),
    /// Largest packet that it takes, in bytes.
    pub(super) max_packet: usize,
}

impl Server {
    /// `text`: what `VERSION()` says, such as `8.0.36-log` or `10.11.19-MariaDB-0+deb12u1`.
    pub(super) fn new(text: &str, max_packet: usize) -> Server {
        let mariadb = text.to_ascii_lowercase().contains("mariadb");
        // Proxies put 5.5.5- in front of MariaDB's version.
        let text = text.strip_prefix("5.5.5-").filter(|_| mariadb).unwrap_or(text);
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|part| part.parse::<u16>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Server {
            mariadb,
            version: (next(), next(), next()),
            max_packet,
        }
    }

    /// Fractions of a second in `datetime`: not before MySQL 5.6.
    pub(super) fn has_fractions(&self) -> bool {
        self.version >= (5, 6, 0)
    }

    /// `VALUES (…) AS excluded`: MySQL from 8.0.19 on, which deprecates `VALUES(column)` soon after; MariaDB has nothing
    /// but the latter.
    pub(super) fn has_row_alias(&self) -> bool {
        !self.mariadb && self.version >= (8, 0, 19)
    }

    /// The session's variable that ends a transaction whose client is silent for so many seconds; where there is none, the
    /// one that ends any silent connection.
    pub(super) fn silence_variable(&self) -> &'static str {
        match self.mariadb && self.version >= (10, 3, 0) {
            true => "idle_transaction_timeout",
            false => "wait_timeout",
        }
    }

    /// A column of the proposed row after `ON DUPLICATE KEY UPDATE`.
    pub(super) fn proposed(&self, column: &str) -> String {
        match self.has_row_alias() {
            true => format!("excluded.{}", quoted_part(column)),
            false => format!("VALUES({})", quoted_part(column)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_a_server_follows_from_its_version() {
        for (text, mariadb, version, alias) in [
            ("5.5.9", false, (5, 5, 9), false),
            ("5.6.24", false, (5, 6, 24), false),
            ("8.0.18-google", false, (8, 0, 18), false),
            ("8.0.19", false, (8, 0, 19), true),
            ("8.4.3-3", false, (8, 4, 3), true),
            ("9.1.0", false, (9, 1, 0), true),
            ("10.11.19-MariaDB-0+deb12u1", true, (10, 11, 19), false),
            ("5.5.5-10.6.12-MariaDB-log", true, (10, 6, 12), false),
            ("", false, (0, 0, 0), false),
        ] {
            let server = Server::new(text, 0);
            assert_eq!(
                (server.mariadb, server.version, server.has_row_alias()),
                (mariadb, version, alias),
                "{text}"
            );
        }
        assert_eq!(Server::new("8.0.36", 0).proposed("x"), "excluded.`x`");
        assert_eq!(Server::new("5.7.1", 0).proposed("x"), "VALUES(`x`)");
        for (text, variable) in [
            ("10.11.19-MariaDB", "idle_transaction_timeout"),
            ("10.2.44-MariaDB", "wait_timeout"),
            ("8.4.3", "wait_timeout"),
        ] {
            assert_eq!(Server::new(text, 0).silence_variable(), variable, "{text}");
        }
    }
}
