//! The fingerprint of a set, kept up to date as members come and go.

use std::fmt;

use super::{ChangeHash, EntityId, SpaceId};

/// The sum of keyed hashes of a set's members, so that adding and removing one costs one hash.
///
/// Two sets with equal fingerprints are equal, unless somebody took pains: who can choose 2^k members finds two sets with
/// one sum in about 2^(k + 256 / (k + 1)) hashes, 2^31 with sixteen thousand
/// ([Wagner, A Generalized Birthday Problem](https://doi.org/10.1007/3-540-45708-9_19)). So it serves to find what differs, and
/// proves nothing; that two collections are the same is told by their [`Root`](super::Root).
///
/// # Example
///
/// ```
/// use driftless::id::{ChangeHash, EntityId, Fingerprint, SpaceId};
///
/// let space = SpaceId::new([1; 32]);
/// let pump = EntityId::from_key("asset", b"PUMP-7");
/// let mut shop = Fingerprint::EMPTY;
/// shop.add(Fingerprint::of_entity(&space, &pump, &[ChangeHash::new([3; 32])]));
/// assert_ne!(shop, Fingerprint::EMPTY);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint([u64; 4]);

impl Fingerprint {
    /// The fingerprint of the empty set.
    pub const EMPTY: Self = Self([0; 4]);

    /// Returns the fingerprint of one entity at `heads`, which are sorted. Without heads there is no entity, and
    /// the fingerprint is the empty one.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::{ChangeHash, EntityId, Fingerprint, SpaceId};
    ///
    /// let space = SpaceId::new([1; 32]);
    /// let pump = EntityId::from_key("asset", b"PUMP-7");
    /// let before = Fingerprint::of_entity(&space, &pump, &[ChangeHash::new([3; 32])]);
    /// let after = Fingerprint::of_entity(&space, &pump, &[ChangeHash::new([4; 32])]);
    /// assert_ne!(before, after);
    /// ```
    #[must_use]
    pub fn of_entity(space: &SpaceId, entity: &EntityId, heads: &[ChangeHash]) -> Self {
        debug_assert!(heads.is_sorted(), "heads are sorted");
        if heads.is_empty() {
            return Self::EMPTY;
        }
        let mut hasher = blake3::Hasher::new_keyed(space.as_bytes());
        hasher.update(b"driftless/root/v1\0");
        hasher.update(entity.as_bytes());
        for head in heads {
            hasher.update(head.as_bytes());
        }
        Self::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Reads the 32 bytes that [`Fingerprint::to_bytes`] gives.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Fingerprint;
    ///
    /// assert_eq!(Fingerprint::from_bytes([0; 32]), Fingerprint::EMPTY);
    /// ```
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut words = [0_u64; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    /// Returns the fingerprint as 32 bytes.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Fingerprint;
    ///
    /// let received = Fingerprint::from_bytes([9; 32]);
    /// assert_eq!(received.to_bytes(), [9; 32]);
    /// ```
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0_u8; 32];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }

    /// Adds a member, or the members of another set.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Fingerprint;
    ///
    /// let (pump, valve) = (Fingerprint::from_bytes([1; 32]), Fingerprint::from_bytes([2; 32]));
    /// let (mut ours, mut theirs) = (pump, valve);
    /// ours.add(valve);
    /// theirs.add(pump);
    /// assert_eq!(ours, theirs);
    /// ```
    pub fn add(&mut self, other: Self) {
        let mut carry = false;
        for (word, other) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = word.overflowing_add(other);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            *word = sum;
            carry = over || again;
        }
    }

    /// Removes a member, or the members of another set.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Fingerprint;
    ///
    /// let pump = Fingerprint::from_bytes([1; 32]);
    /// let mut set = Fingerprint::EMPTY;
    /// set.add(pump);
    /// set.remove(pump);
    /// assert_eq!(set, Fingerprint::EMPTY);
    /// ```
    pub fn remove(&mut self, other: Self) {
        let mut borrow = false;
        for (word, other) in self.0.iter_mut().zip(other.0) {
            let (rest, under) = word.overflowing_sub(other);
            let (rest, again) = rest.overflowing_sub(u64::from(borrow));
            *word = rest;
            borrow = under || again;
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({:.8})", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn removing_undoes_adding(a: [u8; 32], b: [u8; 32]) {
            let mut sum = Fingerprint::from_bytes(a);
            sum.add(Fingerprint::from_bytes(b));
            sum.remove(Fingerprint::from_bytes(b));
            prop_assert_eq!(sum.to_bytes(), a);
        }

        #[test]
        fn the_order_of_adding_does_not_matter(a: [u8; 32], b: [u8; 32]) {
            let (mut left, mut right) = (Fingerprint::from_bytes(a), Fingerprint::from_bytes(b));
            left.add(Fingerprint::from_bytes(b));
            right.add(Fingerprint::from_bytes(a));
            prop_assert_eq!(left, right);
        }
    }

    #[test]
    fn heads_and_entity_and_space_are_all_covered() {
        let at = |space: u8, entity: u8, head: u8| {
            let (space, entity) = (SpaceId::new([space; 32]), EntityId::new([entity; 16]));
            Fingerprint::of_entity(&space, &entity, &[ChangeHash::new([head; 32])])
        };

        let all = [at(1, 1, 1), at(2, 1, 1), at(1, 2, 1), at(1, 1, 2)];

        let distinct: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), 4);
    }
}
