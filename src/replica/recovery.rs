//! What the holder of a space's recovery key does from this device.

use super::{Replica, ReplicaError};
use crate::access::{RecoveryKey, Role};
use crate::id::{MemberId, PeerId, SpaceId, StatementHash};
use crate::time::Now;

/// An act of the recovery key.
#[derive(Clone, Debug)]
pub(crate) enum Rescue {
    /// This device becomes one of a member's.
    TakePlace { member: MemberId, device_name: String },
    /// A device goes; with all that it said from a statement on, if one is named.
    RemoveDevice { device: PeerId, before: Option<StatementHash> },
    /// A member goes.
    RemoveMember { member: MemberId },
    /// A member gets another role.
    SetRole { member: MemberId, role: Role },
}

impl Replica {
    /// Does something as the recovery key, whatever this device may do itself.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::NotFound`] when the space is not here, [`ReplicaError::Access`] with the rule when it is not the
    /// space's key, or names what is not there.
    pub(crate) fn rescue(
        &mut self,
        now: Now,
        space: SpaceId,
        key: &RecoveryKey,
        rescue: Rescue,
    ) -> Result<(), ReplicaError> {
        self.wall = now.wall;
        let membership = self.membership(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let recovery = key.identity();
        match rescue {
            Rescue::TakePlace { member, device_name } => {
                let devices = membership.member(&member).into_iter().flat_map(|member| &member.devices);
                if devices.into_iter().any(|device| device.peer == self.peer && !device.removed) {
                    return Ok(());
                }
                let secret = self.entropy.bytes();
                let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
                let made = known.log.enrol_for(&recovery, member, &self.identity, &device_name, secret)?;
                let mut log = known.log.clone();
                for statement in &made {
                    log.insert(statement.clone())?;
                }
                self.adopt(log, &made)
            }
            Rescue::RemoveDevice { device, before } => {
                let cut = self.mending(now, |replica| replica.cut_of(space, &[device]))?;
                self.author_as(space, &recovery, |log, by| match before {
                    Some(statement) => log.remove_device_at(by, device, &log.before(&statement)?, cut),
                    None => log.remove_device_with(by, device, cut),
                })
            }
            Rescue::RemoveMember { member } => {
                let devices = membership.member(&member).into_iter().flat_map(|member| &member.devices);
                let devices: Vec<PeerId> = devices.map(|device| device.peer).collect();
                let cut = self.mending(now, |replica| replica.cut_of(space, &devices))?;
                self.author_as(space, &recovery, |log, by| log.remove_member_with(by, member, cut))
            }
            Rescue::SetRole { member, role } => {
                self.author_as(space, &recovery, |log, by| log.set_role(by, member, role))
            }
        }
    }
}
