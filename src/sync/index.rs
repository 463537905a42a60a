//! The index of collections of which a device wants no documents, kept by asking one peer that has them live.
//!
//! ```text
//! peer    HERE: it has a collection of which the other side wants the index
//! asker   ASK: the fingerprints of what it lists, first of everything
//! peer    SPANS: what is the same, what there is, and parts that differ     until nothing differs
//! peer    CHANGED: entities that changed since; no more until they were taken
//! asker   TAKEN
//! ```
//!
//! What is listed here is asked for without being told HERE: the peer may have lost the whole collection.
//!
//! Of several peers that have a collection one is followed; when it goes, another. Everything is compared anew once a
//! minute, so that what was missed or made up does not stay.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::conn::CODE_PROTOCOL;
use super::{ConnId, Engine, Lane, Purpose};
use crate::access::Commit;
use crate::exchange::{Answer, Ask, Packed, SpaceState};
use crate::id::{CollectionName, EntityId, Interest, Listed, SpaceId, Span, SpanPrint, SpanTold};
use crate::limits::{
    COLLECTIONS_PER_SPACE_MAX, INDEX_CHANGED_MAX, INDEX_CHECK_MS, INDEX_FOLLOWED_MAX, INDEX_SPANS_MAX,
    INDEX_TOLD_MAX, REQUEST_DEADLINE_MS,
};
use crate::time::Instant;
use crate::wire::{IndexAsk, IndexSays, IndexTaken, IndexTold, Message};

/// What a session tells its peer of the collections that it follows.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// The peer was told that it may ask for these.
    told: BTreeSet<CollectionName>,
    /// The peer said that it may be asked for these. Bounded by `COLLECTIONS_PER_SPACE_MAX`.
    here: BTreeSet<CollectionName>,
    /// Collections that the peer follows, with what changed there since it was told.
    changed: BTreeMap<CollectionName, BTreeSet<EntityId>>,
    /// Its questions that are being answered, one for each collection.
    answering: BTreeMap<u64, CollectionName>,
    /// What is being read of changed entities, or was told and not taken yet.
    telling: Option<(CollectionName, u64)>,
    last: u64,
}

/// An index that this node keeps.
#[derive(Debug)]
pub(super) struct Follow {
    ticket: u64,
    /// The connection whose peer is asked.
    at: Option<ConnId>,
    /// Peers that could not tell, until the index is compared next.
    passed_over: BTreeSet<ConnId>,
    step: Step,
    /// What is still to be asked for.
    pending: VecDeque<SpanPrint>,
    /// When to compare everything, or to give up on an answer.
    due: Instant,
}

/// How far the comparison of an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing is asked.
    Idle,
    /// The database is asked what is listed.
    Reading,
    /// The peer is asked.
    Asked(u64),
    /// The database takes an answer.
    Taking,
}

impl Follow {
    fn new(ticket: u64, now: Instant) -> Self {
        let (step, pending, due) = (Step::Idle, VecDeque::new(), now);
        Self { ticket, at: None, passed_over: BTreeSet::new(), step, pending, due }
    }

    fn leave(&mut self, now: Instant) {
        self.at = None;
        self.step = Step::Idle;
        self.pending.clear();
        self.due = now;
    }
}

impl Engine {
    /// The database answered a question about an index.
    pub(super) fn index_answered(&mut self, conn: ConnId, space: SpaceId, purpose: Purpose, answer: Answer) {
        match (purpose, answer) {
            (_, Answer::State(Some(state))) => self.tell_indexes(conn, space, &state),
            (_, Answer::Collections(collections)) => self.check_listed(conn, space, collections),
            (Purpose::IndexTold(_, _, number), Answer::Index(spans)) => {
                self.index_told(conn, space, number, spans);
            }
            (_, Answer::Versions(versions)) => self.versions_read(conn, space, versions),
            (Purpose::IndexChanged(_, _, number), _) => self.index_changed(conn, space, number),
            (
                Purpose::IndexPrints(_, _, ticket) | Purpose::IndexTaken(_, _, ticket),
                Answer::IndexPrints(apart) | Answer::IndexTaken { apart },
            ) => self.index_apart(conn, space, ticket, apart),
            (_, _) => {}
        }
    }

    /// The peer, which has been greeted, said that it wants the index of what this side has live, and may read it.
    fn offers_index(&self, conn: ConnId, space: SpaceId, collection: &CollectionName) -> bool {
        let opened = self.is_opened(conn, space);
        self.sessions.get(&(conn, space)).is_some_and(|session| {
            opened
                && !session.parting
                && session.wants.heard
                && session.wants.theirs.of(collection) == Interest::Index
                && session.wants.ours.is_live(collection)
                && self.may_both(space, &session.peer, collection)
        })
    }

    /// The peer has a collection live of which this side wants the index.
    fn wants_index(&self, conn: ConnId, space: SpaceId, collection: &CollectionName) -> bool {
        self.sessions.get(&(conn, space)).is_some_and(|session| {
            !session.parting
                && session.wants.heard
                && session.wants.ours.of(collection) == Interest::Index
                && session.wants.theirs.is_live(collection)
                && self.may_both(space, &session.peer, collection)
        })
    }

    /// The openings met, or what one side wants or may read changed: finds out what the peer can be told of, and what
    /// it may be asked for.
    pub(super) fn offer_indexes(&mut self, conn: ConnId, space: SpaceId) {
        let opened = self.is_opened(conn, space);
        let Some(session) = self.sessions.get(&(conn, space)).filter(|session| opened && session.wants.heard)
        else {
            return;
        };
        let (wanted, followed) = (session.wants.theirs.wants_index(), &session.followed);
        let names = followed.told.iter().chain(followed.changed.keys());
        let over = names.filter(|name| !self.offers_index(conn, space, name)).cloned().collect::<Vec<_>>();
        let here: Vec<CollectionName> = followed.here.iter().cloned().collect();
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            for name in over {
                session.followed.told.remove(&name);
                session.followed.changed.remove(&name);
            }
        }
        here.into_iter().for_each(|collection| self.hear_here(conn, space, collection));
        if wanted {
            self.ask(Purpose::IndexHere(conn, space), Ask::State { space });
        }
        self.look_at_listed(conn, space);
    }

    /// Finds out of which collections anything is listed here, if any is wanted so.
    pub(super) fn look_at_listed(&mut self, conn: ConnId, space: SpaceId) {
        if self.sessions.get(&(conn, space)).is_some_and(|session| session.wants.ours.wants_index()) {
            self.ask(Purpose::IndexListed(conn, space), Ask::Listed { space });
        }
    }

    /// A peer says nothing of a collection of which it has nothing: what went there would stay listed here, unless it is
    /// asked for.
    fn check_listed(&mut self, conn: ConnId, space: SpaceId, collections: Vec<CollectionName>) {
        for collection in collections {
            let follow = self.follows.get(&(space, collection.clone()));
            if follow.is_none_or(|follow| follow.at.is_none()) {
                self.hear_here(conn, space, collection);
            }
        }
    }

    pub(super) fn tell_indexes(&mut self, conn: ConnId, space: SpaceId, state: &SpaceState) {
        let here = state.collections.keys().filter(|collection| self.offers_index(conn, space, collection));
        let here: Vec<CollectionName> = here.cloned().collect();
        here.into_iter().for_each(|collection| self.tell_here(conn, space, collection));
    }

    fn tell_here(&mut self, conn: ConnId, space: SpaceId, collection: CollectionName) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        if session.followed.told.insert(collection.clone()) {
            self.say_index(conn, space, IndexSays::Here { collection });
        }
    }

    fn say_index(&mut self, conn: ConnId, space: SpaceId, says: IndexSays) {
        let Some(slot) = self.sessions.get(&(conn, space)).map(|session| session.slot) else { return };
        self.send(conn, Lane::Bulk, &Message::IndexTold(IndexTold { slot, says }));
    }

    /// A commit was applied: notes what it changed for those who follow an index.
    pub(super) fn note_indexed(&mut self, space: SpaceId, commit: &Packed) {
        let mut changed: Option<Vec<(CollectionName, EntityId)>> = None;
        for conn in self.conns_of(space) {
            let offered = commit.key.parts.iter().map(|(name, _)| name);
            let offered: Vec<_> = offered.filter(|name| self.offers_index(conn, space, name)).collect();
            for collection in offered {
                let changed = changed.get_or_insert_with(|| changed_by(space, commit));
                let entities = changed.iter().filter(|(name, _)| name == collection);
                self.tell_here(conn, space, collection.clone());
                self.note_changed(conn, space, collection, entities.map(|(_, entity)| *entity));
                self.tell_changed(conn, space);
            }
        }
    }

    fn note_changed(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        collection: &CollectionName,
        entities: impl Iterator<Item = EntityId>,
    ) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        let Some(changed) = session.followed.changed.get_mut(collection) else { return };
        changed.extend(entities);
        if changed.len() > INDEX_CHANGED_MAX {
            // It is to ask anew.
            session.followed.changed.remove(collection);
            self.say_index(conn, space, IndexSays::Here { collection: collection.clone() });
        }
    }

    /// Reads what changed of one collection, when the peer has taken what it was told before.
    fn tell_changed(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)).filter(|session| !session.parting) else {
            return;
        };
        let followed = &mut session.followed;
        if followed.telling.is_some() {
            return;
        }
        let mut collections = followed.changed.iter_mut();
        let Some((collection, changed)) = collections.find(|(_, changed)| !changed.is_empty()) else {
            return;
        };
        let mut entities = Vec::new();
        while entities.len() < INDEX_TOLD_MAX
            && let Some(entity) = changed.pop_first()
        {
            entities.push(entity);
        }
        followed.last += 1;
        let collection = collection.clone();
        followed.telling = Some((collection.clone(), followed.last));
        self.ask(Purpose::Versions(conn, space), Ask::Versions { space, collection, entities });
    }

    fn versions_read(&mut self, conn: ConnId, space: SpaceId, entries: Vec<Listed>) {
        let Some(session) = self.sessions.get(&(conn, space)) else { return };
        let Some((collection, number)) = session.followed.telling.clone() else { return };
        if !self.offers_index(conn, space, &collection) {
            return self.changes_taken(conn, space);
        }
        self.say_index(conn, space, IndexSays::Changed { number, collection, entries });
    }

    fn changes_taken(&mut self, conn: ConnId, space: SpaceId) {
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.followed.telling = None;
        }
        self.tell_changed(conn, space);
    }

    pub(super) fn hear_index_taken(&mut self, conn: ConnId, space: SpaceId, number: u64) {
        let Some(session) = self.sessions.get(&(conn, space)) else { return };
        match session.followed.telling.as_ref().is_some_and(|(_, told)| *told == number) {
            true => self.changes_taken(conn, space),
            false => self.close(conn, CODE_PROTOCOL, "changes of an index were taken that were not told"),
        }
    }

    /// A peer asks for an index, one question of each collection at a time.
    pub(super) fn hear_index_ask(&mut self, conn: ConnId, space: SpaceId, asked: IndexAsk) {
        let IndexAsk { collection, number, spans, .. } = asked;
        let offered = self.offers_index(conn, space, &collection);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        let answering = &mut session.followed.answering;
        if answering.contains_key(&number) || answering.values().any(|asked| *asked == collection) {
            return self.close(conn, CODE_PROTOCOL, "a question for an index before the answer to the last");
        }
        answering.insert(number, collection.clone());
        if !offered {
            return self.index_told(conn, space, number, None);
        }
        session.followed.changed.entry(collection.clone()).or_default();
        self.ask(Purpose::IndexTold(conn, space, number), Ask::IndexTold { space, collection, spans });
    }

    fn index_told(&mut self, conn: ConnId, space: SpaceId, number: u64, spans: Option<Vec<SpanTold>>) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        let Some(collection) = session.followed.answering.remove(&number) else { return };
        let offered = self.offers_index(conn, space, &collection);
        let says = match spans.filter(|_| offered) {
            Some(spans) => IndexSays::Spans { number, spans },
            None => IndexSays::NotHere { number },
        };
        self.say_index(conn, space, says);
    }

    /// A peer tells of an index. What is not wanted any more is dropped.
    pub(super) fn hear_index_told(&mut self, conn: ConnId, space: SpaceId, says: IndexSays) {
        match says {
            IndexSays::Here { collection } => {
                let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
                if session.followed.here.len() < COLLECTIONS_PER_SPACE_MAX {
                    session.followed.here.insert(collection.clone());
                }
                self.hear_here(conn, space, collection);
            }
            IndexSays::NotHere { number } => {
                let now = self.now.instant;
                if let Some((_, follow)) = self.asked(conn, space, number) {
                    follow.passed_over.insert(conn);
                    follow.leave(now);
                }
            }
            IndexSays::Spans { number, spans } => {
                let Some((collection, follow)) = self.asked(conn, space, number) else { return };
                follow.step = Step::Taking;
                let purpose = Purpose::IndexTaken(conn, space, follow.ticket);
                self.ask(purpose, Ask::TakeIndex { space, collection, spans, changed: Vec::new() });
            }
            IndexSays::Changed { number, collection, entries: changed } => {
                let follow = self.follows.get(&(space, collection.clone()));
                if follow.is_none_or(|follow| follow.at != Some(conn)) {
                    // The peer is not to wait for it.
                    return self.index_changed(conn, space, number);
                }
                let purpose = Purpose::IndexChanged(conn, space, number);
                self.ask(purpose, Ask::TakeIndex { space, collection, spans: Vec::new(), changed });
            }
        }
    }

    fn hear_here(&mut self, conn: ConnId, space: SpaceId, collection: CollectionName) {
        if !self.wants_index(conn, space, &collection) {
            return;
        }
        let (now, key) = (self.now.instant, (space, collection));
        if let Some(follow) = self.follows.get_mut(&key) {
            follow.passed_over.remove(&conn);
            if follow.at.is_none() || (follow.at == Some(conn) && follow.step == Step::Idle) {
                follow.due = now;
            }
        } else if self.follows.len() < INDEX_FOLLOWED_MAX {
            let ticket = self.mint();
            self.follows.insert(key, Follow::new(ticket, now));
        }
    }

    /// The index for which this question was asked.
    fn asked(&mut self, conn: ConnId, space: SpaceId, number: u64) -> Option<(CollectionName, &mut Follow)> {
        let asked = |follow: &Follow| follow.at == Some(conn) && follow.step == Step::Asked(number);
        let found = self.follows.iter_mut().find(|((of, _), follow)| *of == space && asked(follow));
        found.map(|((_, collection), follow)| (collection.clone(), follow))
    }

    /// Changes were taken: the peer may tell of more.
    fn index_changed(&mut self, conn: ConnId, space: SpaceId, number: u64) {
        let Some(slot) = self.sessions.get(&(conn, space)).map(|session| session.slot) else { return };
        self.send(conn, Lane::Bulk, &Message::IndexTaken(IndexTaken { slot, number }));
    }

    /// The database told what is listed, or took an answer: asks for what differs.
    fn index_apart(&mut self, conn: ConnId, space: SpaceId, ticket: u64, apart: Vec<SpanPrint>) {
        let (now, number) = (self.now.instant, self.mint());
        let answers = |follow: &Follow| follow.ticket == ticket && follow.at == Some(conn);
        let asking = self.follows.iter().find(|(_, follow)| answers(follow)).map(|(key, _)| key.clone());
        let slot = self.sessions.get(&(conn, space)).map(|session| session.slot);
        let Some((key, slot)) = asking.zip(slot) else { return };
        // The peer is not to hear the name of what it may not read any more.
        let wanted = self.wants_index(conn, space, &key.1);
        let Some(follow) = self.follows.get_mut(&key) else { return };
        if !wanted {
            return follow.leave(now);
        }
        apart.into_iter().rev().for_each(|span| follow.pending.push_front(span));
        let count = follow.pending.len().min(INDEX_SPANS_MAX);
        let spans: Vec<SpanPrint> = follow.pending.drain(..count).collect();
        if spans.is_empty() {
            follow.step = Step::Idle;
            follow.due = now.plus_ms(INDEX_CHECK_MS);
            return;
        }
        follow.step = Step::Asked(number);
        follow.due = now.plus_ms(REQUEST_DEADLINE_MS);
        let (_, collection) = key;
        self.send(conn, Lane::Bulk, &Message::IndexAsk(IndexAsk { slot, collection, number, spans }));
    }

    pub(super) fn follow_due(&self) -> Option<Instant> {
        self.follows.values().map(|follow| follow.due).min()
    }

    /// Finds peers for indexes that have none, compares what is due, and ends what is not wanted.
    pub(super) fn drive_follows(&mut self) {
        let now = self.now.instant;
        let due = self.follows.iter().filter(|(_, follow)| follow.due <= now).map(|(key, _)| key.clone());
        for key in due.collect::<Vec<_>>() {
            let Some(mut follow) = self.follows.remove(&key) else { continue };
            if self.drive_follow(&key, &mut follow) {
                self.follows.insert(key, follow);
            }
        }
    }

    /// False when nobody can tell of the collection any more: it begins anew when somebody says so.
    fn drive_follow(&mut self, key: &(SpaceId, CollectionName), follow: &mut Follow) -> bool {
        let (space, collection) = key;
        if let Some(conn) = follow.at {
            let late = follow.step != Step::Idle;
            if late {
                follow.passed_over.insert(conn);
            }
            if late || !self.wants_index(conn, *space, collection) {
                follow.leave(self.now.instant);
            }
        }
        let able =
            |conn: &ConnId| !follow.passed_over.contains(conn) && self.wants_index(*conn, *space, collection);
        let at = follow.at.or_else(|| self.conns_of(*space).into_iter().find(able));
        let Some(conn) = at else {
            follow.due = self.now.instant.plus_ms(INDEX_CHECK_MS);
            return !std::mem::take(&mut follow.passed_over).is_empty();
        };
        follow.at = at;
        follow.step = Step::Reading;
        follow.due = self.now.instant.plus_ms(REQUEST_DEADLINE_MS);
        let ask = Ask::IndexPrints { space: *space, collection: collection.clone(), spans: vec![Span::ALL] };
        self.ask(Purpose::IndexPrints(conn, *space, follow.ticket), ask);
        true
    }

    /// A session is over, or about to be.
    pub(super) fn index_lost(&mut self, conn: ConnId, space: SpaceId) {
        let now = self.now.instant;
        for ((of, _), follow) in &mut self.follows {
            if *of == space {
                follow.passed_over.remove(&conn);
                if follow.at == Some(conn) {
                    follow.leave(now);
                }
            }
        }
    }
}

/// The entities that a commit changed, of the collections that are open in it.
fn changed_by(space: SpaceId, commit: &Packed) -> Vec<(CollectionName, EntityId)> {
    Commit::decode(space, &commit.bytes).map(|commit| commit.places()).unwrap_or_default()
}
