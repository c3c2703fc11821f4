//! The reference's flags.

use std::{collections::VecDeque, path::PathBuf};

use super::{Invocation, Printed, usage};

/// The flags of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// `--conf`
    pub conf: PathBuf,
    /// `--demo`: organisation; empty: no demo.
    pub demo: String,
    /// `--demo-api`
    pub demo_api: String,
    /// `--demo-api-version`
    pub demo_api_version: String,
    /// `--demo-track-path`
    pub demo_track_path: bool,
    /// `--demo-days`
    pub demo_days: i64,
    /// `--demo-records-per-hour`
    pub demo_records_per_hour: i64,
    /// `--demo-future-data`
    pub demo_future_data: bool,
    /// `--demo-seed`: makes two runs alike.
    pub demo_seed: Option<u64>,
    /// `--debug`
    pub debug: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            conf: PathBuf::from("pump.conf"),
            demo: String::new(),
            demo_api: String::new(),
            demo_api_version: String::new(),
            demo_track_path: false,
            demo_days: 30,
            demo_records_per_hour: 0,
            demo_future_data: false,
            demo_seed: None,
            debug: false,
        }
    }
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Text,
    Number,
}

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub default: &'static str,
    pub help: &'static str,
    pub hidden: bool,
}

/// All flags, in the order of the help text.
#[rustfmt::skip]
pub(super) const FLAGS: &[Flag] = &[
    Flag { long: "help", short: Some('h'), takes: Takes::Nothing, default: "", help: "Show context-sensitive help (also try --help-long and --help-man).", hidden: false },
    Flag { long: "help-long", short: None, takes: Takes::Nothing, default: "", help: "Generate long help.", hidden: true },
    Flag { long: "help-man", short: None, takes: Takes::Nothing, default: "", help: "Generate a man page.", hidden: true },
    Flag { long: "completion-bash", short: None, takes: Takes::Nothing, default: "", help: "Output possible completions for the given args.", hidden: true },
    Flag { long: "completion-script-bash", short: None, takes: Takes::Nothing, default: "", help: "Generate completion script for bash.", hidden: true },
    Flag { long: "completion-script-zsh", short: None, takes: Takes::Nothing, default: "", help: "Generate completion script for ZSH.", hidden: true },
    Flag { long: "conf", short: Some('c'), takes: Takes::Text, default: "\"pump.conf\"", help: "path to the config file", hidden: false },
    Flag { long: "demo", short: None, takes: Takes::Text, default: "\"\"", help: "pass orgID string to generate demo data", hidden: false },
    Flag { long: "demo-api", short: None, takes: Takes::Text, default: "\"\"", help: "pass apiID string to generate demo data", hidden: false },
    Flag { long: "demo-api-version", short: None, takes: Takes::Text, default: "\"\"", help: "pass apiID string to generate demo data", hidden: false },
    Flag { long: "demo-track-path", short: None, takes: Takes::Nothing, default: "", help: "enable track path in analytics records", hidden: false },
    Flag { long: "demo-days", short: None, takes: Takes::Number, default: "30", help: "flag that determines the number of days for the analytics records", hidden: false },
    Flag { long: "demo-records-per-hour", short: None, takes: Takes::Number, default: "0", help: "flag that determines the number of records per hour for the analytics records", hidden: false },
    Flag { long: "demo-future-data", short: None, takes: Takes::Nothing, default: "", help: "flag that determines if the demo data should be in the future", hidden: false },
    Flag { long: "demo-seed", short: None, takes: Takes::Number, default: "0", help: "number that makes the demo data of two runs alike", hidden: true },
    Flag { long: "debug", short: None, takes: Takes::Nothing, default: "", help: "enable debug mode", hidden: false },
    Flag { long: "version", short: None, takes: Takes::Nothing, default: "", help: "Show application version.", hidden: false },
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Long(String),
    Short(char),
    Argument(String),
    Unreadable(String),
    End,
}

/// Understands the flags of a run.
pub(super) fn parse(program: &str, arguments: &[String]) -> Invocation {
    let mut given = Vec::new();
    let syntax = scan(arguments, &mut given);
    // These act as soon as they are read, whatever comes after them.
    for (flag, _) in &given {
        match flag.long {
            "version" => return Invocation::Print(stderr(format!("{}\n", crate::VERSION), 0)),
            "help-long" => return Invocation::Print(stdout(usage::long(program))),
            "help-man" => return Invocation::Print(stdout(usage::man(program))),
            "completion-script-bash" => return Invocation::Print(stdout(usage::bash_script(program))),
            "completion-script-zsh" => return Invocation::Print(stdout(usage::zsh_script(program))),
            "completion-bash" => return Invocation::Print(stdout(usage::completions(arguments))),
            _ => {}
        }
    }
    if let Err(problem) = syntax {
        return fail(program, &problem);
    }
    if given.iter().any(|(flag, _)| flag.long == "help") {
        return Invocation::Print(stderr(usage::short(program), 0));
    }
    match values(&given) {
        Ok(options) => Invocation::Run(options),
        Err(problem) => fail(program, &problem),
    }
}

fn stdout(text: String) -> Printed {
    Printed {
        stdout: text,
        ..Printed::default()
    }
}

fn stderr(text: String, code: u8) -> Printed {
    Printed {
        stderr: text,
        code,
        ..Printed::default()
    }
}

fn fail(program: &str, problem: &str) -> Invocation {
    Invocation::Print(stderr(format!("{program}: error: {problem}, try --help\n"), 1))
}

/// Splits arguments into flags with their values; what was read before an error is in `given`.
fn scan(arguments: &[String], given: &mut Vec<(&'static Flag, String)>) -> Result<(), String> {
    let mut tokens = Tokens {
        arguments: arguments.iter().cloned().collect(),
        pushed: None,
        plain: false,
    };
    loop {
        let (flag, shown, negated) = match tokens.next() {
            Token::End => return Ok(()),
            Token::Unreadable(problem) => return Err(problem),
            Token::Argument(text) => return Err(format!("unexpected {text}")),
            Token::Long(name) => {
                let named = |name: &str| FLAGS.iter().find(|flag| flag.long == name);
                let positive = name.strip_prefix("no-").and_then(named);
                match (named(&name), positive) {
                    (Some(flag), _) => (flag, format!("--{name}"), false),
                    (None, Some(flag)) if flag.takes == Takes::Nothing => (flag, format!("--{name}"), true),
                    _ => return Err(format!("unknown long flag '--{name}'")),
                }
            }
            Token::Short(letter) => match FLAGS.iter().find(|flag| flag.short == Some(letter)) {
                Some(flag) => (flag, format!("-{letter}"), false),
                None => return Err(format!("unknown short flag '-{letter}'")),
            },
        };
        let value = match flag.takes {
            Takes::Nothing if negated => "false".to_owned(),
            Takes::Nothing => "true".to_owned(),
            Takes::Text | Takes::Number => match tokens.next() {
                Token::Argument(text) => text,
                _ => return Err(format!("expected argument for flag '{shown}'")),
            },
        };
        given.push((flag, value));
    }
}

struct Tokens {
    arguments: VecDeque<String>,
    pushed: Option<String>,
    /// After `--` nothing is a flag.
    plain: bool,
}

impl Tokens {
    fn next(&mut self) -> Token {
        if let Some(text) = self.pushed.take() {
            return Token::Argument(text);
        }
        let Some(argument) = self.arguments.pop_front() else {
            return Token::End;
        };
        if self.plain {
            return Token::Argument(argument);
        }
        if argument == "--" {
            self.plain = true;
            return self.next();
        }
        if let Some(long) = argument.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            self.pushed = value;
            return Token::Long(name.to_owned());
        }
        if let Some(letters) = argument.strip_prefix('-')
            && let Some(letter) = letters.chars().next()
        {
            let rest = letters.get(letter.len_utf8()..).unwrap_or_default();
            let takes_value = FLAGS
                .iter()
                .any(|flag| flag.short == Some(letter) && flag.takes != Takes::Nothing);
            if takes_value && !rest.is_empty() {
                self.pushed = Some(rest.to_owned());
            } else if !rest.is_empty() {
                self.arguments.push_front(format!("-{rest}"));
            }
            return Token::Short(letter);
        }
        match argument.strip_prefix('@') {
            Some(file) => self.expand(file),
            None => Token::Argument(argument),
        }
    }

    /// Puts the lines of a file in the place of `@file`.
    fn expand(&mut self, file: &str) -> Token {
        let text = match std::fs::read(file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                let reason = match error.kind() {
                    std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                    std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                    _ => error.to_string(),
                };
                return Token::Unreadable(format!(
                    "failed to open arguments file \"{file}\": open {file}: {reason}"
                ));
            }
        };
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for line in lines.into_iter().rev() {
            self.arguments.push_front(line.to_owned());
        }
        self.next()
    }
}

fn values(given: &[(&'static Flag, String)]) -> Result<RunOptions, String> {
    let mut options = RunOptions::default();
    for (index, (flag, value)) in given.iter().enumerate() {
        if given.iter().take(index).any(|(earlier, _)| earlier.long == flag.long) {
            return Err(format!("flag '{}' cannot be repeated", flag.long));
        }
        let on = value == "true";
        match flag.long {
            "conf" => options.conf = PathBuf::from(value),
            "demo" => options.demo.clone_from(value),
            "demo-api" => options.demo_api.clone_from(value),
            "demo-api-version" => options.demo_api_version.clone_from(value),
            "demo-track-path" => options.demo_track_path = on,
            "demo-days" => options.demo_days = number(value)?,
            "demo-records-per-hour" => options.demo_records_per_hour = number(value)?,
            "demo-future-data" => options.demo_future_data = on,
            "demo-seed" => options.demo_seed = Some(number(value)?.unsigned_abs()),
            "debug" => options.debug = on,
            _ => {}
        }
    }
    Ok(options)
}

/// Numbers are read as floats and cut to whole numbers.
fn number(text: &str) -> Result<i64, String> {
    let signed = text.trim_start_matches(['+', '-']);
    let float = match text.parse::<f64>() {
        Ok(float) if float.is_infinite() && signed.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            return Err(format!("strconv.ParseFloat: parsing {text:?}: value out of range"));
        }
        Ok(float) => float,
        Err(_) => return Err(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
    };
    Ok(analytics::gofloat::to_int(float))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Invocation {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        parse("tyk-pump", &arguments)
    }

    fn options(arguments: &[&str]) -> RunOptions {
        match run(arguments) {
            Invocation::Run(options) => options,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    fn problem(arguments: &[&str]) -> String {
        match run(arguments) {
            Invocation::Print(printed) => {
                assert_eq!((printed.stdout.as_str(), printed.code), ("", 1), "{arguments:?}");
                let text = printed.stderr.strip_prefix("tyk-pump: error: ").unwrap();
                text.strip_suffix(", try --help\n").unwrap().to_owned()
            }
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    #[test]
    fn every_form_of_a_flag_is_understood() {
        for form in [
            &["--conf=x"][..],
            &["--conf", "x"],
            &["-c", "x"],
            &["-cx"],
            &["--no-debug", "-c", "x"],
        ] {
            assert_eq!(
                options(form),
                RunOptions {
                    conf: PathBuf::from("x"),
                    ..RunOptions::default()
                },
                "{form:?}"
            );
        }
        assert_eq!(options(&["--conf="]).conf, PathBuf::from(""));
        assert_eq!(options(&["-c=x"]).conf, PathBuf::from("=x"));
        assert_eq!(options(&["--conf=a=b"]).conf, PathBuf::from("a=b"));
        let all = options(&[
            "--demo=org",
            "--demo-api",
            "api",
            "--demo-api-version",
            "v2",
            "--demo-track-path",
            "--demo-days=12.7",
            "--demo-records-per-hour",
            "1e2",
            "--demo-future-data",
            "--debug",
        ]);
        let expected = RunOptions {
            demo: "org".to_owned(),
            demo_api: "api".to_owned(),
            demo_api_version: "v2".to_owned(),
            demo_track_path: true,
            demo_days: 12,
            demo_records_per_hour: 100,
            demo_future_data: true,
            debug: true,
            ..RunOptions::default()
        };
        assert_eq!(all, expected);
        assert_eq!(options(&["--demo-days=-5"]).demo_days, -5);
        assert!(!options(&["--no-demo-track-path", "--no-demo-future-data"]).demo_track_path);
        assert_eq!(options(&["--"]), RunOptions::default());
    }

    #[test]
    fn errors_have_the_words_of_the_reference() {
        for (arguments, text) in [
            (&["--bogus"][..], "unknown long flag '--bogus'"),
            (&["--deb"], "unknown long flag '--deb'"),
            (&["--no-conf"], "unknown long flag '--no-conf'"),
            (&["-x"], "unknown short flag '-x'"),
            (&["foo"], "unexpected foo"),
            (&["--debug=true"], "unexpected true"),
            (&["--", "--debug"], "unexpected --debug"),
            (&["--conf"], "expected argument for flag '--conf'"),
            (&["-c"], "expected argument for flag '-c'"),
            (&["--demo-days", "-5"], "expected argument for flag '--demo-days'"),
            (&["-c", "a", "--conf=b"], "flag 'conf' cannot be repeated"),
            (&["--debug", "--no-debug"], "flag 'debug' cannot be repeated"),
            (
                &["--demo-days=abc"],
                "strconv.ParseFloat: parsing \"abc\": invalid syntax",
            ),
            (&["--demo-days="], "strconv.ParseFloat: parsing \"\": invalid syntax"),
            (&["-h", "--bogus"], "unknown long flag '--bogus'"),
            (
                &["@nofile"],
                "failed to open arguments file \"nofile\": open nofile: no such file or directory",
            ),
        ] {
            assert_eq!(problem(arguments), text, "{arguments:?}");
        }
    }

    #[test]
    fn version_and_help_answer_on_the_error_output() {
        let version = Invocation::Print(stderr(format!("{}\n", crate::VERSION), 0));
        for form in [
            &["--version"][..],
            &["--version", "--bogus"],
            &["--no-version"],
            &["--help", "--version"],
        ] {
            assert_eq!(format!("{:?}", run(form)), format!("{version:?}"), "{form:?}");
        }
        assert_eq!(problem(&["--bogus", "--version"]), "unknown long flag '--bogus'");
        for form in [&["--help"][..], &["-h"], &["--no-help"], &["--help", "-ca", "-cb"]] {
            let Invocation::Print(printed) = run(form) else {
                panic!("{form:?}")
            };
            assert!(
                printed
                    .stderr
                    .starts_with("usage: tyk-pump [<flags>]\n\nFlags:\n  -h, --help "),
                "{form:?}"
            );
            assert_eq!((printed.stdout.as_str(), printed.code), ("", 0));
        }
        for form in [
            "--help-long",
            "--help-man",
            "--completion-script-bash",
            "--completion-script-zsh",
            "--completion-bash",
        ] {
            let Invocation::Print(printed) = run(&[form]) else {
                panic!("{form}")
            };
            assert!(
                !printed.stdout.is_empty() && printed.stderr.is_empty() && printed.code == 0,
                "{form}"
            );
        }
    }

    #[test]
    fn a_file_of_arguments_stands_for_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("arguments");
        std::fs::write(&file, "# demo\n--demo\norg\n--demo-days=3\n").unwrap();
        let reference = format!("@{}", file.display());
        let read = options(&["--debug", &reference]);
        assert_eq!((read.demo.as_str(), read.demo_days, read.debug), ("org", 3, true));
        std::fs::write(&file, "--debug\n\n").unwrap();
        assert_eq!(problem(&[&reference]), "unexpected ");
    }
}
