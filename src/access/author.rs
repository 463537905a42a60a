//! Making statements: each on top of what is known, and none that would not count.

use crate::id::{CollectionName, CommitHash, MemberId, PeerId, StatementHash};
use crate::identity::Identity;
use crate::limits::STATEMENT_PREV_MAX;
use crate::time::Timestamp;

use super::log::check_name;
use super::{AccessError, Body, Cut, Grant, Log, Member, Membership, Role, Statement, Uses};

/// Every function returns a signed statement on top of the current heads; it takes effect when it is
/// inserted.
///
/// All refuse with [`AccessError::Denied`], which names the rule, when the statement would not count.
impl Log {
    /// Invites a new member with `role`, by the key of a secret; see `Invite::key`.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is an admin whose role is at least `role`.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// let statement = log.invite(&ada, Role::Writer, invite.key(), invite.expiry())?;
    /// log.insert(statement)?;
    /// println!("send this: {invite}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn invite(
        &self,
        identity: &Identity,
        role: Role,
        key: PeerId,
        expiry: Timestamp,
    ) -> Result<Statement, AccessError> {
        self.invite_as(identity, role, key, expiry, Uses::Once)
    }

    /// Invites as [`Log::invite`], but a device that asks waits until it is approved of; see
    /// [`Log::redeem_approved`].
    ///
    /// # Errors
    ///
    /// As [`Log::invite`].
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{AccessError, Invite, InviteKind, Log, Refusal, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// log.insert(log.invite_with_approval(&ada, Role::Writer, invite.key(), later)?)?;
    ///
    /// let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// let answer = log.redeem(&ada, &request, bob.peer(), &[5; 32], later);
    /// assert_eq!(answer, Err(AccessError::Refused(Refusal::Waiting)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn invite_with_approval(
        &self,
        identity: &Identity,
        role: Role,
        key: PeerId,
        expiry: Timestamp,
    ) -> Result<Statement, AccessError> {
        self.invite_as(identity, role, key, expiry, Uses::Approved)
    }

    fn invite_as(
        &self,
        identity: &Identity,
        role: Role,
        key: PeerId,
        expiry: Timestamp,
        uses: Uses,
    ) -> Result<Statement, AccessError> {
        const WHAT: &str = "inviting";
        self.need_role(identity, WHAT, Role::Admin.max(role))?;
        self.next(identity, WHAT, Body::Invite { key, grant: Grant::Role(role), expiry, uses })
    }

    /// Invites another device of the signer's own member, by the key of a secret. The recovery key may do
    /// so for any member with [`Log::invite_device_of`].
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is a member's device.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let invite = Invite::new(InviteKind::Device, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// log.insert(log.invite_device(&ada, invite.key(), invite.expiry())?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn invite_device(
        &self,
        identity: &Identity,
        key: PeerId,
        expiry: Timestamp,
    ) -> Result<Statement, AccessError> {
        let membership = self.membership();
        let member = signer_of(&membership, identity, "inviting a device")?.id;
        self.invite_device_of(identity, member, key, expiry)
    }

    /// Invites another device of `member`.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is one of its devices or the recovery key.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let invite = Invite::new(InviteKind::Device, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// let member = log.membership().member_of(&ada.peer()).ok_or("no member")?.id;
    /// let statement = log.invite_device_of(&ada, member, invite.key(), later)?;
    /// assert!(log.insert(statement)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn invite_device_of(
        &self,
        identity: &Identity,
        member: MemberId,
        key: PeerId,
        expiry: Timestamp,
    ) -> Result<Statement, AccessError> {
        let grant = Grant::Device(member);
        self.next(identity, "inviting a device", Body::Invite { key, grant, expiry, uses: Uses::Once })
    }

    /// Takes an invite back.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is of the member that made it, or an admin senior to it.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// let invitation = log.invite(&ada, Role::Writer, invite.key(), later)?;
    /// log.insert(invitation.clone())?;
    /// log.insert(log.revoke_invite(&ada, invitation.hash())?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn revoke_invite(
        &self,
        identity: &Identity,
        invite: StatementHash,
    ) -> Result<Statement, AccessError> {
        self.next(identity, "revoking an invite", Body::RevokeInvite { invite })
    }

    /// Removes a member with all its devices, for good, with the empty cut: of its work nothing stays but what others
    /// built on. [`Log::remove_member_at`] names what stays.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is one of its devices, an admin senior to it, or the
    /// recovery key.
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
    /// log.insert(log.remove_member(&ada, bobs)?)?;
    /// assert!(log.membership().member(&bobs).ok_or("no member")?.removed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_member(&self, identity: &Identity, member: MemberId) -> Result<Statement, AccessError> {
        self.remove_member_with(identity, member, Cut::default())
    }

    /// Removes a member; the cut tells which of its commits stay.
    ///
    /// # Errors
    ///
    /// As [`Log::remove_member`].
    pub(crate) fn remove_member_with(
        &self,
        identity: &Identity,
        member: MemberId,
        cut: Cut,
    ) -> Result<Statement, AccessError> {
        let body = Body::RemoveMember { member, cut: Cut::default() };
        self.remove_member_at(identity, member, &self.heads_for(identity, &body), cut)
    }

    /// Removes a member as of an earlier position: what the member signed that is not before `heads` is void,
    /// its own removals of others among it. The cut tells which of its commits stay.
    ///
    /// # Errors
    ///
    /// As [`Log::remove_member`], and [`AccessError::UnknownPosition`] when one of `heads` is not here.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Cut, Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// # let bobs = log.membership().member_of(&bob.peer()).ok_or("no member")?.id;
    /// let before = log.membership().heads().to_vec();
    /// log.insert(log.set_name(&ada, "Harbour Repairs")?)?;
    /// log.insert(log.remove_member_at(&ada, bobs, &before, Cut::default())?)?;
    /// assert_eq!(log.membership().role(&bob.peer()), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_member_at(
        &self,
        identity: &Identity,
        member: MemberId,
        heads: &[StatementHash],
        cut: Cut,
    ) -> Result<Statement, AccessError> {
        const WHAT: &str = "removing a member";
        self.need_seniority(identity, WHAT, &member)?;
        self.on_top_of(identity, WHAT, heads, Body::RemoveMember { member, cut })
    }

    /// Removes a device, for good, with the empty cut. One that was enrolled twice stays as the junior of the two;
    /// call again.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is a device of the same member, an admin senior to it, or
    /// the recovery key, or when the device is no member's.
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
    /// log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// log.insert(log.remove_device(&bob, bob.peer())?)?;
    /// assert_eq!(log.membership().role(&bob.peer()), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_device(&self, identity: &Identity, device: PeerId) -> Result<Statement, AccessError> {
        self.remove_device_with(identity, device, Cut::default())
    }

    /// Removes a device; the cut tells which of its commits stay.
    ///
    /// # Errors
    ///
    /// As [`Log::remove_device`].
    pub(crate) fn remove_device_with(
        &self,
        identity: &Identity,
        device: PeerId,
        cut: Cut,
    ) -> Result<Statement, AccessError> {
        const WHAT: &str = "removing a device";
        let enrolment = self.enrolment_of(WHAT, &device)?.1;
        let body = Body::RemoveDevice { enrolment, cut: Cut::default() };
        self.remove_device_at(identity, device, &self.heads_for(identity, &body), cut)
    }

    /// Removes a device as of an earlier position: what it signed that is not before `heads` is void. That
    /// is how the recovery key undoes what a stolen device did. The cut tells which of its commits stay.
    ///
    /// # Errors
    ///
    /// As [`Log::remove_device`], and [`AccessError::UnknownPosition`] when one of `heads` is not here.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Cut, Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let before = log.membership().heads().to_vec();
    /// log.insert(log.set_name(&ada, "Harbour Repairs")?)?;
    /// log.insert(log.remove_device_at(&ada, bob.peer(), &before, Cut::default())?)?;
    /// assert_eq!(log.membership().role(&bob.peer()), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_device_at(
        &self,
        identity: &Identity,
        device: PeerId,
        heads: &[StatementHash],
        cut: Cut,
    ) -> Result<Statement, AccessError> {
        const WHAT: &str = "removing a device";
        let (member, enrolment) = self.enrolment_of(WHAT, &device)?;
        self.need_seniority(identity, WHAT, &member)?;
        self.on_top_of(identity, WHAT, heads, Body::RemoveDevice { enrolment, cut })
    }

    /// Gives a member another role.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is an admin senior to it whose role is at least `role`, or a
    /// member that lowers its own.
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
    /// log.insert(log.set_role(&ada, bobs, Role::Admin)?)?;
    /// assert_eq!(log.membership().role(&bob.peer()), Some(Role::Admin));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_role(
        &self,
        identity: &Identity,
        member: MemberId,
        role: Role,
    ) -> Result<Statement, AccessError> {
        const WHAT: &str = "setting a role";
        let membership = self.membership();
        if !self.is_recovery(identity) {
            let signer = signer_of(&membership, identity, WHAT)?;
            if role > signer.role {
                return Err(denied(WHAT, "nobody gives a role above its own"));
            }
            if signer.id != member {
                self.need_role(identity, WHAT, Role::Admin)?;
                self.need_seniority(identity, WHAT, &member)?;
            }
        }
        self.next(identity, WHAT, Body::SetRole { member, role })
    }

    /// Picks one of two commits of a device that cannot both be: `drop` never counts, and what was frozen for the two
    /// is not any more.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is an admin senior to the device's member, or the recovery key.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, id::CommitHash, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let (keep, drop) = (CommitHash::new([1; 32]), CommitHash::new([2; 32]));
    /// log.insert(log.verdict(&ada, bob.peer(), keep, drop)?)?;
    /// assert!(log.verdict(&bob, bob.peer(), drop, keep).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verdict(
        &self,
        identity: &Identity,
        device: PeerId,
        keep: CommitHash,
        drop: CommitHash,
    ) -> Result<Statement, AccessError> {
        self.next(identity, "settling a clash", Body::Verdict { device, keep, drop })
    }

    /// Sets the least roles that read and write a collection.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is an admin whose role neither the rule nor the one that it
    /// replaces exceeds.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Log, Role};
    /// # use driftless::{id::CollectionName, identity::Identity};
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let wages = CollectionName::new("wages")?;
    /// log.insert(log.set_rule(&ada, &wages, Role::Admin, Role::Owner)?)?;
    /// assert_eq!(log.membership().rule(&wages), (Role::Admin, Role::Owner));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_rule(
        &self,
        identity: &Identity,
        collection: &CollectionName,
        read: Role,
        write: Role,
    ) -> Result<Statement, AccessError> {
        const WHAT: &str = "setting a rule";
        let (old_read, old_write) = self.membership().rule(collection);
        let needed = Role::Admin.max(read).max(write).max(old_read).max(old_write);
        self.need_role(identity, WHAT, needed)?;
        self.next(identity, WHAT, Body::SetRule { collection: collection.clone(), read, write })
    }

    /// Gives the space another name.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is an admin, [`AccessError::TooLarge`] when it is too long.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// log.insert(log.set_name(&ada, "Harbour Repairs")?)?;
    /// assert_eq!(log.membership().name(), "Harbour Repairs");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_name(&self, identity: &Identity, name: &str) -> Result<Statement, AccessError> {
        const WHAT: &str = "renaming the space";
        check_name(name)?;
        self.need_role(identity, WHAT, Role::Admin)?;
        self.next(identity, WHAT, Body::SetName { name: name.to_owned() })
    }

    pub(super) fn next(
        &self,
        identity: &Identity,
        what: &'static str,
        body: Body,
    ) -> Result<Statement, AccessError> {
        let heads = self.heads_for(identity, &body);
        self.on_top_of(identity, what, &heads, body)
    }

    /// The heads as a signer names them who says this.
    fn heads_for(&self, identity: &Identity, body: &Body) -> Vec<StatementHash> {
        let named = match body {
            Body::RevokeInvite { invite } => vec![*invite],
            Body::Invite { grant: Grant::Device(member), .. }
            | Body::RemoveMember { member, .. }
            | Body::SetRole { member, .. } => vec![StatementHash::new(*member.as_bytes())],
            Body::RemoveDevice { enrolment, .. } => vec![*enrolment],
            Body::AddMember(enrolment) => vec![enrolment.invite],
            Body::AddDevice { member, enrolment } => {
                vec![StatementHash::new(*member.as_bytes()), enrolment.invite]
            }
            Body::Genesis(_)
            | Body::SetName { .. }
            | Body::Invite { .. }
            | Body::SetRule { .. }
            | Body::Verdict { .. }
            | Body::Other { .. } => Vec::new(),
        };
        self.membership().heads_for(&identity.peer(), &named)
    }

    /// Signs a statement behind `heads`, and lets it go only if it counts.
    fn on_top_of(
        &self,
        identity: &Identity,
        what: &'static str,
        heads: &[StatementHash],
        body: Body,
    ) -> Result<Statement, AccessError> {
        let mut prev = heads.to_vec();
        prev.sort_unstable();
        prev.dedup();
        if prev.len() > STATEMENT_PREV_MAX {
            return Err(AccessError::TooMany { what: "previous statements", max: STATEMENT_PREV_MAX });
        }
        let mut last = 0;
        for hash in &prev {
            let statement = self.statement(hash).ok_or(AccessError::UnknownPosition { hash: *hash })?;
            last = last.max(statement.lamport());
        }
        let statement = Statement::sign(identity, &self.space(), last.saturating_add(1), prev, body)?;
        let mut trial = self.clone();
        if let Err(error) = trial.insert(statement.clone()) {
            let stranger = error == AccessError::UnknownSigner;
            return Err(if stranger { denied(what, "the signer is no member's device") } else { error });
        }
        if !trial.membership().counts(&statement.hash()) {
            return Err(denied(what, "the statement would not count"));
        }
        Ok(statement)
    }

    /// The member of a device, and the statement that enrolled it.
    fn enrolment_of(
        &self,
        what: &'static str,
        device: &PeerId,
    ) -> Result<(MemberId, StatementHash), AccessError> {
        let membership = self.membership();
        let member = membership.member_of(device).ok_or_else(|| denied(what, "the device is no member's"))?;
        let enrolment = member.devices.iter().find(|other| other.peer == *device && !other.removed);
        let enrolment = enrolment.ok_or_else(|| denied(what, "the device is no member's"))?.enrolment;
        Ok((member.id, enrolment))
    }

    fn is_recovery(&self, identity: &Identity) -> bool {
        self.recovery() == Some(&identity.peer())
    }

    fn need_role(&self, identity: &Identity, what: &'static str, needed: Role) -> Result<(), AccessError> {
        if self.is_recovery(identity) {
            return Ok(());
        }
        let membership = self.membership();
        let role = membership.role(&identity.peer());
        let role = role.ok_or_else(|| denied(what, "the signer is no member's device"))?;
        if role < needed {
            let rule = format!("it needs the role {needed}, and the signer has {role}");
            return Err(AccessError::Denied { what, rule });
        }
        Ok(())
    }

    /// A member's own devices, admins senior to it and the recovery key.
    fn need_seniority(
        &self,
        identity: &Identity,
        what: &'static str,
        target: &MemberId,
    ) -> Result<(), AccessError> {
        if self.is_recovery(identity) {
            return Ok(());
        }
        let membership = self.membership();
        let signer = signer_of(&membership, identity, what)?;
        if signer.id == *target {
            return Ok(());
        }
        self.need_role(identity, what, Role::Admin)?;
        let place = |id: &MemberId| membership.members().iter().position(|member| member.id == *id);
        let Some(target) = place(target) else { return Err(denied(what, "there is no such member")) };
        if place(&signer.id).is_some_and(|signer| signer < target) {
            Ok(())
        } else {
            Err(denied(what, "only somebody senior may, the member itself or the recovery key"))
        }
    }
}

fn signer_of<'a>(
    membership: &'a Membership,
    identity: &Identity,
    what: &'static str,
) -> Result<&'a Member, AccessError> {
    membership.member_of(&identity.peer()).ok_or_else(|| denied(what, "the signer is no member's device"))
}

fn denied(what: &'static str, rule: &str) -> AccessError {
    AccessError::Denied { what, rule: rule.to_owned() }
}
