//! Records that gateways push to the pump itself: the [`store`] crate as a source.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use analytics::{ClaimId, Key};
use async_trait::async_trait;
use store::{Found, Held, Store, server::Server};

use super::{
    Acknowledged, Claim, ClaimRef, ClaimReport, Claims, DeadLetter, DeadLetterId, DeadLimits, DeadStore, DeadStored,
    ElementForm, Ledgers, Lost, Mode, Operate, Pending, Restored, SourceError, SpoolNotes, Terms, Usage, Window,
    lists::{VERSION_KEY, keys},
    restore::{self, Candidate},
};
use crate::{clock::now_ms, config::EmbeddedSettings};

/// One instance's view of the store in a folder.
#[derive(Clone)]
pub struct EmbeddedSource {
    store: Store,
    keys: Arc<[Arc<Key>]>,
}

/// The store's own settings.
pub fn store_settings(settings: &EmbeddedSettings) -> store::Settings {
    store::Settings {
        listen: settings.listen,
        dir: settings.dir.clone(),
        username: settings.username.clone(),
        password: settings.password.reveal().to_owned(),
        tls: settings.tls.clone(),
        max_bytes: settings.max_bytes,
        fsync: settings.fsync,
        max_clients: settings.max_clients,
        max_command: settings.max_command,
        idle_timeout: settings.idle_timeout,
    }
}

impl EmbeddedSource {
    /// Opens the folder and recovers what the last process left.
    ///
    /// # Errors
    /// Another process has it open, or it cannot be read or written.
    pub fn open(settings: &EmbeddedSettings, prefix: &str, uptime: bool) -> anyhow::Result<Self> {
        Ok(Self {
            store: Store::open(&store_settings(settings))?,
            keys: keys(prefix, uptime).into(),
        })
    }

    /// The same store under another name, as another instance of the pump would see it.
    pub fn instance(&self, owner: &str, lease: Duration) -> Self {
        Self {
            store: self.store.instance(owner, lease),
            keys: self.keys.clone(),
        }
    }

    /// Appends elements to a list, as a client does. Waits until they are as durable as `fsync` promises.
    ///
    /// # Errors
    /// The store is full, or the disk does not take them.
    pub async fn push(&self, list: &str, elements: &[impl AsRef<[u8]>]) -> Result<(), SourceError> {
        Ok(self.store.push(list, elements).await?)
    }

    /// Writes what waits. Nothing can be changed afterwards.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Takes the port that gateways push to.
    ///
    /// # Errors
    /// The port is taken or may not be used, or the files of TLS cannot.
    pub async fn listen(&self, settings: &EmbeddedSettings) -> anyhow::Result<Server> {
        Server::bind(&store_settings(settings), &self.store).await
    }

    /// As the engine knows it; `None`: its list is none that gateways push to.
    fn known(&self, claim: store::Claim) -> Option<Claim> {
        let key = self.keys.iter().find(|key| *key.name == *claim.list)?;
        Some(Claim {
            id: claim.id,
            key: key.clone(),
            fence: claim.fence,
            len: claim.len,
            base: claim.base,
            cursors: claim.cursors,
            adopted: claim.adopted,
            ttl: claim.ttl,
            claimed_at_ms: claim.at_ms,
        })
    }

    /// How the store is, in words.
    fn condition(&self, facts: store::Facts) -> String {
        let trouble = facts
            .trouble
            .map(|trouble| format!("; it cannot be written: {trouble}"));
        format!(
            "gateways push to the pump itself: {} bytes in {} segments in {}, {} damaged parts put aside, {} torn tails cut off{}",
            facts.used_bytes,
            facts.segments,
            self.store.folder().display(),
            facts.damaged,
            facts.torn,
            trouble.unwrap_or_default()
        )
    }
}

impl From<store::Error> for SourceError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(text) => SourceError::Unavailable(anyhow::Error::msg(text)),
            store::Error::NotHeld(claim) => SourceError::LeaseLost(claim),
            store::Error::Lost { claim, rows } => SourceError::Evicted { claim, rows },
            store::Error::Refused(text) => SourceError::Refused(anyhow::Error::msg(text)),
        }
    }
}

fn held(claim: &ClaimRef) -> Held {
    Held {
        id: claim.id,
        fence: claim.fence,
    }
}

fn all_held(claims: &[ClaimRef]) -> Vec<Held> {
    claims.iter().map(held).collect()
}

fn form_name(form: ElementForm) -> Arc<str> {
    match form {
        ElementForm::Msgpack => "msgpack",
        ElementForm::Protobuf => "protobuf",
        ElementForm::Uptime => "uptime",
    }
    .into()
}

fn form(name: &str) -> Option<ElementForm> {
    match name {
        "msgpack" => Some(ElementForm::Msgpack),
        "protobuf" => Some(ElementForm::Protobuf),
        "uptime" => Some(ElementForm::Uptime),
        _ => None,
    }
}

fn report(report: store::ClaimReport, now_ms: u64) -> ClaimReport {
    let claim = report.claim;
    let cursors = claim.cursors.iter();
    ClaimReport {
        id: claim.id.to_string(),
        key: claim.list.to_string(),
        owner: report
            .owner
            .map_or_else(|| "nobody".to_owned(), |owner| owner.to_string()),
        fence: claim.fence,
        len: claim.len,
        cursors: cursors
            .map(|(lane, row)| (lane.to_string(), *row))
            .collect::<BTreeMap<_, _>>(),
        lease_ms: report.lease_ms,
        age_ms: now_ms.saturating_sub(claim.at_ms),
    }
}

#[async_trait]
impl Claims for EmbeddedSource {
    async fn open(&self) -> Result<Mode, SourceError> {
        Ok(Mode::embedded("gateways push to the pump itself"))
    }

    async fn fleet(&self) -> Result<Arc<str>, SourceError> {
        Ok(self.store.id())
    }

    fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    async fn pending(&self) -> Result<Vec<Pending>, SourceError> {
        let found = self.store.lengths(self.keys.iter().map(|key| &*key.name));
        let pending = self.keys.iter().zip(found).enumerate();
        Ok(pending
            .filter_map(|(index, (key, found))| match found {
                Found::Nothing => None,
                Found::Rows(len) => Some((index, Ok(len))),
                Found::Text => {
                    let (key, found) = (key.name.clone(), "string".to_owned());
                    Some((index, Err(SourceError::NotAList { key, found })))
                }
            })
            .collect())
    }

    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        let claim = self.store.claim(&key.name, lanes).await?;
        Ok(claim.and_then(|claim| self.known(claim)))
    }

    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<Lost>, SourceError> {
        let lost = self.store.renew(&all_held(claims), lanes);
        Ok(lost.into_iter().map(Lost::Taken).collect())
    }

    async fn take_over(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
        let ours = |list: &str| self.keys.iter().any(|key| *key.name == *list);
        let taken = self.store.take_over(lanes, held, ours).await?;
        Ok(taken.into_iter().filter_map(|claim| self.known(claim)).collect())
    }

    async fn read(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError> {
        let window = self.store.read(held(claim), first_row, max_rows).await?;
        Ok(Window {
            first_row: window.first_row,
            buffer: window.buffer,
            elements: window.elements,
        })
    }

    async fn acknowledge(&self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError> {
        Ok(match self.store.acknowledge(held(claim), cursors).await? {
            store::Progress::Open { base } => Acknowledged::Open { base },
            store::Progress::Finished => Acknowledged::Finished,
        })
    }

    async fn release(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        self.store.release(&all_held(claims));
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, SourceError> {
        let usage = self.store.usage();
        let facts = self.store.facts();
        let mut unclaimed = Vec::new();
        for (key, found) in self
            .keys
            .iter()
            .zip(self.store.lengths(self.keys.iter().map(|key| &*key.name)))
        {
            if let Found::Rows(len) = found {
                unclaimed.push((key.clone(), len));
            }
        }
        Ok(Usage {
            unclaimed,
            claimed_rows: usage.claimed_rows,
            claims: usage.claims,
            orphans: usage.orphans,
            refusing: facts.refusing.clone(),
            refused: facts.refused_full + facts.refused_disk,
            condition: Some(self.condition(facts)),
            ..Usage::default()
        })
    }

    async fn announce_version(&self, version: &str) -> Result<(), SourceError> {
        Ok(self.store.set(VERSION_KEY, version.as_bytes()).await?)
    }
}

#[async_trait]
impl DeadStore for EmbeddedSource {
    async fn store_dead(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, SourceError> {
        let letter = |letter: &DeadLetter| store::Letter {
            reader: letter.lane.clone(),
            list: letter.key.clone(),
            row: letter.row,
            cause: letter.cause.clone(),
            at_ms: letter.at_ms,
            raw: letter.raw.clone(),
            form: letter.form.map(form_name),
        };
        let letters: Vec<_> = letters.iter().map(letter).collect();
        let limits = store::LetterLimits {
            count: limits.count,
            bytes: limits.bytes,
        };
        let stored = self.store.store_letters(&letters, limits).await?;
        Ok(DeadStored {
            evicted: stored.evicted,
            too_large: stored.too_large,
        })
    }

    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        let letters = self.store.list_letters(lane, limit).await?;
        let letter = |letter: store::Letter| DeadLetter {
            lane: letter.reader,
            key: letter.list,
            row: letter.row,
            cause: letter.cause,
            at_ms: letter.at_ms,
            raw: letter.raw,
            form: letter.form.as_deref().and_then(form),
        };
        Ok(letters.into_iter().map(letter).collect())
    }

    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError> {
        let id = |id: &DeadLetterId| store::LetterId {
            reader: id.lane.clone(),
            row: id.row,
        };
        let ids: Vec<_> = ids.iter().map(id).collect();
        Ok(self.store.remove_letters(&ids).await?)
    }
}

#[async_trait]
impl SpoolNotes for EmbeddedSource {
    async fn note_spooled(&self, claim: &ClaimRef, lane: &str, waiting: bool) -> Result<(), SourceError> {
        Ok(self.store.note_elsewhere(claim.id, lane, waiting).await?)
    }

    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError> {
        Ok(self.store.elsewhere())
    }
}

#[async_trait]
impl Operate for EmbeddedSource {
    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
        let now = now_ms();
        let reports = self.store.reports();
        Ok(reports.into_iter().map(|claim| report(claim, now)).collect())
    }

    async fn restore(&self, claim: ClaimId, ledgers: &dyn Ledgers, terms: Terms) -> Result<Restored, SourceError> {
        let seen = self.store.find(claim).ok_or(SourceError::LeaseLost(claim))?;
        let owner = self.store.working(claim);
        let candidate = Candidate {
            id: claim,
            len: seen.len,
            cursors: &seen.cursors,
            owner: owner.as_deref(),
        };
        let applied = restore::ask(ledgers, claim, &seen.cursors, &seen.adopted).await;
        let low = restore::first_row(candidate, &applied, terms)?;
        self.store.put_back(seen.held(), low).await?;
        Ok(Restored {
            moved: seen.len - low,
            finished: low,
        })
    }

    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError> {
        Ok(self.store.drop_reader(lane).await?)
    }

    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        Ok(self.store.rename_reader(old, new).await?)
    }
}
