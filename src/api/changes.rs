//! Subscriptions to a collection: a snapshot, then every change.

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::doc::{Entity, row_value};
use crate::driver::{ChangedRow, Happening, Until};
use crate::id::{CollectionName, EntityId, PeerId, SpaceId};
use crate::limits::PAGE_ROWS_MAX;
use crate::replica::{Reader, Replica, ReplicaError};

use super::Error;
use super::collection::{Collection, decode};
use super::events::ChangeKind;

/// What a subscription tells.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, _, tickets, _) = shop().await?;
/// use driftless::Update;
///
/// let mut changes = tickets.changes().await?;
/// match changes.next().await.transpose()? {
///     Some(Update::Snapshot(all)) => assert_eq!(all.len(), 1),
///     Some(Update::Changed(changed)) => println!("{} changed", changed.len()),
///     Some(_) | None => println!("the node was closed"),
/// }
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update<T> {
    /// All entities, in order of id. The first update, and again whenever the reader was too slow to be told
    /// every change: it replaces what was known.
    Snapshot(Vec<(EntityId, T)>),
    /// What one commit changed in the collection, at least one entity.
    Changed(Vec<Change<T>>),
}

/// One entity that changed.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, _, tickets, id) = shop().await?;
/// use driftless::{ChangeKind, Update};
///
/// # let mut changes = tickets.changes().await?;
/// # changes.next().await.transpose()?;
/// tickets.update(id, |ticket| ticket.done = true).await?;
/// let Some(Update::Changed(changed)) = changes.next().await.transpose()? else { panic!("the update") };
/// assert_eq!((changed[0].id, changed[0].kind), (id, ChangeKind::Updated));
/// assert_eq!(changed[0].value.as_ref().map(|ticket| ticket.done), Some(true));
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change<T> {
    /// The entity.
    pub id: EntityId,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Its value; `None` when it was deleted or is damaged. Commits that arrive together may show in the first of their
    /// changes already.
    pub value: Option<T>,
    /// The peer that delivered the change; `None` when it was made here.
    pub from: Option<PeerId>,
}

/// A subscription to a collection. Made by [`Collection::changes`].
///
/// It buffers at most 1,024 events of the node. A reader that falls further behind gets a new snapshot
/// instead of what it missed; nobody waits for it.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, _, tickets, _) = shop().await?;
/// let mut changes = tickets.changes().await?;
/// # node.close().await?;
/// while let Some(update) = changes.next().await.transpose()? {
///     match update {
///         driftless::Update::Snapshot(all) => println!("{} tickets", all.len()),
///         driftless::Update::Changed(changed) => println!("{} of them changed", changed.len()),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Changes<T: Entity> {
    collection: Collection<T>,
    happenings: broadcast::Receiver<Happening>,
    /// Rows to be handed out before anything else.
    snapshot: Option<Vec<(EntityId, Vec<u8>)>>,
    lagged: bool,
}

impl<T: Entity> Changes<T> {
    pub(super) async fn open(collection: Collection<T>) -> Result<Self, Error> {
        let (happenings, rows) = snapshot(&collection).await?;
        Ok(Self { collection, happenings, snapshot: Some(rows), lagged: false })
    }

    /// Waits for the next update; `None` when the node was closed.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] when a value cannot be read as `T`: the update that held it is skipped, and the
    /// subscription goes on. What the store says when a new snapshot is needed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no update.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _, tickets, _) = shop().await?;
    /// use driftless::Update;
    ///
    /// let mut changes = tickets.changes().await?;
    /// let Some(Update::Snapshot(all)) = changes.next().await.transpose()? else { panic!("no snapshot") };
    /// assert_eq!(all.len(), 1);
    ///
    /// node.close().await?;
    /// assert!(changes.next().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Update<T>, Error>> {
        loop {
            if self.lagged {
                match snapshot(&self.collection).await {
                    Ok((happenings, rows)) => {
                        (self.happenings, self.snapshot, self.lagged) = (happenings, Some(rows), false);
                    }
                    Err(Error::Closed) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
            if let Some(rows) = self.snapshot.take() {
                return Some(decode(rows).map(Update::Snapshot));
            }
            match self.happenings.recv().await {
                Ok(Happening::Closed) | Err(RecvError::Closed) => return None,
                Ok(Happening::Changed { space, from, rows }) if space == self.collection.space().id() => {
                    match self.changed(from, &rows) {
                        Ok(changes) if changes.is_empty() => {}
                        Ok(changes) => return Some(Ok(Update::Changed(changes))),
                        Err(error) => return Some(Err(error)),
                    }
                }
                Ok(Happening::Erased { space }) if space == self.collection.space().id() => return None,
                Ok(
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
                    | Happening::Expired { .. },
                ) => {}
                Err(RecvError::Lagged(_)) => self.lagged = true,
            }
        }
    }

    fn changed(&self, from: Option<PeerId>, rows: &[ChangedRow]) -> Result<Vec<Change<T>>, Error> {
        let ours = rows.iter().filter(|row| row.collection == *self.collection.name());
        let changes = ours.map(|row| {
            let value = row.row.as_deref().map(row_value).transpose()?;
            Ok(Change { id: row.entity, kind: row.change.into(), value, from })
        });
        changes.collect()
    }
}

type Rows = Vec<(EntityId, Vec<u8>)>;

/// Subscribes and reads all rows in one turn of the storage thread, so that no change falls between the two.
async fn snapshot<T: Entity>(
    collection: &Collection<T>,
) -> Result<(broadcast::Receiver<Happening>, Rows), Error> {
    let (space, name) = (collection.space().id(), collection.name().clone());
    let call = collection.space().node.driver.call(Until::Read, move |turn| {
        let happenings = turn.feed.happenings();
        let read = |replica: &mut Replica| read_all(&replica.reader(), &space, &name);
        Ok((happenings, turn.replica.mending(turn.now, read)?))
    });
    Ok(call.await?)
}

fn read_all(reader: &Reader, space: &SpaceId, name: &CollectionName) -> Result<Rows, ReplicaError> {
    let mut all = Rows::new();
    loop {
        let after = all.last().map(|(id, _)| *id);
        let page = reader.rows(space, name, after, PAGE_ROWS_MAX)?;
        let full = page.len() == PAGE_ROWS_MAX;
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}
