//! Several commits of one device where there can be one: what of them honest members may show.

use std::collections::{BTreeMap, BTreeSet};

use super::Oracle;
use super::settled::Read;
use crate::access::{Action, Commit};
use crate::id::{CollectionName, CommitHash, EntityId, PeerId, StatementHash};
use crate::sim::violation::Rule;

/// Commits of which there can be one.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Equivocation {
    pub(in crate::sim) author: PeerId,
    pub(in crate::sim) sides: Vec<CommitHash>,
    /// Others that follow them.
    pub(in crate::sim) behind: Vec<CommitHash>,
    /// Where the log stood that they name.
    pub(in crate::sim) at: Vec<StatementHash>,
    /// They have one number. If not, some would have to follow others that they cannot be beside.
    pub(in crate::sim) one_number: bool,
}

impl Oracle {
    /// Never do two count, nor one on which nobody built, where it is known; a proof comes to all, and verdicts hold.
    pub(super) fn check_clashes(&mut self, at_ms: u64, reads: &[Read]) {
        for read in reads {
            let honest = read.proofs.iter().find(|(author, _)| !self.is_rogue(author));
            if let Some((author, _)) = honest {
                let text = format!("{} is taken for one that equivocates", author.short());
                self.violate(Rule::NotRejected, at_ms, read.number, text);
            }
        }
        let any = !self.equivocations.is_empty();
        for read in reads.iter().filter(|_| any) {
            let shown: BTreeMap<CommitHash, &Commit> =
                read.whole.commits.iter().map(|commit| (commit.hash(), commit)).collect();
            for lie in self.equivocations.clone() {
                if let Some(text) = self.wrong(&lie, read, reads, &shown) {
                    self.violate(Rule::Authored, at_ms, read.number, text);
                }
            }
        }
    }

    fn wrong(
        &self,
        lie: &Equivocation,
        read: &Read,
        reads: &[Read],
        shown: &BTreeMap<CommitHash, &Commit>,
    ) -> Option<String> {
        let sides: Vec<&Commit> = lie.sides.iter().filter_map(|side| shown.get(side)).copied().collect();
        let names: Vec<String> =
            lie.sides.iter().map(CommitHash::short).map(|short| short.to_string()).collect();
        let text = |what: &str| Some(format!("{}: {what}", names.join(", ")));
        if sides.len() > 1 {
            return text("two commits are shown where there can be one");
        }
        let proof = |read: &Read| {
            read.proofs.iter().any(|(_, hashes)| hashes.iter().all(|hash| lie.sides.contains(hash)))
        };
        let of_it = |hash: &CommitHash| lie.sides.contains(hash) || lie.behind.contains(hash);
        let verdict = self.verdicts.iter().find(|(keep, drop)| of_it(keep) || of_it(drop));
        let belongs = read.state.membership.role(&lie.author).is_some();
        let notes = CollectionName::new("notes").ok();
        let open = |read: &Read| notes.iter().any(|notes| read.agreed.contains(notes));
        if let Some((keep, drop)) = verdict {
            if shown.contains_key(drop) {
                return text("a commit is shown that a verdict drops");
            }
            let allowed = notes.iter().any(|notes| {
                read.state.membership.may_at(&lie.author, Action::Write, notes, &lie.at).is_ok()
            });
            let among = lie.one_number && lie.sides.contains(keep);
            if belongs && allowed && among && open(read) && !shown.contains_key(keep) {
                return text("a commit is frozen that a verdict picks");
            }
        }
        if belongs && open(read) && !proof(read) && reads.iter().any(|other| open(other) && proof(other)) {
            return text("the proof of it has not come here");
        }
        // Somebody else built on it.
        let entity =
            |commit: &Commit| commit.open().map(|(leaf, _)| leaf.entity).collect::<BTreeSet<EntityId>>();
        let claimed = |of: &&&Commit| {
            let mine = entity(of);
            let others = shown.values().filter(|commit| commit.origin.peer != lie.author);
            others.into_iter().any(|commit| !entity(commit).is_disjoint(&mine))
        };
        let frozen = proof(read) && verdict.is_none() && belongs;
        if frozen && sides.iter().any(|side| !self.is_behind(side, shown) && !claimed(&side)) {
            return text("one is shown on which nobody built");
        }
        None
    }

    /// Whether a commit of the same chain follows one, on which others may have built.
    fn is_behind(&self, side: &Commit, shown: &BTreeMap<CommitHash, &Commit>) -> bool {
        shown.values().any(|commit| commit.follows().contains(&side.hash()))
    }
}
