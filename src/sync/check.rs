//! The comparison that ends every sync: digests of logs, vectors and roots, each side's as on its disk.

use super::{ConnId, Engine, Lane, Purpose, Session, digest};
use crate::exchange::{Ask, CommitKey, SpaceState, Vectors};
use crate::id::SpaceId;
use crate::limits::{
    CHECK_DELAY_MS, FEED_ROUNDS_MAX, HUB_TRUST_MS, LOG_ROUNDS_MAX, QUIET_CHECK_MS, REPAIR_ROUNDS_MAX,
    ROOT_CHECK_MS,
};
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
    /// What this side holds.
    fn held(&self) -> [Digest; 3] {
        [self.log, self.vectors, self.roots]
    }

    /// Whether both sides hold the same.
    fn agree_with(&self, theirs: &Self) -> bool {
        let all = |digests: &Self| (digests.log, digests.vectors, digests.roots, digests.revisions);
        all(self) == all(theirs)
    }
}

/// One comparison, as this side sees it.
#[derive(Debug)]
struct Compared {
    mine: Digests,
    theirs: Digests,
    /// Ours.
    vectors: Vectors,
    /// Either side has something on its way.
    busy: bool,
    say: Say,
}

/// What follows from a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Both hold the same.
    Agree,
    /// They do, but for what a hub cannot look into.
    AgreeWithHub,
    /// They do, and count it differently.
    AgreeApart,
    CompareSoon,
    CompareMuchLater,
    /// Both tell what they hold, and are fed.
    TellVectors,
    /// This side begins to compare entity by entity.
    Repair,
    /// The peer does.
    AwaitRepair,
}

impl Next {
    fn is_agreement(self) -> bool {
        matches!(self, Self::Agree | Self::AgreeWithHub | Self::AgreeApart)
    }

    /// It is counted: so many in a row without agreement are enough.
    fn is_a_round(self) -> bool {
        matches!(
            self,
            Self::AgreeWithHub
                | Self::CompareMuchLater
                | Self::TellVectors
                | Self::Repair
                | Self::AwaitRepair
        )
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

    /// A commit that is held may wait for one that was left out for want of room, and that finds room when another waits
    /// for it: two that rest because they did not come to agree compare a few times more.
    pub(super) fn heed_held(&mut self, conn: ConnId, space: SpaceId, held: &[CommitKey]) {
        if let Some(session) = self.sessions.get_mut(&(conn, space)).filter(|_| !held.is_empty()) {
            session.rounds = session.rounds.min(REPAIR_ROUNDS_MAX - FEED_ROUNDS_MAX);
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
        let vectors = self.vectors_of(conn, &state);
        let mine = self.digests_of(conn, &state, &vectors);
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
                    let busy = busy || their_busy;
                    self.compare(conn, space, Compared { mine, theirs, vectors, busy, say });
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
        self.compare(conn, space, Compared { mine, theirs, vectors, busy, say: Say::Ask });
    }

    /// Does what follows from both sides' digests.
    fn compare(&mut self, conn: ConnId, space: SpaceId, compared: Compared) {
        if compared.mine.log != compared.theirs.log {
            self.logs_differ(conn, space, [compared.mine.log, compared.theirs.log]);
        }
        let now = self.now.instant;
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let held = compared.mine.held();
        if session.rests.take_if(|(until, of)| *until <= now && *of != held).is_some() {
            // What kept them from agreeing may have passed.
            session.rounds = session.rounds.min(REPAIR_ROUNDS_MAX - FEED_ROUNDS_MAX);
        }
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let next = self.what_follows(conn, session, &compared);
        let Compared { mine, theirs, vectors, .. } = compared;
        if !next.is_agreement() {
            self.set_in_sync(conn, space, false);
        }
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.rounds += u32::from(next.is_a_round());
        match next {
            Next::Agree => {
                self.metrics.roots_equal.add(1);
                self.note_acked_if_new(conn, space, &vectors);
                self.agreed(conn, space, vectors);
            }
            Next::AgreeWithHub => {
                self.note_acked_if_new(conn, space, &vectors);
                self.agreed(conn, space, vectors);
            }
            Next::AgreeApart => self.agreed_apart(conn, space),
            Next::CompareSoon => self.check_soon(conn, space),
            Next::CompareMuchLater => {
                let until = now.plus_ms(ROOT_CHECK_MS);
                session.check_due = Some(until);
                session.rests.get_or_insert((until, held));
            }
            Next::TellVectors => {
                session.urgent = true;
                session.anew = true;
                session.equal = mine.roots == theirs.roots;
                self.ask(Purpose::Vectors(conn, space, Say::Ask), Ask::State { space });
            }
            Next::Repair => {
                self.metrics.roots_contradicted.add(1);
                let told = session.sent.iter().flat_map(|sent| sent.keys().cloned());
                let collections = vectors.into_keys().chain(told).collect();
                self.begin_repair(conn, space, collections);
            }
            Next::AwaitRepair => {
                self.metrics.roots_contradicted.add(1);
                self.check_soon(conn, space);
            }
        }
    }

    /// The first of these cases that is so. While something is on its way the two may differ by that alone; the side
    /// that is busy compares again when it is done.
    fn what_follows(&self, conn: ConnId, session: &Session, compared: &Compared) -> Next {
        let Compared { mine, theirs, busy, say, .. } = compared;
        let leads = self.me < session.peer;
        // They have been exchanged, and one has no room for what the other has.
        let is_for_good = |(of, rounds)| of == [mine.log, theirs.log] && rounds > LOG_ROUNDS_MAX;
        let apart = session.logs.is_some_and(is_for_good);
        let log = mine.log == theirs.log || apart;
        let (vectors, roots) = (mine.vectors == theirs.vectors, mine.roots == theirs.roots);
        let trusted_until = session.repaired.map(|repaired| repaired.plus_ms(HUB_TRUST_MS));
        let repaired = trusted_until.is_some_and(|until| self.now.instant < until);
        // What one side keeps in quarantine it counts as received and feeds to nobody: telling vectors again brings
        // nothing then, and only comparing entity by entity makes the roots equal.
        let unfed = session.rounds >= FEED_ROUNDS_MAX && !roots && leads;
        let cases = [
            (mine.agree_with(theirs), Next::Agree),
            // They speak of different collections; what follows a change of interests comes to its end first.
            (mine.revisions != theirs.revisions, Next::CompareSoon),
            (vectors && roots && apart && !*busy, Next::AgreeApart),
            // The statements are on their way.
            (vectors && roots, Next::CompareSoon),
            (*busy, Next::CompareSoon),
            // What was told before the last repair is older than what that brought.
            ([mine.repairs, theirs.repairs] != [session.repairs; 2], Next::CompareSoon),
            (roots && log && session.heard == Some(theirs.vectors), Next::AgreeApart),
            (session.rounds >= REPAIR_ROUNDS_MAX, Next::CompareMuchLater),
            // The side that asked acts; this one sees that it comes to an end.
            (!vectors && *say == Say::Answer, Next::CompareSoon),
            (!vectors && !unfed, Next::TellVectors),
            // The two have compared entity by entity, sent all of what differs, and have the same commits: the rest is what
            // one of them has looked into and refused, and the hub has not.
            (vectors && repaired && self.is_with_hub(conn) && log, Next::AgreeWithHub),
            (leads, Next::Repair),
        ];
        cases.into_iter().find(|(is_so, _)| *is_so).map_or(Next::AwaitRepair, |(_, next)| next)
    }

    /// Both sides hold the same.
    pub(super) fn agreed(&mut self, conn: ConnId, space: SpaceId, vectors: Vectors) {
        let now = self.now.instant;
        let again = now.plus_ms(ROOT_CHECK_MS);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.begin_rounds();
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
        session.begin_rounds();
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

    /// The digests of a state of which the vectors are told.
    pub(super) fn digests_of(&self, conn: ConnId, state: &SpaceState, vectors: &Vectors) -> Digests {
        let common = |collection: &_| self.common(conn, state.space, collection);
        let collections = state.collections.iter().filter(|(collection, _)| common(collection));
        Digests {
            log: state.log,
            vectors: digest::of_vectors(vectors),
            roots: digest::of_roots(collections),
            revisions: self.revisions(conn, state.space),
            repairs: self.repairs(conn, state.space),
        }
    }
}
