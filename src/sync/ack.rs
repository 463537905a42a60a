//! Acknowledgements: told when commits are on this side's disk, heard when they are on the other's.

use std::collections::BTreeSet;

use super::conn::CODE_STORE;
use super::{ConnId, Engine, Lane, digest};
use crate::exchange::{CommitKey, Vectors};
use crate::id::{PeerId, Position, SpaceId};
use crate::limits::ACK_DELAY_MS;
use crate::wire::{Ack, Message};

/// A commit that is written here and not yet on disk.
#[derive(Clone, Debug)]
pub(super) struct Undurable {
    pub(super) position: Position,
    pub(super) space: SpaceId,
    pub(super) key: CommitKey,
    /// Who wants to know when it is: the peer that sent it, or that made it.
    pub(super) to: Option<PeerId>,
}

impl Engine {
    /// A sync is over. It covers every commit that was told before it; the ones that went into quarantine have
    /// no position of their own, so nothing is acknowledged before the next sync, wherever the journal ends.
    pub(super) fn became_durable(&mut self, upto: Position) {
        self.durable = self.durable.max(upto);
        while self.undurable.front().is_some_and(|first| first.position <= self.durable) {
            let Some(Undurable { space, key, to: Some(to), .. }) = self.undurable.pop_front() else {
                continue;
            };
            let conns: Vec<ConnId> = self
                .conns_of(space)
                .into_iter()
                .filter(|conn| self.conns.get(conn).is_some_and(|entry| entry.peer == to))
                .filter(|conn| self.is_opened(*conn, space))
                .collect();
            for conn in conns {
                self.acknowledge(conn, space, &key);
            }
        }
    }

    /// The store lost something of a space, perhaps what was received and is not acknowledged yet. Who waits for such
    /// an acknowledgement would wait for ever, and must not get it: the connection begins anew, with what is left.
    pub(super) fn damaged(&mut self, space: SpaceId) {
        let undurable = self.undurable.iter_mut().filter(|undurable| undurable.space == space);
        let mut waiting: BTreeSet<PeerId> = undurable.filter_map(|undurable| undurable.to.take()).collect();
        let due = self.sessions.iter().filter(|((_, of), session)| *of == space && session.ack_due.is_some());
        waiting.extend(due.map(|(_, session)| session.peer));
        for conn in self.conns_of(space) {
            if self.conns.get(&conn).is_some_and(|entry| waiting.contains(&entry.peer)) {
                self.close(conn, CODE_STORE, "the store lost what it had received");
            }
        }
        self.check_all(space);
    }

    fn acknowledge(&mut self, conn: ConnId, space: SpaceId, key: &CommitKey) {
        let due = self.now.instant.plus_ms(ACK_DELAY_MS);
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let peer = session.peer;
        let parts =
            key.parts.iter().filter(|(collection, _)| self.may_both(space, &peer, collection)).cloned();
        let key = CommitKey { origin: key.origin, parts: parts.collect() };
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            digest::note(&mut session.ack, &key);
            session.ack_due.get_or_insert(due);
        }
    }

    pub(super) fn send_ack(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.ack_due = None;
        let (slot, vectors) = (session.slot, std::mem::take(&mut session.ack));
        if !vectors.is_empty() {
            self.send(conn, Lane::Control, &Message::Ack(Ack { slot, vectors }));
        }
    }

    /// The peer has commits on its disk.
    pub(super) fn hear_ack(&mut self, conn: ConnId, space: SpaceId, vectors: &Vectors) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let peer = session.peer;
        if let Some(sent) = session.sent.as_mut() {
            digest::merge(sent, vectors);
        }
        session.unacked.retain(|(key, _)| !digest::holds(vectors, key));
        session.unacked_bytes = session.unacked.iter().map(|(_, bytes)| *bytes).sum();
        self.push_gathered(conn, space);
        self.watch(conn, space);
        self.note_acked(space, peer, vectors.clone());
        self.pump(conn, space);
    }
}
