//! Two devices over a wire that counts: which frames, how many bytes of them are commits, how many times the talk
//! had to turn.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::doc::{Counter, Entity, Hydrate, KindOf, Reconcile, insert, row_value, update};
use crate::exchange::{Answer, Ask, Scope, SpaceState, Vectors};
use crate::id::{CollectionName, EntityId, PeerId, SpaceId};
use crate::identity::Identity;
use crate::metrics::{Metrics, MetricsSnapshot};
use crate::replica::{Intent, Replica, Write};
use crate::sim::heard;
use crate::store::Values;
use crate::store::kv::memory::{Image, Memory};
use crate::sync::{Action, ConnId, Engine, Event, Lane, Notice, Options, Side};
use crate::time::{Instant, Now, Timestamp};
use crate::wire::Message;

mod clash;
mod cuts;
mod flow;
mod index;
mod interest;
mod lies;
mod relay;
mod removal;
mod scale;
mod secrets;
mod tests;

const EXPORTER: [u8; 32] = [9; 32];
/// Entities of one commit where it does not matter which commit made them.
const COPIED_AT_ONCE: usize = 200;

/// An entity of twelve fields.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Ticket {
    title: String,
    customer: String,
    phone: String,
    device: String,
    serial: String,
    status: String,
    technician: String,
    shelf: String,
    price_cents: i64,
    paid: bool,
    received_ms: i64,
    minutes: Counter,
}

impl Entity for Ticket {
    const COLLECTION: &'static str = "tickets";
    const VERSION: u32 = 1;
}

impl Ticket {
    fn new(number: u64) -> Self {
        Self {
            title: format!("Repair number {number}"),
            customer: format!("Customer {}", number % 97),
            phone: format!("+49 30 {}", 1_000_000 + number),
            device: "City bike".to_owned(),
            serial: format!("SN-{number:08}"),
            status: "open".to_owned(),
            technician: "Ana".to_owned(),
            shelf: format!("S{}", number % 40),
            price_cents: 4_900 + number as i64,
            paid: false,
            received_ms: 1_700_000_000_000 + number as i64,
            minutes: Counter::default(),
        }
    }
}

fn tickets() -> CollectionName {
    CollectionName::new(Ticket::COLLECTION).expect("a name")
}

fn entity(number: u64) -> EntityId {
    EntityId::from_key("ticket", &number.to_be_bytes())
}

/// One device.
struct Party {
    number: u8,
    memory: Memory,
    replica: Replica,
    engine: Engine,
    metrics: Arc<Metrics>,
    /// The longest chain of frames, each sent because of the one before, that this device has heard the end of.
    depth: usize,
    outbox: VecDeque<Frame>,
    /// The most bytes that ever waited in the outbox.
    waited_max: usize,
    in_sync: bool,
    refused: Vec<String>,
}

/// A frame on its way.
struct Frame {
    conn: ConnId,
    lane: Lane,
    bytes: Vec<u8>,
    depth: usize,
}

/// What was said since a connection began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Talk {
    frames: usize,
    bytes: usize,
    /// Bytes of commits among them, before any compression.
    commit_bytes: usize,
    commits: usize,
    /// The longest chain of frames until the last commit was delivered; two make a round trip.
    commit_depth: usize,
}

/// An entity of another collection.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Memo {
    text: String,
}

impl Entity for Memo {
    const COLLECTION: &'static str = "memos";
    const VERSION: u32 = 1;
}

/// Where a connection breaks, counted from where it began, both ways together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Before this frame: it is lost, and all that is on its way.
    Before(usize),
    /// After this frame: whatever its sender has said by then still comes, and nothing of what the other says.
    After(usize),
    /// After so many bytes: all is lost that is not whole by then.
    AtByte(usize),
}

/// Two devices that share one space.
struct Pair {
    parties: [Party; 2],
    space: SpaceId,
    now_ms: u64,
    conn: Option<ConnId>,
    conns: u64,
    talk: Talk,
    /// The frames of the talk.
    frames: Vec<Vec<u8>>,
    /// Where the connection breaks.
    cut: Option<Cut>,
    /// Who reads nothing of what it is sent.
    deaf: Option<usize>,
    /// All that the second device was sent, and when; absent where nobody asks.
    said: Option<Vec<(u64, Vec<u8>)>>,
    /// A commit that the first device keeps back, whatever it says of it.
    kept_back: Option<Vec<u8>>,
}

impl Pair {
    fn new() -> Self {
        let mut parties = [1, 2].map(Party::new);
        let space = found(&mut parties);
        let mut pair = Self {
            parties,
            space,
            now_ms: 0,
            conn: None,
            conns: 0,
            talk: Talk::default(),
            frames: Vec::new(),
            cut: None,
            deaf: None,
            said: None,
            kept_back: None,
        };
        pair.forward();
        pair
    }

    /// Two that hold the same `count` tickets, the first of them made by the first device, and have agreed on it.
    fn agreed(count: u64) -> Self {
        let mut pair = Self::new();
        pair.insert(0, 0..count);
        pair.meet();
        assert!(pair.is_agreed(), "the first sync ends in agreement");
        pair.part();
        pair
    }

    /// Two that hold the same `count` tickets, all made by the first device, and have agreed on it; of `pretended`
    /// more they hold the heads. The second device begins with a copy of the first one's disk, so that nothing
    /// has to be sent.
    fn copied(count: u64, pretended: u64) -> Self {
        let mut pair = Self::new();
        pair.parties[0].replica.pretend(pair.space, &tickets(), pretended);
        let numbers: Vec<u64> = (0..count).collect();
        for numbers in numbers.chunks(COPIED_AT_ONCE) {
            let write = |number: &u64| write(*number, Intent::Create, insert(Ticket::new(*number)));
            let (space, now) = (pair.space, at(pair.now_ms));
            let writes = numbers.iter().map(write).collect();
            pair.parties[0].replica.commit(now, space, writes).expect("a writer may write");
        }
        pair.forward();
        let image = pair.parties[0].memory.snapshot();
        pair.parties[1].restart(Some(&image));
        pair.forward();
        pair.meet();
        assert!(pair.is_agreed(), "copies are equal");
        pair.part();
        pair
    }

    fn insert(&mut self, party: usize, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.commit(party, vec![write(number, Intent::Create, insert(Ticket::new(number)))]);
        }
    }

    fn edit(&mut self, party: usize, number: u64) {
        self.restatus(party, number, format!("edited by {party}"));
    }

    fn restatus(&mut self, party: usize, number: u64, status: String) {
        let edit = update(move |ticket: &mut Ticket| ticket.status = status);
        self.commit(party, vec![write(number, Intent::Change, edit)]);
    }

    /// As `edit`; nothing is carried yet.
    fn edit_unheard(&mut self, party: usize, number: u64) {
        let edit = update(move |ticket: &mut Ticket| ticket.status = format!("edited by {party}"));
        let (space, now, writes) = (self.space, at(self.now_ms), vec![write(number, Intent::Change, edit)]);
        self.parties[party].replica.commit(now, space, writes).expect("a writer may write");
        self.forward();
    }

    fn status(&self, party: usize, number: u64) -> Option<String> {
        let row = self.parties[party].replica.reader().row(&self.space, &tickets(), &entity(number));
        row.expect("reads").map(|row| row_value::<Ticket>(&row).expect("a row of a ticket").status)
    }

    fn commit(&mut self, party: usize, writes: Vec<Write>) {
        let (space, now) = (self.space, at(self.now_ms));
        self.parties[party].replica.commit(now, space, writes).expect("a writer may write");
        self.forward();
        self.settle();
    }

    /// Connects the two and lets them talk until nothing is said and nothing is due within a second.
    fn meet(&mut self) -> Talk {
        self.connect();
        self.talk_out(1_000);
        self.talk
    }

    fn connect(&mut self) {
        self.connect_from(0);
    }

    fn connect_from(&mut self, dialer: usize) {
        self.conns += 1;
        let conn = ConnId(self.conns);
        self.conn = Some(conn);
        self.hush();
        let peers = [self.parties[1].peer(), self.parties[0].peer()];
        for (party, side) in [(1 - dialer, Side::Acceptor), (dialer, Side::Dialer)] {
            self.parties[party].depth = 0;
            let peer = peers[party];
            self.event(party, Event::Connected { conn, peer, side, exporter: EXPORTER });
        }
    }

    /// Begins to count anew.
    fn hush(&mut self) {
        self.talk = Talk::default();
        self.frames.clear();
    }

    fn part(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        for party in 0..2 {
            self.parties[party].outbox.clear();
            self.event(party, Event::Disconnected { conn, reason: "cut".to_owned() });
        }
    }

    /// Carries frames, and lets time pass where nothing else happens, for at most so long.
    fn talk_out(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            self.settle();
            let due = self.parties.iter().filter_map(|party| party.engine.poll_timeout()).min();
            let Some(due) = due.filter(|due| due.ms() <= end) else { break };
            self.now_ms = self.now_ms.max(due.ms());
            for party in 0..2 {
                self.parties[party].engine.handle_timeout(at(self.now_ms));
                self.drain(party);
            }
        }
    }

    /// Carries frames until there are none.
    fn settle(&mut self) {
        while self.carry() {}
    }

    /// Carries one frame: the oldest of the first lane that has any. False when there is none.
    fn carry(&mut self) -> bool {
        let speaks = |party: &usize| !self.parties[*party].outbox.is_empty() && self.deaf != Some(1 - *party);
        let Some(from) = (0..2).find(speaks) else { return false };
        let outbox = &mut self.parties[from].outbox;
        let first = outbox.iter().enumerate().min_by_key(|(place, frame)| (frame.lane, *place));
        let place = first.map_or(0, |(place, _)| place);
        let Some(Frame { conn, bytes, depth, .. }) = outbox.remove(place) else { return false };
        if self.conn != Some(conn) {
            return true;
        }
        let number = self.talk.frames;
        let torn = match self.cut {
            Some(Cut::Before(frames)) => (frames == number).then_some(0),
            Some(Cut::AtByte(at)) => at.checked_sub(self.talk.bytes).filter(|left| *left < bytes.len()),
            Some(Cut::After(_)) | None => None,
        };
        if let Some(torn) = torn {
            let read = Message::from_frame(&bytes[..torn]);
            assert!(!matches!(read, Ok(Some(_))), "a part of a frame passes for a frame");
            self.part();
            return true;
        }
        self.deliver(1 - from, conn, bytes, depth);
        if self.cut == Some(Cut::After(number)) {
            self.part_late(from);
        }
        true
    }

    fn deliver(&mut self, to: usize, conn: ConnId, bytes: Vec<u8>, depth: usize) {
        self.count(&bytes, depth);
        self.parties[to].depth = self.parties[to].depth.max(depth);
        self.event(to, Event::Frame { conn, bytes });
    }

    /// The connection breaks for one side, and for the other when it has heard all that was said to it.
    fn part_late(&mut self, from: usize) {
        let Some(conn) = self.conn else { return };
        let mut said: Vec<Frame> = std::mem::take(&mut self.parties[from].outbox).into();
        said.retain(|frame| frame.conn == conn);
        said.sort_by_key(|frame| frame.lane);
        self.event(from, Event::Disconnected { conn, reason: "cut".to_owned() });
        for Frame { bytes, depth, .. } in said {
            self.deliver(1 - from, conn, bytes, depth);
        }
        self.conn = None;
        self.parties[1 - from].outbox.clear();
        self.event(1 - from, Event::Disconnected { conn, reason: "cut".to_owned() });
    }

    fn count(&mut self, bytes: &[u8], depth: usize) {
        self.frames.push(bytes.to_vec());
        self.talk.frames += 1;
        self.talk.bytes += bytes.len();
        let commits = match Message::from_frame(bytes) {
            Ok(Some(Message::Live(live))) => vec![live.commit],
            Ok(Some(Message::LiveBatch(batch))) => batch.commits,
            Ok(Some(Message::Batch(batch))) => batch.commits,
            _ => return,
        };
        self.talk.commits += commits.len();
        self.talk.commit_bytes += commits.iter().map(Vec::len).sum::<usize>();
        self.talk.commit_depth = self.talk.commit_depth.max(depth);
    }

    fn event(&mut self, party: usize, event: Event) {
        self.parties[party].engine.handle(at(self.now_ms), event);
        self.drain(party);
    }

    fn drain(&mut self, party: usize) {
        let now = at(self.now_ms);
        while let Some(action) = self.parties[party].engine.poll_action() {
            let this = &mut self.parties[party];
            match action {
                Action::Send { conn, lane, mut frame } => {
                    if let Some(kept) = self.kept_back.as_ref().filter(|_| party == 0) {
                        frame = relay::without(frame, kept);
                    }
                    if let Some(said) = self.said.as_mut().filter(|_| party == 0) {
                        said.push((self.now_ms, frame.clone()));
                    }
                    this.outbox.push_back(Frame { conn, lane, bytes: frame, depth: this.depth + 1 });
                    let waiting = this.outbox.iter().map(|frame| frame.bytes.len()).sum();
                    this.waited_max = this.waited_max.max(waiting);
                }
                Action::Ask { request, ask } => {
                    if matches!(ask, Ask::State { .. }) {
                        this.sync(now);
                    }
                    let answer = this.replica.answer(now, ask);
                    assert!(!matches!(answer, Answer::Failed(_)), "{answer:?}");
                    this.forward(now);
                    this.engine.handle(now, Event::Answer { request, answer });
                    this.sync(now);
                }
                Action::Notify(Notice::InSync { in_sync, .. }) => this.in_sync = in_sync,
                Action::Close { reason, .. } => this.refused.push(reason),
                Action::HoldBack { .. } => panic!("an honest device is held back"),
                Action::Notify(_) | Action::Greeted { .. } | Action::Dial { .. } | Action::GoOn { .. } => {}
            }
        }
    }

    /// Tells the engines what the databases have to say.
    fn forward(&mut self) {
        for party in 0..2 {
            let now = at(self.now_ms);
            self.parties[party].forward(now);
            self.parties[party].sync(now);
            self.drain(party);
        }
    }

    /// Makes each side's vectors claim what only the other side holds.
    fn lie(&mut self) {
        let space = self.space;
        let vectors = self.parties.each_mut().map(|party| {
            let state = party.state(space);
            state.collections.into_iter().map(|(name, state)| (name, state.vector)).collect::<Vectors>()
        });
        for (party, vectors) in self.parties.iter_mut().rev().zip(vectors) {
            party.replica.claim(space, &vectors);
        }
    }

    fn is_agreed(&mut self) -> bool {
        let space = self.space;
        let [a, b] = self.parties.each_mut().map(|party| {
            let state = party.state(space);
            state.collections.into_iter().map(|(name, state)| (name, state.root)).collect::<Vec<_>>()
        });
        a == b && self.parties.iter().all(|party| party.in_sync && party.refused.is_empty())
    }

    fn metrics(&self) -> [MetricsSnapshot; 2] {
        self.parties.each_ref().map(|party| party.metrics.snapshot())
    }
}

impl Party {
    fn new(number: u8) -> Self {
        let (memory, metrics) = (Memory::new(), Arc::new(Metrics::default()));
        let (replica, engine) = open(number, number, &memory, &metrics);
        Self {
            number,
            memory,
            replica,
            engine,
            metrics,
            depth: 0,
            outbox: VecDeque::new(),
            waited_max: 0,
            in_sync: false,
            refused: Vec::new(),
        }
    }

    /// Is killed and opened again, over a copy of another disk if one is given.
    fn restart(&mut self, image: Option<&Image>) {
        match image {
            Some(image) => self.memory.restore(image),
            None => self.memory.kill(),
        }
        // Entropy that no earlier start had.
        let entropy = self.number.wrapping_add(100);
        (self.replica, self.engine) = open(self.number, entropy, &self.memory, &self.metrics);
        self.outbox.clear();
        self.in_sync = false;
    }

    fn peer(&self) -> PeerId {
        self.replica.peer()
    }

    fn state(&mut self, space: SpaceId) -> SpaceState {
        let Answer::State(Some(state)) = self.replica.answer(at(0), Ask::State { space }) else {
            panic!("here")
        };
        state
    }

    fn forward(&mut self, now: Now) {
        for event in self.replica.drain().into_iter().filter_map(heard) {
            self.engine.handle(now, event);
        }
    }

    fn sync(&mut self, now: Now) {
        let upto = self.replica.sync().expect("memory syncs");
        self.engine.handle(now, Event::Durable { upto });
    }
}

/// A space of two devices.
fn found(parties: &mut [Party; 2]) -> SpaceId {
    let [a, b] = parties;
    let now = at(0);
    let space = a.replica.create_space(now, "Corner Repairs", "Ana", "desk").expect("founds");
    let role = crate::access::Role::Writer;
    let invite = a.replica.invite(now, space, role, Vec::new(), 60_000).expect("an owner may invite");
    let request = b.replica.join_request(&invite, "Ben", "bench", &EXPORTER).expect("short names");
    let ask = Ask::Redeem { joiner: b.peer(), exporter: EXPORTER, request };
    let Answer::Redeemed(reply) = a.replica.answer(now, ask) else { panic!("redeemed") };
    let from = a.peer();
    assert!(
        matches!(b.replica.answer(now, Ask::Joined { from, reply: reply.concat() }), Answer::Done),
        "joined"
    );
    space
}

fn open(number: u8, entropy: u8, memory: &Memory, metrics: &Arc<Metrics>) -> (Replica, Engine) {
    let identity = Arc::new(Identity::from_seed([number; 32]));
    let peer = identity.peer();
    let values = Values::memory(memory).expect("not open");
    let mut replica =
        Replica::open(values, identity, [entropy; 32], at(0), Arc::clone(metrics)).expect("opens");
    replica.register(Arc::new(KindOf::<Ticket>::new().expect("a name"))).expect("registers");
    replica.register(Arc::new(KindOf::<Memo>::new().expect("a name"))).expect("registers");
    (replica, Engine::new(peer, Options::default(), Arc::clone(metrics)))
}

fn write(number: u64, intent: Intent, edit: crate::doc::Edit) -> Write {
    Write { collection: tickets(), entity: entity(number), intent, edit }
}

/// Text that does not compress.
fn noise(seed: u64, bytes: usize) -> String {
    let mut noise = vec![0; bytes / 2];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn at(ms: u64) -> Now {
    Now { instant: Instant::from_ms(ms), wall: Timestamp::from_unix_ms(1_000) }
}
