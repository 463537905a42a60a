//! Whole nodes, engine and database over a disk in memory, in a world where each delivery is made by hand: for
//! tests that prescribe which commit reaches whom and when. Faults are the simulator's business, not this one's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::access::Role;
use crate::doc::{Edit, Entity, Kind, KindOf, insert, row_value, update};
use crate::exchange::{Answer, Ask};
use crate::id::{CollectionName, EntityId, PeerId, SpaceId};
use crate::limits::INVITE_LIFETIME_MS;
use crate::replica::{Intent, Replica, Write};
use crate::sync::{Action, Command, ConnId, Event, Lane, Side};
use crate::time::{Instant, Now, Timestamp};

mod node;

use node::Node;

/// Most steps until a world is at rest: far more than an honest run takes.
const STEPS_MAX: usize = 1_000_000;

/// What went wrong in a world, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WorldError(String);

impl WorldError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A node of a world, by the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(usize);

/// Frames on their way: from, to, and in which lane.
type Link = (NodeIndex, NodeIndex, Lane);

/// A connection between two nodes.
#[derive(Clone, Copy, Debug)]
struct Wire {
    dialer: NodeIndex,
    acceptor: NodeIndex,
}

impl Wire {
    /// The other end.
    fn far(&self, node: NodeIndex) -> NodeIndex {
        if node == self.dialer { self.acceptor } else { self.dialer }
    }
}

/// Nodes, the network between them, and the time.
#[derive(Debug, Default)]
pub struct World {
    instant: Instant,
    nodes: Vec<Node>,
    kinds: Vec<Arc<dyn Kind>>,
    wires: BTreeMap<ConnId, Wire>,
    links: BTreeMap<Link, VecDeque<(ConnId, Vec<u8>)>>,
    /// Directions whose commits wait until they are let through one by one.
    held: BTreeSet<(NodeIndex, NodeIndex)>,
    conns: u64,
    /// Why connections were closed.
    closed: Vec<String>,
    space: Option<SpaceId>,
}

impl World {
    /// Makes an empty world.
    #[must_use]
    pub fn new() -> Self {
        Self { instant: Instant::from_ms(1), ..Self::default() }
    }

    /// Makes a type known to all nodes, those to come among them.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when the collection's name is none, or a database refuses the type.
    pub fn register<T: Entity>(&mut self) -> Result<(), WorldError> {
        let kind: Arc<dyn Kind> = Arc::new(KindOf::<T>::new().map_err(WorldError::of)?);
        for node in &mut self.nodes {
            node.replica.register(Arc::clone(&kind)).map_err(WorldError::of)?;
        }
        self.kinds.push(kind);
        Ok(())
    }

    /// Adds a node.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when its database does not open.
    pub fn add_node(&mut self) -> Result<NodeIndex, WorldError> {
        let seed = [self.nodes.len() as u8 + 1; 32];
        let node =
            Node::new(seed, Now { instant: self.instant, wall: Timestamp::from_unix_ms(0) }, &self.kinds)?;
        self.nodes.push(node);
        Ok(NodeIndex(self.nodes.len() - 1))
    }

    /// Founds the world's one space.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when the database refuses.
    pub fn found(&mut self, founder: NodeIndex) -> Result<(), WorldError> {
        let now = self.now();
        let replica = self.replica(founder)?;
        let space = replica.create_space(now, "space", "founder", "device").map_err(WorldError::of)?;
        self.space = Some(space);
        self.told(founder)
    }

    /// Makes `joiner` a member with an invite from `inviter`, over a connection of its own.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when either database refuses.
    pub fn join(&mut self, inviter: NodeIndex, joiner: NodeIndex, role: Role) -> Result<(), WorldError> {
        let (space, exporter) = (self.space()?, [7; 32]);
        let (now, peers) = (self.now(), (self.peer(inviter)?, self.peer(joiner)?));
        let here = self.replica(inviter)?;
        let invite = here.invite(now, space, role, Vec::new(), INVITE_LIFETIME_MS).map_err(WorldError::of)?;
        let there = self.replica(joiner)?;
        let request = there.join_request(&invite, "member", "device", &exporter).map_err(WorldError::of)?;
        let redeem = Ask::Redeem { joiner: peers.1, exporter, request };
        let Answer::Redeemed(reply) = self.replica(inviter)?.answer(now, redeem) else {
            return Err(WorldError("the invite was not redeemed".to_owned()));
        };
        self.told(inviter)?;
        let now = self.now();
        let answer = self.replica(joiner)?.answer(now, Ask::Joined { from: peers.0, reply: reply.concat() });
        if !matches!(answer, Answer::Done) {
            return Err(WorldError(format!("not joined: {answer:?}")));
        }
        self.told(joiner)
    }

    /// Lets `from` keep a connection to `to`.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when there is no such node.
    pub fn connect(&mut self, from: NodeIndex, to: NodeIndex) -> Result<(), WorldError> {
        let peer = self.peer(to)?;
        self.handle(from, Event::Command(Command::AddPeer { peer, addresses: vec!["there".to_owned()] }))
    }

    /// Keeps the commits from one node to another on their way until [`World::let_through`]; acknowledgements and
    /// fingerprints pass.
    pub fn hold(&mut self, from: NodeIndex, to: NodeIndex) {
        self.held.insert((from, to));
    }

    /// Undoes [`World::hold`].
    pub fn release(&mut self, from: NodeIndex, to: NodeIndex) {
        self.held.remove(&(from, to));
    }

    /// Delivers the first frame that is held between two nodes. False when there is none.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when a database fails.
    pub fn let_through(&mut self, from: NodeIndex, to: NodeIndex) -> Result<bool, WorldError> {
        for lane in [Lane::Live, Lane::Bulk] {
            if self.links.get(&(from, to, lane)).is_some_and(|frames| !frames.is_empty()) {
                self.deliver((from, to, lane))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Creates an entity; written, and not synced.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when the database refuses.
    pub fn insert<T: Entity>(
        &mut self,
        index: NodeIndex,
        entity: EntityId,
        value: T,
    ) -> Result<(), WorldError> {
        self.write::<T>(index, entity, Intent::Create, insert(value))
    }

    /// Changes an entity; written, and not synced.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when the database refuses.
    pub fn update<T: Entity>(
        &mut self,
        index: NodeIndex,
        entity: EntityId,
        change: impl FnOnce(&mut T) + Send + 'static,
    ) -> Result<(), WorldError> {
        self.write::<T>(index, entity, Intent::Change, update(change))
    }

    /// Syncs a node's disk.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when the disk fails.
    pub fn sync(&mut self, index: NodeIndex) -> Result<(), WorldError> {
        let node = self.node(index)?;
        node.dirty = false;
        let upto = node.replica.sync().map_err(WorldError::of)?;
        self.handle(index, Event::Durable { upto })
    }

    /// Lets `ms` milliseconds pass, and does what is due. Nothing is delivered.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when a database fails.
    pub fn pass(&mut self, ms: u64) -> Result<(), WorldError> {
        self.instant = self.instant.plus_ms(ms);
        for index in (0..self.nodes.len()).map(NodeIndex) {
            let now = self.now();
            self.node(index)?.engine.handle_timeout(now);
            self.drain(index)?;
        }
        Ok(())
    }

    /// Delivers, syncs and lets time pass until nothing is on its way and nothing is due within `ms`.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when a database fails, or the world does not come to rest.
    pub fn rest(&mut self, ms: u64) -> Result<(), WorldError> {
        let end = self.instant.plus_ms(ms);
        for _ in 0..STEPS_MAX {
            if self.step()? {
                continue;
            }
            let due = self.nodes.iter().filter_map(|node| node.engine.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end) else { return Ok(()) };
            self.pass(due.ms_since(self.instant).max(1))?;
        }
        Err(WorldError(format!("not at rest after {STEPS_MAX} steps")))
    }

    /// Does one thing that is ready: delivers a frame or syncs a disk. False when nothing is.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when a database fails.
    pub fn step(&mut self) -> Result<bool, WorldError> {
        let mut ready = self.links.iter().filter(|((from, to, lane), frames)| {
            !frames.is_empty() && (*lane == Lane::Control || !self.held.contains(&(*from, *to)))
        });
        if let Some(link) = ready.next().map(|(link, _)| *link) {
            self.deliver(link)?;
            return Ok(true);
        }
        let Some(index) = self.nodes.iter().position(|node| node.dirty) else { return Ok(false) };
        self.sync(NodeIndex(index))?;
        Ok(true)
    }

    /// Returns an entity as a node reads it.
    ///
    /// # Errors
    ///
    /// [`WorldError`] when the database fails or the row is not of this type.
    pub fn get<T: Entity>(&self, index: NodeIndex, entity: EntityId) -> Result<Option<T>, WorldError> {
        let reader = self.nodes.get(index.0).ok_or_else(no_node)?.replica.reader();
        let row = reader.row(&self.space()?, &collection::<T>()?, &entity).map_err(WorldError::of)?;
        row.map(|row| row_value(&row).map_err(WorldError::of)).transpose()
    }

    /// Returns why connections were closed, in order.
    #[must_use]
    pub fn closed(&self) -> &[String] {
        &self.closed
    }

    /// Returns how many commits of `author` a node has applied since it started.
    #[must_use]
    pub fn applied(&self, index: NodeIndex, author: NodeIndex) -> u64 {
        let author = self.nodes.get(author.0).map(|node| node.peer);
        let node = self.nodes.get(index.0);
        author.and_then(|author| node?.applied.get(&author)).copied().unwrap_or_default()
    }

    fn write<T: Entity>(
        &mut self,
        index: NodeIndex,
        entity: EntityId,
        intent: Intent,
        edit: Edit,
    ) -> Result<(), WorldError> {
        let (now, space, collection) = (self.now(), self.space()?, collection::<T>()?);
        let write = Write { collection, entity, intent, edit };
        let node = self.node(index)?;
        node.replica.commit(now, space, vec![write]).map_err(WorldError::of)?;
        node.dirty = true;
        self.told(index)
    }

    /// Hands the engine what the database tells, and carries out what the engine wants of it.
    fn told(&mut self, index: NodeIndex) -> Result<(), WorldError> {
        let now = self.now();
        let node = self.node(index)?;
        for event in node.told() {
            node.engine.handle(now, event);
        }
        self.drain(index)
    }

    fn handle(&mut self, index: NodeIndex, event: Event) -> Result<(), WorldError> {
        let now = self.now();
        self.node(index)?.engine.handle(now, event);
        self.drain(index)
    }

    fn drain(&mut self, index: NodeIndex) -> Result<(), WorldError> {
        while let Some(action) = self.node(index)?.engine.poll_action() {
            self.act(index, action)?;
        }
        Ok(())
    }

    fn act(&mut self, index: NodeIndex, action: Action) -> Result<(), WorldError> {
        match action {
            Action::Dial { dial, peer, .. } => self.dial(index, dial, peer),
            Action::Send { conn, lane, frame } => {
                if let Some(wire) = self.wires.get(&conn) {
                    let link = (index, wire.far(index), lane);
                    self.links.entry(link).or_default().push_back((conn, frame));
                }
                Ok(())
            }
            Action::Close { conn, reason, .. } => {
                self.closed.push(reason);
                self.disconnect(conn)
            }
            Action::Ask { request, ask } => {
                let now = self.now();
                let node = self.node(index)?;
                let answer = node.replica.answer(now, ask);
                node.dirty = true;
                for event in node.told() {
                    node.engine.handle(now, event);
                }
                node.engine.handle(now, Event::Answer { request, answer });
                Ok(())
            }
            Action::Notify(_) | Action::Greeted { .. } | Action::HoldBack { .. } | Action::GoOn { .. } => {
                Ok(())
            }
        }
    }

    fn dial(&mut self, from: NodeIndex, dial: crate::sync::DialId, peer: PeerId) -> Result<(), WorldError> {
        let to = self.nodes.iter().position(|node| node.peer == peer).map(NodeIndex);
        let Some(to) = to else {
            let reason = "unreachable".to_owned();
            self.node(from)?.engine_later.push_back(Event::DialFailed { dial, reason });
            return self.later(from);
        };
        self.conns += 1;
        let (conn, exporter) = (ConnId(self.conns), [self.conns as u8; 32]);
        self.wires.insert(conn, Wire { dialer: from, acceptor: to });
        let me = self.peer(from)?;
        let accepted = Event::Connected { conn, peer: me, side: Side::Acceptor, exporter };
        let connected = Event::Connected { conn, peer, side: Side::Dialer, exporter };
        self.node(from)?.engine_later.push_back(connected);
        self.handle(to, accepted)?;
        self.later(from)
    }

    /// Hands over what came of an action while the actions were being carried out.
    fn later(&mut self, index: NodeIndex) -> Result<(), WorldError> {
        let now = self.now();
        let node = self.node(index)?;
        while let Some(event) = node.engine_later.pop_front() {
            node.engine.handle(now, event);
        }
        Ok(())
    }

    fn deliver(&mut self, link: Link) -> Result<(), WorldError> {
        let Some((conn, bytes)) = self.links.get_mut(&link).and_then(VecDeque::pop_front) else {
            return Ok(());
        };
        self.handle(link.1, Event::Frame { conn, bytes })
    }

    /// Ends a connection on both sides.
    fn disconnect(&mut self, conn: ConnId) -> Result<(), WorldError> {
        let Some(wire) = self.wires.remove(&conn) else { return Ok(()) };
        self.forget(conn);
        for index in [wire.dialer, wire.acceptor] {
            self.handle(index, Event::Disconnected { conn, reason: "cut".to_owned() })?;
        }
        Ok(())
    }

    /// Drops the frames of a connection.
    fn forget(&mut self, conn: ConnId) {
        for frames in self.links.values_mut() {
            frames.retain(|(other, _)| *other != conn);
        }
    }

    fn now(&self) -> Now {
        Now { instant: self.instant, wall: Timestamp::from_unix_ms(0) }
    }

    fn space(&self) -> Result<SpaceId, WorldError> {
        self.space.ok_or_else(|| WorldError("no space was founded".to_owned()))
    }

    fn peer(&self, index: NodeIndex) -> Result<PeerId, WorldError> {
        self.nodes.get(index.0).map(|node| node.peer).ok_or_else(no_node)
    }

    fn node(&mut self, index: NodeIndex) -> Result<&mut Node, WorldError> {
        self.nodes.get_mut(index.0).ok_or_else(no_node)
    }

    fn replica(&mut self, index: NodeIndex) -> Result<&mut Replica, WorldError> {
        let node = self.node(index)?;
        node.dirty = true;
        Ok(&mut node.replica)
    }
}

fn no_node() -> WorldError {
    WorldError("no such node".to_owned())
}

fn collection<T: Entity>() -> Result<CollectionName, WorldError> {
    CollectionName::new(T::COLLECTION).map_err(WorldError::of)
}
