//! What happens in a space, whatever the types of its entities.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::driver::Happening;
use crate::id::{EntityId, PeerId, SpaceId};
use crate::replica::{HeldReason, RowChange};

use super::conflict::{FieldConflict, named};
use super::{JoinRequest, Space};

/// What happened to an entity.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, tickets, id) = shop().await?;
/// use driftless::{ChangeKind, SpaceEvent};
///
/// let mut events = shop.events();
/// tickets.delete(id).await?;
///
/// let Some(SpaceEvent::Changed { entities, .. }) = events.next().await else { panic!("the deletion") };
/// assert_eq!(entities[0].kind, ChangeKind::Deleted);
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new here.
    Inserted,
    /// Its value changed.
    Updated,
    /// It was deleted.
    Deleted,
    /// It was deleted, and is back.
    Restored,
    /// This device's disk lost changes of it. It is not served until they are back; see [`SpaceEvent::Damaged`].
    Damaged,
    /// It was damaged, and is whole again.
    Repaired,
}

impl From<RowChange> for ChangeKind {
    fn from(change: RowChange) -> Self {
        match change {
            RowChange::Inserted => Self::Inserted,
            RowChange::Updated => Self::Updated,
            RowChange::Deleted => Self::Deleted,
            RowChange::Restored => Self::Restored,
            RowChange::Damaged => Self::Damaged,
            RowChange::Repaired => Self::Repaired,
        }
    }
}

/// One entity that a commit changed.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, tickets, id) = shop().await?;
/// use driftless::SpaceEvent;
///
/// let mut events = shop.events();
/// tickets.update(id, |ticket| ticket.done = true).await?;
///
/// let Some(SpaceEvent::Changed { entities, .. }) = events.next().await else { panic!("the update") };
/// assert_eq!((entities[0].collection.as_str(), entities[0].id), ("tickets", id));
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityChange {
    /// The collection.
    pub collection: String,
    /// The entity.
    pub id: EntityId,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// Something that happened in a space.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, tickets, id) = shop().await?;
/// use driftless::SpaceEvent;
///
/// let mut events = shop.events();
/// # tickets.update(id, |ticket| ticket.done = true).await?;
/// match events.next().await {
///     Some(SpaceEvent::Changed { entities, .. }) => println!("{} entities changed", entities.len()),
///     Some(SpaceEvent::Conflict { conflict, .. }) => println!("look at {}", conflict.field()),
///     _ => {}
/// }
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SpaceEvent {
    /// One commit changed these entities, of collections whose types were opened with
    /// [`Space::collection`].
    Changed {
        /// The peer that delivered it; absent when it was made here.
        from: Option<PeerId>,
        /// The entities.
        entities: Vec<EntityChange>,
    },
    /// A field got concurrent values, or another one beside those that it had.
    Conflict {
        /// The collection.
        collection: String,
        /// The entity.
        id: EntityId,
        /// The field and its values.
        conflict: FieldConflict,
    },
    /// This device's disk lost changes of an entity. It is not served until a peer has sent them again, or the loss
    /// is accepted with [`super::Collection::accept_loss`].
    Damaged {
        /// The collection.
        collection: String,
        /// The entity.
        id: EntityId,
        /// How many of the lost changes were made on this device, and no other one had confirmed them: unless one
        /// has them all the same, they are lost for good.
        only_here: u64,
    },
    /// A damaged entity is whole again.
    Repaired {
        /// The collection.
        collection: String,
        /// The entity.
        id: EntityId,
        /// The peer that sent what was lost last; absent when the loss was accepted.
        from: Option<PeerId>,
    },
    /// Commits that were applied here do not count any more, for their author was removed or their right to be made
    /// was. They are in quarantine, with all that depended on them, and their entities are as if they had never come;
    /// [`SpaceEvent::Changed`] told that before, without a peer.
    TakenBack {
        /// The device that made them.
        author: PeerId,
        /// How many.
        commits: usize,
        /// Why.
        reason: HeldReason,
    },
    /// Commits that waited in quarantine for thirty days in which this node was open were dropped. They never counted
    /// here and nobody needs them, so nothing that was shown changes; whoever counts them sends them again.
    Expired {
        /// The device that made them.
        author: PeerId,
        /// How many.
        commits: usize,
        /// Why they waited.
        reason: HeldReason,
    },
    /// A peer told of entities in a collection of which this device wants the index: read it again with
    /// [`Collection::index`](super::Collection::index).
    Indexed {
        /// The collection.
        collection: String,
    },
    /// Members, roles or rules changed.
    Members,
    /// A device asks to be let in by an invite of this one, and waits for [`Space::approve`] or
    /// [`Space::decline`].
    JoinRequested {
        /// Who asks.
        request: JoinRequest,
    },
    /// This device was removed from the space, or its member was. Nothing more is received or sent, and writing is
    /// denied; what is here stays readable until [`Space::erase`]. It comes behind [`SpaceEvent::Members`], and
    /// again only after the device was let in again.
    Removed,
    /// The space was erased from this device; nothing follows. See [`Space::erase`] and
    /// [`Builder::when_removed`](crate::Builder::when_removed).
    Erased,
    /// The reader was too slow, and this many events of the node are lost: read again what matters.
    Lagged {
        /// How many.
        events: u64,
    },
}

/// The events of a space, from the moment that they were asked for. Made by [`Space::events`].
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, tickets, id) = shop().await?;
/// let mut events = shop.events();
/// tickets.update(id, |ticket| ticket.done = true).await?;
/// # node.close().await?;
///
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    space: Space,
    happenings: broadcast::Receiver<Happening>,
    erased: bool,
}

impl Events {
    pub(super) fn new(space: Space, happenings: broadcast::Receiver<Happening>) -> Self {
        Self { space, happenings, erased: false }
    }

    /// Waits for the next event; `None` when the node was closed, and behind [`SpaceEvent::Erased`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, tickets, id) = shop().await?;
    /// use driftless::SpaceEvent;
    ///
    /// let mut events = shop.events();
    /// tickets.update(id, |ticket| ticket.done = true).await?;
    /// let Some(SpaceEvent::Changed { from, entities }) = events.next().await else { panic!("the update") };
    /// assert_eq!((from, entities.len()), (None, 1));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<SpaceEvent> {
        while !self.erased {
            let happening = match self.happenings.recv().await {
                Ok(happening) => happening,
                Err(broadcast::error::RecvError::Lagged(events)) => {
                    return Some(SpaceEvent::Lagged { events });
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            match happening {
                Happening::Closed => return None,
                Happening::Changed { space, from, rows } if space == self.id() => {
                    let entities = rows.iter().map(|row| EntityChange {
                        collection: row.collection.as_str().to_owned(),
                        id: row.entity,
                        kind: row.change.into(),
                    });
                    return Some(SpaceEvent::Changed { from, entities: entities.collect() });
                }
                Happening::Conflict { space, collection, entity, conflict, origins }
                    if space == self.id() =>
                {
                    let membership = self.space.membership();
                    let conflict = Arc::unwrap_or_clone(conflict);
                    let conflict = named(conflict, &space, &entity, &membership, &origins);
                    let collection = collection.as_str().to_owned();
                    return Some(SpaceEvent::Conflict { collection, id: entity, conflict });
                }
                Happening::Members { space } if space == self.id() => return Some(SpaceEvent::Members),
                Happening::Damaged { space, collection, entity, only_here } if space == self.id() => {
                    let collection = collection.as_str().to_owned();
                    return Some(SpaceEvent::Damaged { collection, id: entity, only_here });
                }
                Happening::Repaired { space, collection, entity, from } if space == self.id() => {
                    let collection = collection.as_str().to_owned();
                    return Some(SpaceEvent::Repaired { collection, id: entity, from });
                }
                Happening::Indexed { space, collection } if space == self.id() => {
                    return Some(SpaceEvent::Indexed { collection: collection.as_str().to_owned() });
                }
                Happening::JoinRequested { space, applicant } if space == self.id() => {
                    let request = Arc::unwrap_or_clone(applicant).into();
                    return Some(SpaceEvent::JoinRequested { request });
                }
                Happening::Removed { space } if space == self.id() => return Some(SpaceEvent::Removed),
                Happening::Erased { space } if space == self.id() => {
                    self.erased = true;
                    return Some(SpaceEvent::Erased);
                }
                Happening::TakenBack { space, author, commits, reason } if space == self.id() => {
                    return Some(SpaceEvent::TakenBack { author, commits, reason });
                }
                Happening::Expired { space, author, commits, reason } if space == self.id() => {
                    return Some(SpaceEvent::Expired { author, commits, reason });
                }
                Happening::Changed { .. }
                | Happening::Conflict { .. }
                | Happening::Damaged { .. }
                | Happening::Repaired { .. }
                | Happening::Indexed { .. }
                | Happening::Members { .. }
                | Happening::JoinRequested { .. }
                | Happening::Removed { .. }
                | Happening::Erased { .. }
                | Happening::TakenBack { .. }
                | Happening::Expired { .. } => {}
            }
        }
        None
    }

    fn id(&self) -> SpaceId {
        self.space.id()
    }
}
