//! The command line of the binary itself.

use std::process::{Command, Output};

fn pump(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tyk-pump"));
    command
        .env_clear()
        .current_dir(folder.path())
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_version_goes_to_the_error_output() {
    let output = pump(&["--version", "--bogus"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    assert_eq!(text(&output.stderr), format!("{}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn errors_of_the_command_line_end_with_one() {
    let output = pump(&["--bogus"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "tyk-pump: error: unknown long flag '--bogus', try --help\n"
    );
}

#[test]
fn a_start_without_any_configuration_says_where_to_begin() {
    let output = pump(&[]);
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("level=fatal") && log.contains("open pump.conf: no such file or directory"),
        "{log}"
    );
    assert!(log.contains("examples/minimal-csv.conf"), "{log}");
}

#[test]
fn check_answers_with_its_exit_code() {
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/minimal-csv.conf");
    let bad = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conf/mistakes/typo-in-key.conf");
    assert_eq!(pump(&["check", "-c", good]).status.code(), Some(0));
    let output = pump(&["check", "-c", bad]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("typo-in-key.conf:3:3: error: unknown key \"purge_dealy\""));
}

#[test]
fn what_check_refuses_ends_a_start_with_nothing_else_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("pump.conf");
    // Nobody is where Redis is said to be: neither of the two needs it to know.
    let settings = format!(
        "{{\"health_check_endpoint_port\": {}, \"dont_purge_uptime_data\": true,\n\
         \"analytics_storage_config\": {{\"addrs\": [\"127.0.0.1:{}\"]}},\n\
         \"pumps\": {{\"splunk\": {{\"meta\": {{}}}}}}}}",
        fakes::ports::free_ports(1, &[]),
        fakes::ports::free_ports(1, &[]),
    );
    std::fs::write(&conf, settings).unwrap();
    let conf = conf.display().to_string();
    let wrong = "Empty settings: meta.collector_token and meta.collector_url are required – write the token";
    for arguments in [&["check", "-c", &conf][..], &["-c", &conf, "check"]] {
        let checked = pump(arguments);
        assert_eq!(checked.status.code(), Some(1));
        let expected = format!("{conf}:3:11: error: pump \"splunk\": {wrong}");
        let said = text(&checked.stdout);
        assert!(said.contains(&expected), "{said}");
    }
    let started = pump(&["-c", &conf]);
    assert_eq!(started.status.code(), Some(1));
    assert!(text(&started.stderr).contains(wrong), "{}", text(&started.stderr));
}
