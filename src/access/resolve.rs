//! Which statements count: strict seniority with strong removal.
//!
//! A pure function of the set of statements. It never asks in which order they came, nor what time it is.
//!
//! **Rank.** A member's rank is the place, by lamport number and then hash, of the statement that added it:
//! the founder is first, and whoever adds a member is senior to it. The recovery key is above all.
//!
//! **Turns.** The recovery key's statements are judged first, then those of each member in order of rank.
//! What may undo a member's statement is a removal, demotion or revocation by somebody senior, judged in an
//! earlier turn; so judging never goes in circles.
//!
//! **Counting.** A statement counts when some counting statement in its past enrolled its signer, the
//! signer's role in that past is enough, and nothing voids it.
//!
//! **Strong removal.** A counting removal voids whatever its target signed that is not in the removal's past,
//! whatever that claims to follow. So does a demotion, by somebody senior, for what needs the role that was
//! taken: otherwise a demoted admin could still invite by claiming not to have heard of it. A revocation
//! voids the redemptions that it did not know.
//!
//! **Within one member** there is no seniority. Removals by a member's own devices do not void each other
//! unless one knew of the other, so two devices that remove each other both go: when a person's own devices
//! disagree, one of them may be stolen, and the person can be invited again.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CollectionName, PeerId, StatementHash};

use super::graph::{Bits, Graph};
use super::{Body, Enrolment, Grant, Role};

/// What the statements of a graph add up to. Numbers are those of the graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolution {
    /// Of each statement: whether it counts.
    pub(super) counts: Vec<bool>,
    /// Members whose adding statement counts, in order of rank.
    pub(super) members: Vec<usize>,
    /// Enrolments that count, of each device.
    pub(super) enrolled: BTreeMap<PeerId, Vec<usize>>,
    /// Every enrolment, counting or not, of each member.
    pub(super) devices: BTreeMap<usize, Vec<usize>>,
    /// Counting removals of a member.
    pub(super) members_removed: BTreeMap<usize, Vec<usize>>,
    /// Counting removals of an enrolment.
    pub(super) devices_removed: BTreeMap<usize, Vec<usize>>,
    /// Counting role changes of a member.
    pub(super) roles: BTreeMap<usize, Vec<RoleChange>>,
    /// Counting rules of a collection.
    pub(super) rules: BTreeMap<CollectionName, Vec<RuleChange>>,
    /// Counting names of the space.
    pub(super) names: Vec<usize>,
    /// Counting revocations of an invite.
    pub(super) revoked: BTreeMap<usize, Vec<Revocation>>,
}

/// A counting change of a member's role.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoleChange {
    pub(super) number: usize,
    pub(super) role: Role,
    /// A member lowered its own role; that binds what follows it only.
    by_itself: bool,
}

/// A counting rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleChange {
    pub(super) number: usize,
    pub(super) read: Role,
    pub(super) write: Role,
    /// The role of its author at that time: a rule is replaced only by somebody whom it does not exceed.
    pub(super) author: Role,
}

/// A counting revocation of an invite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Revocation {
    pub(super) number: usize,
    /// By the inviter's own member; between a member's own devices that binds what follows it only.
    by_inviter: bool,
}

/// Who speaks in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    Recovery,
    Member(usize),
}

struct Resolver<'a> {
    graph: &'a Graph,
    /// Statements of each signer, in order of rank.
    by_signer: BTreeMap<PeerId, Vec<usize>>,
    /// Enrolments of each device, counting or not.
    by_device: BTreeMap<PeerId, Vec<usize>>,
    out: Resolution,
}

/// Judges every statement of a graph.
pub(super) fn resolve(graph: &Graph) -> Resolution {
    let mut resolver = Resolver::new(graph);
    let Some(genesis) = resolver.genesis() else { return resolver.out };
    resolver.accept(genesis, Speaker::Recovery, Role::Owner);
    if let Body::Genesis(body) = graph.statement(genesis).body()
        && let Some(recovery) = body.recovery
    {
        resolver.recovery_turn(&recovery);
    }
    let mut members: Vec<usize> = resolver.out.devices.keys().copied().collect();
    members.sort_by_key(|member| graph.rank(*member));
    for member in members {
        if resolver.counts(member) {
            resolver.out.members.push(member);
            resolver.member_turn(member);
        }
    }
    resolver.out
}

impl Resolution {
    /// The number of the member whose device a statement enrols.
    pub(super) fn member_of(graph: &Graph, enrolment: usize) -> Option<usize> {
        let body = graph.statement(enrolment).body();
        if let Body::AddDevice { member, .. } = body {
            return graph.member(member);
        }
        matches!(body, Body::Genesis(_) | Body::AddMember(_)).then_some(enrolment)
    }

    /// The role of a member as of the statements for which `holds`: the lowest of the latest role changes.
    pub(super) fn role(&self, graph: &Graph, member: usize, holds: &dyn Fn(usize) -> bool) -> Option<Role> {
        let changes = self.roles.get(&member).into_iter().flatten().filter(|change| holds(change.number));
        let mut replaced = Bits::default();
        let mut lowest: Option<Role> = None;
        for change in changes.rev() {
            if !replaced.contains(change.number) {
                replaced.extend(&graph.entry(change.number).past);
                lowest = Some(lowest.map_or(change.role, |lowest| lowest.min(change.role)));
            }
        }
        lowest.or_else(|| first_role(graph, member))
    }

    /// The rule of a collection as of the statements for which `holds`: the strictest of the latest ones,
    /// where a rule is replaced only by somebody whom it does not exceed.
    pub(super) fn rule(
        &self,
        graph: &Graph,
        collection: &CollectionName,
        holds: &dyn Fn(usize) -> bool,
    ) -> Option<(Role, Role)> {
        let rules = self.rules.get(collection).into_iter().flatten().filter(|rule| holds(rule.number));
        let mut replaced: BTreeMap<Role, Bits> = BTreeMap::new();
        let mut strictest: Option<(Role, Role)> = None;
        for rule in rules.rev() {
            let is_replaced = |by: Role| replaced.range(by..).any(|(_, past)| past.contains(rule.number));
            if !is_replaced(rule.read.max(rule.write)) {
                let (read, write) = strictest.unwrap_or((rule.read, rule.write));
                strictest = Some((read.max(rule.read), write.max(rule.write)));
            }
            if !is_replaced(rule.author) {
                replaced.entry(rule.author).or_default().extend(&graph.entry(rule.number).past);
            }
        }
        strictest
    }

    /// Tells whether an enrolment that counts is undone by a removal for which `holds`.
    pub(super) fn is_removed(&self, member: usize, enrolment: usize, holds: &dyn Fn(usize) -> bool) -> bool {
        self.removals(member, enrolment).any(holds)
    }

    pub(super) fn removals(&self, member: usize, enrolment: usize) -> impl Iterator<Item = usize> {
        let of_member = self.members_removed.get(&member).into_iter().flatten();
        of_member.chain(self.devices_removed.get(&enrolment).into_iter().flatten()).copied()
    }
}

/// The role that a member was added with.
fn first_role(graph: &Graph, member: usize) -> Option<Role> {
    match graph.statement(member).body() {
        Body::Genesis(_) => Some(Role::Owner),
        Body::AddMember(enrolment) => granted_role(graph, graph.number(&enrolment.invite)?),
        Body::SetName { .. }
        | Body::Invite { .. }
        | Body::RevokeInvite { .. }
        | Body::AddDevice { .. }
        | Body::RemoveMember { .. }
        | Body::RemoveDevice { .. }
        | Body::SetRole { .. }
        | Body::SetRule { .. }
        | Body::Verdict { .. }
        | Body::Other { .. } => None,
    }
}

impl<'a> Resolver<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut by_signer: BTreeMap<PeerId, Vec<usize>> = BTreeMap::new();
        let mut by_device: BTreeMap<PeerId, Vec<usize>> = BTreeMap::new();
        let mut out = Resolution { counts: vec![false; graph.len()], ..Resolution::default() };
        for number in 0..graph.len() {
            by_signer.entry(graph.statement(number).signer()).or_default().push(number);
            if let Some(member) = Resolution::member_of(graph, number) {
                out.devices.entry(member).or_default().push(number);
            }
            if let Some(device) = device_of(graph, number) {
                by_device.entry(device).or_default().push(number);
            }
        }
        for numbers in by_signer.values_mut() {
            numbers.sort_by_key(|number| graph.rank(*number));
        }
        Self { graph, by_signer, by_device, out }
    }

    fn genesis(&self) -> Option<usize> {
        (0..self.graph.len()).find(|number| matches!(self.graph.statement(*number).body(), Body::Genesis(_)))
    }

    fn counts(&self, number: usize) -> bool {
        self.out.counts.get(number).copied().unwrap_or(false)
    }

    /// The recovery key needs no enrolment, and nobody can remove it.
    fn recovery_turn(&mut self, recovery: &PeerId) {
        for number in self.by_signer.get(recovery).cloned().unwrap_or_default() {
            if !self.counts(number) && self.allows(number, Speaker::Recovery, Role::Owner) {
                self.accept(number, Speaker::Recovery, Role::Owner);
            }
        }
    }

    fn member_turn(&mut self, member: usize) {
        let statements = self.statements_of(member);
        for removal in self.own_removals(member, &statements) {
            self.accept(removal, Speaker::Member(member), Role::Reader);
        }
        // A redemption may be voided by a revocation that ranks behind it, so redemptions come last. Nothing
        // else that the member says depends on whom it added.
        let (adding, other): (Vec<usize>, Vec<usize>) =
            statements.into_iter().partition(|number| self.is_adding(*number));
        for number in other.into_iter().chain(adding) {
            if self.counts(number) || !self.is_authorised(number, member) {
                continue;
            }
            let role = self.role_before(number, member);
            if let Some(role) = role
                && self.allows(number, Speaker::Member(member), role)
                && !self.is_demoted(number, member)
            {
                self.accept(number, Speaker::Member(member), role);
            }
        }
    }

    fn is_adding(&self, number: usize) -> bool {
        matches!(self.graph.statement(number).body(), Body::AddMember(_))
    }

    /// What any key ever enrolled for a member signed, in order of rank.
    fn statements_of(&self, member: usize) -> Vec<usize> {
        let keys: BTreeSet<PeerId> = self.enrolments_of(member).map(|(_, device)| device).collect();
        let mut all: Vec<usize> =
            keys.iter().filter_map(|key| self.by_signer.get(key)).flatten().copied().collect();
        all.sort_by_key(|number| self.graph.rank(*number));
        all
    }

    fn enrolments_of(&self, member: usize) -> impl Iterator<Item = (usize, PeerId)> {
        let numbers = self.out.devices.get(&member).into_iter().flatten().copied();
        numbers.filter_map(|number| device_of(self.graph, number).map(|device| (number, device)))
    }

    /// The removals of a member, or of its devices, by its own devices. Who signed one must have been
    /// enrolled by the member and not have been removed by somebody senior, nor by a removal that the
    /// signer knew.
    fn own_removals(&self, member: usize, statements: &[usize]) -> Vec<usize> {
        let graph = self.graph;
        let enrolments: Vec<(usize, PeerId)> = self.enrolments_of(member).collect();
        let mut alive: BTreeSet<usize> =
            enrolments.iter().map(|(number, _)| *number).filter(|number| self.counts(*number)).collect();
        let mut removals: Vec<(usize, Option<usize>)> = Vec::new();
        for number in statements.iter().copied() {
            let target = self.own_target(number, member);
            let adds = matches!(graph.statement(number).body(), Body::AddDevice { .. })
                && Resolution::member_of(graph, number) == Some(member);
            if target.is_none() && !adds {
                continue;
            }
            let signer = graph.statement(number).signer();
            let may = enrolments.iter().any(|(enrolment, device)| {
                *device == signer
                    && alive.contains(enrolment)
                    && graph.precedes(*enrolment, number)
                    && !self.out.removals(member, *enrolment).any(|removal| !graph.precedes(number, removal))
                    && !removals.iter().any(|(removal, target)| {
                        target.is_none_or(|target| target == *enrolment) && graph.precedes(*removal, number)
                    })
            });
            match target {
                Some(target) if may => removals.push((number, target)),
                None if may => {
                    alive.insert(number);
                }
                Some(_) | None => {}
            }
        }
        removals.into_iter().map(|(number, _)| number).collect()
    }

    /// What of `member` a statement removes: one enrolment, or all when the inner option is empty.
    fn own_target(&self, number: usize, member: usize) -> Option<Option<usize>> {
        let body = self.graph.statement(number).body();
        if let Body::RemoveMember { member: target, .. } = body {
            return (self.graph.member(target)? == member).then_some(None);
        }
        let Body::RemoveDevice { enrolment, .. } = body else { return None };
        let target = self.graph.number(enrolment)?;
        (Resolution::member_of(self.graph, target) == Some(member)).then_some(Some(target))
    }

    /// Tells whether a counting enrolment in its past made the signer a device of `member`, and no counting
    /// removal voids it.
    fn is_authorised(&self, number: usize, member: usize) -> bool {
        let signer = self.graph.statement(number).signer();
        self.enrolments_of(member).any(|(enrolment, device)| {
            device == signer
                && self.counts(enrolment)
                && self.graph.precedes(enrolment, number)
                && !self.out.removals(member, enrolment).any(|removal| !self.graph.precedes(number, removal))
        })
    }

    fn role_before(&self, number: usize, member: usize) -> Option<Role> {
        self.out.role(self.graph, member, &|change| self.graph.precedes(change, number))
    }

    /// Tells whether somebody senior has taken, unknown to the statement, the role that it needs.
    fn is_demoted(&self, number: usize, member: usize) -> bool {
        let needed = self.needed_role(number, member);
        self.out.roles.get(&member).into_iter().flatten().any(|change| {
            !change.by_itself
                && change.role < needed
                && !self.graph.precedes(number, change.number)
                && !self.graph.precedes(change.number, number)
        })
    }

    /// The least role that a statement of `member` needs.
    fn needed_role(&self, number: usize, member: usize) -> Role {
        match self.graph.statement(number).body() {
            Body::Invite { grant: Grant::Device(_), .. } | Body::AddDevice { .. } => Role::Reader,
            Body::Invite { grant: Grant::Role(role), .. } => Role::Admin.max(*role),
            Body::AddMember(enrolment) => {
                let invite = self.graph.number(&enrolment.invite);
                let granted = invite.and_then(|invite| granted_role(self.graph, invite));
                granted.map_or(Role::Admin, |role| Role::Admin.max(role))
            }
            Body::RevokeInvite { invite } if self.is_own_invite(invite, member) => Role::Reader,
            Body::SetRole { member: target, .. } if self.graph.member(target) == Some(member) => Role::Reader,
            Body::SetRole { role, .. } => Role::Admin.max(*role),
            Body::SetRule { read, write, .. } => Role::Admin.max(*read).max(*write),
            Body::Genesis(_)
            | Body::SetName { .. }
            | Body::RevokeInvite { .. }
            | Body::RemoveMember { .. }
            | Body::RemoveDevice { .. }
            | Body::Verdict { .. }
            | Body::Other { .. } => Role::Admin,
        }
    }

    /// The members to which the signer of `number` belonged by any enrolment in its past.
    fn authors(&self, number: usize) -> Vec<usize> {
        let signer = self.graph.statement(number).signer();
        let enrolments = self.by_device.get(&signer).into_iter().flatten().copied();
        let before = enrolments.filter(|enrolment| self.graph.precedes(*enrolment, number));
        before.filter_map(|enrolment| Resolution::member_of(self.graph, enrolment)).collect()
    }

    fn is_own_invite(&self, invite: &StatementHash, member: usize) -> bool {
        self.graph.number(invite).is_some_and(|invite| self.authors(invite).contains(&member))
    }

    fn is_senior(&self, speaker: Speaker, target: usize) -> bool {
        match speaker {
            Speaker::Recovery => true,
            Speaker::Member(member) => self.graph.rank(member) < self.graph.rank(target),
        }
    }

    /// Tells whether a speaker with `role` may say this, if nothing voids it.
    fn allows(&self, number: usize, speaker: Speaker, role: Role) -> bool {
        let graph = self.graph;
        if let Speaker::Member(member) = speaker
            && role < self.needed_role(number, member)
        {
            return false;
        }
        match graph.statement(number).body() {
            Body::Genesis(_) | Body::Other { .. } => false,
            Body::SetName { .. } | Body::SetRule { .. } | Body::Verdict { .. } => true,
            Body::Invite { grant: Grant::Role(_), .. } => true,
            Body::Invite { grant: Grant::Device(target), .. } => match speaker {
                Speaker::Recovery => true,
                Speaker::Member(member) => self.graph.member(target) == Some(member),
            },
            Body::RevokeInvite { invite } => match (speaker, graph.number(invite)) {
                (Speaker::Recovery, _) => true,
                (Speaker::Member(member), Some(invite)) => {
                    let authors = self.authors(invite);
                    !authors.is_empty()
                        && authors.iter().all(|author| *author == member || self.is_senior(speaker, *author))
                }
                (Speaker::Member(_), None) => false,
            },
            Body::AddMember(enrolment) => self.may_redeem(number, enrolment),
            Body::AddDevice { member: target, enrolment } => {
                let own = match speaker {
                    Speaker::Recovery => true,
                    Speaker::Member(member) => self.graph.member(target) == Some(member),
                };
                own && self.may_redeem(number, enrolment)
            }
            Body::RemoveMember { member, .. } => {
                let target = graph.member(member);
                target.is_some_and(|target| self.is_senior(speaker, target))
            }
            Body::RemoveDevice { enrolment, .. } => {
                let target = graph.number(enrolment).and_then(|number| Resolution::member_of(graph, number));
                target.is_some_and(|target| self.is_senior(speaker, target))
            }
            // A member's own devices only lower its role.
            Body::SetRole { member, role: to } => {
                let target = graph.member(member);
                target.is_some_and(|target| {
                    self.is_senior(speaker, target) || (speaker == Speaker::Member(target) && *to <= role)
                })
            }
        }
    }

    /// Tells whether the invite of an enrolment counts and was not revoked.
    fn may_redeem(&self, number: usize, enrolment: &Enrolment) -> bool {
        let Some(invite) = self.graph.number(&enrolment.invite) else { return false };
        let is_device = matches!(self.graph.statement(number).body(), Body::AddDevice { .. });
        self.counts(invite)
            && !self.out.revoked.get(&invite).into_iter().flatten().any(|revocation| {
                if is_device && revocation.by_inviter {
                    self.graph.precedes(revocation.number, number)
                } else {
                    !self.graph.precedes(number, revocation.number)
                }
            })
    }

    /// Notes that a statement counts, and its effect.
    fn accept(&mut self, number: usize, speaker: Speaker, author: Role) {
        if let Some(counts) = self.out.counts.get_mut(number) {
            *counts = true;
        }
        let graph = self.graph;
        match graph.statement(number).body() {
            Body::Genesis(_) | Body::AddMember(_) | Body::AddDevice { .. } => {
                if let Some(device) = device_of(graph, number) {
                    self.out.enrolled.entry(device).or_default().push(number);
                }
            }
            Body::SetName { .. } => self.out.names.push(number),
            Body::RevokeInvite { invite } => {
                if let Some(invite) = graph.number(invite) {
                    let by_inviter = match speaker {
                        Speaker::Recovery => false,
                        Speaker::Member(member) => self.authors(invite).contains(&member),
                    };
                    self.out.revoked.entry(invite).or_default().push(Revocation { number, by_inviter });
                }
            }
            Body::RemoveMember { member, .. } => {
                if let Some(target) = graph.member(member) {
                    self.out.members_removed.entry(target).or_default().push(number);
                }
            }
            Body::RemoveDevice { enrolment, .. } => {
                if let Some(target) = graph.number(enrolment) {
                    self.out.devices_removed.entry(target).or_default().push(number);
                }
            }
            Body::SetRole { member, role } => {
                if let Some(target) = graph.member(member) {
                    let by_itself = speaker == Speaker::Member(target);
                    let change = RoleChange { number, role: *role, by_itself };
                    place(self.out.roles.entry(target).or_default(), change, |change| change.number);
                }
            }
            Body::SetRule { collection, read, write } => {
                let rule = RuleChange { number, read: *read, write: *write, author };
                place(self.out.rules.entry(collection.clone()).or_default(), rule, |rule| rule.number);
            }
            Body::Invite { .. } | Body::Verdict { .. } | Body::Other { .. } => {}
        }
    }
}

/// The device that a statement enrols.
pub(super) fn device_of(graph: &Graph, number: usize) -> Option<PeerId> {
    let statement = graph.statement(number);
    if let Some(enrolment) = statement.body().enrolment() {
        return Some(enrolment.device);
    }
    matches!(statement.body(), Body::Genesis(_)).then(|| statement.signer())
}

fn granted_role(graph: &Graph, invite: usize) -> Option<Role> {
    if let Body::Invite { grant: Grant::Role(role), .. } = graph.statement(invite).body() {
        return Some(*role);
    }
    None
}

/// Keeps a list in the order of numbers, in which the past comes before what follows it.
fn place<T>(list: &mut Vec<T>, item: T, number: impl Fn(&T) -> usize) {
    let at = list.partition_point(|other| number(other) < number(&item));
    list.insert(at, item);
}
