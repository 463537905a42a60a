//! Fields with concurrent values, with who wrote each and when.

use crate::access::Membership;
use crate::doc::{Conflict, Value};
use crate::id::{ActorId, EntityId, Origin, SpaceId};
use crate::time::Timestamp;

use super::person::{Author, author};

/// A field that several devices changed without knowing of each other.
///
/// Every device shows the same value in the entity, the first of `values`. The others are kept until somebody
/// writes another value than the shown one into the field, which settles it.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, desk, bench, tickets, others, id) = desks().await?;
/// bench.pause().await?;
/// tickets.update(id, |ticket| ticket.title = "front wheel".into()).await?;
/// others.update(id, |ticket| ticket.title = "back wheel".into()).await?;
/// bench.resume().await?;
/// # agree(&bench, &tickets, &others).await?;
///
/// let conflicts = tickets.conflicts(id).await?;
/// assert_eq!((conflicts[0].field().as_str(), conflicts[0].values.len()), ("title", 2));
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FieldConflict {
    /// Where the field is: its name, or the names that lead to it through nested values.
    pub path: Vec<String>,
    /// All values, the one that is shown first. At least two.
    pub values: Vec<FieldValue>,
}

/// One of the concurrent values of a field.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, desk, bench, tickets, _, id) = conflict().await?;
/// for value in &tickets.conflicts(id).await?[0].values {
///     let who = value.author.as_ref().map_or("somebody", |author| author.member_name.as_str());
///     println!("{who} wrote {:?} at {}", value.value, value.time);
/// }
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FieldValue {
    /// The value.
    pub value: Value,
    /// Who wrote it, when that device is known here.
    pub author: Option<Author>,
    /// When, by the clock of the device that wrote it. Clocks may be wrong; nothing is decided by it.
    pub time: Timestamp,
}

impl FieldConflict {
    /// Returns the path as text, with dots between its parts.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, tickets, _, id) = conflict().await?;
    /// for conflict in tickets.conflicts(id).await? {
    ///     println!("{} has {} values", conflict.field(), conflict.values.len());
    /// }
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn field(&self) -> String {
        self.path.join(".")
    }
}

/// Names the authors of a conflict. `origins` are those with commits in the collection: an actor is one of
/// them.
pub(super) fn named(
    conflict: Conflict,
    space: &SpaceId,
    entity: &EntityId,
    membership: &Membership,
    origins: &[Origin],
) -> FieldConflict {
    let who = |actor: &ActorId| {
        let origin = origins.iter().find(|origin| ActorId::derive(space, entity, origin) == *actor)?;
        author(membership, &origin.peer)
    };
    let Conflict { path, values } = conflict;
    let values = values.into_iter().map(|value| FieldValue {
        author: who(&value.actor),
        value: value.value,
        time: value.time,
    });
    FieldConflict { path, values: values.collect() }
}
