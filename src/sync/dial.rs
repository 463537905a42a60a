//! Which peers to reach, when to try again, and what to tell the app about it.

use super::conn::{CODE_CLOSED, CODE_RESTS, CODE_RESTS_AND_WAITS};
use super::event::Command;
use super::{Action, ConnId, DialId, Engine, Notice, PeerState};
use crate::id::PeerId;
use crate::limits::{ANNOUNCED_ADDRESSES_MAX, FOUND_DIAL_MS, FOUND_PEERS_MAX, PEERS_MAX};
use crate::time::Instant;

/// What the engine knows of one peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Where it may be; present while the app wants a connection.
    addresses: Option<Vec<String>>,
    /// Where it was seen on the local network; tried first.
    found: Vec<String>,
    /// When it was last dialled because it was seen.
    found_at: Option<Instant>,
    state: PeerState,
    /// Attempts that failed in a row.
    attempt: u32,
    next_at: Option<Instant>,
    dial: Option<DialId>,
    /// It said that it rests between its syncs.
    rests: Option<Rests>,
    /// It turned this device away like a stranger: the next hello comes with an introduction.
    pub(super) introduces: bool,
    /// The connection that both sides have greeted each other on.
    conn: Option<ConnId>,
}

/// How a peer that rests is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rests {
    /// It comes by itself.
    AndComes,
    /// It waits to be reached, now and then.
    AndWaits,
}

impl Peer {
    fn new() -> Self {
        let state = PeerState::Disconnected { reason: "not reached yet".to_owned() };
        Self {
            addresses: None,
            found: Vec::new(),
            found_at: None,
            state,
            attempt: 0,
            next_at: None,
            dial: None,
            rests: None,
            introduces: false,
            conn: None,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.next_at
    }

    /// Where to reach it; nothing when a connection is not wanted.
    fn places(&self) -> Option<Vec<String>> {
        let wanted = self.addresses.is_some() || !self.found.is_empty();
        wanted.then(|| self.found.iter().chain(self.addresses.iter().flatten()).cloned().collect())
    }

    pub(super) fn is_dialing(&self) -> bool {
        self.dial.is_some()
    }
}

impl Engine {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::AddPeer { peer, addresses } => self.add_peer(peer, addresses),
            Command::Found { peer, addresses } => self.found(peer, addresses),
            Command::Lost { peer } => self.lost(peer),
            Command::RemovePeer { peer } => self.remove_peer(peer),
            Command::SyncNow { space, ticket } => self.draw_ticket(space, ticket),
            Command::Wake => self.woken(),
            Command::Fetch { space, collection, entities, ticket } => {
                self.begin_fetch(space, collection, entities, ticket);
            }
            Command::SetMode(mode) => self.set_mode(mode),
            Command::Pause => self.pause(),
            Command::Resume => {
                self.paused = false;
                self.woken();
            }
        }
    }

    fn add_peer(&mut self, peer: PeerId, addresses: Vec<String>) {
        if peer == self.me || (!self.peers.contains_key(&peer) && self.peers.len() >= PEERS_MAX) {
            return;
        }
        let entry = self.peers.entry(peer).or_insert_with(Peer::new);
        entry.addresses = Some(addresses);
        entry.attempt = 0;
        entry.rests = None;
        if self.dials_at_once() {
            self.dial(peer);
        }
    }

    /// A member says that it is near. It is reached by the same schedule as any other; saying so again and again
    /// begins an attempt each `FOUND_DIAL_MS` at most.
    fn found(&mut self, peer: PeerId, mut addresses: Vec<String>) {
        let (now, dials) = (self.now.instant, self.retries());
        let found = self.peers.values().filter(|entry| !entry.found.is_empty()).count();
        let new = self.peers.get(&peer).is_none_or(|entry| entry.found.is_empty());
        let full = new && (found >= FOUND_PEERS_MAX || self.peers.len() >= PEERS_MAX);
        if peer == self.me || addresses.is_empty() || full || self.shared_with(&peer).is_empty() {
            return;
        }
        addresses.truncate(ANNOUNCED_ADDRESSES_MAX);
        let entry = self.peers.entry(peer).or_insert_with(Peer::new);
        entry.found = addresses;
        // Between its rounds a node stays where it is, and leaves alone who says that it comes by itself.
        let rests = !dials || entry.rests == Some(Rests::AndComes);
        if rests || entry.conn.is_some() || entry.dial.is_some() {
            return;
        }
        let next = entry.found_at.map_or(now, |last| last.plus_ms(FOUND_DIAL_MS));
        if next <= now {
            entry.found_at = Some(now);
            self.dial(peer);
        } else {
            entry.next_at = Some(entry.next_at.map_or(next, |at| at.min(next)));
        }
    }

    fn lost(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        entry.found.clear();
        let idle = entry.conn.is_none() && entry.dial.is_none();
        if idle && entry.addresses.is_none() {
            self.forget(peer, "it is not on the local network any more".to_owned());
        }
    }

    fn remove_peer(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.remove(&peer) else {
            return;
        };
        if let Some(conn) = entry.conn {
            self.close(conn, CODE_CLOSED, "the peer was removed");
        }
        self.peers.remove(&peer);
        let state = PeerState::Disconnected { reason: "the peer was removed".to_owned() };
        self.actions.push_back(Action::Notify(Notice::Peer { peer, state }));
    }

    fn pause(&mut self) {
        self.paused = true;
        let open: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in open {
            self.close(conn, CODE_CLOSED, "the node is paused");
        }
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            if let Some(entry) = self.peers.get_mut(&peer) {
                entry.next_at = None;
            }
            self.set_state(peer, PeerState::Disconnected { reason: "the node is paused".to_owned() });
        }
    }

    /// Reaches every wanted peer at once, whatever its backoff says.
    pub(super) fn dial_all(&mut self) {
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            if let Some(entry) = self.peers.get_mut(&peer) {
                entry.attempt = 0;
                entry.rests = None;
            }
            self.dial(peer);
        }
    }

    pub(super) fn dial_due(&mut self) {
        let now = self.now.instant;
        let due = self.peers.iter().filter(|(_, entry)| entry.next_at.is_some_and(|at| at <= now));
        let due: Vec<PeerId> = due.map(|(peer, _)| *peer).collect();
        for peer in due {
            self.dial(peer);
        }
    }

    pub(super) fn introduces(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|entry| entry.introduces)
    }

    pub(super) fn dial(&mut self, peer: PeerId) {
        let dial = DialId(self.mint());
        let paused = self.paused;
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        entry.next_at = None;
        let Some(addresses) = entry.places() else {
            return;
        };
        let idle = !paused && entry.conn.is_none() && entry.dial.is_none();
        let attempt = entry.attempt;
        if let Some(retry_in_ms) = self.turned_away_ms(&peer).filter(|_| idle) {
            let again = self.now.instant.plus_ms(retry_in_ms);
            self.peers.entry(peer).and_modify(|entry| entry.next_at = Some(again));
            let reason = "this peer broke rules too often".to_owned();
            return self.set_state(peer, PeerState::Reconnecting { attempt, retry_in_ms, reason });
        }
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        if paused || entry.conn.is_some() || entry.dial.is_some() {
            return;
        }
        entry.dial = Some(dial);
        let first = entry.attempt == 0;
        self.actions.push_back(Action::Dial { dial, peer, addresses });
        if first {
            self.set_state(peer, PeerState::Connecting);
        }
    }

    pub(super) fn dial_failed(&mut self, dial: DialId, reason: &str) {
        let found = self.peers.iter().find(|(_, entry)| entry.dial == Some(dial)).map(|(peer, _)| *peer);
        if let Some(peer) = found {
            if let Some(entry) = self.peers.get_mut(&peer) {
                entry.dial = None;
            }
            self.metrics.dials_failed.add(1);
            self.retry(peer, reason);
        }
    }

    pub(super) fn dial_greeted(&mut self, peer: PeerId, conn: ConnId) {
        let entry = self.peers.entry(peer).or_insert_with(Peer::new);
        entry.conn = Some(conn);
        entry.dial = None;
        entry.introduces = false;
        entry.attempt = 0;
        entry.next_at = None;
        entry.rests = None;
        self.set_state(peer, PeerState::Connected);
    }

    pub(super) fn dial_disconnected(&mut self, peer: PeerId, conn: ConnId, reason: &str) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        if entry.conn == Some(conn) {
            entry.conn = None;
        } else if entry.conn.is_some() {
            // Another connection to the peer stays.
            return;
        }
        let others = self.conns.values().any(|other| other.peer == peer);
        if !others {
            entry.dial = None;
            self.retry(peer, reason);
        }
    }

    /// Plans the next attempt, or gives up.
    fn retry(&mut self, peer: PeerId, reason: &str) {
        let reason = reason.to_owned();
        let (now, retries) = (self.now.instant, self.retries());
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        if entry.conn.is_some() {
            return;
        }
        if entry.places().is_none() {
            return self.forget(peer, reason);
        }
        if self.paused {
            return self.set_state(peer, PeerState::Disconnected { reason: "the node is paused".to_owned() });
        }
        if !retries || entry.rests == Some(Rests::AndComes) {
            entry.next_at = None;
            return self.set_state(peer, PeerState::Disconnected { reason });
        }
        entry.attempt = entry.attempt.saturating_add(1);
        let attempt = entry.attempt;
        if self.options.attempts_max.is_some_and(|max| attempt >= max) {
            entry.next_at = None;
            return self.set_state(peer, PeerState::Failed { reason });
        }
        let waits = &self.options.backoff_ms;
        let last = waits.len().saturating_sub(1);
        let waits_long = entry.rests == Some(Rests::AndWaits);
        let index = if waits_long { last } else { (attempt as usize).saturating_sub(1).min(last) };
        let retry_in_ms = waits.get(index).copied().unwrap_or(0);
        entry.next_at = Some(now.plus_ms(retry_in_ms));
        self.set_state(peer, PeerState::Reconnecting { attempt, retry_in_ms, reason });
    }

    /// A peer that says that it rests is not reached again at once.
    pub(super) fn note_rest(&mut self, conn: ConnId, code: u64) {
        let rests = match u32::try_from(code) {
            Ok(CODE_RESTS) => Rests::AndComes,
            Ok(CODE_RESTS_AND_WAITS) => Rests::AndWaits,
            Ok(_) | Err(_) => return,
        };
        if let Some(entry) = self.peers.values_mut().find(|entry| entry.conn == Some(conn)) {
            entry.rests = Some(rests);
        }
    }

    pub(super) fn has_addresses(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|entry| entry.places().is_some())
    }

    /// A peer that only came to us, and is gone.
    fn forget(&mut self, peer: PeerId, reason: String) {
        self.set_state(peer, PeerState::Disconnected { reason });
        self.peers.remove(&peer);
    }

    fn set_state(&mut self, peer: PeerId, state: PeerState) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        if entry.state != state {
            entry.state = state.clone();
            self.actions.push_back(Action::Notify(Notice::Peer { peer, state }));
        }
    }

    pub(super) fn is_reaching(&self) -> bool {
        let greeting = self.conns.values().any(|conn| !conn.is_open());
        greeting || self.peers.values().any(Peer::is_dialing)
    }
}
