//! The storage thread: the one owner of the replica, and its group commit.
//!
//! Requests wait in a bounded queue. The thread performs all that wait, up to a limit, one after the other;
//! each is *written* and visible when it is done. Then one sync makes all of them *synced*, and only then
//! those who asked for that are answered. Answers to the engine leave before the sync, because a change may
//! travel before it is on disk here; `Event::Durable` follows it.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::access::Membership;
use crate::doc::{Conflict, Kind};
use crate::exchange::{Answer, Ask, RequestId, SpaceState};
use crate::id::{CollectionName, EntityId, Origin, PeerId, Position, SpaceId};
use crate::limits::{CROWD_LATE_MS, GROUP_COMMITS_MAX, STORAGE_QUEUE_MAX};
use crate::metrics::Metrics;
use crate::replica::{DamagedEntity, Reader, Replica, ReplicaError, RowChange, Told};
use crate::sync::{Event, Notice};
use crate::time::Now;

use super::clock::Clock;
use super::error::DriverError;
use super::feed::{ChangedRow, Feed, Happening};

#[cfg(test)]
mod tests;
mod wait;

use wait::Waited;

/// When a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// When it is done. For calls that only read.
    Read,
    /// When it is done and visible. A kill before the sync that follows loses it.
    Written,
    /// When it survives a kill and a loss of power.
    Synced,
}

/// What a call may use while the storage thread performs it.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) replica: &'a mut Replica,
    pub(crate) feed: &'a Feed,
    pub(crate) now: Now,
    kinds: &'a mut BTreeMap<CollectionName, u32>,
    failed: Option<&'a ReplicaError>,
}

impl Turn<'_> {
    /// Makes a type known to the replica, once.
    pub(crate) fn register(&mut self, kind: &Arc<dyn Kind>) -> Result<(), ReplicaError> {
        if self.kinds.get(kind.collection()) != Some(&kind.version()) {
            self.replica.register(Arc::clone(kind))?;
            self.kinds.insert(kind.collection().clone(), kind.version());
        }
        Ok(())
    }
}

/// Performs one call; returns what is left to do after the sync.
type Call = Box<dyn FnOnce(&mut Turn<'_>) -> Option<Waiter> + Send>;
type Waiter = Box<dyn FnOnce(Result<(), ReplicaError>) + Send>;

enum Request {
    Ask { request: RequestId, ask: Ask },
    Call { call: Call, until: Until },
    Close { done: oneshot::Sender<Result<(), ReplicaError>> },
}

/// The queue of the storage thread. Cheap to clone; the thread ends when the last clone is gone, or on
/// `close`.
#[derive(Clone)]
pub(crate) struct Storage {
    requests: mpsc::Sender<Request>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("free", &self.requests.capacity()).finish()
    }
}

/// A place in the queue, for one question of the engine.
pub(crate) struct Place<'a>(mpsc::Permit<'a, Request>);

impl Place<'_> {
    pub(crate) fn ask(self, request: RequestId, ask: Ask) {
        self.0.send(Request::Ask { request, ask });
    }
}

/// What the storage thread is given.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) clock: Clock,
    pub(crate) feed: Feed,
    pub(crate) metrics: Arc<Metrics>,
    /// Where the engine listens. The thread waits when it is full; the engine always empties it.
    pub(crate) told: mpsc::Sender<Event>,
    /// Whether a space is erased when this device is removed from it.
    pub(crate) erase_when_removed: bool,
}

impl Storage {
    /// Starts the thread, which first runs `open`, and waits until it is open.
    ///
    /// # Errors
    ///
    /// What `open` says, and [`DriverError::StorageLost`] when the thread could not start or panicked.
    pub(crate) async fn start<T: Send + 'static>(
        setup: Setup,
        open: impl FnOnce(Now, Arc<Metrics>) -> Result<(Replica, T), DriverError> + Send + 'static,
    ) -> Result<(Self, Reader, T), DriverError> {
        let (requests, queue) = mpsc::channel(STORAGE_QUEUE_MAX);
        let (opened, opening) = oneshot::channel();
        let thread = std::thread::Builder::new().name("driftless-storage".to_owned());
        let spawned = thread.spawn(move || {
            let now = setup.clock.now();
            match open(now, Arc::clone(&setup.metrics)) {
                Ok((replica, extra)) => {
                    let reader = replica.reader();
                    let mut thread = Thread::new(setup, replica, queue);
                    thread.introduce();
                    if opened.send(Ok((reader, extra))).is_ok() {
                        thread.run();
                    }
                    thread.end();
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        spawned.map_err(|error| {
            warn!(%error, "the storage thread could not be started");
            DriverError::StorageLost
        })?;
        let (reader, extra) = opening.await.map_err(|_| DriverError::StorageLost)??;
        Ok((Self { requests }, reader, extra))
    }

    /// Performs `call` on the storage thread and returns its result, when it has the durability asked for.
    ///
    /// Dropping the future does not undo the call: it may have been performed, or may be later.
    ///
    /// # Errors
    ///
    /// What the call or the sync says; [`DriverError::Closed`] when the node is closed.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        until: Until,
        call: impl FnOnce(&mut Turn<'_>) -> Result<T, ReplicaError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |turn| {
            let result = match turn.failed {
                Some(error) if until != Until::Read => Err(error.clone()),
                Some(_) | None => call(turn),
            };
            if until == Until::Synced && result.is_ok() {
                return Some(Box::new(move |synced| drop(answer.send(synced.and(result)))));
            }
            drop(answer.send(result));
            None
        });
        self.requests.send(Request::Call { call, until }).await.map_err(|_| DriverError::Closed)?;
        Ok(answered.await.map_err(|_| DriverError::StorageLost)??)
    }

    /// Waits for a place in the queue. Cancel safe.
    pub(crate) async fn place(&self) -> Option<Place<'_>> {
        self.requests.reserve().await.ok().map(Place)
    }

    /// Performs what waits, syncs, closes the replica and ends the thread.
    ///
    /// # Errors
    ///
    /// What the store says. Closing a closed storage does nothing.
    pub(crate) async fn close(&self) -> Result<(), DriverError> {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close { done }).await.is_err() {
            return Ok(());
        }
        Ok(closed.await.map_err(|_| DriverError::StorageLost)??)
    }
}

/// The thread's own state.
struct Thread {
    setup: Setup,
    replica: Replica,
    reader: Reader,
    queue: mpsc::Receiver<Request>,
    kinds: BTreeMap<CollectionName, u32>,
    /// Something was written since the last sync.
    dirty: bool,
    waiters: Vec<Waiter>,
    failed: Option<ReplicaError>,
    closing: Vec<oneshot::Sender<Result<(), ReplicaError>>>,
}

impl Thread {
    fn new(setup: Setup, replica: Replica, queue: mpsc::Receiver<Request>) -> Self {
        let reader = replica.reader();
        Self {
            setup,
            replica,
            reader,
            queue,
            kinds: BTreeMap::new(),
            dirty: false,
            waiters: Vec::new(),
            failed: None,
            closing: Vec::new(),
        }
    }

    /// Notes the memberships of the spaces that are here, before anybody can ask for them.
    fn introduce(&self) {
        for space in self.replica.spaces() {
            if let Some(membership) = self.replica.membership(&space) {
                self.setup.feed.member(space, membership);
            }
        }
    }

    fn run(&mut self) {
        self.open_spaces();
        while self.closing.is_empty() {
            let mut performed = 0;
            match self.wait() {
                Waited::Request(first) => {
                    self.perform(first);
                    performed = 1;
                }
                Waited::Due => {}
                Waited::Ended => break,
            }
            while performed < GROUP_COMMITS_MAX
                && let Ok(next) = self.queue.try_recv()
            {
                self.perform(next);
                performed += 1;
            }
            self.sync();
            self.housekeep();
        }
    }

    /// Waits for a request, and no longer than until something is due that nobody waits for.
    fn wait(&mut self) -> Waited<Request> {
        let Some(due) = self.replica.due().filter(|_| self.failed.is_none()) else {
            return self.queue.blocking_recv().map_or(Waited::Ended, Waited::Request);
        };
        let clock = self.setup.clock;
        wait::until(&mut self.queue, || Duration::from_millis(due.ms_since(clock.now().instant)))
    }

    /// Tells whether something has been due for long: whoever never lets the queue run empty must not keep it from being done.
    fn is_late(&self) -> bool {
        let late = self.replica.due().map(|due| due.plus_ms(CROWD_LATE_MS));
        late.is_some_and(|late| late <= self.setup.clock.now().instant)
    }

    /// Tidies up while nobody waits. What that makes count, or ends, is synced as if somebody had asked for it.
    fn housekeep(&mut self) {
        let before = self.replica.position();
        self.tidy();
        if self.replica.position() != before {
            self.dirty = true;
            self.sync();
        }
    }

    fn tidy(&mut self) {
        while self.failed.is_none() && (self.queue.is_empty() || self.is_late()) {
            match self.replica.housekeep(self.setup.clock.now()) {
                Ok(true) => self.dirty = true,
                Ok(false) => {
                    self.forward();
                    return;
                }
                Err(error) => self.fail(error),
            }
            self.forward();
        }
    }

    /// Tells the engine of every space, once: those that opening did not speak of are asked for.
    fn open_spaces(&mut self) {
        let told = self.forward();
        for space in self.replica.spaces().into_iter().filter(|space| !told.contains(space)) {
            let now = self.setup.clock.now();
            if let Answer::State(Some(state)) = self.replica.answer(now, Ask::State { space }) {
                self.tell_engine(Event::SpaceChanged(state));
            }
        }
    }

    fn perform(&mut self, request: Request) {
        match request {
            Request::Ask { request, ask } => self.answer(request, ask),
            Request::Call { call, until } => self.call(call, until),
            Request::Close { done } => self.closing.push(done),
        }
    }

    fn answer(&mut self, request: RequestId, ask: Ask) {
        if self.dirty && matches!(ask, Ask::State { .. }) {
            // What a peer is told of the state counts as an acknowledgement.
            self.sync();
        }
        self.dirty |= writes(&ask);
        let acked = if let Ask::Acked { space, peer, .. } = &ask { Some((*space, *peer)) } else { None };
        let answer = match &self.failed {
            Some(error) => Answer::Failed(error.to_string()),
            None => self.replica.answer(self.setup.clock.now(), ask),
        };
        self.forward();
        if let Some((space, peer)) = acked {
            // Here and not when the engine says it: receipts look the acknowledgement up when they hear of it.
            self.setup.feed.notice(Notice::Stored { space, peer });
        }
        self.tell_engine(Event::Answer { request, answer });
    }

    /// A call may run code of the app. Its panic ends the call, whose caller sees its answer go missing, not
    /// the thread.
    fn call(&mut self, call: Call, until: Until) {
        let now = self.setup.clock.now();
        let mut turn = Turn {
            replica: &mut self.replica,
            feed: &self.setup.feed,
            now,
            kinds: &mut self.kinds,
            failed: self.failed.as_ref(),
        };
        match catch_unwind(AssertUnwindSafe(|| call(&mut turn))) {
            Ok(waiter) => self.waiters.extend(waiter),
            Err(_) => error!("a call panicked on the storage thread"),
        }
        self.dirty |= until != Until::Read;
        self.forward();
    }

    /// Makes everything durable that was written, then answers those who waited for it.
    fn sync(&mut self) {
        let synced = match (&self.failed, self.dirty) {
            (Some(error), _) => Err(error.clone()),
            (None, false) => Ok(None),
            (None, true) => self.replica.sync().map(Some),
        };
        self.dirty = false;
        self.forward();
        match &synced {
            Ok(Some(upto)) => self.tell_engine(Event::Durable { upto: *upto }),
            Ok(None) => {}
            Err(error) => self.fail(error.clone()),
        }
        let synced = synced.map(|_: Option<Position>| ());
        for waiter in self.waiters.drain(..) {
            waiter(synced.clone());
        }
    }

    /// A store whose sync failed cannot say any more what is on disk: nothing is promised after that.
    fn fail(&mut self, error: ReplicaError) {
        if self.failed.is_none() {
            error!(%error, "the store failed and must be opened again");
            self.failed = Some(error);
        }
    }

    /// Notes a membership and tells of it.
    fn membership(&mut self, state: &SpaceState) {
        let (space, me) = (state.space, self.replica.peer());
        let belongs = |membership: &Membership| membership.role(&me).is_some();
        let before = self.setup.feed.membership(&space).is_some_and(|before| belongs(&before));
        let now = belongs(&state.membership);
        self.setup.feed.member(space, Arc::clone(&state.membership));
        self.setup.feed.tell(Happening::Members { space });
        if before && !now {
            self.setup.feed.tell(Happening::Removed { space });
        }
        if !now && self.setup.erase_when_removed && self.replica.membership(&space).is_some() {
            if let Err(error) = self.replica.erase(space) {
                warn!(space = %space.short(), %error, "a space that this device was removed from was not erased");
            }
            self.dirty = true;
        }
    }

    /// Passes on what the replica has to tell; returns the spaces whose state it told.
    fn forward(&mut self) -> Vec<SpaceId> {
        let mut spaces = Vec::new();
        // What is told may lead to more.
        let mut all: VecDeque<Told> = self.replica.drain().into();
        while let Some(told) = all.pop_front() {
            match told {
                Told::Stored { space, from, stored } => {
                    self.tell_engine(Event::Stored { space, from, stored });
                }
                Told::SpaceChanged(state) => {
                    spaces.push(state.space);
                    self.membership(&state);
                    self.tell_engine(Event::SpaceChanged(state));
                    all.extend(self.replica.drain());
                }
                Told::JoinRequested { space, applicant } => {
                    self.setup.feed.tell(Happening::JoinRequested { space, applicant: Arc::new(applicant) });
                }
                Told::SpaceGone { space } => {
                    spaces.push(space);
                    self.setup.feed.gone(&space);
                    self.tell_engine(Event::SpaceGone { space });
                }
                Told::InterestChanged(state) => self.tell_engine(Event::SpaceChanged(state)),
                Told::Changed { space, from, entities, .. } => self.changed(space, from, entities),
                Told::Damaged { space, entities } => {
                    self.tell_engine(Event::Damaged { space });
                    for DamagedEntity { collection, entity, only_here } in entities {
                        let told = Happening::Damaged { space, collection, entity, only_here };
                        self.setup.feed.tell(told);
                    }
                }
                Told::Repaired { space, collection, entity, from } => {
                    self.setup.feed.tell(Happening::Repaired { space, collection, entity, from });
                }
                Told::Indexed { space, collection } => {
                    self.setup.feed.tell(Happening::Indexed { space, collection });
                }
                Told::Clash { space, commits, to } => {
                    self.tell_engine(Event::Clash { space, commits, to });
                }
                Told::Expired { space, dropped } => {
                    self.tell_engine(Event::Damaged { space });
                    for (author, reason, commits) in dropped {
                        self.setup.feed.tell(Happening::Expired { space, author, commits, reason });
                    }
                }
                Told::TakenBack { space, author, commits, reason } => {
                    self.setup.feed.tell(Happening::TakenBack { space, author, commits, reason });
                }
                Told::Conflict { space, collection, entity, conflict } => {
                    self.conflict(space, collection, entity, conflict);
                }
            }
        }
        spaces
    }

    /// Tells subscribers of changed rows, with their values. Without subscribers nothing is read.
    fn changed(
        &self,
        space: SpaceId,
        from: Option<PeerId>,
        entities: Vec<(CollectionName, EntityId, RowChange)>,
    ) {
        if !self.setup.feed.is_heard() {
            return;
        }
        let rows = entities.into_iter().map(|(collection, entity, change)| {
            let row = match change {
                RowChange::Deleted | RowChange::Damaged => None,
                RowChange::Inserted | RowChange::Updated | RowChange::Restored | RowChange::Repaired => {
                    match self.reader.row(&space, &collection, &entity) {
                        Ok(row) => row.map(Arc::from),
                        Err(error) => {
                            warn!(%error, %collection, "a changed row could not be read");
                            None
                        }
                    }
                }
            };
            ChangedRow { collection, entity, change, row }
        });
        let rows: Arc<[ChangedRow]> = rows.collect();
        self.setup.feed.tell(Happening::Changed { space, from, rows });
    }

    fn conflict(&mut self, space: SpaceId, collection: CollectionName, entity: EntityId, conflict: Conflict) {
        if self.setup.feed.is_heard() {
            let now = self.setup.clock.now();
            let origins = origins(&mut self.replica, now, space, &collection).into();
            let conflict = Arc::new(conflict);
            self.setup.feed.tell(Happening::Conflict { space, collection, entity, conflict, origins });
        }
    }

    fn tell_engine(&self, event: Event) {
        // The engine ends before the storage does; what it is not there to hear it asks for when it starts.
        let _engine_gone = self.setup.told.blocking_send(event);
    }

    /// The end, polite or not: what was accepted is performed and synced.
    fn end(&mut self) {
        self.queue.close();
        while let Ok(request) = self.queue.try_recv() {
            self.perform(request);
        }
        self.sync();
        let closed = match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.replica.close(),
        };
        if let Err(error) = &closed {
            warn!(%error, "the store did not close cleanly");
        }
        for done in self.closing.drain(..) {
            drop(done.send(closed.clone()));
        }
    }
}

/// Returns who has commits in a collection.
pub(crate) fn origins(
    replica: &mut Replica,
    now: Now,
    space: SpaceId,
    collection: &CollectionName,
) -> Vec<Origin> {
    let Answer::State(Some(state)) = replica.answer(now, Ask::State { space }) else { return Vec::new() };
    let state = state.collections.get(collection);
    state.map(|state| state.vector.iter().map(|(origin, _)| *origin).collect()).unwrap_or_default()
}

/// Whether performing a question leaves something to sync. Notes of acknowledgements do not count: they are
/// hints that may be lost, and a sync for each would make every commit cost two.
fn writes(ask: &Ask) -> bool {
    match ask {
        Ask::Receive { .. }
        | Ask::TakeFetched { .. }
        | Ask::Adopt { .. }
        | Ask::TakeIndex { .. }
        | Ask::Learn { .. }
        | Ask::Introduce { .. }
        | Ask::Redeem { .. }
        | Ask::Revealed { .. }
        | Ask::Joined { .. } => true,
        Ask::State { .. }
        | Ask::Feed { .. }
        | Ask::History { .. }
        | Ask::Fetch { .. }
        | Ask::Heads { .. }
        | Ask::IndexTold { .. }
        | Ask::IndexPrints { .. }
        | Ask::Listed { .. }
        | Ask::Versions { .. }
        | Ask::Sketch { .. }
        | Ask::Compare { .. }
        | Ask::Resolve { .. }
        | Ask::Clocks { .. }
        | Ask::Lacking { .. }
        | Ask::StatementShorts { .. }
        | Ask::Statements { .. }
        | Ask::Unheld { .. }
        | Ask::Agreed { .. }
        | Ask::Met { .. }
        | Ask::Base { .. }
        | Ask::Enrolment { .. }
        | Ask::Removal { .. }
        | Ask::Acked { .. } => false,
    }
}
