//! What a workload sees of one device, and the commits that it makes there.

use std::fmt;
use std::sync::Arc;

use super::oracle::Place;
use crate::access::{Action, Membership};
use crate::doc::{self, Conflict, Edit, Entity};
use crate::id::{CollectionName, EntityId, SpaceId};
use crate::replica::{Intent, Reader, Write};

/// Rows that are read at a time.
const PAGE: usize = 256;

/// One device at one moment: its rows, as the app on it would read them.
///
/// # Example
///
/// ```
/// # use driftless::sim::{Device, Note, Unreadable};
/// fn titles(device: &Device<'_>) -> Result<Vec<String>, Unreadable> {
///     Ok(device.rows::<Note>()?.into_iter().map(|(_, note)| note.title).collect())
/// }
/// ```
#[derive(Debug)]
pub struct Device<'a> {
    number: usize,
    space: SpaceId,
    place: usize,
    reader: &'a Reader,
    membership: Option<Arc<Membership>>,
}

/// A device's store cannot be read: it is damaged, and says so. Workloads pass it on.
///
/// # Example
///
/// ```
/// use driftless::sim::Unreadable;
///
/// let damaged = Unreadable { reason: "checksum".into() };
/// assert_eq!(damaged.to_string(), "the store cannot be read: checksum");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be read: {reason}")]
pub struct Unreadable {
    /// What the store said.
    pub reason: String,
}

impl<'a> Device<'a> {
    pub(super) fn new(
        number: usize,
        place: Place,
        reader: &'a Reader,
        membership: Option<Arc<Membership>>,
    ) -> Self {
        Self { number, space: place.id, place: place.number, reader, membership }
    }

    /// Returns the number of the device; 0 founded the first space. Copies of a store have numbers of their own.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::Device;
    /// fn is_founder(device: &Device<'_>) -> bool {
    ///     device.number() == 0
    /// }
    /// ```
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the number of the space that is looked at. The same entity id in two spaces is two entities.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::Device;
    /// fn is_first(device: &Device<'_>) -> bool {
    ///     device.space() == 0
    /// }
    /// ```
    #[must_use]
    pub fn space(&self) -> usize {
        self.place
    }

    /// Tells whether the device may read the entities of a type. When it may not any more, nothing comes or goes there:
    /// it shows what it read before, and what it made and nobody else got.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{Device, Line, Note};
    /// fn reads_all(device: &Device<'_>) -> bool {
    ///     device.may_read::<Note>() && device.may_read::<Line>()
    /// }
    /// ```
    #[must_use]
    pub fn may_read<T: Entity>(&self) -> bool {
        let peer = self.reader.peer();
        self.membership.as_ref().is_some_and(|known| known.may(&peer, Action::Read, &name::<T>()))
    }

    /// Returns all entities of a type that are not deleted, in order of id.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the store is damaged.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{Device, Note, Unreadable};
    /// fn count(device: &Device<'_>) -> Result<usize, Unreadable> {
    ///     Ok(device.rows::<Note>()?.len())
    /// }
    /// ```
    pub fn rows<T: Entity>(&self) -> Result<Vec<(EntityId, T)>, Unreadable> {
        let collection = name::<T>();
        let rows = rows(self.reader, &self.space, &collection)?;
        let value = |row: &[u8]| doc::row_value(row).map_err(unreadable);
        rows.into_iter().map(|(entity, row)| Ok((entity, value(&row)?))).collect()
    }

    /// Returns one entity; `None` when it is unknown or deleted.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the store is damaged.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{EntityId, sim::{Device, Note, Unreadable}};
    /// fn minutes(device: &Device<'_>, id: &EntityId) -> Result<i64, Unreadable> {
    ///     Ok(device.get::<Note>(id)?.map_or(0, |note| note.minutes.value()))
    /// }
    /// ```
    pub fn get<T: Entity>(&self, entity: &EntityId) -> Result<Option<T>, Unreadable> {
        let row = self.reader.row(&self.space, &name::<T>(), entity).map_err(unreadable)?;
        row.map(|row| doc::row_value(&row).map_err(unreadable)).transpose()
    }

    /// Returns the fields of an entity that have concurrent values.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the store is damaged.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{EntityId, sim::{Device, Note, Unreadable}};
    /// fn is_settled(device: &Device<'_>, id: &EntityId) -> Result<bool, Unreadable> {
    ///     Ok(device.conflicts::<Note>(id)?.is_empty())
    /// }
    /// ```
    pub fn conflicts<T: Entity>(&self, entity: &EntityId) -> Result<Vec<Conflict>, Unreadable> {
        self.reader.conflicts(&self.space, &name::<T>(), entity).map_err(unreadable)
    }
}

/// One commit of a workload: all of it happens, or nothing. An empty one is not made.
///
/// # Example
///
/// ```
/// # use driftless::{EntityId, sim::{Line, Tx}};
/// # let id = EntityId::new([1; 16]);
/// let other = EntityId::new([2; 16]);
/// let tx = Tx::new().insert(id, Line { step: 7 }).delete::<Line>(other);
/// println!("{tx:?}");
/// ```
#[derive(Default)]
pub struct Tx {
    pub(super) writes: Vec<Write>,
}

impl Tx {
    /// Makes an empty commit.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{EntityId, sim::Tx};
    /// let id = EntityId::new([1; 16]);
    /// let nothing = Tx::new();
    /// assert_eq!(format!("{nothing:?}"), "[]");
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an entity.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::{EntityId, sim::{Line, Tx}};
    ///
    /// let id = EntityId::new([1; 16]);
    /// let tx = Tx::new().insert(id, Line { step: 7 });
    /// ```
    #[must_use]
    pub fn insert<T: Entity>(self, entity: EntityId, value: T) -> Self {
        self.write::<T>(entity, Intent::Create, doc::insert(value))
    }

    /// Changes an entity.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::{EntityId, sim::{Line, Tx}};
    ///
    /// let id = EntityId::new([1; 16]);
    /// let tx = Tx::new().update(id, |line: &mut Line| line.step = 8);
    /// ```
    #[must_use]
    pub fn update<T: Entity>(self, entity: EntityId, change: impl FnOnce(&mut T) + Send + 'static) -> Self {
        self.write::<T>(entity, Intent::Change, doc::update(change))
    }

    /// Deletes an entity.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::{EntityId, sim::{Line, Tx}};
    ///
    /// let id = EntityId::new([1; 16]);
    /// let tx = Tx::new().delete::<Line>(id);
    /// ```
    #[must_use]
    pub fn delete<T: Entity>(self, entity: EntityId) -> Self {
        self.write::<T>(entity, Intent::Delete, doc::delete())
    }

    /// Restores a deleted entity.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::{EntityId, sim::{Line, Tx}};
    ///
    /// let id = EntityId::new([1; 16]);
    /// let tx = Tx::new().restore::<Line>(id);
    /// ```
    #[must_use]
    pub fn restore<T: Entity>(self, entity: EntityId) -> Self {
        self.write::<T>(entity, Intent::Restore, doc::restore())
    }

    fn write<T: Entity>(mut self, entity: EntityId, intent: Intent, edit: Edit) -> Self {
        self.writes.push(Write { collection: name::<T>(), entity, intent, edit });
        self
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writes = self.writes.iter().map(|write| (write.intent, &write.collection, write.entity.short()));
        f.debug_list().entries(writes).finish()
    }
}

/// Reads all rows of a collection.
pub(super) fn rows(
    reader: &Reader,
    space: &SpaceId,
    collection: &CollectionName,
) -> Result<Vec<(EntityId, Vec<u8>)>, Unreadable> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|(entity, _)| *entity);
        let page = reader.rows(space, collection, after, PAGE).map_err(unreadable)?;
        let full = page.len() == PAGE;
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}

pub(super) fn unreadable(error: impl fmt::Display) -> Unreadable {
    Unreadable { reason: error.to_string() }
}

fn name<T: Entity>() -> CollectionName {
    CollectionName::new(T::COLLECTION).expect("the kinds of a workload were made from it")
}
