//! Which commits give way to others that they cannot be beside: a pure function of what [`super::counting`] judges.
//!
//! A device that equivocates signs several commits where there can be one. Each may count by itself, when others built
//! on it; together they may not. Such two are *rivals*, and of rivals that would all count
//!
//! 1. the one that a verdict picked counts, or else the one with the smaller hash, and
//! 2. nobody gives way to one that does not count in the end, as when what it follows gave way to another.
//!
//! So whatever makes a commit give way is shown, and is passed on as everything that counts: devices that were shown
//! different ones tell each other what they show, and come to the same.

use std::collections::{BTreeMap, BTreeSet};

use super::accepted::{Fact, counting};
use super::graph::Bits;
use crate::id::CommitHash;
use crate::limits::CONTEST_ROUNDS_MAX;

/// One commit among those that are judged together.
#[derive(Clone, Debug)]
pub(crate) struct Contestant<C> {
    /// A verdict picked it.
    pub(crate) picked: bool,
    /// Of rivals the one with the smaller hash counts.
    pub(crate) hash: CommitHash,
    /// What else there is to know of it.
    pub(crate) fact: Fact,
    /// What it claims that one commit can have. Those that claim the same are rivals.
    pub(crate) claims: BTreeSet<C>,
}

/// Tells which of the commits give way, and which follow two that cannot be together. Each stands behind those that it
/// follows.
///
/// Costs as much as [`counting`] for each contest. After [`CONTEST_ROUNDS_MAX`] of them none counts that has a rival.
pub(crate) fn giving_way<C: Ord + Clone>(contestants: &[Contestant<C>]) -> BTreeSet<usize> {
    let contests = Contests::new(contestants);
    let mut never = contests.follow_two(contestants);
    let mut facts: Vec<Fact> = contestants.iter().map(|of| of.fact.clone()).collect();
    // Who gives way, and to whom.
    let mut ways: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let rounds = if contests.claimed.is_empty() { 0 } else { CONTEST_ROUNDS_MAX };
    for _ in 0..rounds {
        for (place, (fact, of)) in facts.iter_mut().zip(contestants).enumerate() {
            fact.stands = of.fact.stands && !never.contains(&place) && !ways.contains_key(&place);
        }
        let state = State::new(&contests, contestants, counting(&facts));
        if let Some(winner) = state.winner() {
            for rival in state.rivals(winner) {
                ways.entry(rival).or_default().insert(winner);
            }
            continue;
        }
        let freed: Vec<usize> = ways.keys().copied().filter(|place| !state.is_beaten(*place)).collect();
        if freed.is_empty() {
            never.extend(contests.places().filter(|place| state.is_beaten(*place)));
            return never;
        }
        // To whom they gave way fell since.
        never.extend(freed.into_iter().filter_map(|place| ways.remove(&place)).flatten());
    }
    never.extend(contests.places());
    never
}

/// Who claims what others claim.
struct Contests {
    /// Of each contested claim: who makes it.
    claimed: Vec<Vec<usize>>,
    /// Of each commit with rivals: its contested claims.
    claims: BTreeMap<usize, Vec<usize>>,
    /// Of each commit: those with rivals that it follows, however far down.
    below: Vec<Bits>,
}

impl Contests {
    fn new<C: Ord + Clone>(contestants: &[Contestant<C>]) -> Self {
        let mut by_claim: BTreeMap<&C, Vec<usize>> = BTreeMap::new();
        for (place, of) in contestants.iter().enumerate() {
            of.claims.iter().for_each(|claim| by_claim.entry(claim).or_default().push(place));
        }
        let claimed: Vec<Vec<usize>> = by_claim.into_values().filter(|by| by.len() > 1).collect();
        let mut claims: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (claim, by) in claimed.iter().enumerate() {
            by.iter().for_each(|place| claims.entry(*place).or_default().push(claim));
        }
        let mut below: Vec<Bits> = Vec::with_capacity(contestants.len());
        for of in contestants {
            let mut mine = Bits::default();
            for other in &of.fact.follows {
                below.get(*other).into_iter().for_each(|of_other| mine.extend(of_other));
                if claims.contains_key(other) {
                    mine.insert(*other);
                }
            }
            below.push(mine);
        }
        Self { claimed, claims, below }
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        self.claims.keys().copied()
    }

    /// Those that follow two rivals, or one of their own. They can never count.
    fn follow_two<C>(&self, contestants: &[Contestant<C>]) -> BTreeSet<usize> {
        let mut two = BTreeSet::new();
        for (place, (of, below)) in contestants.iter().zip(&self.below).enumerate() {
            let mut seen: BTreeSet<usize> = BTreeSet::new();
            let follows = |other: &usize| below.contains(*other) || *other == place;
            let claims = self.places().filter(follows).filter_map(|other| self.claims.get(&other)).flatten();
            let twice = claims.copied().any(|claim| !seen.insert(claim));
            if twice || of.fact.follows.iter().any(|other| two.contains(other)) {
                two.insert(place);
            }
        }
        two
    }
}

/// What counts while some give way.
struct State<'a> {
    contests: &'a Contests,
    counts: Vec<bool>,
    /// Of each contested claim: those that make it and count, the one that wins first.
    claimed: Vec<BTreeSet<(Rank, usize)>>,
}

/// Whether no verdict picked a commit, and its hash.
type Rank = (bool, CommitHash);

impl<'a> State<'a> {
    fn new<C>(contests: &'a Contests, contestants: &[Contestant<C>], counts: Vec<bool>) -> Self {
        let that_count = |by: &Vec<usize>| {
            let by = by.iter().filter(|place| counts.get(**place) == Some(&true));
            by.filter_map(|place| contestants.get(*place).map(|of| ((!of.picked, of.hash), *place))).collect()
        };
        let claimed = contests.claimed.iter().map(that_count).collect();
        Self { contests, counts, claimed }
    }

    fn counts(&self, place: usize) -> bool {
        self.counts.get(place) == Some(&true)
    }

    /// Those that count, for each contested claim of a commit.
    fn claims(&self, place: usize) -> impl Iterator<Item = &BTreeSet<(Rank, usize)>> {
        let claims = self.contests.claims.get(&place).into_iter().flatten();
        claims.filter_map(|claim| self.claimed.get(*claim))
    }

    /// The rivals of a commit that count.
    fn rivals(&self, place: usize) -> impl Iterator<Item = usize> {
        self.claims(place).flatten().map(|(_, other)| *other).filter(move |other| *other != place)
    }

    fn is_beaten(&self, place: usize) -> bool {
        let itself = usize::from(self.counts(place));
        self.claims(place).any(|by| by.len() > itself)
    }

    /// Who wins next: the first of those that come before all their rivals, and follow none that is contested still; where
    /// each follows one, the first of all.
    fn winner(&self) -> Option<usize> {
        let (mut open, mut bits) = (BTreeSet::new(), Bits::default());
        for of in self.claimed.iter().filter(|by| by.len() > 1).flatten() {
            open.insert(*of);
            bits.insert(of.1);
        }
        let is_first = |of: &(Rank, usize)| self.claims(of.1).all(|by| by.first() == Some(of));
        let follows_none =
            |place: usize| !self.contests.below.get(place).is_some_and(|below| below.meets(&bits));
        let wins = open.iter().find(|of| follows_none(of.1) && is_first(of));
        wins.or_else(|| open.first()).map(|(_, place)| *place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::StatementHash;

    /// A commit as a test draws it.
    #[derive(Clone, Debug)]
    struct Drawn {
        hash: CommitHash,
        follows: Vec<CommitHash>,
        claims: Vec<u16>,
        /// The liars of which it owes a voucher.
        owes: Vec<u8>,
        /// The liars under whose clashes it speaks.
        speaks: Vec<u8>,
    }

    fn hash(number: u8) -> CommitHash {
        CommitHash::new([number; 32])
    }

    /// Commits by hash, those that miss what they follow left out.
    fn contestants(drawn: &[Drawn]) -> Vec<Contestant<u16>> {
        let mut places: BTreeMap<CommitHash, usize> = BTreeMap::new();
        for one in drawn {
            if one.follows.iter().all(|below| places.contains_key(below)) {
                places.insert(one.hash, places.len());
            }
        }
        let here = drawn.iter().filter(|one| places.contains_key(&one.hash));
        let clash = |of: &u8| StatementHash::new([*of; 32]);
        let contestant = |one: &Drawn| {
            let at = |hashes: &[CommitHash]| {
                hashes.iter().filter_map(|of| places.get(of)).copied().collect::<BTreeSet<usize>>()
            };
            let fact = Fact {
                stands: true,
                follows: at(&one.follows).into_iter().collect(),
                owes: one.owes.iter().map(clash).collect(),
                speaks: one.speaks.iter().map(clash).collect(),
            };
            Contestant { picked: false, hash: one.hash, fact, claims: one.claims.iter().copied().collect() }
        };
        here.map(contestant).collect()
    }

    /// What is shown of these, and what of it has rivals.
    fn shown(drawn: &[Drawn]) -> BTreeSet<CommitHash> {
        let contestants = contestants(drawn);
        let ways = giving_way(&contestants);
        let facts: Vec<Fact> = contestants
            .iter()
            .enumerate()
            .map(|(place, of)| Fact { stands: !ways.contains(&place), ..of.fact.clone() })
            .collect();
        let counts = counting(&facts);
        let mut claimed = BTreeSet::new();
        for (of, _) in contestants.iter().zip(&counts).filter(|(_, counts)| **counts) {
            assert!(of.claims.iter().all(|claim| claimed.insert(*claim)), "two rivals count");
        }
        contestants.iter().zip(counts).filter(|(_, counts)| *counts).map(|(of, _)| of.hash).collect()
    }

    fn drawn(number: u8, follows: &[u8], claims: &[u16], owes: &[u8], speaks: &[u8]) -> Drawn {
        let hashes = |numbers: &[u8]| numbers.iter().copied().map(hash).collect();
        Drawn {
            hash: hash(number),
            follows: hashes(follows),
            claims: claims.to_vec(),
            owes: owes.to_vec(),
            speaks: speaks.to_vec(),
        }
    }

    fn set(numbers: &[u8]) -> BTreeSet<CommitHash> {
        numbers.iter().copied().map(hash).collect()
    }

    #[test]
    fn of_rivals_that_others_built_on_the_one_with_the_smallest_hash_counts() {
        let all = [
            drawn(1, &[], &[1], &[1], &[]),
            drawn(2, &[], &[1], &[1], &[]),
            drawn(3, &[], &[1], &[1], &[]),
            drawn(12, &[2], &[], &[], &[1]),
            drawn(13, &[3], &[], &[], &[1]),
        ];

        assert_eq!(shown(&all[..3]), set(&[]), "nobody built on any");
        assert_eq!(shown(&all[..4]), set(&[2, 12]));
        assert_eq!(shown(&all), set(&[2, 12]));
    }

    /// 2 has the smaller hash, and follows what gives way to the ground of the other.
    #[test]
    fn nobody_gives_way_to_one_that_gives_way_itself() {
        let all = [
            drawn(9, &[], &[1], &[1], &[]),
            drawn(5, &[], &[1], &[1], &[]),
            drawn(2, &[9], &[2], &[1], &[]),
            drawn(3, &[5], &[2], &[1], &[]),
            drawn(12, &[2], &[], &[], &[1]),
            drawn(13, &[3], &[], &[], &[1]),
        ];

        assert_eq!(shown(&all), set(&[5, 3, 13]));
    }

    #[test]
    fn who_follows_two_rivals_vouches_for_neither() {
        let all = [
            drawn(1, &[], &[1], &[1], &[]),
            drawn(2, &[], &[1], &[1], &[]),
            drawn(11, &[1, 2], &[], &[], &[1]),
            drawn(12, &[2], &[], &[], &[1]),
        ];

        assert_eq!(shown(&all[..3]), set(&[]));
        assert_eq!(shown(&all), set(&[2, 12]));
    }

    /// As many numbers of a liar, each given twice, and on each of the two somebody built.
    fn contested(count: u16) -> Vec<Contestant<u16>> {
        let clash = StatementHash::new([1; 32]);
        let mut all: Vec<Contestant<u16>> = Vec::new();
        for claim in 0..count {
            for side in 0..2_u8 {
                let mut hash = [side; 32];
                hash[..2].copy_from_slice(&claim.to_be_bytes());
                let fact = Fact { stands: true, owes: [clash].into(), ..Fact::default() };
                let hash = CommitHash::new(hash);
                all.push(Contestant { picked: false, hash, fact, claims: [claim].into() });
                let fact = Fact {
                    stands: true,
                    follows: vec![all.len() - 1],
                    speaks: [clash].into(),
                    ..Fact::default()
                };
                let hash = CommitHash::new([0xff; 32]);
                all.push(Contestant { picked: false, hash, fact, claims: BTreeSet::new() });
            }
        }
        all
    }

    /// In the last round it is seen that nothing is left to settle. Seen failing with twice as many rounds.
    #[test]
    fn so_many_contests_are_settled_and_of_more_none_counts_that_has_a_rival() {
        let most = u16::try_from(CONTEST_ROUNDS_MAX - 1).expect("few");
        let sides = |count: u16, all: bool| -> BTreeSet<usize> {
            let sides = (0..4 * usize::from(count)).step_by(2);
            sides.filter(|place| all || place % 4 == 2).collect()
        };

        assert_eq!(giving_way(&contested(most)), sides(most, false), "the greater hash of each two");
        assert_eq!(giving_way(&contested(most + 1)), sides(most + 1, true));
    }

    /// Commits of a few liars, each with a chain in which a number may be given several times, and of others that
    /// build on them.
    fn commits(liars: u8) -> impl Strategy<Value = Vec<Drawn>> {
        let one =
            (0..=liars, 1_u8..4, proptest::collection::vec(any::<prop::sample::Index>(), 0..3), any::<u64>());
        proptest::collection::vec(one, 1..16).prop_map(move |ones| {
            let mut numbers: Vec<(u8, u8)> = Vec::new();
            let mut all: Vec<Drawn> = Vec::new();
            for (place, (liar, number, below, random)) in ones.into_iter().enumerate() {
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&random.to_be_bytes());
                bytes[31] = u8::try_from(place).expect("few");
                let mut follows: BTreeSet<CommitHash> =
                    below.iter().filter(|_| place > 0).map(|below| all[below.index(place)].hash).collect();
                // One of a chain has one before it, if there is any.
                let before = numbers.iter().position(|before| liar > 0 && *before == (liar, number - 1));
                follows.extend(before.map(|before| all[before].hash));
                let hash = CommitHash::new(bytes);
                let claims = if liar > 0 { vec![u16::from_be_bytes([liar, number])] } else { Vec::new() };
                let owes = if liar > 0 { vec![liar] } else { Vec::new() };
                let speaks = (1..=liars).filter(|of| *of != liar).collect();
                all.push(Drawn { hash, follows: follows.into_iter().collect(), claims, owes, speaks });
                numbers.push((liar, number));
            }
            all
        })
    }

    /// Lets devices that were shown different commits tell each other what they show, until nothing is new.
    fn meet(all: &[Drawn], first: &[bool]) -> [BTreeSet<CommitHash>; 2] {
        let of = |mine: bool| {
            let has = |place: usize| first.get(place).is_none_or(|has| *has == mine);
            let here = all.iter().enumerate().filter(|(place, _)| has(*place)).map(|(_, one)| one.hash);
            here.collect::<BTreeSet<CommitHash>>()
        };
        let mut here = [of(true), of(false)];
        loop {
            let show = |hashes: &BTreeSet<CommitHash>| {
                let known: Vec<Drawn> =
                    all.iter().filter(|one| hashes.contains(&one.hash)).cloned().collect();
                shown(&known)
            };
            let shown = [show(&here[0]), show(&here[1])];
            if shown[0].is_subset(&here[1]) && shown[1].is_subset(&here[0]) {
                return shown;
            }
            here[0].extend(&shown[1]);
            here[1].extend(&shown[0]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_gives_way_does_not_depend_on_the_order(all in commits(2), keys in proptest::collection::vec(any::<u32>(), 16)) {
            // Another order in which each stands behind those that it follows.
            let mut left: Vec<(u32, Drawn)> = keys.into_iter().zip(all.clone()).collect();
            let mut other: Vec<Drawn> = Vec::new();
            while !left.is_empty() {
                let ready = |one: &Drawn| one.follows.iter().all(|below| other.iter().any(|of| of.hash == *below));
                let next = (0..left.len()).filter(|place| ready(&left[*place].1)).min_by_key(|place| left[*place].0);
                other.push(left.remove(next.expect("no circles")).1);
            }

            prop_assert_eq!(shown(&all), shown(&other));
        }

        /// Seen failing with those among the rivals that do not count, in `State::new`, and with one round in
        /// `giving_way`.
        #[test]
        fn attack_14_devices_that_tell_each_other_what_they_show_come_to_the_same(
            all in commits(2),
            first in proptest::collection::vec(any::<bool>(), 16),
        ) {
            let [mine, yours] = meet(&all, &first);

            prop_assert_eq!(mine, yours);
        }
    }
}
