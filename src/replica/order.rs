//! The order in which commits are judged: each behind those of the others that it follows.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ChangeHash, CommitHash};

/// What puts a commit in its place.
pub(super) trait Linked {
    fn hash(&self) -> CommitHash;
    /// The changes that it brings.
    fn brings(&self) -> impl Iterator<Item = ChangeHash>;
    /// Those that its changes follow.
    fn deps(&self) -> impl Iterator<Item = ChangeHash>;
    /// The commits right before it in chains in which it counts only if they do.
    fn behind(&self) -> &[CommitHash];
}

/// A commit in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Where it was.
    pub(super) index: usize,
    /// The places of those that it follows, all before its own.
    pub(super) follows: Vec<usize>,
    /// It follows itself by way of others, and can never count: each of them names the other before it is made.
    pub(super) in_circle: bool,
}

/// Puts commits in order, and else leaves them as they are.
pub(super) fn in_order(commits: &[impl Linked]) -> Vec<Placed> {
    let mut brings = BTreeMap::new();
    for (index, commit) in commits.iter().enumerate() {
        brings.extend(commit.brings().map(|change| (change, index)));
    }
    let hashes: BTreeMap<CommitHash, usize> =
        commits.iter().enumerate().map(|(index, commit)| (commit.hash(), index)).collect();
    let below: Vec<BTreeSet<usize>> = commits
        .iter()
        .map(|commit| {
            let before = commit.behind().iter().filter_map(|hash| hashes.get(hash)).copied();
            commit.deps().filter_map(|dep| brings.get(&dep)).copied().chain(before).collect()
        })
        .collect();
    let order = causal_order(&below);
    let places: BTreeMap<usize, usize> =
        order.iter().enumerate().map(|(place, index)| (*index, place)).collect();
    let placed = |(place, index): (usize, usize)| {
        let follows = below.get(index).into_iter().flatten().filter_map(|other| places.get(other)).copied();
        let (follows, circle): (Vec<usize>, Vec<usize>) = follows.partition(|other| *other < place);
        Placed { index, follows, in_circle: !circle.is_empty() }
    };
    order.into_iter().enumerate().map(placed).collect()
}

/// Orders places so that each comes behind those that stand below it, and else as they are.
fn causal_order(below: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut waits = vec![0_usize; below.len()];
    let mut followers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for ((index, below), waits) in below.iter().enumerate().zip(&mut waits) {
        for dep in below.iter().filter(|dep| **dep != index) {
            *waits += 1;
            followers.entry(*dep).or_default().push(index);
        }
    }
    let mut ready: BTreeSet<usize> =
        waits.iter().enumerate().filter(|(_, waits)| **waits == 0).map(|(index, _)| index).collect();
    let mut order = Vec::with_capacity(below.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for follower in followers.remove(&index).unwrap_or_default() {
            if let Some(waits) = waits.get_mut(follower) {
                *waits -= 1;
                if *waits == 0 {
                    ready.insert(follower);
                }
            }
        }
    }
    // Those in a circle stand at the end, as they are.
    let placed: BTreeSet<usize> = order.iter().copied().collect();
    order.extend((0..below.len()).filter(|index| !placed.contains(index)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A commit that brings the change of its number, and follows those of others.
    struct Drawn(u8, Vec<u8>, Vec<CommitHash>);

    impl Linked for Drawn {
        fn hash(&self) -> CommitHash {
            hash(self.0)
        }

        fn brings(&self) -> impl Iterator<Item = ChangeHash> {
            std::iter::once(ChangeHash::new([self.0; 32]))
        }

        fn deps(&self) -> impl Iterator<Item = ChangeHash> {
            self.1.iter().map(|number| ChangeHash::new([*number; 32]))
        }

        fn behind(&self) -> &[CommitHash] {
            &self.2
        }
    }

    fn hash(number: u8) -> CommitHash {
        CommitHash::new([number; 32])
    }

    fn placed(index: usize, follows: &[usize], in_circle: bool) -> Placed {
        Placed { index, follows: follows.to_vec(), in_circle }
    }

    #[test]
    fn each_stands_behind_those_that_it_follows_and_else_as_it_came() {
        let commits = [
            Drawn(1, vec![3], vec![]),
            Drawn(2, vec![9], vec![hash(1)]),
            Drawn(3, vec![], vec![]),
            Drawn(4, vec![], vec![]),
        ];

        let order =
            [placed(2, &[], false), placed(0, &[0], false), placed(1, &[1], false), placed(3, &[], false)];
        assert_eq!(in_order(&commits), order);
    }

    /// A change may follow that of another commit, which says that it comes right behind this one.
    #[test]
    fn those_that_follow_each_other_in_a_circle_stand_at_the_end_and_are_told() {
        let commits = [Drawn(1, vec![2], vec![]), Drawn(2, vec![], vec![hash(1)]), Drawn(3, vec![], vec![])];

        assert_eq!(in_order(&commits), [placed(2, &[], false), placed(0, &[], true), placed(1, &[1], false)]);
    }
}
