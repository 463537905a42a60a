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
//!
//! **One more.** A statement that nothing follows yet is judged alone, as of its own moment in the turns;
//! see [`Resolution::judge`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{CollectionName, PeerId, StatementHash};

use super::graph::{Bits, Graph};
#[cfg(test)]
use super::share::Spread;
use super::share::{Chunks, Shards};
use super::{Body, Enrolment, Grant, Role};

/// What the statements of a graph add up to. Numbers are those of the graph. A copy shares what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolution {
    /// Of each statement: by whom it counts, if it does.
    accepted: Chunks<Option<Accepted>>,
    /// Members whose adding statement counts, in order of rank.
    pub(super) members: Arc<Vec<usize>>,
    /// Enrolments that count, of each device.
    pub(super) enrolled: Shards<PeerId, Vec<usize>>,
    /// Every enrolment, counting or not, of each member.
    pub(super) devices: Shards<usize, Vec<usize>>,
    /// Counting removals of a member.
    pub(super) members_removed: Shards<usize, Vec<usize>>,
    /// Counting removals of an enrolment.
    devices_removed: Shards<usize, Vec<usize>>,
    /// Counting role changes of a member, in order of numbers.
    roles: Shards<usize, Vec<RoleChange>>,
    /// Counting rules of a collection, in order of numbers.
    pub(super) rules: Shards<CollectionName, Vec<RuleChange>>,
    /// The latest of the counting names of the space, by rank.
    pub(super) name: Option<usize>,
    /// Counting revocations of an invite.
    revoked: Shards<usize, Vec<Revocation>>,
    /// Statements of each signer, in order of rank.
    by_signer: Shards<PeerId, Vec<usize>>,
    /// Enrolments of each device, counting or not, in order of numbers.
    by_device: Shards<PeerId, Vec<usize>>,
}

/// By whom a statement counts, and when in the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepted {
    speaker: Speaker,
    phase: Phase,
}

/// The parts of a turn, in their order. The recovery key's turn is all [`Phase::Main`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// What removes the member's own devices.
    Removing,
    Main,
    /// Redemptions that add members.
    Adding,
}

/// When something is judged: in whose turn, none being the recovery key's; in which part; by which rank.
type Moment = (Option<Rank>, Phase, Rank);
type Rank = (u64, StatementHash);

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

/// What became of a statement that was judged alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Counts,
    Void,
    /// It counts, and others may not any more.
    Unsettles,
}

/// Who speaks in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Recovery,
    Member(usize),
}

struct Resolver<'a> {
    graph: &'a Graph,
    /// What is judged later than this is not seen. `None` while turns are taken, which see all so far.
    now: Option<Moment>,
    out: Resolution,
}

/// Judges every statement of a graph.
pub(super) fn resolve(graph: &Graph) -> Resolution {
    let mut resolver = Resolver::new(graph);
    let Some(genesis) = resolver.genesis() else { return resolver.out };
    resolver.accept(genesis, Speaker::Recovery, Phase::Main, Role::Owner);
    if let Body::Genesis(body) = graph.statement(genesis).body()
        && let Some(recovery) = body.recovery
    {
        resolver.recovery_turn(&recovery);
    }
    let mut members: Vec<usize> = resolver.out.devices.keys().copied().collect();
    members.sort_by_key(|member| graph.rank(*member));
    for member in members {
        if resolver.counts(member) {
            resolver.member_turn(member);
        }
    }
    resolver.out
}

impl Resolution {
    /// Notes a statement, the last of the graph, among those to be judged.
    pub(super) fn note(&mut self, graph: &Graph, number: usize) {
        self.accepted.push(None);
        place_by_rank(self.by_signer.entry(graph.statement(number).signer()), graph, number);
        if let Some(member) = Self::member_of(graph, number) {
            self.devices.entry(member).push(number);
        }
        if let Some(device) = device_of(graph, number) {
            self.by_device.entry(device).push(number);
        }
    }

    /// Judges a statement that was noted and that nothing follows which was judged. Tells whether others have
    /// to be judged again for it; then nothing has changed.
    ///
    /// What is judged by its past alone never changes for a statement that comes after. So a statement that
    /// gives takes nothing from others, and one that takes (a removal, a lower role, a revocation) can take
    /// only from those of its target that did not know it.
    #[must_use]
    pub(super) fn judge(&mut self, graph: &Graph, number: usize) -> Judged {
        let mut resolver = Resolver { graph, now: None, out: std::mem::take(self) };
        let verdict = resolver.verdict(number);
        resolver.now = None;
        let judged = match verdict {
            None => Judged::Void,
            Some(_) if resolver.unsettles(number) => Judged::Unsettles,
            Some((Accepted { speaker, phase }, role)) => {
                resolver.accept(number, speaker, phase, role);
                Judged::Counts
            }
        };
        *self = resolver.out;
        judged
    }

    /// By whom a statement counts, if it does.
    pub(super) fn speaker(&self, number: usize) -> Option<Speaker> {
        self.accepted.get(number).copied().flatten().map(|accepted| accepted.speaker)
    }

    /// The counting changes of a member's role.
    pub(super) fn role_changes(&self, member: usize) -> impl Iterator<Item = usize> {
        self.roles.get(&member).into_iter().flatten().map(|change| change.number)
    }

    /// Tells whether a statement counts by the recovery key, or by a member that was an admin then.
    pub(super) fn is_by_an_admin(&self, graph: &Graph, number: usize) -> bool {
        match self.speaker(number) {
            Some(Speaker::Recovery) => true,
            Some(Speaker::Member(member)) => {
                let before = |change: usize| self.counts(change) && graph.precedes(change, number);
                self.role(graph, member, &before).is_some_and(|role| role >= Role::Admin)
            }
            None => false,
        }
    }

    pub(super) fn counts(&self, number: usize) -> bool {
        self.accepted.get(number).is_some_and(Option::is_some)
    }

    /// The enrolments of a device, counting or not.
    pub(super) fn enrolments(&self, device: &PeerId) -> &[usize] {
        self.by_device.get(device).map_or(&[], Vec::as_slice)
    }

    /// All that there is, in an order that does not tell how it came about.
    #[cfg(test)]
    pub(super) fn facts(&self) -> Vec<String> {
        fn list<K: std::fmt::Debug + Ord + Clone + Spread, V: std::fmt::Debug + Clone>(
            what: &str,
            of: &Shards<K, Vec<V>>,
        ) -> Vec<String> {
            let all = of.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
            all.map(|(key, value)| format!("{what} {key:?} {value:?}")).collect()
        }
        let accepted = self.accepted.iter().enumerate();
        let accepted = accepted.map(|(number, accepted)| format!("{number} {accepted:?}"));
        let mut facts: Vec<String> = accepted.collect();
        facts.push(format!("{:?} {:?}", self.members, self.name));
        facts.extend(list("enrolled", &self.enrolled));
        facts.extend(list("devices", &self.devices));
        facts.extend(list("members removed", &self.members_removed));
        facts.extend(list("devices removed", &self.devices_removed));
        facts.extend(list("roles", &self.roles));
        facts.extend(list("rules", &self.rules));
        facts.extend(list("revoked", &self.revoked));
        facts.extend(list("signed", &self.by_signer));
        facts.extend(list("enrolments", &self.by_device));
        facts.sort_unstable();
        facts
    }

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
        let mut out = Resolution::default();
        (0..graph.len()).for_each(|number| out.note(graph, number));
        Self { graph, now: None, out }
    }

    fn genesis(&self) -> Option<usize> {
        (0..self.graph.len()).find(|number| matches!(self.graph.statement(*number).body(), Body::Genesis(_)))
    }

    /// Tells whether a statement counts, as far as that is known now.
    fn counts(&self, number: usize) -> bool {
        match (self.out.accepted.get(number), &self.now) {
            (Some(Some(_)), None) => true,
            (Some(Some(accepted)), Some(now)) => self.moment(number, *accepted) < *now,
            (Some(None) | None, _) => false,
        }
    }

    fn moment(&self, number: usize, accepted: Accepted) -> Moment {
        let turn = match accepted.speaker {
            Speaker::Recovery => None,
            Speaker::Member(member) => Some(self.graph.rank(member)),
        };
        (turn, accepted.phase, self.graph.rank(number))
    }

    /// The recovery key needs no enrolment, and nobody can remove it.
    fn recovery_turn(&mut self, recovery: &PeerId) {
        for number in self.out.by_signer.get(recovery).cloned().unwrap_or_default() {
            if !self.counts(number) && self.allows(number, Speaker::Recovery, Role::Owner) {
                self.accept(number, Speaker::Recovery, Phase::Main, Role::Owner);
            }
        }
    }

    fn member_turn(&mut self, member: usize) {
        let statements = self.statements_of(member);
        for removal in self.own_removals(member, &statements) {
            if !self.counts(removal) {
                self.accept(removal, Speaker::Member(member), Phase::Removing, Role::Reader);
            }
        }
        // A redemption may be voided by a revocation that ranks behind it, so redemptions come last. Nothing
        // else that the member says depends on whom it added.
        let (adding, other): (Vec<usize>, Vec<usize>) =
            statements.into_iter().partition(|number| self.is_adding(*number));
        for (phase, numbers) in [(Phase::Main, other), (Phase::Adding, adding)] {
            for number in numbers {
                if self.counts(number) {
                    continue;
                }
                if let Some(role) = self.role_to_say(number, member) {
                    self.accept(number, Speaker::Member(member), phase, role);
                }
            }
        }
    }

    /// By whom, when and with which role a statement counts that nothing follows which was judged.
    fn verdict(&mut self, number: usize) -> Option<(Accepted, Role)> {
        let signer = self.graph.statement(number).signer();
        if self.recovery() == Some(signer) {
            let accepted = Accepted { speaker: Speaker::Recovery, phase: Phase::Main };
            self.now = Some(self.moment(number, accepted));
            if self.allows(number, Speaker::Recovery, Role::Owner) {
                return Some((accepted, Role::Owner));
            }
        }
        self.now = None;
        let enrolments = self.out.enrolments(&signer).iter();
        let mut members: Vec<usize> =
            enrolments.filter_map(|enrolment| Resolution::member_of(self.graph, *enrolment)).collect();
        members.sort_by_key(|member| self.graph.rank(*member));
        members.dedup();
        members.retain(|member| self.counts(*member));
        members.into_iter().find_map(|member| self.verdict_of(number, member))
    }

    /// What [`Resolver::member_turn`] would do with one statement.
    fn verdict_of(&mut self, number: usize, member: usize) -> Option<(Accepted, Role)> {
        let speaker = Speaker::Member(member);
        if self.own_target(number, member).is_some() {
            let accepted = Accepted { speaker, phase: Phase::Removing };
            // All that the member's own devices remove is found before any of it counts.
            self.now =
                Some((Some(self.graph.rank(member)), Phase::Removing, (0, StatementHash::new([0; 32]))));
            let statements = self.statements_of(member);
            if self.own_removals(member, &statements).contains(&number) {
                return Some((accepted, Role::Reader));
            }
        }
        let phase = if self.is_adding(number) { Phase::Adding } else { Phase::Main };
        let accepted = Accepted { speaker, phase };
        self.now = Some(self.moment(number, accepted));
        self.role_to_say(number, member).map(|role| (accepted, role))
    }

    /// The role with which a member says something that counts.
    fn role_to_say(&self, number: usize, member: usize) -> Option<Role> {
        if !self.is_authorised(number, member) {
            return None;
        }
        let role = self.role_before(number, member)?;
        let may = self.allows(number, Speaker::Member(member), role) && !self.is_demoted(number, member);
        may.then_some(role)
    }

    /// Tells whether a statement that counts takes something from another that counts so far. It takes from
    /// those that are not in its past alone.
    fn unsettles(&self, number: usize) -> bool {
        let graph = self.graph;
        let unknown =
            |other: &usize| *other != number && self.counts(*other) && !graph.precedes(*other, number);
        let says = |key: &PeerId| self.out.by_signer.get(key).into_iter().flatten().any(unknown);
        match graph.statement(number).body() {
            Body::RemoveMember { member, .. } | Body::SetRole { member, .. } => graph
                .member(member)
                .is_some_and(|member| self.enrolments_of(member).any(|(_, device)| says(&device))),
            Body::RemoveDevice { enrolment, .. } => {
                let device = graph.number(enrolment).and_then(|enrolment| device_of(graph, enrolment));
                device.is_some_and(|device| says(&device))
            }
            // An invite is redeemed by the device that made it.
            Body::RevokeInvite { invite } => {
                let redeems = |other: &&usize| {
                    graph.statement(**other).body().enrolment().is_some_and(|made| made.invite == *invite)
                };
                let signer = graph.number(invite).map(|invite| graph.statement(invite).signer());
                let said = signer.and_then(|signer| self.out.by_signer.get(&signer));
                said.into_iter().flatten().filter(redeems).any(unknown)
            }
            Body::Genesis(_)
            | Body::SetName { .. }
            | Body::Invite { .. }
            | Body::AddMember(_)
            | Body::AddDevice { .. }
            | Body::SetRule { .. }
            | Body::Verdict { .. }
            | Body::Other { .. } => false,
        }
    }

    fn recovery(&self) -> Option<PeerId> {
        self.graph.statement(self.genesis()?).body().genesis()?.recovery
    }

    fn is_adding(&self, number: usize) -> bool {
        matches!(self.graph.statement(number).body(), Body::AddMember(_))
    }

    /// What any key ever enrolled for a member signed, in order of rank.
    fn statements_of(&self, member: usize) -> Vec<usize> {
        let keys: BTreeSet<PeerId> = self.enrolments_of(member).map(|(_, device)| device).collect();
        let mut all: Vec<usize> =
            keys.iter().filter_map(|key| self.out.by_signer.get(key)).flatten().copied().collect();
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
                    && !self.is_removed(number, member, *enrolment)
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
                && !self.is_removed(number, member, enrolment)
        })
    }

    /// Tells whether a removal of an enrolment voids a statement, for it was not known to the removal.
    fn is_removed(&self, number: usize, member: usize, enrolment: usize) -> bool {
        let mut removals = self.out.removals(member, enrolment).filter(|removal| self.counts(*removal));
        removals.any(|removal| !self.graph.precedes(number, removal))
    }

    fn role_before(&self, number: usize, member: usize) -> Option<Role> {
        self.out
            .role(self.graph, member, &|change| self.graph.precedes(change, number) && self.counts(change))
    }

    /// Tells whether somebody senior has taken, unknown to the statement, the role that it needs.
    fn is_demoted(&self, number: usize, member: usize) -> bool {
        let needed = self.needed_role(number, member);
        self.out.roles.get(&member).into_iter().flatten().any(|change| {
            !change.by_itself
                && self.counts(change.number)
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
        let enrolments = self.out.enrolments(&signer).iter().copied();
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
            Body::SetName { .. } | Body::SetRule { .. } => true,
            Body::Verdict { device, .. } => {
                let enrolments = self.out.enrolments(device).iter().copied();
                let before = enrolments.filter(|enrolment| graph.precedes(*enrolment, number));
                let members: BTreeSet<usize> =
                    before.filter_map(|enrolment| Resolution::member_of(graph, enrolment)).collect();
                !members.is_empty() && members.iter().all(|member| self.is_senior(speaker, *member))
            }
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
                if !self.counts(revocation.number) {
                    false
                } else if is_device && revocation.by_inviter {
                    self.graph.precedes(revocation.number, number)
                } else {
                    !self.graph.precedes(number, revocation.number)
                }
            })
    }

    /// Notes that a statement counts, and its effect.
    fn accept(&mut self, number: usize, speaker: Speaker, phase: Phase, author: Role) {
        if let Some(accepted) = self.out.accepted.get_mut(number) {
            *accepted = Some(Accepted { speaker, phase });
        }
        let graph = self.graph;
        match graph.statement(number).body() {
            Body::Genesis(_) | Body::AddMember(_) | Body::AddDevice { .. } => {
                if let Some(device) = device_of(graph, number) {
                    self.out.enrolled.entry(device).push(number);
                }
                if Resolution::member_of(graph, number) == Some(number) {
                    place_by_rank(Arc::make_mut(&mut self.out.members), graph, number);
                }
            }
            Body::SetName { .. } => {
                let names = self.out.name.into_iter().chain([number]);
                self.out.name = names.max_by_key(|name| graph.rank(*name));
            }
            Body::RevokeInvite { invite } => {
                if let Some(invite) = graph.number(invite) {
                    let by_inviter = match speaker {
                        Speaker::Recovery => false,
                        Speaker::Member(member) => self.authors(invite).contains(&member),
                    };
                    self.out.revoked.entry(invite).push(Revocation { number, by_inviter });
                }
            }
            Body::RemoveMember { member, .. } => {
                if let Some(target) = graph.member(member) {
                    self.out.members_removed.entry(target).push(number);
                }
            }
            Body::RemoveDevice { enrolment, .. } => {
                if let Some(target) = graph.number(enrolment) {
                    self.out.devices_removed.entry(target).push(number);
                }
            }
            Body::SetRole { member, role } => {
                if let Some(target) = graph.member(member) {
                    let by_itself = speaker == Speaker::Member(target);
                    let change = RoleChange { number, role: *role, by_itself };
                    place(self.out.roles.entry(target), change, |change| change.number);
                }
            }
            Body::SetRule { collection, read, write } => {
                let rule = RuleChange { number, read: *read, write: *write, author };
                place(self.out.rules.entry(collection.clone()), rule, |rule| rule.number);
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

/// Keeps a list in the order of ranks. Most that is placed comes last.
fn place_by_rank(list: &mut Vec<usize>, graph: &Graph, number: usize) {
    let rank = graph.rank(number);
    if list.last().is_none_or(|last| graph.rank(*last) < rank) {
        return list.push(number);
    }
    let at = list.partition_point(|other| graph.rank(*other) < rank);
    list.insert(at, number);
}

/// Keeps a list in the order of numbers, in which the past comes before what follows it.
fn place<T>(list: &mut Vec<T>, item: T, number: impl Fn(&T) -> usize) {
    let at = list.partition_point(|other| number(other) < number(&item));
    list.insert(at, item);
}
