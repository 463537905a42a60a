//! What an honest author follows: the part of a log that gets into every other one.
//!
//! A log has an end, and whoever fills it may show each device something else. A statement that followed all that
//! its author was shown had no place where other things were shown. So what is signed here follows only statements
//! that count, and of each member only so many: what does not count is named by nobody, and what a member says
//! beyond its share neither, until somebody removes it or the rest of it.
//!
//! ```text
//! share of a member         what it says itself, and what others have said that it was the first to follow
//! share of a branch         all that a member and those whom it added, and whom they added, have of shares
//! founder, recovery key     no bound: nobody removes the one but the other, nobody the other
//! ```
//!
//! It is the author's own choice, by what came first here. Two nodes may choose differently.

use std::collections::BTreeSet;

use super::graph::{Bits, Graph};
use super::resolve::{Resolution, Speaker};
use super::share::Shards;
use crate::limits::{
    MEMBERS_IN_A_ROW_MAX, STATEMENTS_FOLLOWED_OF_ADMIN, STATEMENTS_FOLLOWED_OF_BRANCH,
    STATEMENTS_FOLLOWED_OF_MEMBER,
};

/// The number of the genesis, and of the founder.
const FOUNDER: usize = 0;

/// Statements that are followed. With each one go all that it follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed {
    statements: Bits,
    /// Those of them that no other of them follows.
    heads: BTreeSet<usize>,
    shares: Shards<usize, Share>,
    /// Statements that count and are not among them.
    left_out: usize,
}

/// What is followed of one member.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    as_admin: Said,
    as_member: Said,
    /// Of it and of those whom it added.
    branch: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    own: usize,
    /// Of others, by it first.
    brought: usize,
}

impl Followed {
    /// Goes through a graph that was judged.
    pub(super) fn of(graph: &Graph, resolution: &Resolution) -> Self {
        let mut followed = Self::default();
        (0..graph.len()).for_each(|number| followed.note(graph, resolution, number));
        followed
    }

    /// Takes in a statement that was judged, after all with smaller numbers.
    pub(super) fn note(&mut self, graph: &Graph, resolution: &Resolution, number: usize) {
        let Some(speaker) = resolution.speaker(number) else { return };
        let brought = graph.entry(number).past.beyond(&self.statements);
        if !self.charge(graph, resolution, (number, speaker), &brought) {
            self.left_out += 1;
            return;
        }
        self.heads.retain(|head| !graph.precedes(*head, number));
        for other in brought {
            self.left_out = self.left_out.saturating_sub(usize::from(resolution.counts(other)));
            self.statements.insert(other);
        }
        self.statements.insert(number);
        self.heads.insert(number);
    }

    pub(super) fn heads(&self) -> &BTreeSet<usize> {
        &self.heads
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.statements.contains(number)
    }

    /// All that counts is followed.
    pub(super) fn is_whole(&self) -> bool {
        self.left_out == 0
    }

    /// Takes what a statement brings from its author's share, if that has so much left.
    fn charge(
        &mut self,
        graph: &Graph,
        resolution: &Resolution,
        (number, speaker): (usize, Speaker),
        brought: &[usize],
    ) -> bool {
        let Speaker::Member(member) = speaker else { return true };
        if member == FOUNDER {
            return true;
        }
        let by_it = |other: &&usize| resolution.speaker(**other) == Some(speaker);
        let own = 1 + brought.iter().filter(by_it).count();
        let others = brought.len() + 1 - own;
        let is_admin = resolution.is_by_an_admin(graph, number);
        let max = if is_admin { STATEMENTS_FOLLOWED_OF_ADMIN } else { STATEMENTS_FOLLOWED_OF_MEMBER };
        let mut share = self.shares.get(&member).copied().unwrap_or_default();
        let said = if is_admin { &mut share.as_admin } else { &mut share.as_member };
        said.own += own;
        said.brought += others;
        if said.own > max || said.brought > max {
            return false;
        }
        let Some(branch) = branch(resolution, member) else { return false };
        let taken = |member: &usize| self.shares.get(member).map_or(0, |share| share.branch);
        if branch.iter().any(|member| taken(member) + own + others > STATEMENTS_FOLLOWED_OF_BRANCH) {
            return false;
        }
        self.shares.insert(member, share);
        for member in branch {
            self.shares.entry(member).branch += own + others;
        }
        true
    }
}

/// A member, who added it, who added that one, and so on, up to the founder, who is not among them; `None` when these
/// are too many.
fn branch(resolution: &Resolution, member: usize) -> Option<Vec<usize>> {
    let mut branch = vec![member];
    let mut last = member;
    while let Some(Speaker::Member(by)) = resolution.speaker(last) {
        if by == FOUNDER {
            break;
        }
        if branch.len() >= MEMBERS_IN_A_ROW_MAX {
            return None;
        }
        branch.push(by);
        last = by;
    }
    Some(branch)
}
