//! Digests of states, and the name of a space on one connection.

use super::Side;
use crate::codec::{Encode, Writer};
use crate::exchange::{CollectionState, CommitKey, Vectors};
use crate::id::{CollectionName, Interests, SpaceId};
use crate::wire::{Digest, Tag};

/// The vectors on which this node and a peer agreed, and their digest, by which an opening refers to them.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) digest: Digest,
    pub(super) vectors: Vectors,
}

/// The name of a space in the frames of the side that says it.
pub(super) fn tag(exporter: &[u8; 32], said_by: Side, space: &SpaceId) -> Tag {
    let mut hasher = blake3::Hasher::new_keyed(exporter);
    hasher.update(b"driftless/tag/v1\0");
    hasher.update(match said_by {
        Side::Dialer => b"d",
        Side::Acceptor => b"a",
    });
    hasher.update(space.as_bytes());
    first_16(&hasher)
}

pub(super) fn of_vectors(vectors: &Vectors) -> Digest {
    let mut out = Writer::new();
    for (collection, vector) in vectors.iter().filter(|(_, vector)| !vector.is_empty()) {
        collection.encode(&mut out);
        vector.encode(&mut out);
    }
    of(b"driftless/vectors/v1\0", out.as_bytes())
}

pub(super) fn of_roots<'a>(
    collections: impl Iterator<Item = (&'a CollectionName, &'a CollectionState)>,
) -> Digest {
    let mut out = Writer::new();
    for (collection, state) in collections.filter(|(_, state)| state.root != crate::id::Root::EMPTY) {
        collection.encode(&mut out);
        state.root.encode(&mut out);
    }
    of(b"driftless/roots/v1\0", out.as_bytes())
}

/// By which an opening refers to the interests of its receiver.
pub(super) fn of_interests(interests: &Interests) -> [u8; 8] {
    let whole = of(b"driftless/interests/v1\0", &interests.to_bytes());
    let [first, _] = *whole.as_chunks().0 else { unreachable!("sixteen bytes are twice eight") };
    first
}

/// Both at once, for the opening.
pub(super) fn of_data(vectors: &Digest, roots: &Digest) -> Digest {
    of(b"driftless/data/v1\0", &[vectors.as_slice(), roots].concat())
}

/// Whether everything that a key names is in the vectors.
pub(super) fn holds(vectors: &Vectors, key: &CommitKey) -> bool {
    key.parts.iter().all(|(collection, oseq)| {
        vectors.get(collection).is_some_and(|vector| vector.contains(&key.origin, *oseq))
    })
}

/// Notes what a key names. A vector at its limit forgets: what is not noted is sent again, and known there.
pub(super) fn note(vectors: &mut Vectors, key: &CommitKey) {
    for (collection, oseq) in &key.parts {
        let _ = vectors.entry(collection.clone()).or_default().insert(key.origin, *oseq);
    }
}

/// Notes all that `more` names.
pub(super) fn merge(vectors: &mut Vectors, more: &Vectors) {
    for (collection, vector) in more {
        let _ = vectors.entry(collection.clone()).or_default().merge(vector);
    }
}

/// What `vectors` has beyond `base`, or `None` when it lacks something of it.
pub(super) fn added(base: &Vectors, vectors: &Vectors) -> Option<Vectors> {
    let nothing = crate::id::Vector::new();
    let covers = |(collection, old): (&CollectionName, &crate::id::Vector)| {
        vectors.get(collection).unwrap_or(&nothing).covers(old)
    };
    if !base.iter().all(covers) {
        return None;
    }
    let mut added = Vectors::new();
    for (collection, vector) in vectors {
        for missing in base.get(collection).unwrap_or(&nothing).lacks_of(vector) {
            let entry = added.entry(collection.clone()).or_default();
            entry.insert_range(missing.origin, missing.first, missing.last).ok()?;
        }
    }
    Some(added)
}

fn of(domain: &[u8], bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain);
    hasher.update(bytes);
    first_16(&hasher)
}

fn first_16(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut first = [0; 16];
    hasher.finalize_xof().fill(&mut first);
    first
}
