//! The engine's task: it feeds events to the engine and performs its actions, one call each.
//!
//! It never waits for anything but its own inputs, so it always empties the queue that the storage thread
//! fills. Questions that find the storage queue full wait here, and while many wait, nothing more is read
//! from peers.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::debug;

use crate::exchange::{Ask, RequestId};
use crate::id::PeerId;
use crate::limits::{ASKS_WAITING_MAX, CONNECTIONS_MAX, INBOUND_FRAMES_MAX, JOINS_MAX};
use crate::net::{Connection, Endpoint, Protocol, Side};
use crate::sync::{self, Action, Command, ConnId, DialId, Engine, Event, Lane, LastWords, Notice, PeerCost};

use super::clock::{Clock, within};
use super::connection::{Inward, Line, dial};
use super::feed::Feed;
use super::join;
use super::storage::{Place, Storage};

/// Longest wait for peers to hear that this node goes away, in milliseconds.
const FAREWELL_MS: u64 = 1_000;

/// What the engine's task is given.
pub(crate) struct Setup {
    pub(crate) engine: Engine,
    pub(crate) clock: Clock,
    pub(crate) endpoint: Endpoint,
    pub(crate) storage: Storage,
    pub(crate) feed: Feed,
    /// What the storage thread tells.
    pub(crate) told: mpsc::Receiver<Event>,
    /// What the app wants. When the last sender is gone, the task ends.
    pub(crate) orders: mpsc::Receiver<Order>,
}

/// What the app wants of the engine's task.
#[derive(Debug)]
pub(crate) enum Order {
    /// For the engine.
    Command(Command),
    /// Tell what peers have cost.
    Costs { answer: oneshot::Sender<Vec<PeerCost>> },
    /// Close all connections and end.
    Close { done: oneshot::Sender<()> },
}

/// Runs until the app closes the node or drops it.
pub(crate) async fn run(setup: Setup) {
    let Setup { engine, clock, endpoint, storage, feed, told, orders } = setup;
    let (inward, arrivals) = mpsc::channel(INBOUND_FRAMES_MAX);
    let task = Task {
        engine,
        clock,
        endpoint,
        storage,
        feed,
        inward,
        asks: VecDeque::new(),
        lines: BTreeMap::new(),
        next_conn: 0,
        tasks: JoinSet::new(),
        joins: JoinSet::new(),
        closing: JoinSet::new(),
    };
    task.run(told, orders, arrivals).await;
}

struct Task {
    engine: Engine,
    clock: Clock,
    endpoint: Endpoint,
    storage: Storage,
    feed: Feed,
    inward: mpsc::Sender<Inward>,
    /// Questions that wait for a place in the storage queue.
    asks: VecDeque<(RequestId, Ask)>,
    lines: BTreeMap<ConnId, Line>,
    next_conn: u64,
    /// Dials, readers and writers.
    tasks: JoinSet<()>,
    joins: JoinSet<()>,
    /// Connections that are being closed.
    closing: JoinSet<()>,
}

impl Task {
    async fn run(
        mut self,
        mut told: mpsc::Receiver<Event>,
        mut orders: mpsc::Receiver<Order>,
        mut arrivals: mpsc::Receiver<Inward>,
    ) {
        let storage = self.storage.clone();
        let endpoint = self.endpoint.clone();
        let mut accepting = true;
        let done = loop {
            self.drive();
            let wake = self.engine.poll_timeout();
            let reading = self.asks.len() < ASKS_WAITING_MAX;
            tokio::select! {
                place = storage.place(), if !self.asks.is_empty() => match place {
                    Some(place) => self.ask(place),
                    // The storage is gone, and nothing can be answered any more.
                    None => break None,
                },
                Some(event) = told.recv() => self.handle(event),
                order = orders.recv() => match order {
                    Some(Order::Command(command)) => self.handle(Event::Command(command)),
                    Some(Order::Costs { answer }) => {
                        let _caller_gone = answer.send(self.engine.costs(self.clock.now()));
                    }
                    Some(Order::Close { done }) => break Some(done),
                    None => break None,
                },
                Some(arrival) = arrivals.recv(), if reading => self.arrived(arrival),
                accepted = endpoint.accept(), if accepting => match accepted {
                    Some(connection) => self.accepted(connection),
                    None => accepting = false,
                },
                () = self.clock.sleep_until(wake) => {}
            }
            while self.tasks.try_join_next().is_some() {}
            while self.joins.try_join_next().is_some() {}
            while self.closing.try_join_next().is_some() {}
        };
        self.end(done).await;
    }

    /// Lets the engine do what is due, and performs all that it wants done.
    fn drive(&mut self) {
        let now = self.clock.now();
        if self.engine.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.engine.handle_timeout(now);
        }
        while let Some(action) = self.engine.poll_action() {
            self.perform(action);
        }
    }

    fn handle(&mut self, event: Event) {
        self.engine.handle(self.clock.now(), event);
        while let Some(action) = self.engine.poll_action() {
            self.perform(action);
        }
    }

    fn ask(&mut self, place: Place<'_>) {
        if let Some((request, ask)) = self.asks.pop_front() {
            place.ask(request, ask);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial { dial, peer, addresses } => self.dial(dial, peer, addresses),
            Action::Send { conn, lane, frame } => self.send(conn, lane, frame),
            Action::Greeted { conn } => self.greeted(conn),
            Action::HoldBack { conn } => self.hold_back(conn, true),
            Action::GoOn { conn } => self.hold_back(conn, false),
            Action::Close { conn, last_words, code, reason } => self.close(conn, last_words, code, reason),
            Action::Ask { request, ask } => self.asks.push_back((request, ask)),
            Action::Notify(notice) => self.notify(notice),
        }
    }

    fn dial(&mut self, id: DialId, peer: PeerId, addresses: Vec<String>) {
        let (endpoint, inward) = (self.endpoint.clone(), self.inward.clone());
        self.tasks.spawn(async move {
            let result = dial(&endpoint, peer, &addresses, Protocol::Sync).await;
            let _engine_gone = inward.send(Inward::Dialled { dial: id, result }).await;
        });
    }

    fn send(&self, conn: ConnId, lane: Lane, frame: Vec<u8>) {
        if let Some(line) = self.lines.get(&conn) {
            line.send(lane, frame);
        }
    }

    fn greeted(&self, conn: ConnId) {
        if let Some(line) = self.lines.get(&conn) {
            line.greeted();
        }
    }

    fn hold_back(&self, conn: ConnId, held: bool) {
        if let Some(line) = self.lines.get(&conn) {
            debug!(peer = %line.peer().short(), held, "holding a peer back");
            line.hold_back(held);
        }
    }

    fn close(&mut self, conn: ConnId, last_words: LastWords, code: u32, reason: String) {
        if let Some(line) = self.lines.remove(&conn) {
            debug!(peer = %line.peer().short(), code, reason, "closing a connection");
            self.closing.spawn(line.close(last_words, code, reason));
        }
    }

    /// The storage thread tells of `Stored`, once it has noted what is.
    fn notify(&self, notice: Notice) {
        if !matches!(notice, Notice::Stored { .. }) {
            self.feed.notice(notice);
        }
    }

    fn arrived(&mut self, arrival: Inward) {
        match arrival {
            Inward::Event(event) => self.event(event),
            Inward::Dialled { dial, result: Ok(connection) } => self.connected(connection, Some(dial)),
            Inward::Dialled { dial, result: Err(reason) } => self.handle(Event::DialFailed { dial, reason }),
        }
    }

    /// What a connection's tasks tell. Of a connection that the engine has closed it hears nothing more.
    fn event(&mut self, event: Event) {
        let conn = match &event {
            Event::Frame { conn, .. } | Event::Disconnected { conn, .. } => *conn,
            Event::SpaceChanged(_)
            | Event::SpaceGone { .. }
            | Event::Stored { .. }
            | Event::Damaged { .. }
            | Event::Clash { .. }
            | Event::Durable { .. }
            | Event::Answer { .. }
            | Event::Connected { .. }
            | Event::DialFailed { .. }
            | Event::Command(_) => return,
        };
        if !self.lines.contains_key(&conn) {
            return;
        }
        if matches!(event, Event::Disconnected { .. }) {
            self.lines.remove(&conn);
        }
        self.handle(event);
    }

    fn accepted(&mut self, connection: Connection) {
        match connection.protocol() {
            Protocol::Sync => self.connected(connection, None),
            Protocol::Join if self.joins.len() < JOINS_MAX => {
                self.joins.spawn(join::serve(connection, self.storage.clone()));
            }
            Protocol::Join => connection.close(0, "too many devices are joining, try again"),
        }
    }

    fn connected(&mut self, connection: Connection, dial: Option<DialId>) {
        if self.lines.len() >= CONNECTIONS_MAX {
            connection.close(0, "this node has all the connections it takes");
            if let Some(dial) = dial {
                let reason = format!("this node has {CONNECTIONS_MAX} connections");
                self.handle(Event::DialFailed { dial, reason });
            }
            return;
        }
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let (peer, exporter) = (connection.peer(), connection.exporter());
        let side = match connection.side() {
            Side::Dialer => sync::Side::Dialer,
            Side::Acceptor => sync::Side::Acceptor,
        };
        let line = Line::start(&mut self.tasks, conn, connection, &self.inward);
        self.lines.insert(conn, line);
        self.handle(Event::Connected { conn, peer, side, exporter });
    }

    /// Says goodbye to peers, shortly, and ends all tasks.
    async fn end(mut self, done: Option<oneshot::Sender<()>>) {
        self.handle(Event::Command(Command::Pause));
        let farewell = async {
            while self.closing.join_next().await.is_some() {}
            self.endpoint.close().await;
        };
        let _peers_heard_or_late = within(FAREWELL_MS, farewell).await;
        self.tasks.shutdown().await;
        self.joins.shutdown().await;
        self.closing.shutdown().await;
        if let Some(done) = done {
            let _caller_gone = done.send(());
        }
    }
}
