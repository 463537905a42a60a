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

use super::accepted::{Fact, Judge};
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
/// A round costs about as much as [`counting`](super::counting), however many contests there are. There is one, and one
/// more for each time that those are let in again that gave way to others which fell. After [`CONTEST_ROUNDS_MAX`] none
/// counts that has a rival.
pub(crate) fn giving_way<C: Ord>(contestants: &[Contestant<C>]) -> BTreeSet<usize> {
    let contests = Contests::new(contestants);
    if contests.claimed.is_empty() {
        return BTreeSet::new();
    }
    let mut never = contests.follow_two(contestants);
    let mut facts: Vec<Fact> = contestants.iter().map(|of| of.fact.clone()).collect();
    // Who gives way, and to whom.
    let mut ways: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for _ in 0..CONTEST_ROUNDS_MAX {
        for (place, (fact, of)) in facts.iter_mut().zip(contestants).enumerate() {
            fact.stands = of.fact.stands && !never.contains(&place) && !ways.contains_key(&place);
        }
        let mut round = Round::new(&contests, contestants, Judge::new(&facts));
        while let Some(winner) = round.winner() {
            for rival in round.rivals(winner) {
                ways.entry(rival).or_default().insert(winner);
                round.fall(rival);
            }
        }
        let freed: Vec<usize> = ways.keys().copied().filter(|place| !round.is_beaten(*place)).collect();
        if freed.is_empty() {
            never.extend(contests.places().filter(|place| round.is_beaten(*place)));
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
}

impl Contests {
    fn new<C: Ord>(contestants: &[Contestant<C>]) -> Self {
        let mut by_claim: BTreeMap<&C, Vec<usize>> = BTreeMap::new();
        for (place, of) in contestants.iter().enumerate() {
            of.claims.iter().for_each(|claim| by_claim.entry(claim).or_default().push(place));
        }
        let claimed: Vec<Vec<usize>> = by_claim.into_values().filter(|by| by.len() > 1).collect();
        let mut claims: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (claim, by) in claimed.iter().enumerate() {
            by.iter().for_each(|place| claims.entry(*place).or_default().push(claim));
        }
        Self { claimed, claims }
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        self.claims.keys().copied()
    }

    /// Those that follow two rivals, or one of their own. They can never count.
    ///
    /// Two rivals differ in a bit of their numbers among those with their claim. So each bit of each claim halves them,
    /// and who follows some of both halves follows two: 64 halvings are followed upwards at once.
    fn follow_two<C>(&self, contestants: &[Contestant<C>]) -> BTreeSet<usize> {
        let bits = |by: &Vec<usize>| usize::BITS - (by.len() - 1).leading_zeros();
        let halved = self.claimed.iter().flat_map(|by| (0..bits(by)).map(move |bit| (by, bit)));
        let halvings: Vec<(&Vec<usize>, u32)> = halved.collect();
        let mut two = BTreeSet::new();
        for some in halvings.chunks(64) {
            // For each commit, which halvings have one below it, or itself, in the first half and in the second.
            let mut below = vec![[0_u64; 2]; contestants.len()];
            for (number, (by, bit)) in some.iter().enumerate() {
                for (index, place) in by.iter().enumerate() {
                    let of = below.get_mut(*place).and_then(|halves| halves.get_mut(index >> bit & 1));
                    of.into_iter().for_each(|half| *half |= 1 << number);
                }
            }
            for (place, of) in contestants.iter().enumerate() {
                let Some([mut one, mut other]) = below.get(place).copied() else { continue };
                for [of_one, of_other] in of.fact.follows.iter().filter_map(|follows| below.get(*follows)) {
                    one |= of_one;
                    other |= of_other;
                }
                below.get_mut(place).into_iter().for_each(|halves| *halves = [one, other]);
                if one & other != 0 {
                    two.insert(place);
                }
            }
        }
        two
    }
}

/// What counts while some give way.
struct Round<'a> {
    contests: &'a Contests,
    ranks: BTreeMap<usize, Rank>,
    judge: Judge<'a>,
    /// Of each contested claim: those that make it and count, the one that wins first.
    claimed: Vec<BTreeSet<(Rank, usize)>>,
    /// Those that count beside a rival.
    open: BTreeSet<(Rank, usize)>,
    /// Of them, those that come before all their rivals and follow none that is open.
    ready: BTreeSet<(Rank, usize)>,
    /// Those that are open, or follow one that is, however far down.
    waits: Vec<bool>,
    /// How many of those that each follows directly wait.
    waits_for: Vec<usize>,
}

/// Whether no verdict picked a commit, and its hash.
type Rank = (bool, CommitHash);

impl<'a> Round<'a> {
    fn new<C>(contests: &'a Contests, contestants: &'a [Contestant<C>], judge: Judge<'a>) -> Self {
        let rank = |place: &usize| contestants.get(*place).map(|of| (*place, (!of.picked, of.hash)));
        let ranks: BTreeMap<usize, Rank> = contests.claims.keys().filter_map(rank).collect();
        let that_count = |by: &Vec<usize>| {
            let by = by.iter().filter(|place| judge.counts(**place));
            by.filter_map(|place| ranks.get(place).map(|rank| (*rank, *place))).collect()
        };
        let claimed: Vec<BTreeSet<(Rank, usize)>> = contests.claimed.iter().map(that_count).collect();
        let open: BTreeSet<(Rank, usize)> =
            claimed.iter().filter(|by| by.len() > 1).flatten().copied().collect();
        let (mut waits, mut waits_for) = (vec![false; contestants.len()], vec![0; contestants.len()]);
        for (_, place) in &open {
            waits.get_mut(*place).into_iter().for_each(|waits| *waits = true);
        }
        for (place, of) in contestants.iter().enumerate() {
            let below = of.fact.follows.iter().filter(|below| waits.get(**below) == Some(&true)).count();
            waits_for.get_mut(place).into_iter().for_each(|count| *count = below);
            waits.get_mut(place).into_iter().for_each(|waits| *waits |= below > 0);
        }
        let ready = BTreeSet::new();
        let mut round = Self { contests, ranks, judge, claimed, open, ready, waits, waits_for };
        let places: Vec<usize> = round.open.iter().map(|(_, place)| *place).collect();
        places.into_iter().for_each(|place| round.look_at(place));
        round
    }

    /// Those that count, for each contested claim of a commit.
    fn claims(&self, place: usize) -> impl Iterator<Item = &BTreeSet<(Rank, usize)>> {
        let claims = self.contests.claims.get(&place).into_iter().flatten();
        claims.filter_map(|claim| self.claimed.get(*claim))
    }

    /// The rivals of a commit that count.
    fn rivals(&self, place: usize) -> BTreeSet<usize> {
        self.claims(place).flatten().map(|(_, other)| *other).filter(|other| *other != place).collect()
    }

    fn is_beaten(&self, place: usize) -> bool {
        let itself = usize::from(self.judge.counts(place));
        self.claims(place).any(|by| by.len() > itself)
    }

    /// Who wins next: the first of those that come before all their rivals, and follow none that is contested still; where
    /// each follows one, the first of all.
    fn winner(&self) -> Option<usize> {
        self.ready.first().or_else(|| self.open.first()).map(|(_, place)| *place)
    }

    /// Lets a commit fall, and all that falls with it.
    fn fall(&mut self, place: usize) {
        let mut touched: Vec<usize> = self.take_out(place).into_iter().collect();
        while let Some(place) = touched.pop() {
            self.look_at(place);
            if !self.goes_on(place) {
                continue;
            }
            for follower in self.judge.followers(place) {
                let Some(count) = self.waits_for.get_mut(follower) else { continue };
                *count -= 1;
                if *count == 0 {
                    touched.push(follower);
                }
            }
        }
    }

    /// Takes a commit out, and all that falls with it. Returns those, and others that may come before all their rivals now:
    /// each once, for to look at one takes a look at all that it claims.
    fn take_out(&mut self, place: usize) -> BTreeSet<usize> {
        let contests = self.contests;
        let mut touched: BTreeSet<usize> = self.judge.fall(place).into_iter().collect();
        let mut claims = BTreeSet::new();
        for fallen in &touched {
            for claim in contests.claims.get(fallen).into_iter().flatten() {
                if let (Some(by), Some(rank)) = (self.claimed.get_mut(*claim), self.ranks.get(fallen)) {
                    by.remove(&(*rank, *fallen));
                    claims.insert(*claim);
                }
            }
        }
        let first = |claim: usize| self.claimed.get(claim).and_then(BTreeSet::first);
        touched.extend(claims.into_iter().filter_map(first).map(|(_, place)| *place));
        touched
    }

    /// Finds out anew whether a commit is open, and ready.
    fn look_at(&mut self, place: usize) {
        let Some(of) = self.ranks.get(&place).map(|rank| (*rank, place)) else { return };
        let is_open = self.judge.counts(place) && self.claims(place).any(|by| by.len() > 1);
        let is_first = self.claims(place).all(|by| by.first() == Some(&of));
        if !is_open {
            self.open.remove(&of);
        }
        if is_open && is_first && self.waits_for.get(place) == Some(&0) {
            self.ready.insert(of);
        } else {
            self.ready.remove(&of);
        }
    }

    /// Ends that a commit waits, if it is not open and follows none that waits. Tells whether that is new.
    fn goes_on(&mut self, place: usize) -> bool {
        let is_open = self.ranks.get(&place).is_some_and(|rank| self.open.contains(&(*rank, place)));
        let goes_on = !is_open && self.waits_for.get(place) == Some(&0);
        let waits = self.waits.get_mut(place).filter(|waits| **waits && goes_on);
        waits.is_some_and(|waits| std::mem::replace(waits, false))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::counting;
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

    /// Adds a commit, and returns its place.
    fn add(
        all: &mut Vec<Contestant<u16>>,
        follows: &[usize],
        claims: &[u16],
        (owes, speaks): (bool, bool),
    ) -> usize {
        let number = u64::try_from(all.len()).expect("few");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        let clash = |is: bool| is.then(|| StatementHash::new([1; 32])).into_iter().collect();
        let fact = Fact { stands: true, follows: follows.to_vec(), owes: clash(owes), speaks: clash(speaks) };
        let claims = claims.iter().copied().collect();
        all.push(Contestant { picked: false, hash: CommitHash::new(bytes), fact, claims });
        all.len() - 1
    }

    /// Numbers of a liar, each given twice, and on each of the two somebody built: however many there are, devices of
    /// which one knows them all and the other some come to the same. Where none of too many counted, the two showed
    /// different ones for ever: none was told that the other did not have, or did not count.
    ///
    /// Seen failing with one round for each contest.
    #[test]
    fn attack_14_however_many_contests_there_are_the_smaller_hash_of_each_two_counts() {
        let mut all = Vec::new();
        for claim in 0..2_000 {
            for _ in 0..2 {
                let side = add(&mut all, &[], &[claim], (true, false));
                add(&mut all, &[side], &[], (false, true));
            }
        }

        let greater: BTreeSet<usize> = (0..all.len()).filter(|place| place % 4 == 2).collect();
        assert_eq!(giving_way(&all), greater);
        assert_eq!(giving_way(&all[..400]), greater.into_iter().filter(|place| *place < 400).collect());
    }

    /// Commits of as many leaves as one can have, all of which claim the same. To settle 64 of them took a quarter of a
    /// minute, for whoever won was looked at for each of its claims whenever one gave way, and each look is at all of them.
    ///
    /// Seen failing with one look for each claim.
    #[test]
    fn attack_14_whoever_wins_is_looked_at_once_for_each_that_gives_way() {
        let claims: Vec<u16> = (0..2_048).collect();
        let mut all = Vec::new();
        for _ in 0..64 {
            add(&mut all, &[], &claims, (false, false));
        }
        let (contests, facts) =
            (Contests::new(&all), all.iter().map(|of| of.fact.clone()).collect::<Vec<_>>());
        let mut round = Round::new(&contests, &all, Judge::new(&facts));

        let looks = Vec::from_iter(round.take_out(63));

        assert_eq!(looks, [0, 63]);
        assert_eq!(giving_way(&all), (1..64).collect());
    }

    /// A tower of contests, in which each floor falls when the one below has: on each somebody wins, and falls with who
    /// vouches for it.
    fn tower(floors: usize) -> Vec<Contestant<u16>> {
        let (alone, owing, voucher) = ((false, false), (true, false), (false, true));
        let (mut all, mut ground) = (Vec::new(), Vec::new());
        for floor in 0..u16::try_from(floors).expect("few") {
            let wins = add(&mut all, &[], &[2 * floor], owing);
            let gives_way = add(&mut all, &[], &[2 * floor], alone);
            add(&mut all, &ground, &[2 * floor + 1], alone);
            let below = add(&mut all, &[], &[2 * floor + 1], alone);
            add(&mut all, &[wins, below], &[], voucher);
            // The rival on the next floor counts only if this one is let in again.
            ground = vec![gives_way];
        }
        all
    }

    /// In the last round it is seen that nothing is left to settle. Seen failing with one round fewer, and with one more.
    #[test]
    fn so_often_those_are_let_in_again_that_gave_way_and_then_none_counts_that_has_a_rival() {
        let floors = CONTEST_ROUNDS_MAX - 1;
        let fall = |places: BTreeSet<usize>| places.into_iter().filter(|place| place % 5 < 4).count();

        let all = tower(floors);
        let ways = giving_way(&all);
        assert_eq!(ways, (0..all.len()).filter(|place| matches!(place % 5, 0 | 3)).collect());
        assert_eq!(fall(giving_way(&tower(floors + 1))), 4 * (floors + 1));
    }

    /// [`giving_way`] word by word, with all judged anew after each winner, and no end of rounds.
    fn slowly(contestants: &[Contestant<u16>]) -> BTreeSet<usize> {
        let follows_of = |place: usize| {
            let (mut all, mut next) = (BTreeSet::new(), contestants[place].fact.follows.clone());
            while let Some(below) = next.pop() {
                if all.insert(below) {
                    next.extend(&contestants[below].fact.follows);
                }
            }
            all
        };
        let below: Vec<BTreeSet<usize>> = (0..contestants.len()).map(follows_of).collect();
        let are_rivals = |one: usize, other: usize| {
            one != other && !contestants[one].claims.is_disjoint(&contestants[other].claims)
        };
        let two = |place: &usize| {
            let all: BTreeSet<usize> = below[*place].iter().copied().chain([*place]).collect();
            all.iter().any(|one| all.iter().any(|other| are_rivals(*one, *other)))
        };
        let mut never: BTreeSet<usize> = (0..contestants.len()).filter(two).collect();
        let mut ways: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        loop {
            let stands = |place: &usize| !never.contains(place) && !ways.contains_key(place);
            let facts: Vec<Fact> = contestants
                .iter()
                .enumerate()
                .map(|(place, of)| Fact { stands: of.fact.stands && stands(&place), ..of.fact.clone() })
                .collect();
            let counts = counting(&facts);
            let rivals = |place: usize| -> BTreeSet<usize> {
                (0..counts.len()).filter(|other| counts[*other] && are_rivals(place, *other)).collect()
            };
            let rank = |place: usize| (!contestants[place].picked, contestants[place].hash);
            let mut open: Vec<usize> =
                (0..counts.len()).filter(|place| counts[*place] && !rivals(*place).is_empty()).collect();
            open.sort_by_key(|place| rank(*place));
            let wins = |place: &&usize| {
                let first = rivals(**place).iter().all(|other| rank(**place) < rank(*other));
                first && open.iter().all(|other| !below[**place].contains(other))
            };
            if let Some(winner) = open.iter().find(wins).or_else(|| open.first()).copied() {
                for rival in rivals(winner) {
                    ways.entry(rival).or_default().insert(winner);
                }
                continue;
            }
            let freed: Vec<usize> = ways.keys().copied().filter(|place| rivals(*place).is_empty()).collect();
            if freed.is_empty() {
                never.extend((0..counts.len()).filter(|place| !rivals(*place).is_empty()));
                return never;
            }
            never.extend(freed.into_iter().filter_map(|place| ways.remove(&place)).flatten());
        }
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

    /// Commits that follow and claim anything, as many as can be.
    fn anything() -> impl Strategy<Value = Vec<Contestant<u16>>> {
        let follows = proptest::collection::vec(any::<prop::sample::Index>(), 0..3);
        let claims = proptest::collection::btree_set(0_u16..9, 0..3);
        let owes = prop_oneof![3 => Just(false), 1 => Just(true)];
        let picked = prop_oneof![7 => Just(false), 1 => Just(true)];
        let one = (follows, claims, (owes, any::<bool>()), picked, any::<u8>());
        proptest::collection::vec(one, 1..24).prop_map(|ones| {
            let mut all = Vec::new();
            for (place, (follows, claims, clash, picked, first)) in ones.into_iter().enumerate() {
                let follows: BTreeSet<usize> =
                    follows.iter().filter(|_| place > 0).map(|below| below.index(place)).collect();
                let claims: Vec<u16> = claims.into_iter().collect();
                add(&mut all, &Vec::from_iter(follows), &claims, clash);
                let mut bytes = *all[place].hash.as_bytes();
                bytes[0] = first;
                (all[place].hash, all[place].picked) = (CommitHash::new(bytes), picked);
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
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        /// Seen failing with the first of all that are open for the winner, with any of them that waits for none, and with
        /// none that goes on.
        #[test]
        fn what_gives_way_is_what_the_rules_say(all in anything()) {
            prop_assert_eq!(giving_way(&all), slowly(&all));
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
