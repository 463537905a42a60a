//! The comparison that ends every sync: digests of logs, vectors and roots, each side's as on its disk.

use super::{ConnId, Engine, Lane, Purpose, digest};
use crate::exchange::{Ask, SpaceState, Vectors};
use crate::id::SpaceId;
use crate::limits::{CHECK_DELAY_MS, FEED_ROUNDS_MAX, QUIET_CHECK_MS, REPAIR_ROUNDS_MAX, ROOT_CHECK_MS};
use crate::wire::{Digest, Message, Revisions, Roots};

/// Whether a message asks for the peer's side or answers with ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Ask,
    Answer,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digests {
    pub(super) log: Digest,
    pub(super) vectors: Digest,
    pub(super) roots: Digest,
    /// The interests by which the collections were chosen, as this side says it.
    pub(super) revisions: Revisions,
    /// How many steps of repairs had been begun.
    pub(super) repairs: u64,
}

impl Digests {
    /// Whether both sides hold the same.
    fn agree_with(&self, theirs: &Self) -> bool {
        let all = |digests: &Self| (digests.log, digests.vectors, digests.roots, digests.revisions);
        all(self) == all(theirs)
    }
}

impl Engine {
    /// Compares when nothing has changed for a little while.
    pub(super) fn check_soon(&mut self, conn: ConnId, space: SpaceId) {
        let due = self.now.instant.plus_ms(CHECK_DELAY_MS);
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.check_due = Some(due);
        }
    }

    /// Compares as soon as nothing is on its way.
    pub(super) fn check_at_once(&mut self, conn: ConnId, space: SpaceId) {
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.urgent = true;
        }
        self.begin_check(conn, space);
    }

    /// What this side told of a space is no longer so: every peer hears what is.
    pub(super) fn check_all(&mut self, space: SpaceId) {
        for conn in self.conns_of(space) {
            self.set_in_sync(conn, space, false);
            self.check_at_once(conn, space);
        }
    }

    pub(super) fn begin_check(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.check_due = None;
        if session.checking || !session.is_idle() {
            // What is on its way ends in `pump`, which comes back here.
            session.urgent = true;
            return;
        }
        session.checking = true;
        session.urgent = false;
        self.ask(Purpose::Check(conn, space, Say::Ask), Ask::State { space });
        self.watch_begin(conn, space);
    }

    pub(super) fn check_ready(&mut self, conn: ConnId, space: SpaceId, say: Say, state: SpaceState) {
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let (slot, busy) = (session.slot, !session.is_idle());
        let mine = self.digests_of(conn, &state);
        let vectors = self.vectors_of(conn, &state);
        let answer = say == Say::Ask;
        let Digests { log, vectors: digest, roots, revisions, repairs } = mine;
        self.send(
            conn,
            Lane::Control,
            &Message::Roots(Roots { slot, log, vectors: digest, roots, answer, busy, revisions, repairs }),
        );
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        match say {
            Say::Ask => session.shown = Some((mine, vectors)),
            Say::Answer => {
                if let Some((theirs, their_busy)) = session.asked.take() {
                    self.compare(conn, space, mine, vectors, theirs, busy || their_busy, say);
                }
            }
        }
    }

    pub(super) fn hear_roots(&mut self, conn: ConnId, space: SpaceId, roots: &Roots) {
        let (revisions, repairs) = (roots.revisions.mirrored(), roots.repairs);
        let theirs =
            Digests { log: roots.log, vectors: roots.vectors, roots: roots.roots, revisions, repairs };
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if roots.answer {
            let waits = session.asked.is_some();
            session.asked = Some((theirs, roots.busy));
            if !waits {
                self.ask(Purpose::Check(conn, space, Say::Answer), Ask::State { space });
            }
            return;
        }
        let Some((mine, vectors)) = session.shown.take() else {
            return self.close(conn, super::conn::CODE_PROTOCOL, "digests without a question");
        };
        session.checking = false;
        let busy = roots.busy || !session.is_idle();
        self.watch(conn, space);
        self.compare(conn, space, mine, vectors, theirs, busy, Say::Ask);
    }

    /// What follows from both sides' digests. While something is on its way they may differ by that alone; the
    /// side that is busy compares again when it is done.
    #[expect(
        clippy::too_many_arguments,
        reason = "the two sides of one comparison, each with its circumstances"
    )]
    fn compare(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        mine: Digests,
        vectors: Vectors,
        theirs: Digests,
        busy: bool,
        say: Say,
    ) {
        if mine.log != theirs.log {
            self.ask_shorts(conn, space);
        }
        if mine.agree_with(&theirs) {
            self.metrics.roots_equal.add(1);
            self.note_acked_if_new(conn, space, &vectors);
            return self.agreed(conn, space, vectors);
        }
        if mine.revisions != theirs.revisions {
            // They speak of different collections; what follows a change of interests comes to its end first.
            return self.check_soon(conn, space);
        }
        // The statements of the log are on their way, where it alone differs. What was told before the last repair
        // is older than what that brought.
        let log_alone = mine.vectors == theirs.vectors && mine.roots == theirs.roots;
        if log_alone || busy || [mine.repairs, theirs.repairs] != [self.repairs(conn, space); 2] {
            return self.check_soon(conn, space);
        }
        let with_hub = self.is_with_hub(conn);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let leads = self.me < session.peer;
        let differ_by_notes = mine.roots == theirs.roots && mine.log == theirs.log;
        if differ_by_notes && session.heard == Some(theirs.vectors) {
            return self.agreed_apart(conn, space);
        }
        if mine.vectors != theirs.vectors && say == Say::Answer {
            // The side that asked acts; this one sees that it comes to an end.
            return self.check_soon(conn, space);
        }
        session.rounds += 1;
        if session.rounds > REPAIR_ROUNDS_MAX {
            session.check_due = Some(self.now.instant.plus_ms(ROOT_CHECK_MS));
            return;
        }
        // What one side keeps in quarantine it counts as received and feeds to nobody: telling vectors again brings
        // nothing then, and only comparing entity by entity makes the roots equal.
        let unfed = session.rounds > FEED_ROUNDS_MAX && mine.roots != theirs.roots && leads;
        if mine.vectors != theirs.vectors && !unfed {
            session.urgent = true;
            session.anew = true;
            session.equal = mine.roots == theirs.roots;
            return self.ask(Purpose::Vectors(conn, space, Say::Ask), Ask::State { space });
        }
        if session.repaired && with_hub && mine.log == theirs.log {
            // The two have compared entity by entity and have the same commits: the rest is what one of them has
            // looked into and refused, and the hub has not.
            self.note_acked_if_new(conn, space, &vectors);
            return self.agreed(conn, space, vectors);
        }
        self.metrics.roots_contradicted.add(1);
        if leads {
            let told = session.sent.iter().flat_map(|sent| sent.keys().cloned());
            let collections = vectors.into_keys().chain(told).collect();
            self.begin_repair(conn, space, collections);
        } else {
            self.check_soon(conn, space);
        }
    }

    /// Both sides hold the same.
    pub(super) fn agreed(&mut self, conn: ConnId, space: SpaceId, vectors: Vectors) {
        let now = self.now.instant;
        let again = now.plus_ms(ROOT_CHECK_MS);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.rounds = 0;
        if let Some(sent) = session.sent.as_mut() {
            digest::merge(sent, &vectors);
        }
        let (peer, quiet) = (session.peer, session.is_idle());
        if quiet {
            session.urgent = false;
            // Where little is wanted and nothing is compared, the membership alone is left to confirm.
            let quiet = vectors.is_empty() && !session.wants.is_everything();
            session.check_due = Some(if quiet { now.plus_ms(QUIET_CHECK_MS) } else { again });
        }
        let digest = digest::of_vectors(&vectors);
        if self.bases.get(&(peer, space)).is_none_or(|base| base.digest != digest) {
            let vectors = vectors.clone();
            self.ask(Purpose::Acked, Ask::Agreed { space, peer, digest, vectors });
        }
        self.bases.insert((peer, space), digest::Base { digest, vectors });
        if quiet {
            self.set_in_sync(conn, space, true);
        }
    }

    /// Both sides hold the same, and have noted different numbers: one of them knows of commits of which the other has
    /// no record, such as what is in quarantine, or says so. The peer has told its numbers and was sent all that they
    /// lack, and nobody takes over on another's word what nothing backs.
    fn agreed_apart(&mut self, conn: ConnId, space: SpaceId) {
        let again = self.now.instant.plus_ms(ROOT_CHECK_MS);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.rounds = 0;
        if session.is_idle() {
            session.urgent = false;
            session.check_due = Some(again);
            self.metrics.roots_equal.add(1);
            self.set_in_sync(conn, space, true);
        }
    }

    /// The peer holds on its disk what this side holds; the note costs a write, so only when it says more.
    fn note_acked_if_new(&mut self, conn: ConnId, space: SpaceId, vectors: &Vectors) {
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let peer = session.peer;
        if self.bases.get(&(peer, space)).is_none_or(|base| base.vectors != *vectors) {
            self.note_acked(space, peer, vectors.clone());
        }
    }

    fn repairs(&self, conn: ConnId, space: SpaceId) -> u64 {
        self.sessions.get(&(conn, space)).map_or(0, |session| session.repairs)
    }

    pub(super) fn digests_of(&self, conn: ConnId, state: &SpaceState) -> Digests {
        let common = |collection: &_| self.common(conn, state.space, collection);
        let collections = state.collections.iter().filter(|(collection, _)| common(collection));
        Digests {
            log: state.log,
            vectors: digest::of_vectors(&self.vectors_of(conn, state)),
            roots: digest::of_roots(collections),
            revisions: self.revisions(conn, state.space),
            repairs: self.repairs(conn, state.space),
        }
    }
}
