//! Documents that the app asks for one by one: peers that have their collection live are asked in turn.
//!
//! ```text
//! asker    FETCH: which entities, and what it holds of the collection
//! peer     FETCHED: their commits, and those that they hang together by; which entities it does not know
//! asker    what is unknown is asked of the next peer; the app hears when all is on disk, or nobody is left
//! ```

use std::collections::BTreeSet;

use super::conn::{CODE_PROTOCOL, CODE_REFUSED};
use super::{Action, ConnId, Engine, Lane, Notice, Purpose};
use crate::exchange::{Answer, Ask, Packed, SpaceState};
use crate::id::{CollectionName, EntityId, SpaceId};
use crate::limits::{BATCH_BYTES, BATCH_COMMITS_MAX, FETCHES_MAX, REQUEST_DEADLINE_MS};
use crate::time::Instant;
use crate::wire::{self, FetchEnd, Fetched, Message};

/// A call that is not answered yet.
#[derive(Debug)]
pub(super) struct Fetch {
    ticket: u64,
    space: SpaceId,
    collection: CollectionName,
    wanted: BTreeSet<EntityId>,
    asked: BTreeSet<ConnId>,
    /// The connection whose peer is being asked.
    at: Option<ConnId>,
    deadline: Instant,
    step: Step,
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Asking,
    /// The version vector has no room.
    Full,
    /// The database is asked to have it on disk.
    Syncing,
}

/// What became of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FetchOutcome {
    /// What was found is on disk.
    Done {
        /// The entities that nobody who was asked has.
        missing: Vec<EntityId>,
        /// How many peers were asked.
        peers: usize,
    },
    /// There are gaps in what is held of the collection already, as many as there may be.
    Full,
    /// Too many calls are open.
    Busy,
}

impl Engine {
    pub(super) fn begin_fetch(
        &mut self,
        space: SpaceId,
        collection: CollectionName,
        entities: Vec<EntityId>,
        ticket: u64,
    ) {
        if self.fetches.len() >= FETCHES_MAX {
            return self.fetch_told(ticket, FetchOutcome::Busy);
        }
        let deadline = self.now.instant.plus_ms(REQUEST_DEADLINE_MS);
        let (wanted, asked) = (entities.into_iter().collect(), BTreeSet::new());
        let step = Step::Asking;
        self.fetches.push(Fetch { ticket, space, collection, wanted, asked, at: None, deadline, step });
    }

    fn fetch_told(&mut self, ticket: u64, outcome: FetchOutcome) {
        self.actions.push_back(Action::Notify(Notice::Fetched { ticket, outcome }));
    }

    pub(super) fn fetch_due(&self) -> Option<Instant> {
        self.fetches.iter().map(|fetch| fetch.deadline).min()
    }

    /// Asks the next peers, and ends what nobody is left for.
    pub(super) fn drive_fetches(&mut self) {
        for mut fetch in std::mem::take(&mut self.fetches) {
            let late = fetch.deadline <= self.now.instant;
            if late || fetch.wanted.is_empty() || fetch.step == Step::Full {
                self.finish_fetch(fetch, late);
                continue;
            }
            if fetch.at.is_none() {
                match self.fetch_source(&fetch) {
                    Some((conn, false)) => {
                        fetch.at = Some(conn);
                        fetch.asked.insert(conn);
                        let purpose = Purpose::FetchHave(conn, fetch.space, fetch.ticket);
                        self.ask(purpose, Ask::State { space: fetch.space });
                    }
                    Some((_, true)) => {}
                    None => {
                        self.finish_fetch(fetch, false);
                        continue;
                    }
                }
            }
            self.fetches.push(fetch);
        }
    }

    /// A peer that can be asked, or is busy with another call.
    fn fetch_source(&self, fetch: &Fetch) -> Option<(ConnId, bool)> {
        let able = |(conn, session): (ConnId, &super::Session)| {
            let able = !session.parting
                && session.sent.is_some()
                && session.wants.theirs.is_live(&fetch.collection)
                && self.may_both(fetch.space, &session.peer, &fetch.collection)
                && !fetch.asked.contains(&conn);
            // It may still answer a call that nobody waits for any more.
            let busy = || session.fetching.is_some() || self.fetches_at(conn, fetch.space);
            able.then(|| (conn, busy()))
        };
        let sessions = self.sessions.iter().filter(|((_, space), _)| *space == fetch.space);
        let found: Vec<(ConnId, bool)> =
            sessions.filter_map(|((conn, _), session)| able((*conn, session))).collect();
        found.iter().find(|(_, busy)| !busy).or_else(|| found.first()).copied()
    }

    /// Whether something is being fetched over a session.
    pub(super) fn fetches_at(&self, conn: ConnId, space: SpaceId) -> bool {
        self.fetches.iter().any(|fetch| fetch.at == Some(conn) && fetch.space == space)
    }

    /// What was found is told when it is on disk.
    fn finish_fetch(&mut self, mut fetch: Fetch, late: bool) {
        let (ticket, space) = (fetch.ticket, fetch.space);
        if fetch.step == Step::Full {
            return self.fetch_told(ticket, FetchOutcome::Full);
        }
        if late || fetch.asked.is_empty() {
            let (missing, peers) = (fetch.wanted.into_iter().collect(), fetch.asked.len());
            return self.fetch_told(ticket, FetchOutcome::Done { missing, peers });
        }
        if fetch.step != Step::Syncing {
            fetch.step = Step::Syncing;
            self.ask(Purpose::FetchSynced(ticket), Ask::State { space });
        }
        self.synced_fetches.push(fetch);
    }

    /// The database has on disk what was fetched.
    pub(super) fn fetch_synced(&mut self, ticket: u64) {
        let Some(index) = self.synced_fetches.iter().position(|fetch| fetch.ticket == ticket) else { return };
        let fetch = self.synced_fetches.remove(index);
        let (missing, peers) = (fetch.wanted.into_iter().collect(), fetch.asked.len());
        self.fetch_told(ticket, FetchOutcome::Done { missing, peers });
    }

    fn fetch_at(&mut self, conn: ConnId, ticket: u64) -> Option<&mut Fetch> {
        self.fetches.iter_mut().find(|fetch| fetch.ticket == ticket && fetch.at == Some(conn))
    }

    /// The database told what is held: ask the peer for the rest.
    pub(super) fn send_fetch(&mut self, conn: ConnId, space: SpaceId, ticket: u64, state: &SpaceState) {
        let Some(slot) = self.sessions.get(&(conn, space)).map(|session| session.slot) else { return };
        let Some(fetch) = self.fetch_at(conn, ticket) else { return };
        let collection = fetch.collection.clone();
        let entities = fetch.wanted.iter().copied().collect();
        let have = state.collections.get(&collection).map(|state| state.vector.clone()).unwrap_or_default();
        let message = wire::Fetch { slot, number: ticket, collection, entities, have };
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.fetching = Some(ticket);
        }
        self.send(conn, Lane::Bulk, &Message::Fetch(message));
    }

    /// A peer asks for documents: one request at a time, of what this side has live.
    pub(super) fn hear_fetch(&mut self, conn: ConnId, space: SpaceId, fetch: wire::Fetch) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        if session.serving.replace(fetch.number).is_some() {
            return self.close(conn, CODE_PROTOCOL, "a request for documents before the answer to the last");
        }
        let (to, follows) = (session.peer, session.wants.ours.is_live(&fetch.collection));
        let wire::Fetch { collection, entities, have, .. } = fetch;
        if !follows || !self.may_both(space, &to, &collection) {
            return self.answer_fetch(conn, space, Vec::new(), entities, true);
        }
        let ask = Ask::Fetch { space, collection, to, entities, have };
        self.ask(Purpose::Fetch(conn, space), ask);
    }

    pub(super) fn answer_fetch(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        commits: Vec<Packed>,
        unknown: Vec<EntityId>,
        complete: bool,
    ) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        let (slot, Some(number)) = (session.slot, session.serving.take()) else { return };
        let mut page = Vec::new();
        let mut bytes = 0;
        for commit in commits {
            bytes += commit.bytes.len();
            page.push(commit.bytes.to_vec());
            if bytes >= BATCH_BYTES || page.len() >= BATCH_COMMITS_MAX {
                let commits = std::mem::take(&mut page);
                self.send(conn, Lane::Bulk, &Message::Fetched(Fetched { slot, number, commits, end: None }));
                bytes = 0;
            }
        }
        let end = Some(FetchEnd { unknown, more: !complete });
        self.send(conn, Lane::Bulk, &Message::Fetched(Fetched { slot, number, commits: page, end }));
    }

    /// A part of an answer. One that nobody waits for any more is dropped.
    pub(super) fn hear_fetched(&mut self, conn: ConnId, space: SpaceId, fetched: Fetched) {
        let Some(from) = self.peer_of(conn) else { return };
        let Fetched { number, commits, end, .. } = fetched;
        if end.is_some()
            && let Some(session) = self.sessions.get_mut(&(conn, space))
        {
            session.fetching.take_if(|answered| *answered == number);
        }
        if self.fetch_at(conn, number).is_none() {
            return;
        }
        self.ask(Purpose::Fetched(conn, space, number), Ask::TakeFetched { space, from, commits });
        if let Some(end) = end {
            self.fetch_ends.insert(number, end);
        }
    }

    /// Commits were taken; behind the last of an answer it is known what is left.
    pub(super) fn fetched(&mut self, conn: ConnId, space: SpaceId, ticket: u64, answer: Answer) {
        let Answer::Taken { full, refused } = answer else { return };
        if let Some(reason) = refused {
            self.fetch_ends.remove(&ticket);
            return self.close(conn, CODE_REFUSED, &format!("fetched commits were refused: {reason}"));
        }
        let left = self.requests.values().any(|purpose| *purpose == Purpose::Fetched(conn, space, ticket));
        let end = if left { None } else { self.fetch_ends.remove(&ticket) };
        let Some(fetch) = self.fetch_at(conn, ticket) else { return };
        if full {
            fetch.step = Step::Full;
            return;
        }
        let Some(FetchEnd { unknown, more }) = end else { return };
        if more {
            return self.ask(Purpose::FetchHave(conn, space, ticket), Ask::State { space });
        }
        fetch.at = None;
        fetch.wanted.retain(|entity| unknown.contains(entity));
    }

    /// A session is over: its peer answers nothing any more.
    pub(super) fn fetch_lost(&mut self, conn: ConnId, space: SpaceId) {
        let lost = self.fetches.iter_mut().filter(|fetch| fetch.at == Some(conn) && fetch.space == space);
        for fetch in lost {
            fetch.at = None;
            self.fetch_ends.remove(&fetch.ticket);
        }
    }
}
