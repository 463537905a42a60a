//! The documents that were used last, within a budget of bytes.

use std::collections::BTreeMap;

use crate::doc::Document;
use crate::id::SpaceId;
use crate::store::keyspaces::HeadKey;

/// A byte-bounded cache of documents that forgets the one unused for longest.
#[derive(Debug)]
pub(super) struct Cache {
    documents: BTreeMap<HeadKey, Cached>,
    /// By last use; one entry for each document.
    order: BTreeMap<u64, HeadKey>,
    tick: u64,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Cached {
    /// By itself, because a document is large and the map moves what it holds.
    document: Box<Document>,
    bytes: usize,
    tick: u64,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { documents: BTreeMap::new(), order: BTreeMap::new(), tick: 0, bytes: 0, bytes_max }
    }

    /// Puts a document in place of what was there. One that is over the budget by itself is not kept.
    pub(super) fn put(&mut self, key: HeadKey, document: Box<Document>) {
        self.remove(&key);
        let bytes = document.bytes();
        if bytes > self.bytes_max {
            return;
        }
        self.tick += 1;
        self.bytes += bytes;
        self.order.insert(self.tick, key.clone());
        self.documents.insert(key, Cached { document, bytes, tick: self.tick });
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        debug_assert_eq!(self.order.len(), self.documents.len(), "one place in the order for each document");
    }

    pub(super) fn get(&mut self, key: &HeadKey) -> Option<&Document> {
        let cached = self.documents.get_mut(key)?;
        self.order.remove(&cached.tick);
        self.tick += 1;
        cached.tick = self.tick;
        self.order.insert(self.tick, key.clone());
        Some(&cached.document)
    }

    pub(super) fn remove(&mut self, key: &HeadKey) {
        if let Some(cached) = self.documents.remove(key) {
            self.order.remove(&cached.tick);
            self.bytes -= cached.bytes;
        }
    }

    /// Forgets the documents of a space.
    pub(super) fn forget(&mut self, space: &SpaceId) {
        let of_space = |key: &&HeadKey| key.space == *space;
        let keys: Vec<HeadKey> = self.documents.keys().filter(of_space).cloned().collect();
        keys.iter().for_each(|key| self.remove(key));
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
