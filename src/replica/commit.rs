//! Commits made here: authorised, edited on copies, signed, and written whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::draft::{Applied, Draft, Touched};
use super::hub::Content;
use super::names::{Names, NoName};
use super::{Committed, Intent, Replica, ReplicaError, Write, load};
use crate::access::{AccessError, Action, Commit, Leaf, Membership, Slot};
use crate::doc::{Document, Made, gate};
use crate::exchange::CommitKey;
use crate::id::{ActorId, CollectionName, CommitHash, EntityId, Origin, Oseq, Salt, Seen, SpaceId};
use crate::limits::{COMMIT_BYTES_MAX, COMMIT_LEAVES_MAX};
use crate::store::keyspaces::{CommitId, CommitRecord, Head, HeadKey, Prefix};
use crate::time::Now;

/// What the leaves of one collection share.
struct Part {
    of: u32,
    oseq: Oseq,
    prev: Option<CommitHash>,
    salt: Option<Salt>,
}

impl Replica {
    /// Makes a commit: all or nothing, *written* on return. [`Replica::sync`] makes it *synced*.
    ///
    /// Writes that change nothing are left out; when none is left, nothing is written.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Access`] with the rule when this device may not write a collection;
    /// [`ReplicaError::AlreadyExists`], [`ReplicaError::NotFound`] and [`ReplicaError::Deleted`] when an intent
    /// does not hold; [`ReplicaError::Twice`], [`ReplicaError::TooMany`] and [`ReplicaError::TooLarge`] when the
    /// commit breaks a rule of its own; [`ReplicaError::Mode`] on a hub; whatever the documents and the store fail with. Nothing was changed then.
    pub(crate) fn commit(
        &mut self,
        now: Now,
        space: SpaceId,
        writes: Vec<Write>,
    ) -> Result<Committed, ReplicaError> {
        if self.hub {
            return Err(ReplicaError::Mode { hub: true });
        }
        let membership = self.check_writes(&space, &writes)?;
        self.touch_all(now, space, &writes)?;
        self.renew_if_due()?;
        let origin = self.origin();
        let mut draft = Draft::new(space, self.position);
        let mut made = Vec::new();
        for write in writes {
            let place = (write.collection.clone(), write.entity);
            if let Some(change) = self.edit(now, &mut draft, origin, write)? {
                made.push((place, change));
            }
        }
        if made.is_empty() {
            return Ok(Committed { key: None, position: self.position });
        }
        let commit = self.sign(&membership, space, origin, made)?;
        let hash = commit.hash();
        let bytes = commit.encode();
        if bytes.len() > COMMIT_BYTES_MAX {
            let bytes = bytes.len();
            return Err(ReplicaError::TooLarge { what: "commit", bytes, bytes_max: COMMIT_BYTES_MAX });
        }
        let mut headers = Vec::new();
        for slot in &commit.slots {
            headers.push(match slot {
                // Automerge made the change: the gate of every other device must let it pass.
                Slot::Open { change, .. } => {
                    Some(gate::prescan(change).map_err(crate::doc::DocError::Refused)?)
                }
                Slot::Blind(_) => None,
            });
        }
        let key = CommitKey { origin, parts: commit.parts() };
        let (bytes, headers) = (Arc::from(bytes), headers.as_slice());
        let applied = Applied { commit: &commit, bytes, headers, existing: None, from: None, held: None };
        self.stage(&mut draft, &applied)?;
        self.finish(draft)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.own_last.extend(key.parts.iter().map(|(collection, _)| (collection.clone(), hash)));
        }
        self.metrics.commits_local.add(1);
        Ok(Committed { key: Some(key), position: self.position })
    }

    /// Reads what the writes need and what the commit will name, so that damage is mended before anything else.
    fn touch_all(&mut self, now: Now, space: SpaceId, writes: &[Write]) -> Result<(), ReplicaError> {
        for Write { collection, entity, .. } in writes {
            let key = HeadKey { space, collection: collection.clone(), entity: *entity };
            self.mending(now, |replica| replica.touch(&key))?;
        }
        for collection in writes.iter().map(|write| &write.collection).collect::<BTreeSet<_>>() {
            self.mending(now, |replica| replica.own_last(space, collection).map(drop))?;
        }
        Ok(())
    }

    /// What can be refused before a document is loaded.
    fn check_writes(&self, space: &SpaceId, writes: &[Write]) -> Result<Arc<Membership>, ReplicaError> {
        let known = self.spaces.get(space).ok_or(ReplicaError::NotFound { what: "space" })?;
        if writes.len() > COMMIT_LEAVES_MAX {
            let (count, max) = (writes.len(), COMMIT_LEAVES_MAX);
            return Err(ReplicaError::TooMany { what: "writes in a commit", count, max });
        }
        let membership = Arc::clone(&known.membership);
        if membership.role(&self.peer).is_none() {
            let rule = "this device was removed from the space".to_owned();
            return Err(AccessError::Denied { what: Action::Write.verb(), rule }.into());
        }
        let at = membership.heads_for(&self.peer, &[]);
        let mut collections = BTreeSet::new();
        let mut entities = BTreeSet::new();
        for write in writes {
            if !entities.insert((&write.collection, write.entity)) {
                return Err(ReplicaError::Twice { entity: write.entity });
            }
            if collections.insert(&write.collection) {
                membership.may_at(&self.peer, Action::Write, &write.collection, &at)?;
            }
        }
        if collections.iter().any(|name| !known.collections.contains_key(*name)) {
            let mut names = Names::new(&membership, &known.collections, |state| &state.vector);
            for name in collections {
                let NoName { what, count, max } = match names.takes(name, self.peer, || false) {
                    Ok(()) => continue,
                    Err(no_name) => no_name,
                };
                return Err(ReplicaError::TooMany { what, count, max });
            }
        }
        Ok(membership)
    }

    /// Makes one change on a copy of the document.
    fn edit(
        &mut self,
        now: Now,
        draft: &mut Draft,
        origin: Origin,
        write: Write,
    ) -> Result<Option<Made>, ReplicaError> {
        let Write { collection, entity, intent, edit } = write;
        let key = HeadKey { space: draft.space, collection: collection.clone(), entity };
        let before = self.store.get(&key)?;
        check_intent(intent, entity, before.as_ref())?;
        let mut document = match &before {
            Some(head) => self.document(&key, head)?,
            None => Document::new(),
        };
        let actor = ActorId::derive(&draft.space, &entity, &origin);
        let Some(made) = edit(&mut document, &actor, now.wall)? else { return Ok(None) };
        let mut row = None;
        if let Some(kind) = self.kinds.get(&collection)
            && !document.is_deleted()
        {
            row = Some(kind.row(&document)?);
        }
        let mut touched = Touched::new(before, Content::of(document));
        touched.row = row;
        touched.settle();
        draft.entities.insert((collection, entity), touched);
        Ok(Some(made))
    }

    /// Numbers the leaves and signs them.
    fn sign(
        &mut self,
        membership: &Membership,
        space: SpaceId,
        origin: Origin,
        made: Vec<((CollectionName, EntityId), Made)>,
    ) -> Result<Commit, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let next = |collection: &CollectionName| {
            let seen = known.collections.get(collection).and_then(|state| state.vector.seen(&origin));
            Oseq(seen.map_or(0, Seen::highest) + 1)
        };
        let mut parts: BTreeMap<CollectionName, Part> = BTreeMap::new();
        for ((collection, _), _) in &made {
            if let Some(part) = parts.get_mut(collection) {
                part.of += 1;
                continue;
            }
            let (oseq, prev) = (next(collection), self.own_last(space, collection)?);
            parts.insert(collection.clone(), Part { of: 1, oseq, prev, salt: None });
        }
        if parts.len() > 1 {
            parts.values_mut().for_each(|part| part.salt = Some(Salt::new(self.entropy.bytes())));
        }
        let mut slots = Vec::with_capacity(made.len());
        for ((collection, entity), Made { hash, seq, bytes }) in made {
            let Part { of, oseq, prev, salt } =
                *parts.get(&collection).expect("every collection was counted above");
            slots.push((Leaf { collection, entity, oseq, prev, salt, of, seq, head: hash }, bytes));
        }
        slots.sort_unstable_by(|(a, _), (b, _)| (&a.collection, a.entity).cmp(&(&b.collection, b.entity)));
        Ok(Commit::sign(&self.identity, space, origin, membership.heads_for(&self.peer, &[]), slots)?)
    }
}

impl Replica {
    /// The last commit of this device in a collection, whatever its incarnation was then.
    fn own_last(
        &self,
        space: SpaceId,
        collection: &CollectionName,
    ) -> Result<Option<CommitHash>, ReplicaError> {
        let Some(known) = self.spaces.get(&space) else { return Ok(None) };
        if let Some(hash) = known.own_last.get(collection) {
            return Ok(Some(*hash));
        }
        let Some(state) = known.collections.get(collection) else { return Ok(None) };
        let mut last = None;
        for (origin, _) in state.vector.iter().filter(|(origin, _)| origin.peer == self.peer) {
            let Some((id, entry)) =
                self.store.last(&Prefix::<CommitId>::origin(&space, collection, origin))?
            else {
                continue;
            };
            let (_, record) = load::resolve(&self.store, id, entry)?;
            if last
                .as_ref()
                .is_none_or(|(_, known): &(Origin, CommitRecord)| known.position < record.position)
            {
                last = Some((*origin, record));
            }
        }
        let Some((origin, record)) = last else { return Ok(None) };
        Ok(Some(load::commit(&self.store, space, origin, &record, &|_| false)?.hash()))
    }
}

fn check_intent(intent: Intent, entity: EntityId, head: Option<&Head>) -> Result<(), ReplicaError> {
    if head.is_some_and(Head::is_damaged) {
        return Err(ReplicaError::Damaged { entity });
    }
    match (intent, head) {
        (Intent::Create, None) => Ok(()),
        (Intent::Create, Some(head)) if head.deleted => Err(ReplicaError::Deleted { entity }),
        (Intent::Create, Some(_)) => Err(ReplicaError::AlreadyExists { entity }),
        (Intent::Change | Intent::Delete | Intent::Restore, None) => {
            Err(ReplicaError::NotFound { what: "entity" })
        }
        (Intent::Change, Some(head)) if head.deleted => Err(ReplicaError::Deleted { entity }),
        // Deleting what is deleted and restoring what is not change nothing, and the edit says so.
        (Intent::Change | Intent::Delete | Intent::Restore, Some(_)) => Ok(()),
    }
}
