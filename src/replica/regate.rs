//! Judging again what the gate refused, when it lets in more than it did.
//!
//! What a gate refuses is held as malformed, and nothing but a gate that knows more makes it count. Who receives such
//! a commit with the newer gate counts it, and who held it before would stay apart from those. So a store notes by
//! which gate its quarantine was judged, and what is held as malformed is judged once more after that has changed.
//!
//! A commit may also be malformed because its change does not fit the type of its entity. So it is judged when the
//! types of all its collections are known: with the last of them that is registered. While one waits for a type, the
//! note stays as it is. A hub needs no types, and judges when it is opened.

use super::receive::Tally;
use super::{Replica, ReplicaError};
use crate::access::Commit;
use crate::doc::gate;
use crate::id::{CollectionName, SpaceId};
use crate::store::keyspaces::{Batch, HeldCause, Keyspaces, META_GATE, MetaKey, Raw};
use crate::store::kv::KvError;

/// Tells whether what a store holds was judged by another gate than this. A note that cannot be read tells nothing.
pub(super) fn is_due(store: &Keyspaces) -> Result<bool, ReplicaError> {
    let noted = match store.get(&note()) {
        Err(KvError::Damaged { .. }) => None,
        noted => noted?,
    };
    Ok(noted != Some(version()))
}

impl Replica {
    /// Judges again what is held as malformed: of a type that was just registered, or all.
    ///
    /// What cannot be read stays held: it must not keep a type from being used, or the store from being opened.
    pub(super) fn regate(&mut self, registered: Option<&CollectionName>) {
        if !self.regates {
            return;
        }
        let spaces: Vec<SpaceId> = self.spaces.keys().copied().collect();
        let opened = self.opened;
        let judged = self.mending(opened, |replica| {
            let mut waits = false;
            for space in &spaces {
                waits |= replica.regate_in(*space, registered)?;
            }
            if waits { Ok(()) } else { replica.note_gate() }
        });
        if let Err(error) = judged {
            tracing::warn!(%error, "what an older gate refused could not be judged again");
        }
    }

    /// Returns whether any waits for the type of one of its collections.
    fn regate_in(
        &mut self,
        space: SpaceId,
        registered: Option<&CollectionName>,
    ) -> Result<bool, ReplicaError> {
        let Some(known) = self.spaces.get(&space) else { return Ok(false) };
        let held = known.held.held_for(&[HeldCause::Malformed]);
        let (mut due, mut waits) = (self.read_held(space, &held)?, false);
        due.retain(|(bytes, _)| {
            let parts = Commit::decode(space, bytes).map(|commit| commit.parts()).unwrap_or_default();
            let typed = self.hub || parts.iter().all(|(collection, _)| self.kinds.contains_key(collection));
            waits |= !typed;
            typed && registered.is_none_or(|of| parts.iter().any(|(collection, _)| collection == of))
        });
        let mut tally = Tally::at_leisure();
        self.take(space, due, &mut tally)?;
        self.metrics.commits_remote.add(tally.applied as u64);
        Ok(waits)
    }

    fn note_gate(&mut self) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        batch.put(&note(), &version());
        self.store.write(batch)?;
        self.regates = false;
        Ok(())
    }
}

fn note() -> MetaKey {
    MetaKey(META_GATE.to_owned())
}

fn version() -> Raw {
    Raw(gate::VERSION.to_le_bytes().to_vec())
}
