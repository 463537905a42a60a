//! Spaces and their members: founding, inviting, removing, and statements that peers send.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::heal::stage_statements;
use super::planted::Check;
use super::rebuild::{self, Shift};
use super::{Replica, ReplicaError, Space, Told};
use crate::access::{
    AccessError, Body, Genesis, Invite, InviteKind, Log, Membership, RecoveryKey, Role, Statement,
};
use crate::exchange::{Answer, ShortsKey};
use crate::id::{CollectionName, CommitHash, MemberId, PeerId, SpaceId, StatementHash};
use crate::identity::Identity;
use crate::limits::SPACES_PER_NODE_MAX;
use crate::store::keyspaces::{Batch, HeldCause, Raw};
use crate::time::Now;

impl Replica {
    /// Founds a space whose first member, an owner, has this device.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::TooMany`] when there are too many spaces, [`ReplicaError::Access`] when a name is too long.
    pub(crate) fn create_space(
        &mut self,
        _now: Now,
        name: &str,
        member: &str,
        device: &str,
    ) -> Result<SpaceId, ReplicaError> {
        let nonce = self.entropy.bytes();
        let (log, _) = Log::found(&self.identity, name, member, device, nonce)?;
        let space = log.space();
        self.add_space(log)?;
        Ok(space)
    }

    /// Founds a space as [`Replica::create_space`] does, with a recovery key that is kept nowhere.
    ///
    /// # Errors
    ///
    /// As [`Replica::create_space`].
    pub(crate) fn create_space_with_recovery_key(
        &mut self,
        _now: Now,
        name: &str,
        member: &str,
        device: &str,
    ) -> Result<(SpaceId, RecoveryKey), ReplicaError> {
        let key = RecoveryKey::from_secret(self.entropy.bytes());
        let genesis = Genesis {
            name: name.to_owned(),
            member_name: member.to_owned(),
            device_name: device.to_owned(),
            nonce: self.entropy.bytes(),
            recovery: Some(key.key()),
            enc_pk: None,
        };
        let (log, _) = Log::found_with(&self.identity, genesis)?;
        let space = log.space();
        self.add_space(log)?;
        Ok((space, key))
    }

    /// Invites a new member. The invite is good once, until `lifetime_ms` from now by this device's clock.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Access`] when this device may not invite, [`ReplicaError::Address`] when an address is not
    /// an IP address and a port.
    pub(crate) fn invite(
        &mut self,
        now: Now,
        space: SpaceId,
        role: Role,
        addresses: Vec<String>,
        lifetime_ms: u64,
    ) -> Result<Invite, ReplicaError> {
        self.invite_by(now, InviteKind::Member, space, (addresses, lifetime_ms), |log, by, invite| {
            log.invite(by, role, invite.key(), invite.expiry())
        })
    }

    /// Invites a new member, whose device waits until it is approved of, as [`Replica::invite`].
    ///
    /// # Errors
    ///
    /// As [`Replica::invite`].
    pub(crate) fn invite_with_approval(
        &mut self,
        now: Now,
        space: SpaceId,
        role: Role,
        addresses: Vec<String>,
        lifetime_ms: u64,
    ) -> Result<Invite, ReplicaError> {
        self.invite_by(now, InviteKind::Member, space, (addresses, lifetime_ms), |log, by, invite| {
            log.invite_with_approval(by, role, invite.key(), invite.expiry())
        })
    }

    /// Takes an invite back.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::NotFound`] when the space does not know the invite, [`ReplicaError::Access`] with the rule
    /// when this device may not.
    pub(crate) fn revoke_invite(&mut self, space: SpaceId, key: PeerId) -> Result<(), ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let is_it = |other: &&Statement| matches!(other.body(), Body::Invite { key: of, .. } if *of == key);
        let invite = known.log.statements().find(is_it).ok_or(ReplicaError::NotFound { what: "invite" })?;
        let invite = invite.hash();
        self.author(space, |log, by| log.revoke_invite(by, invite))
    }

    /// Invites another device of this device's own member, as [`Replica::invite`] does a new member.
    ///
    /// # Errors
    ///
    /// As [`Replica::invite`].
    pub(crate) fn invite_device(
        &mut self,
        now: Now,
        space: SpaceId,
        addresses: Vec<String>,
        lifetime_ms: u64,
    ) -> Result<Invite, ReplicaError> {
        self.invite_by(now, InviteKind::Device, space, (addresses, lifetime_ms), |log, by, invite| {
            log.invite_device(by, invite.key(), invite.expiry())
        })
    }

    /// Draws the secret of an invite, and puts what `make` says of it into the log.
    fn invite_by(
        &mut self,
        now: Now,
        kind: InviteKind,
        space: SpaceId,
        (addresses, lifetime_ms): (Vec<String>, u64),
        make: impl FnOnce(&Log, &Identity, &Invite) -> Result<Statement, AccessError>,
    ) -> Result<Invite, ReplicaError> {
        let mut parsed = Vec::with_capacity(addresses.len());
        for text in addresses {
            parsed.push(text.parse::<SocketAddr>().map_err(|_| ReplicaError::Address { text })?);
        }
        let (secret, expiry) = (self.entropy.bytes(), now.wall.plus_ms(lifetime_ms));
        let invite = Invite::new(kind, space, self.peer, parsed, secret, expiry)?;
        self.author(space, |log, by| make(log, by, &invite))?;
        Ok(invite)
    }

    /// Removes a member with all its devices, for good. What they made and is applied here stays.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Access`] with the rule when this device may not.
    pub(crate) fn remove_member(
        &mut self,
        now: Now,
        space: SpaceId,
        member: MemberId,
    ) -> Result<(), ReplicaError> {
        self.wall = now.wall;
        let membership = self.membership(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let devices = membership.member(&member).into_iter().flat_map(|member| &member.devices);
        let devices: Vec<PeerId> = devices.map(|device| device.peer).collect();
        let cut = self.mending(now, |replica| replica.cut_of(space, &devices))?;
        self.author(space, |log, by| log.remove_member_with(by, member, cut))
    }

    /// Removes a device, for good. What it made and is applied here stays.
    ///
    /// # Errors
    ///
    /// As [`Replica::remove_member`].
    pub(crate) fn remove_device(
        &mut self,
        now: Now,
        space: SpaceId,
        device: PeerId,
    ) -> Result<(), ReplicaError> {
        self.wall = now.wall;
        self.membership(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let cut = self.mending(now, |replica| replica.cut_of(space, &[device]))?;
        self.author(space, |log, by| log.remove_device_with(by, device, cut))
    }

    /// Picks one of two commits that cannot both be. What waited for that counts again, and `drop` never does.
    ///
    /// # Errors
    ///
    /// As [`Replica::remove_member`].
    pub(crate) fn settle(
        &mut self,
        now: Now,
        space: SpaceId,
        device: PeerId,
        [keep, drop]: [CommitHash; 2],
    ) -> Result<(), ReplicaError> {
        self.wall = now.wall;
        self.author(space, |log, by| log.verdict(by, device, keep, drop))
    }

    /// Gives a member another role.
    ///
    /// # Errors
    ///
    /// As [`Replica::remove_member`].
    pub(crate) fn set_role(
        &mut self,
        _now: Now,
        space: SpaceId,
        member: MemberId,
        role: Role,
    ) -> Result<(), ReplicaError> {
        self.author(space, |log, by| log.set_role(by, member, role))
    }

    /// Sets the least roles that read and write a collection.
    ///
    /// # Errors
    ///
    /// As [`Replica::remove_member`].
    pub(crate) fn set_rule(
        &mut self,
        _now: Now,
        space: SpaceId,
        collection: &CollectionName,
        read: Role,
        write: Role,
    ) -> Result<(), ReplicaError> {
        self.author(space, |log, by| log.set_rule(by, collection, read, write))
    }

    pub(super) fn statement_shorts(&self, space: SpaceId, key: ShortsKey) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut shorts: Vec<[u8; 8]> =
            known.log.statements().map(|statement| key.short(&statement.hash())).collect();
        shorts.sort_unstable();
        Ok(Answer::StatementShorts(shorts))
    }

    pub(super) fn statements(
        &self,
        space: SpaceId,
        key: ShortsKey,
        given: &[[u8; 8]],
        known: &[[u8; 8]],
    ) -> Result<Answer, ReplicaError> {
        let here = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let lacks = |(statement, is_needed): &(&Statement, bool)| {
            let short = key.short(&statement.hash());
            known.binary_search(&short).is_err() && (*is_needed || given.binary_search(&short).is_err())
        };
        let lacking = here.log.statements_in_order_of_need().filter(lacks);
        Ok(Answer::Statements(lacking.map(|(statement, _)| statement.bytes().to_vec()).collect()))
    }

    /// Takes a peer's statements. One that is no statement of this space is left out, and counted as refused.
    pub(super) fn learn(
        &mut self,
        space: SpaceId,
        from: PeerId,
        statements: Vec<Vec<u8>>,
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut log = known.log.clone();
        let refuse = |error: &AccessError| {
            tracing::debug!(peer = %from.short(), %error, "statement refused");
            self.metrics.refused.add(1);
        };
        // What is behind the first that every node refuses is not looked at: a signature costs time.
        let mut offence = None;
        let mut read = Vec::new();
        for bytes in &statements {
            match Statement::decode(bytes).inspect_err(refuse) {
                Ok(statement) => read.push(statement),
                Err(error) if error.is_an_offence() => {
                    offence = Some(error);
                    break;
                }
                Err(_) => {}
            }
        }
        let taken = log.insert_until_an_offence(read.iter().cloned());
        let mut new = Vec::new();
        for (statement, taken) in read.into_iter().zip(taken) {
            match taken.inspect_err(refuse) {
                Ok(true) => new.push(statement),
                Ok(false) => {}
                Err(error) => {
                    offence = offence.or_else(|| Some(error).filter(AccessError::is_an_offence));
                }
            }
        }
        if !new.is_empty() {
            self.adopt(log, &new)?;
        }
        Ok(Answer::Learned { new: new.len(), offence: offence.map(|offence| offence.to_string()) })
    }

    /// Makes a statement and takes it at once.
    pub(super) fn author(
        &mut self,
        space: SpaceId,
        make: impl FnOnce(&Log, &Identity) -> Result<Statement, AccessError>,
    ) -> Result<(), ReplicaError> {
        let identity = std::sync::Arc::clone(&self.identity);
        self.author_as(space, &identity, make)
    }

    /// Makes a statement with another key than this device's, and takes it at once.
    pub(super) fn author_as(
        &mut self,
        space: SpaceId,
        by: &Identity,
        make: impl FnOnce(&Log, &Identity) -> Result<Statement, AccessError>,
    ) -> Result<(), ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let statement = make(&known.log, by)?;
        let mut log = known.log.clone();
        log.insert(statement.clone())?;
        self.adopt(log, &[statement])
    }

    /// Writes statements and takes over the log that they led to. What does not count any more is taken back, and
    /// commits that waited are tried again.
    pub(super) fn adopt(&mut self, log: Log, new: &[Statement]) -> Result<(), ReplicaError> {
        let space = log.space();
        let membership = log.membership();
        let removals = membership.removals();
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let shift = shift(known, &membership, &removals);
        let mut batch = Batch::new();
        stage_statements(&mut batch, space, new.iter());
        if !shift.is_empty() {
            batch.put(&rebuild::mark(&space), &Raw(Vec::new()));
        }
        self.store.write(batch)?;
        let lacks = self.lacks(Check::Verdict);
        if let Some(known) = self.spaces.get_mut(&space) {
            known.verdicts = if lacks { BTreeMap::new() } else { membership.verdicts() };
            known.membership = membership;
            known.removals = removals;
            known.log = log;
            self.told.push_back(Told::SpaceChanged(known.state()));
        }
        let opened = self.opened;
        let mut causes = vec![HeldCause::UnknownPosition, HeldCause::NotAllowed];
        if !shift.is_empty() {
            self.mending(opened, |replica| replica.take_back(space, shift.clone()))?;
            causes.extend([HeldCause::AfterCut, HeldCause::Equivocation]);
        }
        self.mending(opened, |replica| replica.retry(space, &causes))
    }

    pub(super) fn add_space(&mut self, log: Log) -> Result<(), ReplicaError> {
        if self.spaces.len() >= SPACES_PER_NODE_MAX {
            let (count, max) = (self.spaces.len() + 1, SPACES_PER_NODE_MAX);
            return Err(ReplicaError::TooMany { what: "spaces", count, max });
        }
        let space = log.space();
        self.end_erasure(&space)?;
        let mut batch = Batch::new();
        stage_statements(&mut batch, space, log.statements());
        self.store.write(batch)?;
        let added = Space::new(log);
        self.told.push_back(Told::SpaceChanged(added.state()));
        self.spaces.insert(space, added);
        Ok(())
    }
}

/// What a log means for what is applied under another one.
fn shift(
    known: &Space,
    membership: &Membership,
    removals: &BTreeMap<PeerId, BTreeSet<StatementHash>>,
) -> Shift {
    let before = &known.removals;
    let differ = |device: &&PeerId| before.get(*device) != removals.get(*device);
    let devices = before.keys().chain(removals.keys()).filter(differ).copied().collect();
    let turned = |statement: &Statement| {
        known.membership.counts(&statement.hash()) != membership.counts(&statement.hash())
    };
    let clashes = !known.clashes.is_empty() && known.verdicts != membership.verdicts();
    Shift { devices, rights: known.log.statements().any(turned), clashes }
}
