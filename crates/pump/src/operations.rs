//! What operators do by hand: `tyk-pump check`, `load`, `claims`, `dlq`, `lane`, `migrate` and `indexes`.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use analytics::ClaimId;
use anyhow::{Context, bail};
use async_trait::async_trait;
use sinks::Sink;

use crate::{
    admin::{
        client::Client,
        remote::{RemoteStore, STORE_IN_USE},
    },
    cli::{ClaimsCommand, Command, DeadLetterCommand, LaneCommand},
    config::{self, Request, Settings, Severity},
    delivery::{dead_letter::DeadLetters, disk::Disk},
    load,
    plan::PumpPlan,
    pump_name::PumpNames,
    quickstart, scrub,
    source::{
        ClaimReport, Claims, DeadLetter, DeadLetterId, DeadLimits, DeadStore, Ledgers, Operate, Terms, letter, table,
    },
    upkeep,
};

/// Dead letters that are looked at for names of pumps.
const LETTERS_LOOKED_AT: usize = 10_000;
/// Dead letters that are removed at once.
const REMOVED_AT_ONCE: usize = 1_000;

/// Carries out a subcommand, and writes what it has to say to `out`. `false`: something is wrong, as `out` says.
///
/// # Errors
/// The configuration is unusable, or Redis, the daemon or a back-end cannot be reached or refuses.
pub async fn run(command: Command, out: &mut dyn Write) -> anyhow::Result<bool> {
    match command {
        Command::Quickstart(options) => {
            quickstart::run(options, out).await?;
            Ok(true)
        }
        #[cfg(feature = "hybrid")]
        Command::MdcbSink(options) => {
            crate::mdcb_sink::run(options, out).await?;
            Ok(true)
        }
        Command::Check(options) => Ok(config::check::check(
            &Request::of_process(options.file.conf, false),
            out,
        )?),
        Command::Load(options) => {
            let configured = match &options.conf {
                Some(conf) => {
                    let settings = settings(conf)?;
                    Some((table::of(&settings).pushed_to)(&settings))
                }
                None => None,
            };
            load::run(options, configured).await?;
            Ok(true)
        }
        Command::Claims(command) => claims(command, out).await,
        Command::Dlq(command) => dead_letters(command, out).await,
        Command::Migrate(options) => upkeep::migrate(&settings(&options.file.conf)?, &options, out).await,
        Command::Indexes(options) => upkeep::indexes(&settings(&options.file.conf)?, &options, out).await,
        Command::Lane(LaneCommand::AcceptRefusals { file, pump }) => {
            let settings = settings(&file.conf)?;
            let pump = names(&settings).resolve(&pump)?;
            Client::new(&settings).accept_refusals(&pump).await?;
            writeln!(
                out,
                "pump {pump} goes on; what its back-end refuses becomes dead letters until a record is accepted"
            )?;
            Ok(true)
        }
    }
}

fn settings(conf: &Path) -> anyhow::Result<Settings> {
    let loaded = config::load(&Request::of_process(PathBuf::from(conf), false));
    let fatal = loaded
        .findings
        .iter()
        .find(|finding| finding.severity == Severity::Fatal);
    match (loaded.settings, fatal) {
        (Some(settings), None) => {
            scrub::know(&settings);
            Ok(settings)
        }
        (_, Some(finding)) => bail!("{}", finding.text.trim_end()),
        (None, None) => bail!("{} cannot be used; tyk-pump check says why", conf.display()),
    }
}

/// The pumps that the configuration names.
pub(crate) fn names(settings: &Settings) -> PumpNames {
    let plan = PumpPlan::of(settings);
    let runs = plan.pumps().map(|pump| pump.settings.name.clone());
    PumpNames::new(runs.chain(plan.absent.iter().map(|pump| pump.name.clone())))
}

/// These, and the pumps of which claims keep rows.
async fn names_in_claims(settings: &Settings, claims: &dyn Operate) -> anyhow::Result<PumpNames> {
    let mut names = names(settings);
    for claim in claims.list().await? {
        names.add(claim.cursors.keys().map(|lane| lane.as_str().into()));
    }
    Ok(names)
}

/// The pump that is called so, in any case: one of these, or one of which there are dead letters.
async fn resolve_in_dead_letters(settings: &Settings, dead: &DeadLetters, name: &str) -> anyhow::Result<Arc<str>> {
    let mut names = names(settings);
    if let Some(pump) = names.exact(name) {
        return Ok(pump);
    }
    if let Some(letter) = dead.list(Some(name), 1).await?.into_iter().next() {
        return Ok(letter.lane);
    }
    if let Ok(pump) = names.resolve(name) {
        return Ok(pump);
    }
    // Whole letters of everybody, which may be many: for what nothing else tells.
    let letters = dead.list(None, LETTERS_LOOKED_AT).await?;
    names.add(letters.into_iter().map(|letter| letter.lane));
    names.resolve(name)
}

/// What operators work on.
struct Opened {
    claims: Arc<dyn Operate>,
    dead: Arc<dyn DeadStore>,
    /// The source itself, where it is open here.
    here: Option<Arc<dyn Claims>>,
}

/// The configured source; one that a running pump keeps to itself, through that pump's admin port.
async fn open(settings: &Settings) -> anyhow::Result<Opened> {
    let spec = table::of(settings);
    let daemon = Client::new(settings);
    if spec.exclusive && daemon.status().await.is_ok() {
        let store = Arc::new(RemoteStore::new(daemon));
        return Ok(Opened {
            claims: store.clone(),
            dead: store,
            here: None,
        });
    }
    let opened = (spec.visit)(settings, PumpPlan::of(settings).uptime.is_some()).await;
    let source = match spec.exclusive {
        false => opened?,
        true => opened.with_context(|| {
            format!(
                "no pump answers at {} (health_check_endpoint_port, or admin_listen), and its store cannot be opened instead",
                daemon.address()
            )
        })?,
    };
    Ok(Opened {
        claims: source.clone(),
        dead: source.clone(),
        here: Some(source),
    })
}

async fn claims(command: ClaimsCommand, out: &mut dyn Write) -> anyhow::Result<bool> {
    match command {
        ClaimsCommand::List { file, json } => {
            let claims = open(&settings(&file.conf)?).await?.claims.list().await?;
            for claim in &claims {
                match json {
                    true => writeln!(out, "{}", serde_json::to_string(claim)?)?,
                    false => print_claim(claim, out)?,
                }
            }
            if claims.is_empty() && !json {
                writeln!(out, "no claims")?;
            }
        }
        ClaimsCommand::Restore {
            file,
            accept_duplicates,
            force,
        } => {
            let settings = settings(&file.conf)?;
            let terms = Terms {
                accept_duplicates,
                despite_owner: force,
            };
            return restore(&settings, terms, out).await;
        }
        ClaimsCommand::Drop { file, pump } => {
            let settings = settings(&file.conf)?;
            let claims = open(&settings).await?.claims;
            let pump = names_in_claims(&settings, &*claims).await?.resolve(&pump)?;
            match claims.drop_lane(&pump).await? {
                0 => writeln!(out, "no records are kept for pump {pump}: nothing to drop")?,
                rows => writeln!(out, "{rows} records are no longer kept for pump {pump}")?,
            }
        }
        ClaimsCommand::Adopt { file, old, new } => {
            let settings = settings(&file.conf)?;
            let claims = open(&settings).await?.claims;
            let old = names_in_claims(&settings, &*claims).await?.resolve(&old)?;
            // Rows that go to a pump that nobody has would wait for ever.
            let new = names(&settings).resolve(&new)?;
            match claims.adopt_lane(&old, &new).await? {
                0 => writeln!(out, "no records are kept for pump {old}: nothing to hand over")?,
                rows => writeln!(out, "{rows} records of pump {old} are kept for pump {new} now")?,
            }
        }
    }
    Ok(true)
}

fn print_claim(claim: &ClaimReport, out: &mut dyn Write) -> anyhow::Result<()> {
    let lease = match claim.lease_ms {
        left if left > 0 => format!("leased for {} s", left / 1000),
        _ => "free to be taken up".to_owned(),
    };
    writeln!(
        out,
        "{} {} {} records, {} s old, {lease}",
        claim.id,
        claim.key,
        claim.len,
        claim.age_ms / 1000
    )?;
    writeln!(out, "    owner {}", claim.owner)?;
    for (lane, cursor) in &claim.cursors {
        writeln!(out, "    {lane}: {cursor} of {}", claim.len)?;
    }
    Ok(())
}

async fn restore(settings: &Settings, terms: Terms, out: &mut dyn Write) -> anyhow::Result<bool> {
    let Opened { claims, here, .. } = open(settings).await?;
    let Some(source) = here else {
        bail!(STORE_IN_USE);
    };
    let ledgers = OpenLedgers::open(settings, source.fleet().await?).await;
    let (mut moved, mut refused) = (0, 0);
    for claim in claims.list().await? {
        let id = ClaimId(
            claim
                .id
                .parse()
                .with_context(|| format!("claim {} has no proper id", claim.id))?,
        );
        match claims.restore(id, &ledgers, terms).await {
            Ok(restored) => moved += restored.moved,
            Err(error) => {
                refused += 1;
                writeln!(out, "{} stays: {error}", claim.id)?;
            }
        }
    }
    match moved {
        0 => writeln!(out, "no records are to be put back")?,
        _ => writeln!(
            out,
            "{moved} records are back in the gateways' lists; {}",
            table::of(settings).after_restore
        )?,
    }
    if refused > 0 {
        writeln!(out, "{refused} claims stay")?;
    }
    Ok(refused == 0)
}

/// The ledgers of the configured pumps, as far as their back-ends can be opened.
struct OpenLedgers(HashMap<String, Result<Box<dyn Sink>, String>>);

impl OpenLedgers {
    async fn open(settings: &Settings, fleet: Arc<str>) -> Self {
        let fleet = Arc::new(OnceLock::from(fleet));
        let mut sinks = HashMap::new();
        for pump in PumpPlan::of(settings).pumps() {
            let built = (pump.spec.build)(pump.context(settings.log, &fleet)).await;
            sinks.insert(pump.settings.name.to_string(), built.map_err(|error| error.to_string()));
        }
        Self(sinks)
    }
}

#[async_trait]
impl Ledgers for OpenLedgers {
    async fn first_missing(&self, lane: &str, claim: ClaimId) -> anyhow::Result<u64> {
        match self.0.get(lane) {
            None => Ok(0),
            Some(Err(error)) => bail!("the ledger of pump {lane} cannot be read: {error}"),
            Some(Ok(sink)) => Ok(sink.applied(claim, None).await?.map_or(0, |rows| rows.run_end(0))),
        }
    }
}

fn dead_letters_of(settings: &Settings, store: Arc<dyn DeadStore>) -> DeadLetters {
    let delivery = &settings.delivery;
    let limits = DeadLimits {
        count: delivery.dead_letter_max_count,
        bytes: delivery.dead_letter_max_bytes,
    };
    DeadLetters::new(store, delivery.spool_dir.as_deref(), Disk::default(), limits)
}

async fn dead_letters(command: DeadLetterCommand, out: &mut dyn Write) -> anyhow::Result<bool> {
    match command {
        DeadLetterCommand::List {
            file,
            pump,
            limit,
            json,
        } => {
            let settings = settings(&file.conf)?;
            let dead = dead_letters_of(&settings, open(&settings).await?.dead);
            let pump = match &pump {
                Some(pump) => Some(resolve_in_dead_letters(&settings, &dead, pump).await?),
                None => None,
            };
            let letters = dead.list(pump.as_deref(), limit).await?;
            for letter in &letters {
                print_letter(letter, json, out)?;
            }
            if letters.is_empty() && !json {
                writeln!(out, "no dead letters")?;
            }
        }
        DeadLetterCommand::Replay { file, pump, limit } => {
            let settings = settings(&file.conf)?;
            let pump = match &pump {
                Some(name) => Some(match names(&settings).exact(name) {
                    Some(pump) => pump,
                    None => {
                        let dead = dead_letters_of(&settings, open(&settings).await?.dead);
                        resolve_in_dead_letters(&settings, &dead, name).await?
                    }
                }),
                None => None,
            };
            let answer = Client::new(&settings).replay(pump.as_deref(), limit).await?;
            let figure = |name: &str| answer.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default();
            writeln!(out, "{} accepted, {} kept", figure("accepted"), figure("kept"))?;
            if let Some(cause) = answer.get("cause").and_then(serde_json::Value::as_str) {
                writeln!(out, "kept because: {cause}")?;
                return Ok(false);
            }
        }
        DeadLetterCommand::Drop { file, pump } => {
            let settings = settings(&file.conf)?;
            let dead = dead_letters_of(&settings, open(&settings).await?.dead);
            let pump = resolve_in_dead_letters(&settings, &dead, &pump).await?;
            let mut dropped = 0;
            loop {
                let letters = dead.list(Some(&pump), REMOVED_AT_ONCE).await?;
                let ids: Vec<DeadLetterId> = letters
                    .into_iter()
                    .map(|letter| DeadLetterId {
                        lane: letter.lane,
                        row: letter.row,
                    })
                    .collect();
                let removed = dead.remove(&ids).await?;
                dropped += removed;
                if removed == 0 {
                    break;
                }
            }
            match dropped {
                0 => writeln!(out, "there are no dead letters of pump {pump}: nothing to drop")?,
                _ => writeln!(out, "{dropped} dead letters of pump {pump} are gone")?,
            }
        }
    }
    Ok(true)
}

fn print_letter(letter: &DeadLetter, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    // One of a version that did not look at causes may name secrets.
    let letter = &DeadLetter {
        cause: scrub::secrets(&letter.cause).into_owned(),
        ..letter.clone()
    };
    if json {
        writeln!(out, "{}", letter::encode(letter))?;
        return Ok(());
    }
    let at = jiff::Timestamp::from_millisecond(letter.at_ms as i64)?;
    let bytes = letter.raw.len();
    writeln!(
        out,
        "{at:.0} {} {} ({}, {bytes} bytes): {}",
        letter.lane, letter.row, letter.key, letter.cause
    )?;
    Ok(())
}
