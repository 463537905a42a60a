//! Up to eight devices over wires that delay every frame by chance, and count how often each commit arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::doc::{Entity, Hydrate, KindOf, Reconcile, insert, update};
use crate::exchange::{Answer, Ask, ShortsKey, SpaceState};
use crate::id::{CollectionName, EntityId, PeerId, Root, SpaceId};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::replica::{Intent, Replica, Write};
use crate::sim::{Dice, heard};
use crate::store::Values;
use crate::store::kv::memory::Memory;
use crate::sync::{Action, ConnId, Engine, Event, Lane, Notice, Options, Side};
use crate::time::{Instant, Now, Timestamp};
use crate::wire::Message;

mod hub;
mod tests;

#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Line {
    text: String,
}

impl Entity for Line {
    const COLLECTION: &'static str = "lines";
    const VERSION: u32 = 1;
}

/// One device.
struct Node {
    replica: Replica,
    engine: Engine,
    metrics: Arc<Metrics>,
    peer: PeerId,
    /// Commits that arrived, each as often as it did.
    copies: u64,
}

/// A frame on its way.
struct Flight {
    conn: ConnId,
    to: usize,
    bytes: Vec<u8>,
}

/// Devices that share one space.
struct Mesh {
    nodes: Vec<Node>,
    space: SpaceId,
    dice: Dice,
    now_ms: u64,
    wires: BTreeMap<ConnId, (usize, usize)>,
    /// By the time of arrival, and in the order of sending among equals.
    flights: BTreeMap<(u64, u64), Flight>,
    /// When the last frame of each lane arrives: a lane keeps its order.
    lanes: BTreeMap<(ConnId, usize, Lane), u64>,
    /// Directions in which commits take so many milliseconds longer.
    slow: BTreeMap<(usize, usize), u64>,
    sent: u64,
    conns: u64,
    /// Made so far, and by whom: one entity each time.
    commits: u64,
    /// Who commits.
    writers: Vec<usize>,
    /// Who holds the same as which peer, as far as it knows.
    in_sync: BTreeSet<(usize, PeerId)>,
    closed: Vec<String>,
    /// All that was said, by whom to whom; absent where nobody asks.
    heard: Option<Vec<(usize, usize, Vec<u8>)>>,
}

impl Mesh {
    /// Makes devices that know each other and are not connected.
    fn new(seed: u64, count: u8) -> Self {
        Self::of(seed, (1..=count).map(Node::new).collect())
    }

    /// The first one is a hub.
    fn with_hub(seed: u64, count: u8) -> Self {
        let others = (2..=count).map(Node::new);
        let mut mesh = Self::of(seed, std::iter::once(Node::hub(1)).chain(others).collect());
        mesh.writers.retain(|writer| *writer != 0);
        mesh
    }

    fn of(seed: u64, mut nodes: Vec<Node>) -> Self {
        let writers = (0..nodes.len()).collect();
        let (founder, others) = nodes.split_first_mut().expect("at least one");
        let space = founder.replica.create_space(at(0), "Shop", "Ana", "desk").expect("founds");
        for other in others.iter_mut() {
            founder.enrol(other, space);
        }
        let statements = founder.ask(Ask::Statements {
            space,
            key: ShortsKey::default(),
            given: Vec::new(),
            known: Vec::new(),
        });
        let Answer::Statements(statements) = statements else { panic!("{statements:?}") };
        for other in others {
            other.ask(Ask::Learn { space, from: founder.peer, statements: statements.clone() });
        }
        let mut mesh = Self {
            nodes,
            space,
            dice: Dice::new(seed, "mesh"),
            now_ms: 1,
            wires: BTreeMap::new(),
            flights: BTreeMap::new(),
            lanes: BTreeMap::new(),
            slow: BTreeMap::new(),
            sent: 0,
            conns: 0,
            commits: 0,
            writers,
            in_sync: BTreeSet::new(),
            closed: Vec::new(),
            heard: None,
        };
        (0..mesh.nodes.len()).for_each(|node| mesh.tell(node));
        mesh
    }

    /// Connects by a list of pairs, and lets the devices agree.
    fn connected(seed: u64, count: u8, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut mesh = Self::new(seed, count);
        for (one, other) in pairs {
            mesh.connect(one, other);
        }
        mesh.run(2_000);
        mesh.nodes.iter_mut().for_each(|node| node.copies = 0);
        mesh
    }

    fn full(seed: u64, count: u8) -> Self {
        let ends = 0..usize::from(count);
        Self::connected(seed, count, ends.flat_map(|one| (0..one).map(move |other| (one, other))))
    }

    fn connect(&mut self, dialer: usize, acceptor: usize) {
        self.conns += 1;
        let (conn, exporter) = (ConnId(self.conns), [self.conns as u8; 32]);
        self.wires.insert(conn, (dialer, acceptor));
        for (node, far, side) in [(acceptor, dialer, Side::Acceptor), (dialer, acceptor, Side::Dialer)] {
            let peer = self.nodes[far].peer;
            self.event(node, Event::Connected { conn, peer, side, exporter });
        }
    }

    /// Breaks a connection: what is on its way is lost.
    fn cut(&mut self, conn: ConnId) {
        let Some((one, other)) = self.wires.remove(&conn) else { return };
        self.flights.retain(|_, flight| flight.conn != conn);
        for node in [one, other] {
            self.event(node, Event::Disconnected { conn, reason: "cut".to_owned() });
        }
    }

    /// A new entity, or an edit of one that the device has.
    fn commit(&mut self, node: usize) {
        self.commits += 1;
        let entity = EntityId::from_key("line", &self.commits.to_be_bytes());
        let (text, collection) = (format!("line {}", self.commits), lines());
        let old = EntityId::from_key("line", &self.dice.between(1..=self.commits).to_be_bytes());
        let row = self.nodes[node].replica.reader().row(&self.space, &collection, &old).expect("reads");
        let write = if self.dice.chance(50) && row.is_some() {
            let edit = update(move |line: &mut Line| line.text = text);
            Write { collection, entity: old, intent: Intent::Change, edit }
        } else {
            Write { collection, entity, intent: Intent::Create, edit: insert(Line { text }) }
        };
        let now = at(self.now_ms);
        self.nodes[node].replica.commit(now, self.space, vec![write]).expect("a writer may write");
        self.tell(node);
    }

    /// Commits by members that chance picks, with pauses of at most so many milliseconds.
    fn work(&mut self, commits: usize, pause_ms: u64) {
        for _ in 0..commits {
            let node = self.writers[self.dice.below(self.writers.len() as u64) as usize];
            self.commit(node);
            let pause = self.dice.between(0..=pause_ms);
            self.run(pause);
        }
    }

    /// Lets so much time pass.
    fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            let flight = self.flights.keys().next().map(|(arrives, _)| *arrives);
            let timers = self.nodes.iter().filter_map(|node| node.engine.poll_timeout());
            let due = timers.map(Instant::ms).chain(flight).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now_ms = self.now_ms.max(due);
            if flight.is_some_and(|arrives| arrives <= self.now_ms) {
                let (_, flight) = self.flights.pop_first().expect("seen above");
                self.deliver(flight);
            } else {
                self.timeouts();
            }
        }
        self.now_ms = end;
        self.timeouts();
    }

    fn timeouts(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].engine.handle_timeout(at(self.now_ms));
            self.drain(node);
        }
    }

    fn deliver(&mut self, Flight { conn, to, bytes }: Flight) {
        self.nodes[to].copies += commits_in(&bytes);
        self.event(to, Event::Frame { conn, bytes });
    }

    fn event(&mut self, node: usize, event: Event) {
        self.nodes[node].engine.handle(at(self.now_ms), event);
        self.drain(node);
    }

    /// Hands the engine what the database has to say.
    fn tell(&mut self, node: usize) {
        let now = at(self.now_ms);
        self.nodes[node].forward(now);
        self.drain(node);
    }

    fn drain(&mut self, node: usize) {
        let now = at(self.now_ms);
        while let Some(action) = self.nodes[node].engine.poll_action() {
            match action {
                Action::Send { conn, lane, frame } => self.send(node, conn, lane, frame),
                Action::Ask { request, ask } => {
                    let this = &mut self.nodes[node];
                    if matches!(ask, Ask::State { .. }) {
                        this.sync(now);
                    }
                    let answer = this.ask(ask);
                    this.forward(now);
                    this.engine.handle(now, Event::Answer { request, answer });
                    this.sync(now);
                }
                Action::Close { conn, reason, .. } => {
                    self.closed.push(reason);
                    self.cut(conn);
                }
                Action::Notify(Notice::InSync { peer, in_sync: true, .. }) => {
                    self.in_sync.insert((node, peer));
                }
                Action::Notify(Notice::InSync { peer, in_sync: false, .. }) => {
                    self.in_sync.remove(&(node, peer));
                }
                Action::HoldBack { .. } => panic!("an honest device is held back"),
                Action::Notify(_) | Action::Greeted { .. } | Action::Dial { .. } | Action::GoOn { .. } => {}
            }
        }
    }

    fn send(&mut self, node: usize, conn: ConnId, lane: Lane, bytes: Vec<u8>) {
        let Some((dialer, acceptor)) = self.wires.get(&conn).copied() else { return };
        let to = if node == dialer { acceptor } else { dialer };
        let slow = self.slow.get(&(node, to)).copied().filter(|_| lane != Lane::Control).unwrap_or(0);
        let arrives = self.now_ms + self.dice.between(1..=15) + slow;
        let last = self.lanes.entry((conn, to, lane)).or_default();
        *last = arrives.max(*last);
        self.sent += 1;
        if let Some(heard) = &mut self.heard {
            heard.push((node, to, bytes.clone()));
        }
        self.flights.insert((*last, self.sent), Flight { conn, to, bytes });
    }

    /// Whether all hold the same, which is something.
    fn is_agreed(&mut self) -> bool {
        let space = self.space;
        let roots: BTreeSet<Vec<Root>> = self.nodes.iter_mut().map(|node| node.roots(space)).collect();
        roots.len() == 1 && roots.iter().all(|roots| !roots.is_empty())
    }

    /// How often a commit arrived at each who did not make it, on average.
    fn copies_each(&self) -> f64 {
        let copies: u64 = self.nodes.iter().map(|node| node.copies).sum();
        copies as f64 / (self.commits * (self.nodes.len() as u64 - 1)) as f64
    }
}

impl Node {
    fn new(number: u8) -> Self {
        let mut node = Self::open(number, false);
        node.replica.register(Arc::new(KindOf::<Line>::new().expect("a name"))).expect("registers");
        node
    }

    fn hub(number: u8) -> Self {
        Self::open(number, true)
    }

    fn open(number: u8, hub: bool) -> Self {
        let metrics = Arc::new(Metrics::default());
        let identity = Arc::new(Identity::from_seed([number; 32]));
        let peer = identity.peer();
        let values = Values::memory(&Memory::new()).expect("an empty store");
        let mut replica =
            Replica::open(values, identity, [number; 32], at(0), Arc::clone(&metrics)).expect("opens");
        replica.set_hub(hub).expect("a fresh store");
        let engine = Engine::new(peer, Options { hub, ..Options::default() }, Arc::clone(&metrics));
        Self { replica, engine, metrics, peer, copies: 0 }
    }

    fn enrol(&mut self, joiner: &mut Self, space: SpaceId) {
        let (role, exporter) = (crate::access::Role::Writer, [9; 32]);
        let invite =
            self.replica.invite(at(0), space, role, Vec::new(), 60_000).expect("an owner may invite");
        let request = joiner.replica.join_request(&invite, "Ben", "bench", &exporter).expect("short names");
        let answer = self.ask(Ask::Redeem { joiner: joiner.peer, exporter, request });
        let Answer::Redeemed(reply) = answer else { panic!("{answer:?}") };
        joiner.ask(Ask::Joined { from: self.peer, reply: reply.concat() });
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let answer = self.replica.answer(at(0), ask);
        assert!(!matches!(answer, Answer::Failed(_)), "{answer:?}");
        answer
    }

    fn forward(&mut self, now: Now) {
        for event in self.replica.drain().into_iter().filter_map(heard) {
            self.engine.handle(now, event);
        }
        self.sync(now);
    }

    fn sync(&mut self, now: Now) {
        let upto = self.replica.sync().expect("memory syncs");
        self.engine.handle(now, Event::Durable { upto });
    }

    fn state(&mut self, space: SpaceId) -> SpaceState {
        let answer = self.ask(Ask::State { space });
        let Answer::State(Some(state)) = answer else { panic!("{answer:?}") };
        state
    }

    fn roots(&mut self, space: SpaceId) -> Vec<Root> {
        self.state(space).collections.into_values().map(|state| state.root).collect()
    }
}

fn commits_in(frame: &[u8]) -> u64 {
    match Message::from_frame(frame) {
        Ok(Some(Message::Live(_))) => 1,
        Ok(Some(Message::LiveBatch(batch))) => batch.commits.len() as u64,
        Ok(Some(Message::Batch(batch))) => batch.commits.len() as u64,
        _ => 0,
    }
}

fn lines() -> CollectionName {
    CollectionName::new(Line::COLLECTION).expect("a name")
}

fn at(ms: u64) -> Now {
    Now { instant: Instant::from_ms(ms), wall: Timestamp::from_unix_ms(1_000) }
}
