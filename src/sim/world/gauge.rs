//! How full honest devices are: no limit is exceeded, whoever fills it.

use std::collections::BTreeMap;

use super::World;
use crate::access::{Membership, Role};
use crate::id::MemberId;
use crate::limits::{
    COLLECTIONS_PER_MEMBER_MAX, COLLECTIONS_PER_SPACE_MAX, ORIGINS_KEPT, ORIGINS_PER_MEMBER_MAX,
    ORIGINS_WANTED_MAX, QUARANTINE_AUTHOR_BYTES_MAX, QUARANTINE_SPACE_BYTES_MAX, STATEMENTS_PER_SPACE_MAX,
    STATEMENTS_WAITING_MAX, STATEMENTS_WAITING_OF_ADMINS, VECTOR_ORIGINS_MAX,
};
use crate::replica::Fullness;
use crate::sim::fault::Fault;
use crate::sim::limit::Limit;
use crate::sim::violation::Rule;

/// The collections of a simulated space to which everybody writes: notes, lines, and the closed one.
const SHARED_COLLECTIONS: usize = 3;
/// Less than this in a quarantine is no room for a commit of those that fill it.
const QUARANTINE_ROOM_BYTES: usize = 800 * 1024;

impl World<'_> {
    /// Looks how full all honest devices are.
    pub(super) fn gauge(&mut self) {
        if self.plan.rogues.is_empty() {
            return;
        }
        for device in (0..self.nodes.len()).filter(|device| !self.is_rogue(*device)).collect::<Vec<_>>() {
            for (number, space) in self.spaces_of(device) {
                let up = self.node(device).and_then(|node| node.up.as_ref());
                let Some((fullness, membership)) =
                    up.and_then(|up| up.replica.fullness(&space).zip(up.replica.membership(&space)))
                else {
                    continue;
                };
                let rogues = self.rogue_members(number, &membership);
                self.check_bounds(device, &fullness, &rogues);
                full(&fullness, &rogues).into_iter().for_each(|limit| self.was_full(limit, number, device));
            }
        }
    }

    pub(super) fn was_full(&mut self, limit: Limit, number: usize, device: usize) {
        self.full.insert((limit, number, device));
    }

    /// The members that are rogues, each with whether it never was an admin.
    fn rogue_members(&self, number: usize, membership: &Membership) -> BTreeMap<MemberId, bool> {
        let roles = self.plan.spaces.get(number).map(|planned| planned.roles.clone()).unwrap_or_default();
        let changed = self.faults.of(Fault::RoleChange) > 0;
        let is_plain = |device: &usize| {
            let member = self.plan.members.get(*device).unwrap_or(device);
            !changed && roles.get(member).is_some_and(|role| *role < Role::Admin)
        };
        let rogues = self.plan.rogues.iter();
        let member = |device: &usize| membership.author_of(&self.peer(*device)).map(|member| member.id);
        rogues.filter_map(|device| Some((member(device)?, is_plain(device)))).collect()
    }

    fn check_bounds(&mut self, device: usize, fullness: &Fullness, rogues: &BTreeMap<MemberId, bool>) {
        let held = fullness.held.values().copied().max().unwrap_or(0);
        let (alone, origins) = most(fullness, rogues);
        let bounds = [
            ("bytes of one author in quarantine", held, QUARANTINE_AUTHOR_BYTES_MAX),
            ("bytes in quarantine", fullness.held_bytes, QUARANTINE_SPACE_BYTES_MAX),
            ("statements", fullness.statements, STATEMENTS_PER_SPACE_MAX),
            ("waiting statements", fullness.waiting, STATEMENTS_WAITING_MAX),
            ("collections", fullness.collections, COLLECTIONS_PER_SPACE_MAX),
            // To those that others begin too it may be left alone, when what they wrote is lost or forgotten.
            ("collections of one member", alone, COLLECTIONS_PER_MEMBER_MAX + SHARED_COLLECTIONS),
            // What others built on is let in all the same.
            ("origins of one member in a vector", origins, ORIGINS_PER_MEMBER_MAX + ORIGINS_KEPT),
            ("origins in a vector", fullness.origins_most, ORIGINS_WANTED_MAX.min(VECTOR_ORIGINS_MAX)),
        ];
        for (what, count, max) in bounds.into_iter().filter(|(_, count, max)| count > max) {
            self.violate(Rule::Bounded, device, format!("{count} {what}, and {max} are the most"));
        }
    }
}

/// The most collections that a rogue has who never was an admin, and the most origins that any has.
fn most(fullness: &Fullness, rogues: &BTreeMap<MemberId, bool>) -> (usize, usize) {
    let of = |member: &MemberId, all: &BTreeMap<MemberId, usize>| all.get(member).copied().unwrap_or(0);
    let plain = rogues.iter().filter(|(_, is_plain)| **is_plain).map(|(member, _)| member);
    let alone = plain.map(|member| of(member, &fullness.alone)).max().unwrap_or(0);
    (alone, rogues.keys().map(|member| of(member, &fullness.origins)).max().unwrap_or(0))
}

/// The limits that are reached.
fn full(fullness: &Fullness, rogues: &BTreeMap<MemberId, bool>) -> Vec<Limit> {
    let held = fullness.held.values().copied().max().unwrap_or(0);
    let (alone, origins) = most(fullness, rogues);
    let reached = [
        (Limit::Quarantine, held + QUARANTINE_ROOM_BYTES > QUARANTINE_AUTHOR_BYTES_MAX),
        (Limit::Collections, alone >= COLLECTIONS_PER_MEMBER_MAX),
        (Limit::Origins, origins >= ORIGINS_PER_MEMBER_MAX),
        (Limit::Waiting, fullness.waiting >= STATEMENTS_WAITING_MAX - STATEMENTS_WAITING_OF_ADMINS),
        (Limit::Followed, !fullness.follows_all),
    ];
    reached.into_iter().filter(|(_, is_full)| *is_full).map(|(limit, _)| limit).collect()
}
