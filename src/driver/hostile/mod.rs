//! Attacks over real QUIC: a device that speaks the protocol by hand against a running node. The numbers are
//! those of the list of attacks.
//!
//! After each attack the scene shows that nobody was harmed: the node answers, the entity that was aimed at
//! can be read and written, another device still receives and sends, and no thread or task of a node has
//! panicked, not even where the gate would have caught it. All waits end with an event; the bound on them is
//! reached only when something never comes.
#![expect(clippy::wildcard_enum_match_arm, reason = "an attacker heeds a few messages among all")]

mod changes;
mod commits;
mod flood;
mod founder;
mod frames;
mod invites;
mod past;
mod peers;
mod revoked;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::access::{Commit, Leaf, Log, Role, Statement};
use crate::codec::{Reader, Writer};
use crate::doc::tests::{Ticket, ticket};
use crate::doc::{self, Document, Edit, Entity, KindOf, row_value};
use crate::exchange::{Answer, Ask, CollectionState, Scope};
use crate::id::{
    ActorId, CollectionName, CommitHash, EntityId, Incarnation, Interests, Origin, Oseq, PeerId, Root,
    SpaceId, StatementHash, Vector,
};
use crate::identity::Identity;
use crate::limits::FRAME_BYTES_MAX;
use crate::metrics::Metrics;
use crate::net::{Connection, Endpoint, Lane, NetError, Protocol};
use crate::replica::{Held, HeldReason, Intent, Write};
use crate::sync::{ConnId, Mode};
use crate::time::Timestamp;
use crate::wire::{Ack, Batch, BatchTaken, Farewell, Hello, Live, Message, Opening, Reach, Roots, Told};

use super::clock::within;
use super::connection::Line;
use super::{Budget, Driver, Joiner, Options, Until};

/// Far beyond what anything takes.
const BOUND_MS: u64 = 60_000;
/// How the attacker's frames name the space.
const SLOT: u64 = 1;
/// The codes of farewells, as `sync` gives them.
const NOTHING_SHARED: u64 = 1;
const VERSION: u64 = 2;
const PROTOCOL: u64 = 3;
const REFUSED: u64 = 7;
const TURNED_AWAY: u64 = 10;

/// Fails the test when `future` takes longer than anything takes.
async fn bounded<T>(future: impl Future<Output = T>) -> T {
    within(BOUND_MS, future).await.expect("it comes to an end")
}

/// Threads on which something has panicked, in this process.
static PANICKED: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

/// Notes panics from here on, beside what is done about them anyway.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.lock().unwrap_or_else(PoisonError::into_inner).push(thread::current().id());
            before(panic);
        }));
    });
}

async fn storage_thread(node: &Driver) -> ThreadId {
    bounded(node.call(Until::Read, |_| Ok(thread::current().id()))).await.expect("open")
}

fn collection(name: &str) -> CollectionName {
    CollectionName::new(name).expect("a name")
}

fn tickets() -> CollectionName {
    collection(Ticket::COLLECTION)
}

/// A node with an entity in a space, an honest device that shares it, and an attacker.
struct Scene {
    victim: Driver,
    honest: Driver,
    space: SpaceId,
    entity: EntityId,
    /// Those on which the nodes run.
    threads: Vec<ThreadId>,
    dir: TempDir,
}

impl Scene {
    async fn open() -> Self {
        // Most attackers here break many rules, one after the other.
        Self::open_with(Budget { patience: u32::MAX, ..Budget::default() }).await
    }

    /// Opens a scene whose victim grants each peer this budget.
    async fn open_with(budget: Budget) -> Self {
        note_panics();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = node(&dir, "victim", budget).await;
        let honest = node(&dir, "honest", Budget::default()).await;
        let space = found(&victim, "shop").await;
        let entity = EntityId::new([1; 16]);
        write(&victim, space, entity, Intent::Create, doc::insert(ticket("tap"))).await;
        let threads =
            vec![thread::current().id(), storage_thread(&victim).await, storage_thread(&honest).await];
        let scene = Self { victim, honest, space, entity, threads, dir };
        let invite = scene.invite(Role::Writer).await;
        let joiner = Joiner {
            inviter: invite.inviter(),
            addresses: invite.addresses().iter().map(ToString::to_string).collect(),
            member: "Bea".to_owned(),
            device: "bench".to_owned(),
            invite,
        };
        bounded(scene.honest.join(joiner)).await.expect("the inviter is there");
        register(&scene.honest).await;
        scene.unharmed().await;
        scene
    }

    async fn invite(&self, role: Role) -> crate::access::Invite {
        let addresses: Vec<String> =
            self.victim.addresses().expect("open").iter().map(ToString::to_string).collect();
        let space = self.space;
        let call = self.victim.call(Until::Synced, move |turn| {
            turn.replica.invite(turn.now, space, role, addresses, 3_600_000)
        });
        bounded(call).await.expect("an owner invites")
    }

    /// Enrols an attacker, by hand.
    async fn attacker(&self, seed: u8, role: Role) -> Attacker {
        let invite = self.invite(role).await;
        let mut attacker = Attacker::stranger(seed, self.space).await;
        let address = self.victim.addresses().expect("open")[0];
        let connect = attacker.endpoint.connect(self.victim.peer(), address, Protocol::Join);
        let connection = bounded(connect).await.expect("the node is there");
        let request = invite.request(&attacker.identity, "Mallory", "m", &connection.exporter());
        let mut frame = Writer::new();
        frame.varint(0x70);
        frame.bytes(&request.expect("short names"));
        bounded(connection.send(Lane::Control, frame.as_bytes())).await.expect("sent");
        let (_, reply) = bounded(connection.receive()).await.expect("a reply");
        let mut input = Reader::new(&reply);
        assert_eq!(input.varint("type").expect("a frame"), 0x72);
        let reply = input.bytes("reply", FRAME_BYTES_MAX).expect("a frame");
        attacker.log = Some(invite.accept(&attacker.peer(), reply).expect("a log with us in it"));
        connection.close(0, "done");
        attacker
    }

    /// Connects the attacker, who says a hello by the book, and waits for the answer.
    async fn greet(&self, attacker: &Attacker) -> Wire {
        self.greet_wanting(attacker, Interests::default()).await
    }

    /// As [`Scene::greet`], with interests of its own.
    async fn greet_wanting(&self, attacker: &Attacker, wants: Interests) -> Wire {
        let mut wire = self.dial(attacker).await;
        let Message::Hello(mut hello) = wire.hello(attacker, self.space) else { panic!("a hello") };
        hello.openings.iter_mut().for_each(|opening| opening.reach.wants = Some(wants.clone()));
        wire.send(&Message::Hello(hello)).await;
        let answer = wire.until(|message| matches!(message, Message::HelloAck(_))).await;
        answer.expect("one who belongs is greeted");
        wire.connection.greeted();
        wire
    }

    async fn dial(&self, attacker: &Attacker) -> Wire {
        let address = self.victim.addresses().expect("open")[0];
        let connect = attacker.endpoint.connect(self.victim.peer(), address, Protocol::Sync);
        let connection = bounded(connect).await.expect("the node is there");
        Wire { connection, space: self.space, farewell: None }
    }

    /// The commits of the space, as a device that may read everything receives them.
    async fn commits(&self, of: &Driver) -> Vec<Commit> {
        let (space, to) = (self.space, self.victim.peer());
        let ask =
            Ask::Feed { space, to, have: BTreeMap::new(), scope: Scope::default(), bytes_max: usize::MAX };
        let answer = bounded(of.call(Until::Read, move |turn| Ok(turn.replica.answer(turn.now, ask)))).await;
        let Ok(Answer::Commits { commits, .. }) = answer else { panic!("commits, not {answer:?}") };
        commits.iter().map(|packed| Commit::decode(space, &packed.bytes).expect("a commit")).collect()
    }

    /// The document of the entity, as anybody can make it of the commits.
    async fn document(&self) -> Document {
        let commits = self.commits(&self.victim).await;
        let open = commits.iter().flat_map(Commit::open);
        let changes: Vec<&[u8]> =
            open.filter(|(leaf, _)| leaf.entity == self.entity).map(|(_, change)| change).collect();
        Document::load(None, &changes).expect("honest changes")
    }

    fn held(&self) -> Vec<Held> {
        self.victim.reader().expect("open").quarantine(&self.space).expect("reads")
    }

    /// Why the one commit of `author` in quarantine is there.
    #[track_caller]
    fn reason(&self, author: PeerId) -> HeldReason {
        let held: Vec<_> = self.held().into_iter().filter(|held| held.author == author).collect();
        assert_eq!(held.len(), 1, "{held:?}");
        held[0].reason
    }

    async fn roots(&self, node: &Driver) -> BTreeMap<CollectionName, CollectionState> {
        let ask = Ask::State { space: self.space };
        let answer =
            bounded(node.call(Until::Read, move |turn| Ok(turn.replica.answer(turn.now, ask)))).await;
        let Ok(Answer::State(Some(state))) = answer else { panic!("a state, not {answer:?}") };
        state.collections
    }

    /// Waits until both honest devices hold the same entities at the same heads, by what they tell each other
    /// of themselves.
    async fn agree(&self) {
        let (mut here, mut there) = (self.victim.feed().happenings(), self.honest.feed().happenings());
        bounded(async {
            while self.root(&self.victim).await != self.root(&self.honest).await {
                let happened = tokio::select! {
                    happened = here.recv() => happened,
                    happened = there.recv() => happened,
                };
                drop(happened.expect("few things happen, and both are open"));
            }
        })
        .await;
    }

    /// The fingerprint of the tickets.
    async fn root(&self, node: &Driver) -> Root {
        self.roots(node).await.get(&tickets()).map(|state| state.root).unwrap_or_default()
    }

    /// The node answers, the entity can be read and written, and edits go to the honest device and back.
    async fn unharmed(&self) {
        let price = self.price(&self.victim).expect("readable");
        write(&self.victim, self.space, self.entity, Intent::Change, raise()).await;
        self.agree().await;
        assert_eq!(self.price(&self.honest), Some(price + 1));
        write(&self.honest, self.space, self.entity, Intent::Change, raise()).await;
        self.agree().await;
        assert_eq!(self.price(&self.victim), Some(price + 2));
        assert_eq!(read(&self.victim, self.space, self.entity).expect("readable").title, "tap");
    }

    fn price(&self, node: &Driver) -> Option<u64> {
        read(node, self.space, self.entity).map(|ticket| ticket.price)
    }

    async fn close(self) {
        self.unharmed().await;
        bounded(self.victim.close()).await.expect("closes cleanly");
        bounded(self.honest.close()).await.expect("closes cleanly");
        let panicked = PANICKED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(!self.threads.iter().any(|thread| panicked.contains(thread)), "a node panicked");
        drop(self.dir);
    }
}

fn raise() -> Edit {
    doc::update(|ticket: &mut Ticket| ticket.price += 1)
}

async fn node(dir: &TempDir, name: &str, budget: Budget) -> Driver {
    let options = Options {
        erase_when_removed: false,
        dir: dir.path().join(name),
        listen: ([127, 0, 0, 1], 0).into(),
        mode: Mode::Live,
        backoff_ms: vec![20, 40, 80],
        attempts_max: None,
        budget,
        discovery: None,
        hub: false,
    };
    let node = bounded(Driver::start(options)).await.expect("a fresh directory");
    register(&node).await;
    node
}

async fn register(node: &Driver) {
    let kind = Arc::new(KindOf::<Ticket>::new().expect("a name"));
    let call = node.call(Until::Written, move |turn| turn.register(&(kind as Arc<dyn doc::Kind>)));
    bounded(call).await.expect("registers");
}

async fn found(node: &Driver, name: &'static str) -> SpaceId {
    let call = node.call(Until::Synced, move |turn| turn.replica.create_space(turn.now, name, "Ana", "desk"));
    bounded(call).await.expect("founds")
}

async fn write(node: &Driver, space: SpaceId, entity: EntityId, intent: Intent, edit: Edit) {
    let write = Write { collection: tickets(), entity, intent, edit };
    let call = node.call(Until::Synced, move |turn| turn.replica.commit(turn.now, space, vec![write]));
    bounded(call).await.expect("may write");
}

fn read(node: &Driver, space: SpaceId, entity: EntityId) -> Option<Ticket> {
    let row = node.reader().expect("open").row(&space, &tickets(), &entity).expect("reads");
    row.map(|row| row_value(&row).expect("a row of a ticket"))
}

/// A device that keeps to no rule.
struct Attacker {
    identity: Arc<Identity>,
    endpoint: Endpoint,
    space: SpaceId,
    /// Empty for one who was never let in.
    log: Option<Log>,
    life: Incarnation,
    /// The number of the last commit of this life.
    oseq: u64,
    /// The last commit.
    last: Option<CommitHash>,
}

impl Attacker {
    async fn stranger(seed: u8, space: SpaceId) -> Self {
        let identity = Arc::new(Identity::from_seed([seed; 32]));
        let address = ([127, 0, 0, 1], 0).into();
        let endpoint = Endpoint::bind(Arc::clone(&identity), address, Arc::new(Metrics::default())).await;
        let (endpoint, life) = (endpoint.expect("a free port"), Incarnation(1));
        Self { identity, endpoint, space, log: None, life, oseq: 0, last: None }
    }

    fn peer(&self) -> PeerId {
        self.identity.peer()
    }

    fn origin(&self) -> Origin {
        Origin { peer: self.peer(), incarnation: self.life }
    }

    /// Goes on under another incarnation, whose numbers are its own.
    fn begin_life(&mut self) {
        (self.life, self.oseq) = (Incarnation(self.life.0 + 1), 0);
    }

    fn actor(&self, entity: EntityId) -> ActorId {
        ActorId::derive(&self.space, &entity, &self.origin())
    }

    fn heads(&self) -> Vec<StatementHash> {
        self.log.as_ref().map(|log| log.membership().heads().to_vec()).unwrap_or_default()
    }

    /// Signs one change of an entity, whatever it is, with the next number.
    fn commit(&mut self, entity: EntityId, seq: u64, change: Vec<u8>) -> Commit {
        self.commit_in(tickets(), entity, seq, change)
    }

    fn commit_in(&mut self, place: CollectionName, entity: EntityId, seq: u64, change: Vec<u8>) -> Commit {
        self.oseq += 1;
        let head = crate::access::change_hash(&change).expect("long enough for a chunk");
        let leaf = Leaf {
            collection: place,
            entity,
            oseq: Oseq(self.oseq),
            prev: self.last,
            salt: None,
            of: 1,
            seq,
            head,
        };
        let commit =
            Commit::sign(&self.identity, self.space, self.origin(), self.heads(), vec![(leaf, change)]);
        let commit = commit.expect("within the limits of a commit");
        self.last = Some(commit.hash());
        commit
    }

    /// Signs an insertion by the book.
    fn insertion(&mut self, entity: EntityId, title: &str) -> Commit {
        let edit = doc::insert(ticket(title));
        let made = edit(&mut Document::new(), &self.actor(entity), Timestamp::from_unix_ms(1_000));
        let made = made.expect("fit").expect("it changes something");
        self.commit(entity, made.seq, made.bytes)
    }

    /// Signs an update by the book.
    fn update(&mut self, document: &Document, entity: EntityId, title: &'static str) -> Commit {
        let edit = doc::update(move |ticket: &mut Ticket| ticket.title = title.to_owned());
        let made = self.change(document, entity, edit);
        self.commit(entity, made.seq, made.bytes)
    }

    fn change(&self, document: &Document, entity: EntityId, edit: Edit) -> doc::Made {
        let made = edit(&mut document.clone(), &self.actor(entity), Timestamp::from_unix_ms(1_000));
        made.expect("fit").expect("it changes something")
    }
}

/// The attacker's end of a connection.
struct Wire {
    connection: Connection,
    space: SpaceId,
    farewell: Option<Farewell>,
}

/// Why a connection ended, as the attacker was told.
#[derive(Debug)]
struct End {
    farewell: Option<Farewell>,
    closed: NetError,
}

impl End {
    /// The code and text of the farewell, or of the close when that overtook it.
    fn reason(&self) -> (u64, String) {
        match (&self.farewell, &self.closed) {
            (Some(farewell), _) => (farewell.code, farewell.text.clone()),
            (None, NetError::Closed { code, reason, .. }) => (*code, reason.clone()),
            (None, other) => panic!("no reason but {other}"),
        }
    }

    #[track_caller]
    fn assert(&self, code: u64, words: &str) {
        let (given, text) = self.reason();
        assert_eq!(given, code, "{text}");
        assert!(text.contains(words), "{text}");
    }
}

impl Wire {
    /// A hello that names the space with the secret of this connection.
    fn hello(&self, attacker: &Attacker, space: SpaceId) -> Message {
        let log = attacker.log.as_ref().map(Log::digest).unwrap_or_default();
        hello(tag(&self.connection.exporter(), space), log)
    }

    async fn send(&self, message: &Message) {
        let lane = match message {
            Message::Live(_) | Message::LiveBatch(_) => Lane::Live,
            Message::Batch(_) => Lane::Bulk,
            _ => Lane::Control,
        };
        self.send_frame(lane, &message.to_frame()).await;
    }

    /// A connection that ends meanwhile tells its reason to who waits for it.
    async fn send_frame(&self, lane: Lane, frame: &[u8]) {
        let _ended = bounded(self.connection.send(lane, frame)).await;
    }

    /// Hears messages until one that is wanted, and meanwhile answers what a device that wants to stay must.
    async fn until(&mut self, wanted: impl Fn(&Message) -> bool) -> Result<Message, End> {
        loop {
            let frame = match bounded(self.connection.receive()).await {
                Ok((_, frame)) => frame,
                Err(closed) => return Err(End { farewell: self.farewell.take(), closed }),
            };
            let message = Message::from_frame(&frame).expect("a node sends frames").expect("and known ones");
            match &message {
                Message::Batch(Batch { number, .. }) => {
                    self.send(&Message::BatchTaken(BatchTaken { slot: SLOT, number: *number })).await;
                }
                Message::Live(live) => {
                    let commit = Commit::decode(self.space, &live.commit).expect("a commit");
                    let mut vectors = BTreeMap::new();
                    for (collection, oseq) in commit.parts() {
                        let mut vector = Vector::new();
                        vector.insert(commit.origin, oseq).expect("one number");
                        vectors.insert(collection, vector);
                    }
                    self.send(&Message::Ack(Ack { slot: SLOT, vectors })).await;
                }
                // All is well, whatever the node holds.
                Message::Roots(roots) if roots.answer => {
                    let roots = Roots { slot: SLOT, answer: false, busy: false, ..roots.clone() };
                    self.send(&Message::Roots(roots)).await;
                }
                Message::Farewell(farewell) => self.farewell = Some(farewell.clone()),
                _ => {}
            }
            if wanted(&message) {
                return Ok(message);
            }
        }
    }

    /// Waits for the end of the connection.
    async fn end(mut self) -> End {
        self.until(|_| false).await.expect_err("nothing is wanted")
    }

    /// Waits for the reason, and hangs up: a node leaves its peer the time to read a farewell.
    async fn verdict(mut self) -> (u64, String) {
        match self.until(|message| matches!(message, Message::Farewell(_))).await {
            Ok(Message::Farewell(farewell)) => {
                self.connection.close(0, "heard");
                (farewell.code, farewell.text)
            }
            Ok(_) => panic!("a farewell was wanted"),
            Err(end) => end.reason(),
        }
    }

    /// Sends a commit as it was made, and waits until the node says that it is on its disk, or hangs up.
    async fn live(&mut self, commit: &Commit) -> Result<(), End> {
        self.send(&Message::Live(Live { slot: SLOT, commit: commit.encode() })).await;
        let (origin, parts) = (commit.origin, commit.parts());
        let acked = |message: &Message| match message {
            Message::Ack(ack) => parts.iter().all(|(collection, oseq)| {
                ack.vectors.get(collection).is_some_and(|vector| vector.contains(&origin, *oseq))
            }),
            _ => false,
        };
        self.until(acked).await.map(|_| ())
    }

    /// Sends commits in a batch, and waits until the node says that it took it, or hangs up.
    async fn batch(&mut self, number: u64, commits: &[Commit]) -> Result<(), End> {
        let commits = commits.iter().map(Commit::encode).collect();
        self.send(&Message::Batch(Batch { slot: SLOT, number, commits })).await;
        let taken =
            |message: &Message| matches!(message, Message::BatchTaken(taken) if taken.number == number);
        self.until(taken).await.map(|_| ())
    }
}

fn hello(tag: [u8; 16], log: [u8; 16]) -> Message {
    let opening = Opening {
        slot: SLOT,
        tag,
        log,
        data: [0; 16],
        told: Told::Whole(BTreeMap::new()),
        reach: Reach { wants: Some(Interests::default()), ..Reach::default() },
    };
    Message::Hello(Hello { versions: (1, 1), features: 0, openings: vec![opening] })
}

/// A connection to a peer that reads nothing, and what else has to live for it.
async fn mute() -> (Connection, Line, (Attacker, Attacker, Connection)) {
    let space = SpaceId::new([1; 32]);
    let (ours, theirs) = (Attacker::stranger(1, space).await, Attacker::stranger(2, space).await);
    let address = theirs.endpoint.local_address().expect("bound");
    let (dialled, accepted) =
        tokio::join!(ours.endpoint.connect(theirs.peer(), address, Protocol::Sync), theirs.endpoint.accept());
    let (connection, mute) = (dialled.expect("it is there"), accepted.expect("it is open"));
    mute.greeted();
    connection.greeted();
    let (inward, _arrivals) = mpsc::channel(1);
    let line = Line::start(&mut JoinSet::new(), ConnId(1), connection.clone(), &inward);
    (connection, line, (ours, theirs, mute))
}

/// A frame of a type that may be skipped.
fn skipped(bytes: usize) -> Vec<u8> {
    let mut frame = Writer::new();
    frame.varint(0x7f);
    frame.bytes(&vec![0; bytes]);
    frame.into_bytes()
}

/// The name of a space in a dialler's frames.
fn tag(exporter: &[u8; 32], space: SpaceId) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(exporter);
    hasher.update(b"driftless/tag/v1\0d");
    hasher.update(space.as_bytes());
    let mut tag = [0; 16];
    hasher.finalize_xof().fill(&mut tag);
    tag
}

/// The statements that the victim sends, as far as the attacker can use them.
fn learn(log: &mut Log, message: &Message) {
    let Message::Statements(statements) = message else { return };
    for bytes in &statements.statements {
        let statement = Statement::decode(bytes).expect("a statement");
        log.insert(statement).expect("it has its place");
    }
}
