//! Who belongs to which space: founding, joining, other roles, removal; and stores that are copied.

use super::life::AGAIN_MS;
use super::malice::RULED;
use super::pry::VAULT;
use super::{Happening, World};
use crate::access::{Membership, Role};
use crate::exchange::{Answer, Ask};
use crate::id::{CollectionName, MemberId, SpaceId};
use crate::limits::INVITE_LIFETIME_MS;
use crate::replica::ReplicaError;
use crate::sim::Dice;
use crate::sim::fault::Fault;
use crate::sim::node::Job;
use crate::sim::violation::Rule;
use std::collections::BTreeSet;

/// Commits that a copy of a store makes while it runs.
const TWIN_COMMITS: u64 = 6;
/// Where the steps of copies begin, beyond those of any plan.
const TWIN_STEPS: u64 = 1_000_000;

impl World<'_> {
    /// Starts all devices, and founds the spaces.
    pub(super) fn found(&mut self) {
        (0..self.nodes.len()).for_each(|device| self.start(device));
        for number in 0..self.shared.len() {
            let Some(planned) = self.plan.spaces.get(number) else { continue };
            let (founder, rule) = (planned.founder, planned.rule);
            let now = self.clocks(founder);
            let (member, name) = (format!("member {founder}"), format!("device {founder}"));
            let Some(replica) = self.replica(founder) else { return };
            let founded = replica.create_space(now, "space", &member, &name).and_then(|space| {
                for name in [RULED, VAULT].into_iter().filter(|_| rule) {
                    if let Ok(collection) = CollectionName::new(name) {
                        replica.set_rule(now, space, &collection, Role::Admin, Role::Admin)?;
                    }
                }
                Ok(space)
            });
            match (founded, self.shared.get_mut(number)) {
                (Ok(space), Some(shared)) => shared.id = Some(space),
                (Ok(_), None) => {}
                (Err(error), _) => return self.violate(Rule::Store, founder, format!("founding: {error}")),
            }
            self.forward(founder, None);
            self.sync(founder);
            self.enter(founder, number);
        }
    }

    /// A device belongs to a space from now on.
    fn enter(&mut self, device: usize, number: usize) {
        if let Some(node) = self.node_mut(device) {
            node.joined.insert(number);
        }
        self.observe(device, number);
        self.back_up(device);
        self.add_peers(device);
        for other in self.plan.neighbours(device) {
            if self.node(other).is_some_and(|node| node.has_joined() && node.up.is_some()) {
                self.add_peers(other);
            }
        }
    }

    /// A device can do what needs its store and its app.
    fn is_able(&self, device: usize, number: usize) -> bool {
        self.node(device)
            .is_some_and(|node| node.joined.contains(&number) && node.is_awake() && !node.troubled)
    }

    /// The role of a device in a space, as it sees it itself.
    pub(super) fn role(&self, device: usize, space: &SpaceId) -> Option<Role> {
        let node = self.node(device)?;
        node.up.as_ref()?.replica.membership(space)?.role(&node.peer())
    }

    fn may_admit(&self, device: usize, space: &SpaceId) -> bool {
        matches!(self.role(device, space), Some(Role::Owner | Role::Admin))
    }

    fn member(&self, device: usize) -> usize {
        self.plan.members.get(device).copied().unwrap_or(device)
    }

    /// A device joins: by way of another device of its member, or of the first admin that can be reached.
    pub(super) fn join(&mut self, index: usize, device: usize, number: usize) {
        if self.node(device).is_none_or(|node| node.joined.contains(&number)) {
            return;
        }
        let Some(space) = self.shared.get(number).and_then(|shared| shared.id) else { return };
        let inside: Vec<usize> = self.inside(number);
        let ready = self.node(device).is_some_and(|node| node.is_awake() && !node.troubled);
        let own = |other: &&usize| self.member(**other) == self.member(device);
        let second = inside.iter().any(|other| own(&other));
        let honest = |other: &&usize| self.is_rogue(device) || !self.is_rogue(**other);
        let fits = |other: &&usize| if second { own(other) } else { self.may_admit(**other, &space) };
        let inviter =
            inside.iter().filter(fits).filter(honest).find(|other| self.is_able(**other, number)).copied();
        // Who knows none of those that it can reach is a stranger to them, and they to it, for good.
        let membership =
            inviter.and_then(|inviter| self.node(inviter)?.up.as_ref()?.replica.membership(&space));
        let known = |other: &usize| {
            let told = membership.as_ref().is_some_and(|all| all.role(&self.peer(*other)).is_some());
            told && inside.contains(other) && !self.is_rogue(*other)
        };
        let ready = ready && self.plan.neighbours(device).iter().any(known);
        let Some(inviter) = inviter.filter(|_| ready) else {
            return self.after(AGAIN_MS, Happening::Step(index));
        };
        let exporter = self.dice.bytes();
        self.trace.line(self.now, format_args!("d{device} joins space {number} by d{inviter}"));
        if let Err(reason) = self.join_by(inviter, device, number, space, second, exporter) {
            return self.violate(Rule::NotRejected, device, format!("joining: {reason}"));
        }
        [inviter, device].into_iter().for_each(|device| {
            self.forward(device, None);
            self.sync(device);
        });
        self.faults.add(Fault::LateJoin, u64::from(self.now > 100));
        self.faults.add(Fault::SecondDevice, u64::from(second));
        // A member of which nobody but itself has heard could not come back to the others.
        self.back_up(inviter);
        self.enter(device, number);
    }

    /// Those who came to a space and whom nobody removed.
    fn inside(&self, number: usize) -> Vec<usize> {
        let Some((planned, shared)) = self.plan.spaces.get(number).zip(self.shared.get(number)) else {
            return Vec::new();
        };
        let joined = |device: &usize| self.node(*device).is_some_and(|node| node.joined.contains(&number));
        planned.devices.iter().copied().filter(joined).filter(|device| !shared.out.contains(device)).collect()
    }

    fn join_by(
        &mut self,
        inviter: usize,
        joiner: usize,
        number: usize,
        space: SpaceId,
        second: bool,
        exporter: [u8; 32],
    ) -> Result<(), String> {
        let (inviter_now, joiner_now) = (self.clocks(inviter), self.clocks(joiner));
        let (inviter_peer, joiner_peer) = (self.peer(inviter), self.peer(joiner));
        let text = |error: ReplicaError| error.to_string();
        let (member, name) = (format!("member {joiner}"), format!("device {joiner}"));
        let planned = self.plan.spaces.get(number);
        let role = planned.and_then(|planned| planned.roles.get(&self.member(joiner)).copied());
        let host = self.replica(inviter).ok_or("the inviter is not running")?;
        let invite = match second {
            true => host.invite_device(inviter_now, space, Vec::new(), INVITE_LIFETIME_MS),
            false => {
                let role = role.unwrap_or(Role::Writer);
                host.invite(inviter_now, space, role, Vec::new(), INVITE_LIFETIME_MS)
            }
        };
        let invite = invite.map_err(text)?;
        let guest = self.replica(joiner).ok_or("the joiner is not running")?;
        let request = guest.join_request(&invite, &member, &name, &exporter).map_err(text)?;
        let host = self.replica(inviter).ok_or("the inviter is not running")?;
        let redeem = Ask::Redeem { joiner: joiner_peer, exporter, request };
        let answer = host.answer(inviter_now, redeem);
        let Answer::Redeemed(reply) = answer else {
            return Err(format!("{answer:?}"));
        };
        let guest = self.replica(joiner).ok_or("the joiner is not running")?;
        let answer = guest.answer(joiner_now, Ask::Joined { from: inviter_peer, reply: reply.concat() });
        if let Answer::Done = answer { Ok(()) } else { Err(format!("{answer:?}")) }
    }

    /// Somebody is removed: one device, or a member with all of its devices. The founder stays, and so does who
    /// removed others, and those without whom the rest could not reach each other.
    pub(super) fn remove(&mut self, device: usize, number: usize, only: Option<usize>, dice: &mut Dice) {
        // A removal that its signer forgets could be known to the removed alone, who is heard by nobody: so the
        // signer's backup must know it too, and a damaged store is no backup.
        if self.node(device).is_none_or(|node| node.flipped) {
            return;
        }
        let Some((space, mut targets)) = self.may_manage(device, number) else { return };
        targets.retain(|other| only.is_none_or(|only| *other == only));
        let Some(target) = dice.pick(&targets).copied() else { return };
        let whole = only.is_none() && dice.chance(40);
        let member = self.member(target);
        let leaves = |other: &usize| if whole { self.member(*other) == member } else { *other == target };
        let planned = self.plan.spaces.get(number).map(|planned| planned.devices.clone()).unwrap_or_default();
        let left: BTreeSet<usize> = planned.iter().copied().filter(leaves).collect();
        let out = self.shared.get(number).map(|shared| shared.out.clone()).unwrap_or_default();
        let inside = self.inside(number);
        let rest: BTreeSet<usize> =
            planned.into_iter().filter(|other| !left.contains(other) && !out.contains(other)).collect();
        // One who has yet to join needs somebody of its member, and a way.
        let pending = rest.iter().any(|other| !inside.contains(other) && self.member(*other) == member);
        let honest = rest.iter().copied().filter(|other| !self.is_rogue(*other)).collect();
        if pending || !self.plan.is_connected(&honest) || left.iter().any(|other| !inside.contains(other)) {
            return;
        }
        let (now, peer) = (self.clocks(device), self.peer(target));
        let Some(replica) = self.replica(device) else { return };
        let id = replica.membership(&space).and_then(|all| member_id(&all, &peer));
        let removed = match id.filter(|_| whole) {
            Some(id) => replica.remove_member(now, space, id),
            None => replica.remove_device(now, space, peer),
        };
        self.trace
            .line(self.now, format_args!("d{device} removes {left:?} from space {number}: {removed:?}"));
        if self.signed(device, removed) {
            self.faults.add(Fault::Removal, 1);
            let remover = self.member(device);
            let rogues = left.iter().filter(|left| self.is_rogue(**left)).map(|left| self.peer(*left));
            let rogues: Vec<_> = rogues.collect();
            if let Some(shared) = self.shared.get_mut(number) {
                shared.out.extend(left);
                shared.oracle.removed.extend(rogues);
                shared.removers.insert(remover);
            }
            self.back_up(device);
        }
    }

    /// A member gets another role.
    pub(super) fn set_role(&mut self, device: usize, number: usize, dice: &mut Dice) {
        let Some((space, targets)) = self.may_manage(device, number) else { return };
        let Some(target) = dice.pick(&targets).copied() else { return };
        let role =
            *dice.pick(&[Role::Reader, Role::Writer, Role::Writer, Role::Admin]).unwrap_or(&Role::Writer);
        let (now, peer) = (self.clocks(device), self.peer(target));
        let Some(replica) = self.replica(device) else { return };
        let Some(id) = replica.membership(&space).and_then(|all| member_id(&all, &peer)) else { return };
        let set = replica.set_role(now, space, id, role);
        self.trace
            .line(self.now, format_args!("d{device} makes d{target} {role:?} in space {number}: {set:?}"));
        if self.signed(device, set) {
            self.faults.add(Fault::RoleChange, 1);
        }
    }

    /// The space in which a device may say what becomes of others, and of whom.
    fn may_manage(&self, device: usize, number: usize) -> Option<(SpaceId, Vec<usize>)> {
        let (planned, shared) = (self.plan.spaces.get(number)?, self.shared.get(number)?);
        let space = shared.id.filter(|_| self.is_able(device, number))?;
        if !self.may_admit(device, &space) || shared.out.contains(&device) || self.is_rogue(device) {
            return None;
        }
        let (own, founder) = (self.member(device), self.member(planned.founder));
        let mut targets = self.inside(number);
        targets.retain(|other| {
            let member = self.member(*other);
            member != own && member != founder && !shared.removers.contains(&member)
        });
        Some((space, targets))
    }

    /// Makes durable what a device signed, unless it was refused; tells whether it was signed.
    pub(super) fn signed(&mut self, device: usize, done: Result<(), ReplicaError>) -> bool {
        match done {
            Ok(()) => {
                self.sync(device);
                true
            }
            Err(ReplicaError::Store(error)) => {
                self.store_error(device, &error.to_string());
                false
            }
            Err(_) => {
                self.stats.refused += 1;
                false
            }
        }
    }

    /// The store of a device is copied, and the copy runs beside it for a while.
    pub(super) fn copy_store(&mut self, device: usize, number: u64, lasts_ms: u64, dice: &mut Dice) {
        let twin = self.nodes.len();
        let Some(node) = self.node(device).filter(|node| {
            node.is_awake()
                && node.has_joined()
                && !node.troubled
                && !node.flipped
                && node.twin_of.is_none()
                && node.rogue.is_none()
        }) else {
            return;
        };
        let copy = node.twin(twin, dice);
        self.trace.line(self.now, format_args!("d{twin} begins with a copy of the store of d{device}"));
        self.faults.add(Fault::Cloned, 1);
        let held = self.held(device);
        self.nodes.push(copy);
        for (space, held) in held {
            if let Some(shared) = self.shared.get_mut(space) {
                shared.oracle.restored(twin, held);
            }
        }
        self.start(twin);
        for commit in 0..TWIN_COMMITS {
            let spaces = self.spaces_of(twin);
            if let Some((space, _)) = dice.pick(&spaces).copied() {
                let step = TWIN_STEPS + number * TWIN_COMMITS + commit;
                self.after(dice.below(lasts_ms.max(1)), Happening::Work { device: twin, step, space });
            }
        }
        self.after(lasts_ms, Happening::Vanish { device: twin });
    }

    /// The app on a device does something, if it can.
    pub(super) fn work(&mut self, device: usize, step: u64, space: usize) {
        if self.node(device).is_some_and(|node| node.joined.contains(&space) && node.is_awake()) {
            self.push_job(device, Job::Commit(step, space));
        }
    }

    /// A copy is given up for good.
    pub(super) fn vanish(&mut self, device: usize) {
        self.trace.line(self.now, format_args!("d{device} is given up"));
        if let Some(node) = self.node_mut(device) {
            node.gone = true;
        }
        self.end_process(device);
    }
}

fn member_id(membership: &Membership, peer: &crate::id::PeerId) -> Option<MemberId> {
    membership.member_of(peer).map(|member| member.id)
}
