//! How much of its limits a space takes: for the simulator, which looks whether they hold.

use std::collections::{BTreeMap, BTreeSet};

use super::Replica;
use crate::access::Role;
use crate::id::{MemberId, PeerId, SpaceId};

/// What is here of one space, as far as it has a limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fullness {
    /// Bytes of the quarantine, by author.
    pub(crate) held: BTreeMap<PeerId, usize>,
    /// Bytes of all of it.
    pub(crate) held_bytes: usize,
    pub(crate) statements: usize,
    pub(crate) waiting: usize,
    /// All statements that count are followed.
    pub(crate) follows_all: bool,
    pub(crate) collections: usize,
    /// Collections without a rule that one member alone writes to, who is no admin.
    pub(crate) alone: BTreeMap<MemberId, usize>,
    /// The most origins of one member in one vector.
    pub(crate) origins: BTreeMap<MemberId, usize>,
    /// The most origins in one vector.
    pub(crate) origins_most: usize,
}

impl Replica {
    /// Returns how full a space is.
    pub(crate) fn fullness(&self, space: &SpaceId) -> Option<Fullness> {
        let known = self.spaces.get(space)?;
        let (held, held_bytes) = known.held.costs();
        let mut fullness = Fullness {
            held: held.clone(),
            held_bytes,
            statements: known.log.len(),
            waiting: known.log.waiting(),
            follows_all: known.log.follows_all(),
            collections: known.collections.len(),
            ..Fullness::default()
        };
        for (collection, state) in &known.collections {
            let peers: BTreeSet<PeerId> = state.vector.peers().collect();
            let mut writers: BTreeMap<MemberId, usize> = BTreeMap::new();
            for peer in &peers {
                if let Some(member) = known.membership.author_of(peer) {
                    *writers.entry(member.id).or_default() += state.vector.lives_of(peer);
                }
            }
            let is_admin = |peer: &PeerId| known.membership.role(peer) >= Some(Role::Admin);
            let is_free = known.membership.has_rule(collection) || peers.iter().any(is_admin);
            if let (false, Some((member, _)), 1) = (is_free, writers.first_key_value(), writers.len()) {
                *fullness.alone.entry(*member).or_default() += 1;
            }
            for (member, lives) in writers {
                let most = fullness.origins.entry(member).or_default();
                *most = lives.max(*most);
            }
            fullness.origins_most = state.vector.len().max(fullness.origins_most);
        }
        Some(fullness)
    }
}
