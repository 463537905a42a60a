//! Repair where a sketch would be too large: compare the heads of all entities, range by range.
//!
//! ```text
//! leader    HEADS of a range of its entities            the side with the smaller key leads
//! follower  CLOCKS of the entities that differ, and how far it compared
//! leader    the commits that those clocks lack; its own CLOCKS of the same entities
//! follower  the commits that those clocks lack
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::repair::{Repair, Step, fit};
use super::{ConnId, Engine, Lane, Purpose};
use crate::exchange::{self, Answer, Ask};
use crate::id::{EntityId, SpaceId, Span};
use crate::limits::{BATCH_BYTES, HEADS_PAGE_ENTITIES};
use crate::wire::{Clocks, Heads, Message};

impl Engine {
    /// The leader goes on, or is done.
    pub(super) fn next_page(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let peer = session.peer;
        let Some(repair) = session.repair.as_mut() else {
            return;
        };
        let Some(collection) = repair.collections.last().cloned() else {
            return self.end_repair(conn, space);
        };
        if !self.may_both(space, &peer, &collection) {
            return self.advance_page(conn, space, None);
        }
        let Some(repair) = self.sessions.get_mut(&(conn, space)).and_then(|session| session.repair.as_mut())
        else {
            return;
        };
        repair.step = Step::Page;
        let after = repair.after;
        let Some(key) = self.symbol_key(conn, space) else { return };
        let ask = Ask::Heads { space, collection, key, after, count_max: HEADS_PAGE_ENTITIES };
        self.ask(Purpose::Repair(conn, space), ask);
    }

    pub(super) fn hear_heads(&mut self, conn: ConnId, space: SpaceId, heads: Heads) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.repairs += 1;
        if let Some(repair) = session.repair.as_mut()
            && repair.is_sending()
            && repair.next.is_none()
        {
            repair.next = Some(heads);
            return;
        }
        self.compare_heads(conn, space, heads);
    }

    /// The follower has nothing else to do: compares a range of heads.
    pub(super) fn compare_heads(&mut self, conn: ConnId, space: SpaceId, heads: Heads) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let peer = session.peer;
        if self.me < peer || session.repair.is_some() {
            return self.close(conn, super::conn::CODE_PROTOCOL, "heads out of turn");
        }
        if !self.may_both(space, &peer, &heads.collection) {
            // An answer would name the collection.
            return self.not_shared(conn, space);
        }
        let (collection, after) = (heads.collection.clone(), heads.range.after);
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.repair = Some(Repair { step: Step::CompareHeads(heads), ..Repair::default() });
        }
        self.watch_begin(conn, space);
        let Some(key) = self.symbol_key(conn, space) else { return };
        let ask = Ask::Heads { space, collection, key, after, count_max: HEADS_PAGE_ENTITIES };
        self.ask(Purpose::Repair(conn, space), ask);
    }

    pub(super) fn hear_clocks(&mut self, conn: ConnId, space: SpaceId, clocks: Clocks) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let to = session.peer;
        let (leads, Some(repair)) = (self.me < to, session.repair.as_mut()) else {
            return self.close(conn, super::conn::CODE_PROTOCOL, "clocks out of turn");
        };
        if leads != clocks.answer || !matches!(repair.step, Step::None) || repair.is_sending() {
            return self.close(conn, super::conn::CODE_PROTOCOL, "clocks out of turn");
        }
        let Clocks { collection, mut clocks, upto, .. } = clocks;
        if leads && repair.collections.last() != Some(&collection) {
            return self.close(conn, super::conn::CODE_PROTOCOL, "clocks of another collection");
        }
        if !self.may_both(space, &to, &collection) {
            // One of the two has not heard of the change yet.
            clocks.clear();
        }
        let entities = clocks.iter().map(|clock| clock.entity).collect();
        self.make_whole(conn, space, &mut clocks);
        let step = match leads {
            true => Step::SendPage { collection: collection.clone(), entities, upto },
            false => Step::SendAll { collection: collection.clone(), rest: exchange::Clocks::new() },
        };
        let (scope, have) = (self.scope(conn, space), self.sent_to(conn, space));
        let ask = Ask::Lacking { space, collection, to, have, scope, clocks, bytes_max: BATCH_BYTES };
        self.step_page(conn, space, step, ask);
    }

    pub(super) fn heads_answered(&mut self, conn: ConnId, space: SpaceId, step: Step, answer: Answer) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let (slot, peer) = (session.slot, session.peer);
        let Some(repair) = session.repair.as_mut() else {
            return;
        };
        match (step, answer) {
            (Step::Page, Answer::Heads { entries, complete }) => {
                let Some(collection) = repair.collections.last().cloned() else {
                    return;
                };
                let upto = entries.last().filter(|_| !complete).map(|(entity, _)| *entity);
                let range = Span { after: repair.after, upto };
                session.repairs += 1;
                self.send(conn, Lane::Bulk, &Message::Heads(Heads { slot, collection, range, entries }));
            }
            (Step::CompareHeads(theirs), Answer::Heads { entries, complete }) => {
                self.compared(conn, space, &theirs, &entries, complete);
            }
            (
                Step::TellClocks { collection, .. } | Step::AnswerClocks { collection, .. },
                Answer::Clocks(_),
            ) if !self.may_both(space, &peer, &collection) => self.not_shared(conn, space),
            (Step::TellClocks { collection, upto }, Answer::Clocks(mut clocks)) => {
                fit(clocks.iter_mut());
                let answered = clocks.is_empty();
                self.send(
                    conn,
                    Lane::Bulk,
                    &Message::Clocks(Clocks { slot, collection, clocks, upto, answer: true }),
                );
                if answered {
                    self.end_repair(conn, space);
                }
            }
            (Step::SendPage { collection, entities, upto }, Answer::Lacking { commits, rest }) => {
                self.send_repair(conn, space, commits);
                if !rest.is_empty() {
                    let Some(to) = self.peer_of(conn) else { return };
                    let step = Step::SendPage { collection: collection.clone(), entities, upto };
                    let (clocks, bytes_max) = (rest, BATCH_BYTES);
                    let (scope, have) = (self.scope(conn, space), self.sent_to(conn, space));
                    let ask = Ask::Lacking { space, collection, to, have, scope, clocks, bytes_max };
                    return self.step_page(conn, space, step, ask);
                }
                if entities.is_empty() {
                    return self.advance_page(conn, space, upto);
                }
                let ask = Ask::Clocks { space, collection: collection.clone(), entities };
                self.step(conn, space, Step::AnswerClocks { collection, upto }, ask);
            }
            (Step::AnswerClocks { collection, upto }, Answer::Clocks(mut clocks)) => {
                fit(clocks.iter_mut());
                let message = Clocks { slot, collection, clocks, upto: None, answer: false };
                self.send(conn, Lane::Bulk, &Message::Clocks(message));
                self.advance_page(conn, space, upto);
            }
            (_, _) => {}
        }
    }

    /// The follower holds both sides' heads: tell its clocks of what differs.
    fn compared(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        theirs: &Heads,
        ours: &[(EntityId, [u8; 8])],
        complete: bool,
    ) {
        let reached = ours.last().filter(|_| !complete).map(|(entity, _)| *entity);
        let upto = match (reached, theirs.range.upto) {
            (Some(reached), Some(end)) => Some(reached.min(end)),
            (reached, end) => reached.or(end),
        };
        let within = |entity: &EntityId| upto.is_none_or(|upto| *entity <= upto);
        let ours: BTreeMap<EntityId, [u8; 8]> = ours.iter().copied().collect();
        let theirs_by_id: BTreeMap<EntityId, [u8; 8]> = theirs.entries.iter().copied().collect();
        let all: BTreeSet<EntityId> = ours.keys().chain(theirs_by_id.keys()).copied().collect();
        let entities: Vec<EntityId> = all
            .into_iter()
            .filter(|entity| within(entity) && ours.get(entity) != theirs_by_id.get(entity))
            .collect();
        let collection = theirs.collection.clone();
        let ask = Ask::Clocks { space, collection: collection.clone(), entities };
        self.step(conn, space, Step::TellClocks { collection, upto }, ask);
    }

    fn advance_page(&mut self, conn: ConnId, space: SpaceId, upto: Option<EntityId>) {
        let deadline = self.deadline();
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.deadline = Some(deadline);
        if let Some(repair) = session.repair.as_mut() {
            repair.after = upto;
            if upto.is_none() {
                repair.collections.pop();
            }
        }
        self.next_page(conn, space);
    }
}
