//! `tyk-pump migrate` and `tyk-pump indexes`: what a start changes or leaves alone in back-ends, seen first or done apart.

use std::{fmt::Display, io::Write};

use futures::future::BoxFuture;
use sinks::{BuildContext, BuildError, Fleet, IndexReport, IndexState, MigrationMode, SinkSpec};

use crate::{cli::MigrateOptions, config::Settings, operations, plan::PumpPlan, scrub};

/// A function of a sink type that lists or makes changes.
type Hook<T> = fn(BuildContext, MigrationMode) -> BoxFuture<'static, Result<Vec<T>, BuildError>>;

/// For every pump with tables: the statements that its start would execute. `false`: a pump could not be looked at.
pub(crate) async fn migrate(
    settings: &Settings,
    options: &MigrateOptions,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let done = if options.apply { ", done" } else { "" };
    let write = |pump: &str, statements: Vec<String>, out: &mut dyn Write| {
        if statements.is_empty() {
            writeln!(out, "-- {pump}: nothing to change")?;
            return Ok(true);
        }
        writeln!(out, "-- {pump}: {} statements{done}", statements.len())?;
        for statement in statements {
            writeln!(out, "{statement};")?;
        }
        Ok(true)
    };
    for_each_pump(
        settings,
        options,
        |spec| spec.migrate,
        "-- no pump with tables",
        write,
        out,
    )
    .await
}

/// For every pump whose back-end has indexes of its own: which are there, missing or different. `false`: a pump could not
/// be looked at, or an index not be built.
pub(crate) async fn indexes(
    settings: &Settings,
    options: &MigrateOptions,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let none = "-- no pump whose indexes can be compared";
    for_each_pump(settings, options, |spec| spec.indexes, none, write_indexes, out).await
}

fn write_indexes(pump: &str, reports: Vec<IndexReport>, out: &mut dyn Write) -> anyhow::Result<bool> {
    let count = |is: fn(&IndexState) -> bool| reports.iter().filter(|report| is(&report.state)).count();
    let missing = count(|state| matches!(state, IndexState::Missing(_) | IndexState::Failed(_)));
    let built = count(|state| matches!(state, IndexState::Built(_)));
    let differ = count(|state| matches!(state, IndexState::Differs { .. }));
    writeln!(out, "-- {pump}: {missing} missing, {built} built, {differ} different")?;
    let mut collection = "";
    for report in &reports {
        if report.collection != collection {
            collection = &report.collection;
            writeln!(out, "-- collection {collection}")?;
        }
        let name = &report.name;
        match &report.state {
            IndexState::Present => writeln!(out, "-- {name}: there")?,
            IndexState::Other(keys) => writeln!(out, "-- {name}: there, not of this pump, {keys}")?,
            IndexState::Missing(statement) => writeln!(out, "-- {name}: missing\n{statement}")?,
            IndexState::Built(statement) => writeln!(out, "-- {name}: built\n{statement}")?,
            IndexState::Failed(error) => writeln!(out, "-- {name}: missing, and not built: {}", scrub::secrets(error))?,
            IndexState::Differs { how, remedy } => {
                writeln!(
                    out,
                    "-- {name}: different, {how}; if nobody needs it like that: {remedy}"
                )?;
            }
        }
    }
    Ok(count(|state| matches!(state, IndexState::Failed(_))) == 0)
}

/// A pump that cannot be reached does not hide the others.
async fn for_each_pump<T>(
    settings: &Settings,
    options: &MigrateOptions,
    hook_of: fn(&SinkSpec) -> Option<Hook<T>>,
    none: impl Display,
    write: impl Fn(&str, Vec<T>, &mut dyn Write) -> anyhow::Result<bool>,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mode = match options.apply {
        true => MigrationMode::Apply,
        false => MigrationMode::Plan,
    };
    let wanted = match &options.pump {
        Some(pump) => Some(operations::names(settings).resolve(pump)?),
        None => None,
    };
    let (mut pumps, mut all_well) = (0, true);
    for pump in PumpPlan::of(settings).pumps() {
        let name = &pump.settings.name;
        let is_wanted = wanted.as_ref().is_none_or(|wanted| wanted == name);
        let Some(hook) = hook_of(pump.spec).filter(|_| is_wanted) else {
            continue;
        };
        pumps += 1;
        match hook(pump.context(settings.log, &Fleet::default()), mode).await {
            Ok(found) => all_well &= write(name, found, out)?,
            Err(error) => {
                all_well = false;
                writeln!(out, "-- {name}: {}", scrub::secrets(&error.to_string()))?;
            }
        }
    }
    if pumps == 0 {
        writeln!(out, "{none}")?;
    }
    Ok(all_well)
}
