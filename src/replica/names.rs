//! Who may begin a collection: the names of a space have an end.
//!
//! A name is a member's as far as it alone writes there: half of one is, to which two write, and so on. So friends who
//! write to each other's have no more than if each wrote to its own. Whose a name is depends on which commits came, not on
//! their order.
//!
//! | Who begins | May while the space has fewer than |
//! |---|---|
//! | an admin, or anybody where there is a rule | [`COLLECTIONS_PER_SPACE_MAX`] |
//! | a member with fewer than [`COLLECTIONS_KEPT`] names | the same without [`COLLECTIONS_OF_ADMINS`] |
//! | a member with fewer than [`COLLECTIONS_PER_MEMBER_MAX`] names | [`COLLECTIONS_SHARED_MAX`] |
//! | a removed device whose commit counts | the same without [`COLLECTIONS_OF_ADMINS`] |
//! | a device that no statement enrols | [`COLLECTIONS_OF_STRANGERS_MAX`] |

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{Membership, Role};
use crate::id::{CollectionName, MemberId, PeerId, Vector};
use crate::limits::{
    COLLECTIONS_KEPT, COLLECTIONS_OF_ADMINS, COLLECTIONS_OF_STRANGERS_MAX, COLLECTIONS_PER_MEMBER_MAX,
    COLLECTIONS_PER_SPACE_MAX, COLLECTIONS_SHARED_MAX,
};

/// Into how many parts a name is divided among those who write there.
const PARTS: usize = 5_040;

/// The names of a space, on this device or on a peer, and who writes there.
#[derive(Debug)]
pub(super) struct Names<'a> {
    membership: &'a Membership,
    vectors: BTreeMap<&'a CollectionName, &'a Vector>,
    /// Those that begin now, with who writes there.
    new: BTreeMap<CollectionName, BTreeSet<PeerId>>,
}

/// Why a device may not begin a collection: there would be so many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoName {
    pub(super) what: &'static str,
    pub(super) count: usize,
    pub(super) max: usize,
}

impl<'a> Names<'a> {
    pub(super) fn new(
        membership: &'a Membership,
        vectors: impl Iterator<Item = (&'a CollectionName, &'a Vector)>,
    ) -> Self {
        Self { membership, vectors: vectors.collect(), new: BTreeMap::new() }
    }

    /// Notes that a device writes to a collection, whether it may begin it or not.
    pub(super) fn take(&mut self, collection: &CollectionName, device: PeerId) {
        if !self.vectors.contains_key(collection) {
            self.new.entry(collection.clone()).or_default().insert(device);
        }
    }

    /// Takes the name of a collection to which a device writes, unless it would begin one too many. `counts` tells whether
    /// a commit of a removed device counts.
    pub(super) fn takes(
        &mut self,
        collection: &CollectionName,
        device: PeerId,
        counts: impl FnOnce() -> bool,
    ) -> Result<(), NoName> {
        if !self.vectors.contains_key(collection) && !self.new.contains_key(collection) {
            self.may_begin(collection, device, counts)?;
        }
        self.take(collection, device);
        Ok(())
    }

    fn may_begin(
        &self,
        collection: &CollectionName,
        device: PeerId,
        counts: impl FnOnce() -> bool,
    ) -> Result<(), NoName> {
        let taken = self.vectors.len() + self.new.len();
        let within = |max| match taken < max {
            true => Ok(()),
            false => Err(NoName { what: "collections in a space", count: taken + 1, max }),
        };
        if taken < COLLECTIONS_KEPT {
            return Ok(());
        }
        if self.is_admin(&device) || self.membership.has_rule(collection) {
            return within(COLLECTIONS_PER_SPACE_MAX);
        }
        let Some(member) = self.membership.author_of(&device) else {
            return within(COLLECTIONS_OF_STRANGERS_MAX);
        };
        within(COLLECTIONS_PER_SPACE_MAX - COLLECTIONS_OF_ADMINS)?;
        let is_removed = self.membership.role(&device).is_none();
        let is_shared = taken < COLLECTIONS_SHARED_MAX && !is_removed;
        let max = if is_shared { COLLECTIONS_PER_MEMBER_MAX } else { COLLECTIONS_KEPT };
        if taken < max || is_removed && counts() {
            return Ok(());
        }
        let count = self.parts_of(&member.id) / PARTS + 1;
        if count <= max {
            return Ok(());
        }
        Err(NoName { what: "collections of one member in a space", count, max })
    }

    /// How many parts of names are a member's.
    fn parts_of(&self, member: &MemberId) -> usize {
        let known = self.vectors.iter().map(|(name, vector)| self.part_of(member, name, vector.peers()));
        let new = self.new.iter().map(|(name, devices)| self.part_of(member, name, devices.iter().copied()));
        known.chain(new).sum()
    }

    fn part_of(
        &self,
        member: &MemberId,
        collection: &CollectionName,
        devices: impl Iterator<Item = PeerId>,
    ) -> usize {
        let mut writers = BTreeSet::new();
        for device in devices {
            if self.is_admin(&device) {
                return 0;
            }
            writers.extend(self.membership.author_of(&device).map(|writer| writer.id));
        }
        let is_of = writers.contains(member) && !self.membership.has_rule(collection);
        if is_of { PARTS / writers.len() } else { 0 }
    }

    fn is_admin(&self, device: &PeerId) -> bool {
        self.membership.role(device) >= Some(Role::Admin)
    }
}
