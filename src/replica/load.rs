//! Reads documents and commits back from what is stored of them.

use super::ReplicaError;
use crate::access::{Commit, Leaf, Slot};
use crate::doc::Document;
use crate::id::{CollectionName, Origin, SpaceId};
use crate::identity::Signature;
use crate::store::keyspaces::{
    Arrival, Change, ChangeKey, CommitEntry, CommitId, CommitRecord, CopyKey, Head, HeadKey, Raw,
};
use crate::store::keyspaces::{Key, Keyspaces, Prefix, SlotRecord, SnapshotKey, StatementKey};
use crate::store::kv::KvError;

/// Changes that are read at a time.
const PAGE: usize = 256;

/// Loads the document of an entity: the snapshot and the changes behind it, in one call.
///
/// A snapshot is a cache: when it does not lead to the stored heads, all changes are read instead.
pub(super) fn document(store: &Keyspaces, key: &HeadKey, head: &Head) -> Result<Document, ReplicaError> {
    if head.snapshot.is_some()
        && let Some(document) = from_snapshot(store, key, head)
    {
        return Ok(document);
    }
    let changes = changes(store, key, Arrival(0), head.next_arrival)?;
    let chunks: Vec<&[u8]> = changes.iter().map(|change| change.chunk.as_slice()).collect();
    match Document::load(None, &chunks) {
        Ok(document) if document.heads() == head.heads => Ok(document),
        // Changes and heads that contradict each other count as a damaged head: the changes are the truth.
        Ok(_) | Err(_) => Err(key.damaged().into()),
    }
}

fn from_snapshot(store: &Keyspaces, key: &HeadKey, head: &Head) -> Option<Document> {
    let HeadKey { space, collection, entity } = key.clone();
    let snapshot = store.get(&SnapshotKey { space, collection, entity }).ok()??;
    let changes = changes(store, key, snapshot.upto, head.next_arrival).ok()?;
    let chunks: Vec<&[u8]> = changes.iter().map(|change| change.chunk.as_slice()).collect();
    let document = Document::load(Some(&snapshot.document), &chunks).ok()?;
    (document.heads() == head.heads).then_some(document)
}

/// Reads the changes of an entity from one arrival number up to another that is not included.
pub(super) fn changes(
    store: &Keyspaces,
    key: &HeadKey,
    from: Arrival,
    upto: Arrival,
) -> Result<Vec<Change>, ReplicaError> {
    let mut changes = Vec::new();
    let mut after = from.0.checked_sub(1).map(|last| change_key(key, Arrival(last)));
    let prefix = Prefix::<ChangeKey>::entity(&key.space, &key.collection, &key.entity);
    loop {
        let page = store.page(&prefix, after.as_ref(), PAGE)?;
        let full = page.len() == PAGE;
        for (found, change) in page {
            if found.arrival >= upto {
                return Ok(changes);
            }
            after = Some(found);
            changes.push(change);
        }
        if !full {
            return Ok(changes);
        }
    }
}

pub(super) fn change_key(key: &HeadKey, arrival: Arrival) -> ChangeKey {
    ChangeKey { space: key.space, collection: key.collection.clone(), entity: key.entity, arrival }
}

/// Reads a statement from whichever of its two copies is sound; `None` when neither is.
pub(super) fn statement(store: &Keyspaces, key: &CopyKey) -> Result<Option<Raw>, ReplicaError> {
    let sound = |read: Result<Option<Raw>, KvError>| match read {
        Err(KvError::Damaged { .. }) => Ok(None),
        read => read,
    };
    let first = sound(store.get(&StatementKey { space: key.space, hash: key.hash }))?;
    Ok(match first {
        Some(first) => Some(first),
        None => sound(store.get(key))?,
    })
}

/// Finds the record of a commit under any of its collections, and the key that has it.
pub(super) fn record(
    store: &Keyspaces,
    id: CommitId,
) -> Result<Option<(CommitId, CommitRecord)>, ReplicaError> {
    match store.get(&id)? {
        None => Ok(None),
        Some(entry) => resolve(store, id, entry).map(Some),
    }
}

/// Follows the reference of a commit to its record.
pub(super) fn resolve(
    store: &Keyspaces,
    id: CommitId,
    entry: CommitEntry,
) -> Result<(CommitId, CommitRecord), ReplicaError> {
    let (collection, oseq) = match entry {
        CommitEntry::Record(record) => return Ok((id, record)),
        CommitEntry::Reference { collection, oseq, .. } => (collection, oseq),
    };
    let primary = CommitId { space: id.space, collection, origin: id.origin, oseq };
    match store.get(&primary)? {
        Some(CommitEntry::Record(record)) => Ok((primary, record)),
        Some(CommitEntry::Reference { .. }) | None => {
            // A record that something refers to and that is not there is as good as damaged.
            Err(primary.damaged().into())
        }
    }
}

/// Rebuilds a commit. Leaves of collections for which `readable` says no have empty changes and must be blinded.
pub(super) fn commit(
    store: &Keyspaces,
    space: SpaceId,
    origin: Origin,
    record: &CommitRecord,
    readable: &dyn Fn(&CollectionName) -> bool,
) -> Result<Commit, ReplicaError> {
    let mut slots = Vec::with_capacity(record.slots.len());
    for slot in &record.slots {
        slots.push(match slot {
            SlotRecord::Blind(hash) => Slot::Blind(*hash),
            SlotRecord::Open { collection, entity, oseq, prev, salt, of, seq, head, arrival } => {
                let (collection, entity, arrival) = (collection.clone(), *entity, *arrival);
                let change = if readable(&collection) {
                    let key = ChangeKey { space, collection: collection.clone(), entity, arrival };
                    store.get(&key)?.ok_or_else(|| key.damaged())?.chunk
                } else {
                    Vec::new()
                };
                let (oseq, prev, salt, of, seq, head) = (*oseq, *prev, *salt, *of, *seq, *head);
                let leaf = Leaf { collection, entity, oseq, prev, salt, of, seq, head };
                Slot::Open { leaf, change }
            }
        });
    }
    Ok(Commit { space, origin, at: record.at.clone(), slots, signature: Signature(record.signature) })
}
