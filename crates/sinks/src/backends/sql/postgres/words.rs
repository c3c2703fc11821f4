//! The two grammars of connection strings, as pairs of setting and value.

use percent_encoding::percent_decode_str;

use crate::transport::login;

/// Settings in the order in which they were written.
pub(super) type Pairs = Vec<(String, String)>;

/// A URL when it begins like one, else keywords and values. The error says what is wrong, without any value.
pub(super) fn parse(text: &str) -> Result<Pairs, String> {
    const FORMS: &str = "write postgres://user:password@host:5432/database, or host=… user=… password=… dbname=…";
    if text
        .trim_start()
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("jdbc:"))
    {
        return Err(format!("it is a URL for Java – {FORMS}"));
    }
    for scheme in ["postgres://", "postgresql://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return match login::is_cut(rest, &['/', '?']) {
                true => Err(login::UNESCAPED.to_owned()),
                false => parse_url(rest),
            };
        }
    }
    let lower = text.to_ascii_lowercase();
    let semicolons = [";password=", ";pwd=", ";database=", ";user", ";uid=", ";port="];
    if semicolons.iter().any(|part| lower.contains(part)) {
        return Err(format!("its settings are separated by semicolons – {FORMS}"));
    }
    parse_keywords(text)
}

fn parse_url(rest: &str) -> Result<Pairs, String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let mut pairs = Pairs::new();
    let hosts = match authority.rsplit_once('@') {
        None => authority,
        Some((credentials, hosts)) => {
            let (user, password) = match credentials.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (credentials, None),
            };
            if !user.is_empty() {
                pairs.push(("user".to_owned(), decode(user, "the user")?));
            }
            if let Some(password) = password {
                pairs.push(("password".to_owned(), decode(password, "the password")?));
            }
            hosts
        }
    };
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        let (name, port) = split_port(host)?;
        names.push(decode(name, "the host")?);
        ports.push(port.to_owned());
    }
    if !names.is_empty() {
        pairs.push(("host".to_owned(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".to_owned(), ports.join(",")));
    }
    if !database.is_empty() {
        pairs.push(("database".to_owned(), decode(database, "the database")?));
    }
    let mut seen: Vec<String> = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let key = setting(decode(&key.replace('+', " "), "a parameter's name")?);
        if !seen.contains(&key) {
            let value = decode(&value.replace('+', " "), &format!("the value of {key}"))?;
            pairs.push((key.clone(), value));
            seen.push(key);
        }
    }
    Ok(pairs)
}

/// The one name of a setting that has two.
fn setting(key: String) -> String {
    match key.as_str() {
        "dbname" => "database".to_owned(),
        _ => key,
    }
}

/// Host and port; an IPv6 address is in brackets.
fn split_port(host: &str) -> Result<(&str, &str), String> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest
            .split_once(']')
            .ok_or("a bracket of an IPv6 address is not closed")?;
        return Ok((address, port.strip_prefix(':').unwrap_or(port)));
    }
    Ok(host.split_once(':').unwrap_or((host, "")))
}

fn decode(text: &str, what: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| format!("{what} is not UTF-8"))
}

fn parse_keywords(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, value) = rest
            .split_once('=')
            .ok_or("a setting without \"=\": settings are key=value, separated by blanks")?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err("a setting without \"=\": settings are key=value, separated by blanks".to_owned());
        }
        let (value, after) = take_value(value.trim_start(), key)?;
        rest = after.trim_start();
        if key == "user" && value.is_empty() {
            continue;
        }
        pairs.push((setting(key.to_owned()), value));
    }
    Ok(pairs)
}

fn take_value<'a>(text: &'a str, key: &str) -> Result<(String, &'a str), String> {
    let quoted = text.strip_prefix('\'');
    let text = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some((_, escaped)) => value.push(escaped),
                None => return Err(format!("the value of {key} ends with a backslash")),
            },
            '\'' if quoted.is_some() => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            letter if quoted.is_none() && letter.is_whitespace() => {
                return Ok((value, text.get(at..).unwrap_or_default()));
            }
            letter => value.push(letter),
        }
    }
    match quoted {
        Some(_) => Err(format!("the quote around the value of {key} is not closed")),
        None => Ok((value, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        let pairs = parse(text).unwrap();
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join("|")
    }

    #[test]
    fn keywords_may_be_quoted_escaped_and_spaced() {
        assert_eq!(
            text(r"host=localhost  user = gorm password='a b\'c\\' dbname=x\ y sslmode= disable"),
            r"host=localhost|user=gorm|password=a b'c\|database=x y|sslmode=disable"
        );
        assert_eq!(
            text("user= database=d"),
            "user=database=d",
            "as libpq: the blank after = does not count"
        );
        assert_eq!(text("host=h user=''"), "host=h");
        for wrong in ["host", "host=a b", "password='x", r"password=x\", "=x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_may_name_several_hosts_and_ipv6_addresses() {
        assert_eq!(
            text("postgres://u%40x:p%3Aq@h1:5432,[::1]:5433,h3/db?sslmode=verify-full&application_name=a+b&sslmode=x"),
            "user=u@x|password=p:q|host=h1,::1,h3|port=5432,5433,|database=db|sslmode=verify-full|application_name=a b"
        );
        assert_eq!(text("postgresql://%2Fvar%2Frun/db"), "host=/var/run|database=db");
        assert_eq!(text("postgres://h/?dbname=db"), "host=h|database=db");
        assert_eq!(text("postgres://"), "");
        assert!(parse("postgres://[::1/db").is_err());
    }

    #[test]
    fn an_error_never_shows_a_value() {
        for text in [
            "password='geheim",
            "postgres://u:geheim/4711@h/db",
            "postgres://u:geheim?4711@h/db",
            "postgres://u:geheim#4711/@h/db",
            "jdbc:postgresql://h/db?user=u&password=geheim",
            "Server=h;Database=d;User Id=u;Password=geheim",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("geheim") && !error.contains("4711"), "{error}");
        }
    }
}
