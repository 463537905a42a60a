//! What each peer has cost and how it has behaved, and what follows: it is heard, held back for a moment, or
//! turned away for a while.
//!
//! ```text
//! over a budget           held back: its connections are not read until the excess has drained away
//! breaks a rule           the connection is closed with the reason, and the score rises
//! score over the first    budgets refill at an eighth of their rate
//! score over the second   turned away, with the time after which it is heard again
//! ```
//!
//! The score fades with the steady clock, so that everybody is let in again. Slowness, silence and being apart
//! cost no score: only what no honest program says.

use super::budget::{self, Bucket, Budget, Rate};
use super::conn::{CODE_PROTOCOL, CODE_REFUSED};
use super::{Action, ConnId, Engine};
use crate::id::PeerId;
use crate::limits::{ACCOUNTS_MAX, SCORE_FADES_PER_MIN, SCORE_MAX, SCORE_OFFENCE, SCORE_READMIT, SCORE_SLOW};
use crate::time::{Instant, Now};
use crate::wire::Message;

/// By how much the rates of a peer with a score are divided.
const SLOWED: u64 = 8;
/// Parts of a point, so that a rate of points a minute is a whole number of parts a second.
const PARTS: u64 = 60;
const FADING: Rate = Rate { burst: 0, per_s: SCORE_FADES_PER_MIN as u64 };

/// What one peer has cost since the node was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerCost {
    pub(crate) peer: PeerId,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) commits: u64,
    /// Units of work that its questions took.
    pub(crate) work: u64,
    /// How often it was held back.
    pub(crate) held_back: u64,
    /// How often it broke a rule.
    pub(crate) offences: u64,
    /// What is left of the score for that.
    pub(crate) score: u32,
    /// How long it is turned away from here on, in milliseconds.
    pub(crate) turned_away_ms: Option<u64>,
}

/// The account of one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    bytes: Bucket,
    commits: Bucket,
    work: Bucket,
    pub(super) score: Bucket,
    /// The score has reached the second bound and not yet faded below the third.
    turned_away: bool,
    /// Its connections are not read until then.
    held_until: Option<Instant>,
    cost: Cost,
}

/// What is counted and never goes back.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    frames: u64,
    bytes: u64,
    commits: u64,
    work: u64,
    held_back: u64,
    offences: u64,
}

impl Account {
    pub(super) fn due(&self) -> Option<Instant> {
        self.held_until
    }

    fn score(&mut self, now: Instant) -> u32 {
        let points = self.score.spent(now, FADING).div_ceil(PARTS * 1_000);
        u32::try_from(points).unwrap_or(u32::MAX)
    }

    /// How long the peer is still turned away, in milliseconds.
    fn turned_away_ms(&mut self, now: Instant) -> Option<u64> {
        if !self.turned_away {
            return None;
        }
        let readmit = Rate { burst: u64::from(SCORE_READMIT) * PARTS, ..FADING };
        let until = self.score.excess_until(now, readmit);
        self.turned_away = until.is_some();
        until.map(|until| until.ms_since(now))
    }

    /// When the excess over all budgets has drained away; `None` when there is none.
    fn excess_until(&mut self, now: Instant, budget: &Budget) -> Option<Instant> {
        let budget = if self.score(now) >= SCORE_SLOW { budget.slowed(SLOWED) } else { *budget };
        let bytes = self.bytes.excess_until(now, budget.bytes);
        let commits = self.commits.excess_until(now, budget.commits);
        bytes.max(commits).max(self.work.excess_until(now, budget.work))
    }

    fn is_clean(&mut self, now: Instant, budget: &Budget) -> bool {
        self.bytes.spent(now, budget.bytes) == 0
            && self.commits.spent(now, budget.commits) == 0
            && self.work.spent(now, budget.work) == 0
            && self.score(now) == 0
    }
}

impl Engine {
    /// Counts a frame that arrived.
    pub(super) fn charge_frame(&mut self, conn: ConnId, bytes: usize) {
        self.charge(conn, |account, now, budget| {
            account.cost.frames += 1;
            account.cost.bytes += bytes as u64;
            account.bytes.spend(now, budget.bytes, bytes as u64);
        });
    }

    /// Counts what a message asks for.
    pub(super) fn charge_message(&mut self, conn: ConnId, message: &Message) {
        let (work, commits) = (budget::work_of(message), budget::commits_of(message));
        self.charge(conn, |account, now, budget| {
            account.cost.commits += commits;
            account.commits.spend(now, budget.commits, commits);
            account.cost.work += work;
            account.work.spend(now, budget.work, work);
        });
    }

    /// Counts what was looked up and sent because the peer says to lack it.
    pub(super) fn charge_repair(&mut self, conn: ConnId, bytes: usize) {
        let work = budget::work_of_bytes(bytes);
        self.charge(conn, |account, now, budget| {
            account.cost.work += work;
            account.work.spend(now, budget.work, work);
        });
    }

    /// Spends of an open connection's budgets, and holds the peer back when that is too much.
    fn charge(&mut self, conn: ConnId, spend: impl FnOnce(&mut Account, Instant, &Budget)) {
        let Some(peer) = self.conns.get(&conn).filter(|entry| entry.is_open()).map(|entry| entry.peer) else {
            return;
        };
        let (now, budget) = (self.now.instant, self.options.budget);
        let account = self.account(peer);
        spend(account, now, &budget);
        let Some(until) = account.excess_until(now, &budget) else {
            return;
        };
        if account.held_until.replace(until).is_none() {
            account.cost.held_back += 1;
            self.metrics.peers_held_back.add(1);
            self.each_conn(peer, |conn| Action::HoldBack { conn });
        }
    }

    /// The connection is open: a peer that is held back on another one is held back on this one too.
    pub(super) fn charge_greeted(&mut self, conn: ConnId, peer: PeerId) {
        if self.account(peer).held_until.is_some() {
            self.actions.push_back(Action::HoldBack { conn });
        }
    }

    /// Lets those go on whose excess has drained away. What they owe is due later by the time they were not heard.
    pub(super) fn go_on_due(&mut self) {
        let (now, budget) = (self.now.instant, self.options.budget);
        let due = |account: &Account| account.held_until.is_some_and(|until| until <= now);
        let due: Vec<PeerId> =
            self.accounts.iter().filter(|(_, account)| due(account)).map(|(peer, _)| *peer).collect();
        for peer in due {
            let Some(account) = self.accounts.get_mut(&peer) else {
                continue;
            };
            account.held_until = account.excess_until(now, &budget);
            if account.held_until.is_some() {
                continue;
            }
            let deadline = self.deadline();
            for session in self.sessions.values_mut().filter(|session| session.peer == peer) {
                session.deadline = session.deadline.map(|_| deadline);
            }
            self.each_conn(peer, |conn| Action::GoOn { conn });
        }
    }

    pub(super) fn is_held_back(&self, peer: &PeerId) -> bool {
        self.accounts.get(peer).is_some_and(|account| account.held_until.is_some())
    }

    /// Scores the reason for which a connection is closed, and returns what the peer is told. Strangers have no
    /// account: they are bounded by how few of them are heard at all.
    pub(super) fn judge(&mut self, peer: PeerId, code: u32, reason: &str) -> String {
        let known = self.accounts.contains_key(&peer)
            || self.spaces.keys().any(|space| self.is_shared(*space, &peer));
        if ![CODE_PROTOCOL, CODE_REFUSED].contains(&code) || !known {
            return reason.to_owned();
        }
        let (now, patience) = (self.now.instant, self.options.budget.patience);
        self.metrics.offences.add(1);
        let account = self.account(peer);
        account.cost.offences += 1;
        account.score.spend(now, FADING, u64::from(SCORE_OFFENCE) * PARTS);
        account.score.cap(u64::from(SCORE_MAX) * PARTS);
        account.turned_away |= account.score(now) >= patience;
        match account.turned_away_ms(now) {
            Some(ms) => format!("{reason}; it is heard again in {} s", ms.div_ceil(1_000)),
            None => reason.to_owned(),
        }
    }

    /// How long a peer is still turned away for what it did, in milliseconds.
    pub(super) fn turned_away_ms(&mut self, peer: &PeerId) -> Option<u64> {
        let now = self.now.instant;
        self.accounts.get_mut(peer)?.turned_away_ms(now)
    }

    /// What every peer has cost, in order of its id. Peers of long ago may be forgotten.
    pub(crate) fn costs(&self, now: Now) -> Vec<PeerCost> {
        let cost = |(peer, account): (&PeerId, &Account)| {
            let mut account = account.clone();
            let Cost { frames, bytes, commits, work, held_back, offences } = account.cost;
            let score = account.score(now.instant);
            let turned_away_ms = account.turned_away_ms(now.instant);
            let peer = *peer;
            PeerCost { peer, frames, bytes, commits, work, held_back, offences, score, turned_away_ms }
        };
        self.accounts.iter().map(cost).collect()
    }

    pub(super) fn account(&mut self, peer: PeerId) -> &mut Account {
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(&peer) {
            self.forget_an_account();
        }
        self.accounts.entry(peer).or_default()
    }

    /// Forgets one that nothing is held against, or else any whose peer is not connected.
    fn forget_an_account(&mut self) {
        let (now, budget) = (self.now.instant, self.options.budget);
        let connected: Vec<PeerId> = self.conns.values().map(|conn| conn.peer).collect();
        let mut away = self.accounts.iter_mut().filter(|(peer, _)| !connected.contains(peer)).peekable();
        let first = away.peek().map(|(peer, _)| **peer);
        let clean = away.find_map(|(peer, account)| account.is_clean(now, &budget).then_some(*peer));
        if let Some(peer) = clean.or(first) {
            self.accounts.remove(&peer);
        }
    }

    fn each_conn(&mut self, peer: PeerId, action: impl Fn(ConnId) -> Action) {
        let open = self.conns.iter().filter(|(_, conn)| conn.peer == peer && conn.is_open());
        let open: Vec<ConnId> = open.map(|(conn, _)| *conn).collect();
        self.actions.extend(open.into_iter().map(action));
    }
}
