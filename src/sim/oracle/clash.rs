//! Two commits of one device where there can be one: what of them honest members may show.

use std::collections::{BTreeMap, BTreeSet};

use super::Oracle;
use super::settled::Read;
use crate::access::Commit;
use crate::id::{CommitHash, EntityId, PeerId};
use crate::sim::violation::Rule;

/// Two commits that cannot both be.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Equivocation {
    pub(in crate::sim) author: PeerId,
    pub(in crate::sim) sides: [CommitHash; 2],
    /// They have one number. If not, the second would have to follow one that it cannot be beside.
    pub(in crate::sim) one_number: bool,
}

impl Oracle {
    /// Never do both count, nor one on which nobody built, where it is known; the proof comes to all, and verdicts
    /// hold.
    pub(super) fn check_clashes(&mut self, at_ms: u64, reads: &[Read]) {
        for read in reads {
            let honest = read.proofs.iter().find(|(author, _)| !self.is_rogue(author));
            if let Some((author, _)) = honest {
                let text = format!("{} is taken for one that equivocates", author.short());
                self.violate(Rule::NotRejected, at_ms, read.number, text);
            }
        }
        let places: BTreeSet<CommitHash> = self.equivocations.iter().flat_map(|two| two.sides).collect();
        for read in reads.iter().filter(|_| !places.is_empty()) {
            let shown: BTreeMap<CommitHash, &Commit> =
                read.whole.commits.iter().map(|commit| (commit.hash(), commit)).collect();
            for two in self.equivocations.clone() {
                if let Some(text) = self.wrong(&two, read, reads, &shown) {
                    self.violate(Rule::Authored, at_ms, read.number, text);
                }
            }
        }
    }

    fn wrong(
        &self,
        two: &Equivocation,
        read: &Read,
        reads: &[Read],
        shown: &BTreeMap<CommitHash, &Commit>,
    ) -> Option<String> {
        let [one, other] = two.sides;
        let sides = two.sides.map(|side| shown.get(&side));
        let text = |what: &str| Some(format!("{} and {}: {what}", one.short(), other.short()));
        if sides.iter().all(Option::is_some) {
            return text("both of two commits with one number are shown");
        }
        let proof = |read: &Read| {
            read.proofs.iter().any(|(_, hashes)| two.sides.iter().all(|side| hashes.contains(side)))
        };
        let verdict = self.verdicts.iter().find(|(_, drop)| two.sides.contains(drop));
        let belongs = read.state.membership.role(&two.author).is_some();
        let open = |read: &Read| read.agreed.iter().any(|name| name.as_str() == "notes");
        if let Some((keep, drop)) = verdict {
            if shown.contains_key(drop) {
                return text("a commit is shown that a verdict drops");
            }
            if belongs && two.one_number && open(read) && !shown.contains_key(keep) {
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
            let others = shown.values().filter(|commit| commit.origin.peer != two.author);
            others.into_iter().any(|commit| !entity(commit).is_disjoint(&mine))
        };
        let frozen = proof(read) && verdict.is_none() && belongs;
        if frozen && sides.iter().flatten().any(|side| !self.is_behind(side, shown) && !claimed(side)) {
            return text("one is shown on which nobody built");
        }
        None
    }

    /// Whether a commit of the same chain follows one, on which others may have built.
    fn is_behind(&self, side: &Commit, shown: &BTreeMap<CommitHash, &Commit>) -> bool {
        shown.values().any(|commit| commit.follows().contains(&side.hash()))
    }
}
