//! Malice: what devices do that keep to no rule, short of breaking the cryptography.
//!
//! A rogue is a member with an honest engine and database whose frames pass through [`Rogue::pass`] on their way
//! out, and which sends commits and frames that are made by hand.

use std::collections::BTreeMap;

use super::Dice;
use crate::access::{Commit, Leaf, Slot, change_hash};
use crate::doc::{Document, Edit};
use crate::id::{
    ActorId, ChangeHash, CollectionName, CommitHash, EntityId, Incarnation, Origin, Oseq, PeerId, SpaceId,
    StatementHash, Vector,
};
use crate::identity::Identity;
use crate::time::Timestamp;
use crate::wire::{IndexSays, Message, Told};

/// Frames of a hundred that are none, while a rogue babbles.
const BABBLED_PERCENT: u64 = 30;

/// Something that a rogue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wile {
    /// Signs in the name of another device, or writes under its actor.
    Forge,
    /// Sends another's commit again, for another entity or another space.
    Replay,
    /// Writes what it may not write.
    Overstep,
    /// Asks for what it may not read.
    Pry,
    /// Writes, after it was removed, as of before.
    BackDate,
    /// Sends many small commits and statements.
    Flood,
    /// Fills a limit.
    Fill,
    /// Sends frames that are none, for a while.
    Babble,
    /// Leaves out some of what it passes on, for a while.
    Withhold,
    /// Says of itself what is not so, for a while.
    Lie,
    /// Signs two commits with one number, or with one number of an actor, and shows one to some and one to others.
    Equivocate,
}

impl Wile {
    /// Each, how often it is picked, and how long it lasts at most, in milliseconds.
    pub(super) const ALL: [(Self, u64, u64); 11] = [
        (Self::Forge, 4, 0),
        (Self::Replay, 3, 0),
        (Self::Overstep, 3, 0),
        (Self::Pry, 5, 0),
        (Self::BackDate, 4, 0),
        (Self::Flood, 2, 0),
        (Self::Fill, 5, 0),
        (Self::Babble, 2, 40_000),
        (Self::Withhold, 4, 60_000),
        (Self::Lie, 4, 60_000),
        (Self::Equivocate, 5, 0),
    ];
}

/// The malice of one device.
#[derive(Clone, Debug, Default)]
pub(super) struct Rogue {
    /// What it keeps doing, by the step that began it.
    pub(super) habits: BTreeMap<u64, Wile>,
    /// Where the membership log of each space stood while it was a member.
    pub(super) heads: BTreeMap<SpaceId, Vec<StatementHash>>,
}

/// What a hand-made commit is made of.
pub(super) struct Draft<'a> {
    pub(super) identity: &'a Identity,
    pub(super) space: SpaceId,
    /// The origin that it claims.
    pub(super) origin: Origin,
    /// The origin whose actor makes the change.
    pub(super) actor: Origin,
    pub(super) oseq: Oseq,
    /// What it says that it comes right behind.
    pub(super) prev: Option<CommitHash>,
    pub(super) at: Vec<StatementHash>,
    pub(super) collection: CollectionName,
    pub(super) entity: EntityId,
    /// Makes a change of the entity that nobody is sent, before.
    pub(super) kept: Option<Edit>,
    /// Makes the change, the first one if none is kept.
    pub(super) edit: Edit,
}

impl Draft<'_> {
    /// A commit in another's name bears the signature of the one who made it.
    pub(super) fn sign(self) -> Option<Commit> {
        let Self { identity, space, origin, actor, oseq, prev, at, collection, entity, kept, edit } = self;
        let (actor, at_ms) = (ActorId::derive(&space, &entity, &actor), Timestamp::from_unix_ms(1));
        let mut document = Document::new();
        if let Some(kept) = kept {
            kept(&mut document, &actor, at_ms).ok()??;
        }
        let made = edit(&mut document, &actor, at_ms).ok()??;
        let head = change_hash(&made.bytes)?;
        let leaf = Leaf { collection, entity, oseq, prev, salt: None, of: 1, seq: made.seq, head };
        let own = Origin { peer: identity.peer(), ..origin };
        let commit = Commit::sign(identity, space, own, at, vec![(leaf, made.bytes)]).ok()?;
        Some(Commit { origin, ..commit })
    }
}

/// The entities and changes of a commit.
pub(super) fn changes(commit: &Commit) -> Vec<(EntityId, ChangeHash)> {
    commit.open().map(|(leaf, _)| (leaf.entity, leaf.head)).collect()
}

/// The commit with its leaves moved to another entity.
pub(super) fn moved(mut commit: Commit, entity: EntityId) -> Commit {
    for slot in &mut commit.slots {
        if let Slot::Open { leaf, .. } = slot {
            leaf.entity = entity;
        }
    }
    commit
}

impl Rogue {
    fn does(&self, wile: Wile) -> bool {
        self.habits.values().any(|other| *other == wile)
    }

    /// What becomes of a frame on its way out.
    pub(super) fn pass(&self, frame: Vec<u8>, dice: &mut Dice) -> Option<Vec<u8>> {
        if self.habits.is_empty() {
            return Some(frame);
        }
        if self.does(Wile::Babble) && dice.chance(BABBLED_PERCENT) {
            return Some(babble(dice));
        }
        let Ok(Some(mut message)) = Message::from_frame(&frame) else { return Some(frame) };
        if self.does(Wile::Withhold) && !withhold(&mut message, dice) {
            return None;
        }
        if self.does(Wile::Lie) && dice.chance(40) {
            lie(&mut message, dice);
        }
        Some(message.to_frame())
    }
}

/// Leaves out something of what is passed on; tells whether anything is left.
#[expect(clippy::wildcard_enum_match_arm, reason = "most messages carry nothing that could be kept back")]
fn withhold(message: &mut Message, dice: &mut Dice) -> bool {
    match message {
        Message::Live(_) | Message::LiveBatch(_) => dice.chance(50),
        Message::Batch(batch) => {
            let at = match dice.below(3) {
                0 => 0,
                1 => batch.commits.len().saturating_sub(1),
                _ => batch.commits.len() / 2,
            };
            if at < batch.commits.len() {
                batch.commits.remove(at);
            }
            true
        }
        Message::Statements(_) => dice.chance(50),
        _ => true,
    }
}

/// Says what is not so.
fn lie(message: &mut Message, dice: &mut Dice) {
    match message {
        Message::Hello(hello) | Message::HelloAck(hello) => {
            for opening in &mut hello.openings {
                opening.data = dice.bytes();
                if let Told::Whole(vectors) = &mut opening.told {
                    stretch(vectors, dice);
                }
            }
        }
        Message::Open(opening) => opening.data = dice.bytes(),
        Message::Vectors(told) => stretch(&mut told.vectors, dice),
        Message::Ack(ack) => stretch(&mut ack.vectors, dice),
        Message::Roots(roots) => match dice.below(3) {
            0 => roots.roots = dice.bytes(),
            1 => roots.vectors = dice.bytes(),
            _ => roots.log = dice.bytes(),
        },
        Message::Heads(heads) => {
            let entry = dice.below(heads.entries.len() as u64) as usize;
            if let Some((_, short)) = heads.entries.get_mut(entry) {
                *short = dice.bytes();
            }
        }
        Message::Clocks(clocks) => clocks.clocks.iter_mut().for_each(|clock| {
            clock.clock.iter_mut().for_each(|(_, seq)| *seq = dice.between(1..=9));
        }),
        Message::Apart(apart) => apart.clocks.clear(),
        Message::Cells(cells) => cells.cells.iter_mut().for_each(|cell| cell.sum ^= dice.below(2)),
        Message::Shorts(shorts) => shorts.shorts.clear(),
        Message::Neighbours(neighbours) => neighbours.peers.clear(),
        Message::Offer(offer) => stretch(&mut offer.vectors, dice),
        Message::Wanted(wanted) => std::mem::swap(&mut wanted.wanted, &mut wanted.later),
        Message::IndexTold(told) => {
            if let IndexSays::Changed { entries, .. } = &mut told.says {
                entries.clear();
            }
        }
        Message::BatchTaken(_)
        | Message::IndexAsk(_)
        | Message::IndexTaken(_)
        | Message::CellsWanted(_)
        | Message::Statements(_)
        | Message::Introduce(_)
        | Message::Interest(_)
        | Message::Fetch(_)
        | Message::Fetched(_)
        | Message::Live(_)
        | Message::LiveBatch(_)
        | Message::Batch(_)
        | Message::Farewell(_) => {}
    }
}

/// Claims numbers that nobody gave, or forgets an origin.
fn stretch(vectors: &mut BTreeMap<CollectionName, Vector>, dice: &mut Dice) {
    for vector in vectors.values_mut() {
        let origins: Vec<(Origin, u64)> =
            vector.iter().map(|(origin, seen)| (*origin, seen.highest())).collect();
        let Some((origin, highest)) = dice.pick(&origins).copied() else { continue };
        // At its limits a vector refuses, and the lie is not told.
        let _ = vector.insert_range(origin, Oseq(highest + 1), Oseq(highest + 1 + dice.below(4)));
        if dice.chance(20) {
            let stranger = Origin { peer: PeerId::new(dice.bytes()), incarnation: Incarnation(dice.seed()) };
            let _ = vector.insert(stranger, Oseq(1));
        }
    }
}

/// A frame that no honest device sends.
pub(super) fn babble(dice: &mut Dice) -> Vec<u8> {
    let length = dice.between(1..=200) as usize;
    let mut frame: Vec<u8> = (0..length).map(|_| dice.below(256) as u8).collect();
    match dice.below(4) {
        // A type that is known, and a length that fits.
        0 => {
            let kind = (dice.below(17) * 2) as u8;
            let body: Vec<u8> = frame.iter().copied().take(100).collect();
            frame = [vec![kind, body.len() as u8], body].concat();
        }
        // A length of four gibibytes.
        1 => frame.splice(0..0, [14, 0x80, 0x80, 0x80, 0x80, 0x10]).for_each(drop),
        _ => {}
    }
    frame
}
