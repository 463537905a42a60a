//! Two engines that share a space, driven by bytes: what happens to them, in which order, and what their
//! database answers. One plays by the rules; the frames between them are delivered, changed, lost or made up.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use crate::access::{Commit, Leaf, change_hash};
use crate::exchange::{Answer, Apart, Ask, CollectionState, CommitKey, EntityClock, Packed, RequestId};
use crate::exchange::{SpaceState, Stored};
use crate::id::{
    ActorId, Cell, CollectionName, Contents, EntityId, Fingerprint, Incarnation, Interest, Interests, Listed,
    Origin, Oseq, PeerId, Position, Span, SpanPrint, SpanTold, Symbol, Vector, Version,
};
use crate::limits::FRAME_BYTES_MAX;
use crate::metrics::Metrics;
use crate::sync::{Action, Command, ConnId, DialId, Engine, Event, Mode, Options, Side};
use crate::time::{Instant, Now, Timestamp};

use super::{device, peer, shared};

/// Most actions that one event may cause: an opening of every space and a batch for each, with room.
const ACTIONS_MAX: usize = 10_000;
/// Most steps of one run.
const STEPS_MAX: usize = 2_000;
/// Most rounds in which what is left is delivered and answered: honest talk is over after a few.
const ROUNDS_MAX: usize = 200;

/// Runs two engines over what the bytes tell. True when they came to compare fingerprints.
pub fn events(bytes: &[u8]) -> bool {
    let mut duo = Duo::new(Script { rest: bytes });
    for _ in 0..STEPS_MAX {
        if !duo.step() {
            break;
        }
    }
    duo.settle();
    duo.nodes.iter().any(|node| node.in_sync)
}

/// Runs two engines over a script, and returns the frames that they sent.
pub(super) fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut duo = Duo::new(Script { rest: bytes });
    while duo.step() {}
    duo.settle();
    duo.sent
}

/// The bytes that decide, read to their end.
#[derive(Debug)]
struct Script<'a> {
    rest: &'a [u8],
}

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The next byte, or 0 at the end.
    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let (taken, rest) = self.rest.split_at(most.min(self.rest.len()));
        self.rest = rest;
        taken.to_vec()
    }
}

#[derive(Debug)]
struct Node {
    engine: Engine,
    peer: PeerId,
    /// Frames on their way to this node.
    inbox: VecDeque<(ConnId, Vec<u8>)>,
    asked: VecDeque<(RequestId, Ask)>,
    open: BTreeSet<ConnId>,
    dials: Vec<DialId>,
    /// Fingerprints were found equal at some time.
    in_sync: bool,
    position: u64,
}

#[derive(Debug)]
struct Duo<'a> {
    script: Script<'a>,
    now: Now,
    nodes: [Node; 2],
    conns: u64,
    sent: Vec<Vec<u8>>,
}

impl<'a> Duo<'a> {
    fn new(script: Script<'a>) -> Self {
        let now = Now { instant: Instant::from_ms(0), wall: Timestamp::from_unix_ms(0) };
        let nodes = [1, 2].map(Node::new);
        let mut duo = Self { script, now, nodes, conns: 0, sent: Vec::new() };
        for index in 0..2 {
            duo.handle(index, Event::SpaceChanged(state(0)));
        }
        duo
    }

    /// Takes one step of the script. False at its end.
    fn step(&mut self) -> bool {
        let Some(choice) = self.script.next() else {
            return false;
        };
        let index = usize::from(choice >> 7);
        match choice & 0x0f {
            0 => self.connect(),
            1 | 2 => self.deliver(index, Keep::Whole),
            3 => self.deliver(index, Keep::Changed),
            4 => self.deliver(index, Keep::Lost),
            5 => self.deliver(index, Keep::Twice),
            6 => self.made_up(index),
            7 | 8 => self.answer(index, Kindness::Fitting),
            9 => self.answer(index, Kindness::Any),
            10 => self.pass_time(),
            11 => self.stored(index),
            12 => self.disconnect(),
            13 => self.command(index),
            14 => self.space_changed(index),
            _ => self.durable(index),
        }
        true
    }

    /// Delivers everything and answers everything, with the time that it takes.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            for index in 0..2 {
                self.deliver(index, Keep::Whole);
                self.answer(index, Kindness::Fitting);
            }
            if self.nodes.iter().all(|node| node.inbox.is_empty() && node.asked.is_empty()) {
                return;
            }
        }
    }

    /// Connects the two, or lets their attempts fail.
    fn connect(&mut self) {
        let choice = self.script.byte();
        if choice & 2 != 0 {
            return self.fail_dials();
        }
        self.conns += 1;
        let (conn, exporter) = (ConnId(self.conns), [choice & 1; 32]);
        for (index, side) in [(0, Side::Dialer), (1, Side::Acceptor)] {
            let Some(peer) = self.nodes.get(1 - index).map(|node| node.peer) else { continue };
            let Some(node) = self.nodes.get_mut(index) else { continue };
            node.open.insert(conn);
            node.dials.clear();
            self.handle(index, Event::Connected { conn, peer, side, exporter });
        }
    }

    fn fail_dials(&mut self) {
        for index in 0..2 {
            let Some(node) = self.nodes.get_mut(index) else { continue };
            for dial in std::mem::take(&mut node.dials) {
                self.handle(index, Event::DialFailed { dial, reason: "unreachable".to_owned() });
            }
        }
    }

    fn deliver(&mut self, index: usize, keep: Keep) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some((conn, mut bytes)) = node.inbox.pop_front() else { return };
        match keep {
            Keep::Lost => return,
            Keep::Whole => {}
            Keep::Twice => self.handle(index, Event::Frame { conn, bytes: bytes.clone() }),
            Keep::Changed => {
                let at = usize::from(self.script.byte()) % bytes.len().max(1);
                let change = self.script.byte();
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= change);
            }
        }
        self.handle(index, Event::Frame { conn, bytes });
    }

    fn made_up(&mut self, index: usize) {
        let conn = ConnId(u64::from(self.script.byte()) % (self.conns + 1));
        let length = usize::from(self.script.byte());
        let bytes = self.script.take(length);
        self.handle(index, Event::Frame { conn, bytes });
    }

    fn answer(&mut self, index: usize, kindness: Kindness) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some((request, ask)) = node.asked.pop_front() else { return };
        let position = Position(node.position);
        let answer = match kindness {
            Kindness::Fitting => fitting(&mut self.script, &ask, position),
            Kindness::Any => any(&mut self.script, position),
        };
        self.handle(index, Event::Answer { request, answer });
    }

    fn pass_time(&mut self) {
        let ms = u64::from(self.script.byte()) * 97;
        self.now.instant = self.now.instant.plus_ms(ms);
        for index in 0..2 {
            let Some(node) = self.nodes.get_mut(index) else { continue };
            node.engine.handle_timeout(self.now);
            self.drain(index);
        }
    }

    fn stored(&mut self, index: usize) {
        let choice = self.script.byte();
        let Some(peer) = self.nodes.get(1 - index).map(|node| node.peer) else { return };
        let from = (choice & 1 == 1).then_some(peer);
        // What a database says that it has made can be read.
        let commit = if from.is_some() { packed(&mut self.script) } else { own(self.script.byte()) };
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.position += 1;
        let stored = Stored { position: Position(node.position), commit };
        self.handle(index, Event::Stored { space: shared().space(), from, stored });
    }

    fn durable(&mut self, index: usize) {
        let Some(node) = self.nodes.get(index) else { return };
        self.handle(index, Event::Durable { upto: Position(node.position) });
    }

    fn disconnect(&mut self) {
        let conn = ConnId(u64::from(self.script.byte()) % (self.conns + 1));
        for index in 0..2 {
            self.lose(index, conn);
        }
    }

    /// A connection ends once.
    fn lose(&mut self, index: usize, conn: ConnId) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        if node.open.remove(&conn) {
            node.inbox.retain(|(other, _)| *other != conn);
            self.handle(index, Event::Disconnected { conn, reason: "cut".to_owned() });
        }
    }

    fn command(&mut self, index: usize) {
        let Some(peer) = self.nodes.get(1 - index).map(|node| node.peer) else { return };
        let choice = self.script.byte();
        let (space, ticket, more) = (shared().space(), u64::from(choice), choice / 11);
        let command = match choice % 11 {
            0 => Command::AddPeer { peer, addresses: vec!["here".to_owned()] },
            1 => Command::RemovePeer { peer },
            2 => Command::SyncNow { space: None, ticket },
            3 => Command::Wake,
            4 => Command::Pause,
            5 => Command::Resume,
            6 => Command::Found { peer, addresses: vec!["there".to_owned()] },
            7 => Command::Lost { peer },
            8 => Command::SetMode(mode(more)),
            9 => {
                let (collection, entities) = (collection(more % 4), (0..=more % 3).map(entity).collect());
                Command::Fetch { space, collection, entities, ticket }
            }
            _ => Command::SyncNow { space: Some(space), ticket },
        };
        self.handle(index, Event::Command(command));
    }

    fn space_changed(&mut self, index: usize) {
        let Some(peer) = self.nodes.get(1 - index).map(|node| node.peer) else { return };
        let (choice, space) = (self.script.byte(), shared().space());
        let event = match choice {
            0xff => Event::SpaceGone { space },
            0xfe => Event::Damaged { space },
            0xfc | 0xfd => {
                let to = (choice == 0xfd).then_some(peer);
                Event::Clash { space, commits: vec![own(0), own(2)], to }
            }
            _ => Event::SpaceChanged(state(choice)),
        };
        self.handle(index, event);
    }

    fn handle(&mut self, index: usize, event: Event) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.engine.handle(self.now, event);
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        let mut closed = Vec::new();
        for count in 0.. {
            assert!(count < ACTIONS_MAX, "one event has a bounded number of actions");
            let Some(action) = self.nodes.get_mut(index).and_then(|node| node.engine.poll_action()) else {
                break;
            };
            closed.extend(self.act(index, action));
        }
        for conn in closed {
            self.lose(index, conn);
            self.lose(1 - index, conn);
        }
    }

    /// Does what the engine wants; returns the connection that it closes.
    fn act(&mut self, index: usize, action: Action) -> Option<ConnId> {
        match action {
            Action::Send { conn, frame, .. } => {
                assert!(frame.len() <= FRAME_BYTES_MAX + 16, "a frame keeps its limit");
                let there = self.nodes.get_mut(1 - index)?;
                if there.open.contains(&conn) {
                    self.sent.push(frame.clone());
                    there.inbox.push_back((conn, frame));
                }
                None
            }
            Action::Ask { request, ask } => {
                self.nodes.get_mut(index)?.asked.push_back((request, ask));
                None
            }
            Action::Dial { dial, .. } => {
                self.nodes.get_mut(index)?.dials.push(dial);
                None
            }
            Action::Close { conn, .. } => Some(conn),
            Action::Notify(crate::sync::Notice::InSync { in_sync, .. }) => {
                self.nodes.get_mut(index)?.in_sync |= in_sync;
                None
            }
            Action::Notify(_) | Action::Greeted { .. } | Action::HoldBack { .. } | Action::GoOn { .. } => {
                None
            }
        }
    }
}

impl Node {
    fn new(number: u8) -> Self {
        let peer = peer(number);
        Self {
            engine: Engine::new(peer, Options::default(), Arc::new(Metrics::default())),
            peer,
            inbox: VecDeque::new(),
            asked: VecDeque::new(),
            open: BTreeSet::new(),
            dials: Vec::new(),
            in_sync: false,
            position: 0,
        }
    }
}

/// What becomes of a frame on its way.
#[derive(Clone, Copy, Debug)]
enum Keep {
    Whole,
    Changed,
    Lost,
    Twice,
}

/// How an answer relates to its question.
#[derive(Clone, Copy, Debug)]
enum Kindness {
    Fitting,
    Any,
}

/// An answer of the right type, with content that the script decides.
fn fitting(script: &mut Script<'_>, ask: &Ask, position: Position) -> Answer {
    let kind = match ask {
        Ask::State { .. } => 0,
        Ask::Receive { .. } => 1,
        Ask::Feed { .. } | Ask::History { .. } => 2,
        Ask::Fetch { .. } => 27,
        Ask::TakeFetched { .. } => 28,
        Ask::IndexTold { .. } => 29,
        Ask::Versions { .. } => 30,
        Ask::IndexPrints { .. } => 31,
        Ask::TakeIndex { .. } => 32,
        Ask::Listed { .. } => 33,
        Ask::Lacking { .. } => 15,
        Ask::Heads { .. } => 3,
        Ask::Clocks { .. } => 4,
        Ask::StatementShorts { .. } => 5,
        Ask::Statements { .. } | Ask::Enrolment { .. } | Ask::Removal { .. } => 6,
        Ask::Learn { .. } => 7,
        Ask::Redeem { .. } => 8,
        Ask::Acked { .. }
        | Ask::Agreed { .. }
        | Ask::Met { .. }
        | Ask::Revealed { .. }
        | Ask::Joined { .. }
        | Ask::Adopt { .. } => 9,
        Ask::Sketch { .. } => 10,
        Ask::Compare { .. } => 11,
        Ask::Resolve { .. } => 12,
        Ask::Unheld { .. } => 16,
        Ask::Base { .. } => 18,
        Ask::Introduce { .. } => 17,
    };
    answer(kind, script, position)
}

fn any(script: &mut Script<'_>, position: Position) -> Answer {
    let kind = script.byte() % 16;
    answer(kind, script, position)
}

fn answer(kind: u8, script: &mut Script<'_>, position: Position) -> Answer {
    let choice = script.byte();
    let few = usize::from(choice % 3);
    match kind {
        0 => Answer::State((choice != 0xff).then(|| state(choice))),
        1 => Answer::Received {
            applied: few,
            duplicate: 0,
            held: Vec::new(),
            left_out: Vec::new(),
            refused: usize::from(choice / 100),
            reason: None,
            position,
        },
        2 => {
            Answer::Commits { commits: (0..few).map(|_| packed(script)).collect(), complete: choice & 4 == 0 }
        }
        3 => Answer::Heads {
            entries: (0..few).map(|n| (entity(n as u8), [choice; 8])).collect(),
            complete: choice & 4 == 0,
        },
        4 => Answer::Clocks((0..few).map(|n| clock(n as u8, choice)).collect()),
        5 => Answer::StatementShorts((0..few).map(|n| [n as u8; 8]).collect()),
        6 => Answer::Statements((0..few).map(|_| script.take(40)).collect()),
        7 => Answer::Learned { new: few, offence: None },
        8 => Answer::Redeemed(vec![script.take(20)]),
        9 => Answer::Done,
        10 => Answer::Sketch((0..few).map(|n| cell(n as u8, choice)).collect()),
        11 | 12 => Answer::Apart(Apart {
            ours: (0..few).map(|n| (collection(n as u8), vec![clock(n as u8, choice)])).collect(),
            theirs: (0..few).map(|n| Symbol(n as u64)).collect(),
        }),
        13 => Answer::TooFewCells,
        18 => Answer::Base((few > 0).then(|| ([choice; 16], crate::exchange::Vectors::new()))),
        16 => Answer::Unheld((0..few).map(|n| (collection(n as u8), vector(n as u8, choice))).collect()),
        15 => Answer::Lacking {
            commits: (0..few).map(|_| packed(script)).collect(),
            rest: (0..usize::from(choice >> 6)).map(|n| clock(n as u8, choice)).collect(),
        },
        17 => Answer::Introduced(choice & 1 == 0),
        27 => Answer::Fetched {
            commits: (0..few).map(|_| packed(script)).collect(),
            unknown: (0..few).map(|n| entity(n as u8)).collect(),
            complete: choice & 4 == 0,
        },
        28 => Answer::Taken { full: choice & 4 != 0, refused: (choice > 250).then(String::new) },
        29 => Answer::Index((choice < 200).then(|| (0..few).map(|_| span_told(choice)).collect())),
        30 => Answer::Versions((0..few).map(|n| listed(n as u8, choice)).collect()),
        31 => Answer::IndexPrints((0..few).map(|_| span_print(choice)).collect()),
        32 => Answer::IndexTaken { apart: (0..few).map(|_| span_print(choice)).collect() },
        33 => Answer::Collections((0..few).map(|n| collection(n as u8)).collect()),
        _ => Answer::Failed("told to".to_owned()),
    }
}

fn listed(number: u8, choice: u8) -> Listed {
    let heads = vec![crate::id::ChangeHash::new([choice; 32])];
    Listed { entity: entity(number), version: Version { heads, deleted: false, activity_ms: 0 } }
}

fn span_print(choice: u8) -> SpanPrint {
    SpanPrint { span: Span::ALL, print: Fingerprint::from_bytes([choice; 32]) }
}

fn span_told(choice: u8) -> SpanTold {
    let contents = match choice % 4 {
        0 => Contents::Same,
        1 => Contents::Entries(vec![listed(1, choice)]),
        2 => Contents::Print(Fingerprint::from_bytes([choice; 32])),
        _ => Contents::Rest,
    };
    SpanTold { span: Span::ALL, contents }
}

/// The shared space; what it holds depends on the choice, and 0 is nothing. Each made once: to hash what it holds takes
/// longer than most steps.
fn state(choice: u8) -> SpaceState {
    static STATES: OnceLock<Vec<SpaceState>> = OnceLock::new();
    let states = STATES.get_or_init(|| (0..=u8::MAX).map(state_of).collect());
    states.get(usize::from(choice)).expect("one for every choice").clone()
}

fn state_of(choice: u8) -> SpaceState {
    let log = shared();
    let mut collections = std::collections::BTreeMap::new();
    for number in 0..choice % 4 {
        let mut held = CollectionState::default();
        let heads = [crate::id::ChangeHash::new([choice; 32])];
        let mut sum = held.root.sum();
        sum.add(&log.space(), &entity(number), &heads);
        held.root = sum.root();
        held.vector = vector(number, choice);
        collections.insert(collection(number), held);
    }
    SpaceState {
        space: log.space(),
        membership: log.membership(),
        log: log.digest(),
        interests: Arc::new(interests(choice / 4)),
        collections,
    }
}

/// What a device wants; most want everything.
fn interests(choice: u8) -> Interests {
    let but = |others, number, named| Interests { others, named: [(collection(number), named)].into() };
    match choice % 8 {
        3 => but(Interest::Live, 0, Interest::Off),
        4 => but(Interest::Live, 1, Interest::Index),
        5 => but(Interest::Off, 0, Interest::Live),
        6 => but(Interest::Index, 1, Interest::Live),
        _ => Interests::default(),
    }
}

fn mode(choice: u8) -> Mode {
    match choice % 3 {
        0 => Mode::Live,
        1 => Mode::Periodic { every_ms: 10_000 },
        _ => Mode::Manual,
    }
}

fn vector(number: u8, choice: u8) -> Vector {
    let mut vector = Vector::new();
    for oseq in 1..=u64::from(choice % 5) {
        vector.insert(origin(number), Oseq(oseq)).expect("a few fit");
    }
    vector
}

/// A commit that is what it says, or bytes that pass for one until somebody reads them.
fn packed(script: &mut Script<'_>) -> Packed {
    let choice = script.byte();
    if choice >= 0x80 {
        return own(choice);
    }
    let parts = vec![(collection(choice % 4), Oseq(u64::from(choice / 4) + 1))];
    let key = CommitKey { origin: origin(choice % 3), parts };
    Packed { key, bytes: script.take(usize::from(choice)).into() }
}

/// One of a few commits that are what they say, each signed once.
fn own(choice: u8) -> Packed {
    const COMMITS: u8 = 32;
    static OWN: OnceLock<Vec<Packed>> = OnceLock::new();
    let own = OWN.get_or_init(|| (0..COMMITS).map(signed).collect());
    own.get(usize::from(choice % COMMITS)).expect("there are as many").clone()
}

fn signed(number: u8) -> Packed {
    let change = vec![number; 40];
    let leaf = Leaf {
        collection: collection(number % 4),
        entity: entity(number % 3),
        oseq: Oseq(u64::from(number / 4) + 1),
        prev: None,
        salt: None,
        of: 1,
        seq: 1,
        head: change_hash(&change).expect("long enough for a chunk"),
    };
    let origin = Origin { peer: peer(1 + number % 2), incarnation: Incarnation(1) };
    let commit =
        Commit::sign(&device(1 + number % 2), shared().space(), origin, Vec::new(), vec![(leaf, change)]);
    let commit = commit.expect("one small change is signed");
    Packed { key: CommitKey { origin, parts: commit.parts() }, bytes: commit.encode().into() }
}

fn clock(number: u8, choice: u8) -> EntityClock {
    EntityClock { entity: entity(number), clock: vec![(ActorId::new([number; 16]), u64::from(choice))] }
}

fn cell(number: u8, choice: u8) -> Cell {
    Cell { sum: u64::from(number), check: u32::from(choice), count: 1 }
}

fn collection(number: u8) -> CollectionName {
    CollectionName::new(&format!("c{number}")).expect("the name is one")
}

fn entity(number: u8) -> EntityId {
    EntityId::new([number; 16])
}

fn origin(number: u8) -> Origin {
    Origin { peer: peer(1 + number % 2), incarnation: Incarnation(u64::from(number)) }
}
