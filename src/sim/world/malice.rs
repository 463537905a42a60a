//! Rogues among the devices: what they send by hand.

use super::{Happening, World};
use crate::access::{Body, Commit, Role, Statement};
use crate::doc;
use crate::exchange::{Answer, Ask, Scope, Vectors};
use crate::id::{CollectionName, CommitHash, EntityId, Incarnation, Origin, Oseq, SpaceId};
use crate::sim::fault::Fault;
use crate::sim::malice::{self, Draft, Wile};
use crate::sim::{Dice, Line, Note};
use crate::sync::{ConnId, Lane};
use crate::wire::{Batch, Live, LiveBatch, Message, Statements};

/// Commits of one flood.
const FLOOD_COMMITS: u64 = 40;
/// Bytes of others' commits that a rogue looks at.
const REPLAY_BYTES: usize = 64 * 1024;
/// What most members may not read or write when the plan says so.
pub(super) const RULED: &str = "lines";
pub(super) const OPEN: &str = "notes";

/// What is to stand in a commit that is made by hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) origin: Origin,
    /// The origin whose actor makes the change.
    pub(super) actor: Origin,
    pub(super) oseq: u64,
    pub(super) prev: Option<CommitHash>,
    pub(super) entity: EntityId,
    pub(super) collection: &'static str,
    /// It follows a change that nobody is ever sent.
    pub(super) is_orphan: bool,
}

impl Made {
    pub(super) fn new(origin: Origin, oseq: u64, collection: &'static str, dice: &mut Dice) -> Self {
        let (entity, is_orphan) = (EntityId::new(dice.bytes()), false);
        Self { origin, actor: origin, oseq, prev: None, entity, collection, is_orphan }
    }
}

impl World<'_> {
    pub(super) fn is_rogue(&self, device: usize) -> bool {
        self.node(device).is_some_and(|node| node.rogue.is_some())
    }

    /// What becomes of a frame of a device on its way out.
    pub(super) fn pass(&mut self, device: usize, frame: Vec<u8>) -> Option<Vec<u8>> {
        let Some(node) = self.nodes.get_mut(device) else { return Some(frame) };
        let Some(rogue) = &node.rogue else { return Some(frame) };
        rogue.pass(frame, &mut node.dice)
    }

    /// A rogue does something, or makes a habit of it.
    pub(super) fn scheme(&mut self, number: u64, device: usize, space: usize, wile: Wile, dice: &mut Dice) {
        let Some(id) = self.shared.get(space).and_then(|shared| shared.id) else { return };
        self.note_heads(device);
        let done = match wile {
            Wile::Withhold | Wile::Lie => {
                let rogue = self.node_mut(device).and_then(|node| node.rogue.as_mut());
                rogue.map(|rogue| rogue.habits.insert(number, wile)).is_some()
            }
            Wile::Forge => self.forge(device, space, id, dice),
            Wile::Replay => self.replay(device, id, dice),
            Wile::Overstep => self.overstep(device, space, id, dice),
            Wile::Pry => self.pry(device, id, dice),
            Wile::Fill => self.fill(device, id, space, dice),
            Wile::BackDate => self.back_date(device, space, id, dice),
            Wile::Flood => self.flood(device, id, dice),
            Wile::Babble => {
                let rogue = self.node_mut(device).and_then(|node| node.rogue.as_mut());
                if let Some(rogue) = rogue {
                    rogue.habits.insert(number, wile);
                }
                self.babble(device, id, dice)
            }
            Wile::Equivocate => self.equivocate(device, space, id, dice),
        };
        if done {
            self.faults.add(Fault::of_wile(wile), 1);
        }
    }

    /// A habit ends.
    pub(super) fn give_up_habit(&mut self, number: u64, device: usize) {
        if let Some(rogue) = self.node_mut(device).and_then(|node| node.rogue.as_mut()) {
            rogue.habits.remove(&number);
        }
    }

    /// The trouble is over: rogues leave for good, or stay and go on lying.
    pub(super) fn end_malice(&mut self, device: usize) -> bool {
        let stay = self.plan.rogues_stay;
        let Some(rogue) = self.node_mut(device).and_then(|node| node.rogue.as_mut()) else { return false };
        rogue.habits.clear();
        if stay {
            rogue.habits.insert(u64::MAX, Wile::Lie);
            rogue.habits.insert(u64::MAX - 1, Wile::Withhold);
        } else {
            self.vanish(device);
        }
        true
    }

    /// Where the log stands, while the device belongs to the space.
    fn note_heads(&mut self, device: usize) {
        for (_, space) in self.spaces_of(device) {
            let Some(node) = self.nodes.get_mut(device) else { return };
            let peer = node.peer();
            let membership = node.up.as_ref().and_then(|up| up.replica.membership(&space));
            if let (Some(rogue), Some(membership)) = (&mut node.rogue, membership)
                && membership.role(&peer).is_some()
            {
                rogue.heads.insert(space, membership.heads().to_vec());
            }
        }
    }

    /// The connections over which a device talks about a space with honest ones, and how its frames name it.
    pub(super) fn ways(&self, device: usize, space: SpaceId) -> Vec<(ConnId, u64)> {
        let Some(up) = self.node(device).and_then(|node| node.up.as_ref()) else { return Vec::new() };
        let conns = self.network.conns_of(device).into_iter();
        let honest = |conn: &ConnId| self.far(device, *conn).is_some_and(|far| !self.is_rogue(far));
        conns.filter(honest).filter_map(|conn| Some((conn, up.engine.slot_of(conn, space)?))).collect()
    }

    /// Sends a frame as it is.
    pub(super) fn post(&mut self, device: usize, conn: ConnId, lane: Lane, frame: Vec<u8>) {
        self.trace.line(self.now, format_args!("d{device} c{} by hand {lane:?} {}", conn.0, frame.len()));
        if let Some(transit) = self.network.send(self.now, conn, device, lane, frame) {
            self.at(transit.at_ms, Happening::Arrive(transit));
        }
    }

    /// Sends a frame after a while, if the device and the connection are still there.
    pub(super) fn post_later(
        &mut self,
        after_ms: u64,
        device: usize,
        conn: ConnId,
        lane: Lane,
        frame: Vec<u8>,
    ) {
        let Some(life) = self.node(device).map(|node| node.life) else { return };
        self.after(after_ms, Happening::ByHand { device, life, conn, lane, frame });
    }

    /// Sends a commit to an honest peer; tells whether there was one.
    fn post_commit(&mut self, device: usize, space: SpaceId, commit: &Commit, dice: &mut Dice) -> bool {
        let ways = self.ways(device, space);
        let Some((conn, slot)) = dice.pick(&ways).copied() else { return false };
        self.post(device, conn, Lane::Live, Message::Live(Live { slot, commit: commit.encode() }).to_frame());
        true
    }

    /// From here on no honest device may show these changes.
    fn forbid(&mut self, space: SpaceId, commit: &Commit) {
        let changes = malice::changes(commit);
        if let Some(shared) = self.shared_mut(&space) {
            shared.oracle.forbidden.extend(changes);
        }
    }

    pub(super) fn own_origin(&self, device: usize, dice: &mut Dice) -> Origin {
        Origin { peer: self.peer(device), incarnation: Incarnation(dice.seed()) }
    }

    /// A commit by hand that inserts a note or a line.
    pub(super) fn craft(&self, device: usize, space: SpaceId, made: Made, dice: &mut Dice) -> Option<Commit> {
        let Made { origin, actor, oseq, prev, entity, collection, is_orphan } = made;
        let node = self.node(device)?;
        let at = node.rogue.as_ref()?.heads.get(&space)?.clone();
        if !self.kinds.iter().any(|kind| kind.collection().as_str() == collection) {
            return None;
        }
        let title = format!("by hand {}", dice.below(1_000_000));
        let edit = match collection {
            RULED => doc::insert(Line { step: u64::MAX }),
            _ => doc::insert(Note { title, text: "".into(), minutes: 0.into(), tags: Vec::new() }),
        };
        let (kept, edit) = match is_orphan && collection == OPEN {
            true => (Some(edit), doc::update(|note: &mut Note| note.title = "of nothing".to_owned())),
            false => (None, edit),
        };
        let (identity, oseq) = (node.identity.as_ref(), Oseq(oseq));
        let collection = CollectionName::new(collection).ok()?;
        Draft { identity, space, origin, actor, oseq, prev, at, collection, entity, kept, edit }.sign()
    }

    fn forge(&mut self, device: usize, space: usize, id: SpaceId, dice: &mut Dice) -> bool {
        let origins = self.shared.get(space).map(|shared| shared.oracle.honest_origins()).unwrap_or_default();
        let Some((victim, last)) = dice.pick(&origins).copied() else { return false };
        let own = self.own_origin(device, dice);
        let commit = match dice.chance(50) {
            true => self.craft(device, id, Made::new(victim, last + 1, OPEN, dice), dice),
            false => self.craft(device, id, Made { actor: victim, ..Made::new(own, 1, OPEN, dice) }, dice),
        };
        let Some(commit) = commit else { return false };
        self.forbid(id, &commit);
        self.post_commit(device, id, &commit, dice)
    }

    fn replay(&mut self, device: usize, space: SpaceId, dice: &mut Dice) -> bool {
        let (now, to) = (self.clocks(device), self.peer(device));
        let ask =
            Ask::Feed { space, to, have: Vectors::new(), scope: Scope::default(), bytes_max: REPLAY_BYTES };
        let Some(Answer::Commits { commits, .. }) =
            self.replica(device).map(|replica| replica.answer(now, ask))
        else {
            return false;
        };
        let Some(packed) = dice.pick(&commits) else { return false };
        let others: Vec<SpaceId> =
            self.spaces_of(device).into_iter().map(|(_, id)| id).filter(|id| *id != space).collect();
        let other = dice.pick(&others).copied().filter(|_| dice.chance(50));
        let target = other.unwrap_or(space);
        let Ok(mut commit) = Commit::decode(target, &packed.bytes) else { return false };
        if other.is_none() {
            commit = malice::moved(commit, EntityId::new(dice.bytes()));
        }
        self.forbid(target, &commit);
        self.post_commit(device, target, &commit, dice)
    }

    fn overstep(&mut self, device: usize, space: usize, id: SpaceId, dice: &mut Dice) -> bool {
        let rule = self.plan.spaces.get(space).is_some_and(|planned| planned.rule);
        let place = match self.role(device, &id) {
            Some(Role::Writer) if rule => RULED,
            Some(Role::Reader) => OPEN,
            Some(_) | None => return false,
        };
        let own = self.own_origin(device, dice);
        let Some(commit) = self.craft(device, id, Made::new(own, 1, place, dice), dice) else { return false };
        self.forbid(id, &commit);
        self.post_commit(device, id, &commit, dice)
    }

    /// Only who was removed can back-date; another rogue that still belongs passes it on.
    fn back_date(&mut self, device: usize, space: usize, id: SpaceId, dice: &mut Dice) -> bool {
        let Some(shared) = self.shared.get(space).filter(|shared| shared.out.contains(&device)) else {
            return false;
        };
        let inside = |other: &usize| !shared.out.contains(other) && self.is_rogue(*other);
        let friends: Vec<usize> = (0..self.plan.devices).filter(inside).collect();
        let own = self.own_origin(device, dice);
        let Some(commit) = self.craft(device, id, Made::new(own, 1, OPEN, dice), dice) else { return false };
        let messenger = dice.pick(&friends).copied().unwrap_or(device);
        let (author, changes) = (commit.origin.peer, malice::changes(&commit));
        if let Some(shared) = self.shared.get_mut(space) {
            shared.oracle.void.extend(changes.into_iter().map(|change| (change, author)));
        }
        self.post_commit(messenger, id, &commit, dice)
    }

    fn flood(&mut self, device: usize, space: SpaceId, dice: &mut Dice) -> bool {
        let ways = self.ways(device, space);
        let Some((conn, slot)) = dice.pick(&ways).copied() else { return false };
        let own = self.own_origin(device, dice);
        let crafted = (1..=FLOOD_COMMITS).filter_map(|oseq| {
            let made = Made { is_orphan: dice.chance(40), ..Made::new(own, oseq, OPEN, dice) };
            self.craft(device, space, made, dice).map(|commit| commit.encode())
        });
        let mut commits: Vec<Vec<u8>> = crafted.collect();
        let batched = commits.split_off(commits.len() / 2);
        let statements = self.junk_statements(device, space, dice);
        // The answer to a batch reaches the rogue's own engine, which sent none, and closes.
        let (lane, batch) = match dice.chance(50) {
            true => (Lane::Live, Message::LiveBatch(LiveBatch { slot, commits: batched })),
            false => {
                let number = 1_000_000 + dice.below(1_000_000);
                (Lane::Bulk, Message::Batch(Batch { slot, number, commits: batched }))
            }
        };
        self.post(device, conn, lane, batch.to_frame());
        for commit in commits {
            self.post(device, conn, Lane::Live, Message::Live(Live { slot, commit }).to_frame());
        }
        self.post(
            device,
            conn,
            Lane::Control,
            Message::Statements(Statements { slot, statements }).to_frame(),
        );
        true
    }

    /// Statements that do not count, and some that are none.
    fn junk_statements(&self, device: usize, space: SpaceId, dice: &mut Dice) -> Vec<Vec<u8>> {
        let mut statements: Vec<Vec<u8>> = (0..8).map(|_| dice.bytes::<90>().to_vec()).collect();
        let Some(node) = self.node(device) else { return statements };
        let membership = node.up.as_ref().and_then(|up| up.replica.membership(&space));
        if let Some(membership) = membership
            && let Some(member) = membership.member_of(&node.peer())
        {
            let body = Body::SetRole { member: member.id, role: Role::Owner };
            let (heads, lamport) = (membership.heads().to_vec(), 2 + dice.below(40));
            let signed = Statement::sign(&node.identity, &space, lamport, heads, body);
            statements.extend(signed.map(|statement| statement.bytes().to_vec()));
        }
        statements
    }

    fn babble(&mut self, device: usize, space: SpaceId, dice: &mut Dice) -> bool {
        let ways = self.ways(device, space);
        let Some((conn, _)) = dice.pick(&ways).copied() else { return false };
        for _ in 0..dice.between(1..=5) {
            let lane = *dice.pick(&[Lane::Control, Lane::Live, Lane::Bulk]).unwrap_or(&Lane::Control);
            self.post(device, conn, lane, malice::babble(dice));
        }
        true
    }
}
