//! Single documents for a peer, whole with all that they hang together by; and what was fetched, taken.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::feed::Packer;
use super::{Replica, ReplicaError, load};
use crate::access::{Action, Commit};
use crate::exchange::{Answer, Scope};
use crate::id::{CollectionName, EntityId, Interest, Interests, Origin, PeerId, Position, SpaceId, Vector};
use crate::limits::{FETCH_BYTES, FETCH_COMMITS_MAX};
use crate::store::keyspaces::{Arrival, CommitEntry, CommitId, HeadKey, SlotRecord};
use crate::time::Now;

/// Commits by their place in the journal.
pub(super) type Found = BTreeMap<Position, (CommitId, CommitEntry)>;

impl Replica {
    /// A commit over several entities is all or nothing, so those of the others come along up to that commit.
    pub(super) fn fetch(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        to: PeerId,
        entities: &[EntityId],
        have: &Vector,
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let unknown = entities.to_vec();
        if !known.membership.may(&to, Action::Read, collection) {
            return Ok(Answer::Fetched { commits: Vec::new(), unknown, complete: true });
        }
        let Some((found, unknown)) = self.hanging_together(space, collection, entities, have)? else {
            return Ok(Answer::Fetched { commits: Vec::new(), unknown, complete: true });
        };
        // Of commits over several collections, the peer gets the others by other ways.
        let alone = Interests { others: Interest::Off, named: [(collection.clone(), Interest::Live)].into() };
        let scope = Scope { ours: alone.clone().into(), theirs: alone.into(), own_known: false };
        let mut packer = Packer::new(self, space, to, &known.membership, &scope);
        let mut complete = true;
        for (id, entry) in found.into_values() {
            if packer.bytes() >= FETCH_BYTES {
                complete = false;
                break;
            }
            packer.add(id, entry)?;
        }
        Ok(Answer::Fetched { commits: packer.into_journal_order(), unknown, complete })
    }

    /// The commits of entities beyond `have`, with those of other entities that they depend on, by position; and the
    /// entities that are not here. `None` when there are too many.
    ///
    /// Changes of an entity are stored behind those that they depend on.
    pub(super) fn hanging_together(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        entities: &[EntityId],
        have: &Vector,
    ) -> Result<Option<(Found, Vec<EntityId>)>, ReplicaError> {
        let (mut due, mut unknown) = (Vec::new(), Vec::new());
        for entity in entities {
            let key = HeadKey { space, collection: collection.clone(), entity: *entity };
            match self.store.get(&key)? {
                Some(head) => due.push((*entity, head.next_arrival)),
                None => unknown.push(*entity),
            }
        }
        let mut found = BTreeMap::new();
        let mut reached: BTreeMap<EntityId, Arrival> = BTreeMap::new();
        while let Some((entity, upto)) = due.pop() {
            let from = reached.insert(entity, upto).unwrap_or_default();
            if from >= upto {
                reached.insert(entity, from);
                continue;
            }
            let key = HeadKey { space, collection: collection.clone(), entity };
            for change in load::changes(&self.store, &key, from, upto)? {
                let (origin, oseq) = (change.origin, change.oseq);
                let id = CommitId { space, collection: collection.clone(), origin, oseq };
                if have.contains(&origin, oseq) {
                    continue;
                }
                let Some(entry) = self.store.get(&id)? else { continue };
                let (_, record) = load::resolve(&self.store, id.clone(), entry.clone())?;
                if found.insert(record.position, (id, entry)).is_some() {
                    continue;
                }
                if found.len() > FETCH_COMMITS_MAX {
                    return Ok(None);
                }
                let others = record.slots.iter().filter_map(|slot| match slot {
                    SlotRecord::Open { collection: of, entity, arrival, .. } if of == collection => {
                        Some((*entity, *arrival))
                    }
                    SlotRecord::Open { .. } | SlotRecord::Blind(_) => None,
                });
                due.extend(others);
            }
        }
        Ok(Some((found, unknown)))
    }

    /// Notes the numbers of a commit beside those that are held. False when there are too many gaps.
    fn note_gaps(&self, noted: &mut BTreeMap<(CollectionName, Origin), Vector>, commit: &Commit) -> bool {
        let (origin, known) = (commit.origin, self.spaces.get(&commit.space));
        commit.parts().into_iter().all(|(collection, oseq)| {
            let held = known.and_then(|known| known.collections.get(&collection));
            let seen = held.and_then(|state| state.vector.seen(&origin)).cloned();
            let alone = noted.entry((collection, origin)).or_insert_with(|| {
                let alone = seen.map(|seen| BTreeMap::from([(origin, seen)])).unwrap_or_default();
                Vector::from_origins(alone).unwrap_or_default()
            });
            alone.insert(origin, oseq).is_ok()
        })
    }

    /// Every document that is fetched alone leaves a gap in the version vector, which has room for so many.
    pub(super) fn take_fetched(
        &mut self,
        now: Now,
        space: SpaceId,
        from: PeerId,
        mut commits: Vec<Vec<u8>>,
    ) -> Result<Answer, ReplicaError> {
        let mut scratch = Draft::new(space, self.position);
        let mut noted = BTreeMap::new();
        let mut fits = 0;
        for bytes in &commits {
            // What cannot be read is refused below.
            if let Ok(commit) = Commit::decode(space, bytes) {
                let parts = commit.parts();
                if !self.has_room(&scratch, commit.origin, &parts, &|| false)
                    || !self.note_gaps(&mut noted, &commit)
                {
                    break;
                }
                for (collection, oseq) in &parts {
                    self.stage_seen(&mut scratch, collection, commit.origin, *oseq)?;
                }
            }
            fits += 1;
        }
        let full = fits < commits.len();
        commits.truncate(fits);
        let received = self.receive(now, space, from, commits)?;
        let refused = if let Answer::Received { refused: 1.., reason, .. } = received {
            Some(reason.unwrap_or_default())
        } else {
            None
        };
        Ok(Answer::Taken { full, refused })
    }
}
