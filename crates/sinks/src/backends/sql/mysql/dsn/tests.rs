use super::*;

fn parse(text: &str) -> Dsn {
    Dsn::parse(text).unwrap()
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.to_owned(),
        port,
    }
}

#[test]
fn the_usual_form_is_understood() {
    let dsn = parse("tyk:secret@tcp(db:3307)/analytics?charset=utf8mb4&parseTime=true&loc=UTC");
    assert_eq!(
        dsn,
        Dsn {
            user: "tyk".to_owned(),
            password: "secret".to_owned(),
            address: tcp("db", 3307),
            database: "analytics".to_owned(),
            ..Dsn::default()
        }
    );
}

#[test]
fn a_password_may_hold_anything() {
    for password in [
        "p@ss",
        "p:a:s",
        "p/a/s",
        "p(a)s",
        "p?a=b&c",
        "%41",
        "it's",
        "@tcp(x)/y?",
    ] {
        let dsn = parse(&format!("tyk:{password}@tcp(db)/analytics?loc=UTC"));
        assert_eq!(
            (
                dsn.user.as_str(),
                dsn.password.as_str(),
                &dsn.address,
                dsn.database.as_str()
            ),
            ("tyk", password, &tcp("db", 3306), "analytics")
        );
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(parse(""), Dsn::default());
    assert_eq!(parse("/"), Dsn::default());
    assert_eq!(parse("tcp/db").address, tcp("127.0.0.1", 3306));
    assert_eq!(parse("u@/db").user, "u");
    assert_eq!(parse("u@/db").database, "db");
    assert_eq!(parse("@tcp(h)/").address, tcp("h", 3306));
    assert_eq!(parse("unix/db").address, Address::Unix("/tmp/mysql.sock".to_owned()));
}

#[test]
fn addresses_have_all_forms() {
    for (text, address) in [
        ("u@tcp(h)/d", tcp("h", 3306)),
        ("u@tcp(10.0.0.1:1)/d", tcp("10.0.0.1", 1)),
        ("u@tcp([::1])/d", tcp("::1", 3306)),
        ("u@tcp([de:ad::1]:80)/d", tcp("de:ad::1", 80)),
        ("u@tcp(de:ad::1)/d", tcp("de:ad::1", 3306)),
        ("u@tcp(:3310)/d", tcp("127.0.0.1", 3310)),
        ("u@(h:5)/d", tcp("h", 5)),
        (
            "u@unix(/run/my sql/s.sock)/d",
            Address::Unix("/run/my sql/s.sock".to_owned()),
        ),
    ] {
        assert_eq!(parse(text).address, address, "{text}");
    }
}

#[test]
fn a_url_is_taken_too() {
    let dsn = parse("mysql://ty%40k:se%2Fcret@db:3307/analytics?tls=true");
    assert_eq!((dsn.user.as_str(), dsn.password.as_str()), ("ty@k", "se/cret"));
    assert_eq!(
        (dsn.address, dsn.database.as_str(), dsn.tls),
        (tcp("db", 3307), "analytics", Tls::Verified)
    );
    assert_eq!(parse("mariadb://db").address, tcp("db", 3306));
    assert_eq!(parse("mysql://db?tls=1").tls, Tls::Verified);
    assert_eq!(parse("mysql://[::1]:7/").address, tcp("::1", 7));
}

#[test]
fn every_parameter_is_known() {
    let dsn = parse(
        "u@/d?allowAllFiles=true&allowCleartextPasswords=1&allowNativePasswords=true&allowOldPasswords=True\
         &charset=utf8mb4,utf8&checkConnLiveness=false&clientFoundRows=TRUE&collation=utf8mb4_unicode_ci\
         &columnsWithAlias=0&interpolateParams=true&loc=Asia%2FTokyo&maxAllowedPacket=1048576&multiStatements=true\
         &parseTime=False&readTimeout=30s&writeTimeout=500ms&timeout=1m&rejectReadOnly=true&tls=skip-verify&empty",
    );
    assert_eq!(
        dsn,
        Dsn {
            user: "u".to_owned(),
            database: "d".to_owned(),
            zone: Zone::named(b"Asia/Tokyo").unwrap(),
            tls: Tls::Unverified,
            connect_timeout: Some(Duration::from_secs(60)),
            answer_timeout: Some(Duration::from_millis(30_500)),
            max_packet: Some(1_048_576),
            cleartext_passwords: true,
            old_passwords: true,
            ..Dsn::default()
        }
    );
}

#[test]
fn other_parameters_are_session_variables_in_order() {
    let dsn = parse("u@/d?time_zone=%27%2B00%3A00%27&innodb_lock_wait_timeout=5&sql_mode=%22ANSI%22+");
    let variables: Vec<_> = dsn
        .variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        variables,
        [
            ("time_zone", "'+00:00'"),
            ("innodb_lock_wait_timeout", "5"),
            ("sql_mode", "\"ANSI\" "),
        ]
    );
    // Parameter names know their case.
    assert_eq!(parse("u@/d?parsetime=true").variables.len(), 1);
}

#[test]
fn tls_has_four_modes() {
    for (text, tls) in [
        ("true", Tls::Verified),
        ("1", Tls::Verified),
        ("false", Tls::Off),
        ("skip-verify", Tls::Unverified),
        ("Preferred", Tls::Preferred),
    ] {
        assert_eq!(parse(&format!("u@/d?tls={text}")).tls, tls);
    }
}

#[test]
fn loc_may_be_the_zone_of_the_process() {
    assert_eq!(parse("u@/d?loc=Local").zone, Zone::LOCAL);
    assert_eq!(parse("u@/d").zone, Zone::UTC);
}

#[test]
fn parameters_without_effect_are_remembered() {
    let names = |text: &str| -> Vec<_> { parse(text).without_effect.iter().map(|(name, _)| *name).collect() };
    assert_eq!(
        names("u@/d?charset=latin1&collation=latin1_bin&allowNativePasswords=false"),
        ["charset", "collation", "allowNativePasswords"]
    );
    assert!(names("u@/d?charset=utf8&collation=utf8_bin").is_empty());
}

#[test]
fn errors_say_what_to_write() {
    for (text, part) in [
        ("u:p@tcp(h)", "slash before the database name is missing"),
        ("u:p@tcp(h/d", "bracket after the address is not closed"),
        ("u:p@tcp(h)x/d", "between the address and the database's slash"),
        (
            "u:p@tcp(h)/d?loc=Etc/UTC",
            "perhaps a parameter with a slash that should be %2F",
        ),
        ("u:p@h:3306/d", "neither tcp(host:port) nor unix(/path)"),
        ("u:p@udp(h)/d", "neither tcp(host:port) nor unix(/path)"),
        ("u:p@tcp(h:x)/d", "no number from 1 to 65535"),
        ("u:p@tcp(h:0)/d", "no number from 1 to 65535"),
        (
            "u:p@/d?tls=custom",
            "tls=custom is unknown; write true, false, skip-verify or preferred",
        ),
        ("u:p@/d?loc=Mars", "loc=Mars is no time zone"),
        (
            "u:p@/d?timeout=30",
            "timeout=30 is no duration; write a number with a unit such as 30s",
        ),
        ("u:p@/d?parseTime=yes", "parseTime=yes is neither true nor false"),
        (
            "u:p@/d?maxAllowedPacket=4M",
            "maxAllowedPacket=4M is no number of bytes",
        ),
        ("u:p@/d?serverPubKey=k", "serverPubKey names a key"),
        ("u:p@/d?compress=1", "no parameter compress"),
        ("u:p@/d?=1", "a parameter without a name"),
    ] {
        let error = Dsn::parse(text).unwrap_err().to_string();
        assert!(
            error.starts_with("meta.connection_string: ") && error.contains(part),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_password_is_never_shown() {
    for text in [
        "tyk:hunter2@tcp(h)",
        "tyk:hunter2@tcp(h/d",
        "tyk:hunter2",
        "tyk:hunter2/d",
        "tyk:hunter2@h/d",
        "tyk:hun/ter2hunter2/d",
        "tyk:x@hunter2/d",
        "tyk:hunter2@tcp(h:x)/d?tls=zz",
        "mysql://tyk:hunter2@h:x/d",
        "mysql://tyk:hunter2%ff@h/d",
    ] {
        let error = Dsn::parse(text).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }
    let dsn = parse("tyk:hunter2@tcp(db)/analytics");
    assert_eq!(dsn.to_string(), "user=tyk database=analytics at db:3306");
    assert!(!format!("{dsn:?}").contains("hunter2"));
}
