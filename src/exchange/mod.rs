//! What the engine asks of the database, and what the database answers and tells.
//!
//! The engine and the database do not know each other; both know these words.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::{JoinCode, Membership};
pub(crate) use crate::id::EntityClock;
use crate::id::{
    Cell, CollectionName, EntityId, Interests, Listed, Origin, Oseq, PeerId, Position, Root, SpaceId, Span,
    SpanPrint, SpanTold, StatementHash, Symbol, Vector,
};

/// The number of a question, minted by the engine. Exactly one answer bears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(pub(crate) u64);

/// What makes the short hashes of statements on one connection. Both ends have it and nobody else: who makes statements
/// cannot choose two that are short for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShortsKey(pub(crate) [u8; 32]);

impl ShortsKey {
    pub(crate) fn short(&self, statement: &StatementHash) -> [u8; 8] {
        let mut short = [0; 8];
        let keyed = blake3::keyed_hash(&self.0, statement.as_bytes());
        short.iter_mut().zip(keyed.as_bytes()).for_each(|(short, byte)| *short = *byte);
        short
    }
}

/// Which numbers a commit takes: its origin, and its number in each collection that it touches, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitKey {
    /// Who made it.
    pub(crate) origin: Origin,
    /// Its number in each collection, sorted by collection.
    pub(crate) parts: Vec<(CollectionName, Oseq)>,
}

/// A commit as it travels: an encoded `access::Commit`, and its key. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Its numbers, of the collections that are open in `bytes`.
    pub(crate) key: CommitKey,
    /// The encoding.
    pub(crate) bytes: Arc<[u8]>,
}

/// A commit that this store has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its place in the journal.
    pub(crate) position: Position,
    /// The commit.
    pub(crate) commit: Packed,
}

/// One collection at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CollectionState {
    /// What its entities add up to.
    pub(crate) root: Root,
    /// Which commits are held, those in quarantine among them.
    pub(crate) vector: Vector,
}

/// A space at one moment.
#[derive(Clone, Debug)]
pub(crate) struct SpaceState {
    /// The space.
    pub(crate) space: SpaceId,
    /// Who belongs to it.
    pub(crate) membership: Arc<Membership>,
    /// The digest of its statements.
    pub(crate) log: [u8; 16],
    /// What this device wants of it.
    pub(crate) interests: Arc<Interests>,
    /// Its collections that hold anything.
    pub(crate) collections: BTreeMap<CollectionName, CollectionState>,
}

/// Which collections count between this device and a peer. Rights are another matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// What this device wants.
    pub(crate) ours: Arc<Interests>,
    /// What the peer wants.
    pub(crate) theirs: Arc<Interests>,
    /// The peer said what it holds of this device's own commits where only the peer wants a collection.
    pub(crate) own_known: bool,
}

impl Scope {
    /// Both want all of the collection: it is compared, and sent both ways.
    pub(crate) fn is_common(&self, collection: &CollectionName) -> bool {
        self.ours.is_live(collection) && self.theirs.is_live(collection)
    }

    /// Whether a commit is sent to the peer, as far as it touches the collection. Who does not want a collection
    /// live does not know what others do there, and passes on its own commits only.
    pub(crate) fn flows(&self, collection: &CollectionName, is_own: bool) -> bool {
        let own = is_own && self.own_known;
        self.theirs.is_live(collection) && (self.ours.is_live(collection) || own)
    }
}

/// Version vectors of the collections of a space.
pub(crate) type Vectors = BTreeMap<CollectionName, Vector>;

/// Returns what `vectors` names beyond `base`. What the rest finds no room for is left out: it is found by the next
/// comparison.
pub(crate) fn beyond(base: &Vectors, vectors: &Vectors) -> Vectors {
    let nothing = Vector::new();
    let mut beyond = Vectors::new();
    for (collection, vector) in vectors {
        for missing in base.get(collection).unwrap_or(&nothing).lacks_of(vector) {
            let entry = beyond.entry(collection.clone()).or_default();
            let _ = entry.insert_range(missing.origin, missing.first, missing.last);
        }
    }
    beyond
}

/// Clocks of entities, by collection; each list is sorted by entity.
pub(crate) type Clocks = BTreeMap<CollectionName, Vec<EntityClock>>;

/// How this store differs from another, of which it has seen a sketch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Apart {
    /// Our clocks of the entities that are not the same there.
    pub(crate) ours: Clocks,
    /// What stands for the entities there that are not the same here.
    pub(crate) theirs: Vec<Symbol>,
}

/// A question of the engine.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// The state of a space as it is on disk: what is written is synced first, so that what a peer is told
    /// counts as an acknowledgement. Answer: `State`.
    State {
        /// Which space.
        space: SpaceId,
    },
    /// Take commits that a peer sent. Answer: `Received`; `Event::Stored` tells what was applied, first.
    Receive {
        /// The space they are for.
        space: SpaceId,
        /// The peer that sent them.
        from: PeerId,
        /// Encoded `access::Commit`s.
        commits: Vec<Vec<u8>>,
    },
    /// Commits that a peer lacks, blinded for that peer: collections by their priority, and each in journal order.
    /// Answer: `Commits`.
    Feed {
        /// The space.
        space: SpaceId,
        /// The peer they are for.
        to: PeerId,
        /// What it holds or is being sent.
        have: Vectors,
        /// Which collections count.
        scope: Scope,
        /// Where to stop: the answer may exceed it by one commit.
        bytes_max: usize,
    },
    /// All commits of some entities that a peer lacks, in journal order, blinded for that peer. Answer: `Commits`,
    /// which is not complete when there are more bytes of them.
    History {
        /// The space.
        space: SpaceId,
        /// The peer they are for.
        to: PeerId,
        /// Which entities.
        places: Vec<(CollectionName, EntityId)>,
        /// What it holds or is being sent.
        have: Vectors,
        /// Which collections count.
        scope: Scope,
        /// Where to stop.
        bytes_max: usize,
    },
    /// The sketch of (collection, entity, heads) over all collections that count. Answer: `Sketch`.
    Sketch {
        /// The space.
        space: SpaceId,
        /// The peer it is for.
        to: PeerId,
        /// Keys the symbols; both sides of a connection use the same.
        key: [u8; 32],
        /// Which collections count.
        scope: Scope,
        /// How many cells.
        cells: usize,
    },
    /// How this store differs from the one that made these cells. Answer: `Apart`, or `TooFewCells`.
    Compare {
        /// The space.
        space: SpaceId,
        /// The peer that made the cells.
        with: PeerId,
        /// Keys the symbols.
        key: [u8; 32],
        /// Which collections count.
        scope: Scope,
        /// Its first cells.
        cells: Vec<Cell>,
    },
    /// The clocks of the entities here for which these symbols stand. Answer: `Apart`, with `theirs` empty.
    Resolve {
        /// The space.
        space: SpaceId,
        /// The peer that named them.
        with: PeerId,
        /// Keys the symbols.
        key: [u8; 32],
        /// Which collections count.
        scope: Scope,
        /// The symbols, sorted.
        symbols: Vec<Symbol>,
    },
    /// The peer holds the same entities at the same heads: of the numbers in its vectors, those of which there is a record
    /// here are held here. Answer: `Done`.
    Adopt {
        /// The space.
        space: SpaceId,
        /// The vectors of the peer.
        vectors: Vectors,
    },
    /// Short heads of the entities of a collection, in order of id. Answer: `Heads`.
    Heads {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// What keys the hashes.
        key: [u8; 32],
        /// Begin behind this entity.
        after: Option<EntityId>,
        /// At most so many.
        count_max: usize,
    },
    /// The clocks of entities; an unknown one has an empty clock. Answer: `Clocks`.
    Clocks {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// Which entities.
        entities: Vec<EntityId>,
    },
    /// Commits with the changes that a peer with these clocks lacks. Answer: `Lacking`.
    Lacking {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The peer they are for.
        to: PeerId,
        /// What it holds or is being sent, as far as it is known: of what it has no room for nothing is told.
        have: Vectors,
        /// Which collections count.
        scope: Scope,
        /// What the peer holds.
        clocks: Vec<EntityClock>,
        /// Where to stop: the answer may exceed it by one commit.
        bytes_max: usize,
    },
    /// All commits of some entities that a peer lacks, and those that they hang together with, in the order in which
    /// they can be applied; leaves of other collections are closed. Answer: `Fetched`.
    Fetch {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The peer they are for.
        to: PeerId,
        /// Which entities.
        entities: Vec<EntityId>,
        /// What the peer holds of the collection.
        have: Vector,
    },
    /// Take commits that were fetched, as far as the version vector has room. Answer: `Taken`.
    TakeFetched {
        /// The space they are for.
        space: SpaceId,
        /// The peer that sent them.
        from: PeerId,
        /// Encoded `access::Commit`s.
        commits: Vec<Vec<u8>>,
    },
    /// How this store's entities in some spans differ from a peer's index. Answer: `Index`.
    IndexTold {
        /// The space.
        space: SpaceId,
        /// The collection, which this device has live.
        collection: CollectionName,
        /// What the peer lists.
        spans: Vec<SpanPrint>,
    },
    /// How far entities have come here. Answer: `Versions`.
    Versions {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// Which entities.
        entities: Vec<EntityId>,
    },
    /// The collections of which this device lists anything in an index. Answer: `Collections`.
    Listed {
        /// The space.
        space: SpaceId,
    },
    /// What this device lists in some spans of an index. Answer: `IndexPrints`.
    IndexPrints {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// Which spans.
        spans: Vec<Span>,
    },
    /// Take what a peer told of an index. Answer: `IndexTaken`.
    TakeIndex {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// What it told of spans.
        spans: Vec<SpanTold>,
        /// Entities that changed.
        changed: Vec<Listed>,
    },
    /// Short hashes of all statements of a space. Answer: `StatementShorts`.
    StatementShorts {
        /// The space.
        space: SpaceId,
        /// What makes them short.
        key: ShortsKey,
    },
    /// Statements whose short hash is not in `known`, in an order in which they can be inserted. Answer: `Statements`.
    Statements {
        /// The space.
        space: SpaceId,
        /// What made them short.
        key: ShortsKey,
        /// Sorted short hashes of those that are sent only if honest statements follow them.
        given: Vec<[u8; 8]>,
        /// Sorted short hashes.
        known: Vec<[u8; 8]>,
    },
    /// The statements that enrolled this device, and those that they follow; to a member that may have heard of a
    /// removal of itself that does not count, also those that whoever removed it had not heard. Answer: `Statements`.
    Enrolment {
        /// The space.
        space: SpaceId,
        /// Who is to be shown them, a member.
        to: PeerId,
    },
    /// The statements that removed a device, and those that they follow. Answer: `Statements`.
    Removal {
        /// The space.
        space: SpaceId,
        /// The device.
        device: PeerId,
    },
    /// Take statements of a device that is no member if they make it one. Answer: `Introduced`;
    /// `Event::SpaceChanged` tells the new state, first.
    Introduce {
        /// The space.
        space: SpaceId,
        /// The device.
        from: PeerId,
        /// Encoded statements.
        statements: Vec<Vec<u8>>,
    },
    /// Take statements that a peer sent. Answer: `Learned`; `Event::SpaceChanged` tells the new state, first.
    Learn {
        /// The space.
        space: SpaceId,
        /// The peer that sent them.
        from: PeerId,
        /// Encoded statements.
        statements: Vec<Vec<u8>>,
    },
    /// Which of these commits are neither held nor in quarantine. Answer: `Unheld`.
    Unheld {
        /// The space.
        space: SpaceId,
        /// The commits.
        vectors: Vectors,
    },
    /// Note what a peer has on its disk. Answer: `Done`.
    Acked {
        /// The space.
        space: SpaceId,
        /// The peer.
        peer: PeerId,
        /// What it acknowledged since the last note.
        vectors: Vectors,
    },
    /// Note on which vectors a peer and this node agree, if they are still ours. Answer: `Done`.
    Agreed {
        /// The space.
        space: SpaceId,
        /// The peer.
        peer: PeerId,
        /// The digest of the vectors.
        digest: [u8; 16],
        /// The vectors.
        vectors: Vectors,
    },
    /// A peer is met on a connection, or came to hold the same as this node: then what it may not have heard of is told
    /// to it. Answer: `Done`.
    Met {
        /// The space.
        space: SpaceId,
        /// The peer.
        peer: PeerId,
        /// Which collections count between the two, when they hold the same. Otherwise they begin: what it was told on
        /// another connection it may have forgotten.
        agreed: Option<Scope>,
        /// What it was told in vain is told again: some time has passed since the last time.
        again: bool,
    },
    /// The vectors on which a peer and this node last agreed. Answer: `Base`.
    Base {
        /// The space.
        space: SpaceId,
        /// The peer.
        peer: PeerId,
        /// Ours, of the collections that both may read.
        vectors: Vectors,
    },
    /// Judge a request to join. Answer: `Redeemed`.
    Redeem {
        /// The device that asks, as TLS proved it.
        joiner: PeerId,
        /// The keying material of its connection.
        exporter: [u8; 32],
        /// The request.
        request: Vec<u8>,
    },
    /// Take what a joiner reveals whose request waits. Answer: `Done` or `Failed`.
    Revealed {
        /// The device that asks, as TLS proved it.
        joiner: PeerId,
        /// What it reveals.
        reveal: Vec<u8>,
    },
    /// Take the inviter's answer to our request to join. Answer: `Done`, `JoinWaits` or `Failed`.
    Joined {
        /// The peer that answered.
        from: PeerId,
        /// The answer.
        reply: Vec<u8>,
    },
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// To `State`; `None` when the space is not here.
    State(Option<SpaceState>),
    /// To `Receive`.
    Received {
        /// How many were new and applied, those released from quarantine among them.
        applied: usize,
        /// How many were held already.
        duplicate: usize,
        /// Those that went into quarantine; they count as received.
        held: Vec<CommitKey>,
        /// Those for which there is no room. They do not count as received, and nobody is to blame for them.
        left_out: Vec<CommitKey>,
        /// How many were refused for good, and why the first was.
        refused: usize,
        /// Why the first refused one was.
        reason: Option<String>,
        /// The journal position after all of it.
        position: Position,
    },
    /// To `Feed` and `History`.
    Commits {
        /// The commits.
        commits: Vec<Packed>,
        /// Nothing is left beyond them.
        complete: bool,
    },
    /// To `Lacking`.
    Lacking {
        /// The commits, in journal order.
        commits: Vec<Packed>,
        /// Clocks that were not looked at yet, the first of them as it is once the peer has these commits: the
        /// next question.
        rest: Vec<EntityClock>,
    },
    /// To `Heads`.
    Heads {
        /// Entities, each with the first 8 bytes of a keyed hash over its heads.
        entries: Vec<(EntityId, [u8; 8])>,
        /// Nothing is left beyond them.
        complete: bool,
    },
    /// To `Fetch`.
    Fetched {
        /// The commits.
        commits: Vec<Packed>,
        /// Entities that are not here, or cannot be told alone.
        unknown: Vec<EntityId>,
        /// Nothing is left beyond them.
        complete: bool,
    },
    /// To `TakeFetched`.
    Taken {
        /// The version vector had no room for some.
        full: bool,
        /// Why some were refused for good.
        refused: Option<String>,
    },
    /// To `IndexTold`; `None` on a hub, which cannot tell.
    Index(Option<Vec<SpanTold>>),
    /// To `Versions`, in the order of the question.
    Versions(Vec<Listed>),
    /// To `Listed`.
    Collections(Vec<CollectionName>),
    /// To `IndexPrints`.
    IndexPrints(Vec<SpanPrint>),
    /// To `TakeIndex`.
    IndexTaken {
        /// Spans in which more differs than was told.
        apart: Vec<SpanPrint>,
    },
    /// To `Sketch`.
    Sketch(Vec<Cell>),
    /// To `Compare` and `Resolve`.
    Apart(Apart),
    /// To `Compare`: the difference is larger than the cells can tell.
    TooFewCells,
    /// To `Clocks`.
    Clocks(Vec<EntityClock>),
    /// To `StatementShorts`, sorted.
    StatementShorts(Vec<[u8; 8]>),
    /// To `Statements`, `Enrolment` and `Removal`.
    Statements(Vec<Vec<u8>>),
    /// To `Learn`: how many were new, and why the peer should have known better than to send one of them. Those behind that
    /// one were not looked at.
    Learned {
        /// New statements.
        new: usize,
        /// What is wrong with one of them.
        offence: Option<String>,
    },
    /// To `Unheld`.
    Unheld(Vectors),
    /// To `Introduce`: whether the device is a member.
    Introduced(bool),
    /// To `Base`: what was noted as their digest, and the vectors as they follow from the journal, when both are
    /// here.
    Base(Option<([u8; 16], Vectors)>),
    /// To `Redeem`: the reply for the joiner, a refusal among them.
    Redeemed(Vec<Vec<u8>>),
    /// To `Joined`: the request waits to be approved. What this device reveals may leave once this is on disk.
    JoinWaits {
        /// What to reveal to the inviter.
        reveal: Vec<u8>,
        /// The code that both sides show.
        code: JoinCode,
    },
    /// To `Acked`, `Agreed`, `Met`, `Adopt` and `Joined`.
    Done,
    /// The question could not be answered; the reason is for people.
    Failed(String),
}
