//! How much of a collection a device wants from its peers.

use std::collections::BTreeMap;

use super::CollectionName;

/// How much of a collection a device wants from its peers.
///
/// # Example
///
/// ```
/// use driftless::Interest;
///
/// assert_eq!(Interest::default(), Interest::Live);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Interest {
    /// Everything, as it happens.
    #[default]
    Live,
    /// Which entities there are, when each changed last, and whether the document here is the newest; the documents
    /// themselves come one by one, with [`fetch`](crate::Collection::fetch). Otherwise as `Off`.
    Index,
    /// Nothing. What is here stays, and what this device writes still goes to the peers that want it.
    Off,
}

/// The interests of one device in the collections of a space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interests {
    /// That in every collection which is not named.
    pub(crate) others: Interest,
    /// Bounded by `INTERESTS_PER_SPACE_MAX`.
    pub(crate) named: BTreeMap<CollectionName, Interest>,
}

impl Interests {
    pub(crate) fn of(&self, collection: &CollectionName) -> Interest {
        self.named.get(collection).copied().unwrap_or(self.others)
    }

    pub(crate) fn is_live(&self, collection: &CollectionName) -> bool {
        self.of(collection) == Interest::Live
    }

    /// Whether the index of any collection is wanted, known or not.
    pub(crate) fn wants_index(&self) -> bool {
        self.others == Interest::Index || self.named.values().any(|interest| *interest == Interest::Index)
    }

    /// Whether every collection is wanted, known or not.
    pub(crate) fn is_all_live(&self) -> bool {
        self.others == Interest::Live && self.named.values().all(|interest| *interest == Interest::Live)
    }

    /// The same for who may hear of some names only: without the rest, and without what goes without saying.
    pub(crate) fn told(&self, may_hear: impl Fn(&CollectionName) -> bool) -> Self {
        let says = |collection: &CollectionName, interest| interest != self.others && may_hear(collection);
        let named = self.named.iter().filter(|(collection, interest)| says(collection, **interest));
        let named = named.map(|(collection, interest)| (collection.clone(), *interest)).collect();
        Self { others: self.others, named }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> CollectionName {
        CollectionName::new(name).expect("a name")
    }

    #[test]
    fn what_is_told_names_only_what_may_be_heard_and_differs() {
        let named = [("a", Interest::Off), ("b", Interest::Live), ("c", Interest::Off)];
        let named = named.map(|(collection, interest)| (name(collection), interest)).into();
        let interests = Interests { others: Interest::Live, named };

        let told = interests.told(|collection| *collection != name("c"));

        assert_eq!(told, Interests { others: Interest::Live, named: [(name("a"), Interest::Off)].into() });
        assert!(!told.is_all_live() && told.is_live(&name("c")) && !told.is_live(&name("a")));
    }
}
