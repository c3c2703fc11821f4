//! `tyk-pump check`: reads file and environment as a start does, options of sinks included, and says everything that is not
//! right. It connects to nothing and writes nothing.

use std::io::{self, Write};

use super::{Loaded, Place, Request, Severity, load, options};

/// Writes one line a finding (`file:line:column: error: text`) and a summary; `true`: nothing is wrong.
pub fn check(request: &Request, out: &mut dyn Write) -> io::Result<bool> {
    let Loaded {
        settings,
        mut findings,
        places,
        ..
    } = load(request);
    findings.extend(
        settings
            .iter()
            .flat_map(|settings| options::findings(settings, &places)),
    );
    let file = request.conf.display();
    let mut errors = 0;
    let mut warnings = 0;
    for finding in &findings {
        let word = match finding.severity {
            Severity::Warning => "warning",
            Severity::Mistake | Severity::Error | Severity::Fatal => "error",
        };
        match word {
            "warning" => warnings += 1,
            _ => errors += 1,
        }
        let text = finding.text.trim_end();
        match &finding.place {
            Place::File(at) => writeln!(out, "{file}:{}:{}: {word}: {text}", at.line, at.column)?,
            Place::Variable(_) => writeln!(out, "environment: {word}: {text}")?,
            Place::Missing => writeln!(out, "{file}: {word}: {text}")?,
        }
    }
    if let Some(settings) = settings
        && settings.usable_pumps().next().is_none()
    {
        errors += 1;
        let text = "No pumps configured – add one: {\"pumps\": {\"csv\": {\"type\": \"csv\", \"meta\": {\"csv_dir\": \"./csv\"}}}}";
        writeln!(out, "{file}: error: {text}")?;
    }
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    writeln!(out, "{}, {}", plural(errors, "error"), plural(warnings, "warning"))?;
    Ok(errors == 0)
}
