//! The statements that show that this device belongs to a space, and those that a stranger shows.

use std::collections::{BTreeMap, BTreeSet};

use super::space::Space;
use super::{Replica, ReplicaError};
use crate::access::{Body, Statement};
use crate::exchange::Answer;
use crate::id::{PeerId, SpaceId, StatementHash};
use crate::limits::{INTRODUCTION_BYTES_MAX, INTRODUCTION_STATEMENTS_MAX};

/// Statements, each behind those that it follows.
type Aged<'a> = BTreeMap<(u64, StatementHash), &'a Statement>;

impl Replica {
    /// The newest statements of those that enrolled this device and those that they follow, as many as an
    /// introduction holds; the genesis is known to everybody. Before those go the statements for which a removal of
    /// `to` does not count: who has heard of the removal alone believes that it is no member, and asks nobody.
    pub(super) fn enrolment(&self, space: SpaceId, to: PeerId) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let own = known.log.statements().filter(|statement| enrolled(statement) == Some(self.peer));
        let own = past(known, own.map(Statement::hash).collect());
        Ok(Answer::Statements(shown(unheard_by_void_removals(known, &to), own)))
    }

    /// The newest statements of those that removed a device and those that they follow, as many as an introduction
    /// holds. It had most of the older ones when it was last heard of.
    pub(super) fn removal(&self, space: SpaceId, device: PeerId) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let removals = known.removals.get(&device).into_iter().flatten().copied().collect();
        Ok(Answer::Statements(shown(Aged::new(), past(known, removals))))
    }

    /// Takes the statements of a device if it and this one are members by them; else nothing of them is kept.
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
                }
            }
        }
        let membership = log.membership();
        let is_member = [from, self.peer].iter().all(|device| membership.role(device).is_some());
        if is_member && !new.is_empty() {
            self.adopt(log, &new)?;
        }
        Ok(Answer::Introduced(is_member))
    }
}

/// These statements and those that they follow; the genesis is known to everybody.
fn past(known: &Space, mut due: Vec<StatementHash>) -> Aged<'_> {
    let mut met = BTreeSet::new();
    let mut past = Aged::new();
    while let Some(hash) = due.pop() {
        let Some(statement) = known.log.statement(&hash).filter(|_| met.insert(hash)) else { continue };
        due.extend(statement.prev());
        if !matches!(statement.body(), Body::Genesis(_)) {
            past.insert((statement.lamport(), hash), statement);
        }
    }
    past
}

/// What the removals of a device that do not count had not heard; nothing when there are none.
fn unheard_by_void_removals<'a>(known: &'a Space, device: &PeerId) -> Aged<'a> {
    let member = known.membership.member_of(device).map(|member| member.id);
    let of_device = |statement: &Statement| {
        enrolled(statement) == Some(*device)
            || matches!(statement.body(), Body::Genesis(_)) && statement.signer() == *device
    };
    let removes = |statement: &Statement| {
        let body = statement.body();
        matches!(body, Body::RemoveMember { member: removed, .. } if Some(*removed) == member)
            || matches!(body, Body::RemoveDevice { enrolment, .. }
                if known.log.statement(enrolment).is_some_and(of_device))
    };
    let mut unheard = Aged::new();
    for removal in known.log.statements().filter(|statement| removes(statement)) {
        if !known.membership.counts(&removal.hash()) {
            let heard = past(known, vec![removal.hash()]);
            let all = known.log.statements().filter(|other| !matches!(other.body(), Body::Genesis(_)));
            let all = all.map(|other| ((other.lamport(), other.hash()), other));
            unheard.extend(all.filter(|(age, _)| !heard.contains_key(age)));
        }
    }
    unheard
}

/// As many statements as an introduction holds: the oldest of the first, then the newest of the others.
fn shown(first: Aged<'_>, others: Aged<'_>) -> Vec<Vec<u8>> {
    let (mut shown, mut bytes) = (Aged::new(), 0);
    for (age, statement) in first.into_iter().chain(others.into_iter().rev()) {
        if shown.contains_key(&age) {
            continue;
        }
        bytes += statement.bytes().len();
        if shown.len() >= INTRODUCTION_STATEMENTS_MAX || bytes > INTRODUCTION_BYTES_MAX {
            break;
        }
        shown.insert(age, statement);
    }
    shown.into_values().map(|statement| statement.bytes().to_vec()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::limits::STATEMENT_BYTES_MAX;

    /// As large as there is any.
    fn large(lamport: u64) -> Statement {
        let sign = |bytes: usize| {
            let body = Body::Other { kind: 1_001, bytes: vec![0; bytes] };
            let prev = vec![StatementHash::new([lamport as u8; 32])];
            let signer = Identity::from_seed([1; 32]);
            Statement::sign(&signer, &SpaceId::new([1; 32]), lamport, prev, body).expect("small")
        };
        let rest = sign(STATEMENT_BYTES_MAX / 2).bytes().len() - STATEMENT_BYTES_MAX / 2;
        sign(STATEMENT_BYTES_MAX - rest)
    }

    /// Seen failing with four times the bytes in `shown`.
    #[test]
    fn an_introduction_has_so_many_bytes_of_statements_and_the_newest() {
        let most = INTRODUCTION_BYTES_MAX / STATEMENT_BYTES_MAX;
        let statements: Vec<Statement> = (1..=most as u64 + 3).map(large).collect();
        let aged = || statements.iter().map(|of| ((of.lamport(), of.hash()), of)).collect::<Aged<'_>>();

        let told = shown(Aged::new(), aged());

        assert_eq!(told.iter().map(Vec::len).sum::<usize>(), INTRODUCTION_BYTES_MAX);
        let newest: Vec<&[u8]> = statements.iter().skip(3).map(Statement::bytes).collect();
        assert_eq!(told, newest);
        assert_eq!(
            shown(aged(), Aged::new())[0],
            statements[0].bytes(),
            "and of those that go before the oldest"
        );
    }
}
