//! Help texts, man page and completion.

use std::fmt::Write;

use super::{
    commands::COMMANDS,
    flags::{FLAGS, Flag, Takes},
};

/// Width of a terminal that does not say how wide it is.
const WIDTH: usize = 80;

/// The help text.
pub(super) fn short(program: &str) -> String {
    text(program, false)
}

/// The help text with hidden flags.
pub(super) fn long(program: &str) -> String {
    text(program, true)
}

fn text(program: &str, hidden: bool) -> String {
    let shown = || FLAGS.iter().filter(move |flag| hidden || !flag.hidden);
    let column = shown().map(|flag| left(flag).chars().count()).max().unwrap_or_default() + 2;
    let mut text = format!("usage: {program} [<flags>]\n\nFlags:\n");
    for flag in shown() {
        for (number, line) in wrap(flag.help, WIDTH - column).iter().enumerate() {
            let first = if number == 0 { left(flag) } else { String::new() };
            let _ = writeln!(text, "{first:column$}{line}");
        }
    }
    text.push_str("\nCommands (each with its own --help):\n");
    for (name, about) in COMMANDS {
        let _ = writeln!(text, "  {name:16}{about}");
    }
    text.push('\n');
    text
}

/// `  -c, --conf="pump.conf"`
fn left(flag: &Flag) -> String {
    let short = flag
        .short
        .map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let value = match flag.takes {
        Takes::Nothing => String::new(),
        Takes::Text | Takes::Number => format!("={}", flag.default),
    };
    format!("  {short}--{}{value}", flag.long)
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A man page.
pub(super) fn man(program: &str) -> String {
    let mut page = format!(
        ".TH {program} 1 \"\" \"{}\" \"\"\n.SH \"NAME\"\n{program}\n",
        crate::VERSION
    );
    let _ = writeln!(
        page,
        ".SH \"SYNOPSIS\"\n.TP\n\\fB{program} [<flags>]\\fR\n.SH \"OPTIONS\""
    );
    for flag in FLAGS.iter().filter(|flag| !flag.hidden) {
        let names = left(flag).trim().replace('-', "\\-");
        let _ = writeln!(page, ".TP\n\\fB{names}\\fR\n{}", flag.help);
    }
    page.push_str(".SH \"COMMANDS\"\n");
    for (name, about) in COMMANDS {
        let _ = writeln!(page, ".TP\n\\fB{name}\\fR\n{about}");
    }
    page
}

/// Candidates for the last word on the command line.
pub(super) fn completions(arguments: &[String]) -> String {
    let asked = arguments
        .iter()
        .position(|argument| argument == "--completion-bash")
        .map_or(0, |at| at + 1);
    let words = arguments.get(asked..).unwrap_or_default();
    let last = words.last().map(String::as_str).unwrap_or_default();
    let mut candidates: Vec<String> = Vec::new();
    if words.len() <= 1 {
        candidates.extend(COMMANDS.iter().map(|(name, _)| (*name).to_owned()));
    }
    candidates.extend(
        FLAGS
            .iter()
            .filter(|flag| !flag.hidden)
            .map(|flag| format!("--{}", flag.long)),
    );
    candidates.retain(|candidate| candidate.starts_with(last));
    candidates.iter().map(|candidate| format!("{candidate}\n")).collect()
}

/// A script that makes bash complete flags and commands.
pub(super) fn bash_script(program: &str) -> String {
    format!(
        "_{function}_complete() {{\n    local words=(\"${{COMP_WORDS[@]:1:$COMP_CWORD}}\")\n    \
         mapfile -t COMPREPLY < <(\"${{COMP_WORDS[0]}}\" --completion-bash \"${{words[@]}}\")\n}}\n\
         complete -F _{function}_complete -o default {program}\n",
        function = program.replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
    )
}

/// The same for zsh.
pub(super) fn zsh_script(program: &str) -> String {
    format!(
        "#compdef {program}\n\n_{function}_complete() {{\n    compadd -- $(${{words[1]}} --completion-bash \"${{(@)words[2,$CURRENT]}}\")\n}}\n\
         compdef _{function}_complete {program}\n",
        function = program.replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_shown_as_the_reference_shows_them() {
        let expected = r#"usage: tyk-pump [<flags>]

Flags:
  -h, --help                     Show context-sensitive help (also try
                                 --help-long and --help-man).
  -c, --conf="pump.conf"         path to the config file
      --demo=""                  pass orgID string to generate demo data
      --demo-api=""              pass apiID string to generate demo data
      --demo-api-version=""      pass apiID string to generate demo data
      --demo-track-path          enable track path in analytics records
      --demo-days=30             flag that determines the number of days for the
                                 analytics records
      --demo-records-per-hour=0  flag that determines the number of records per
                                 hour for the analytics records
      --demo-future-data         flag that determines if the demo data should be
                                 in the future
      --debug                    enable debug mode
      --version                  Show application version.

"#;
        let shown = short("tyk-pump");
        assert!(shown.starts_with(expected), "{shown}");
        for (name, _) in COMMANDS {
            assert!(shown.contains(&format!("\n  {name} ")), "{name}");
        }
    }

    #[test]
    fn the_last_word_is_completed() {
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
        assert_eq!(completions(&words(&["--completion-bash", "--deb"])), "--debug\n");
        assert_eq!(completions(&words(&["--completion-bash", "cl"])), "claims\n");
        assert_eq!(completions(&words(&["--completion-bash", "--debug", "cl"])), "");
    }
}
