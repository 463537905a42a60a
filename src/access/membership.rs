//! What the statements of a space add up to: its members, their devices and roles, and who may do what.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{CollectionName, MemberId, PeerId, SpaceId, StatementHash};
use crate::limits::{COMMIT_AT_MAX, STATEMENT_PREV_MAX};

use super::follow::Followed;
use super::graph::{Bits, Graph};
use super::resolve::{self, Resolution, Speaker};
use super::share::Shards;
use super::{AccessError, Action, Body, Role};

/// The members of a space as one set of statements makes them. Immutable; shared by `Arc`.
///
/// # Example
///
/// ```
/// # use driftless::access::{Invite, InviteKind, Log, Role};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let bob = Identity::from_seed([2; 32]);
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
/// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
/// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
/// let membership = log.membership();
/// let names: Vec<&str> = membership.members().iter().map(|member| member.name.as_str()).collect();
/// assert_eq!(names, ["Ada", "Bob"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Membership {
    pub(super) space: SpaceId,
    pub(super) graph: Graph,
    pub(super) resolution: Resolution,
    name: String,
    /// In order of rank.
    members: Arc<Vec<Member>>,
    /// Devices that are not removed, with the places of their members, ascending, and the roles they have.
    live: Shards<PeerId, Vec<(usize, Role)>>,
    rules: Shards<CollectionName, (Role, Role)>,
    heads: Vec<StatementHash>,
    /// Numbers of the heads, those first that matter most.
    preferred: Vec<usize>,
    /// All that counts is at the heads.
    whole: bool,
    followed: Followed,
}

/// What of a membership has changed since it was worked out.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    /// Numbers of the statements that added the members.
    members: BTreeSet<usize>,
    rules: BTreeSet<CollectionName>,
}

/// A person, by one record. A person who was removed and comes back has another record.
///
/// # Example
///
/// ```
/// # use driftless::access::{Invite, InviteKind, Log, Role};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let bob = Identity::from_seed([2; 32]);
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
/// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
/// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
/// let membership = log.membership();
/// let member = membership.member_of(&bob.peer()).ok_or("no member")?;
/// assert_eq!((member.name.as_str(), member.role), ("Bob", Role::Writer));
/// assert_eq!(member.devices[0].name, "phone");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The statement that added it.
    pub id: MemberId,
    /// What it calls itself.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its devices, those removed among them, in the order of their enrolment.
    pub devices: Vec<Device>,
    /// It was removed, for good.
    pub removed: bool,
}

/// A device of a member.
///
/// # Example
///
/// ```
/// # use driftless::access::{Invite, InviteKind, Log, Role};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let bob = Identity::from_seed([2; 32]);
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
/// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
/// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
/// let membership = log.membership();
/// for device in membership.members().iter().flat_map(|member| &member.devices) {
///     println!("{} is {}", device.name, device.peer);
///     assert!(!device.removed);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its key.
    pub peer: PeerId,
    /// What it calls itself.
    pub name: String,
    /// It was removed, or its member was.
    pub removed: bool,
    /// The statement that enrolled it.
    pub enrolment: StatementHash,
}

impl Membership {
    /// Resolves the statements of a graph.
    pub(super) fn of(space: SpaceId, graph: Graph, resolution: Resolution, followed: &Followed) -> Self {
        let mut membership = Self {
            space,
            graph: Graph::default(),
            resolution: Resolution::default(),
            name: String::new(),
            members: Arc::default(),
            live: Shards::default(),
            rules: Shards::default(),
            heads: Vec::new(),
            preferred: Vec::new(),
            whole: false,
            followed: Followed::default(),
        };
        for (place, number) in resolution.members.iter().enumerate() {
            membership.put(place, member_at(&graph, &resolution, *number));
        }
        let rules = resolution.rules.keys().cloned().collect();
        membership.update(graph, resolution, followed, Touched { members: BTreeSet::new(), rules });
        membership
    }

    /// The membership that follows this one.
    pub(super) fn followed_by(
        &self,
        graph: Graph,
        resolution: Resolution,
        followed: &Followed,
        touched: Touched,
    ) -> Self {
        let last = self.resolution.members.last().map(|last| graph.rank(*last));
        let known = |member: &usize| self.resolution.members.contains(member);
        let between = |member: &usize| Some(graph.rank(*member)) < last && !known(member);
        if touched.members.iter().any(between) {
            // The places of others change.
            return Self::of(self.space, graph, resolution, followed);
        }
        let mut next = self.clone();
        next.update(graph, resolution, followed, touched);
        next
    }

    fn update(&mut self, graph: Graph, resolution: Resolution, followed: &Followed, touched: Touched) {
        self.preferred = best_heads(&graph, &resolution, followed.heads());
        self.heads = self.preferred.iter().map(|number| graph.statement(*number).hash()).collect();
        self.heads.sort_unstable();
        self.whole = followed.is_whole() && self.heads.len() == followed.heads().len();
        self.followed = followed.clone();
        self.name = name_of(&graph, &resolution);
        for collection in touched.rules {
            if let Some(rule) = resolution.rule(&graph, &collection, &|_| true) {
                self.rules.insert(collection, rule);
            }
        }
        let mut members: Vec<usize> = touched.members.into_iter().collect();
        members.sort_by_key(|member| graph.rank(*member));
        for number in members {
            let rank = graph.rank(number);
            let place = resolution.members.partition_point(|other| graph.rank(*other) < rank);
            if resolution.members.get(place) == Some(&number) {
                self.put(place, member_at(&graph, &resolution, number));
            }
        }
        self.graph = graph;
        self.resolution = resolution;
    }

    /// Puts a member in its place, which is one of those taken or the next.
    fn put(&mut self, place: usize, member: Member) {
        let members = Arc::make_mut(&mut self.members);
        let before = members.get(place).into_iter().flat_map(|before| &before.devices);
        for device in before {
            if let Some(places) = self.live.get(&device.peer) {
                let left: Vec<(usize, Role)> =
                    places.iter().filter(|(other, _)| *other != place).copied().collect();
                if left.is_empty() {
                    self.live.remove(&device.peer);
                } else {
                    self.live.insert(device.peer, left);
                }
            }
        }
        for device in member.devices.iter().filter(|device| !device.removed) {
            let places = self.live.entry(device.peer);
            let at = places.partition_point(|(other, _)| *other <= place);
            places.insert(at, (place, member.role));
        }
        match members.get_mut(place) {
            Some(known) => *known = member,
            None => members.push(member),
        }
    }

    /// Returns the space.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// let ada = Identity::from_seed([1; 32]);
    /// let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(log.membership().space(), log.space());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn space(&self) -> SpaceId {
        self.space
    }

    /// Returns the space's name.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// let ada = Identity::from_seed([1; 32]);
    /// let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(log.membership().name(), "Corner Repairs");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the members, the most senior first, those removed among them.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let membership = log.membership();
    /// assert_eq!(membership.members()[0].name, "Ada");
    /// assert_eq!(membership.members()[1].name, "Bob");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the member with this id, also when it was removed.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let bobs = log.membership().member_of(&bob.peer()).ok_or("no member")?.id;
    /// let membership = log.membership();
    /// assert_eq!(membership.member(&bobs).ok_or("no member")?.name, "Bob");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn member(&self, id: &MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == *id)
    }

    /// Returns the member whose device this is; `None` when it was removed. Of a device that was enrolled
    /// twice, the most senior.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let membership = log.membership();
    /// let member = membership.member_of(&bob.peer()).ok_or("no member")?;
    /// log.insert(log.remove_member(&ada, member.id)?)?;
    /// assert!(log.membership().member_of(&bob.peer()).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn member_of(&self, device: &PeerId) -> Option<&Member> {
        let (place, _) = self.live.get(device)?.first()?;
        self.members.get(*place)
    }

    /// Returns the member whose device this is or was: for showing who wrote something, not for deciding.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// # let bobs = log.membership().member_of(&bob.peer()).ok_or("no member")?.id;
    /// log.insert(log.remove_member(&ada, bobs)?)?;
    /// let membership = log.membership();
    /// assert_eq!(membership.author_of(&bob.peer()).ok_or("no member")?.name, "Bob");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn author_of(&self, device: &PeerId) -> Option<&Member> {
        let was = |member: &&Member| member.devices.iter().any(|other| other.peer == *device);
        self.member_of(device).or_else(|| self.members.iter().find(was))
    }

    /// Iterates over the devices that are not removed, in the order of their keys.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let membership = log.membership();
    /// assert_eq!(membership.devices().count(), 2);
    /// assert!(membership.devices().any(|device| *device == bob.peer()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn devices(&self) -> impl Iterator<Item = &PeerId> {
        self.live.keys()
    }

    /// Returns the role of a device that is not removed.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let membership = log.membership();
    /// assert_eq!(membership.role(&ada.peer()), Some(Role::Owner));
    /// assert_eq!(membership.role(&bob.peer()), Some(Role::Writer));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn role(&self, device: &PeerId) -> Option<Role> {
        self.live.get(device)?.iter().map(|(_, role)| *role).max()
    }

    /// Returns the least roles that read and write a collection.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Log, Role};
    /// # use driftless::{id::CollectionName, identity::Identity};
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let wages = CollectionName::new("wages")?;
    /// assert_eq!(log.membership().rule(&wages), (Role::Reader, Role::Writer));
    /// log.insert(log.set_rule(&ada, &wages, Role::Admin, Role::Owner)?)?;
    /// assert_eq!(log.membership().rule(&wages), (Role::Admin, Role::Owner));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn rule(&self, collection: &CollectionName) -> (Role, Role) {
        self.rules.get(collection).copied().unwrap_or((Role::Reader, Role::Writer))
    }

    /// Tells whether a rule was set for a collection.
    #[must_use]
    pub(crate) fn has_rule(&self, collection: &CollectionName) -> bool {
        self.rules.get(collection).is_some()
    }

    /// Tells whether a device may do something now.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Action, Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, id::CollectionName, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let wages = CollectionName::new("wages")?;
    /// log.insert(log.set_rule(&ada, &wages, Role::Admin, Role::Owner)?)?;
    /// assert!(log.membership().may(&ada.peer(), Action::Write, &wages));
    /// assert!(!log.membership().may(&bob.peer(), Action::Read, &wages));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn may(&self, device: &PeerId, action: Action, collection: &CollectionName) -> bool {
        self.role(device).is_some_and(|role| role >= needed(action, self.rules.get(collection).copied()))
    }

    /// Judges what a device did at the position that it names: the statements of `at` and all before them,
    /// without those that are void by what is known now.
    ///
    /// A removal that is not in `at` does not matter here: whether its target's work came in time is judged
    /// by the removal's cut.
    ///
    /// # Errors
    ///
    /// [`AccessError::UnknownPosition`] when a statement of `at` is not here, [`AccessError::Denied`] when
    /// the device might not, [`AccessError::TooMany`] when `at` is too long.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Action, Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, id::CollectionName, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// # let tickets = CollectionName::new("tickets")?;
    /// # let bobs = log.membership().member_of(&bob.peer()).ok_or("no member")?.id;
    /// let at = log.membership().heads().to_vec();
    /// log.insert(log.remove_member(&ada, bobs)?)?;
    /// let membership = log.membership();
    /// membership.may_at(&bob.peer(), Action::Write, &tickets, &at)?;
    /// assert!(!membership.may(&bob.peer(), Action::Write, &tickets));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn may_at(
        &self,
        device: &PeerId,
        action: Action,
        collection: &CollectionName,
        at: &[StatementHash],
    ) -> Result<(), AccessError> {
        if self.whole && at == self.heads {
            return match self.role(device) {
                Some(role) => judge(role, action, collection, self.rules.get(collection).copied()),
                None => Err(not_a_device(action)),
            };
        }
        if at.len() > COMMIT_AT_MAX {
            return Err(AccessError::TooMany { what: "membership heads", max: COMMIT_AT_MAX });
        }
        let position = self.graph.closure(at)?;
        let role = self.role_within(device, &position).ok_or_else(|| not_a_device(action))?;
        let rule = self.resolution.rule(&self.graph, collection, &|number| position.contains(number));
        judge(role, action, collection, rule)
    }

    /// Returns what a statement follows and a commit names as `at`: the statements that no other follows, ascending,
    /// at most 16.
    ///
    /// What does not count is not among them, nor what a member says beyond its share: 64 statements, 1,024 of an
    /// admin, any number of the founder. When there are more than 16, those of senior members come first, then
    /// those with the largest lamport numbers: nobody crowds out what removes it.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let renaming = log.set_name(&ada, "Harbour Repairs")?;
    /// log.insert(renaming.clone())?;
    /// assert_eq!(log.membership().heads(), [renaming.hash()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn heads(&self) -> &[StatementHash] {
        &self.heads
    }

    /// Tells whether a statement counts; `false` when it is not here.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let renaming = log.set_name(&ada, "Harbour Repairs")?;
    /// assert!(!log.membership().counts(&renaming.hash()));
    /// log.insert(renaming.clone())?;
    /// assert!(log.membership().counts(&renaming.hash()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn counts(&self, statement: &StatementHash) -> bool {
        self.graph.number(statement).is_some_and(|number| self.resolution.counts(number))
    }

    /// Returns the heads as a device names them: what made it a member with its role is among what they follow, and
    /// so is `named`.
    #[must_use]
    pub(crate) fn heads_for(&self, device: &PeerId, named: &[StatementHash]) -> Vec<StatementHash> {
        if self.whole && named.is_empty() {
            return self.heads.clone();
        }
        let position = self.graph.closure(&self.heads).unwrap_or_default();
        let mut due: BTreeSet<usize> = named.iter().filter_map(|hash| self.graph.number(hash)).collect();
        if self.role_within(device, &position) != self.role(device) {
            for enrolment in self.resolution.enrolled.get(device).into_iter().flatten() {
                let member = Resolution::member_of(&self.graph, *enrolment);
                due.extend(member.into_iter().flat_map(|member| self.resolution.role_changes(member)));
                due.insert(*enrolment);
            }
        }
        due.retain(|number| !position.contains(*number));
        if due.is_empty() {
            return self.heads.clone();
        }
        let mut chosen: Vec<usize> = Vec::new();
        for number in due.into_iter().rev().chain(self.preferred.iter().copied()) {
            let is_followed = chosen.iter().any(|other| self.graph.precedes(number, *other));
            if chosen.len() < STATEMENT_PREV_MAX && !is_followed {
                chosen.push(number);
            }
        }
        let mut heads: Vec<StatementHash> =
            chosen.into_iter().map(|number| self.graph.statement(number).hash()).collect();
        heads.sort_unstable();
        heads
    }

    pub(super) fn is_followed(&self, number: usize) -> bool {
        self.followed.contains(number)
    }

    /// All that is worked out from the resolution.
    #[cfg(test)]
    pub(super) fn facts(&self) -> String {
        let live: Vec<_> = self.live.iter().collect();
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_unstable();
        let at = (&self.heads, &self.preferred, self.whole);
        format!("{} {:?} {live:?} {rules:?} {at:?}", self.name, self.members)
    }

    /// The role of a device as of a position.
    fn role_within(&self, device: &PeerId, position: &Bits) -> Option<Role> {
        let within = |number: usize| position.contains(number);
        let enrolments = self.resolution.enrolled.get(device)?.iter().copied();
        let roles = enrolments.filter(|enrolment| within(*enrolment)).filter_map(|enrolment| {
            let member = Resolution::member_of(&self.graph, enrolment)?;
            if self.resolution.is_removed(member, enrolment, &within) {
                return None;
            }
            self.resolution.role(&self.graph, member, &within)
        });
        roles.max()
    }
}

impl Touched {
    /// Notes what a statement that counts changes.
    pub(super) fn note(&mut self, graph: &Graph, number: usize) {
        match graph.statement(number).body() {
            Body::RemoveMember { member, .. } | Body::SetRole { member, .. } => {
                self.members.extend(graph.member(member));
            }
            Body::RemoveDevice { enrolment, .. } => {
                let enrolment = graph.number(enrolment);
                self.members.extend(enrolment.and_then(|number| Resolution::member_of(graph, number)));
            }
            Body::Genesis(_) | Body::AddMember(_) | Body::AddDevice { .. } => {
                self.members.extend(Resolution::member_of(graph, number));
            }
            Body::SetRule { collection, .. } => {
                self.rules.insert(collection.clone());
            }
            Body::SetName { .. }
            | Body::Invite { .. }
            | Body::RevokeInvite { .. }
            | Body::Verdict { .. }
            | Body::Other { .. } => {}
        }
    }
}

/// The heads of what is followed: those of the recovery key first, then of the most senior, then the latest.
fn best_heads(graph: &Graph, resolution: &Resolution, heads: &BTreeSet<usize>) -> Vec<usize> {
    let mut best: Vec<usize> = heads.iter().copied().collect();
    if best.len() > STATEMENT_PREV_MAX {
        let seniority = |number: usize| match resolution.speaker(number) {
            Some(Speaker::Member(member)) => Some(graph.rank(member)),
            Some(Speaker::Recovery) | None => None,
        };
        best.sort_by_key(|number| (seniority(*number), Reverse(graph.rank(*number))));
        best.truncate(STATEMENT_PREV_MAX);
    }
    best
}

/// The least role that an action needs under a rule.
pub(super) fn needed(action: Action, rule: Option<(Role, Role)>) -> Role {
    let (read, write) = rule.unwrap_or((Role::Reader, Role::Writer));
    match action {
        Action::Read => read.max(Role::Reader),
        Action::Write => write.max(Role::Writer),
    }
}

fn judge(
    role: Role,
    action: Action,
    collection: &CollectionName,
    rule: Option<(Role, Role)>,
) -> Result<(), AccessError> {
    let needed = needed(action, rule);
    if role >= needed {
        return Ok(());
    }
    let rule = format!("{collection} needs the role {needed}, and the device has {role}");
    Err(AccessError::Denied { what: action.verb(), rule })
}

fn not_a_device(action: Action) -> AccessError {
    AccessError::Denied { what: action.verb(), rule: "the device is no member's at that position".to_owned() }
}

fn member_at(graph: &Graph, resolution: &Resolution, number: usize) -> Member {
    let all = |_: usize| true;
    let role = resolution.role(graph, number, &all).unwrap_or(Role::Reader);
    let counting = |enrolment: &usize| resolution.counts(*enrolment);
    let mut numbers: Vec<usize> =
        resolution.devices.get(&number).into_iter().flatten().copied().filter(counting).collect();
    numbers.sort_by_key(|enrolment| graph.rank(*enrolment));
    let devices = numbers.into_iter().filter_map(|enrolment| {
        Some(Device {
            peer: resolve::device_of(graph, enrolment)?,
            name: device_name(graph.statement(enrolment).body()),
            removed: resolution.is_removed(number, enrolment, &all),
            enrolment: graph.statement(enrolment).hash(),
        })
    });
    let statement = graph.statement(number);
    Member {
        id: MemberId::new(*statement.hash().as_bytes()),
        name: member_name(statement.body()),
        role,
        devices: devices.collect(),
        removed: resolution.members_removed.get(&number).is_some(),
    }
}

fn member_name(body: &Body) -> String {
    if let Body::Genesis(genesis) = body {
        return genesis.member_name.clone();
    }
    body.enrolment().map(|enrolment| enrolment.member_name.clone()).unwrap_or_default()
}

fn device_name(body: &Body) -> String {
    if let Body::Genesis(genesis) = body {
        return genesis.device_name.clone();
    }
    body.enrolment().map(|enrolment| enrolment.device_name.clone()).unwrap_or_default()
}

/// The latest name by rank; of concurrent ones, any, but the same everywhere.
fn name_of(graph: &Graph, resolution: &Resolution) -> String {
    if let Some(Body::SetName { name }) = resolution.name.map(|number| graph.statement(number).body()) {
        return name.clone();
    }
    let genesis = graph.statements().find_map(|statement| statement.body().genesis());
    genesis.map(|genesis| genesis.name.clone()).unwrap_or_default()
}
