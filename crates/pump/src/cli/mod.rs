//! The command line: the reference's flags, understood exactly as the reference's flag library understands them, and
//! subcommands of our own, which are looked for in the first argument alone.

mod commands;
mod flags;
mod usage;

use std::{ffi::OsString, path::Path};

pub use commands::{CheckOptions, ClaimsCommand, Command, ConfOption, DeadLetterCommand, LaneCommand, MigrateOptions};
pub use flags::RunOptions;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// The pump itself, or its demo mode.
    Run(RunOptions),
    /// A subcommand.
    Command(Command),
    /// Nothing but output.
    Print(Printed),
}

/// Output that ends the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// For the standard output.
    pub stdout: String,
    /// For the error output.
    pub stderr: String,
    /// Exit code.
    pub code: u8,
}

/// Understands the arguments of the process, its own name first. Bytes that are no UTF-8 become U+FFFD.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    let mut arguments = arguments
        .into_iter()
        .map(|argument| argument.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    let program = Path::new(&name)
        .file_name()
        .map(|file| file.to_string_lossy().into_owned());
    let program = program
        .filter(|file| !file.is_empty())
        .unwrap_or_else(|| "tyk-pump".to_owned());
    let arguments: Vec<String> = arguments.collect();
    if arguments.first().is_some_and(|first| commands::is_command(first)) {
        return commands::parse(&program, &arguments);
    }
    if let Some(arguments) = command_behind_conf(&arguments) {
        return commands::parse(&program, &arguments);
    }
    flags::parse(&program, &arguments)
}

/// `-c FILE check`, as one may write it who knows the flag first: the command with its flags behind it.
fn command_behind_conf(arguments: &[String]) -> Option<Vec<String>> {
    let first = arguments.first()?;
    let length = match first.as_str() {
        "-c" | "--conf" => 2,
        other if other.starts_with("--conf=") => 1,
        other if other.starts_with("-c") => 1,
        _ => return None,
    };
    let (conf, command) = arguments.split_at_checked(length)?;
    let is_command = command.first().is_some_and(|first| commands::is_command(first));
    is_command.then(|| command.iter().chain(conf).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_may_be_named_before_the_command() {
        for line in [
            "-c x check",
            "--conf x check",
            "--conf=x check",
            "-cx check",
            "check -c x",
        ] {
            let words = std::iter::once("tyk-pump").chain(line.split(' ')).map(OsString::from);
            match parse(words) {
                Invocation::Command(Command::Check(options)) => assert_eq!(options.file.conf, Path::new("x"), "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        let words = ["tyk-pump", "-c", "x", "claims", "list", "--json"].map(OsString::from);
        assert!(matches!(parse(words), Invocation::Command(Command::Claims(_))));
        // The name of a file, and what upstream does not know either.
        let words = ["tyk-pump", "-c", "check"].map(OsString::from);
        assert!(matches!(parse(words), Invocation::Run(_)));
        let words = ["tyk-pump", "--debug", "check"].map(OsString::from);
        assert!(matches!(parse(words), Invocation::Print(_)));
    }
}
