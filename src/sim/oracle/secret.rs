//! Bytes that nobody may be sent who may not read their collection, in whatever message they are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Leaf, Oracle};
use crate::access::{Action, Membership};
use crate::id::{CollectionName, EntityId, PeerId};
use crate::sim::violation::Rule;

/// Bytes by which a secret is known: an entity, or the beginning of the hash of a change.
const SECRET_BYTES: usize = 16;

type Secret = [u8; SECRET_BYTES];

/// What is found again in frames.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// The entities and changes of each collection.
    of: BTreeMap<CollectionName, BTreeSet<Secret>>,
    /// Which two bytes any begins with, over all collections.
    begins: BTreeSet<[u8; 2]>,
    /// What rogues asked about by name. An answer may repeat it.
    asked: BTreeSet<Secret>,
}

impl Secrets {
    /// An honest device made a change.
    pub(super) fn note(&mut self, leaf: &Leaf) {
        let head = leaf.head.as_bytes().first_chunk::<SECRET_BYTES>().copied();
        let all = self.of.entry(leaf.collection.clone()).or_default();
        for secret in head.into_iter().chain([*leaf.entity.as_bytes()]) {
            all.insert(secret);
            self.begins.extend(secret.first_chunk::<2>());
        }
    }

    fn found<'a>(
        &'a self,
        frame: &'a [u8],
        hidden: &'a [&CollectionName],
    ) -> impl Iterator<Item = &'a CollectionName> {
        let begins = |window: &&[u8]| window.first_chunk::<2>().is_some_and(|two| self.begins.contains(two));
        let secrets = frame.windows(SECRET_BYTES).filter(begins).filter_map(|window| window.first_chunk());
        secrets.filter(|secret| !self.asked.contains(*secret)).filter_map(|secret: &Secret| {
            hidden.iter().copied().find(|name| self.of.get(*name).is_some_and(|all| all.contains(secret)))
        })
    }
}

impl Oracle {
    /// A rogue names entities.
    pub(in crate::sim) fn asked(&mut self, entities: &[EntityId]) {
        self.secrets.asked.extend(entities.iter().map(|entity| *entity.as_bytes()));
    }

    /// No frame to one who may not read a collection has any of its entities and changes in it.
    pub(in crate::sim) fn check_bytes(
        &mut self,
        at_ms: u64,
        device: usize,
        to: &PeerId,
        membership: &Membership,
        frame: &[u8],
    ) {
        let hidden = self.secrets.of.keys().filter(|name| !membership.may(to, Action::Read, name));
        let hidden: Vec<&CollectionName> = hidden.collect();
        if hidden.is_empty() {
            return;
        }
        let found = self.secrets.found(frame, &hidden).next().cloned();
        if let Some(collection) = found {
            let text = format!("bytes of {collection} were sent to one who may not read it");
            self.violate(Rule::Isolated, at_ms, device, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ActorId, ChangeHash};

    /// What is found is found by its bytes alone, so no new message can be forgotten here.
    #[test]
    fn a_secret_is_found_wherever_it_is_in_a_frame_unless_it_was_asked_about() {
        let collection = CollectionName::new("lines").expect("a name");
        let (entity, head) = (EntityId::new([7; 16]), ChangeHash::new([9; 32]));
        let leaf =
            Leaf { collection: collection.clone(), entity, actor: ActorId::new([1; 16]), seq: 1, head };
        let mut secrets = Secrets::default();
        secrets.note(&leaf);
        let frame = |secret: &[u8]| [&[1, 2, 3], secret, &[4]].concat();
        let find = |secrets: &Secrets, frame: &[u8], hidden: &[&CollectionName]| {
            secrets.found(frame, hidden).next().cloned()
        };

        assert_eq!(find(&secrets, &frame(&[7; 16]), &[&collection]), Some(collection.clone()));
        assert_eq!(find(&secrets, &frame(&[9; 32]), &[&collection]), Some(collection.clone()));
        assert_eq!(find(&secrets, &frame(&[7; 15]), &[&collection]), None);
        assert_eq!(find(&secrets, &frame(&[7; 16]), &[]), None);

        secrets.asked.insert([7; 16]);
        assert_eq!(find(&secrets, &frame(&[7; 16]), &[&collection]), None);
    }
}
