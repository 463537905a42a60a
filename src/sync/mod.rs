//! The engine: everything that decides what is said to whom and when, without a socket, a file or a clock.
//!
//! # The contract
//!
//! 1. The engine does nothing by itself. Call [`Engine::handle`] when something happened, and
//!    [`Engine::handle_timeout`] when the time that [`Engine::poll_timeout`] names has come.
//! 2. Drain [`Engine::poll_action`] to `None` after every call, and carry the actions out in their order.
//! 3. `now` never goes back.
//! 4. Every question ([`Action::Ask`]) has an id minted here; exactly one [`Event::Answer`] bears it.
//! 5. The same events at the same times give the same actions, byte for byte.
//!
//! # One space over one connection
//!
//! ```text
//! opening     both say their digests and version vectors, as they are on their disks
//!    |        digests equal: in sync, nothing else is said
//! feeding     each sends what the other lacks, in batches; new commits go ahead of them, one frame each, or
//!    |        several in one where the other is behind
//!    |        nothing left, everything acknowledged
//! checking    both compare digests again: equal is in sync
//!    |        vectors differ: tell them whole, and feed
//!    |        vectors equal, roots differ: the vectors lie
//! repairing   compare heads of all entities, then send what the clocks of the differing ones lack
//! ```
//!
//! The fingerprints are the truth; vectors are hints that may be lost or wrong. What is counted as sent is
//! forgotten with the connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::exchange::{Answer, Ask, RequestId};
use crate::id::{CollectionName, Interests, PeerId, Position, SpaceId};
use crate::limits::REQUEST_DEADLINE_MS;
use crate::metrics::Metrics;
use crate::time::{Instant, Now};

mod account;
mod ack;
mod action;
mod ahead;
mod budget;
mod check;
mod conn;
mod dial;
mod digest;
mod event;
mod fetch;
mod heads;
mod index;
mod interest;
mod introduce;
mod log;
mod mode;
mod neighbours;
mod opening;
mod repair;
mod rights;
mod schedule;
mod session;
#[cfg(feature = "sim")]
mod sizes;
mod ticket;
mod transfer;

#[cfg(test)]
mod tests;

pub(crate) use account::PeerCost;
pub(crate) use action::{Action, LastWords, Notice, PeerState};
pub(crate) use budget::Budget;
#[cfg(test)]
pub(crate) use budget::Rate;
pub(crate) use event::{Command, ConnId, DialId, Event, Lane, Side};
pub(crate) use fetch::FetchOutcome;
pub(crate) use mode::Mode;
#[cfg(feature = "sim")]
pub(crate) use sizes::Sizes;

use account::Account;
use ack::Undurable;
use conn::Conn;
use dial::Peer;
use digest::Base;
use schedule::Schedule;
use session::Session;
use ticket::Ticket;

/// Settings of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Waits before the second, third, ... attempt to reach a peer, in milliseconds; the last one repeats.
    pub(crate) backoff_ms: Vec<u64>,
    /// Attempts before a peer counts as failed; without end when absent.
    pub(crate) attempts_max: Option<u32>,
    /// This node is a hub.
    pub(crate) hub: bool,
    /// What each peer may cost in a time.
    pub(crate) budget: Budget,
    /// When the node is on the network.
    pub(crate) mode: Mode,
}

impl Default for Options {
    fn default() -> Self {
        let backoff_ms = vec![2_000, 4_000, 8_000, 16_000, 32_000];
        Self { backoff_ms, attempts_max: None, budget: Budget::default(), mode: Mode::Live, hub: false }
    }
}

/// The sans-IO engine of one node. See the [module](self) for its contract.
#[derive(Debug)]
pub(crate) struct Engine {
    me: PeerId,
    options: Options,
    metrics: Arc<Metrics>,
    now: Now,
    paused: bool,
    mode: Mode,
    /// When a node that syncs periodically reaches its peers again.
    next_round: Option<Instant>,
    next_id: u64,
    /// What is known of each local space.
    spaces: BTreeMap<SpaceId, Local>,
    conns: BTreeMap<ConnId, Conn>,
    /// One for each space that a connection opens. Every key's connection is in `conns`.
    sessions: BTreeMap<(ConnId, SpaceId), Session>,
    /// The connections that have a session of a space.
    opened: BTreeMap<SpaceId, BTreeSet<ConnId>>,
    /// Which session is fed next.
    schedule: Schedule,
    peers: BTreeMap<PeerId, Peer>,
    /// What those have cost who share a space. Bounded by `ACCOUNTS_MAX`.
    accounts: BTreeMap<PeerId, Account>,
    /// Questions without an answer yet, and what they are for.
    requests: BTreeMap<RequestId, Purpose>,
    /// Commits that are written here and not yet on disk, by position.
    undurable: VecDeque<Undurable>,
    durable: Position,
    /// The vectors on which a peer and this node last agreed.
    bases: BTreeMap<(PeerId, SpaceId), Base>,
    /// What peers wanted the last time, where that is not everything.
    interests: BTreeMap<(PeerId, SpaceId), Arc<Interests>>,
    tickets: Vec<Ticket>,
    /// Calls for documents. Bounded by `FETCHES_MAX`.
    fetches: Vec<fetch::Fetch>,
    /// Those that only wait for the disk.
    synced_fetches: Vec<fetch::Fetch>,
    /// The indexes that this node keeps. Bounded by `INDEX_FOLLOWED_MAX`.
    follows: BTreeMap<(SpaceId, CollectionName), index::Follow>,
    /// The ends of answers whose commits are being taken, by ticket.
    fetch_ends: BTreeMap<u64, crate::wire::FetchEnd>,
    actions: VecDeque<Action>,
}

/// What the engine keeps of a local space between questions.
#[derive(Clone, Debug)]
struct Local {
    membership: Arc<crate::access::Membership>,
    log: [u8; 16],
    interests: Arc<Interests>,
}

impl Local {
    /// Whether two devices both may read a collection.
    fn may_both(&self, one: &PeerId, other: &PeerId, collection: &CollectionName) -> bool {
        let may = |peer| self.membership.may(peer, crate::access::Action::Read, collection);
        may(one) && may(other)
    }
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The state that an opening tells.
    Opening(ConnId, SpaceId),
    /// The state that is compared.
    Check(ConnId, SpaceId, check::Say),
    /// The state whose vectors are told whole.
    Vectors(ConnId, SpaceId, check::Say),
    Receive(ConnId, SpaceId),
    Feed(ConnId, SpaceId),
    /// What a peer lacks of the entities of a commit made here.
    History(ConnId, SpaceId),
    /// The vectors on which this node and a peer last agreed, for an opening.
    Base(ConnId, SpaceId),
    Shorts(ConnId, SpaceId),
    Statements(ConnId, SpaceId, log::After),
    Learn(ConnId, SpaceId),
    Repair(ConnId, SpaceId),
    /// What is held of a collection, before documents are asked for.
    FetchHave(ConnId, SpaceId, u64),
    /// Documents for the peer.
    Fetch(ConnId, SpaceId),
    /// Documents that came.
    Fetched(ConnId, SpaceId, u64),
    /// What was fetched is on disk.
    FetchSynced(u64),
    Offered(ConnId, SpaceId),
    /// Which collections there are, of which the peer may want the index.
    IndexHere(ConnId, SpaceId),
    /// How an index of the peer differs.
    IndexTold(ConnId, SpaceId, u64),
    /// How far entities have come, for who follows an index.
    Versions(ConnId, SpaceId),
    /// Of which collections anything is listed here.
    IndexListed(ConnId, SpaceId),
    /// What is listed in an index of ours.
    IndexPrints(ConnId, SpaceId, u64),
    /// What differed in one was taken.
    IndexTaken(ConnId, SpaceId, u64),
    /// Changes of one were taken.
    IndexChanged(ConnId, SpaceId, u64),
    /// The statements that enrolled this device.
    Introduce(ConnId, SpaceId),
    /// Those that a stranger showed.
    Judge(ConnId, PeerId),
    Acked,
    Adopted,
}

impl Purpose {
    /// The session that the answer is for; absent where the answer is for nobody, or for who leaves.
    fn session(self) -> Option<(ConnId, SpaceId)> {
        match self {
            Self::Opening(conn, space)
            | Self::Check(conn, space, _)
            | Self::Vectors(conn, space, _)
            | Self::Receive(conn, space)
            | Self::Feed(conn, space)
            | Self::History(conn, space)
            | Self::Base(conn, space)
            | Self::Shorts(conn, space)
            | Self::Statements(conn, space, log::After::GoOn)
            | Self::Learn(conn, space)
            | Self::Repair(conn, space)
            | Self::FetchHave(conn, space, _)
            | Self::Fetch(conn, space)
            | Self::Fetched(conn, space, _)
            | Self::IndexHere(conn, space)
            | Self::IndexListed(conn, space)
            | Self::IndexTold(conn, space, _)
            | Self::Versions(conn, space)
            | Self::IndexPrints(conn, space, _)
            | Self::IndexTaken(conn, space, _)
            | Self::IndexChanged(conn, space, _)
            | Self::Offered(conn, space) => Some((conn, space)),
            Self::Statements(_, _, log::After::Part)
            | Self::Introduce(..)
            | Self::Judge(..)
            | Self::Acked
            | Self::Adopted
            | Self::FetchSynced(_) => None,
        }
    }
}

impl Engine {
    /// Makes the engine of the device `me`.
    pub(crate) fn new(me: PeerId, options: Options, metrics: Arc<Metrics>) -> Self {
        let mode = options.mode;
        Self {
            me,
            options,
            metrics,
            now: Now::default(),
            paused: false,
            mode,
            next_round: matches!(mode, Mode::Periodic { .. }).then(Instant::default),
            next_id: 0,
            spaces: BTreeMap::new(),
            conns: BTreeMap::new(),
            sessions: BTreeMap::new(),
            opened: BTreeMap::new(),
            schedule: Schedule::default(),
            peers: BTreeMap::new(),
            accounts: BTreeMap::new(),
            requests: BTreeMap::new(),
            undurable: VecDeque::new(),
            durable: Position::default(),
            bases: BTreeMap::new(),
            interests: BTreeMap::new(),
            tickets: Vec::new(),
            fetches: Vec::new(),
            synced_fetches: Vec::new(),
            follows: BTreeMap::new(),
            fetch_ends: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// Takes one event.
    pub(crate) fn handle(&mut self, now: Now, event: Event) {
        self.advance(now);
        match event {
            Event::SpaceChanged(state) => self.space_changed(state),
            Event::SpaceGone { space } => self.space_gone(space),
            Event::Stored { space, from, stored } => self.stored(space, from, stored),
            Event::Damaged { space } => self.damaged(space),
            Event::Clash { space, commits, to } => self.tell_clash(space, &commits, to),
            Event::Durable { upto } => self.became_durable(upto),
            Event::Answer { request, answer } => self.answered(request, answer),
            Event::Connected { conn, peer, side, exporter } => self.connected(conn, peer, side, exporter),
            Event::DialFailed { dial, reason } => self.dial_failed(dial, &reason),
            Event::Disconnected { conn, reason } => self.disconnected(conn, &reason),
            Event::Frame { conn, bytes } => {
                self.charge_frame(conn, bytes.len());
                self.frame(conn, &bytes);
            }
            Event::Command(command) => self.command(command),
        }
        self.settle_tickets();
        self.drive_fetches();
        self.drive_follows();
        self.rest();
    }

    /// Does what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
        self.expire_conns();
        self.go_on_due();
        self.dial_due();
        self.round_due();
        self.sessions_due();
        self.settle_tickets();
        self.drive_fetches();
        self.drive_follows();
        self.rest();
    }

    /// Returns when [`Engine::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let conns = self.conns.values().filter_map(Conn::due);
        let sessions = self.sessions.values().filter_map(Session::due);
        let peers = self.peers.values().filter_map(Peer::due);
        let tickets = self.tickets.iter().map(|ticket| self.ticket_due(ticket));
        let accounts = self.accounts.values().filter_map(Account::due);
        conns
            .chain(sessions)
            .chain(peers)
            .chain(tickets)
            .chain(accounts)
            .chain(self.mode_due())
            .chain(self.fetch_due())
            .chain(self.follow_due())
            .min()
    }

    /// Returns the next thing to do.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn advance(&mut self, now: Now) {
        debug_assert!(now.instant >= self.now.instant, "the steady clock never goes back");
        self.now = now;
    }

    fn mint(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn ask(&mut self, purpose: Purpose, ask: Ask) {
        let request = RequestId(self.mint());
        self.requests.insert(request, purpose);
        self.actions.push_back(Action::Ask { request, ask });
    }

    fn answered(&mut self, request: RequestId, answer: Answer) {
        let Some(purpose) = self.requests.remove(&request) else {
            return;
        };
        if let Purpose::Feed(conn, space) = purpose {
            self.schedule.read(conn, space);
        }
        self.answered_for(purpose, answer);
        self.hand_out();
    }

    fn answered_for(&mut self, purpose: Purpose, answer: Answer) {
        if let Answer::Failed(reason) = answer {
            return self.question_failed(purpose, &reason);
        }
        let parting = |key| self.sessions.get(&key).is_some_and(|session| session.parting);
        if purpose.session().is_some_and(parting) {
            // Asked while the space was still shared with the peer: it gets nothing of it any more.
            return;
        }
        match (purpose, answer) {
            (Purpose::Opening(conn, space), Answer::State(state)) => self.opening_ready(conn, space, state),
            (Purpose::Check(conn, space, say), Answer::State(Some(state))) => {
                self.check_ready(conn, space, say, state);
            }
            (Purpose::Vectors(conn, space, say), Answer::State(Some(state))) => {
                self.tell_vectors(conn, space, say, &state);
            }
            (
                Purpose::Receive(conn, space),
                Answer::Received { applied, duplicate, held, left_out, refused, reason, position },
            ) => {
                tracing::trace!(applied, duplicate, held = held.len(), refused, "commits taken");
                self.heed_held(conn, space, &held);
                self.received(conn, space, position, &left_out, refused, reason);
            }
            (Purpose::Feed(conn, space), Answer::Commits { commits, complete }) => {
                self.fed(conn, space, commits, complete);
            }
            (Purpose::History(conn, space), Answer::Commits { commits, complete }) => {
                self.push_history(conn, space, commits, complete);
            }
            (Purpose::Shorts(conn, space), Answer::StatementShorts(shorts)) => {
                self.tell_shorts(conn, space, shorts);
            }
            (Purpose::Statements(conn, space, after), Answer::Statements(statements)) => {
                self.send_statements(conn, space, statements, after);
            }
            (Purpose::Base(conn, space), Answer::Base(base)) => self.base_ready(conn, space, base),
            (Purpose::Offered(conn, space), Answer::Unheld(unheld)) => self.want(conn, space, unheld),
            (Purpose::Introduce(conn, space), Answer::Statements(statements)) => {
                self.tell_introduction(conn, space, statements);
            }
            (Purpose::Judge(conn, peer), Answer::Introduced(is_member)) => {
                self.introduced(conn, peer, is_member);
            }
            (Purpose::FetchHave(conn, space, ticket), Answer::State(Some(state))) => {
                self.send_fetch(conn, space, ticket, &state);
            }
            (Purpose::Fetch(conn, space), Answer::Fetched { commits, unknown, complete }) => {
                self.answer_fetch(conn, space, commits, unknown, complete);
            }
            (Purpose::Fetched(conn, space, ticket), answer) => self.fetched(conn, space, ticket, answer),
            (
                Purpose::IndexHere(conn, space)
                | Purpose::IndexListed(conn, space)
                | Purpose::IndexTold(conn, space, _)
                | Purpose::Versions(conn, space)
                | Purpose::IndexPrints(conn, space, _)
                | Purpose::IndexTaken(conn, space, _)
                | Purpose::IndexChanged(conn, space, _),
                answer,
            ) => self.index_answered(conn, space, purpose, answer),
            (Purpose::FetchSynced(ticket), _) => self.fetch_synced(ticket),
            (Purpose::Repair(conn, space), answer) => self.repair_answered(conn, space, answer),
            (Purpose::Learn(conn, _), Answer::Learned { new, offence }) => self.learned(conn, new, offence),
            // Learned is followed by SpaceChanged when it changed anything; a space that is gone has no session.
            (_, _) => {}
        }
    }

    /// A question that the store could not answer ends the conversation it was for; the store itself tells the
    /// app why.
    fn question_failed(&mut self, purpose: Purpose, reason: &str) {
        let ((Purpose::Statements(conn, _, _) | Purpose::Introduce(conn, _) | Purpose::Judge(conn, _), _)
        | (_, Some((conn, _)))) = (purpose, purpose.session())
        else {
            return;
        };
        self.close(conn, conn::CODE_STORE, &format!("the store could not answer: {reason}"));
    }

    fn deadline(&self) -> Instant {
        self.now.instant.plus_ms(REQUEST_DEADLINE_MS)
    }
}
