//! Names in Redis: what this product keeps beside each of the lists that gateways push to.
//!
//! Everything that belongs to one list lies in the list's hash slot, and keeps the configured prefix so that an ACL
//! such as `~analytics-*` covers it.

use analytics::{ClaimId, Key};

/// Names of what belongs to one list.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    prefix: String,
    tag: String,
}

impl Names {
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn of(key: &Key) -> Names {
        let prefix = key.name.strip_suffix(&*key.short).unwrap_or_default();
        Names {
            prefix: prefix.to_owned(),
            tag: hash_tag(&key.name).unwrap_or(&key.name).to_owned(),
        }
    }

    fn name(&self, what: &str) -> String {
        format!("{}{what}:{{{}}}", self.prefix, self.tag)
    }

    /// The list that was renamed away.
    pub(super) fn claim(&self, id: ClaimId) -> String {
        format!("{}:{id}", self.name("claim"))
    }

    /// HASH: src, owner, fence, base, len, at, `c:<lane>`.
    pub(super) fn state(&self, id: ClaimId) -> String {
        format!("{}:{id}", self.name("claim-state"))
    }

    /// ZSET of claim ids by the end of their lease in milliseconds of Redis' clock.
    pub(super) fn index(&self) -> String {
        self.name("claims")
    }

    /// Claim, state and index: what most scripts work on.
    pub(super) fn of_claim(&self, id: ClaimId) -> [String; 3] {
        [self.claim(id), self.state(id), self.index()]
    }

    /// ZSET of lanes by the last time an instance had them configured.
    pub(super) fn pumps(&self) -> String {
        self.name("pumps")
    }

    /// SET of `<ulid>/<lane>` whose rows wait in a spool on disk.
    pub(super) fn spooled(&self) -> String {
        self.name("spooled")
    }

    /// HASH of dead letters.
    pub(super) fn dead(&self) -> String {
        self.name("dead")
    }

    /// ZSET of the dead letters of one lane, by time.
    pub(super) fn dead_at(&self, lane: &str) -> String {
        format!("{}:{lane}", self.name("dead-at"))
    }

    /// HASH lane → bytes of its dead letters.
    pub(super) fn dead_bytes(&self) -> String {
        self.name("dead-bytes")
    }

    /// Lock of the one instance that reads this list in place.
    pub(super) fn lock(&self) -> String {
        self.name("peek-instance")
    }

    /// Whether all these names lie in the slot of `key`: braces that form no hash tag make it impossible.
    pub(super) fn share_slot_with(&self, key: &str) -> bool {
        slot(&self.index()) == slot(key)
    }
}

/// The part of a name that Redis Cluster hashes instead of the whole.
fn hash_tag(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// Hash slot of a name in Redis Cluster.
pub(super) fn slot(name: &str) -> u16 {
    let mut crc: u16 = 0;
    for &byte in hash_tag(name).unwrap_or(name).as_bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    crc % 16384
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::lists::keys;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("analytics-tyk-system-analytics"), 609);
        assert_eq!(slot("{tyk}analytics-tyk-system-analytics"), slot("tyk"));
    }

    #[test]
    fn every_name_lies_in_the_slot_of_its_list() {
        let id = ClaimId(ulid::Ulid::new());
        for prefix in ["analytics-", "{tyk}analytics-", "a{b}c{d}", ""] {
            for key in keys(prefix, true) {
                let names = Names::of(&key);
                assert!(names.share_slot_with(&key.name), "{prefix}");
                let all = [
                    names.claim(id),
                    names.state(id),
                    names.index(),
                    names.pumps(),
                    names.dead(),
                ];
                for name in all
                    .iter()
                    .chain(&[names.spooled(), names.dead_at("A"), names.dead_bytes()])
                {
                    assert_eq!(slot(name), slot(&key.name), "{name}");
                }
            }
        }
    }

    #[test]
    fn braces_that_are_no_tag_are_noticed() {
        for prefix in ["a{}b-", "a}b{c-"] {
            let key = &keys(prefix, false)[0];
            assert!(!Names::of(key).share_slot_with(&key.name), "{prefix}");
        }
    }
}
