//! What every sink is checked for.

use std::{ops::Range, sync::Arc, time::Duration};

use analytics::{ClaimId, Selection};
use fakes::rows::{self, Row};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value};
use sinks::{
    BuildError, Guarantee, Sink, SinkSpec, WriteError, Written,
    options::{self, Shape},
};

use crate::{BackEnd, Harness, Reason};

/// How long a write may take that nothing keeps from succeeding.
const DEADLINE: Duration = Duration::from_secs(60);

/// What became of one check.
#[derive(Debug)]
pub enum Outcome {
    /// The sink does what it promises.
    Passed,
    /// The back-end cannot take part; why.
    NotApplicable(Reason),
    /// There is no back-end here; why.
    Missing(Reason),
    /// The sink does not do what it promises.
    Failed(String),
}

enum Stop {
    NotApplicable(Reason),
    Failed(String),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Stop::NotApplicable(reason)
    }
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Stop::Failed(why)
    }
}

type Run = for<'a> fn(&'a Stand) -> BoxFuture<'a, Result<(), Stop>>;

/// Something that a sink promises.
pub struct Check {
    /// What.
    pub name: &'static str,
    run: Run,
}

const fn check(name: &'static str, run: Run) -> Check {
    Check { name, run }
}

/// Everything that a sink is checked for.
pub const CHECKS: &[Check] = &[
    check("takes_its_options_in_any_case", |s| {
        takes_its_options_in_any_case(s).boxed()
    }),
    check("has_a_variable_for_every_option", |s| {
        has_a_variable_for_every_option(s).boxed()
    }),
    check("is_checked_as_it_is_built", |s| is_checked_as_it_is_built(s).boxed()),
    check("accepts_an_empty_group", |s| accepts_an_empty_group(s).boxed()),
    check("writes_only_what_passes_the_filters", |s| {
        writes_only_what_passes_the_filters(s).boxed()
    }),
    check("leaves_undecodable_rows_out", |s| {
        leaves_undecodable_rows_out(s).boxed()
    }),
    check("writes_1_row", |s| writes(s, 1).boxed()),
    check("writes_5000_rows", |s| writes(s, 5_000).boxed()),
    check("writes_20000_rows", |s| writes(s, 20_000).boxed()),
    check("loses_nothing_when_writes_fail", |s| {
        loses_nothing_when_writes_fail(s).boxed()
    }),
    check("names_the_rows_that_are_refused", |s| {
        names_the_rows_that_are_refused(s).boxed()
    }),
    check("commits_nothing_with_a_poison_row", |s| {
        commits_nothing_with_a_poison_row(s).boxed()
    }),
    check("outlives_a_timeout", |s| outlives_a_timeout(s).boxed()),
    check("takes_the_same_rows_in_other_groups", |s| {
        takes_the_same_rows_in_other_groups(s).boxed()
    }),
    check("fills_holes", |s| fills_holes(s).boxed()),
    check("closes_during_a_write", |s| closes_during_a_write(s).boxed()),
    check("knows_what_it_applied", |s| knows_what_it_applied(s).boxed()),
    check("survives_death_at_every_step", |s| {
        survives_death_at_every_step(s).boxed()
    }),
];

impl Check {
    /// Checks the sink on a back-end of its own.
    pub async fn on(&self, harness: &Harness) -> Outcome {
        let Some(spec) = harness.spec() else {
            return Outcome::Failed(format!("there is no sink {}", harness.name()));
        };
        let back_end = (harness.start)().await;
        if let Err(missing) = back_end.present() {
            return Outcome::Missing(missing);
        }
        match (self.run)(&Stand { spec, back_end }).await {
            Ok(()) => Outcome::Passed,
            Err(Stop::NotApplicable(reason)) => Outcome::NotApplicable(reason),
            Err(Stop::Failed(why)) => Outcome::Failed(why),
        }
    }
}

/// A sink and its back-end.
struct Stand {
    spec: &'static SinkSpec,
    back_end: Box<dyn BackEnd>,
}

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

impl Stand {
    async fn sink(&self) -> Result<Arc<dyn Sink>, Stop> {
        self.sink_with(self.back_end.options()).await
    }

    async fn sink_with(&self, meta: Value) -> Result<Arc<dyn Sink>, Stop> {
        match self.back_end.build(crate::context(meta)).await {
            Ok(sink) => Ok(sink.into()),
            Err(error) => Err(format!("cannot be built: {error}").into()),
        }
    }

    /// Rows `rows` of a claim, whose serial numbers are their row numbers.
    fn group(&self, rows: Range<u64>) -> Vec<Selection> {
        let batch = rows::batch_of(self.spec.records, CLAIM, rows.start, rows.map(Row::Good));
        vec![rows::all(&batch)]
    }

    /// The first rows of a claim.
    fn selection(&self, rows: impl IntoIterator<Item = Row>) -> Selection {
        rows::all(&rows::batch_of(self.spec.records, CLAIM, 0, rows))
    }

    /// Writes a group that nothing keeps from being accepted.
    async fn accept(&self, sink: &dyn Sink, group: &[Selection]) -> Result<Written, Stop> {
        match tokio::time::timeout(DEADLINE, sink.write(group, &Arc::default())).await {
            Err(_) => Err("the write does not end".to_owned().into()),
            Ok(Err(error)) => Err(format!("the write fails: {error}").into()),
            Ok(Ok(written)) => Ok(written),
        }
    }

    /// Each of `wanted` is there, and nothing else; once and in order where that is promised.
    async fn holds(&self, wanted: impl IntoIterator<Item = u64>) -> Result<(), Stop> {
        let mut wanted: Vec<u64> = wanted.into_iter().collect();
        let mut there = self.back_end.rows().await?;
        if self.spec.guarantee < Guarantee::ExactlyOnce {
            there.sort_unstable();
            there.dedup();
            wanted.sort_unstable();
        }
        if !self.back_end.keeps_order() {
            there.sort_unstable();
            wanted.sort_unstable();
        }
        if there == wanted {
            return Ok(());
        }
        let missing: Vec<_> = wanted.iter().filter(|row| !there.contains(row)).take(5).collect();
        let foreign: Vec<_> = there.iter().filter(|row| !wanted.contains(row)).take(5).collect();
        let (there, wanted) = (there.len(), wanted.len());
        Err(format!("{there} rows instead of {wanted}; missing: {missing:?}, not wanted: {foreign:?}").into())
    }
}

fn ensure(condition: bool, why: impl FnOnce() -> String) -> Result<(), Stop> {
    if condition { Ok(()) } else { Err(why().into()) }
}

async fn takes_its_options_in_any_case(stand: &Stand) -> Result<(), Stop> {
    let meta = stand.back_end.options();
    let schema = (stand.spec.options)();
    let loud: Map<String, Value> = match &meta {
        Value::Object(meta) => meta
            .iter()
            .map(|(key, value)| (key.to_uppercase(), value.clone()))
            .collect(),
        _ => Map::new(),
    };
    let (spelled, unknown) = options::normalise(&schema, &Value::Object(loud.clone()));
    ensure(unknown.is_empty(), || format!("unknown options: {unknown:?}"))?;
    ensure(spelled == meta, || format!("{loud:?} became {spelled}"))?;
    let sink = stand.sink_with(Value::Object(loud)).await?;
    stand.accept(sink.as_ref(), &stand.group(0..3)).await?;
    stand.holds(0..3).await
}

async fn has_a_variable_for_every_option(stand: &Stand) -> Result<(), Stop> {
    let schema = (stand.spec.options)();
    let variables = options::env_names(&schema);
    if variables.is_empty() {
        return Err(Stop::NotApplicable("it has no options"));
    }
    ensure(!stand.spec.env_prefix.is_empty(), || {
        "options without a prefix for variables".to_owned()
    })?;
    let mut seen = Vec::new();
    for variable in variables {
        for suffix in variable.suffixes {
            ensure(!suffix.is_empty() && suffix == suffix.to_uppercase(), || {
                format!("{suffix:?} is no name")
            })?;
            ensure(!seen.contains(&suffix), || format!("{suffix} names two options"))?;
            seen.push(suffix);
        }
        // An option that is found at its path is one that decoding knows.
        let meta = variable.path.iter().rev().fold(Value::Null, |inner, key| {
            Value::Object(Map::from_iter([(key.clone(), inner)]))
        });
        let (_, unknown) = options::normalise(&schema, &meta);
        ensure(unknown.is_empty(), || format!("{:?} is no option", variable.path))?;
    }
    Ok(())
}

/// `tyk-pump check` refuses what a start refuses, and reaches out to nothing.
async fn is_checked_as_it_is_built(stand: &Stand) -> Result<(), Stop> {
    let (spec, meta) = (stand.spec, stand.back_end.options());
    let right = spec.validate(&crate::context(meta.clone()));
    right.map_err(|error| format!("options that work are refused: {error}"))?;
    if spec.check.is_none() {
        let built = (spec.build)(crate::context(meta.clone())).now_or_never();
        ensure(built.is_some(), || {
            "it waits for something when it is made: give its SinkSpec a check".to_owned()
        })?;
    }
    for option in options::env_names(&(spec.options)()) {
        let ([key], Value::Object(mut wrong)) = (option.path.as_slice(), meta.clone()) else {
            continue;
        };
        let value = match option.shape {
            Shape::Any => continue,
            Shape::Text | Shape::List(_) | Shape::Map(_) | Shape::Object(_) => Value::from(5),
            Shape::Bool | Shape::Int | Shape::Uint | Shape::Float => Value::from("x"),
        };
        wrong.insert(key.clone(), value);
        let wrong = Value::Object(wrong);
        let checked = spec.validate(&crate::context(wrong.clone()));
        let built = (spec.build)(crate::context(wrong)).await.map(drop);
        for (who, refused) in [("check", checked), ("the start", built)] {
            let is_named = matches!(&refused, Err(BuildError::Options(text)) if text.contains(key));
            ensure(is_named, || format!("{who} says of a wrong {key}: {refused:?}"))?;
        }
    }
    let sink = stand.sink().await?;
    stand.accept(sink.as_ref(), &stand.group(0..3)).await?;
    stand.holds(0..3).await
}

async fn accepts_an_empty_group(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    stand.accept(sink.as_ref(), &[]).await?;
    let nothing: Vec<_> = stand
        .group(0..10)
        .iter()
        .map(|selection| selection.retain(|_| false))
        .collect();
    stand.accept(sink.as_ref(), &nothing).await?;
    stand.accept(sink.as_ref(), &stand.group(10..12)).await?;
    stand.holds(10..12).await
}

async fn writes_only_what_passes_the_filters(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    let filtered: Vec<_> = stand
        .group(0..1000)
        .iter()
        .map(|selection| selection.retain(|index| index % 3 == 0))
        .collect();
    stand.accept(sink.as_ref(), &filtered).await?;
    stand.holds((0..1000).step_by(3)).await
}

async fn leaves_undecodable_rows_out(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    let rows = (0..100).map(|row| {
        if row % 10 == 3 {
            Row::UNDECODABLE
        } else {
            Row::Good(row)
        }
    });
    stand.accept(sink.as_ref(), &[stand.selection(rows)]).await?;
    stand.holds((0..100).filter(|row| row % 10 != 3)).await
}

async fn writes(stand: &Stand, rows: u64) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    // As the source cuts them: several batches in one group.
    let mut batches = Vec::new();
    for first in (0..rows).step_by(5_000) {
        batches.extend(stand.group(first..rows.min(first + 5_000)));
    }
    let written = stand.accept(sink.as_ref(), &batches).await?;
    ensure(written.rejected.is_empty() && written.possibly_doubled == 0, || {
        format!("{written:?}")
    })?;
    stand.holds(0..rows).await
}

async fn loses_nothing_when_writes_fail(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    stand.accept(sink.as_ref(), &stand.group(0..100)).await?;
    stand.back_end.fail().await?;
    let applied = Arc::default();
    for attempt in 0..3 {
        match sink.write(&stand.group(100..300), &applied).await {
            Ok(_) => return Err(format!("attempt {attempt} is a success although the back-end fails").into()),
            Err(WriteError::Reject { rows, source }) => {
                return Err(format!("a failing back-end is taken for refused rows: {rows:?}, {source}").into());
            }
            Err(WriteError::Retry { .. } | WriteError::Config(_)) => {}
        }
    }
    stand.back_end.heal().await;
    // The lane may hand over less the next time.
    for rows in [100..150, 150..300, 300..400] {
        stand.accept(sink.as_ref(), &stand.group(rows)).await?;
    }
    stand.holds(0..400).await
}

async fn names_the_rows_that_are_refused(stand: &Stand) -> Result<(), Stop> {
    let alter = stand.back_end.refused()?;
    let sink = stand.sink().await?;
    let rows = (0..100).map(|row| {
        if row == 40 || row == 99 {
            Row::Odd(row, alter)
        } else {
            Row::Good(row)
        }
    });
    let written = stand.accept(sink.as_ref(), &[stand.selection(rows)]).await?;
    let refused: Vec<_> = written.rejected.iter().map(|rejected| rejected.row.row).collect();
    ensure(refused == [40, 99], || format!("refused: {:?}", written.rejected))?;
    let reasoned = written.rejected.iter().all(|rejected| !rejected.reason.is_empty());
    ensure(reasoned, || "a row is refused without a reason".to_owned())?;
    stand.holds((0..100).filter(|&row| row != 40 && row != 99)).await
}

async fn commits_nothing_with_a_poison_row(stand: &Stand) -> Result<(), Stop> {
    let alter = stand.back_end.poison()?;
    let sink = stand.sink().await?;
    let rows = (0..100).map(|row| {
        if row == 40 {
            Row::Odd(row, alter)
        } else {
            Row::Good(row)
        }
    });
    let poisoned = stand.selection(rows);
    match sink.write(std::slice::from_ref(&poisoned), &Arc::default()).await {
        Err(WriteError::Reject { rows, .. }) => {
            let is_it = rows.iter().all(|rejected| rejected.row.row == 40);
            ensure(is_it, || format!("it blames {rows:?}"))?;
        }
        Err(error) => return Err(format!("it does not refuse the group: {error}").into()),
        Ok(_) => return Err("it accepts the group".to_owned().into()),
    }
    stand.holds([]).await?;
    // As the lane does once it knows the row.
    stand
        .accept(sink.as_ref(), &[poisoned.slice(0..40), poisoned.slice(41..100)])
        .await?;
    stand.holds((0..100).filter(|&row| row != 40)).await
}

async fn outlives_a_timeout(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    stand.back_end.stall().await?;
    let timed_out = tokio::time::timeout(
        Duration::from_millis(50),
        sink.write(&stand.group(0..500), &Arc::default()),
    )
    .await
    .is_err();
    ensure(timed_out, || "a stalled back-end accepts a write".to_owned())?;
    let again = {
        let sink = sink.clone();
        let group = stand.group(0..200);
        tokio::spawn(async move { sink.write(&group, &Arc::default()).await.map(drop) })
    };
    tokio::task::yield_now().await;
    stand.back_end.heal().await;
    let ended = tokio::time::timeout(DEADLINE, again).await;
    ensure(matches!(ended, Ok(Ok(Ok(())))), || {
        format!("the write after the timeout: {ended:?}")
    })?;
    for rows in [200..500, 500..600] {
        stand.accept(sink.as_ref(), &stand.group(rows)).await?;
    }
    stand.holds(0..600).await
}

async fn takes_the_same_rows_in_other_groups(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    for first in (0..100).step_by(10) {
        stand.accept(sink.as_ref(), &stand.group(first..first + 10)).await?;
    }
    for first in (0..132).step_by(33) {
        stand.accept(sink.as_ref(), &stand.group(first..first + 33)).await?;
    }
    stand.holds(0..132).await
}

async fn fills_holes(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    for rows in [0..10, 20..30, 50..60] {
        stand.accept(sink.as_ref(), &stand.group(rows)).await?;
    }
    stand.accept(sink.as_ref(), &stand.group(0..70)).await?;
    // Rows that came late stand behind the others.
    let order = (0..10)
        .chain(20..30)
        .chain(50..60)
        .chain(10..20)
        .chain(30..50)
        .chain(60..70);
    stand.holds(order).await
}

async fn closes_during_a_write(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    stand.back_end.stall().await?;
    let (writing, closing, group) = (sink.clone(), sink.clone(), stand.group(0..300));
    let write = tokio::spawn(async move { writing.write(&group, &Arc::default()).await.map(drop) });
    tokio::task::yield_now().await;
    let close = tokio::spawn(async move { closing.close().await });
    tokio::task::yield_now().await;
    stand.back_end.heal().await;
    let ended = tokio::time::timeout(DEADLINE, futures::future::join(write, close)).await;
    ensure(matches!(ended, Ok((Ok(Ok(())), Ok(Ok(()))))), || {
        format!("writing and closing: {ended:?}")
    })?;
    drop(sink);
    let sink = stand.sink().await?;
    stand.accept(sink.as_ref(), &stand.group(0..400)).await?;
    stand.holds(0..400).await
}

async fn knows_what_it_applied(stand: &Stand) -> Result<(), Stop> {
    let sink = stand.sink().await?;
    let applied = |sink: Arc<dyn Sink>| async move {
        let applied = sink.applied(CLAIM, None).await.map_err(|error| error.to_string())?;
        Ok::<_, Stop>(applied.map(|rows| rows.to_string()))
    };
    for rows in [0..10, 20..30] {
        stand.accept(sink.as_ref(), &stand.group(rows)).await?;
    }
    let Some(rows) = applied(sink.clone()).await? else {
        return Err(Stop::NotApplicable("it keeps no ledger"));
    };
    ensure(rows == "0-9,20-29", || format!("it says {rows}"))?;
    sink.close().await.map_err(|error| error.to_string())?;
    drop(sink);
    let sink = stand.sink().await?;
    let rows = applied(sink.clone()).await?;
    ensure(rows.as_deref() == Some("0-9,20-29"), || {
        format!("after a restart it says {rows:?}")
    })?;
    sink.forget(&[CLAIM]).await;
    let rows = applied(sink.clone()).await?;
    ensure(rows.as_deref() == Some(""), || {
        format!("after forgetting it says {rows:?}")
    })
}

async fn survives_death_at_every_step(stand: &Stand) -> Result<(), Stop> {
    let deaths = stand.back_end.deaths()?;
    let mut sink = stand.sink().await?;
    let mut next = 0;
    // The first round begins with an empty back-end, the second one continues a full one.
    for (death, name) in deaths.iter().enumerate().cycle().take(2 * deaths.len()) {
        stand.back_end.die_at(death).await;
        if sink
            .write(&stand.group(next..next + 100), &Arc::default())
            .await
            .is_ok()
        {
            // A step that this write has no need of.
            next += 100;
        }
        drop(sink);
        stand.back_end.heal().await;
        sink = stand.sink().await?;
        // The pump does not know what arrived and begins further back, in other groups.
        let from = next.saturating_sub(30);
        for rows in [from..next + 50, next + 50..next + 130] {
            stand.accept(sink.as_ref(), &stand.group(rows)).await?;
        }
        next += 130;
        stand.holds(0..next).await.map_err(|stop| match stop {
            Stop::Failed(why) => Stop::Failed(format!("death {name}: {why}")),
            stop => stop,
        })?;
    }
    Ok(())
}
