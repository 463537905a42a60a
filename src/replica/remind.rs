//! Telling peers of clashes: who sends what they are about is answered, and who agrees with this node is reminded of those
//! that it may not have heard of. Neither faster than it takes them.

use super::clash::{packed, sides};
use super::clashed::{Basis, Clash, ClashPlace};
use super::planted::Check;
use super::space::Space;
use super::{Replica, ReplicaError, Told};
use crate::access::{Action, Commit, Membership};
use crate::exchange::{Answer, Scope};
use crate::id::{CommitHash, PeerId, SpaceId};
use crate::limits::{CLASHES_ANSWERED_BYTES, CLASHES_TOLD_BYTES};
use crate::store::keyspaces::ClashKey;

/// With how many bytes of clashes what one call brought was answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answered {
    /// Those that it is about.
    bytes: usize,
    /// Others of which its sender was told because it is seen to know one.
    reminded_bytes: usize,
}

/// Of how many clashes a peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remind {
    /// Of [`CLASHES_TOLD_BYTES`], or of none while it does not answer.
    Some,
    /// The same, or of one while it does not answer.
    Again,
    /// Of one more, if any is left: it was seen to know of one.
    Next,
}

impl Space {
    /// The clashes that a commit is about, or by which it is frozen.
    fn clashes_about(&self, commit: &Commit, hash: &CommitHash) -> Vec<Clash> {
        let mut about = Vec::new();
        for (collection, oseq) in commit.parts() {
            let place = (collection, commit.origin);
            let Some(clashes) = self.clashes.get(&place) else { continue };
            let frozen = self.frozen_from(&place).filter(|from| oseq >= *from);
            let concerns = clashes
                .pairs
                .iter()
                .filter(|(from, pair)| frozen == Some(**from) || pair.hashes.contains(hash));
            about.extend(concerns.map(|(from, _)| (place.clone(), *from)));
        }
        about
    }

    /// The next clash of which a peer is to be told: one of which it was not, or else, when `again`, one of those that it
    /// is not seen to know.
    fn next_clash(&mut self, me: PeerId, peer: PeerId, again: bool) -> Option<Clash> {
        let Self { clashes, membership, .. } = self;
        let scope = clashes.basis(&peer)?.scope.clone();
        let untold = clashes.next_untold(peer, hears(membership, me, peer, &scope));
        if again { untold.or_else(|| clashes.next_unanswered(&peer)) } else { untold }
    }
}

impl Replica {
    /// Answers who sends a commit that a clash is about, or that is frozen by one, with the two that prove it, once.
    /// One call is answered with [`CLASHES_ANSWERED_BYTES`], which is never less than came, and one clash more: who does not
    /// know the rest does not agree, and sends what they are about again.
    pub(super) fn answer_clash(
        &mut self,
        space: SpaceId,
        commit: &Commit,
        hash: &CommitHash,
        from: PeerId,
    ) -> Result<(), ReplicaError> {
        if self.lacks(Check::Proof) {
            return Ok(());
        }
        let about = self.spaces.get(&space).map(|known| known.clashes_about(commit, hash));
        let mut answered = false;
        for clash in about.unwrap_or_default() {
            if self.answered.bytes >= CLASHES_ANSWERED_BYTES {
                break;
            }
            let known = self.spaces.get_mut(&space);
            if known.is_some_and(|known| known.clashes.note_known(from, &clash)) {
                answered = true;
                self.answered.bytes += self.tell_clash(space, &clash, from)?;
            }
        }
        if answered && self.answered.reminded_bytes < CLASHES_TOLD_BYTES {
            self.remind(space, from, Remind::Next)?;
        }
        Ok(())
    }

    /// Tells a peer with which this node agrees of the clashes that it may not have heard of. It answers what it knows,
    /// and then it is not told again on that connection: while the two do not agree yet, only what the peer itself sends
    /// can show that it has forgotten what it was told on another, see `answer_clash`. What counts between the two is told
    /// when they agree.
    pub(super) fn remind_of_clashes(
        &mut self,
        space: SpaceId,
        peer: PeerId,
        agreed: Option<Scope>,
        again: bool,
    ) -> Result<Answer, ReplicaError> {
        let (lacks, me) = (self.lacks(Check::Proof), self.peer);
        let Some(known) = self.spaces.get_mut(&space).filter(|_| !lacks) else { return Ok(Answer::Done) };
        let Some(scope) = agreed else {
            known.clashes.forget_told(&peer);
            return Ok(Answer::Done);
        };
        let basis = Basis { log: known.log.digest(), scope: scope.clone() };
        known.clashes.note_agreed(peer, basis, hears(&known.membership, me, peer, &scope));
        self.remind(space, peer, if again { Remind::Again } else { Remind::Some })?;
        Ok(Answer::Done)
    }

    /// Tells a peer of clashes that it is not known to know, as they came to be known here; of those of which it was told
    /// in vain when there are no others.
    fn remind(&mut self, space: SpaceId, peer: PeerId, how: Remind) -> Result<(), ReplicaError> {
        let me = self.peer;
        let Some(known) = self.spaces.get_mut(&space) else { return Ok(()) };
        // Who has not answered is told one, now and then: it may be one that it has no room for.
        let whole = how != Remind::Next && known.clashes.has_answered(&peer);
        if how == Remind::Some && !whole {
            return Ok(());
        }
        let (mut bytes, bytes_max) = (0, if whole { CLASHES_TOLD_BYTES } else { 1 });
        let mut next = known.next_clash(me, peer, how == Remind::Again && !whole);
        while let Some(clash) = next {
            bytes += self.tell_clash(space, &clash, peer)?;
            let known = self.spaces.get_mut(&space).filter(|_| bytes < bytes_max);
            next = known.and_then(|known| known.next_clash(me, peer, false));
        }
        self.answered.reminded_bytes += bytes;
        Ok(())
    }

    /// Tells a peer of a clash. Returns the bytes of its two commits.
    fn tell_clash(
        &mut self,
        space: SpaceId,
        (place, from): &Clash,
        to: PeerId,
    ) -> Result<usize, ReplicaError> {
        let (collection, origin) = place.clone();
        let key = ClashKey { space, collection, origin, from: *from };
        let Some(record) = self.store.get(&key)? else { return Ok(0) };
        let commits = sides(space, &record)?.iter().map(packed).collect();
        self.told.push_back(Told::Clash { space, commits, to: Some(to) });
        Ok(record.one.len() + record.other.len())
    }
}

/// Whether a peer hears of clashes: of those of members, in collections that it may read and wants. What is sent of others
/// it does not get.
fn hears<'a>(
    membership: &'a Membership,
    me: PeerId,
    peer: PeerId,
    scope: &'a Scope,
) -> impl Fn(&ClashPlace) -> bool + 'a {
    move |(collection, origin)| {
        let may = |device: &PeerId| membership.may(device, Action::Read, collection);
        membership.role(&origin.peer).is_some()
            && may(&me)
            && may(&peer)
            && scope.flows(collection, origin.peer == me)
    }
}
