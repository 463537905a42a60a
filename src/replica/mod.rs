//! The local database: commit, apply, read, quarantine; synchronous, no tokio.
//!
//! One thread owns a [`Replica`] and calls it with the time that it is. A [`Reader`] reads beside it. The
//! replica makes no connection and knows no engine: it answers questions ([`Replica::answer`]) and tells what
//! happened ([`Replica::drain`]), in the words of [`crate::exchange`].
//!
//! Whatever belongs together is written in one batch, and memory follows only after the batch was written: a
//! commit with its changes, heads, rows, record, journal entry, vectors and roots; a held commit with the vector
//! that counts it. After [`ReplicaError::Store`] the store must be opened again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::access::Membership;
use crate::doc::{Conflict, Document, Edit, Kind};
use crate::exchange::{CommitKey, SpaceState, Stored};
use crate::id::{CollectionName, EntityId, Incarnation, Origin, PeerId, Position, SpaceId};
use crate::identity::Identity;
use crate::limits::{CONTESTED_AT_ONCE_MAX, SNAPSHOTS_DUE_MAX};
use crate::metrics::Metrics;
use crate::store::keyspaces::{Head, HeadKey, Keyspaces};
use crate::time::{Instant, Now, Timestamp};

mod accepted;
mod answer;
mod apply;
mod cache;
mod clash;
mod clashed;
mod commit;
mod contest;
mod crowd;
mod draft;
mod erase;
mod error;
mod expire;
mod feed;
mod fetch;
#[cfg(feature = "sim")]
mod fullness;
mod heal;
mod held;
mod hub;
mod index;
mod interest;
mod introduce;
mod joins;
mod kinds;
mod load;
mod loss;
mod members;
mod names;
mod open;
mod order;
mod planted;
mod reader;
mod rebuild;
mod receive;
mod recovery;
mod regate;
mod remind;
mod repair;
mod resume;
mod room;
mod sketch;
mod snapshot;
mod space;

#[cfg(test)]
mod tests;

pub(crate) use error::ReplicaError;
#[cfg(feature = "sim")]
pub(crate) use fullness::Fullness;
#[cfg(test)]
pub(crate) use heal::damaged_value;
pub(crate) use heal::{DamagedEntity, damage_of};
pub(crate) use joins::Applicant;
pub(crate) use open::OpenReport;
#[cfg(feature = "sim")]
pub(crate) use planted::Check;
#[cfg(any(test, feature = "sim"))]
pub(crate) use reader::Held;
pub use reader::HeldReason;
pub(crate) use reader::{IndexedEntity, Reader};
pub(crate) use recovery::Rescue;

use cache::Cache;
use expire::Waits;
use hub::Ledgers;
use joins::Joins;
use space::Space;

/// The local database. One thread owns it.
#[derive(Debug)]
pub(crate) struct Replica {
    store: Keyspaces,
    identity: Arc<Identity>,
    peer: PeerId,
    incarnation: Incarnation,
    /// The next commit takes a new incarnation first.
    renew: bool,
    entropy: Entropy,
    metrics: Arc<Metrics>,
    kinds: BTreeMap<CollectionName, Arc<dyn Kind>>,
    /// This store keeps and passes on, and loads no document.
    hub: bool,
    ledgers: Ledgers,
    spaces: BTreeMap<SpaceId, Space>,
    cache: Cache,
    joins: Joins,
    /// Spaces that are being erased. Bounded by the spaces that there were.
    erasing: BTreeSet<SpaceId>,
    due: Due,
    /// The last journal entry that is written.
    position: Position,
    /// The last journal entry that is synced, as far as this replica knows.
    synced: Position,
    told: VecDeque<Told>,
    /// The peer whose commits were taken last: who is told to have repaired what they repaired.
    sender: Option<PeerId>,
    answered: remind::Answered,
    report: OpenReport,
    opened: Now,
    waits: Waits,
    #[cfg(feature = "sim")]
    lacking: Option<Check>,
    /// What is held as malformed was judged by another gate than this.
    regates: bool,
    /// The time of the last call, for display.
    wall: Timestamp,
}

/// One entity's part of a local commit.
pub(crate) struct Write {
    /// The collection.
    pub(crate) collection: CollectionName,
    /// The entity.
    pub(crate) entity: EntityId,
    /// What must hold of the entity.
    pub(crate) intent: Intent,
    /// The change.
    pub(crate) edit: Edit,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { collection, entity, intent, .. } = self;
        write!(f, "Write({intent:?} {collection} {})", entity.short())
    }
}

/// What must hold of an entity before a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// It is unknown.
    Create,
    /// It is there and not deleted.
    Change,
    /// It is there; when it is deleted already, nothing changes.
    Delete,
    /// It is there; when it is not deleted, nothing changes.
    Restore,
}

/// What a local commit did.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    /// The numbers of the commit; `None` when nothing changed and nothing was written.
    pub(crate) key: Option<CommitKey>,
    /// The journal position behind it.
    #[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "the simulator alone compares it"))]
    pub(crate) position: Position,
}

/// What the replica tells of its own accord, in the order in which it happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub(crate) enum Told {
    /// A commit was applied. For the engine.
    Stored {
        /// The space.
        space: SpaceId,
        /// The peer that sent it; `None` when it was made here.
        from: Option<PeerId>,
        /// The commit.
        stored: Stored,
    },
    /// A space is here, or its membership changed. For the engine.
    SpaceChanged(SpaceState),
    /// This device wants something else of a space. For the engine.
    InterestChanged(SpaceState),
    /// A device asks to be let into a space and waits to be approved. For subscribers.
    JoinRequested {
        /// The space.
        space: SpaceId,
        /// Who asks.
        applicant: Applicant,
    },
    /// A space is not here any more. For the engine.
    SpaceGone {
        /// The space.
        space: SpaceId,
    },
    /// Rows that one commit changed. For subscribers.
    Changed {
        /// The space.
        space: SpaceId,
        /// The peer that sent the commit; `None` when it was made here.
        from: Option<PeerId>,
        /// The place of the commit in the journal.
        #[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "the simulator alone compares it"))]
        position: Position,
        /// The rows. Commits that came together may show in a row before they are told.
        entities: Vec<(CollectionName, EntityId, RowChange)>,
    },
    /// Damage made this store hold less than it did. For the engine, and for subscribers.
    Damaged {
        /// The space.
        space: SpaceId,
        /// Entities of which changes are lost.
        entities: Vec<DamagedEntity>,
    },
    /// A damaged entity is whole again. For subscribers.
    Repaired {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
        /// The peer that sent what was lost last.
        from: Option<PeerId>,
    },
    /// The index of a collection changed. For subscribers.
    Indexed {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
    },
    /// Commits do not count any more: they were taken out of the documents. For subscribers.
    TakenBack {
        /// The space.
        space: SpaceId,
        /// The device that made them.
        author: PeerId,
        /// How many.
        commits: usize,
        /// Why.
        reason: HeldReason,
    },
    /// Held commits had waited as long as they may, and were dropped: they do not count as received any more. For the
    /// engine, and for subscribers.
    Expired {
        /// The space.
        space: SpaceId,
        /// How many, by the device that made them and the reason for which they were held.
        dropped: Vec<(PeerId, HeldReason, usize)>,
    },
    /// Two commits that cannot both be: whoever may read their collection is to know both. For the engine.
    Clash {
        /// The space.
        space: SpaceId,
        /// The two.
        commits: Vec<crate::exchange::Packed>,
        /// Whom to tell; everybody when it is absent.
        to: Option<PeerId>,
    },
    /// A field got concurrent values. For subscribers.
    Conflict {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
        /// The field and its values.
        conflict: Conflict,
    },
}

/// What is to be done that nobody waits for.
#[derive(Debug)]
struct Due {
    /// Entities that are to be saved. Bounded; what does not fit is found again at its next change.
    snapshots: BTreeSet<HeadKey>,
    /// Spaces whose quarantine is to be judged as a whole, and when: see [`crowd`].
    crowds: BTreeMap<SpaceId, Instant>,
    /// Spaces in which damage kept something from being finished: see [`resume`].
    unfinished: BTreeSet<SpaceId>,
    /// Of contests with more commits than this, what follows is due later. The limit, but for tests.
    contested_at_once: usize,
}

impl Default for Due {
    fn default() -> Self {
        let (snapshots, crowds, unfinished) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Self { snapshots, crowds, unfinished, contested_at_once: CONTESTED_AT_ONCE_MAX }
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowChange {
    /// The entity was unknown.
    Inserted,
    /// The entity changed.
    Updated,
    /// The entity was deleted.
    Deleted,
    /// The entity was deleted before and is not any more.
    Restored,
    /// Changes of the entity are lost to damage, and it is not shown until they are back.
    Damaged,
    /// The entity was damaged and is whole again.
    Repaired,
}

impl Replica {
    /// Returns what was told since the last call, in order.
    pub(crate) fn drain(&mut self) -> Vec<Told> {
        self.told.drain(..).collect()
    }

    /// Makes everything that is written *synced*, and returns the journal position that this covers.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails.
    pub(crate) fn sync(&mut self) -> Result<Position, ReplicaError> {
        self.note_watermark()?;
        self.store.values().sync()?;
        self.metrics.disk_syncs.add(1);
        self.metrics.commits_synced.add(self.position.0 - self.synced.0);
        self.synced = self.position;
        Ok(self.position)
    }

    /// Ends politely: syncs and closes the store, so that the next open keeps the incarnation.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails.
    pub(crate) fn close(&mut self) -> Result<(), ReplicaError> {
        // A disk that has no room for the note still closes cleanly: waits are longer then.
        if let Err(error) = self.note_open_ms() {
            tracing::debug!(%error, "how long the store was open is not noted");
        }
        self.sync()?;
        if self.renew {
            // Whoever opens the store next must not write as this incarnation either.
            self.renew_if_due()?;
        }
        Ok(self.store.values().close()?)
    }

    /// Returns a reader, which may be used from any thread.
    #[must_use]
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.store.clone(), self.peer)
    }

    /// Returns what opening the store found.
    #[must_use]
    pub(crate) fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Returns the spaces.
    #[must_use]
    pub(crate) fn spaces(&self) -> Vec<SpaceId> {
        self.spaces.keys().copied().collect()
    }

    /// Returns who belongs to a space; `None` when the space is not here.
    #[must_use]
    pub(crate) fn membership(&self, space: &SpaceId) -> Option<Arc<Membership>> {
        self.spaces.get(space).map(|known| Arc::clone(&known.membership))
    }

    /// Returns a space as the engine sees it; `None` when it is not here.
    #[must_use]
    pub(crate) fn state(&self, space: &SpaceId) -> Option<SpaceState> {
        self.spaces.get(space).map(Space::state)
    }

    /// Returns this device.
    #[must_use]
    pub(crate) fn peer(&self) -> PeerId {
        self.peer
    }

    /// Returns the bytes that the store takes on disk.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the files cannot be looked at.
    pub(crate) fn disk_bytes(&self) -> Result<u64, ReplicaError> {
        Ok(self.store.values().disk_bytes()?)
    }

    /// Returns the newest journal position that is written.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    fn origin(&self) -> Origin {
        Origin { peer: self.peer, incarnation: self.incarnation }
    }

    /// Takes a new incarnation when this store turned out to be behind what it once sent.
    fn renew_if_due(&mut self) -> Result<(), ReplicaError> {
        if !self.renew {
            return Ok(());
        }
        let incarnation = self.entropy.incarnation();
        open::note_incarnation(&self.store, incarnation)?;
        self.incarnation = incarnation;
        self.renew = false;
        Ok(())
    }

    /// Returns a copy of a document, from the cache or the store.
    fn document(&mut self, key: &HeadKey, head: &Head) -> Result<Document, ReplicaError> {
        if let Some(document) = self.cache.get(key) {
            debug_assert_eq!(document.heads(), head.heads, "the cache is what is stored");
            return Ok(document.clone());
        }
        let document = load::document(&self.store, key, head)?;
        self.metrics.documents_loaded.add(1);
        self.cache.put(key.clone(), Box::new(document.clone()));
        Ok(document)
    }

    /// Reads what a change of an entity needs, so that damage shows before anything else is done.
    fn touch(&mut self, key: &HeadKey) -> Result<(), ReplicaError> {
        match self.store.get(key)? {
            Some(head) if !head.is_damaged() => self.document(key, &head).map(drop),
            Some(_) | None => Ok(()),
        }
    }

    fn note_snapshot_due(&mut self, key: &HeadKey, head: &Head) {
        if !self.hub && snapshot::is_due(head) && self.due.snapshots.len() < SNAPSHOTS_DUE_MAX {
            self.due.snapshots.insert(key.clone());
        }
    }
}

/// Random bytes that follow from the seed that the replica was opened with.
#[derive(Debug)]
struct Entropy(blake3::OutputReader);

impl Entropy {
    fn new(seed: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(seed).update(b"driftless/replica-entropy/v1\0").finalize_xof())
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation(u64::from_le_bytes(self.bytes()))
    }
}
