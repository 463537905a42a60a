//! Rogues that ask for what they may not read: what they are told must not depend on what there is.

use super::World;
use super::malice::RULED;
use crate::access::Action;
use crate::exchange::Vectors;
use crate::id::{
    CollectionName, EntityClock, EntityId, Fingerprint, Interest, Interests, PeerId, SpaceId, Span,
    SpanPrint, Vector,
};
use crate::sim::Dice;
use crate::sim::node::Job;
use crate::sim::violation::Rule;
use crate::sync::{ConnId, Lane};
use crate::wire::{
    Apart, CellsWanted, Clocks, Fetch, FetchEnd, Fetched, Heads, IndexAsk, IndexSays, IndexTaken, IndexTold,
    InterestTold, Message, Offer, Revisions, VectorsTold, Wanted,
};

/// As [`RULED`], and nobody ever wrote there.
pub(super) const VAULT: &str = "vault";
/// Wait before a question and before its twin, in milliseconds: there is one question of a kind at a time.
const TWIN_MS: u64 = 2_500;
/// Entities that are asked for together.
const ASKED: u64 = 4;

/// A question about what is there and may not be read, and its twin about what is not there. Who answers them
/// differently tells what there is.
#[derive(Debug)]
pub(super) struct Pried {
    conn: ConnId,
    /// Who is asked.
    device: usize,
    space: SpaceId,
    numbers: [u64; 2],
    collections: [CollectionName; 2],
    answers: [Vec<Message>; 2],
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Documents,
    Index,
}

impl World<'_> {
    pub(super) fn pry(&mut self, device: usize, space: SpaceId, dice: &mut Dice) -> bool {
        let (Ok(collection), Ok(vault)) = (CollectionName::new(RULED), CollectionName::new(VAULT)) else {
            return false;
        };
        let peer = self.peer(device);
        let up = self.node(device).and_then(|node| node.up.as_ref());
        let reads = up.and_then(|up| up.replica.membership(&space));
        if reads.is_none_or(|all| all.may(&peer, Action::Read, &collection)) {
            return false;
        }
        let ways = self.ways(device, space);
        let Some((conn, slot)) = dice.pick(&ways).copied() else { return false };
        let Some(shared) = self.shared.iter().find(|shared| shared.id == Some(space)) else { return false };
        let known = shared.oracle.entities(&collection);
        let there: Vec<EntityId> = (0..ASKED).filter_map(|_| dice.pick(&known).copied()).collect();
        let vectors = Vectors::from([(collection.clone(), shared.oracle.made_in(&collection))]);
        if let Some(shared) = self.shared_mut(&space) {
            shared.oracle.asked(&there);
        }
        if dice.chance(65) {
            // The twin asks for as much that is nowhere, in the same collection or in one without anything.
            let nowhere = there.iter().map(|_| EntityId::new(dice.bytes())).collect();
            let other = if dice.chance(50) { vault } else { collection.clone() };
            let asked = [(collection.clone(), there), (other.clone(), nowhere)];
            // An index is told only to who wants no more of the collection.
            let number = self.shared.iter().position(|shared| shared.id == Some(space)).unwrap_or(0);
            for wanted in [collection, other] {
                self.push_job(device, Job::Interest(number, Some(wanted), Interest::Index));
            }
            self.pry_twice(device, space, (conn, slot), About::Documents, asked.clone(), dice);
            self.pry_twice(device, space, (conn, slot), About::Index, asked, dice);
            return true;
        }
        let message = question(slot, collection, there, vectors, dice);
        let lane = if dice.chance(50) { Lane::Control } else { Lane::Bulk };
        self.post(device, conn, lane, message.to_frame());
        true
    }

    /// Asks about what is there, and a while later about what is not.
    fn pry_twice(
        &mut self,
        device: usize,
        space: SpaceId,
        (conn, slot): (ConnId, u64),
        about: About,
        asked: [(CollectionName, Vec<EntityId>); 2],
        dice: &mut Dice,
    ) {
        let Some(far) = self.far(device, conn) else { return };
        let numbers = [dice.seed() >> 8, dice.seed() >> 8];
        let collections = asked.clone().map(|(collection, _)| collection);
        let order = if dice.chance(50) { [0, 1] } else { [1, 0] };
        for (turn, which) in order.into_iter().enumerate() {
            let (Some((collection, entities)), Some(number)) =
                (asked.get(which).cloned(), numbers.get(which))
            else {
                continue;
            };
            let message = match about {
                About::Index => index_ask(slot, collection, *number),
                About::Documents => {
                    let (number, have) = (*number, Vector::new());
                    Message::Fetch(Fetch { slot, number, collection, entities, have })
                }
            };
            self.post_later((turn as u64 + 1) * TWIN_MS, device, conn, Lane::Bulk, message.to_frame());
        }
        let answers = [Vec::new(), Vec::new()];
        self.pried.push(Pried { conn, device: far, space, numbers, collections, answers });
    }

    /// An honest device answers: what it says to twins must be the same.
    #[expect(clippy::wildcard_enum_match_arm, reason = "two messages are answers with a number")]
    pub(super) fn hear_answer(&mut self, device: usize, conn: ConnId, frame: &[u8]) {
        if !self.pried.iter().any(|pried| pried.conn == conn && pried.device == device) {
            return;
        }
        let (number, answer, is_last) = match Message::from_frame(frame) {
            Ok(Some(Message::Fetched(fetched))) => {
                let (number, is_last) = (fetched.number, fetched.end.is_some());
                (number, Message::Fetched(nameless(fetched)), is_last)
            }
            Ok(Some(Message::IndexTold(told))) => match told.says {
                IndexSays::NotHere { number } => {
                    let says = IndexSays::NotHere { number: 0 };
                    (number, Message::IndexTold(IndexTold { says, ..told }), true)
                }
                IndexSays::Spans { number, spans } => {
                    let says = IndexSays::Spans { number: 0, spans };
                    (number, Message::IndexTold(IndexTold { slot: told.slot, says }), true)
                }
                _ => return,
            },
            _ => return,
        };
        let Some(place) =
            self.pried.iter().position(|pried| pried.conn == conn && pried.numbers.contains(&number))
        else {
            return;
        };
        let Some(pried) = self.pried.get_mut(place) else { return };
        let which = usize::from(pried.numbers.first() != Some(&number));
        if let Some(answers) = pried.answers.get_mut(which) {
            answers.push(answer);
        }
        let (space, collections, asker) = (pried.space, pried.collections.clone(), self.far(device, conn));
        let up = self.node(device).and_then(|node| node.up.as_ref());
        let membership = up.and_then(|up| up.replica.membership(&space));
        let asker = asker.map(|asker| self.peer(asker)).unwrap_or(PeerId::new([0; 32]));
        let may = |collection: &CollectionName| {
            membership.as_ref().is_none_or(|all| all.may(&asker, Action::Read, collection))
        };
        if collections.iter().any(may) {
            // Its rights changed meanwhile.
            self.pried.remove(place);
        } else if is_last {
            self.compare_twins(place, device);
        }
    }

    /// A planted bug: an answer that tells what there is.
    pub(super) fn hint(&self, frame: Vec<u8>) -> Vec<u8> {
        let Ok(Some(Message::IndexTold(IndexTold { slot, says: IndexSays::NotHere { number } }))) =
            Message::from_frame(&frame)
        else {
            return frame;
        };
        if !self.pried.iter().any(|pried| pried.numbers.first() == Some(&number)) {
            return frame;
        }
        let says = IndexSays::Spans { number, spans: Vec::new() };
        Message::IndexTold(IndexTold { slot, says }).to_frame()
    }

    fn compare_twins(&mut self, place: usize, device: usize) {
        let Some(pried) = self.pried.get(place) else { return };
        let [there, nowhere] = pried.answers.clone();
        if there.is_empty() || nowhere.is_empty() {
            return;
        }
        self.stats.twins_compared += 1;
        if there != nowhere {
            let text = format!(
                "what may not be read is answered with {there:?}, what is not there with {nowhere:?}"
            );
            self.violate(Rule::Isolated, device, text);
        }
    }

    /// In the end, no twin of a question that was answered is without an answer.
    pub(super) fn check_pried(&mut self) {
        let lone = self.pried.iter().filter(|pried| {
            let open =
                self.network.conns.get(&pried.conn).and_then(|conn| conn.end_of(pried.device)).is_some();
            let answered = pried.answers.iter().filter(|answers| !answers.is_empty()).count();
            open && answered == 1
        });
        let lone: Vec<usize> = lone.map(|pried| pried.device).collect();
        for device in lone {
            let text = "of two questions about what may not be read one has an answer".to_owned();
            self.violate(Rule::Isolated, device, text);
        }
    }
}

/// A question about a collection that may not be read, as the sender has no reason to ask it.
fn question(
    slot: u64,
    collection: CollectionName,
    there: Vec<EntityId>,
    vectors: Vectors,
    dice: &mut Dice,
) -> Message {
    let clocks: Vec<EntityClock> =
        there.iter().map(|entity| EntityClock { entity: *entity, clock: Vec::new() }).collect();
    match dice.below(11) {
        0 => {
            let range = Span { after: None, upto: None };
            Message::Heads(Heads { slot, collection, range, entries: Vec::new() })
        }
        1 => Message::Clocks(Clocks { slot, collection, clocks: sorted(clocks), upto: None, answer: true }),
        2 => Message::Clocks(Clocks { slot, collection, clocks: sorted(clocks), upto: None, answer: false }),
        3 => {
            let clocks = [(collection, sorted(clocks))].into();
            Message::Apart(Apart { slot, symbols: Vec::new(), clocks, answer: dice.chance(50) })
        }
        4 => Message::Offer(Offer { slot, vectors }),
        5 => Message::Wanted(Wanted { slot, wanted: vectors, later: Vectors::new() }),
        6 => Message::CellsWanted(CellsWanted { slot, count: 1 + dice.below(512) as usize }),
        7 => Message::IndexTaken(IndexTaken { slot, number: dice.below(3) }),
        8 => {
            let named =
                [(collection, *dice.pick(&[Interest::Index, Interest::Off]).unwrap_or(&Interest::Off))];
            let wants = Interests { named: named.into(), ..Interests::default() };
            Message::Interest(InterestTold { slot, revision: 1 << 40, wants })
        }
        9 => {
            let says = IndexSays::Here { collection };
            Message::IndexTold(IndexTold { slot, says })
        }
        _ => Message::Vectors(VectorsTold {
            slot,
            vectors: if dice.chance(50) { vectors } else { Vectors::new() },
            answer: true,
            equal: false,
            anew: true,
            part: false,
            revisions: Revisions::default(),
        }),
    }
}

fn sorted(mut clocks: Vec<EntityClock>) -> Vec<EntityClock> {
    clocks.sort_by_key(|clock| clock.entity);
    clocks.dedup_by_key(|clock| clock.entity);
    clocks
}

fn index_ask(slot: u64, collection: CollectionName, number: u64) -> Message {
    let span = Span { after: None, upto: None };
    let spans = vec![SpanPrint { span, print: Fingerprint::default() }];
    Message::IndexAsk(IndexAsk { slot, collection, number, spans })
}

/// The answer without what the question gave.
fn nameless(fetched: Fetched) -> Fetched {
    let end = fetched.end.map(|end| {
        let unknown = end.unknown.iter().map(|_| EntityId::new([0; 16])).collect();
        FetchEnd { unknown, more: end.more }
    });
    Fetched { number: 0, end, ..fetched }
}
