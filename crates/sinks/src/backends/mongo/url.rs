//! The connection string: taken apart as leniently as upstream does, and put together as the driver wants it.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::transport::login;

/// Options that the driver knows, in lower case. Others are passed over with a warning, as by upstream's driver.
const KNOWN: &[&str] = &[
    "appname",
    "authmechanism",
    "authmechanismproperties",
    "authsource",
    "connecttimeoutms",
    "directconnection",
    "heartbeatfrequencyms",
    "journal",
    "loadbalanced",
    "localthresholdms",
    "maxconnecting",
    "maxidletimems",
    "maxpoolsize",
    "maxstalenessseconds",
    "minpoolsize",
    "readconcernlevel",
    "readpreference",
    "readpreferencetags",
    "replicaset",
    "retryreads",
    "retrywrites",
    "servermonitoringmode",
    "serverselectiontimeoutms",
    "srvmaxhosts",
    "srvservicename",
    "tls",
    "tlsallowinvalidcertificates",
    "tlscafile",
    "tlscertificatekeyfile",
    "tlsinsecure",
    "w",
    "wtimeoutms",
];

/// Other spellings of them, and `connect=direct`.
const ALIASES: &[(&str, &str)] = &[
    ("ssl", "tls"),
    ("sslcertificateauthorityfile", "tlscafile"),
    ("sslclientcertificatekeyfile", "tlscertificatekeyfile"),
    ("sslinsecure", "tlsinsecure"),
    ("wtimeout", "wtimeoutms"),
];

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A connection string, taken apart.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ConnectionUrl {
    srv: bool,
    credentials: Option<(String, Option<String>)>,
    hosts: String,
    pub(super) database: String,
    /// Known options, names in lower case, values as they came.
    options: Vec<(String, String)>,
    /// `timeoutMS`
    pub(super) timeout_ms: Option<u64>,
    /// Names of options that have no effect.
    pub(super) ignored: Vec<String>,
}

impl ConnectionUrl {
    /// The error says what is wrong, without the string itself.
    pub(super) fn parse(text: &str) -> Result<ConnectionUrl, String> {
        let text = text.trim();
        let (srv, rest) = match (text.strip_prefix("mongodb://"), text.strip_prefix("mongodb+srv://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ if text.is_empty() => return Err("is missing".to_owned()),
            _ => return Err("must begin with mongodb:// or mongodb+srv://".to_owned()),
        };
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(parse_credentials(credentials)?), rest),
            None => (None, rest),
        };
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        // A host has no other @ behind it; a password with a ? in it has.
        if credentials.is_none() && login::is_cut(&format!("{hosts}?{options}"), &['?']) {
            return Err(format!("cannot be taken apart: {}", login::UNESCAPED));
        }
        if hosts.is_empty() {
            return Err("names no host".to_owned());
        }
        let database = percent_decode_str(database)
            .decode_utf8()
            .map_err(|_| "has a database name that is not UTF-8")?;
        let mut url = ConnectionUrl {
            srv,
            credentials,
            hosts: hosts.to_owned(),
            database: database.into_owned(),
            ..ConnectionUrl::default()
        };
        for pair in options.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let parts = pair
                .split_once('=')
                .filter(|(key, value)| !key.is_empty() && !value.is_empty());
            let Some((key, value)) = parts else {
                return Err("has an option that is not key=value".to_owned());
            };
            url.take_option(key, value);
        }
        Ok(url)
    }

    fn take_option(&mut self, key: &str, value: &str) {
        let lower = key.to_lowercase();
        let alias = ALIASES.iter().find(|(alias, _)| *alias == lower);
        let name = alias.map_or(lower.as_str(), |(_, name)| *name);
        match name {
            "timeoutms" => self.timeout_ms = value.parse().ok().filter(|&ms| ms > 0),
            "connect" if value == "direct" => self.set("directconnection", "true"),
            "connect" => {}
            // Each one adds a set of tags.
            "readpreferencetags" => self.options.push((name.to_owned(), value.to_owned())),
            _ if KNOWN.contains(&name) => self.set(name, value),
            _ => self.ignored.push(key.to_owned()),
        }
    }

    /// The last of two options of the same name counts.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.options.retain(|(known, _)| known != name);
        self.options.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(known, _)| known == name)
    }

    /// For the driver.
    pub(super) fn to_driver(&self) -> String {
        let mut text = self.scheme().to_owned();
        if let Some((user, password)) = &self.credentials {
            let _ = write!(text, "{}", utf8_percent_encode(user, UNRESERVED));
            if let Some(password) = password {
                let _ = write!(text, ":{}", utf8_percent_encode(password, UNRESERVED));
            }
            text.push('@');
        }
        let _ = write!(
            text,
            "{}/{}",
            self.hosts,
            utf8_percent_encode(&self.database, UNRESERVED)
        );
        for (at, (name, value)) in self.options.iter().enumerate() {
            let _ = write!(text, "{}{name}={value}", if at == 0 { '?' } else { '&' });
        }
        text
    }

    /// For logs: hosts and database, no credentials, no options.
    pub(super) fn to_log(&self) -> String {
        let credentials = if self.credentials.is_some() { "***:***@" } else { "" };
        format!("{}{credentials}{}/{}", self.scheme(), self.hosts, self.database)
    }

    /// Whether its hosts are found by a look-up (`mongodb+srv://`).
    pub(super) fn is_looked_up(&self) -> bool {
        self.srv
    }

    fn scheme(&self) -> &'static str {
        if self.srv { "mongodb+srv://" } else { "mongodb://" }
    }
}

fn parse_credentials(text: &str) -> Result<(String, Option<String>), String> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    if user.is_empty() {
        return Err("has a password without a user".to_owned());
    }
    let decode = |part: &str| match percent_decode_str(part).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err("has credentials that are not UTF-8".to_owned()),
    };
    Ok((decode(user)?, password.map(decode).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(text: &str) -> String {
        ConnectionUrl::parse(text).unwrap().to_driver()
    }

    #[test]
    fn reserved_characters_in_a_password_need_no_encoding() {
        for (given, wanted) in [
            ("mongodb://h/db", "mongodb://h/db"),
            ("mongodb://u:p@h:1,h2:2/db", "mongodb://u:p@h:1,h2:2/db"),
            ("mongodb://u:a/b:c#[d]@h/db", "mongodb://u:a%2Fb%3Ac%23%5Bd%5D@h/db"),
            ("mongodb://u:a@b@h/db", "mongodb://u:a%40b@h/db"),
            ("mongodb://u:a%40b%20c+d@h/db", "mongodb://u:a%40b%20c%2Bd@h/db"),
            (
                "mongodb://CN=x,O=y@h/db?authMechanism=MONGODB-X509&authSource=$external",
                "mongodb://CN%3Dx%2CO%3Dy@h/db?authmechanism=MONGODB-X509&authsource=$external",
            ),
            (
                "mongodb+srv://u:p@cluster.example.com/db",
                "mongodb+srv://u:p@cluster.example.com/db",
            ),
        ] {
            assert_eq!(driver(given), wanted);
        }
    }

    #[test]
    fn options_are_taken_in_every_spelling_that_upstream_takes() {
        assert_eq!(
            driver("mongodb://h/d?retryWrites=false;w=1&SSL=true&connect=direct&w=2"),
            "mongodb://h/d?retrywrites=false&tls=true&directconnection=true&w=2"
        );
        let url = ConnectionUrl::parse("mongodb://h/d?timeoutMS=500&compressors=zstd&nosuch=1").unwrap();
        assert_eq!(url.timeout_ms, Some(500));
        assert_eq!(url.ignored, ["compressors", "nosuch"]);
        assert_eq!(url.to_driver(), "mongodb://h/d");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (given, wanted) in [
            ("", "is missing"),
            (
                "postgres://u:secret@h/d",
                "must begin with mongodb:// or mongodb+srv://",
            ),
            ("mongodb://:secret@h/d", "has a password without a user"),
            ("mongodb://u:secret@/d", "names no host"),
            (
                "mongodb://u:secret?x@h/d",
                "cannot be taken apart: the user or the password has a character that ends it early: write / as %2F, ? as \
                 %3F, # as %23, @ as %40 and : as %3A",
            ),
            ("mongodb://u:secret@h/d?w", "has an option that is not key=value"),
            ("mongodb://u:%FFsecret@h/d", "has credentials that are not UTF-8"),
        ] {
            assert_eq!(ConnectionUrl::parse(given).unwrap_err(), wanted, "{given}");
        }
    }

    #[test]
    fn logs_show_neither_credentials_nor_options() {
        let url = ConnectionUrl::parse("mongodb://user:p@h1:27017/tyk?replicaSet=RS1&appName=a@b").unwrap();
        assert_eq!(url.to_log(), "mongodb://***:***@h1:27017/tyk");
        let url = ConnectionUrl::parse("mongodb+srv://h/tyk").unwrap();
        assert_eq!(url.to_log(), "mongodb+srv://h/tyk");
    }
}
