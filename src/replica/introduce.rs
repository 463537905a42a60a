//! The statements that show that this device belongs to a space, and those that a stranger shows.

use std::collections::{BTreeMap, BTreeSet};

use super::space::Space;
use super::{Replica, ReplicaError};
use crate::access::{Body, Statement};
use crate::exchange::Answer;
use crate::id::{PeerId, SpaceId, StatementHash};
use crate::limits::{INTRODUCTION_BYTES_MAX, INTRODUCTION_STATEMENTS_MAX};

impl Replica {
    /// The newest statements of those that enrolled this device and those that they follow, as many as an
    /// introduction holds; the genesis is known to everybody.
    pub(super) fn enrolment(&self, space: SpaceId) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let own = known.log.statements().filter(|statement| enrolled(statement) == Some(self.peer));
        Ok(Answer::Statements(newest(known, own.map(Statement::hash).collect())))
    }

    /// The newest statements of those that removed a device and those that they follow, as many as an introduction
    /// holds. It had most of the older ones when it was last heard of.
    pub(super) fn removal(&self, space: SpaceId, device: PeerId) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let removals = known.removals.get(&device).into_iter().flatten().copied().collect();
        Ok(Answer::Statements(newest(known, removals)))
    }

    /// Takes the statements of a device that is no member if they make it one; else nothing of them is kept.
    pub(super) fn introduce(
        &mut self,
        space: SpaceId,
        from: PeerId,
        statements: &[Vec<u8>],
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut log = known.log.clone();
        let mut new = Vec::new();
        for bytes in statements {
            let Ok(statement) = Statement::decode(bytes) else { return Ok(Answer::Introduced(false)) };
            match log.insert(statement.clone()) {
                Ok(true) => new.push(statement),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(peer = %from.short(), %error, "statement of a stranger refused");
                    return Ok(Answer::Introduced(false));
                }
            }
        }
        let is_member = log.membership().role(&from).is_some();
        if is_member && !new.is_empty() {
            self.adopt(log, &new)?;
        }
        Ok(Answer::Introduced(is_member))
    }
}

/// The newest of these statements and those that they follow; the genesis is known to everybody.
fn newest(known: &Space, mut due: Vec<StatementHash>) -> Vec<Vec<u8>> {
    let mut past = BTreeSet::new();
    let mut by_age = BTreeMap::new();
    while let Some(hash) = due.pop() {
        let Some(statement) = known.log.statement(&hash).filter(|_| past.insert(hash)) else { continue };
        due.extend(statement.prev());
        if !matches!(statement.body(), Body::Genesis(_)) {
            by_age.insert((statement.lamport(), hash), statement);
        }
    }
    let mut bytes = 0;
    let newest = by_age.into_values().rev().take(INTRODUCTION_STATEMENTS_MAX).take_while(|statement| {
        bytes += statement.bytes().len();
        bytes <= INTRODUCTION_BYTES_MAX
    });
    let mut statements: Vec<Vec<u8>> = newest.map(|statement| statement.bytes().to_vec()).collect();
    statements.reverse();
    statements
}

/// The device that a statement enrols.
fn enrolled(statement: &Statement) -> Option<PeerId> {
    match statement.body() {
        Body::AddMember(enrolment) | Body::AddDevice { enrolment, .. } => Some(enrolment.device),
        Body::Genesis(_)
        | Body::SetName { .. }
        | Body::Invite { .. }
        | Body::RevokeInvite { .. }
        | Body::RemoveMember { .. }
        | Body::RemoveDevice { .. }
        | Body::SetRole { .. }
        | Body::SetRule { .. }
        | Body::Verdict { .. }
        | Body::Other { .. } => None,
    }
}
