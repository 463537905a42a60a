//! Lists and maps of which a copy shares what neither side changes afterwards.
//!
//! A log is copied before each change and a membership is a copy for readers, so a copy must not cost what
//! the whole is worth. Both kinds are cut into parts that are copied when they are written to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{CollectionName, PeerId, StatementHash};

/// Entries of one part of a list.
const CHUNK: usize = 128;
/// Parts of a map.
const SHARDS: usize = 64;

/// A list that only grows, whose copies share chunks.
#[derive(Clone, Debug)]
pub(super) struct Chunks<T>(Vec<Arc<Vec<T>>>);

/// A map in parts, whose copies share parts. Without entries it takes no memory.
#[derive(Clone, Debug)]
pub(super) struct Shards<K, V>(Vec<Arc<BTreeMap<K, V>>>);

/// What tells in which part of a map a key is.
pub(super) trait Spread {
    /// Any number: its lowest six bits count. Keys of one order of parts are in that order.
    fn spread(&self) -> usize;
}

impl<T: Clone> Chunks<T> {
    pub(super) fn push(&mut self, item: T) {
        if self.0.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.0.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        if let Some(chunk) = self.0.last_mut() {
            Arc::make_mut(chunk).push(item);
        }
    }

    pub(super) fn get(&self, number: usize) -> Option<&T> {
        self.0.get(number / CHUNK)?.get(number % CHUNK)
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        Arc::make_mut(self.0.get_mut(number / CHUNK)?).get_mut(number % CHUNK)
    }

    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Clone + Ord + Spread, V: Clone> Shards<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key.spread() % SHARDS)?.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.shard(&key).insert(key, value);
    }

    /// The value of a key, made when there is none.
    pub(super) fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.shard(&key).entry(key).or_default()
    }

    pub(super) fn remove(&mut self, key: &K) {
        if self.get(key).is_some() {
            self.shard(key).remove(key);
        }
    }

    /// Part by part; see [`Spread`].
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().flat_map(|shard| shard.iter())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    fn shard(&mut self, key: &K) -> &mut BTreeMap<K, V> {
        if self.0.is_empty() {
            self.0 = vec![Arc::default(); SHARDS];
        }
        let shard = self.0.get_mut(key.spread() % SHARDS).expect("there are as many parts as that");
        Arc::make_mut(shard)
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Spread for usize {
    fn spread(&self) -> usize {
        *self
    }
}

/// By the highest bits, so that the order of parts is that of keys.
impl Spread for PeerId {
    fn spread(&self) -> usize {
        self.as_bytes().first().map_or(0, |byte| usize::from(byte >> 2))
    }
}

impl Spread for StatementHash {
    fn spread(&self) -> usize {
        self.as_bytes().first().map_or(0, |byte| usize::from(byte >> 2))
    }
}

impl Spread for CollectionName {
    fn spread(&self) -> usize {
        self.as_str().bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_order_over_chunks_and_its_copies_their_own_entries() {
        let mut list = Chunks::default();
        (0..3 * CHUNK + 1).for_each(|number| list.push(number));
        let copy = list.clone();

        *list.get_mut(CHUNK).expect("there") = 9;
        list.push(10);

        assert_eq!((copy.len(), list.len()), (3 * CHUNK + 1, 3 * CHUNK + 2));
        assert_eq!((copy.get(CHUNK), list.get(CHUNK)), (Some(&CHUNK), Some(&9)));
        assert!(copy.iter().copied().eq(0..3 * CHUNK + 1));
        assert_eq!((copy.get(3 * CHUNK + 1), list.get_mut(3 * CHUNK + 2)), (None, None));
        assert_eq!(Chunks::<u8>::default().len(), 0);
    }

    #[test]
    fn a_map_of_keys_is_read_in_their_order_and_its_copies_keep_their_own_entries() {
        let key = |number: u8| PeerId::new([number.wrapping_mul(7); 32]);
        let mut map = Shards::default();
        (0..=255).for_each(|number| map.insert(key(number), number));
        let copy = map.clone();

        map.remove(&key(3));
        map.remove(&PeerId::new([1; 32]));
        *map.entry(key(4)) = 0;

        assert!(copy.keys().is_sorted());
        assert_eq!((copy.iter().count(), map.iter().count()), (256, 254));
        assert_eq!((copy.get(&key(3)), copy.get(&key(4))), (Some(&3), Some(&4)));
        assert_eq!((map.get(&key(3)), map.get(&key(4))), (None, Some(&0)));
    }
}
