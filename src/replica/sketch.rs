//! How two stores differ, told by sketches of what they hold.
//!
//! A symbol stands for one entity at its heads. The sketch covers every collection that both sides may read and want
//! live, so one exchange finds the differences of a whole space.

use std::collections::{BTreeMap, BTreeSet};

use super::{Replica, ReplicaError};
use crate::access::{Action::Read, Commit};
use crate::exchange::{Answer, Apart, Clocks, EntityClock, Scope, Vectors};
use crate::id::{Cell, CollectionName, Missing, Oseq, PeerId, Sketch, SpaceId, Symbol, Vector};
use crate::limits::{HEADS_PAGE_ENTITIES, SKETCH_CELLS_MAX};
use crate::store::keyspaces::{Batch, CommitId, Head, HeadKey, HeldKey, Prefix, SeenRecord, VectorKey};

/// Records of commits that are looked at together.
const RECORDS_PAGE: usize = 256;

impl Replica {
    pub(super) fn sketch(
        &self,
        space: SpaceId,
        to: PeerId,
        key: &[u8; 32],
        scope: &Scope,
        cells: usize,
    ) -> Result<Answer, ReplicaError> {
        Ok(Answer::Sketch(self.sketch_of(&space, &to, key, scope, cells)?.cells().to_vec()))
    }

    pub(super) fn compare(
        &self,
        space: SpaceId,
        with: PeerId,
        key: &[u8; 32],
        scope: &Scope,
        cells: Vec<Cell>,
    ) -> Result<Answer, ReplicaError> {
        let ours = self.sketch_of(&space, &with, key, scope, cells.len())?;
        let Some(difference) = ours.difference(&Sketch::from_cells(cells)) else {
            return Ok(Answer::TooFewCells);
        };
        let ours = self.named(&space, &with, key, scope, &difference.ours)?;
        Ok(Answer::Apart(Apart { ours, theirs: difference.theirs }))
    }

    pub(super) fn resolve(
        &self,
        space: SpaceId,
        with: PeerId,
        key: &[u8; 32],
        scope: &Scope,
        symbols: &[Symbol],
    ) -> Result<Answer, ReplicaError> {
        Ok(Answer::Apart(Apart { ours: self.named(&space, &with, key, scope, symbols)?, theirs: Vec::new() }))
    }

    /// Counts as held here what the vectors name and a record here backs: the vectors of this store may have been
    /// lost. The rest is no more than the word of a peer; taken over, it would keep the commits away for good.
    pub(super) fn adopt_vectors(
        &mut self,
        space: SpaceId,
        vectors: &Vectors,
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let (mut lacking, nothing) = (Vectors::new(), Vector::new());
        for (collection, vector) in vectors {
            let held = known.collections.get(collection).map_or(&nothing, |state| &state.vector);
            let entry = lacking.entry(collection.clone()).or_default();
            for Missing { origin, first, last } in held.lacks_of(vector) {
                // More holes than there may be are not looked at.
                let _ = entry.insert_range(origin, first, last);
            }
        }
        lacking.retain(|_, vector| !vector.is_empty());
        let backed = self.backed(space, &lacking)?;
        self.note_held(space, &backed)
    }

    /// The numbers among these of which there is a commit here, applied or held.
    fn backed(&self, space: SpaceId, lacking: &Vectors) -> Result<Vectors, ReplicaError> {
        let mut backed = Vectors::new();
        for (collection, vector) in lacking {
            for Missing { origin, first, last } in Vector::new().lacks_of(vector) {
                let mut next = CommitId { space, collection: collection.clone(), origin, oseq: first };
                let last = CommitId { oseq: last, ..next.clone() };
                loop {
                    let page = self.store.range(&next, &last, RECORDS_PAGE)?;
                    for (id, _) in &page {
                        let _ = backed.entry(collection.clone()).or_default().insert(origin, id.oseq);
                    }
                    match page.last().filter(|(id, _)| page.len() == RECORDS_PAGE && id.oseq < last.oseq) {
                        Some((id, _)) => next.oseq = Oseq(id.oseq.0.saturating_add(1)),
                        None => break,
                    }
                }
            }
        }
        if lacking.is_empty() {
            return Ok(backed);
        }
        self.store.each(&Prefix::<HeldKey>::space(&space), |_, record| {
            if let Ok(commit) = Commit::decode(space, &record.commit) {
                for (collection, oseq) in commit.parts() {
                    if lacking.get(&collection).is_some_and(|vector| vector.contains(&commit.origin, oseq)) {
                        let _ = backed.entry(collection).or_default().insert(commit.origin, oseq);
                    }
                }
            }
            Ok::<(), ReplicaError>(())
        })?;
        Ok(backed)
    }

    /// Adds numbers to the vectors.
    fn note_held(&mut self, space: SpaceId, vectors: &Vectors) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut collections = known.collections.clone();
        let mut batch = Batch::new();
        for (collection, vector) in vectors {
            let state = collections.entry(collection.clone()).or_default();
            state.vector.merge(vector)?;
            for (origin, seen) in state.vector.iter().filter(|(origin, _)| vector.seen(origin).is_some()) {
                let key = VectorKey { space, collection: collection.clone(), origin: *origin };
                batch.put(&key, &SeenRecord(seen.clone()));
            }
        }
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.collections = collections;
        }
        Ok(Answer::Done)
    }

    fn sketch_of(
        &self,
        space: &SpaceId,
        peer: &PeerId,
        key: &[u8; 32],
        scope: &Scope,
        cells: usize,
    ) -> Result<Sketch, ReplicaError> {
        let mut sketch = Sketch::new(cells);
        self.each_head(space, peer, scope, &mut |head, record| sketch.add(symbol(key, head, record)))?;
        Ok(sketch)
    }

    /// The clocks of the entities for which the symbols stand, in one pass over all heads.
    fn named(
        &self,
        space: &SpaceId,
        peer: &PeerId,
        key: &[u8; 32],
        scope: &Scope,
        symbols: &[Symbol],
    ) -> Result<Clocks, ReplicaError> {
        let wanted: BTreeSet<&Symbol> = symbols.iter().take(SKETCH_CELLS_MAX).collect();
        let mut clocks: BTreeMap<CollectionName, Vec<EntityClock>> = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(clocks);
        }
        self.each_head(space, peer, scope, &mut |head, record| {
            if wanted.contains(&symbol(key, head, record)) {
                let clock = EntityClock { entity: head.entity, clock: record.clock.clone() };
                clocks.entry(head.collection.clone()).or_default().push(clock);
            }
        })?;
        Ok(clocks)
    }

    /// Calls `each` for every entity of the collections that this node and the peer may read and want live.
    fn each_head(
        &self,
        space: &SpaceId,
        peer: &PeerId,
        scope: &Scope,
        each: &mut dyn FnMut(&HeadKey, &Head),
    ) -> Result<(), ReplicaError> {
        let known = self.spaces.get(space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let me = self.peer();
        let common = |collection: &&CollectionName| {
            known.membership.may(peer, Read, collection) && known.membership.may(&me, Read, collection)
        };
        for collection in known.collections.keys().filter(common).filter(|known| scope.is_common(known)) {
            let prefix = Prefix::<HeadKey>::collection(space, collection);
            let mut after: Option<HeadKey> = None;
            loop {
                let page = self.store.page(&prefix, after.as_ref(), HEADS_PAGE_ENTITIES)?;
                page.iter()
                    .filter(|(_, head)| !head.heads.is_empty())
                    .for_each(|(key, head)| each(key, head));
                if page.len() < HEADS_PAGE_ENTITIES {
                    break;
                }
                after = page.into_iter().last().map(|(key, _)| key);
            }
        }
        Ok(())
    }
}

/// What stands for an entity at its heads on one connection: nobody outside of it can choose two that are alike.
pub(super) fn symbol(key: &[u8; 32], head: &HeadKey, record: &Head) -> Symbol {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(head.collection.as_str().len() as u64).to_le_bytes());
    hasher.update(head.collection.as_str().as_bytes());
    hasher.update(head.entity.as_bytes());
    record.heads.iter().for_each(|hash| {
        hasher.update(hash.as_bytes());
    });
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    Symbol(u64::from_le_bytes(first))
}

#[cfg(all(test, feature = "sim"))]
impl Replica {
    /// Forgets which commits are held, as a damaged store would.
    pub(crate) fn lose_vectors(&mut self, space: SpaceId) {
        if let Some(known) = self.spaces.get_mut(&space) {
            known.collections.values_mut().for_each(|state| state.vector = Vector::new());
        }
    }

    /// Says that it holds what it does not.
    pub(crate) fn claim(&mut self, space: SpaceId, vectors: &Vectors) {
        self.note_held(space, vectors).expect("memory writes");
    }

    /// Writes what two stores compare of so many more entities of a collection: their heads. Documents, rows and
    /// commits with numbers they have none.
    pub(crate) fn pretend(&mut self, space: SpaceId, collection: &CollectionName, count: u64) {
        if count == 0 {
            return;
        }
        let known = self.spaces.get_mut(&space).expect("the space is here");
        let state = known.collections.entry(collection.clone()).or_default();
        let origin = crate::id::Origin { peer: self.peer, incarnation: crate::id::Incarnation(7) };
        let (mut batch, mut sum) = (Batch::new(), state.root.sum());
        for number in 1..=count {
            let hash = *blake3::hash(&number.to_le_bytes()).as_bytes();
            let entity = crate::id::EntityId::from_key("pretended", &number.to_le_bytes());
            let actor = crate::id::ActorId::derive(&space, &entity, &origin);
            let (heads, clock) = (vec![crate::id::ChangeHash::new(hash)], vec![(actor, 1)]);
            sum.add(&space, &entity, &heads);
            batch.put(
                &HeadKey { space, collection: collection.clone(), entity },
                &Head { heads, clock, ..Head::default() },
            );
        }
        state.root = sum.root();
        let key = crate::store::keyspaces::RootKey { space, collection: collection.clone() };
        batch.put(&key, &state.root);
        self.store.write(batch).expect("memory writes");
    }
}
