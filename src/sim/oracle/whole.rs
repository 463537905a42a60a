//! Everything that one device holds, rebuilt from its commits alone.

use std::collections::BTreeMap;

use crate::access::{Commit, Slot};
use crate::doc::{Document, gate};
use crate::exchange::{Answer, Ask, Scope, Vectors};
use crate::id::{ChangeHash, CollectionName, EntityId, Origin, Oseq, Root, SpaceId};
use crate::replica::Replica;
use crate::time::Now;

/// Bytes of commits that are asked for at a time.
const FEED_BYTES: usize = 256 * 1024;

/// The commits of one device, and the documents that they make.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) documents: BTreeMap<(CollectionName, EntityId), Document>,
    /// What each change follows.
    pub(super) deps: BTreeMap<ChangeHash, Vec<ChangeHash>>,
    /// The commits.
    pub(super) commits: Vec<Commit>,
}

impl Whole {
    /// Reads all commits of a device as a peer with the same rights would be fed them, and loads their changes.
    pub(super) fn read(now: Now, replica: &mut Replica, space: SpaceId) -> Result<Self, String> {
        let mut whole = Self::default();
        let mut chunks: BTreeMap<(CollectionName, EntityId), Vec<Vec<u8>>> = BTreeMap::new();
        let mut have = Vectors::new();
        let to = replica.peer();
        loop {
            let ask =
                Ask::Feed { space, to, have: have.clone(), scope: Scope::default(), bytes_max: FEED_BYTES };
            let answer = replica.answer(now, ask);
            let Answer::Commits { commits, complete } = answer else {
                return Err(format!("a feed was answered with {answer:?}"));
            };
            let stuck = commits.is_empty() && !complete;
            for packed in commits {
                for (collection, oseq) in &packed.key.parts {
                    let vector = have.entry(collection.clone()).or_default();
                    vector.insert(packed.key.origin, *oseq).map_err(|error| error.to_string())?;
                }
                let commit = Commit::decode(space, &packed.bytes).map_err(|error| error.to_string())?;
                commit.verify().map_err(|error| error.to_string())?;
                whole.take(&commit, &mut chunks)?;
                whole.commits.push(commit);
            }
            if stuck {
                return Err("a feed is empty and not complete".to_owned());
            }
            if complete {
                break;
            }
        }
        for (place, chunks) in chunks {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let document = Document::load(None, &chunks).map_err(|error| error.to_string())?;
            whole.documents.insert(place, document);
        }
        Ok(whole)
    }

    /// Returns what is there of which commit.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Origin, CollectionName, Oseq)> {
        let parts = |commit: &Commit| {
            let origin = commit.origin;
            commit.parts().into_iter().map(move |(collection, oseq)| (origin, collection, oseq))
        };
        self.commits.iter().flat_map(parts)
    }

    fn take(
        &mut self,
        commit: &Commit,
        chunks: &mut BTreeMap<(CollectionName, EntityId), Vec<Vec<u8>>>,
    ) -> Result<(), String> {
        for slot in &commit.slots {
            let Slot::Open { leaf, change } = slot else { continue };
            let header = gate::prescan(change).map_err(|error| error.to_string())?;
            self.deps.insert(header.hash, header.deps);
            chunks.entry((leaf.collection.clone(), leaf.entity)).or_default().push(change.clone());
        }
        Ok(())
    }

    /// The root that the entities of a collection add up to.
    pub(super) fn root(&self, space: &SpaceId, collection: &CollectionName) -> Root {
        let mut sum = Root::EMPTY.sum();
        for ((of, entity), document) in &self.documents {
            if of == collection {
                sum.add(space, entity, &document.heads());
            }
        }
        sum.root()
    }
}
