//! The root of a collection, by which two devices know that they hold the same.

use std::fmt;

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::traits::Identity as _;

use super::{ChangeHash, EntityId, SpaceId};

/// What all entities of a collection add up to: one point of a group for each entity at its heads.
///
/// Collections with equal roots hold the same entities at the same heads, also where somebody chose what is in them:
/// the points come out of a hash, and whoever finds two sets of them with one sum has found a discrete logarithm in
/// [ristretto255](https://www.rfc-editor.org/rfc/rfc9496), which takes about 2^126 steps. The sum of hashes as numbers
/// of 256 bits does not do: see [`Fingerprint`](super::Fingerprint).
///
/// # Example
///
/// ```
/// use driftless::id::{ChangeHash, EntityId, Root, SpaceId};
///
/// let space = SpaceId::new([1; 32]);
/// let pump = EntityId::from_key("asset", b"PUMP-7");
/// let mut sum = Root::EMPTY.sum();
/// sum.add(&space, &pump, &[ChangeHash::new([3; 32])]);
/// assert_ne!(sum.root(), Root::EMPTY);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Root([u8; 32]);

impl Root {
    /// The root of an empty collection.
    pub const EMPTY: Self = Self([0; 32]);

    /// Reads the 32 bytes that [`Root::as_bytes`] gives; `None` when there is no such root.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Root;
    ///
    /// assert_eq!(Root::from_bytes([0; 32]), Some(Root::EMPTY));
    /// assert_eq!(Root::from_bytes([1; 32]), None);
    /// ```
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        CompressedRistretto(bytes).decompress().map(|_| Self(bytes))
    }

    /// Returns the bytes.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Root;
    ///
    /// assert_eq!(Root::EMPTY.as_bytes(), &[0; 32]);
    /// ```
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the root as a sum that entities can be added to and removed from.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Root;
    ///
    /// assert_eq!(Root::EMPTY.sum().root(), Root::EMPTY);
    /// ```
    #[must_use]
    pub fn sum(self) -> RootSum {
        RootSum(CompressedRistretto(self.0).decompress().expect("a root is made of a point"))
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({:.8})", self.to_string())
    }
}

/// A root that is being added up. To add or remove an entity costs some 15 µs, a root as much again.
///
/// # Example
///
/// ```
/// use driftless::id::{ChangeHash, EntityId, Root, SpaceId};
///
/// let space = SpaceId::new([1; 32]);
/// let pump = EntityId::from_key("asset", b"PUMP-7");
/// let heads = [ChangeHash::new([3; 32])];
/// let mut sum = Root::EMPTY.sum();
/// sum.add(&space, &pump, &heads);
/// sum.remove(&space, &pump, &heads);
/// assert_eq!(sum.root(), Root::EMPTY);
/// ```
#[derive(Clone, Debug)]
pub struct RootSum(RistrettoPoint);

impl RootSum {
    /// Adds an entity at `heads`, which are sorted. Without heads there is no entity, and nothing is added.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::{ChangeHash, EntityId, Root, SpaceId};
    ///
    /// let (space, pump) = (SpaceId::new([1; 32]), EntityId::from_key("asset", b"PUMP-7"));
    /// let mut sum = Root::EMPTY.sum();
    /// sum.add(&space, &pump, &[]);
    /// assert_eq!(sum.root(), Root::EMPTY);
    /// sum.add(&space, &pump, &[ChangeHash::new([3; 32])]);
    /// assert_ne!(sum.root(), Root::EMPTY);
    /// ```
    pub fn add(&mut self, space: &SpaceId, entity: &EntityId, heads: &[ChangeHash]) {
        self.0 += point_of(space, entity, heads);
    }

    /// Removes an entity that was added at these heads.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::{ChangeHash, EntityId, Root, SpaceId};
    ///
    /// let (space, pump) = (SpaceId::new([1; 32]), EntityId::from_key("asset", b"PUMP-7"));
    /// let (before, after) = ([ChangeHash::new([3; 32])], [ChangeHash::new([4; 32])]);
    /// let (mut one, mut other) = (Root::EMPTY.sum(), Root::EMPTY.sum());
    /// one.add(&space, &pump, &before);
    /// one.remove(&space, &pump, &before);
    /// one.add(&space, &pump, &after);
    /// other.add(&space, &pump, &after);
    /// assert_eq!(one.root(), other.root());
    /// ```
    pub fn remove(&mut self, space: &SpaceId, entity: &EntityId, heads: &[ChangeHash]) {
        self.0 -= point_of(space, entity, heads);
    }

    /// Returns the root.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Root;
    ///
    /// assert_eq!(Root::default().sum().root(), Root::EMPTY);
    /// ```
    #[must_use]
    pub fn root(&self) -> Root {
        Root(self.0.compress().to_bytes())
    }
}

/// The point of one entity: none is known to be a multiple of another one.
fn point_of(space: &SpaceId, entity: &EntityId, heads: &[ChangeHash]) -> RistrettoPoint {
    debug_assert!(heads.is_sorted(), "heads are sorted");
    if heads.is_empty() {
        return RistrettoPoint::identity();
    }
    let mut hasher = blake3::Hasher::new_keyed(space.as_bytes());
    hasher.update(b"driftless/root/v2\0");
    hasher.update(entity.as_bytes());
    for head in heads {
        hasher.update(head.as_bytes());
    }
    let mut uniform = [0; 64];
    hasher.finalize_xof().fill(&mut uniform);
    RistrettoPoint::from_uniform_bytes(&uniform)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::id::Fingerprint;

    const SPACE: SpaceId = SpaceId::new([1; 32]);

    fn root_of(entities: &[(u8, u8)]) -> Root {
        let mut sum = Root::EMPTY.sum();
        for (entity, head) in entities {
            sum.add(&SPACE, &EntityId::new([*entity; 16]), &[ChangeHash::new([*head; 32])]);
        }
        sum.root()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn entities_come_and_go_in_any_order(
            entities in prop::collection::btree_map(any::<u8>(), any::<u8>(), 1..8),
            gone in any::<prop::sample::Index>(),
        ) {
            let mut entities: Vec<(u8, u8)> = entities.into_iter().collect();
            let mut sum = root_of(&entities).sum();
            let backwards: Vec<(u8, u8)> = entities.iter().rev().copied().collect();
            prop_assert_eq!(root_of(&backwards), sum.root());

            let (entity, head) = entities.remove(gone.index(entities.len()));
            sum.remove(&SPACE, &EntityId::new([entity; 16]), &[ChangeHash::new([head; 32])]);

            prop_assert_eq!(sum.root(), root_of(&entities));
            prop_assert_eq!(Root::from_bytes(*sum.root().as_bytes()), Some(sum.root()));
        }
    }

    #[test]
    fn heads_and_entity_and_space_are_all_covered() {
        let at = |space: u8, entity: u8, heads: &[u8]| {
            let heads: Vec<_> = heads.iter().map(|head| ChangeHash::new([*head; 32])).collect();
            let mut sum = Root::EMPTY.sum();
            sum.add(&SpaceId::new([space; 32]), &EntityId::new([entity; 16]), &heads);
            sum.root()
        };

        let all = [at(1, 1, &[1]), at(2, 1, &[1]), at(1, 2, &[1]), at(1, 1, &[2]), at(1, 1, &[1, 2])];

        assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(at(1, 1, &[]), Root::EMPTY);
    }

    /// A root was the sum of 256-bit numbers. A member that may write tens of thousands of entities finds two sets with one
    /// sum in about 2^31 hashes, shows one to each of two devices, and they say that they are in sync. Seen failing with
    /// `Fingerprint` for the sum.
    #[test]
    fn a_root_is_no_sum_of_numbers() {
        let number = |root: Root| Fingerprint::from_bytes(*root.as_bytes());
        let [mut sum, other] = [number(root_of(&[(1, 1)])), number(root_of(&[(2, 2)]))];
        sum.add(other);

        assert_ne!(number(root_of(&[(1, 1), (2, 2)])), sum);
    }

    #[test]
    fn bytes_that_are_no_point_are_no_root() {
        assert_eq!(Root::from_bytes([0xff; 32]), None);
        assert_eq!(Root::from_bytes(*Root::EMPTY.as_bytes()), Some(Root::EMPTY));
    }

    /// Two devices compute the same, whatever version of the library they have.
    #[test]
    fn a_root_keeps_its_golden_bytes() {
        let golden = "fc865e5f2f7b63e5d7491ef250a257350645f83572eeab671b7125e50d5c7c7d";
        assert_eq!(root_of(&[(1, 1), (2, 2)]).to_string(), golden);
    }
}
