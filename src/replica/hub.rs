//! A hub's way to take commits: verified, attributed, authorised and in causal order, and no document loaded.
//!
//! What a document is needed for is left to those who read it: whether operations refer to what is there, and
//! whether the value fits its type. A hub therefore passes on what others may hold in quarantine, and its heads tell
//! which changes it has, not which of them count. It has no rows, reads nothing and writes nothing of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Replica, ReplicaError, load};
use crate::doc::{Conflict, Document, GateError, Header, Kind, gate};
use crate::id::{ActorId, ChangeHash, SpaceId};
use crate::limits::{HEADS_MAX, LEDGER_CHANGES_MAX};
use crate::metrics::Metrics;
use crate::store::keyspaces::{Arrival, Batch, Head, HeadKey, META_HUB, MetaKey, Raw};
use crate::store::kv::KvError;

/// What is known of an entity: its document, or on a hub which changes there are and how they follow each other.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// By itself, because a document is large and goes from hand to hand.
    Document(Box<Document>),
    Ledger(Ledger),
}

/// What became of changes of an entity.
#[derive(Debug)]
pub(super) struct LetIn {
    /// The content with those that fit; absent when none does.
    pub(super) content: Option<Content>,
    /// The others.
    pub(super) refused: Vec<(ChangeHash, GateError)>,
    /// The row, where a document was read for it.
    pub(super) row: Option<Vec<u8>>,
}

/// The changes of one entity, without what they do.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    changes: BTreeMap<ChangeHash, Known>,
    heads: BTreeSet<ChangeHash>,
    clock: BTreeMap<ActorId, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    actor: ActorId,
    seq: u64,
    max_op: u64,
}

/// Ledgers of the entities that were changed last. Bounded by `LEDGER_CHANGES_MAX`.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    ledgers: BTreeMap<HeadKey, Ledger>,
    changes: usize,
}

impl Content {
    pub(super) fn of(document: Document) -> Self {
        Self::Document(Box::new(document))
    }

    pub(super) fn heads(&self) -> Vec<ChangeHash> {
        match self {
            Self::Document(document) => document.heads(),
            Self::Ledger(ledger) => ledger.heads.iter().copied().collect(),
        }
    }

    pub(super) fn clock(&self) -> Vec<(ActorId, u64)> {
        match self {
            Self::Document(document) => document.clock(),
            Self::Ledger(ledger) => ledger.clock.iter().map(|(actor, seq)| (*actor, *seq)).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Document(document) => document.is_empty(),
            Self::Ledger(ledger) => ledger.changes.is_empty(),
        }
    }

    pub(super) fn has(&self, hash: &ChangeHash) -> bool {
        match self {
            Self::Document(document) => document.has(hash),
            Self::Ledger(ledger) => ledger.changes.contains_key(hash),
        }
    }

    pub(super) fn conflicts(&self) -> Vec<Conflict> {
        self.document().map(Document::conflicts).unwrap_or_default()
    }

    /// Tells whether a field that changes write has several values here, or had before them.
    pub(super) fn is_contended(&self, before: &Self, changes: &[(&Header, &[u8])]) -> bool {
        let both = self.document().zip(before.document());
        both.is_some_and(|(document, before)| document.is_contended(before, changes))
    }

    pub(super) fn document(&self) -> Option<&Document> {
        match self {
            Self::Document(document) => Some(document),
            Self::Ledger(_) => None,
        }
    }

    /// Lets changes in beside what is here.
    pub(super) fn admitting(
        &self,
        batch: &[(Header, &[u8])],
        kind: Option<&dyn Kind>,
        metrics: &Metrics,
    ) -> LetIn {
        match self {
            Self::Document(document) => {
                metrics.document_applies.add(1);
                let (landed, admitted) = document.admitting(batch, kind);
                LetIn { content: landed.map(Self::of), refused: admitted.refused, row: admitted.row }
            }
            Self::Ledger(ledger) => {
                let mut ledger = ledger.clone();
                let each = batch.iter().map(|(header, _)| (header.hash, ledger.add(header)));
                let refused = each.filter_map(|(hash, added)| Some((hash, added.err()?))).collect();
                LetIn { content: Some(Self::Ledger(ledger)), refused, row: None }
            }
        }
    }
}

impl Ledger {
    /// Makes the ledger of changes that stand, each behind those that it follows.
    pub(super) fn of<'a>(headers: impl IntoIterator<Item = &'a Header>) -> Self {
        let mut ledger = Self::default();
        headers.into_iter().for_each(|header| ledger.note(header));
        ledger
    }

    /// Adds a change that follows what is here, by the same rules as a document's gate.
    fn add(&mut self, header: &Header) -> Result<(), GateError> {
        let missing: Vec<ChangeHash> =
            header.deps.iter().filter(|hash| !self.changes.contains_key(*hash)).copied().collect();
        if !missing.is_empty() {
            return Err(GateError::Missing { missing });
        }
        let last = self.clock.get(&header.actor).copied().unwrap_or(0);
        let deps = || header.deps.iter().filter_map(|hash| self.changes.get(hash));
        let own = |dep: &Known| dep.actor == header.actor && dep.seq.checked_add(1) == Some(header.seq);
        let follows = header.seq == 1 || deps().any(own);
        let max_op = deps().map(|dep| dep.max_op).max().unwrap_or(0);
        let replaced = header.deps.iter().filter(|hash| self.heads.contains(*hash)).count();
        let fits = follows && last.checked_add(1) == Some(header.seq) && max_op + 1 == header.start_op;
        if !fits || self.heads.len() - replaced >= HEADS_MAX {
            return Err(GateError::Causality);
        }
        self.note(header);
        Ok(())
    }

    fn note(&mut self, header: &Header) {
        let Header { hash, actor, seq, .. } = *header;
        self.changes.insert(hash, Known { actor, seq, max_op: header.max_op() });
        for dep in &header.deps {
            self.heads.remove(dep);
        }
        self.heads.insert(hash);
        self.clock.insert(actor, seq);
    }
}

impl Ledgers {
    pub(super) fn put(&mut self, key: HeadKey, ledger: Ledger) {
        self.remove(&key);
        if self.changes + ledger.changes.len() > LEDGER_CHANGES_MAX {
            *self = Self::default();
        }
        self.changes += ledger.changes.len();
        self.ledgers.insert(key, ledger);
    }

    #[cfg(test)]
    pub(super) fn is_empty_of(&self, entity: crate::id::EntityId) -> bool {
        self.ledgers.keys().all(|key| key.entity != entity)
    }

    pub(super) fn forget(&mut self, space: &SpaceId) {
        self.ledgers.retain(|key, _| key.space != *space);
        self.changes = self.ledgers.values().map(|ledger| ledger.changes.len()).sum();
    }

    pub(super) fn remove(&mut self, key: &HeadKey) {
        if let Some(ledger) = self.ledgers.remove(key) {
            self.changes -= ledger.changes.len();
        }
    }
}

/// What a store notes of itself that keeps and passes on.
pub(super) fn note() -> Raw {
    Raw(vec![1])
}

impl Replica {
    /// Makes a fresh store that of a hub, or an ordinary one; it stays what it is.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Mode`] when the store is of the other kind, [`ReplicaError::Store`] when it fails.
    pub(crate) fn set_hub(&mut self, hub: bool) -> Result<(), ReplicaError> {
        if self.hub == hub {
            return Ok(());
        }
        if self.hub || !self.spaces.is_empty() {
            return Err(ReplicaError::Mode { hub: self.hub });
        }
        let mut batch = Batch::new();
        batch.put(&MetaKey(META_HUB.to_owned()), &note());
        self.store.write(batch)?;
        self.hub = true;
        Ok(())
    }

    /// Returns what an entity is made of, with nothing in it when it is unknown.
    pub(super) fn content(&mut self, key: &HeadKey, head: Option<&Head>) -> Result<Content, ReplicaError> {
        match (self.hub, head) {
            (false, Some(head)) => self.document(key, head).map(Content::of),
            (false, None) => Ok(Content::of(Document::new())),
            (true, Some(head)) => self.ledger(key, head).map(Content::Ledger),
            (true, None) => Ok(Content::Ledger(Ledger::default())),
        }
    }

    /// Returns the ledger of an entity, from memory or from its changes.
    fn ledger(&self, key: &HeadKey, head: &Head) -> Result<Ledger, ReplicaError> {
        if let Some(ledger) = self.ledgers.ledgers.get(key) {
            return Ok(ledger.clone());
        }
        let mut ledger = Ledger::default();
        for change in load::changes(&self.store, key, Arrival(0), head.next_arrival)? {
            let damaged = |_| KvError::Corrupt { what: format!("a change of entity {}", key.entity) };
            ledger.note(&gate::prescan(&change.chunk).map_err(damaged)?);
        }
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{CollectionName, EntityId};
    use crate::time::Timestamp;

    fn header(number: u64, deps: &[u64]) -> Header {
        let hash = |number: u64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_le_bytes());
            ChangeHash::new(hash)
        };
        Header {
            hash: hash(number),
            actor: ActorId::new([1; 16]),
            seq: number,
            start_op: number,
            ops: 1,
            deps: deps.iter().copied().map(hash).collect(),
            time: Timestamp::from_unix_ms(0),
        }
    }

    #[test]
    fn a_ledger_takes_what_follows_and_nothing_else() {
        let mut ledger = Ledger::default();
        ledger.add(&header(1, &[])).expect("the first");

        assert!(matches!(ledger.add(&header(3, &[2])), Err(GateError::Missing { .. })));
        assert!(matches!(ledger.add(&header(3, &[1])), Err(GateError::Causality)), "a gap");
        assert!(matches!(ledger.add(&header(2, &[])), Err(GateError::Causality)), "not behind its own");
        let jump = Header { start_op: 9, ..header(2, &[1]) };
        assert!(matches!(ledger.add(&jump), Err(GateError::Causality)), "a jump");
        ledger.add(&header(2, &[1])).expect("the second");
        assert_eq!(Content::Ledger(ledger).heads(), [header(2, &[1]).hash]);
    }

    #[test]
    fn ledgers_in_memory_are_bounded() {
        let changes: Vec<Header> =
            (1..=LEDGER_CHANGES_MAX as u64 / 2 + 1).map(|number| header(number, &[])).collect();
        let (space, collection) = (SpaceId::new([1; 32]), CollectionName::new("notes").expect("a name"));
        let key =
            |number| HeadKey { space, collection: collection.clone(), entity: EntityId::new([number; 16]) };
        let mut ledgers = Ledgers::default();

        ledgers.put(key(1), Ledger::of(&changes));
        ledgers.put(key(1), Ledger::of(&changes));
        assert_eq!((ledgers.ledgers.len(), ledgers.changes), (1, changes.len()));
        ledgers.put(key(2), Ledger::of(&changes));

        assert_eq!((ledgers.ledgers.len(), ledgers.changes), (1, changes.len()));
        ledgers.forget(&space);
        assert_eq!((ledgers.ledgers.len(), ledgers.changes), (0, 0));
    }
}
