//! A collection: all entities of one type in a space.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::doc::{Entity, row_value};
use crate::driver::{Turn, Until, origins};
use crate::id::{CollectionName, EntityId};
use crate::limits::PAGE_ROWS_MAX;
use crate::replica::{Reader, ReplicaError};

use super::changes::Changes;
use super::conflict::{FieldConflict, named};
use super::node::Known;
use super::receipt::Receipt;
use super::status::SyncStatus;
use super::{Error, Space};

/// All entities of one type in a space. Cheap to clone. Made by [`Space::collection`].
///
/// Reads come from rows, which follow the entities' documents at every change; they wait for nobody. Each
/// call that writes is one commit: on return it is on disk here and on its way to connected peers.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use driftless::{Counter, Deserialize, Entity, Hydrate, Node, Reconcile, Serialize};
///
/// #[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
/// struct Part { name: String, stock: Counter }
///
/// impl Entity for Part {
///     const COLLECTION: &'static str = "parts";
///     const VERSION: u32 = 1;
/// }
///
/// let node = Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open().await?;
/// let shop = node.create_space("Corner Repairs").await?;
/// let parts = shop.collection::<Part>()?;
///
/// let id = parts.insert(&Part { name: "brake pad".into(), stock: Counter::from(12) }).await?;
/// parts.update(id, |part| part.stock.increment(-1)).await?;
///
/// assert_eq!(parts.get(id).await?.map(|part| part.stock.value()), Some(11));
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Collection<T> {
    space: Space,
    known: Known,
    entity: PhantomData<fn() -> T>,
}

/// A page of a collection, in order of id.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, _space, tickets, id) = shop().await?;
/// let page = tickets.page(None, 10).await?;
/// assert_eq!(page.entities.first().map(|(first, _)| *first), Some(id));
/// assert_eq!(page.next, None);
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The entities with their ids.
    pub entities: Vec<(EntityId, T)>,
    /// What to pass to get the next page; `None` when this was the last.
    pub next: Option<EntityId>,
}

impl<T: Entity> Collection<T> {
    pub(super) fn new(space: Space, known: Known) -> Self {
        Self { space, known, entity: PhantomData }
    }

    /// Creates an entity with a random id, and returns the id.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when this member may not write the collection, [`Error::TooLarge`],
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the entity created.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, _id) = shop().await?;
    /// let id = tickets.insert(&Ticket { title: "brake pads".into(), done: false }).await?;
    /// assert!(tickets.get(id).await?.is_some());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert(&self, value: &T) -> Result<EntityId, Error> {
        let id = self.space.node.draw_entity()?;
        self.insert_with_id(id, value).await?;
        Ok(id)
    }

    /// Creates an entity with an id of the caller's, for things that several devices may create apart: see
    /// [`EntityId::from_key`] and [`EntityId::derived`].
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when the entity is here, or was, else as [`Collection::insert`].
    ///
    /// # Cancel safety
    ///
    /// As [`Collection::insert`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, _id) = shop().await?;
    /// use driftless::{EntityId, Error};
    ///
    /// let id = EntityId::from_key("yearly service", b"PUMP-7");
    /// let ticket = Ticket { title: "service of the pump".into(), done: false };
    /// tickets.insert_with_id(id, &ticket).await?;
    /// let again = tickets.insert_with_id(id, &ticket).await;
    /// assert!(matches!(again, Err(Error::Exists { .. })));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert_with_id(&self, id: EntityId, value: &T) -> Result<Receipt, Error> {
        self.space.commit(|tx| tx.insert_with_id(id, value)).await
    }

    /// Changes an entity. `change` gets its value on the storage thread: keep it short. What it changes is
    /// written, field by field; what it leaves alone is not, and an update that changes nothing writes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] or [`Error::Deleted`] when the entity is not here, [`Error::Abandoned`] when
    /// `change` panics, else as [`Collection::insert`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the change made.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// tickets.update(id, |ticket| ticket.done = true).await?;
    /// assert_eq!(tickets.get(id).await?.map(|ticket| ticket.done), Some(true));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update(
        &self,
        id: EntityId,
        change: impl FnOnce(&mut T) + Send + 'static,
    ) -> Result<Receipt, Error> {
        self.space.commit(|tx| tx.update(id, change)).await
    }

    /// Deletes an entity: it wins over concurrent changes, on all devices. The data stays, and can be
    /// restored.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when the entity is not here, else as [`Collection::insert`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the entity deleted.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// tickets.delete(id).await?;
    /// assert_eq!(tickets.get(id).await?, None);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, id: EntityId) -> Result<Receipt, Error> {
        self.space.commit(|tx| tx.delete::<T>(id)).await
    }

    /// Brings a deleted entity back, with the changes that others made meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the entity restored.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// tickets.delete(id).await?;
    /// tickets.restore(id).await?;
    /// assert!(tickets.get(id).await?.is_some());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn restore(&self, id: EntityId) -> Result<Receipt, Error> {
        self.space.commit(|tx| tx.restore::<T>(id)).await
    }

    /// Returns an entity; `None` when it is not here or deleted. Reads one row, in some ten microseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when the disk lost changes of the entity, [`Error::Corrupt`] when the store itself is
    /// damaged, [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// let ticket = tickets.get(id).await?;
    /// assert_eq!(ticket, Some(Ticket { title: "wheel".into(), done: false }));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, id: EntityId) -> Result<Option<T>, Error> {
        let (space, name) = (self.space.id(), self.name());
        let row = self.read(|reader| reader.row(&space, name, &id)).await?;
        row.map(|row| row_value(&row)).transpose().map_err(Error::from)
    }

    /// Returns all entities with their ids, in order of id. Holds all of them in memory; see
    /// [`Collection::page`]. Damaged entities are left out, and named in [`crate::SpaceStatus::damaged`].
    ///
    /// # Errors
    ///
    /// As [`Collection::get`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, _id) = shop().await?;
    /// for (id, ticket) in tickets.all().await? {
    ///     println!("{id} {}", ticket.title);
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn all(&self) -> Result<Vec<(EntityId, T)>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(after, PAGE_ROWS_MAX).await?;
            all.extend(page.entities);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Returns at most `limit` entities behind `after`, in order of id. Pages do not move when entities come
    /// or go.
    ///
    /// A limit over 1,024 counts as 1,024, and 0 as 1.
    ///
    /// # Errors
    ///
    /// As [`Collection::get`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, _id) = shop().await?;
    /// let mut after = None;
    /// loop {
    ///     let page = tickets.page(after, 100).await?;
    ///     println!("{} tickets", page.entities.len());
    ///     after = page.next;
    ///     if after.is_none() {
    ///         break;
    ///     }
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn page(&self, after: Option<EntityId>, limit: usize) -> Result<Page<T>, Error> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        // One row more than asked for tells whether there is another page.
        let (space, name) = (self.space.id(), self.name());
        let mut rows = self.read(|reader| reader.rows(&space, name, after, limit + 1)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().map(|(id, _)| *id).filter(|_| more);
        Ok(Page { entities: decode(rows)?, next })
    }

    /// Takes what is left of a damaged entity for all of it, so that it can be read and changed again; nothing is
    /// left of one whose every change is lost, and it is unknown then. Changes nothing when the entity is whole.
    ///
    /// For an entity that no peer can repair, because only this device had what is lost. Peers hear of nothing:
    /// they never had it. Commits that can be read and build on the lost ones stay held back, with
    /// [`crate::HeldReason::MissingDependency`]. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have accepted the loss or not.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// for damaged in space.status().await?.damaged {
    ///     if damaged.only_here > 0 && damaged.collection == "tickets" {
    ///         tickets.accept_loss(damaged.id).await?;
    ///     }
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn accept_loss(&self, id: EntityId) -> Result<(), Error> {
        self.reader().await?;
        let key = (self.space.id(), self.name().clone(), id);
        let accept = move |turn: &mut Turn<'_>| {
            let (space, collection, entity) = key;
            turn.replica.accept_loss(turn.now, space, &collection, entity)
        };
        Ok(self.space.node.driver.call(Until::Synced, accept).await?)
    }

    /// Returns the fields of an entity that have concurrent values, with all of them, who wrote them and
    /// when. Loads the entity's document: some hundred microseconds.
    ///
    /// # Errors
    ///
    /// As [`Collection::get`]. An entity that is not here has no conflicts.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// for conflict in tickets.conflicts(id).await? {
    ///     println!("{} has {} values", conflict.path.join("."), conflict.values.len());
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn conflicts(&self, id: EntityId) -> Result<Vec<FieldConflict>, Error> {
        let (space, name) = (self.space.id(), self.name().clone());
        let conflicts = self.read(|reader| reader.conflicts(&space, &name, &id)).await?;
        if conflicts.is_empty() {
            return Ok(Vec::new());
        }
        let call = self
            .space
            .node
            .driver
            .call(Until::Read, move |turn| Ok(origins(turn.replica, turn.now, space, &name)));
        let origins = call.await?;
        let membership = self.space.membership();
        let conflicts = conflicts.into_iter();
        Ok(conflicts.map(|conflict| named(conflict, &space, &id, &membership, &origins)).collect())
    }

    /// Returns an entity together with its fields that have concurrent values, both of the same moment; `None`
    /// when it is unknown or deleted. [`Collection::get`] and [`Collection::conflicts`] apart may have another
    /// commit between them.
    ///
    /// Waits for the commit that is being written, and loads the document when it is not in memory.
    ///
    /// # Errors
    ///
    /// As [`Collection::get`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// let (ticket, conflicts) = tickets.get_with_conflicts(id).await?.expect("just made");
    /// assert_eq!(ticket.title, "wheel");
    /// assert!(conflicts.is_empty(), "nobody else changed it");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_with_conflicts(&self, id: EntityId) -> Result<Option<(T, Vec<FieldConflict>)>, Error> {
        let (space, name) = (self.space.id(), self.name().clone());
        self.reader().await?;
        let call = self.space.node.driver.call(Until::Read, move |turn| {
            let (row, conflicts) = turn.replica.mending(turn.now, |replica| {
                let reader = replica.reader();
                Ok((reader.row(&space, &name, &id)?, reader.conflicts(&space, &name, &id)?))
            })?;
            let origins =
                if conflicts.is_empty() { Vec::new() } else { origins(turn.replica, turn.now, space, &name) };
            Ok((row, conflicts, origins))
        });
        let (row, conflicts, origins) = call.await?;
        let Some(row) = row else { return Ok(None) };
        let membership = self.space.membership();
        let named = |conflict| named(conflict, &space, &id, &membership, &origins);
        Ok(Some((row_value(&row)?, conflicts.into_iter().map(named).collect())))
    }

    /// Returns where the newest change that this device made to an entity is stored.
    ///
    /// # Errors
    ///
    /// As [`Collection::get`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// use driftless::SyncStatus;
    ///
    /// assert_eq!(tickets.sync_status(id).await?, SyncStatus::Pending);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sync_status(&self, id: EntityId) -> Result<SyncStatus, Error> {
        let (space, name) = (self.space.id(), self.name());
        let Some(key) = self.read(|reader| reader.newest_own(&space, name, &id)).await? else {
            return Ok(SyncStatus::NotChangedHere);
        };
        let devices = self.read(|reader| reader.stored_by(&space, &key)).await?;
        Ok(if devices.is_empty() { SyncStatus::Pending } else { SyncStatus::StoredOn(devices) })
    }

    /// Returns a subscription: first a snapshot of all entities, then every change, once and in order.
    ///
    /// The snapshot is held in memory until it is read. Dropping the subscription ends it.
    ///
    /// # Errors
    ///
    /// As [`Collection::get`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use driftless::{Deserialize, Entity, Hydrate, Node, Reconcile, Serialize};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
    /// # struct Note { text: String }
    /// # impl Entity for Note {
    /// #     const COLLECTION: &'static str = "notes";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let dir = tempfile::tempdir()?;
    /// # let node = Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open().await?;
    /// # let space = node.create_space("Notes").await?;
    /// use driftless::Update;
    ///
    /// let notes = space.collection::<Note>()?;
    /// let mut changes = notes.changes().await?;
    /// let Some(Ok(Update::Snapshot(at_first))) = changes.next().await else { panic!("a snapshot first") };
    /// assert_eq!(at_first, []);
    ///
    /// let id = notes.insert(&Note { text: "buy tubes".into() }).await?;
    /// let Some(Ok(Update::Changed(changed))) = changes.next().await else { panic!("then the change") };
    /// assert_eq!(changed[0].id, id);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn changes(&self) -> Result<Changes<T>, Error> {
        self.reader().await?;
        Changes::open(self.clone()).await
    }

    /// Returns the space.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, _id) = shop().await?;
    /// assert_eq!(tickets.space(), &space);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    pub(super) fn name(&self) -> &CollectionName {
        self.known.kind.collection()
    }

    /// Reads, and again when damage was met and mended.
    pub(super) async fn read<R>(
        &self,
        read: impl Fn(&Reader) -> Result<R, ReplicaError>,
    ) -> Result<R, Error> {
        self.reader().await?;
        Ok(self.space.node.driver.read(read).await?)
    }

    /// Returns the reader, once the rows of the type are there.
    pub(super) async fn reader(&self) -> Result<Reader, Error> {
        let register = || async {
            let kind = Arc::clone(&self.known.kind);
            self.space.node.driver.call(Until::Written, move |turn| turn.register(&kind)).await
        };
        self.known.ready.get_or_try_init(register).await?;
        self.space.reader()
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self { space: self.space.clone(), known: self.known.clone(), entity: PhantomData }
    }
}

impl<T: Entity> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("space", &self.space.id()).field("name", &T::COLLECTION).finish()
    }
}

/// Decodes rows.
pub(super) fn decode<T: Entity>(rows: Vec<(EntityId, Vec<u8>)>) -> Result<Vec<(EntityId, T)>, Error> {
    rows.into_iter().map(|(id, row)| Ok((id, row_value(&row)?))).collect()
}
