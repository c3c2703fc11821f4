//! Our own subcommands.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{Invocation, Printed};
use crate::{load::LoadOptions, quickstart::QuickstartOptions};

/// Names and what they are for, as the help text lists them.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    (
        "check",
        "reads the configuration strictly and says everything that is wrong",
    ),
    (
        "load",
        "pushes records into Redis as a gateway does, for trials and benchmarks",
    ),
    (
        "claims",
        "lists, gives back or drops records that are claimed and not delivered",
    ),
    ("dlq", "lists, sends again or drops records that a back-end refused"),
    ("lane", "lets a paused pump go on"),
    (
        "migrate",
        "lists or makes the changes to tables that the start would make",
    ),
    (
        "indexes",
        "compares the indexes of MongoDB collections with those that the pumps want, or builds what is missing",
    ),
    #[cfg(feature = "hybrid")]
    (
        "mdcb-sink",
        "takes the calls of hybrid pumps in the place of an MDCB, and writes each as a JSON line",
    ),
    (
        "quickstart",
        "shows the whole way with made-up records, and then waits for a gateway's",
    ),
];

/// Whether a first argument is one of our subcommands.
pub(super) fn is_command(argument: &str) -> bool {
    COMMANDS.iter().any(|(name, _)| *name == argument)
}

#[derive(Parser)]
#[command(name = "tyk-pump", version = crate::VERSION, disable_help_subcommand = true)]
struct Root {
    #[command(subcommand)]
    command: Command,
}

/// A subcommand.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// reads the configuration strictly and says everything that is wrong
    Check(CheckOptions),
    /// pushes records into Redis as a gateway does, for trials and benchmarks
    Load(LoadOptions),
    /// lists, gives back or drops records that are claimed and not delivered
    #[command(subcommand)]
    Claims(ClaimsCommand),
    /// lists, sends again or drops records that a back-end refused
    #[command(subcommand)]
    Dlq(DeadLetterCommand),
    /// lets a paused pump go on
    #[command(subcommand)]
    Lane(LaneCommand),
    /// lists or makes the changes to tables that the start would make
    Migrate(MigrateOptions),
    /// compares the indexes of MongoDB collections with those that the pumps want, or builds what is missing
    Indexes(MigrateOptions),
    /// takes the calls of hybrid pumps in the place of an MDCB, and writes each as a JSON line
    #[cfg(feature = "hybrid")]
    MdcbSink(crate::mdcb_sink::MdcbSinkOptions),
    /// shows the whole way with made-up records, and then waits for a gateway's
    Quickstart(QuickstartOptions),
}

/// Which configuration is meant.
#[derive(Clone, Debug, Args)]
pub struct ConfOption {
    /// path to the configuration file
    #[arg(short = 'c', long, value_name = "FILE", default_value = "pump.conf")]
    pub conf: PathBuf,
}

/// `check`
#[derive(Clone, Debug, Args)]
pub struct CheckOptions {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfOption,
}

/// `migrate` and `indexes`
#[derive(Clone, Debug, Args)]
pub struct MigrateOptions {
    /// Which configuration.
    #[command(flatten)]
    pub file: ConfOption,
    /// lists the statements and changes nothing (default)
    #[arg(long, conflicts_with = "apply")]
    pub plan: bool,
    /// executes them, and waits for every index
    #[arg(long)]
    pub apply: bool,
    /// for this pump alone
    #[arg(long, value_name = "PUMP")]
    pub pump: Option<String>,
}

/// `claims …`
#[derive(Clone, Debug, Subcommand)]
pub enum ClaimsCommand {
    /// shows every claim: its list, rows, owner, and how far each pump is
    List {
        /// Which configuration.
        #[command(flatten)]
        file: ConfOption,
        /// as JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// moves what is not delivered back to the gateways' lists, for going back to another pump
    Restore {
        /// Which configuration.
        #[command(flatten)]
        file: ConfOption,
        /// also where records may then be delivered twice
        #[arg(long)]
        accept_duplicates: bool,
        /// also claims that a running pump works on, which takes them again
        #[arg(long)]
        force: bool,
    },
    /// gives up the records that wait for one pump; the other pumps still get them
    Drop {
        /// Which configuration.
        #[command(flatten)]
        file: ConfOption,
        /// key of the pump, also of one that is not configured any more
        #[arg(long, value_name = "PUMP")]
        pump: String,
    },
    /// hands the records that wait for a pump to it under its new name
    Adopt {
        /// Which configuration.
        #[command(flatten)]
        file: ConfOption,
        /// the name it had
        old: String,
        /// the name it has
        new: String,
    },
}

/// `dlq …`
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// shows dead letters with their causes
    List {
        /// Which configuration.
        #[command(flatten)]
        file: ConfOption,
        /// of this pump alone
        #[arg(long, value_name = "PUMP")]
        pump: Option<String>,
        /// at most this many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// as JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// sends dead letters again
    Replay {
        /// Which configuration.
        #[command(flatten)]
        file: ConfOption,
        /// of this pump alone
        #[arg(long, value_name = "PUMP")]
        pump: Option<String>,
        /// at most this many
        #[arg(long, default_value_t = 10_000)]
        limit: usize,
    },
    /// deletes dead letters
    Drop {
        /// Which configuration.
        #[command(flatten)]
        file: ConfOption,
        /// of this pump
        #[arg(long, value_name = "PUMP")]
        pump: String,
    },
}

/// `lane …`
#[derive(Clone, Debug, Subcommand)]
pub enum LaneCommand {
    /// makes dead letters of the rows that a paused pump's back-end refuses, and goes on
    AcceptRefusals {
        /// Which configuration.
        #[command(flatten)]
        file: ConfOption,
        /// key of the pump
        pump: String,
    },
}

/// Understands a subcommand and its arguments.
pub(super) fn parse(program: &str, arguments: &[String]) -> Invocation {
    let name = program.to_owned();
    let words = std::iter::once(&name).chain(arguments);
    let parsed = Root::command().bin_name(name.clone()).try_get_matches_from(words);
    match parsed.and_then(|matches| Root::from_arg_matches(&matches)) {
        Ok(root) => Invocation::Command(root.command),
        Err(error) => {
            let text = error.render().to_string();
            let mut printed = Printed::default();
            match error.use_stderr() {
                true => (printed.stderr, printed.code) = (text, 1),
                false => printed.stdout = text,
            }
            Invocation::Print(printed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Invocation {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert!(is_command(&arguments[0]));
        parse("tyk-pump", &arguments)
    }

    #[test]
    fn every_command_is_understood() {
        Root::command().debug_assert();
        assert_eq!(COMMANDS.len(), Root::command().get_subcommands().count());
        let Invocation::Command(Command::Check(options)) = run("check") else {
            panic!()
        };
        assert_eq!(options.file.conf, PathBuf::from("pump.conf"));
        let Invocation::Command(Command::Check(options)) = run("check -c x.conf") else {
            panic!()
        };
        assert_eq!(options.file.conf, PathBuf::from("x.conf"));
        for line in [
            "load --records 10",
            "claims list --json",
            "claims restore --accept-duplicates --force --conf=a",
            "claims drop --pump CSV",
            "claims adopt OLD NEW",
            "dlq list --pump CSV --limit 3",
            "dlq replay",
            "dlq drop --pump CSV",
            "lane accept-refusals CSV",
            "migrate --plan --pump SQL",
            "indexes --apply -c x.conf",
            #[cfg(feature = "hybrid")]
            "mdcb-sink --listen 127.0.0.1:0 --api-key k --out calls.jsonl",
            "quickstart",
            "quickstart folder --records 10 --once",
        ] {
            assert!(matches!(run(line), Invocation::Command(_)), "{line}");
        }
    }

    #[test]
    fn help_is_output_and_mistakes_are_errors() {
        let Invocation::Print(help) = run("claims --help") else {
            panic!()
        };
        assert!(
            help.stdout.contains("Usage: tyk-pump claims <COMMAND>") && help.code == 0,
            "{}",
            help.stdout
        );
        for line in [
            "claims",
            "claims drop",
            "check extra",
            "dlq list --limit x",
            "lane accept-refusals",
        ] {
            let Invocation::Print(printed) = run(line) else {
                panic!("{line}")
            };
            assert!(
                printed.code == 1 && !printed.stderr.is_empty() && printed.stdout.is_empty(),
                "{line}"
            );
        }
    }
}
