//! The end of the time that a commit waits in quarantine.
//!
//! A commit that has waited for [`QUARANTINE_WAIT_MS`] is dropped, and does not count as received any more: its numbers
//! are taken out of the vectors, where no other commit here has them. So whoever counts it sees at the next comparison
//! that it is not here, sends it, and it is judged anew, or waits once more for as long: at most one transfer in each
//! such time, and none of what nobody counts. Fingerprints never counted it.
//!
//! | Stays | Because |
//! |---|---|
//! | what this device made | others may have dropped it, and counted on that |
//! | what counted here once, and was taken back or lost its ground to damage | a removal or a verdict that changes gives it back, and who else had it took it back too |
//! | what is held for an equivocation | a verdict may pick it, and it may never have counted anywhere |
//! | what the cut of a removal reaches | commits that are applied here may stand by the link to the cut that it is |
//!
//! So one device at least keeps a commit that anybody may need. It counts some day only if its author is a member
//! then, and has what it made; or if a cut reaches it, and the remover had it; or if somebody vouches for it, and had
//! it; or if a verdict picks it. All of these keep theirs, by the table. What is dropped elsewhere is a copy. The device that sent it counted it,
//! for what is held is passed on to nobody. A device that is lost and that nobody removes is taken to have its own.
//!
//! The wait is measured by the steady clock, while this store is open, and the sum is kept in the store: every hour, and
//! when it is closed. A wall clock that is set changes nothing. What is not measured, as the time in which the node
//! is closed or asleep, makes the wait longer, never shorter.

use std::collections::{BTreeMap, BTreeSet};

use super::held::{HeldChanges, HeldId};
use super::{HeldReason, Replica, ReplicaError, Told};
use crate::id::{CollectionName, Origin, PeerId, Seen, SpaceId};
use crate::limits::{EXPIRED_TOGETHER_MAX, QUARANTINE_LOOK_MS};
use crate::store::keyspaces::{Batch, CommitId, HeldCause, Keyspaces, META_OPEN_MS, MetaKey, Raw};
use crate::store::kv::KvError;
use crate::time::{Instant, Now};

/// The clock by which commits wait.
#[derive(Debug)]
pub(super) struct Waits {
    /// For how long the store had been open before it was opened now, in milliseconds.
    before_ms: u64,
    opened: Instant,
    /// The time of the last call that told it.
    pub(super) seen: Instant,
    /// When the quarantine was last looked at.
    looked: Instant,
    /// There may be more to drop at once.
    pub(super) overdue: bool,
}

impl Waits {
    /// Goes on from what the store notes. What cannot be read is counted anew, which makes waits longer.
    pub(super) fn open(store: &Keyspaces, now: Now) -> Result<Self, ReplicaError> {
        let noted = match store.get(&MetaKey(META_OPEN_MS.to_owned())) {
            Err(KvError::Damaged { .. }) => None,
            noted => noted?,
        };
        let before_ms = noted.and_then(|Raw(bytes)| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let at = now.instant;
        Ok(Self { before_ms, opened: at, seen: at, looked: at, overdue: false })
    }

    /// For how long the store has been open, before and now, in milliseconds. Never too long.
    pub(super) fn open_ms(&self) -> u64 {
        self.before_ms.saturating_add(self.seen.ms_since(self.opened))
    }
}

impl Replica {
    /// Notes for how long this store has been open.
    pub(super) fn note_open_ms(&self) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        let open_ms = self.waits.open_ms().to_le_bytes().to_vec();
        batch.put(&MetaKey(META_OPEN_MS.to_owned()), &Raw(open_ms));
        Ok(self.store.write(batch)?)
    }

    /// Every hour, and again while there is more, drops some of what has waited as long as it may.
    pub(super) fn expire_some(&mut self) -> Result<(), ReplicaError> {
        if !self.waits.overdue {
            if self.waits.seen.ms_since(self.waits.looked) < QUARANTINE_LOOK_MS {
                return Ok(());
            }
            self.waits.looked = self.waits.seen;
            self.note_open_ms()?;
        }
        let spaces: Vec<SpaceId> = self.spaces.keys().copied().collect();
        for space in spaces {
            let gone = self.overdue_in(space)?;
            if !gone.is_empty() {
                self.waits.overdue = true;
                return self.drop_overdue(space, &gone);
            }
        }
        self.waits.overdue = false;
        Ok(())
    }

    /// Finds held commits of a space that have waited as long as they may, and do not stay for another reason.
    fn overdue_in(&mut self, space: SpaceId) -> Result<BTreeSet<HeldId>, ReplicaError> {
        let open_ms = self.waits.open_ms();
        let Some(known) = self.spaces.get(&space) else { return Ok(BTreeSet::new()) };
        let overdue = known.held.overdue(open_ms).filter(|(author, _)| *author != self.peer);
        let mut overdue: BTreeSet<HeldId> = overdue.collect();
        let removed: BTreeSet<PeerId> = overdue.iter().map(|(author, _)| *author).collect();
        let removed = removed.into_iter().filter(|author| known.removals.contains_key(author));
        for device in removed.collect::<Vec<_>>() {
            self.know_chains(space, device)?;
        }
        let Some(known) = self.spaces.get(&space) else { return Ok(BTreeSet::new()) };
        overdue.retain(|id| {
            if known.held.cause(id) == Some(HeldCause::Equivocation) {
                return false;
            }
            let chains = known.chains.get(&id.0).filter(|_| known.removals.contains_key(&id.0));
            !chains.is_some_and(|chains| known.held.hash(id).is_some_and(|hash| chains.is_reached(&hash)))
        });
        Ok(overdue.into_iter().take(EXPIRED_TOGETHER_MAX).collect())
    }

    /// Drops held commits, and says so.
    fn drop_overdue(&mut self, space: SpaceId, gone: &BTreeSet<HeldId>) -> Result<(), ReplicaError> {
        let Some(known) = self.spaces.get(&space) else { return Ok(()) };
        let (mut batch, mut changes) = (Batch::new(), HeldChanges::default());
        let mut counts: BTreeMap<(PeerId, u8), (HeldCause, usize)> = BTreeMap::new();
        for id in gone {
            known.held.stage_remove(space, *id, &mut changes, &mut batch);
            if let Some(cause) = known.held.cause(id) {
                counts.entry((id.0, cause as u8)).or_insert((cause, 0)).1 += 1;
            }
        }
        let left = self.seen_without_held(space, gone)?;
        self.stage_vectors(space, &left, &mut batch);
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.held.apply(changes);
        }
        self.take_vectors(space, left)?;
        self.metrics.commits_expired.add(gone.len() as u64);
        let mut dropped: Vec<(PeerId, HeldReason, usize)> = Vec::with_capacity(counts.len());
        for ((author, _), (cause, commits)) in counts {
            tracing::info!(author = %author.short(), commits, ?cause, "held commits expired");
            dropped.push((author, cause.into(), commits));
        }
        self.told.push_back(Told::Expired { space, dropped });
        Ok(())
    }

    /// What counts as received of origins without these held commits.
    fn seen_without_held(
        &self,
        space: SpaceId,
        gone: &BTreeSet<HeldId>,
    ) -> Result<BTreeMap<(CollectionName, Origin), Seen>, ReplicaError> {
        let mut left = BTreeMap::new();
        let Some(known) = self.spaces.get(&space) else { return Ok(left) };
        for ((collection, origin), mut numbers) in known.held.numbers_of_none_but(gone) {
            for oseq in numbers.clone() {
                let id = CommitId { space, collection: collection.clone(), origin, oseq };
                if self.store.get(&id)?.is_some() {
                    numbers.remove(&oseq);
                }
            }
            let seen = known.collections.get(&collection).and_then(|state| state.vector.seen(&origin));
            // With too many holes the numbers stay: the fingerprints tell the difference then.
            if let Some(seen) = seen.and_then(|seen| seen.without(&numbers)) {
                left.insert((collection, origin), seen);
            }
        }
        Ok(left)
    }
}
