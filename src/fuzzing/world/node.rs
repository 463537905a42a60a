//! One device of a world: an engine and a database over a disk in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::WorldError;
use crate::doc::Kind;
use crate::id::PeerId;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::replica::{Replica, Told};
use crate::sim::heard;
use crate::store::Values;
use crate::store::kv::memory::Memory;
use crate::sync::{Engine, Event, Options};
use crate::time::Now;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) peer: PeerId,
    pub(super) engine: Engine,
    pub(super) replica: Replica,
    /// Something may be written and not synced.
    pub(super) dirty: bool,
    /// What came of an action and is to be handed over once the engine is drained.
    pub(super) engine_later: VecDeque<Event>,
    /// Commits applied since the start, by author.
    pub(super) applied: BTreeMap<PeerId, u64>,
}

impl Node {
    pub(super) fn new(seed: [u8; 32], now: Now, kinds: &[Arc<dyn Kind>]) -> Result<Self, WorldError> {
        let identity = Arc::new(Identity::from_seed(seed));
        let (engine, replica) = start(&identity, seed, now, kinds)?;
        Ok(Self {
            peer: identity.peer(),
            engine,
            replica,
            dirty: true,
            engine_later: VecDeque::new(),
            applied: BTreeMap::new(),
        })
    }

    /// What the database told since the last call, as the engine's events.
    pub(super) fn told(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for told in self.replica.drain() {
            if let Told::Stored { stored, .. } = &told {
                *self.applied.entry(stored.commit.key.origin.peer).or_default() += 1;
            }
            events.extend(heard(told));
        }
        events
    }
}

fn start(
    identity: &Arc<Identity>,
    entropy: [u8; 32],
    now: Now,
    kinds: &[Arc<dyn Kind>],
) -> Result<(Engine, Replica), WorldError> {
    let values = Values::memory(&Memory::new()).map_err(WorldError::of)?;
    let metrics = Arc::new(Metrics::default());
    let mut replica = Replica::open(values, Arc::clone(identity), entropy, now, Arc::clone(&metrics))
        .map_err(WorldError::of)?;
    for kind in kinds {
        replica.register(Arc::clone(kind)).map_err(WorldError::of)?;
    }
    Ok((Engine::new(identity.peer(), Options::default(), metrics), replica))
}
