//! Version vectors: which commits of each origin are held.

use std::collections::BTreeMap;

use crate::limits::{OSEQ_MAX, VECTOR_HOLES_MAX, VECTOR_ORIGINS_MAX};

use super::{Incarnation, Origin, Oseq, PeerId};

/// Which commits of one origin are held: all up to a number, and separate ranges beyond it.
///
/// The ranges are half open `[first, end)`, sorted, not empty, and neither touch each other nor `upto`.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use driftless::id::{Oseq, Seen};
///
/// let seen = Seen::from_parts(4, vec![(6, 8)])?;
/// assert!(seen.contains(Oseq(4)) && seen.contains(Oseq(7)));
/// assert!(!seen.contains(Oseq(5)) && !seen.contains(Oseq(8)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    upto: u64,
    ranges: Vec<(u64, u64)>,
}

/// Commits of one origin that one side holds and the other lacks: `first..=last`.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use driftless::id::{Incarnation, Missing, Origin, Oseq, PeerId, Vector};
///
/// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
/// let (ours, mut theirs) = (Vector::new(), Vector::new());
/// theirs.insert_range(phone, Oseq(1), Oseq(3))?;
/// assert_eq!(ours.lacks_of(&theirs), [Missing { origin: phone, first: Oseq(1), last: Oseq(3) }]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Who made them.
    pub origin: Origin,
    /// The first of them.
    pub first: Oseq,
    /// The last of them.
    pub last: Oseq,
}

/// A version vector that breaks its rules, or would grow over its limits.
///
/// # Example
///
/// ```
/// use driftless::id::{Seen, VectorError};
///
/// let touching = Seen::from_parts(4, vec![(5, 6)]);
/// assert_eq!(touching, Err(VectorError::NotCanonical));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// More origins than a vector may name.
    #[error("a version vector names at most {max} origins")]
    Origins {
        /// The limit.
        max: usize,
    },
    /// More separate ranges of one origin than a vector may name.
    #[error("a version vector names at most {max} ranges of one origin")]
    Holes {
        /// The limit.
        max: usize,
    },
    /// The ranges are not in canonical form, or an origin is named without any commit.
    #[error("a version vector is not in canonical form")]
    NotCanonical,
}

impl Seen {
    /// Makes a set from its parts.
    ///
    /// # Errors
    ///
    /// [`VectorError::NotCanonical`] when the ranges are empty, touch or overlap.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::Seen;
    ///
    /// let seen = Seen::from_parts(4, vec![(6, 8)])?;
    /// assert_eq!((seen.upto(), seen.highest()), (4, 7));
    /// assert!(Seen::from_parts(4, vec![(8, 6)]).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_parts(upto: u64, ranges: Vec<(u64, u64)>) -> Result<Self, VectorError> {
        if ranges.last().map_or(upto, |(_, end)| end.saturating_sub(1)) > OSEQ_MAX {
            return Err(VectorError::NotCanonical);
        }
        let mut last = upto;
        for (first, end) in &ranges {
            // A range that begins right after `last` would belong to what precedes it.
            if *first <= last.saturating_add(1) || end <= first {
                return Err(VectorError::NotCanonical);
            }
            last = end - 1;
        }
        Ok(Self { upto, ranges })
    }

    /// Returns the number up to which every commit is held; 0 when even the first is missing.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::Seen;
    ///
    /// assert_eq!(Seen::from_parts(4, vec![(6, 8)])?.upto(), 4);
    /// assert_eq!(Seen::from_parts(0, vec![(2, 3)])?.upto(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// Returns the ranges beyond, half open.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::Seen;
    ///
    /// let seen = Seen::from_parts(4, vec![(6, 8)])?;
    /// assert_eq!(seen.ranges(), [(6, 8)]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// Tells whether nothing is held.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::Seen;
    ///
    /// assert!(Seen::default().is_empty());
    /// assert!(!Seen::from_parts(1, vec![])?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upto == 0 && self.ranges.is_empty()
    }

    /// Tells whether a commit is held.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Oseq, Seen};
    ///
    /// let seen = Seen::from_parts(4, vec![(6, 8)])?;
    /// assert!(seen.contains(Oseq(6)));
    /// assert!(!seen.contains(Oseq(5)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn contains(&self, oseq: Oseq) -> bool {
        let number = oseq.0;
        number <= self.upto || self.ranges.iter().any(|(first, end)| (*first..*end).contains(&number))
    }

    /// Returns the largest number that is held.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::Seen;
    ///
    /// assert_eq!(Seen::from_parts(4, vec![(6, 8)])?.highest(), 7);
    /// assert_eq!(Seen::default().highest(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.ranges.last().map_or(self.upto, |(_, end)| end - 1)
    }

    /// Adds `first..=last`.
    /// Returns the same without some numbers; `None` when that would be more ranges than there may be.
    pub(crate) fn without(&self, numbers: &std::collections::BTreeSet<Oseq>) -> Option<Self> {
        let mut left = Self::default();
        for (mut first, last) in self.held() {
            for number in numbers.range(Oseq(first)..=Oseq(last)) {
                if first < number.0 {
                    left.insert(first, number.0 - 1);
                }
                first = number.0.saturating_add(1);
            }
            if first <= last {
                left.insert(first, last);
            }
        }
        (left.ranges.len() <= VECTOR_HOLES_MAX).then_some(left)
    }

    fn insert(&mut self, first: u64, last: u64) {
        let end = last.saturating_add(1);
        let mut all: Vec<(u64, u64)> = std::mem::take(&mut self.ranges);
        all.push((1, self.upto.saturating_add(1)));
        all.push((first.max(1), end.max(1)));
        all.retain(|(first, end)| first < end);
        all.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(all.len());
        for (first, end) in all {
            match merged.last_mut() {
                Some(last) if first <= last.1 => last.1 = last.1.max(end),
                Some(_) | None => merged.push((first, end)),
            }
        }
        self.upto = 0;
        if let Some((1, end)) = merged.first().copied() {
            self.upto = end - 1;
            merged.remove(0);
        }
        self.ranges = merged;
    }

    /// Calls `each` with the parts of `first..=last` that are not held.
    fn gaps(&self, first: u64, last: u64, each: &mut impl FnMut(u64, u64)) {
        let mut from = first.max(self.upto.saturating_add(1));
        for (held, end) in &self.ranges {
            if from > last {
                return;
            }
            if from < *held {
                each(from, last.min(held - 1));
            }
            from = from.max(*end);
        }
        if from <= last {
            each(from, last);
        }
    }

    /// The held numbers as ranges `first..=last`.
    fn held(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let contiguous = (self.upto > 0).then_some((1, self.upto));
        contiguous.into_iter().chain(self.ranges.iter().map(|(first, end)| (*first, end - 1)))
    }
}

/// Which commits of each origin are held, in one collection.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
///
/// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
/// let (mut ours, mut theirs) = (Vector::new(), Vector::new());
/// ours.insert_range(phone, Oseq(1), Oseq(5))?;
/// theirs.insert_range(phone, Oseq(1), Oseq(3))?;
/// assert!(ours.covers(&theirs) && !theirs.covers(&ours));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vector {
    origins: BTreeMap<Origin, Seen>,
}

impl Vector {
    /// Makes the vector of a store that holds nothing.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::Vector;
    ///
    /// assert!(Vector::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a vector from its parts.
    ///
    /// # Errors
    ///
    /// [`VectorError`] when an origin has nothing, or there are too many.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Seen, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let held = Vector::from_origins([(phone, Seen::from_parts(5, vec![])?)].into())?;
    /// assert!(held.contains(&phone, Oseq(5)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_origins(origins: BTreeMap<Origin, Seen>) -> Result<Self, VectorError> {
        if origins.len() > VECTOR_ORIGINS_MAX {
            return Err(VectorError::Origins { max: VECTOR_ORIGINS_MAX });
        }
        if origins.values().any(Seen::is_empty) {
            return Err(VectorError::NotCanonical);
        }
        Ok(Self { origins })
    }

    /// Notes that a commit is held.
    ///
    /// # Errors
    ///
    /// [`VectorError`] when the vector would outgrow its limits; it is unchanged then.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let mut held = Vector::new();
    /// held.insert(phone, Oseq(2))?;
    /// assert!(held.contains(&phone, Oseq(2)) && !held.contains(&phone, Oseq(1)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn insert(&mut self, origin: Origin, oseq: Oseq) -> Result<(), VectorError> {
        self.insert_range(origin, oseq, oseq)
    }

    /// Notes that the commits `first..=last` of an origin are held.
    ///
    /// # Errors
    ///
    /// [`VectorError`] when the vector would outgrow its limits; it is unchanged then.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let mut held = Vector::new();
    /// held.insert_range(phone, Oseq(1), Oseq(5))?;
    /// assert!(held.contains(&phone, Oseq(3)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn insert_range(&mut self, origin: Origin, first: Oseq, last: Oseq) -> Result<(), VectorError> {
        if first.0 == 0 || last < first || last.0 > OSEQ_MAX {
            return Err(VectorError::NotCanonical);
        }
        if !self.origins.contains_key(&origin) && self.origins.len() >= VECTOR_ORIGINS_MAX {
            return Err(VectorError::Origins { max: VECTOR_ORIGINS_MAX });
        }
        let mut seen = self.origins.get(&origin).cloned().unwrap_or_default();
        seen.insert(first.0, last.0);
        if seen.ranges.len() > VECTOR_HOLES_MAX {
            return Err(VectorError::Holes { max: VECTOR_HOLES_MAX });
        }
        self.origins.insert(origin, seen);
        Ok(())
    }

    /// Notes that everything is held that `other` holds.
    ///
    /// # Errors
    ///
    /// [`VectorError`] when the vector would outgrow its limits.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let (mut ours, mut theirs) = (Vector::new(), Vector::new());
    /// theirs.insert(phone, Oseq(1))?;
    /// ours.merge(&theirs)?;
    /// assert!(ours.covers(&theirs));
    /// # Ok(())
    /// # }
    /// ```
    pub fn merge(&mut self, other: &Self) -> Result<(), VectorError> {
        for (origin, seen) in &other.origins {
            for (first, last) in seen.held() {
                self.insert_range(*origin, Oseq(first), Oseq(last))?;
            }
        }
        Ok(())
    }

    /// Tells whether a commit is held.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let mut held = Vector::new();
    /// held.insert(phone, Oseq(1))?;
    /// assert!(held.contains(&phone, Oseq(1)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn contains(&self, origin: &Origin, oseq: Oseq) -> bool {
        self.origins.get(origin).is_some_and(|seen| seen.contains(oseq))
    }

    /// Tells whether everything is held that `other` holds.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let mut held = Vector::new();
    /// held.insert(phone, Oseq(1))?;
    /// assert!(held.covers(&Vector::new()));
    /// assert!(!Vector::new().covers(&held));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.lacks_of(other).is_empty()
    }

    /// Returns what `other` holds and `self` lacks, by ascending origin and number.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let (mut ours, mut theirs) = (Vector::new(), Vector::new());
    /// ours.insert_range(phone, Oseq(1), Oseq(3))?;
    /// theirs.insert_range(phone, Oseq(1), Oseq(5))?;
    /// let missing = ours.lacks_of(&theirs);
    /// assert_eq!(missing.first().map(|range| (range.first, range.last)), Some((Oseq(4), Oseq(5))));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn lacks_of(&self, other: &Self) -> Vec<Missing> {
        let mut missing = Vec::new();
        let nothing = Seen::default();
        for (origin, theirs) in &other.origins {
            let ours = self.origins.get(origin).unwrap_or(&nothing);
            for (first, last) in theirs.held() {
                ours.gaps(first, last, &mut |first, last| {
                    missing.push(Missing { origin: *origin, first: Oseq(first), last: Oseq(last) });
                });
            }
        }
        missing
    }

    /// Returns what is held of one origin.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Seen, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let mut held = Vector::new();
    /// held.insert_range(phone, Oseq(1), Oseq(5))?;
    /// assert_eq!(held.seen(&phone).map(Seen::upto), Some(5));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn seen(&self, origin: &Origin) -> Option<&Seen> {
        self.origins.get(origin)
    }

    /// Returns how many incarnations of a device are in it.
    pub(crate) fn lives_of(&self, peer: &PeerId) -> usize {
        let first = Origin { peer: *peer, incarnation: Incarnation(0) };
        let last = Origin { peer: *peer, incarnation: Incarnation(u64::MAX) };
        self.origins.range(first..=last).count()
    }

    /// Returns the devices that have commits here, in ascending order. Costs as much as there are, however many lives
    /// they have.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        let behind = |peer: &PeerId| {
            let last = Origin { peer: *peer, incarnation: Incarnation(u64::MAX) };
            let rest = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            self.origins.range(rest).next().map(|(origin, _)| origin.peer)
        };
        std::iter::successors(self.origins.keys().next().map(|origin| origin.peer), behind)
    }

    /// Returns how many origins have commits here.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let mut held = Vector::new();
    /// held.insert_range(phone, Oseq(1), Oseq(5))?;
    /// assert_eq!(held.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Tells whether nothing is held.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let mut held = Vector::new();
    /// assert!(held.is_empty());
    /// held.insert(Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) }, Oseq(1))?;
    /// assert!(!held.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Returns the origins and what is held of each, in ascending order.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
    ///
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let mut held = Vector::new();
    /// held.insert_range(phone, Oseq(1), Oseq(5))?;
    /// for (origin, seen) in held.iter() {
    ///     println!("{} up to {}", origin.peer.short(), seen.upto());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&Origin, &Seen)> + '_ {
        self.origins.iter()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_that_are_taken_out_leave_holes() {
        let seen = Seen::from_parts(5, vec![(8, 11)]).expect("canonical");
        let without = |numbers: &[u64]| seen.without(&numbers.iter().copied().map(Oseq).collect());
        let parts = |upto, ranges| Seen::from_parts(upto, ranges).ok();

        assert_eq!(without(&[]), Some(seen.clone()));
        assert_eq!(without(&[3, 9]), parts(2, vec![(4, 6), (8, 9), (10, 11)]));
        assert_eq!(without(&[1, 2, 5, 7, 8, 10]), parts(0, vec![(3, 5), (9, 10)]));
        let many = Seen::from_parts(3 * VECTOR_HOLES_MAX as u64, Vec::new()).expect("canonical");
        let every_other = (1..=VECTOR_HOLES_MAX as u64 + 1).map(|number| Oseq(2 * number)).collect();
        assert_eq!(many.without(&every_other), None);
    }

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::id::{Incarnation, PeerId};

    fn origin(number: u8) -> Origin {
        Origin { peer: PeerId::new([number; 32]), incarnation: Incarnation(u64::from(number)) }
    }

    fn vector(held: &BTreeSet<(u8, u64)>) -> Vector {
        let mut vector = Vector::new();
        for (number, oseq) in held {
            vector.insert(origin(*number), Oseq(*oseq)).expect("few origins");
        }
        vector
    }

    fn held() -> impl Strategy<Value = BTreeSet<(u8, u64)>> {
        prop::collection::btree_set((0_u8..3, 1_u64..30), 0..40)
    }

    proptest! {
        #[test]
        fn a_vector_is_a_set(left in held(), right in held()) {
            let (a, b) = (vector(&left), vector(&right));

            let lacking: BTreeSet<(u8, u64)> = a
                .lacks_of(&b)
                .into_iter()
                .flat_map(|m| (m.first.0..=m.last.0).map(move |n| (m.origin.incarnation.0 as u8, n)))
                .collect();
            let mut merged = a.clone();
            merged.merge(&b).expect("few origins");

            prop_assert_eq!(&lacking, &right.difference(&left).copied().collect());
            prop_assert_eq!(merged, vector(&left.union(&right).copied().collect()));
            prop_assert_eq!(a.covers(&b), right.is_subset(&left));
            for (number, oseq) in &right {
                prop_assert_eq!(a.contains(&origin(*number), Oseq(*oseq)), left.contains(&(*number, *oseq)));
            }
        }
    }

    #[test]
    fn holes_are_bounded() {
        let mut vector = Vector::new();
        for hole in 0..VECTOR_HOLES_MAX as u64 {
            vector.insert(origin(1), Oseq(3 + 2 * hole)).expect("within the limit");
        }

        let over = vector.insert(origin(1), Oseq(3 + 2 * VECTOR_HOLES_MAX as u64));

        assert_eq!(over, Err(VectorError::Holes { max: VECTOR_HOLES_MAX }));
    }

    /// A vector that named the largest number of 64 bits did not cover itself: one more than that number was the
    /// number itself, so it lacked for ever what it held.
    #[test]
    fn no_vector_names_a_number_beyond_the_bound() {
        let origin = Origin { peer: PeerId::new([1; 32]), incarnation: Incarnation(1) };
        for (upto, ranges) in
            [(u64::MAX, vec![]), (0, vec![(2, u64::MAX)]), (0, vec![(OSEQ_MAX, OSEQ_MAX + 2)])]
        {
            assert_eq!(Seen::from_parts(upto, ranges), Err(VectorError::NotCanonical));
        }
        let mut vector = Vector::new();
        assert_eq!(vector.insert(origin, Oseq(OSEQ_MAX + 1)), Err(VectorError::NotCanonical));

        vector.insert(origin, Oseq(OSEQ_MAX)).expect("the last one");
        vector.insert_range(origin, Oseq(1), Oseq(OSEQ_MAX)).expect("all");
        assert!(vector.covers(&vector));
    }

    #[test]
    fn origins_are_bounded() {
        let mut vector = Vector::new();
        for number in 0..VECTOR_ORIGINS_MAX as u64 {
            let origin = Origin { peer: PeerId::new([0; 32]), incarnation: Incarnation(number) };
            vector.insert(origin, Oseq(1)).expect("within the limit");
        }

        let over = vector.insert(origin(7), Oseq(1));

        assert_eq!(over, Err(VectorError::Origins { max: VECTOR_ORIGINS_MAX }));
    }
}
