//! Opening: which incarnation this is, whether the store went back in time, and what it holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::cache::Cache;
use super::expire::Waits;
use super::hub::Ledgers;
use super::joins::Joins;
use super::{Due, Entropy, Replica, ReplicaError, Space, Told, regate};
use crate::codec::Encode;
use crate::id::{Incarnation, Position, SpaceId, StatementHash};
use crate::identity::Identity;
use crate::limits::{DOCUMENT_CACHE_BYTES, SPACES_PER_NODE_MAX};
use crate::metrics::Metrics;
use crate::store::Values;
use crate::store::keyspaces::{
    Batch, HeldCause, JournalEntry, JournalKey, Keyspaces, META_HUB, META_INCARNATION, MetaKey, Prefix,
};
use crate::store::keyspaces::{Raw, StatementKey};
use crate::store::kv::KvError;
use crate::time::Now;

/// What opening a store found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct OpenReport {
    /// The store took a new incarnation: it is new, was copied, restored or rolled back, or was not closed.
    pub(crate) new_incarnation: bool,
    /// The store once held the journal up to the first position, and can be trusted up to the second at most.
    /// What is lost comes back from peers.
    pub(crate) rolled_back: Option<(Position, Position)>,
    /// How many spaces there are.
    pub(crate) spaces: usize,
    /// How many commits are in quarantine.
    pub(crate) quarantined: usize,
}

impl Replica {
    /// Opens the database over a store. The entropy must never be the same twice.
    ///
    /// Tells each space by [`Told::SpaceChanged`].
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails or is damaged, [`ReplicaError::Access`] when the statements
    /// of a space make no membership, [`ReplicaError::TooMany`] when there are too many spaces.
    pub(crate) fn open(
        values: Values,
        identity: Arc<Identity>,
        entropy: [u8; 32],
        now: Now,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ReplicaError> {
        let mut entropy = Entropy::new(&entropy);
        let (clean, watermark) = (values.closed_cleanly(), values.watermark());
        let store = Keyspaces::new(values);
        let last = match store.last(&Prefix::<JournalKey>::all()) {
            Err(KvError::Damaged { .. }) => store.last_key(&Prefix::<JournalKey>::all())?,
            last => last?.map(|(key, _)| key),
        };
        let position = last.map_or(Position(0), |key| key.position);
        // An entry that cannot be read cannot prove that this is the store that was closed.
        let mut proven = true;
        let rolled_back = match watermark {
            Some(mark) => {
                let entry = store.get(&JournalKey { position: mark.position });
                proven = !matches!(entry, Err(KvError::Damaged { .. }));
                let entry = if proven { entry? } else { None };
                match mark.check(position, entry.as_ref().map(journal_hash)) {
                    Ok(()) => None,
                    Err(KvError::RolledBack { from, to }) => Some((Position(from), Position(to))),
                    Err(error) => return Err(error.into()),
                }
            }
            None => None,
        };
        let kept = stored_incarnation(&store)?.filter(|_| clean && proven && rolled_back.is_none());
        let incarnation = kept.unwrap_or_else(|| entropy.incarnation());
        note_incarnation(&store, incarnation)?;
        let (hub, waits, peer) = (is_hub(&store)?, Waits::open(&store, now)?, identity.peer());
        let mut replica = Self {
            regates: regate::is_due(&store)?,
            store,
            identity,
            peer,
            incarnation,
            renew: false,
            entropy,
            metrics,
            kinds: BTreeMap::new(),
            hub,
            ledgers: Ledgers::default(),
            spaces: BTreeMap::new(),
            cache: Cache::new(DOCUMENT_CACHE_BYTES),
            joins: Joins::default(),
            erasing: BTreeSet::new(),
            due: Due::default(),
            position,
            synced: position,
            told: VecDeque::new(),
            sender: None,
            answered: Default::default(),
            opened: now,
            waits,
            wall: now.wall,
            #[cfg(feature = "sim")]
            lacking: None,
            report: OpenReport { new_incarnation: kept.is_none(), rolled_back, spaces: 0, quarantined: 0 },
        };
        replica.mending(now, Self::find_erasures)?;
        replica.mending(now, Self::load_joins)?;
        replica.load_spaces(now)?;
        replica.mending(now, Self::take_back_again)?;
        replica.release()?;
        Ok(replica)
    }

    /// Tries again what is held. A commit that others wait for is written before them, so a crash in between
    /// leaves them waiting for what is here.
    ///
    /// What cannot be read stays held: it must not keep the rest of the store from being opened.
    fn release(&mut self) -> Result<(), ReplicaError> {
        let before = self.position;
        let waiting: Vec<SpaceId> =
            self.spaces.iter().filter(|(_, known)| known.held.len() > 0).map(|(space, _)| *space).collect();
        for space in waiting {
            if let Err(error) = self.retry(space, &HeldCause::MAY_PASS) {
                tracing::warn!(space = %space.short(), %error, "held commits could not be tried again");
            }
        }
        self.regate(None);
        self.report.quarantined = self.spaces.values().map(|known| known.held.len()).sum();
        if self.position != before {
            self.sync()?;
        }
        Ok(())
    }

    fn load_spaces(&mut self, now: Now) -> Result<(), ReplicaError> {
        let mut after: Option<StatementKey> = None;
        let mut damaged = Vec::new();
        while let Some(key) = self.store.key_after(&Prefix::all(), after.as_ref())? {
            let space: SpaceId = key.space;
            if !self.erasing.contains(&space) {
                if self.spaces.len() >= SPACES_PER_NODE_MAX {
                    let (count, max) = (self.spaces.len() + 1, SPACES_PER_NODE_MAX);
                    return Err(ReplicaError::TooMany { what: "spaces", count, max });
                }
                let loaded = Space::load(&self.store, space, &mut damaged)?;
                self.report.spaces += 1;
                self.spaces.insert(space, loaded);
            }
            // The largest key that a statement of this space can have.
            after = Some(StatementKey { space, hash: StatementHash::new([0xff; 32]) });
        }
        for error in damaged {
            self.mend(now, error.key().expect("named as damaged"))?;
        }
        self.told.extend(self.spaces.values().map(|loaded| Told::SpaceChanged(loaded.state())));
        Ok(())
    }

    /// Tells the store what the journal ends with.
    pub(super) fn note_watermark(&self) -> Result<(), ReplicaError> {
        let entry = match self.store.get(&JournalKey { position: self.position }) {
            // The next entry makes the next mark.
            Err(KvError::Damaged { .. }) => None,
            entry => entry?,
        };
        if let Some(entry) = entry {
            self.store.values().note_watermark(self.position, journal_hash(&entry));
        }
        Ok(())
    }
}

fn journal_hash(entry: &JournalEntry) -> [u8; 32] {
    *blake3::hash(&entry.to_bytes()).as_bytes()
}

fn stored_incarnation(store: &Keyspaces) -> Result<Option<Incarnation>, ReplicaError> {
    let stored = match store.get(&MetaKey(META_INCARNATION.to_owned())) {
        Err(KvError::Damaged { .. }) => None,
        stored => stored?,
    };
    let Some(Raw(bytes)) = stored else { return Ok(None) };
    let bytes = bytes.try_into().map_err(|_| KvError::Corrupt { what: "the incarnation".to_owned() })?;
    Ok(Some(Incarnation(u64::from_le_bytes(bytes))))
}

pub(super) fn note_incarnation(store: &Keyspaces, incarnation: Incarnation) -> Result<(), ReplicaError> {
    let mut batch = Batch::new();
    batch.put(&MetaKey(META_INCARNATION.to_owned()), &Raw(incarnation.0.to_le_bytes().to_vec()));
    Ok(store.write(batch)?)
}

/// Tells whether a store is a hub's.
fn is_hub(store: &Keyspaces) -> Result<bool, ReplicaError> {
    match store.get(&MetaKey(META_HUB.to_owned())) {
        // There is one thing only that a damaged note can have said.
        Err(KvError::Damaged { .. }) => Ok(true),
        note => Ok(note?.is_some()),
    }
}
