//! Commits over several entities.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::doc::{self, Edit, Entity, Kind};
use crate::id::EntityId;
use crate::limits::COMMIT_LEAVES_MAX;
use crate::replica::{Intent, Write};

use super::receipt::Receipt;
use super::{Error, Space};

/// The changes of one commit, as [`Space::commit`] collects them. Nothing is written before all are named.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, space, tickets, id) = shop().await?;
/// let half = |tx: &mut driftless::Tx<'_>| {
///     tx.delete::<Ticket>(id)?;
///     tx.delete::<Ticket>(id)
/// };
/// assert!(space.commit(half).await.is_err());
/// assert!(tickets.get(id).await?.is_some());
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Tx<'a> {
    space: &'a Space,
    writes: Vec<Write>,
    kinds: Vec<Arc<dyn Kind>>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(space: &'a Space) -> Self {
        Self { space, writes: Vec::new(), kinds: Vec::new() }
    }

    /// Creates an entity with a random id, and returns the id.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] when the commit has 1,024 entities already; [`Error::Invalid`] as
    /// [`Space::collection`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, _id) = shop().await?;
    /// let ticket = Ticket { title: "brake pads".into(), done: false };
    /// space.commit(|tx| tx.insert(&ticket)).await?;
    /// assert_eq!(tickets.all().await?.len(), 2);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn insert<T: Entity>(&mut self, value: &T) -> Result<EntityId, Error> {
        let id = self.space.node.draw_entity()?;
        self.insert_with_id(id, value)?;
        Ok(id)
    }

    /// Creates an entity with an id of the caller's, for things that several devices may create apart: see
    /// [`EntityId::from_key`] and [`EntityId::derived`].
    ///
    /// # Errors
    ///
    /// As [`Tx::insert`]. The commit fails with [`Error::Exists`] when the entity is here, or was.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// use driftless::EntityId;
    ///
    /// let invoice = EntityId::derived(id, "invoice");
    /// let ticket = Ticket { title: "invoice of the wheel".into(), done: false };
    /// space.commit(|tx| tx.insert_with_id(invoice, &ticket)).await?;
    /// assert_eq!(tickets.get(invoice).await?, Some(ticket));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn insert_with_id<T: Entity>(&mut self, id: EntityId, value: &T) -> Result<(), Error> {
        self.write::<T>(id, Intent::Create, doc::insert(value.clone()))
    }

    /// Changes an entity. `change` gets its value when the commit is made, on the storage thread: keep it
    /// short. What it changes is written, field by field; what it leaves alone is not.
    ///
    /// When it panics, the commit fails with [`Error::Abandoned`].
    ///
    /// # Errors
    ///
    /// As [`Tx::insert`]. The commit fails with [`Error::NotFound`] or [`Error::Deleted`] when the entity is
    /// not here.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// space.commit(|tx| tx.update(id, |ticket: &mut Ticket| ticket.done = true)).await?;
    /// assert_eq!(tickets.get(id).await?.map(|ticket| ticket.done), Some(true));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn update<T: Entity>(
        &mut self,
        id: EntityId,
        change: impl FnOnce(&mut T) + Send + 'static,
    ) -> Result<(), Error> {
        self.write::<T>(id, Intent::Change, doc::try_update(move |value: &mut T| caught(value, change)))
    }

    /// Deletes an entity: it wins over concurrent changes, on all devices. The data stays, and can be
    /// restored.
    ///
    /// # Errors
    ///
    /// As [`Tx::insert`]. The commit fails with [`Error::NotFound`] when the entity is not here.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// space.commit(|tx| tx.delete::<Ticket>(id)).await?;
    /// assert_eq!(tickets.get(id).await?, None);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete<T: Entity>(&mut self, id: EntityId) -> Result<(), Error> {
        self.write::<T>(id, Intent::Delete, doc::delete())
    }

    /// Brings a deleted entity back, with the changes that others made meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Tx::insert`]. The commit fails with [`Error::NotFound`] when the entity is not here.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// tickets.delete(id).await?;
    /// space.commit(|tx| tx.restore::<Ticket>(id)).await?;
    /// assert!(tickets.get(id).await?.is_some());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore<T: Entity>(&mut self, id: EntityId) -> Result<(), Error> {
        self.write::<T>(id, Intent::Restore, doc::restore())
    }

    fn write<T: Entity>(&mut self, entity: EntityId, intent: Intent, edit: Edit) -> Result<(), Error> {
        if self.writes.len() >= COMMIT_LEAVES_MAX {
            let (count, max) = (self.writes.len() as u64 + 1, COMMIT_LEAVES_MAX as u64);
            return Err(Error::TooLarge { what: "number of entities in one commit", count, max });
        }
        let known = self.space.node.known::<T>()?;
        let collection = known.kind.collection().clone();
        if self.writes.iter().any(|write| write.entity == entity && write.collection == collection) {
            let reason = format!("entity {entity} is named twice in one commit");
            return Err(Error::Invalid { what: "commit", reason });
        }
        if !self.kinds.iter().any(|kind| kind.collection() == &collection) {
            self.kinds.push(known.kind);
        }
        self.writes.push(Write { collection, entity, intent, edit });
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<Receipt, Error> {
        let Self { space, writes, kinds } = self;
        let entities = writes.iter().map(|write| write.entity).collect();
        let (node, id) = (Arc::clone(&space.node), space.id());
        if writes.is_empty() {
            return Ok(Receipt::new(node, id, None, entities));
        }
        let call = node.driver.call(node.until, move |turn| {
            for kind in &kinds {
                turn.register(kind)?;
            }
            turn.replica.commit(turn.now, id, writes)
        });
        let committed = call.await?;
        Ok(Receipt::new(node, id, committed.key, entities))
    }
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("space", &self.space.id()).field("writes", &self.writes.len()).finish()
    }
}

/// Runs code of the app; its panic is its own and ends the commit, not the storage thread.
fn caught<T>(value: &mut T, change: impl FnOnce(&mut T)) -> Result<(), &'static str> {
    catch_unwind(AssertUnwindSafe(|| change(value))).map_err(|_| "its closure panicked")
}
