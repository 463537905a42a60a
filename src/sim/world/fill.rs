//! Rogues that fill what has a limit: each limit is the real one, and is reached by few and cheap frames.

use super::malice::OPEN;
use super::{Happening, World};
use crate::access::{Body, Commit, Grant, Leaf, Statement, Uses, change_hash};
use crate::doc::{self, Document};
use crate::exchange::{Answer, Ask, ShortsKey};
use crate::id::{
    ActorId, CollectionName, EntityId, Fingerprint, Oseq, SpaceId, Span, SpanPrint, StatementHash,
};
use crate::identity::Identity;
use crate::limits::{
    COLLECTIONS_PER_MEMBER_MAX, ORIGINS_PER_MEMBER_MAX, PEER_WORK_BURST_MAX, QUARANTINE_AUTHOR_BYTES_MAX,
    STATEMENTS_FOLLOWED_OF_MEMBER, STATEMENTS_WAITING_MAX, VALUE_BYTES_MAX,
};
use crate::sim::malice::Draft;
use crate::sim::{Dice, Line, Note};
use crate::sync::{ConnId, Lane};
use crate::time::Timestamp;
use crate::wire::{IndexAsk, Live, LiveBatch, Message, Statements};

/// Commits beyond a limit, or statements.
const EXCESS: usize = 12;
/// Wait between two frames of a filling, in milliseconds: what a device has not taken has a limit of its own.
const PACE_MS: u64 = 60;
/// Entities of one large commit.
const LARGE_LEAVES: u64 = 3;
/// Commits of one batch.
const BATCHED: usize = 64;
/// Statements of one frame.
const STATEMENTS_TOGETHER: usize = 256;
/// Work of one question for an index.
const INDEX_WORK: usize = 8;
/// The first kinds, which devices take only a part of: who is shown other parts holds other ones.
const GREEDY_KINDS: u64 = 11;
/// When it is looked whether something is full, in milliseconds after the first frame.
const GAUGES_MS: [u64; 3] = [500, 2_000, 8_000];

impl World<'_> {
    /// Fills one of the limits at one or two honest peers.
    pub(super) fn fill(&mut self, device: usize, space: SpaceId, number: usize, dice: &mut Dice) -> bool {
        let ways = self.ways(device, space);
        let Some(way) = dice.pick(&ways).copied() else { return false };
        let other = dice.pick(&ways).copied().filter(|other| *other != way && dice.chance(30));
        let mut done = false;
        // The dear ones are rare.
        let kind = dice.below(80);
        self.trace.line(self.now, format_args!("d{device} fills {kind}"));
        for (conn, slot) in [Some(way), other].into_iter().flatten() {
            done |= match kind {
                0 => self.fill_origins(device, space, (conn, slot), dice),
                1..GREEDY_KINDS => self.fill_collections(device, space, (conn, slot), dice),
                11..=15 => self.fill_quarantine(device, space, (conn, slot), dice),
                16..=33 => self.fill_waiting(device, space, (conn, slot), dice),
                34..=53 => self.fill_followed(device, space, (conn, slot), dice),
                54..=65 => self.fill_work(device, (conn, slot), dice),
                _ => (0..4).fold(false, |any, _| self.equivocate(device, number, space, dice) | any),
            };
        }
        if let Some(shared) = self.shared.get_mut(number).filter(|_| done && kind < GREEDY_KINDS) {
            shared.greedy.insert(device);
        }
        if done {
            GAUGES_MS.into_iter().for_each(|ms| self.after(ms, Happening::Gauge));
        }
        done
    }

    /// The founders remove those who gave more than they may, one at a time; tells whether anybody was.
    pub(super) fn expel_greedy(&mut self) -> bool {
        for number in 0..self.shared.len() {
            let Some((planned, shared)) = self.plan.spaces.get(number).zip(self.shared.get(number)) else {
                continue;
            };
            let (founder, left) = (planned.founder, shared.greedy.difference(&shared.out).next().copied());
            let Some(target) = left else { continue };
            let mut dice = Dice::new(self.seed, &format!("expel {target}"));
            self.remove(founder, number, Some(target), &mut dice);
            if self.shared.get(number).is_some_and(|shared| shared.out.contains(&target)) {
                return true;
            }
        }
        false
    }

    /// Large commits that wait for what never comes: for statements, or for changes.
    fn fill_quarantine(
        &mut self,
        device: usize,
        space: SpaceId,
        (conn, slot): (ConnId, u64),
        dice: &mut Dice,
    ) -> bool {
        let Some(identity) = self.node(device).map(|node| node.identity.clone()) else { return false };
        let origin = self.own_origin(device, dice);
        let mut changes = Vec::new();
        for _ in 0..LARGE_LEAVES {
            let entity = EntityId::new(dice.bytes());
            let actor = ActorId::derive(&space, &entity, &origin);
            let tags = (0..2).map(|_| noise(VALUE_BYTES_MAX - 1_024, dice)).collect();
            let note = Note { title: "by hand".to_owned(), text: "".into(), minutes: 0.into(), tags };
            let made = doc::insert(note)(&mut Document::new(), &actor, Timestamp::from_unix_ms(1));
            let Ok(Some(made)) = made else { return false };
            changes.push((entity, made));
        }
        let (Some(heads), Ok(collection)) = (
            changes.iter().map(|(_, made)| change_hash(&made.bytes)).collect::<Option<Vec<_>>>(),
            CollectionName::new(OPEN),
        ) else {
            return false;
        };
        let bytes: usize = changes.iter().map(|(_, made)| made.bytes.len()).sum();
        let count = (QUARANTINE_AUTHOR_BYTES_MAX / bytes.max(1) + 2) as u64;
        for oseq in 1..=count {
            let leaves = changes.iter().zip(&heads).map(|((entity, made), head)| {
                let (collection, oseq, of) = (collection.clone(), Oseq(oseq), LARGE_LEAVES as usize);
                let leaf = Leaf {
                    collection,
                    entity: *entity,
                    oseq,
                    prev: None,
                    salt: None,
                    of: of.try_into().unwrap_or(1),
                    seq: made.seq,
                    head: *head,
                };
                (leaf, made.bytes.clone())
            });
            let at = vec![StatementHash::new(dice.bytes())];
            let Ok(commit) = Commit::sign(&identity, space, origin, at, leaves.collect()) else {
                return false;
            };
            let frame = Message::Live(Live { slot, commit: commit.encode() }).to_frame();
            self.post_later(oseq * PACE_MS, device, conn, Lane::Live, frame);
        }
        true
    }

    /// One small commit in each of many collections.
    fn fill_collections(
        &mut self,
        device: usize,
        space: SpaceId,
        way: (ConnId, u64),
        dice: &mut Dice,
    ) -> bool {
        let (mut commits, stem) = (Vec::new(), dice.seed());
        let origin = self.own_origin(device, dice);
        for number in 0..COLLECTIONS_PER_MEMBER_MAX + EXCESS {
            let Ok(collection) = CollectionName::new(&format!("by-hand-{stem:x}-{number}")) else { break };
            commits.extend(self.craft_line(device, space, origin, collection, dice));
        }
        self.post_batches(device, way, commits)
    }

    /// One small commit of each of many lives.
    fn fill_origins(&mut self, device: usize, space: SpaceId, way: (ConnId, u64), dice: &mut Dice) -> bool {
        let Ok(collection) = CollectionName::new("by-hand") else { return false };
        let mut commits = Vec::new();
        for _ in 0..ORIGINS_PER_MEMBER_MAX + EXCESS {
            let origin = self.own_origin(device, dice);
            commits.extend(self.craft_line(device, space, origin, collection.clone(), dice));
        }
        self.post_batches(device, way, commits)
    }

    /// Statements that follow what is not there.
    fn fill_waiting(&mut self, device: usize, space: SpaceId, way: (ConnId, u64), dice: &mut Dice) -> bool {
        let Some(identity) = self.node(device).map(|node| node.identity.clone()) else { return false };
        let body = Body::SetName { name: "by hand".to_owned() };
        let statements = (0..STATEMENTS_WAITING_MAX + EXCESS).filter_map(|_| {
            let prev = vec![StatementHash::new(dice.bytes())];
            Statement::sign(&identity, &space, 2 + dice.below(40), prev, body.clone()).ok()
        });
        let statements: Vec<Statement> = statements.collect();
        self.post_statements(device, way, &statements)
    }

    /// Statements that count, one behind the other: the device invites others of its member.
    fn fill_followed(&mut self, device: usize, space: SpaceId, way: (ConnId, u64), dice: &mut Dice) -> bool {
        let (now, Some(identity)) =
            (self.clocks(device), self.node(device).map(|node| node.identity.clone()))
        else {
            return false;
        };
        let Some(replica) = self.replica(device) else { return false };
        let Some(membership) = replica.membership(&space) else { return false };
        let Some(member) = membership.member_of(&identity.peer()).map(|member| member.id) else {
            return false;
        };
        let ask = Ask::Statements { space, key: ShortsKey::default(), given: Vec::new(), known: Vec::new() };
        let Answer::Statements(all) = replica.answer(now, ask) else { return false };
        let mut prev = membership.heads().to_vec();
        let known = all.iter().filter_map(|bytes| Statement::decode(bytes).ok());
        let last =
            known.filter(|statement| prev.contains(&statement.hash())).map(|said| said.lamport()).max();
        let mut lamport = last.unwrap_or(0);
        let mut statements = Vec::new();
        for _ in 0..STATEMENTS_FOLLOWED_OF_MEMBER + EXCESS {
            lamport += 1;
            let key = Identity::from_seed(dice.bytes()).peer();
            let (grant, expiry) = (Grant::Device(member), Timestamp::from_unix_ms(1 << 42));
            let body = Body::Invite { key, grant, expiry, uses: Uses::Once };
            let Ok(statement) = Statement::sign(&identity, &space, lamport, prev, body) else { return false };
            prev = vec![statement.hash()];
            statements.push(statement);
        }
        self.post_statements(device, way, &statements)
    }

    /// Questions that cost the peer more than it gives in a time.
    fn fill_work(&mut self, device: usize, (conn, slot): (ConnId, u64), dice: &mut Dice) -> bool {
        for number in 0..PEER_WORK_BURST_MAX / INDEX_WORK as u64 + EXCESS as u64 {
            let Ok(collection) = CollectionName::new(&format!("nothing-{number}")) else { break };
            let span = Span { after: None, upto: None };
            let spans = vec![SpanPrint { span, print: Fingerprint::default() }];
            let ask = IndexAsk { slot, collection, number: dice.seed() >> 8, spans };
            self.post(device, conn, Lane::Bulk, Message::IndexAsk(ask).to_frame());
        }
        true
    }

    /// A commit with one line, where nobody but its author writes.
    fn craft_line(
        &self,
        device: usize,
        space: SpaceId,
        origin: crate::id::Origin,
        collection: CollectionName,
        dice: &mut Dice,
    ) -> Option<Vec<u8>> {
        let node = self.node(device)?;
        let at = node.rogue.as_ref()?.heads.get(&space)?.clone();
        let entity = EntityId::new(dice.bytes());
        let (identity, edit) = (node.identity.as_ref(), doc::insert(Line { step: u64::MAX }));
        let (actor, oseq, prev) = (origin, Oseq(1), None);
        let draft =
            Draft { identity, space, origin, actor, oseq, prev, at, collection, entity, kept: None, edit };
        draft.sign().map(|commit| commit.encode())
    }

    fn post_batches(&mut self, device: usize, (conn, slot): (ConnId, u64), commits: Vec<Vec<u8>>) -> bool {
        for (number, commits) in commits.chunks(BATCHED).enumerate() {
            // As if they were new: the answer to any other batch would reach an engine that sent none.
            let frame = Message::LiveBatch(LiveBatch { slot, commits: commits.to_vec() }).to_frame();
            self.post_later(number as u64 * PACE_MS, device, conn, Lane::Live, frame);
        }
        !commits.is_empty()
    }

    fn post_statements(
        &mut self,
        device: usize,
        (conn, slot): (ConnId, u64),
        statements: &[Statement],
    ) -> bool {
        for (number, some) in statements.chunks(STATEMENTS_TOGETHER).enumerate() {
            let statements = some.iter().map(|statement| statement.bytes().to_vec()).collect();
            let frame = Message::Statements(Statements { slot, statements }).to_frame();
            self.post_later(number as u64 * PACE_MS, device, conn, Lane::Control, frame);
        }
        !statements.is_empty()
    }
}

/// Text that no compression makes small.
fn noise(bytes: usize, dice: &mut Dice) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&dice.bytes::<32>());
    let mut text = vec![0; bytes];
    hasher.finalize_xof().fill(&mut text);
    text.iter_mut().for_each(|byte| *byte = b'!' + *byte % 90);
    String::from_utf8(text).unwrap_or_default()
}
