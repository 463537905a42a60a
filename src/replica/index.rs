//! The index of a collection of which this device wants no documents: which entities there are and how far each has
//! come, as a peer that has the collection live tells it.
//!
//! Two devices compare what they list span by span: equal fingerprints say that a span is the same, a small or an
//! empty one is told as it is, and any other in parts, each with a fingerprint. Of what differs in a hundred thousand
//! entities a few questions are left.
//!
//! What is listed is what a peer says: unlike a document it bears no signature.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Replica, ReplicaError, Told};
use crate::exchange::Answer;
use crate::id::{
    CollectionName, Contents, EntityId, Fingerprint, Listed, SpaceId, Span, SpanPrint, SpanTold, Version,
};
use crate::limits::{
    HEADS_PAGE_ENTITIES, INDEX_ENTITIES_MAX, INDEX_LEAF_ENTITIES, INDEX_PAGE_BYTES, INDEX_PAGE_ENTITIES,
    INDEX_PARTS,
};
use crate::store::keyspaces::{Batch, Head, HeadKey, IndexKey, Key, Keyspaces, Prefix};

/// Bytes that an entity takes in a message beside its heads.
const ENTRY_BYTES: usize = 32;
/// Bytes of one head.
const HEAD_BYTES: usize = 32;

impl Replica {
    /// How the spans of another device differ from this one's, which has the collection; `None` on a hub, which
    /// knows of documents only what it was sent.
    pub(super) fn index_told(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        asked: &[SpanPrint],
    ) -> Result<Answer, ReplicaError> {
        if self.hub {
            return Ok(Answer::Index(None));
        }
        let mut page = Page { told: Vec::new(), entries: 0, bytes: 0 };
        for SpanPrint { span, print } in asked {
            page.tell(&self.store, space, collection, *span, *print)?;
        }
        Ok(Answer::Index(Some(page.told)))
    }

    /// How far entities have come here.
    pub(super) fn versions(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        entities: Vec<EntityId>,
    ) -> Result<Answer, ReplicaError> {
        let mut listed = Vec::with_capacity(entities.len());
        for entity in entities {
            let head = self.store.get(&HeadKey { space, collection: collection.clone(), entity })?;
            listed.push(Listed { entity, version: head.map(version_of).unwrap_or_else(nothing) });
        }
        Ok(Answer::Versions(listed))
    }

    /// Of which collections this device lists anything.
    pub(super) fn listed_collections(&self, space: SpaceId) -> Result<Answer, ReplicaError> {
        let (prefix, mut collections) = (Prefix::<IndexKey>::space(&space), Vec::new());
        let mut behind = None;
        while let Some((key, _)) = self.store.page(&prefix, behind.as_ref(), 1)?.pop() {
            collections.push(key.collection.clone());
            behind = Some(IndexKey { entity: EntityId::new([0xff; 16]), ..key });
        }
        Ok(Answer::Collections(collections))
    }

    /// What this device lists in some spans.
    pub(super) fn index_prints(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        spans: &[Span],
    ) -> Result<Answer, ReplicaError> {
        let print = |span: &Span| {
            let print = self.listed_print(space, collection, *span)?;
            Ok(SpanPrint { span: *span, print })
        };
        Ok(Answer::IndexPrints(spans.iter().map(print).collect::<Result<_, ReplicaError>>()?))
    }

    /// Takes over what a peer told; answers with the spans that are still to be asked for.
    pub(super) fn take_index(
        &mut self,
        space: SpaceId,
        collection: &CollectionName,
        spans: Vec<SpanTold>,
        changed: Vec<Listed>,
    ) -> Result<Answer, ReplicaError> {
        let mut taking =
            Taking { batch: Batch::new(), listed: self.listed(space, collection)?, changed: false };
        for listed in changed {
            let key = IndexKey { space, collection: collection.clone(), entity: listed.entity };
            let known = self.store.get(&key)?;
            taking.take(
                &key,
                known.as_ref(),
                Some(listed.version).filter(|version| !version.heads.is_empty()),
            );
        }
        let mut compare = Vec::new();
        for SpanTold { span, contents } in spans {
            match contents {
                Contents::Same => {}
                Contents::Entries(entries) => self.replace(space, collection, span, entries, &mut taking)?,
                Contents::Print(_) | Contents::Rest => compare.push((span, contents)),
            }
        }
        let Taking { batch, listed, changed } = taking;
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.listed.insert(collection.clone(), listed);
        }
        if changed {
            self.told.push_back(Told::Indexed { space, collection: collection.clone() });
        }
        let mut apart = Vec::new();
        for (span, contents) in compare {
            let print = self.listed_print(space, collection, span)?;
            if contents != Contents::Print(print) {
                apart.push(SpanPrint { span, print });
            }
        }
        Ok(Answer::IndexTaken { apart })
    }

    /// Lists in a span these entities and no others.
    fn replace(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        span: Span,
        entries: Vec<Listed>,
        taking: &mut Taking,
    ) -> Result<(), ReplicaError> {
        let told = entries.into_iter().map(|listed| (listed.entity, listed.version));
        let mut told: BTreeMap<EntityId, Version> = told.collect();
        let mut known = Vec::new();
        each_in(&self.store, &space, collection, span, |key: IndexKey, version| {
            known.push((key, version));
            ControlFlow::Continue(())
        })?;
        for (key, version) in &known {
            let told = told.remove(&key.entity);
            taking.take(key, Some(version), told);
        }
        for (entity, version) in told {
            taking.take(&IndexKey { space, collection: collection.clone(), entity }, None, Some(version));
        }
        Ok(())
    }

    /// How many entities are listed of a collection.
    fn listed(&self, space: SpaceId, collection: &CollectionName) -> Result<usize, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        if let Some(count) = known.listed.get(collection) {
            return Ok(*count);
        }
        let mut count = 0;
        each_in(&self.store, &space, collection, Span::ALL, |_: IndexKey, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    fn listed_print(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        span: Span,
    ) -> Result<Fingerprint, ReplicaError> {
        let mut print = Fingerprint::EMPTY;
        each_in(&self.store, &space, collection, span, |key: IndexKey, version: Version| {
            print.add(Fingerprint::of_entity(&space, &key.entity, &version.heads));
            ControlFlow::Continue(())
        })?;
        Ok(print)
    }

    /// An entity that was listed cannot be read: it is left out until the index is compared again.
    pub(super) fn mend_index(&mut self, key: &IndexKey) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        batch.remove(key);
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&key.space) {
            known.listed.remove(&key.collection);
        }
        Ok(())
    }
}

/// Changes of what is listed of one collection.
struct Taking {
    batch: Batch,
    listed: usize,
    changed: bool,
}

impl Taking {
    fn take(&mut self, key: &IndexKey, known: Option<&Version>, told: Option<Version>) {
        if known == told.as_ref() {
            return;
        }
        match (known, told) {
            (None, Some(_)) if self.listed >= INDEX_ENTITIES_MAX => return,
            (None, None) => return,
            (Some(_), None) => {
                self.listed = self.listed.saturating_sub(1);
                self.batch.remove(key);
            }
            (known, Some(version)) => {
                self.listed += usize::from(known.is_none());
                self.batch.put(key, &version);
            }
        }
        self.changed = true;
    }
}

/// An answer that is being put together.
struct Page {
    told: Vec<SpanTold>,
    entries: usize,
    bytes: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.entries >= INDEX_PAGE_ENTITIES || self.bytes >= INDEX_PAGE_BYTES
    }

    fn say(&mut self, span: Span, contents: Contents) {
        self.told.push(SpanTold { span, contents });
    }

    fn tell(
        &mut self,
        store: &Keyspaces,
        space: SpaceId,
        collection: &CollectionName,
        span: Span,
        print: Fingerprint,
    ) -> Result<(), ReplicaError> {
        if self.is_full() {
            self.say(span, Contents::Rest);
            return Ok(());
        }
        // Who has nothing there is told all of it.
        if print == Fingerprint::EMPTY {
            return self.list(store, space, collection, span);
        }
        let mut parts = Parts::default();
        each_in(store, &space, collection, span, |key: HeadKey, head: Head| {
            let share = Fingerprint::of_entity(&space, &key.entity, &head.heads);
            if share != Fingerprint::EMPTY {
                parts.add(key.entity, share);
            }
            ControlFlow::Continue(())
        })?;
        if parts.print == print {
            self.say(span, Contents::Same);
        } else if parts.count <= INDEX_LEAF_ENTITIES {
            return self.list(store, space, collection, span);
        } else {
            parts.told(span).into_iter().for_each(|(span, print)| self.say(span, Contents::Print(print)));
        }
        Ok(())
    }

    /// Tells the entities of a span as far as the page has room.
    fn list(
        &mut self,
        store: &Keyspaces,
        space: SpaceId,
        collection: &CollectionName,
        span: Span,
    ) -> Result<(), ReplicaError> {
        let mut entries = Vec::new();
        let left_at = each_in(store, &space, collection, span, |key: HeadKey, head: Head| {
            if self.is_full() {
                return ControlFlow::Break(());
            }
            let version = version_of(head);
            if !version.heads.is_empty() {
                self.entries += 1;
                self.bytes += ENTRY_BYTES + HEAD_BYTES * version.heads.len();
                entries.push(Listed { entity: key.entity, version });
            }
            ControlFlow::Continue(())
        })?;
        let upto = entries.last().map(|last| last.entity);
        match left_at {
            None => self.say(span, Contents::Entries(entries)),
            Some(_) => {
                self.say(Span { upto, ..span }, Contents::Entries(entries));
                self.say(Span { after: upto, ..span }, Contents::Rest);
            }
        }
        Ok(())
    }
}

/// A span in parts of equal numbers of entities, which are counted while they are read: whenever there are too many
/// parts, each two become one.
#[derive(Default)]
struct Parts {
    /// Each ends with this entity.
    parts: Vec<(EntityId, Fingerprint)>,
    /// How many entities each has; the last one may have fewer.
    each: usize,
    last: usize,
    count: usize,
    print: Fingerprint,
}

impl Parts {
    fn add(&mut self, entity: EntityId, share: Fingerprint) {
        self.each = self.each.max(1);
        self.count += 1;
        self.print.add(share);
        match self.parts.last_mut().filter(|_| self.last < self.each) {
            Some((end, print)) => {
                *end = entity;
                print.add(share);
                self.last += 1;
            }
            None => {
                if self.parts.len() >= 2 * INDEX_PARTS {
                    self.halve();
                }
                self.parts.push((entity, share));
                self.last = 1;
            }
        }
    }

    fn halve(&mut self) {
        let pairs = self.parts.chunks(2).filter_map(|pair| {
            let mut sum = Fingerprint::EMPTY;
            pair.iter().for_each(|(_, print)| sum.add(*print));
            pair.last().map(|(end, _)| (*end, sum))
        });
        self.parts = pairs.collect();
        self.each *= 2;
    }

    /// The parts of a span, which they fill.
    fn told(self, span: Span) -> Vec<(Span, Fingerprint)> {
        let (mut after, last) = (span.after, self.parts.len().saturating_sub(1));
        let parts = self.parts.into_iter().enumerate().map(|(index, (end, print))| {
            let upto = if index == last { span.upto } else { Some(end) };
            (Span { after: after.replace(end), upto }, print)
        });
        parts.collect()
    }
}

/// Calls `each` for what is stored of a collection's entities in a span, in order, until it says to stop; returns
/// where it did.
pub(super) fn each_in<K: OfEntity>(
    store: &Keyspaces,
    space: &SpaceId,
    collection: &CollectionName,
    span: Span,
    mut each: impl FnMut(K, K::Value) -> ControlFlow<()>,
) -> Result<Option<EntityId>, ReplicaError> {
    let prefix = Prefix::<K>::collection(space, collection);
    let mut after = span.after.map(|entity| K::of(*space, collection.clone(), entity));
    loop {
        let page = store.page(&prefix, after.as_ref(), HEADS_PAGE_ENTITIES)?;
        let last = page.len() < HEADS_PAGE_ENTITIES;
        for (key, value) in page {
            let entity = key.entity();
            if !span.contains(&entity) {
                return Ok(None);
            }
            after = Some(K::of(*space, collection.clone(), entity));
            if each(key, value).is_break() {
                return Ok(Some(entity));
            }
        }
        if last {
            return Ok(None);
        }
    }
}

/// A keyspace with a value for each entity of a collection.
pub(super) trait OfEntity: Key {
    fn of(space: SpaceId, collection: CollectionName, entity: EntityId) -> Self;

    fn entity(&self) -> EntityId;
}

impl OfEntity for HeadKey {
    fn of(space: SpaceId, collection: CollectionName, entity: EntityId) -> Self {
        Self { space, collection, entity }
    }

    fn entity(&self) -> EntityId {
        self.entity
    }
}

impl OfEntity for IndexKey {
    fn of(space: SpaceId, collection: CollectionName, entity: EntityId) -> Self {
        Self { space, collection, entity }
    }

    fn entity(&self) -> EntityId {
        self.entity
    }
}

pub(super) fn version_of(head: Head) -> Version {
    Version { heads: head.heads, deleted: head.deleted, activity_ms: head.activity.unix_ms() }
}

/// That of an entity that is not here.
fn nothing() -> Version {
    Version { heads: Vec::new(), deleted: false, activity_ms: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> EntityId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        EntityId::new(bytes)
    }

    #[test]
    fn parts_fill_their_span_and_add_up_to_it() {
        for count in [1, 2, 31, 32, 33, 64, 65, 1_000, 40_000] {
            let mut parts = Parts::default();
            let share =
                |number: u32| Fingerprint::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
            (0..count).for_each(|number| parts.add(id(number), share(number)));
            let whole = parts.print;
            let span = Span { after: None, upto: Some(id(count)) };

            let told = parts.told(span);

            assert!(
                told.len() <= 2 * INDEX_PARTS && told.len() >= INDEX_PARTS.min(count as usize),
                "{count}"
            );
            assert!(
                told.windows(2).all(|pair| pair[0].0.upto == pair[1].0.after && pair[0].0.upto.is_some())
            );
            assert_eq!((told[0].0.after, told[told.len() - 1].0.upto), (span.after, span.upto));
            let mut sum = Fingerprint::EMPTY;
            for (part, print) in &told {
                let mut expected = Fingerprint::EMPTY;
                (0..count).filter(|number| part.contains(&id(*number))).for_each(|n| expected.add(share(n)));
                assert_eq!(*print, expected);
                sum.add(*print);
            }
            assert_eq!(sum, whole);
        }
    }
}
