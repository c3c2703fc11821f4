//! Upstream's way: rows are removed from Redis before they are delivered. What dies with this process is lost.

use std::{collections::BTreeMap, sync::Arc};

use analytics::Key;

use super::{
    commands::{command, decode},
    instance::RedisSource,
    window::{self, WINDOW_BYTES},
    wire::{Connection, Reply, WireError},
};
use crate::source::{Acknowledged, Claim, ClaimRef, SourceError, Window};

/// Commands of [`pop`].
const POP_COMMANDS: usize = 4;

impl RedisSource {
    /// The type of a key; `None` when there is none.
    pub(super) async fn list_exists(&self, key: &Key) -> Result<bool, SourceError> {
        let found: String = decode(&self.link.run(&key.name, &command("TYPE", &key.name, [])).await?)?;
        match found.as_str() {
            "none" => Ok(false),
            "list" => Ok(true),
            _ => Err(SourceError::NotAList {
                key: key.name.clone(),
                found,
            }),
        }
    }

    /// A claim that exists in this process alone.
    pub(super) fn local_claim(&self, key: &Arc<Key>, len: u64, ttl: i64, lanes: &[Arc<str>]) -> Claim {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Claim {
            id: self.new_id(),
            key: key.clone(),
            fence: 1,
            len,
            base: 0,
            cursors: lanes.iter().map(|lane| (lane.clone(), 0)).collect(),
            adopted: BTreeMap::new(),
            ttl: u64::try_from(ttl).ok().map(std::time::Duration::from_millis),
            claimed_at_ms: now.map_or(0, |now| now.as_millis() as u64),
        }
    }

    pub(super) async fn pop(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        if !self.list_exists(key).await? {
            return Ok(None);
        }
        let ttl: i64 = decode(&self.link.run(&key.name, &command("PTTL", &key.name, [])).await?)?;
        let mut taken = self.link.window(&key.name, POP_COMMANDS).await?;
        let windows = match pop(&mut taken.connection, &key.name, self.lists.purge_chunk).await {
            Ok(windows) => windows,
            Err(error) => return Err(self.link.window_failed(taken, error)),
        };
        self.link.give_back(taken);
        if self.lists.purge_chunk > 0 {
            let expire = command("EXPIRE", &key.name, [self.lists.expiration.to_string().as_str()]);
            if let Err(error) = self.link.run(&key.name, &expire).await {
                tracing::warn!(prefix = "main", "{}: EXPIRE failed: {error}", key.name);
            }
        }
        let len: usize = windows.values().map(|window| window.elements.len()).sum();
        if len == 0 {
            return Ok(None);
        }
        let claim = self.local_claim(key, len as u64, ttl, lanes);
        self.local.add(&claim, windows);
        Ok(Some(claim))
    }

    pub(super) fn read_popped(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError> {
        self.local.with(claim, |part| {
            let missing = || SourceError::Refused(anyhow::anyhow!("claim {}: row {first_row} is not there", claim.id));
            let (&start, window) = part.windows.range(..=first_row).next_back().ok_or_else(missing)?;
            let skipped = (first_row - start) as usize;
            let end = window.elements.len().min(skipped.saturating_add(max_rows.max(1)));
            let elements = window.elements.get(skipped..end).filter(|rows| !rows.is_empty());
            Ok(Window {
                first_row,
                buffer: window.buffer.clone(),
                elements: elements.ok_or_else(missing)?.to_vec(),
            })
        })
    }

    pub(super) fn acknowledge_popped(
        &self,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        let state = self.local.with(claim, |part| {
            let low = part.advance(claim, cursors)?;
            part.set_base(low);
            Ok(part.state())
        })?;
        if state == Acknowledged::Finished {
            self.local.parts().remove(&claim.id);
        }
        Ok(state)
    }
}

/// The reference's transaction: read the head of the list, remove it.
async fn pop(connection: &mut Connection, key: &str, chunk: u64) -> Result<BTreeMap<u64, Window>, WireError> {
    let key = key.as_bytes();
    let (last, rest) = (chunk.wrapping_sub(1).to_string(), chunk.to_string());
    let read: [&[u8]; 4] = [b"LRANGE", key, b"0", if chunk == 0 { b"-1" } else { last.as_bytes() }];
    let remove: &[&[u8]] = if chunk == 0 {
        &[b"DEL", key]
    } else {
        &[b"LTRIM", key, rest.as_bytes(), b"-1"]
    };
    connection.send(&[&[b"MULTI"], &read, remove, &[b"EXEC"]]).await?;
    for _ in 0..3 {
        if let Reply::Error(text) = connection.reply().await? {
            return Err(WireError::Server(text));
        }
    }
    connection.array().await?;
    let count = connection.array().await?;
    let mut windows = BTreeMap::new();
    let mut row = 0;
    while row < count {
        let elements = connection.elements(count - row, WINDOW_BYTES, WINDOW_BYTES).await?;
        let rows = elements.spans.len();
        windows.insert(row as u64, window::window(row as u64, elements));
        row += rows;
    }
    connection.reply().await?;
    Ok(windows)
}
