//! Who has room in a log that is nearly full.
//!
//! ```text
//! places  0 .. 12,288       everybody
//!             .. 13,312     statements that count, of admins
//!             .. 15,872     of the most senior admin
//!             .. 16,384     of the recovery key
//! ```
//!
//! So nobody fills a log against the one who may remove it. What somebody with room follows has its room: an honest
//! author follows little, see [`super::follow`].

use std::collections::BTreeMap;

use super::graph::Bits;
use super::resolve::Resolution;
use super::{AccessError, Log, Role, Statement};
use crate::id::{PeerId, StatementHash};
use crate::limits::{
    STATEMENTS_OF_ADMINS, STATEMENTS_OF_RECOVERY, STATEMENTS_OF_SENIOR, STATEMENTS_PER_SPACE_MAX,
    STATEMENTS_WAITING_MAX, STATEMENTS_WAITING_OF_ADMINS,
};

/// Statements that somebody with room follows, and how many of the last places are kept from that one.
pub(super) type Wanted = BTreeMap<StatementHash, usize>;

impl Log {
    /// # Errors
    ///
    /// [`AccessError::TooMany`] when all places are taken that are open to a statement.
    pub(super) fn check_room(&mut self, statement: &Statement, past: &Bits) -> Result<(), AccessError> {
        let left = STATEMENTS_PER_SPACE_MAX.saturating_sub(self.graph.len());
        if left > STATEMENTS_OF_ADMINS || self.reading && left > 0 {
            return Ok(());
        }
        self.judge();
        let full = AccessError::TooMany { what: "statements", max: STATEMENTS_PER_SPACE_MAX };
        if self.wanted.get(&statement.hash()).is_some_and(|kept| left > *kept) {
            return Ok(());
        }
        if left <= self.kept_from(&statement.signer()) {
            return Err(full);
        }
        let mut trial = self.clone();
        trial.attach(statement.clone(), past.clone());
        trial.judge();
        if trial.resolution.counts(trial.graph.len() - 1) { Ok(()) } else { Err(full) }
    }

    /// # Errors
    ///
    /// [`AccessError::TooMany`] when as many statements wait as may.
    pub(super) fn check_waiting_room(&self, statement: &Statement) -> Result<(), AccessError> {
        let left = STATEMENTS_WAITING_MAX.saturating_sub(self.waiting.len());
        let is_of_an_admin = || self.kept_from(&statement.signer()) < STATEMENTS_OF_ADMINS;
        let is_open = left > STATEMENTS_WAITING_OF_ADMINS || self.reading || is_of_an_admin();
        if left > 0 && is_open {
            return Ok(());
        }
        Err(AccessError::TooMany { what: "waiting statements", max: STATEMENTS_WAITING_MAX })
    }

    /// Takes those statements of a full log that somebody with room follows; each with what became of it before.
    pub(super) fn take_wanted(&mut self, mut refused: Vec<(Statement, &mut Result<bool, AccessError>)>) {
        self.wanted = self.wanted(refused.iter().map(|(statement, _)| statement));
        refused.sort_by_key(|(statement, _)| (statement.lamport(), statement.hash()));
        for (statement, taken) in refused {
            if self.wanted.contains_key(&statement.hash()) {
                *taken = self.take(statement);
            }
        }
        self.wanted.clear();
        self.judge();
    }

    /// What is missing of what admins and the recovery key follow in statements that wait or were refused just now.
    fn wanted<'a>(&'a self, refused: impl Iterator<Item = &'a Statement>) -> Wanted {
        let mut all: Vec<&Statement> = self.waiting.values().chain(refused).collect();
        all.sort_by_key(|statement| std::cmp::Reverse((statement.lamport(), statement.hash())));
        let mut wanted = Wanted::new();
        for statement in all {
            let by_follower = wanted.get(&statement.hash()).copied();
            let kept = by_follower.unwrap_or(STATEMENTS_OF_ADMINS).min(self.kept_from(&statement.signer()));
            if kept >= STATEMENTS_OF_ADMINS {
                continue;
            }
            for prev in statement.prev().iter().filter(|prev| self.graph.number(prev).is_none()) {
                let least = wanted.entry(*prev).or_insert(kept);
                *least = kept.min(*least);
            }
        }
        wanted
    }

    /// How many of the last places are kept from what a key says.
    fn kept_from(&self, key: &PeerId) -> usize {
        if self.recovery() == Some(key) {
            return 0;
        }
        let all = |_: usize| true;
        let is_admin = |member: usize| self.resolution.role(&self.graph, member, &all) >= Some(Role::Admin);
        let is_there = |member: &usize| self.resolution.members_removed.get(member).is_none();
        let enrolments = self.resolution.enrolled.get(key).into_iter().flatten();
        let members = enrolments.filter_map(|enrolment| {
            let member = Resolution::member_of(&self.graph, *enrolment)?;
            let is_removed = self.resolution.is_removed(member, *enrolment, &all);
            (!is_removed && is_admin(member)).then_some(member)
        });
        let mut admins =
            self.resolution.members.iter().copied().filter(is_there).filter(|member| is_admin(*member));
        let senior = admins.next();
        let kept = |member: usize| {
            let others = STATEMENTS_OF_SENIOR + STATEMENTS_OF_RECOVERY;
            if Some(member) == senior { STATEMENTS_OF_RECOVERY } else { others }
        };
        members.map(kept).min().unwrap_or(STATEMENTS_OF_ADMINS)
    }
}
