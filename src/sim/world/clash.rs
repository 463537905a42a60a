//! Several commits where there can be one: rogues that sign them, and the founder who settles it in the end.

use super::World;
use super::malice::{Made, OPEN};
use crate::access::Commit;
use crate::id::{CommitHash, SpaceId};
use crate::sim::Dice;
use crate::sim::oracle::Equivocation;
use crate::sync::Lane;
use crate::wire::{Live, Message};

impl World<'_> {
    /// Signs two to four commits where there can be one, and shows them to honest peers, the first two to different ones
    /// if it reaches two. Others follow some of them.
    pub(super) fn equivocate(&mut self, device: usize, space: usize, id: SpaceId, dice: &mut Dice) -> bool {
        let own = self.own_origin(device, dice);
        let first = Made::new(own, 1, OPEN, dice);
        let one_number = dice.chance(50);
        let mut sides: Vec<(Commit, u64)> = Vec::new();
        for side in 0..2 + dice.below(3) {
            let made = match (side, one_number) {
                (0, _) => first,
                // One number of the origin.
                (_, true) => Made::new(own, 1, OPEN, dice),
                // One number of the actor, in one entity.
                (_, false) => Made { oseq: 1 + dice.below(2), ..first },
            };
            sides.extend(self.craft(device, id, made, dice).map(|commit| (commit, made.oseq)));
        }
        // Those that were made twice are one.
        sides.sort_by_key(|(commit, _)| commit.hash());
        sides.dedup_by_key(|(commit, _)| commit.hash());
        if sides.len() < 2 {
            return false;
        }
        let mut sent: Vec<Commit> = sides.iter().map(|(side, _)| side.clone()).collect();
        for (side, oseq) in &sides {
            let next = Made { prev: Some(side.hash()), ..Made::new(own, oseq + 1, OPEN, dice) };
            sent.extend(dice.chance(30).then(|| self.craft(device, id, next, dice)).flatten());
        }
        let behind = sent.iter().skip(sides.len()).map(Commit::hash).collect();
        let ways = self.ways(device, id);
        let Some(mut way) = dice.pick(&ways).copied() else { return false };
        for (number, commit) in sent.into_iter().enumerate() {
            let others: Vec<_> = ways.iter().filter(|other| number != 1 || **other != way).copied().collect();
            if number > 0 {
                way = dice.pick(&others).copied().unwrap_or(way);
            }
            let (conn, slot) = way;
            let frame = Message::Live(Live { slot, commit: commit.encode() }).to_frame();
            self.post(device, conn, Lane::Live, frame);
        }
        let author = self.peer(device);
        let at = sides.first().map(|(side, _)| side.at.clone()).unwrap_or_default();
        let sides = sides.into_iter().map(|(side, _)| side.hash()).collect();
        if let Some(shared) = self.shared.get_mut(space) {
            shared.oracle.equivocations.push(Equivocation { author, sides, behind, at, one_number });
        }
        true
    }

    /// Everybody has agreed: the founders settle half of the clashes that are open. Tells whether there were any.
    pub(super) fn settle_clashes(&mut self) -> bool {
        if std::mem::replace(&mut self.settled, true) {
            return false;
        }
        let mut any = false;
        for space in 0..self.shared.len() {
            let founder = self.plan.spaces.get(space).map(|planned| planned.founder);
            let (Some(founder), Some(id)) = (founder, self.shared.get(space).and_then(|shared| shared.id))
            else {
                continue;
            };
            let (now, Some(replica)) = (self.clocks(founder), self.replica(founder)) else { continue };
            for clash in replica.clashes(id).unwrap_or_default() {
                let hashes: Vec<CommitHash> = clash.sides.iter().map(|(hash, _)| *hash).collect();
                let Some(one) = hashes.first().copied() else { continue };
                let byte = one.as_bytes().first().copied().unwrap_or(0);
                if byte & 1 == 0 {
                    continue;
                }
                let keep = hashes.get(usize::from(byte / 2) % hashes.len()).copied().unwrap_or(one);
                let Some(drop) = hashes.into_iter().find(|hash| *hash != keep) else { continue };
                let Some(replica) = self.replica(founder) else { continue };
                let done = replica.settle(now, id, clash.device, [keep, drop]);
                self.trace.line(self.now, format_args!("d{founder} drops {} : {done:?}", drop.short()));
                if self.signed(founder, done)
                    && let Some(shared) = self.shared.get_mut(space)
                {
                    shared.oracle.verdicts.push((keep, drop));
                    any = true;
                }
            }
        }
        any
    }
}
