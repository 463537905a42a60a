//! Two commits where there can be one: rogues that sign them, and the founder who settles it in the end.

use super::World;
use super::malice::{Made, OPEN};
use crate::id::{CommitHash, SpaceId};
use crate::sim::Dice;
use crate::sim::oracle::Equivocation;
use crate::sync::Lane;
use crate::wire::{Live, Message};

impl World<'_> {
    /// Signs two commits where there can be one, and shows one to one honest peer and the other to another, if it
    /// reaches two. Sometimes a third follows the second.
    pub(super) fn equivocate(&mut self, device: usize, space: usize, id: SpaceId, dice: &mut Dice) -> bool {
        let own = self.own_origin(device, dice);
        let first = Made::new(own, 1, OPEN, dice);
        let second = match dice.chance(50) {
            // One number of the origin.
            true => Made::new(own, 1, OPEN, dice),
            // One number of the actor, in one entity.
            false => Made { oseq: 1 + dice.below(2), ..first },
        };
        let Some((one, other)) =
            self.craft(device, id, first, dice).zip(self.craft(device, id, second, dice))
        else {
            return false;
        };
        let (sides, oseq) = ([one.hash(), other.hash()], second.oseq + 1);
        let third = Made { prev: Some(other.hash()), ..Made::new(own, oseq, OPEN, dice) };
        let third = dice.chance(40).then(|| self.craft(device, id, third, dice)).flatten();
        let mut ways = self.ways(device, id);
        let Some(here) = dice.pick(&ways).copied() else { return false };
        ways.retain(|way| *way != here);
        let there = dice.pick(&ways).copied().unwrap_or(here);
        let sent = [(here, Some(one)), (there, Some(other)), (there, third)];
        for ((conn, slot), commit) in sent {
            let Some(commit) = commit else { continue };
            let frame = Message::Live(Live { slot, commit: commit.encode() }).to_frame();
            self.post(device, conn, Lane::Live, frame);
        }
        let author = self.peer(device);
        if let Some(shared) = self.shared.get_mut(space) {
            shared.oracle.equivocations.push(Equivocation {
                author,
                sides,
                one_number: second.oseq == first.oseq,
            });
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
                let &[one, other] = hashes.as_slice() else { continue };
                let byte = one.as_bytes().first().copied().unwrap_or(0);
                if byte & 1 == 0 {
                    continue;
                }
                let [keep, drop] = if byte & 2 == 0 { [one, other] } else { [other, one] };
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
