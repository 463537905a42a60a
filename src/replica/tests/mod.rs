//! Replicas over memory that exchange commits by calling each other.
#![expect(
    clippy::needless_pass_by_ref_mut,
    reason = "a device is one side of an exchange, whatever the call does to it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Committed, Intent, Replica, ReplicaError, RowChange, Told, Write};
use crate::access::{Commit, Invite, Leaf, Role};
use crate::doc::{self, Counter, Document, Entity, KindOf, Priority, row_value};
use crate::doc::{Hydrate, Reconcile};
use crate::exchange::{Answer, Ask, CommitKey, Packed, Scope, ShortsKey, Vectors};
use crate::id::{ActorId, CollectionName, EntityId, Origin, Oseq, Position, SpaceId};
use crate::identity::Identity;
use crate::metrics::{Metrics, MetricsSnapshot};
use crate::store::Values;
use crate::store::kv::memory::Memory;
use crate::time::{Instant, Now, Timestamp};

mod clash;
mod clocks;
mod contest;
mod crowded;
mod damage;
mod exchange;
mod expiry;
mod filled;
mod flood;
mod hostile;
mod hub;
mod index;
mod interest;
mod joins;
mod limits;
mod local;
mod members;
mod mending;
mod quotas;
mod regate;
mod revocation;

/// The bytes at which a feed of these tests ends, unless a test says otherwise.
const FEED_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Note {
    title: String,
    count: Counter,
}

impl Entity for Note {
    const COLLECTION: &'static str = "notes";
    const VERSION: u32 = 1;
}

/// The same entities as a later version of the program sees them.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct NoteTwo {
    title: String,
}

impl Entity for NoteTwo {
    const COLLECTION: &'static str = "notes";
    const VERSION: u32 = 2;
}

#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Task {
    done: bool,
}

impl Entity for Task {
    const COLLECTION: &'static str = "tasks";
    const VERSION: u32 = 1;
}

/// Tasks as a version of the program sees them that wants them first.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct UrgentTask {
    done: bool,
}

impl Entity for UrgentTask {
    const COLLECTION: &'static str = "tasks";
    const VERSION: u32 = 2;
    const PRIORITY: Priority = Priority::High;
}

/// One device: its disk, its key, and the replica that is open.
struct Device {
    memory: Memory,
    identity: Arc<Identity>,
    opened: u8,
    replica: Replica,
}

impl Device {
    fn new(seed: u8) -> Self {
        Self::over(Memory::new(), seed, 0)
    }

    fn over(memory: Memory, seed: u8, opened: u8) -> Self {
        let identity = Arc::new(Identity::from_seed([seed; 32]));
        let values = Values::memory(&memory).expect("the memory is not open");
        let mut entropy = [seed; 32];
        entropy[31] = opened;
        let metrics = Arc::new(Metrics::default());
        let mut replica =
            Replica::open(values, Arc::clone(&identity), entropy, now(), metrics).expect("the store opens");
        if !replica.hub {
            replica.register(Arc::new(KindOf::<Note>::new().expect("a name"))).expect("registers");
            replica.register(Arc::new(KindOf::<Task>::new().expect("a name"))).expect("registers");
        }
        replica.drain();
        Self { memory, identity, opened, replica }
    }

    fn seed(&self) -> u8 {
        self.identity.seed()[0]
    }

    /// Opens the store again after its process died.
    fn killed(self) -> Self {
        self.memory.kill();
        Self::over(self.memory.clone(), self.seed(), self.opened + 1)
    }

    /// Opens the store again after a clean close.
    fn reopened(mut self) -> Self {
        self.replica.close().expect("closes");
        Self::over(self.memory.clone(), self.seed(), self.opened + 1)
    }

    fn commit(&mut self, space: SpaceId, writes: Vec<Write>) -> CommitKey {
        let committed = self.replica.commit(now(), space, writes).expect("the commit is allowed");
        committed.key.expect("the commit changes something")
    }

    fn note(&self, space: SpaceId, entity: EntityId) -> Option<Note> {
        let row = self.replica.reader().row(&space, &notes(), &entity).expect("reads");
        row.map(|row| row_value(&row).expect("a row of a note"))
    }

    fn vectors(&self, space: SpaceId) -> Vectors {
        let state = self.replica.state(&space).expect("the space is here");
        state.collections.into_iter().map(|(name, state)| (name, state.vector)).collect()
    }

    fn roots(&self, space: SpaceId) -> BTreeMap<CollectionName, crate::id::Root> {
        let state = self.replica.state(&space).expect("the space is here");
        state.collections.into_iter().map(|(name, state)| (name, state.root)).collect()
    }

    fn feed(&mut self, space: SpaceId, to: &mut Self, bytes_max: usize) -> (Vec<Packed>, bool) {
        let ask = Ask::Feed {
            space,
            to: to.replica.peer(),
            have: to.vectors(space),
            scope: Scope::default(),
            bytes_max,
        };
        let answer = self.replica.answer(now(), ask);
        let Answer::Commits { commits, complete } = answer else {
            panic!("a feed was answered by {answer:?}")
        };
        (commits, complete)
    }

    fn receive(&mut self, space: SpaceId, from: &Self, commits: Vec<Vec<u8>>) -> Received {
        let from = from.replica.peer();
        let answer = self.replica.answer(now(), Ask::Receive { space, from, commits });
        let Answer::Received { applied, duplicate, held, left_out, refused, .. } = answer else {
            panic!("commits were answered by {answer:?}")
        };
        Received { applied, duplicate, held: held.len(), left_out: left_out.len(), refused }
    }

    /// Sends everything that the other lacks, and the statements first.
    fn send(&mut self, space: SpaceId, to: &mut Self) {
        self.teach(space, to);
        for _ in 0..1_000 {
            let (commits, complete) = self.feed(space, to, FEED_BYTES);
            to.receive(space, self, commits.iter().map(|packed| packed.bytes.to_vec()).collect());
            if complete {
                return;
            }
        }
        panic!("a feed does not come to its end");
    }

    fn teach(&mut self, space: SpaceId, to: &mut Self) {
        let Answer::StatementShorts(known) =
            to.replica.answer(now(), Ask::StatementShorts { space, key: ShortsKey::default() })
        else {
            panic!("short hashes were asked for");
        };
        let Answer::Statements(statements) = self
            .replica
            .answer(now(), Ask::Statements { space, key: ShortsKey::default(), given: Vec::new(), known })
        else {
            panic!("statements were asked for");
        };
        let from = self.replica.peer();
        to.replica.answer(now(), Ask::Learn { space, from, statements });
    }

    fn metrics(&self) -> MetricsSnapshot {
        self.replica.metrics.snapshot()
    }
}

/// What became of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Received {
    applied: usize,
    duplicate: usize,
    held: usize,
    left_out: usize,
    refused: usize,
}

fn applied(applied: usize) -> Received {
    Received { applied, ..Received::default() }
}

fn held(held: usize) -> Received {
    Received { held, ..Received::default() }
}

/// A space of one device.
fn founded(device: &mut Device) -> SpaceId {
    let space = device.replica.create_space(now(), "Corner Repairs", "Ann", "laptop").expect("founds");
    device.replica.drain();
    space
}

/// Two devices in one space, the second with `role`.
fn pair(role: Role) -> (Device, Device, SpaceId) {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    let b = joined(&mut a, 2, space, role);
    (a, b, space)
}

/// A device that joined a space by an invite.
fn joined(inviter: &mut Device, seed: u8, space: SpaceId, role: Role) -> Device {
    let mut joiner = Device::new(seed);
    join(inviter, &mut joiner, space, role);
    joiner
}

fn join(inviter: &mut Device, joiner: &mut Device, space: SpaceId, role: Role) {
    let invite = invite(inviter, space, role);
    let exporter = [7; 32];
    let request = joiner.replica.join_request(&invite, "Bob", "phone", &exporter).expect("names are short");
    let ask = Ask::Redeem { joiner: joiner.replica.peer(), exporter, request };
    let Answer::Redeemed(reply) = inviter.replica.answer(now(), ask) else { panic!("redeemed") };
    let from = inviter.replica.peer();
    let answer = joiner.replica.answer(now(), Ask::Joined { from, reply: reply.concat() });
    assert!(matches!(answer, Answer::Done), "joined: {answer:?}");
    inviter.replica.drain();
    joiner.replica.drain();
}

fn invite(inviter: &mut Device, space: SpaceId, role: Role) -> Invite {
    inviter.replica.invite(now(), space, role, Vec::new(), 1_000).expect("an owner may invite")
}

fn now() -> Now {
    Now { instant: Instant::from_ms(5), wall: Timestamp::from_unix_ms(1_000) }
}

fn notes() -> CollectionName {
    CollectionName::new("notes").expect("a name")
}

fn tasks() -> CollectionName {
    CollectionName::new("tasks").expect("a name")
}

fn id(number: u8) -> EntityId {
    EntityId::new([number; 16])
}

fn insert(entity: EntityId, title: &str) -> Write {
    let note = Note { title: title.to_owned(), count: Counter::default() };
    Write { collection: notes(), entity, intent: Intent::Create, edit: doc::insert(note) }
}

fn retitle(entity: EntityId, title: &str) -> Write {
    let title = title.to_owned();
    let edit = doc::update(move |note: &mut Note| note.title = title);
    Write { collection: notes(), entity, intent: Intent::Change, edit }
}

fn delete(entity: EntityId) -> Write {
    Write { collection: notes(), entity, intent: Intent::Delete, edit: doc::delete() }
}

fn restore(entity: EntityId) -> Write {
    Write { collection: notes(), entity, intent: Intent::Restore, edit: doc::restore() }
}

fn task(entity: EntityId, done: bool) -> Write {
    Write { collection: tasks(), entity, intent: Intent::Create, edit: doc::insert(Task { done }) }
}

fn title(note: Option<Note>) -> Option<String> {
    note.map(|note| note.title)
}

/// Everything that is derived agrees with the changes: documents, heads, rows, roots, vectors, journal.
fn assert_consistent(device: &mut Device, space: SpaceId) {
    use crate::store::keyspaces::{CommitId, HeadKey, JournalKey, Prefix, RowKey};

    let store = device.replica.store.clone();
    let mut roots: BTreeMap<CollectionName, crate::id::RootSum> = BTreeMap::new();
    let mut rows = BTreeSet::new();
    store
        .each(&Prefix::<HeadKey>::space(&space), |key, head| {
            let document = super::load::document(&store, &key, &head)?;
            assert_eq!((document.heads(), document.clock()), (head.heads.clone(), head.clock.clone()));
            assert_eq!(document.is_deleted(), head.deleted);
            let root = roots.entry(key.collection.clone()).or_insert_with(|| crate::id::Root::EMPTY.sum());
            root.add(&space, &key.entity, &head.heads);
            if let (Some(kind), false) = (device.replica.kinds.get(&key.collection), head.deleted) {
                let (collection, entity) = (key.collection.clone(), key.entity);
                let row = store.get(&RowKey { space, collection, entity })?.expect("a live entity has a row");
                assert_eq!(row.bytes, kind.row(&document).expect("a row"));
                rows.insert((key.collection.clone(), key.entity));
            }
            assert!(head.position <= device.replica.position);
            Ok::<(), ReplicaError>(())
        })
        .expect("every entity loads");
    store
        .each(&Prefix::<RowKey>::space(&space), |key, _| {
            assert!(rows.contains(&(key.collection, key.entity)), "only live entities have rows");
            Ok::<(), ReplicaError>(())
        })
        .expect("every row reads");
    let mut kept = device.roots(space);
    kept.retain(|_, root| *root != crate::id::Root::EMPTY);
    let roots: BTreeMap<_, _> = roots.into_iter().map(|(name, sum)| (name, sum.root())).collect();
    assert_eq!(kept, roots);
    let vectors = device.vectors(space);
    let mut count = 0;
    store
        .each(&Prefix::<JournalKey>::all(), |key, entry| {
            count += 1;
            assert_eq!(key.position, Position(count), "the journal has no holes");
            for part in entry.parts {
                let id = CommitId {
                    space,
                    collection: part.collection.clone(),
                    origin: entry.origin,
                    oseq: part.oseq,
                };
                if part.oseq == Oseq(0) {
                    // Entities were made again, without the changes of commits that were taken back.
                    continue;
                }
                let known = &device.replica.spaces[&space];
                let taken_back = !known.removals.is_empty() || !known.clashes.is_empty();
                let recorded = super::load::record(&store, id)?.is_some();
                assert!(recorded || taken_back, "a journal entry has its commit");
                let freed = !recorded && known.is_removed(&entry.origin.peer);
                let counts = vectors.get(&part.collection).map(|v| v.contains(&entry.origin, part.oseq));
                assert!(
                    counts == Some(true) || freed,
                    "it counts as received, unless that was needed for others"
                );
            }
            Ok::<(), ReplicaError>(())
        })
        .expect("every journal entry reads");
    assert_eq!(device.replica.position(), Position(count));
}
