//! Commits on their way: pushed as they are made, fed to who lacks them, taken as they arrive.

use std::collections::BTreeSet;

use super::ack::Undurable;
use super::conn::{CODE_PROTOCOL, CODE_REFUSED};
use super::session::Arrived;
use super::{ConnId, Engine, Lane, Purpose, digest};
use crate::access::Commit;
use crate::exchange::{Ask, CommitKey, Packed, Stored};
use crate::id::{PeerId, Position, SpaceId};
use crate::limits::{
    BATCH_BYTES, BATCH_COMMITS_MAX, BATCHES_UNDER_WAY_MAX, CLASHES_NEW_BYTES, INBOX_BYTES_MAX,
    LIVE_BATCH_BYTES, LIVE_BEHIND_BYTES, LIVE_UNACKED_BYTES_MAX, WITHHELD_MS,
};
use crate::wire::{Batch, BatchTaken, Live, LiveBatch, Message, Neighbour};

impl Engine {
    /// A commit was applied here: push it to every peer that lacks it and keeps up.
    pub(super) fn stored(&mut self, space: SpaceId, from: Option<PeerId>, stored: Stored) {
        let Stored { position, commit } = stored;
        let others = from.map(|from| self.neighbours_of(space, from)).unwrap_or_default();
        for conn in self.conns_of(space) {
            self.push(conn, space, from, &others, &commit);
        }
        self.note_indexed(space, &commit);
        if let Some(from) = from {
            let to = Some(commit.key.origin.peer).filter(|origin| *origin != from);
            self.undurable.push_back(Undurable { position, space, key: commit.key, to });
        }
    }

    /// Sends commits whatever the peers hold: what they prove is in their being both there.
    pub(super) fn tell_clash(&mut self, space: SpaceId, commits: &[Packed], to: Option<PeerId>) {
        for conn in self.conns_of(space) {
            let Some(session) = self.sessions.get_mut(&(conn, space)) else { continue };
            let (slot, peer) = (session.slot, session.peer);
            if to.is_some_and(|to| to != peer) {
                continue;
            }
            if session.sent.is_none() {
                // Of a new one it hears when the two agree. Whom it was for counts as told in the store.
                session.clash_missed |= to.is_some();
                continue;
            }
            self.check_soon(conn, space);
            if to.is_none() && !self.has_room_for_clash(conn, space, commits) {
                continue;
            }
            for commit in commits {
                if let Some(visible) = self.visible(conn, space, commit) {
                    let live = Live { slot, commit: visible.bytes.to_vec() };
                    self.send(conn, Lane::Live, &Message::Live(live));
                }
            }
        }
    }

    /// Tells whether a new clash is told at once. Of one that is not, the peer hears when the two next agree.
    fn has_room_for_clash(&mut self, conn: ConnId, space: SpaceId, commits: &[Packed]) -> bool {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return false };
        let bytes: usize = commits.iter().map(|commit| commit.bytes.len()).sum();
        if session.clashes_bytes + bytes > CLASHES_NEW_BYTES {
            self.set_in_sync(conn, space, false);
            return false;
        }
        session.clashes_bytes += bytes;
        true
    }

    /// `others` are those to whom the peer that the commit is from sends it too.
    fn push(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        from: Option<PeerId>,
        others: &BTreeSet<Neighbour>,
        commit: &Packed,
    ) {
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let peer = session.peer;
        let withheld = self.now.instant.plus_ms(WITHHELD_MS);
        // What does not concern the peer changes nothing that is compared with it.
        let Some(visible) = self.visible(conn, space, commit) else {
            return;
        };
        self.set_in_sync(conn, space, false);
        self.check_soon(conn, space);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let Some(sent) = session.sent.as_mut().filter(|_| !session.wants.owed) else {
            session.dirty = true;
            return;
        };
        if from == Some(peer) || digest::holds(sent, &visible.key) {
            return digest::note(sent, &visible.key);
        }
        if others.contains(&Neighbour::of(&peer)) && session.neighbourhood.withhold(&visible.key, withheld) {
            return self.metrics.commits_withheld.add(1);
        }
        if from.is_none() && session.is_bulk() {
            return self.push_ahead(conn, space, visible);
        }
        self.gather(conn, space, visible);
    }

    /// Pushes a commit that the peer lacks nothing before.
    pub(super) fn gather(&mut self, conn: ConnId, space: SpaceId, visible: Packed) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let Some(sent) = session.sent.as_mut() else {
            return;
        };
        let bytes = visible.bytes.len();
        if session.unacked_bytes + session.gathered_bytes + bytes > LIVE_UNACKED_BYTES_MAX {
            session.dirty = true;
            return;
        }
        digest::note(sent, &visible.key);
        // The peer is behind: what waits here it would only have to keep there.
        let gather = session.unacked_bytes >= LIVE_BEHIND_BYTES;
        session.gathered_bytes += bytes;
        session.gathered.push(visible);
        let full = session.gathered_bytes >= LIVE_BATCH_BYTES || session.gathered.len() >= BATCH_COMMITS_MAX;
        if full || !gather {
            self.push_gathered(conn, space);
        }
    }

    /// Sends what was gathered for the live lane.
    pub(super) fn push_gathered(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let slot = session.slot;
        let gathered = std::mem::take(&mut session.gathered);
        session.unacked_bytes += std::mem::take(&mut session.gathered_bytes);
        session.unacked.extend(gathered.iter().map(|commit| (commit.key.clone(), commit.bytes.len())));
        self.metrics.commits_sent_live.add(gathered.len() as u64);
        let mut commits: Vec<Vec<u8>> = gathered.iter().map(|commit| commit.bytes.to_vec()).collect();
        let message = match commits.len() {
            0 => return,
            1 => Message::Live(Live { slot, commit: commits.pop().unwrap_or_default() }),
            _ => Message::LiveBatch(LiveBatch { slot, commits }),
        };
        self.send(conn, Lane::Live, &message);
        self.watch_begin(conn, space);
    }

    /// The commit as a peer gets to see it, with what it may not read or does not want blinded; `None` when that is
    /// all of it.
    pub(super) fn visible(&self, conn: ConnId, space: SpaceId, commit: &Packed) -> Option<Packed> {
        let (peer, scope) = (self.peer_of(conn)?, self.scope(conn, space));
        let is_own = commit.key.origin.peer == self.me;
        let common =
            |collection: &_| scope.flows(collection, is_own) && self.may_both(space, &peer, collection);
        let readable = commit.key.parts.iter().filter(|(collection, _)| common(collection)).count();
        if readable == commit.key.parts.len() {
            return Some(commit.clone());
        }
        if readable == 0 {
            return None;
        }
        let blinded = Commit::decode(space, &commit.bytes).ok()?.blinded(&common)?;
        let key = CommitKey { origin: commit.key.origin, parts: blinded.parts() };
        Some(Packed { key, bytes: blinded.encode().into() })
    }

    /// Begins to read what the peer lacks, when it may lack something and keeps up.
    pub(super) fn pump(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if session.sent.is_none() {
            return;
        }
        if session.wants.owed || session.feeding || session.under_way.len() >= BATCHES_UNDER_WAY_MAX {
            return;
        }
        if !session.dirty {
            if session.is_idle() && session.urgent {
                self.begin_check(conn, space);
            }
            return;
        }
        self.schedule.want(conn, space);
        self.hand_out();
    }

    /// Begins to read for those whose turn it is.
    pub(super) fn hand_out(&mut self) {
        while let Some((conn, space)) = self.schedule.next() {
            if !self.feed(conn, space) {
                self.schedule.read(conn, space);
            }
        }
    }

    /// Begins to read what the peer lacks; false when it wants nothing any more.
    fn feed(&mut self, conn: ConnId, space: SpaceId) -> bool {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return false;
        };
        let Some(sent) = session.sent.as_ref().filter(|_| session.dirty && !session.feeding) else {
            return false;
        };
        session.feeding = true;
        session.dirty = false;
        session.urgent = true;
        let (to, mut have) = (session.peer, sent.clone());
        session.neighbourhood.add_withheld(&mut have);
        let scope = self.scope(conn, space);
        let ask = Ask::Feed { space, to, have, scope, bytes_max: BATCH_BYTES };
        self.ask(Purpose::Feed(conn, space), ask);
        true
    }

    /// What the peer lacks was read; what was pushed to it meanwhile is left out.
    pub(super) fn fed(&mut self, conn: ConnId, space: SpaceId, commits: Vec<Packed>, complete: bool) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.feeding = false;
        session.dirty |= !complete;
        let nothing = crate::exchange::Vectors::new();
        let sent = session.sent.as_ref().unwrap_or(&nothing);
        let left = |key: &CommitKey| digest::holds(sent, key) || session.neighbourhood.withholds(key);
        let fresh: Vec<Packed> = commits.into_iter().filter(|commit| !left(&commit.key)).collect();
        self.metrics.commits_sent_feed.add(fresh.len() as u64);
        self.send_batches(conn, space, fresh);
        self.pump(conn, space);
    }

    pub(super) fn send_batches(&mut self, conn: ConnId, space: SpaceId, commits: Vec<Packed>) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for commit in commits {
            let Some(session) = self.sessions.get_mut(&(conn, space)) else {
                return;
            };
            if let Some(sent) = session.sent.as_mut() {
                digest::note(sent, &commit.key);
            }
            bytes += commit.bytes.len();
            batch.push(commit.bytes.to_vec());
            if bytes >= BATCH_BYTES || batch.len() >= BATCH_COMMITS_MAX {
                self.send_batch(conn, space, std::mem::take(&mut batch));
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.send_batch(conn, space, batch);
        }
    }

    fn send_batch(&mut self, conn: ConnId, space: SpaceId, commits: Vec<Vec<u8>>) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.next_batch += 1;
        let (slot, number) = (session.slot, session.next_batch);
        let bytes = commits.iter().map(Vec::len).sum();
        session.under_way.insert(number, bytes);
        self.schedule.sent(conn, bytes);
        self.send(conn, Lane::Bulk, &Message::Batch(Batch { slot, number, commits }));
        self.watch_begin(conn, space);
    }

    pub(super) fn hear_taken(&mut self, conn: ConnId, space: SpaceId, number: u64) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let Some(bytes) = session.under_way.remove(&number) else {
            return self.close(conn, CODE_PROTOCOL, "a batch was taken that was not sent");
        };
        self.schedule.taken(conn, bytes);
        self.watch(conn, space);
        self.resume_repair(conn, space);
        self.pump(conn, space);
        self.hand_out();
    }

    /// Commits arrived. Live ones that arrive while others are being taken are taken together, so that many small
    /// edits of one entity cost one merge, and before batches, of which each is taken by itself.
    pub(super) fn hear_commits(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        commits: Vec<Vec<u8>>,
        batch: Option<u64>,
    ) {
        let mut keys = Vec::with_capacity(commits.len());
        for commit in &commits {
            match Commit::decode(space, commit) {
                Ok(commit) => keys.push(CommitKey { origin: commit.origin, parts: commit.parts() }),
                Err(error) => {
                    return self.close(conn, CODE_REFUSED, &format!("a commit that cannot be read: {error}"));
                }
            }
        }
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.inbox_bytes += commits.iter().map(Vec::len).sum::<usize>();
        if session.inbox_bytes > INBOX_BYTES_MAX {
            return self.close(conn, CODE_PROTOCOL, "more commits at once than the protocol allows");
        }
        if let Some(sent) = session.sent.as_mut() {
            keys.iter().for_each(|key| digest::note(sent, key));
        }
        let arrived = Arrived { batch, commits, keys };
        match batch {
            Some(_) => session.inbox_bulk.push_back(arrived),
            None => session.inbox_live.push(arrived),
        }
        self.take(conn, space);
    }

    fn take(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if session.taking.is_some() {
            return;
        }
        let mut arrived = std::mem::take(&mut session.inbox_live);
        if arrived.is_empty() {
            arrived.extend(session.inbox_bulk.pop_front());
        }
        if arrived.is_empty() {
            return;
        }
        session.inbox_bytes -= arrived.iter().flat_map(|frame| &frame.commits).map(Vec::len).sum::<usize>();
        let commits = arrived.iter_mut().flat_map(|frame| std::mem::take(&mut frame.commits)).collect();
        session.taking = Some(arrived);
        let from = session.peer;
        self.ask(Purpose::Receive(conn, space), Ask::Receive { space, from, commits });
    }

    /// What arrived was taken. Commits that nobody honest sends end the conversation.
    pub(super) fn received(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        position: Position,
        left_out: &[CommitKey],
        refused: usize,
        reason: Option<String>,
    ) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let (slot, peer) = (session.slot, session.peer);
        let arrived = session.taking.take().unwrap_or_default();
        if refused > 0 {
            let reason = reason.unwrap_or_else(|| "no reason was given".to_owned());
            return self.close(conn, CODE_REFUSED, &format!("{refused} commits were refused: {reason}"));
        }
        for Arrived { batch, keys, .. } in arrived {
            if let Some(number) = batch {
                self.send(conn, Lane::Control, &Message::BatchTaken(BatchTaken { slot, number }));
            }
            for key in keys.into_iter().filter(|key| !left_out.contains(key)) {
                self.undurable.push_back(Undurable { position, space, key, to: Some(peer) });
            }
        }
        self.check_soon(conn, space);
        self.take(conn, space);
        self.pump(conn, space);
    }

    /// Sets the deadline of what the peer owes, unless one runs already.
    pub(super) fn watch_begin(&mut self, conn: ConnId, space: SpaceId) {
        let deadline = self.deadline();
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.deadline.get_or_insert(deadline);
        }
    }
}
