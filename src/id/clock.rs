//! Which changes of one entity are held.

use super::{ActorId, EntityId};

/// Which changes of an entity a store holds: each actor's last sequence number, sorted by actor.
///
/// # Example
///
/// ```
/// use driftless::id::{ActorId, EntityClock, EntityId};
///
/// let entity = EntityId::from_key("asset", b"PUMP-7");
/// let phone = ActorId::new([7; 16]);
/// let held = EntityClock { entity, clock: vec![(phone, 4)] };
/// assert_eq!(held.clock, [(phone, 4)]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityClock {
    /// The entity.
    pub entity: EntityId,
    /// Each actor and its last sequence number here; empty when the entity is unknown.
    pub clock: Vec<(ActorId, u64)>,
}
