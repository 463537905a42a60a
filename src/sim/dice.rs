//! The only source of chance in a simulation.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::ops::RangeInclusive;

/// Chance that a seed decides: the same seed and purpose give the same throws.
///
/// # Example
///
/// ```
/// use driftless::sim::Dice;
///
/// let (mut one, mut same) = (Dice::new(7, "weather"), Dice::new(7, "weather"));
/// assert_eq!(one.below(100), same.below(100));
/// ```
#[derive(Clone, Debug)]
pub struct Dice {
    rng: ChaCha8Rng,
}

impl Dice {
    /// Makes the dice of `seed` for one `purpose`; those of other purposes throw independently.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::sim::Dice;
    ///
    /// let (mut weather, mut traffic) = (Dice::new(7, "weather"), Dice::new(7, "traffic"));
    /// assert_ne!(weather.seed(), traffic.seed());
    /// ```
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"driftless/sim/v1\0");
        hasher.update(&seed.to_le_bytes());
        hasher.update(purpose.as_bytes());
        Self { rng: ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()) }
    }

    /// Returns a number below `end`; 0 when `end` is 0.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::Dice;
    /// let mut dice = Dice::new(7, "weather");
    /// assert!(dice.below(6) < 6);
    /// assert_eq!(dice.below(0), 0);
    /// ```
    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// Returns a number of a range; its first one when it is empty.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::sim::Dice;
    ///
    /// let mut dice = Dice::new(7, "weather");
    /// assert!((1..=6).contains(&dice.between(1..=6)));
    /// ```
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (first, last) = range.into_inner();
        first.saturating_add(self.below(last.saturating_sub(first).saturating_add(1)))
    }

    /// Returns true in `percent` of a hundred cases.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::sim::Dice;
    ///
    /// let mut dice = Dice::new(7, "weather");
    /// assert!(dice.chance(100) && !dice.chance(0));
    /// ```
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Picks one; `None` when there is nothing to pick from.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::Dice;
    /// let mut dice = Dice::new(7, "weather");
    /// assert!(dice.pick(&["sun", "rain"]).is_some());
    /// assert_eq!(dice.pick::<u8>(&[]), None);
    /// ```
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.below(from.len() as u64);
        from.get(usize::try_from(index).unwrap_or(0))
    }

    /// Returns bytes.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::sim::Dice;
    ///
    /// let key: [u8; 16] = Dice::new(7, "keys").bytes();
    /// assert_eq!(key, Dice::new(7, "keys").bytes());
    /// ```
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Returns a seed for something that takes one.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::Dice;
    /// let mut dice = Dice::new(7, "weather");
    /// let mut inner = Dice::new(dice.seed(), "wind");
    /// assert!(inner.below(12) < 12);
    /// ```
    pub fn seed(&mut self) -> u64 {
        self.rng.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_purpose_decide_every_throw() {
        let throws = |seed, purpose| {
            let mut dice = Dice::new(seed, purpose);
            (dice.below(1_000_000), dice.between(5..=6), dice.bytes::<4>(), dice.chance(50))
        };

        assert_eq!(throws(1, "network"), throws(1, "network"));
        assert_ne!(throws(1, "network"), throws(2, "network"));
        assert_ne!(throws(1, "network"), throws(1, "disk"));
    }

    #[test]
    fn ranges_are_kept_and_nothing_is_picked_from_nothing() {
        let mut dice = Dice::new(7, "ranges");

        assert_eq!(dice.below(0), 0);
        assert!((0..100).all(|_| (3..=4).contains(&dice.between(3..=4))));
        assert_eq!(dice.pick::<u8>(&[]), None);
        assert_eq!(dice.pick(&[9]), Some(&9));
        assert!(!dice.chance(0) && dice.chance(100));
    }
}
