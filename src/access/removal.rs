//! What counting removals and verdicts mean for the commits of the devices that they are about.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CollectionName, CommitHash, PeerId, StatementHash};

use super::graph::Bits;
use super::membership::needed;
use super::resolve::Resolution;
use super::{AccessError, Action, Body, Membership};

/// What counting verdicts say of the commits of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    kept: BTreeSet<CommitHash>,
    dropped: BTreeSet<CommitHash>,
}

impl Verdicts {
    /// One of them drops a commit.
    pub(crate) fn drop(&self, commit: &CommitHash) -> bool {
        self.dropped.contains(commit)
    }

    /// One of them picks a commit, and none drops it.
    pub(crate) fn keep(&self, commit: &CommitHash) -> bool {
        self.kept.contains(commit) && !self.drop(commit)
    }
}

impl Membership {
    /// Returns the devices of which any enrolment was removed, each with the removals. Almost every device is not
    /// among them, and nothing more needs to be asked about its commits.
    #[must_use]
    pub(crate) fn removals(&self) -> BTreeMap<PeerId, BTreeSet<StatementHash>> {
        let mut removals: BTreeMap<PeerId, BTreeSet<StatementHash>> = BTreeMap::new();
        for (device, enrolments) in self.resolution.enrolled.iter() {
            for removal in enrolments.iter().flat_map(|enrolment| self.removals_of(*enrolment)) {
                removals.entry(*device).or_default().insert(self.graph.statement(removal).hash());
            }
        }
        removals
    }

    /// Returns the removals that bind a commit of `device` at `at` in `collections`: those of the enrolments by which
    /// it might write there, unless one of them was never removed.
    ///
    /// # Errors
    ///
    /// [`AccessError::UnknownPosition`] when one of `at` is not here.
    pub(crate) fn binding(
        &self,
        device: &PeerId,
        collections: &[&CollectionName],
        at: &[StatementHash],
    ) -> Result<BTreeSet<StatementHash>, AccessError> {
        let position = self.graph.closure(at)?;
        let within = |number: usize| position.contains(number);
        let rule = |collection: &&CollectionName| self.resolution.rule(&self.graph, collection, &within);
        let role_needed = collections.iter().map(|collection| needed(Action::Write, rule(collection))).max();
        let mut binding = BTreeSet::new();
        let enrolments = self.resolution.enrolled.get(device).into_iter().flatten().copied();
        for enrolment in enrolments.filter(|enrolment| within(*enrolment)) {
            let Some(member) = Resolution::member_of(&self.graph, enrolment) else { continue };
            let role = self.resolution.role(&self.graph, member, &within);
            let removals: Vec<usize> = self.removals_of(enrolment).collect();
            if role < role_needed || removals.iter().any(|removal| within(*removal)) {
                continue;
            }
            if removals.is_empty() {
                return Ok(BTreeSet::new());
            }
            binding.extend(removals.into_iter().map(|removal| self.graph.statement(removal).hash()));
        }
        Ok(binding)
    }

    /// Tells which of `removals` who stood at `at` had not heard of.
    ///
    /// # Errors
    ///
    /// [`AccessError::UnknownPosition`] when one of `at` is not here.
    pub(crate) fn unheard(
        &self,
        removals: &BTreeSet<StatementHash>,
        at: &[StatementHash],
    ) -> Result<BTreeSet<StatementHash>, AccessError> {
        let position: Bits = self.graph.closure(at)?;
        let heard = |removal: &StatementHash| {
            self.graph.number(removal).is_some_and(|number| position.contains(number))
        };
        Ok(removals.iter().filter(|removal| !heard(removal)).copied().collect())
    }

    /// Returns the commits that a removal names as those that stay.
    #[must_use]
    pub(crate) fn cut(&self, removal: &StatementHash) -> &[CommitHash] {
        let body = self.graph.number(removal).map(|number| self.graph.statement(number).body());
        match body {
            Some(Body::RemoveMember { cut, .. } | Body::RemoveDevice { cut, .. }) => cut.commits(),
            Some(_) | None => &[],
        }
    }

    /// Returns the counting verdicts, by the device that each is about.
    #[must_use]
    pub(crate) fn verdicts(&self) -> BTreeMap<PeerId, Verdicts> {
        let mut verdicts: BTreeMap<PeerId, Verdicts> = BTreeMap::new();
        for (number, statement) in self.graph.statements().enumerate() {
            let Body::Verdict { device, keep, drop } = statement.body() else { continue };
            if self.resolution.counts(number) {
                let of_device = verdicts.entry(*device).or_default();
                of_device.kept.insert(*keep);
                of_device.dropped.insert(*drop);
            }
        }
        verdicts
    }

    fn removals_of(&self, enrolment: usize) -> impl Iterator<Item = usize> {
        let member = Resolution::member_of(&self.graph, enrolment);
        member.into_iter().flat_map(move |member| self.resolution.removals(member, enrolment))
    }
}
