use super::*;

#[derive(Default)]
struct Fake {
    variables: HashMap<&'static str, String>,
    home: Option<PathBuf>,
}

impl Surroundings for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn user(&self) -> Option<String> {
        Some("os-user".to_owned())
    }

    fn home(&self) -> Option<PathBuf> {
        self.home.clone()
    }
}

fn read(text: &str) -> Settings {
    Settings::read(text, &Fake::default()).unwrap()
}

fn error(text: &str) -> String {
    Settings::read(text, &Fake::default()).unwrap_err()
}

#[test]
fn a_string_of_the_documentation_is_understood() {
    let settings =
        read("host=localhost user=gorm password=gorm dbname=gorm port=9920 sslmode=disable TimeZone=Asia/Shanghai");
    assert_eq!(settings.hosts[0].address, Address::Tcp("localhost".into(), 9920));
    assert_eq!(settings.hosts[0].password.as_deref(), Some("gorm"));
    assert_eq!(
        (settings.user.as_str(), settings.database.as_deref()),
        ("gorm", Some("gorm"))
    );
    assert_eq!(settings.options, "-c timezone=Asia/Shanghai");
    assert_eq!(settings.protections, [Protection::Plain]);
}

#[test]
fn other_settings_go_to_the_server() {
    let settings = read("host=h search_path='a b' options='-c work_mem=1MB' time_zone=UTC application_name=x");
    assert_eq!(settings.options, r"-c work_mem=1MB -c search_path=a\ b -c timezone=UTC");
    assert_eq!(settings.application_name, "x");
    assert_eq!(read("host=h").application_name, "tyk-pump");
}

#[test]
fn the_string_wins_over_the_service_and_the_service_over_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services");
    std::fs::write(
        &file,
        "# x\n[other]\nhost=o\n[mine]\nhost=s\ndbname=sd\nuser=su\n\n[next]\nhost=n\n",
    )
    .unwrap();
    let mut around = Fake::default();
    let variables = [
        ("PGHOST", "e"),
        ("PGUSER", "eu"),
        ("PGPORT", "7"),
        ("PGSERVICE", "mine"),
        ("PGSSLMODE", "require"),
    ];
    around.variables = variables.map(|(key, value)| (key, value.to_owned())).into();
    around.variables.insert("PGSERVICEFILE", file.display().to_string());
    let settings = Settings::read("user=w", &around).unwrap();
    assert_eq!(settings.hosts[0].address, Address::Tcp("s".into(), 7));
    assert_eq!(
        (settings.user.as_str(), settings.database.as_deref()),
        ("w", Some("sd"))
    );
    assert_eq!(settings.protections, [Protection::Tls]);
    assert!(Settings::read("service=none", &around).unwrap_err().contains("[none]"));
}

#[test]
fn a_password_file_is_read_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".pgpass");
    std::fs::write(&file, "# x\nother:*:*:*:no\nh:5432:d:u:y\\:es\\\\\n*:*:*:*:rest\n").unwrap();
    let around = Fake {
        home: Some(folder.path().to_owned()),
        ..Fake::default()
    };
    let password = |text| Settings::read(text, &around).unwrap().hosts[0].password.clone();
    assert_eq!(password("host=h user=u dbname=d").as_deref(), Some("y:es\\"));
    assert_eq!(password("host=h user=u dbname=e").as_deref(), Some("rest"));
    assert_eq!(password("host=h password=p").as_deref(), Some("p"));
}

#[test]
fn every_mode_of_tls_asks_for_what_it_says() {
    use Protection::{Plain, Tls};
    let mode = |text: &str| {
        let settings = read(text);
        (settings.protections.to_vec(), settings.tls.verification)
    };
    assert_eq!(mode("host=h"), (vec![Tls, Plain], Verification::None));
    assert_eq!(mode("host=h sslmode=allow"), (vec![Plain, Tls], Verification::None));
    assert_eq!(mode("host=h sslmode=require"), (vec![Tls], Verification::None));
    assert_eq!(
        mode("host=h sslmode=require sslrootcert=/ca"),
        (vec![Tls], Verification::Chain)
    );
    assert_eq!(mode("host=h sslmode=verify-ca"), (vec![Tls], Verification::Chain));
    assert_eq!(mode("host=h sslmode=verify-full"), (vec![Tls], Verification::Full));
    assert_eq!(mode("host=h sslrootcert=system"), (vec![Tls], Verification::Full));
}

#[test]
fn a_wrong_value_is_named_with_what_is_possible() {
    assert!(error("sslmode=on").contains("sslmode is \"on\" – write one of disable, allow"));
    assert!(error("sslcert=/x").contains("sslkey"));
    assert!(error("host=h port=99999").contains("port"));
    assert!(error("connect_timeout=soon").contains("connect_timeout"));
    assert!(error("target_session_attrs=master").contains("read-write"));
}

#[test]
fn several_hosts_have_their_ports_or_one_for_all() {
    let addresses = |text: &str| {
        let settings = read(text);
        settings
            .hosts
            .iter()
            .map(|host| host.address.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(addresses("host=a,b port=1,2"), ["a:1", "b:2"]);
    assert_eq!(addresses("host=a,b port=1"), ["a:1", "b:1"]);
    assert_eq!(addresses("postgres://a,b:7/d"), ["a:5432", "b:7"]);
    assert_eq!(addresses("host=/tmp port=3"), ["/tmp/.s.PGSQL.3"]);
}
