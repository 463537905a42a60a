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

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::access::{Membership, Role};
use crate::id::{CollectionName, MemberId, PeerId, Vector};
use crate::limits::{
    COLLECTIONS_KEPT, COLLECTIONS_OF_ADMINS, COLLECTIONS_OF_STRANGERS_MAX, COLLECTIONS_PER_MEMBER_MAX,
    COLLECTIONS_PER_SPACE_MAX, COLLECTIONS_SHARED_MAX,
};

/// Into how many parts a name is divided among those who write there.
const PARTS: usize = 5_040;

/// Names that begin together, with who writes there.
pub(super) type Begun = BTreeMap<CollectionName, BTreeSet<PeerId>>;

/// How many parts of the known names are each member's. Counted when it is asked for: it costs a look at who writes where.
pub(super) type Shares = Rc<OnceCell<BTreeMap<MemberId, usize>>>;

/// The names of a space, on this device or on a peer, and who writes there.
#[derive(Debug)]
pub(super) struct Names<'a, S> {
    membership: &'a Membership,
    known: &'a BTreeMap<CollectionName, S>,
    vector: fn(&S) -> &Vector,
    shares: Shares,
    /// Those that begin now.
    new: Cow<'a, Begun>,
}

/// Why a device may not begin a collection: there would be so many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoName {
    pub(super) what: &'static str,
    pub(super) count: usize,
    pub(super) max: usize,
}

impl<'a, S> Names<'a, S> {
    /// `vector` says who writes to a known collection.
    pub(super) fn new(
        membership: &'a Membership,
        known: &'a BTreeMap<CollectionName, S>,
        vector: fn(&S) -> &Vector,
    ) -> Self {
        Self { membership, known, vector, shares: Shares::default(), new: Cow::default() }
    }

    /// The same with others that begin, and with the shares of those known, where they are counted already.
    pub(super) fn beside(self, new: &'a Begun, shares: &Shares) -> Self {
        Self { new: Cow::Borrowed(new), shares: Rc::clone(shares), ..self }
    }

    /// Takes the name of a collection to which a device writes, unless it would begin one too many. `counts` tells whether
    /// a commit of a removed device counts.
    pub(super) fn takes(
        &mut self,
        collection: &CollectionName,
        device: PeerId,
        counts: impl FnOnce() -> bool,
    ) -> Result<(), NoName> {
        self.lets_in(collection, device, counts)?;
        if !self.known.contains_key(collection) {
            self.new.to_mut().entry(collection.clone()).or_default().insert(device);
        }
        Ok(())
    }

    /// As [`Names::takes`], and takes nothing.
    pub(super) fn lets_in(
        &self,
        collection: &CollectionName,
        device: PeerId,
        counts: impl FnOnce() -> bool,
    ) -> Result<(), NoName> {
        if self.known.contains_key(collection) || self.new.contains_key(collection) {
            return Ok(());
        }
        self.may_begin(collection, device, counts)
    }

    fn may_begin(
        &self,
        collection: &CollectionName,
        device: PeerId,
        counts: impl FnOnce() -> bool,
    ) -> Result<(), NoName> {
        let taken = self.known.len() + self.new.len();
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
        let known = self.shares.get_or_init(|| {
            let mut shares: BTreeMap<MemberId, usize> = BTreeMap::new();
            for (name, state) in self.known {
                let owners = self.owners(name, (self.vector)(state).peers());
                for owner in &owners {
                    *shares.entry(*owner).or_default() += PARTS / owners.len();
                }
            }
            shares
        });
        let new = self.new.iter().map(|(name, devices)| {
            let owners = self.owners(name, devices.iter().copied());
            if owners.contains(member) { PARTS / owners.len() } else { 0 }
        });
        known.get(member).copied().unwrap_or(0) + new.sum::<usize>()
    }

    /// Among whom a name is divided: nobody where an admin writes, or where there is a rule.
    fn owners(
        &self,
        collection: &CollectionName,
        devices: impl Iterator<Item = PeerId>,
    ) -> BTreeSet<MemberId> {
        let mut owners = BTreeSet::new();
        if self.membership.has_rule(collection) {
            return owners;
        }
        for device in devices {
            if self.is_admin(&device) {
                return BTreeSet::new();
            }
            owners.extend(self.membership.author_of(&device).map(|owner| owner.id));
        }
        owners
    }

    fn is_admin(&self, device: &PeerId) -> bool {
        self.membership.role(device) >= Some(Role::Admin)
    }
}
