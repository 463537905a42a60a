//! What makes a Rust type an entity, and the same without the type.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DocError, Document};
use crate::id::{CollectionName, CollectionNameError};
use crate::limits::ROW_BYTES_MAX;

/// Which collections a peer that lacks many entities is sent first.
///
/// Everything of a higher priority goes before anything of a lower one; within one, what was applied here first. An
/// edit that is made meanwhile goes ahead of all of them. A commit over several collections goes with the highest
/// of them; what arrives before a change that it follows waits for it, as everything does that comes out of order.
///
/// # Example
///
/// ```
/// use driftless::{Deserialize, Entity, Hydrate, Priority, Reconcile, Serialize};
///
/// #[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
/// struct Photo {
///     caption: String,
/// }
///
/// impl Entity for Photo {
///     const COLLECTION: &'static str = "photos";
///     const VERSION: u32 = 1;
///     const PRIORITY: Priority = Priority::Low;
/// }
/// assert!(Priority::High < Priority::Normal && Priority::Normal < Photo::PRIORITY);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Before all others.
    High,
    /// The default.
    #[default]
    Normal,
    /// After all others.
    Low,
}

/// A type whose values are entities: derive `Reconcile`, `Hydrate`, `Serialize` and `Deserialize`, then name the
/// collection.
///
/// The type is a struct with named fields; no field name begins with `$`. Fields that a newer version of the type
/// added are kept by devices that do not know them.
///
/// # Example
///
/// ```
/// use driftless::{Deserialize, Entity, Hydrate, Reconcile, Serialize};
///
/// #[derive(Clone, Reconcile, Hydrate, Serialize, Deserialize)]
/// struct Ticket { title: String }
///
/// impl Entity for Ticket {
///     const COLLECTION: &'static str = "tickets";
///     const VERSION: u32 = 1;
/// }
/// ```
pub trait Entity:
    autosurgeon::Reconcile + autosurgeon::Hydrate + Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
    /// The collection that the entities live in.
    const COLLECTION: &'static str;
    /// The version of the type. Rows of other versions are rebuilt from their documents.
    const VERSION: u32;
    /// When this device sends entities of the collection to a peer that lacks many. The default is
    /// [`Priority::Normal`].
    ///
    /// It takes effect while the type is in use here (`Space::collection`), and orders what is sent, not what is
    /// asked for: both sides of an app have the same types. It costs nothing and is not stored.
    const PRIORITY: Priority = Priority::Normal;
}

/// An entity type without its type: what the database needs to know of it. [`KindOf`] makes one.
///
/// # Example
///
/// ```
/// # use driftless::doc::{Entity, Hydrate, Kind, KindOf, Reconcile};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// let kinds: Vec<Box<dyn Kind>> = vec![Box::new(KindOf::<Ticket>::new()?)];
/// assert_eq!(kinds[0].collection().as_str(), "tickets");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Kind: Send + Sync + fmt::Debug {
    /// The collection that the entities live in.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{Entity, Hydrate, Kind, KindOf, Reconcile};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// let kind = KindOf::<Ticket>::new()?;
    /// assert_eq!(kind.collection().as_str(), Ticket::COLLECTION);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn collection(&self) -> &CollectionName;

    /// The version of the type.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{Entity, Hydrate, Kind, KindOf, Reconcile};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// let kind = KindOf::<Ticket>::new()?;
    /// assert_eq!(kind.version(), Ticket::VERSION);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn version(&self) -> u32;

    /// Builds the row of a document: the hydrated value as self-describing bytes.
    ///
    /// # Errors
    ///
    /// [`DocError::Hydrate`] when the document has not the shape of the type; [`DocError::TooLarge`] when the row
    /// is over its limit.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Kind, KindOf, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// let row = KindOf::<Ticket>::new()?.row(&document)?;
    /// assert_eq!(doc::row_value::<Ticket>(&row)?.title, "tap");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn row(&self, document: &Document) -> Result<Vec<u8>, DocError>;

    /// Returns when entities of the kind are sent to a peer that lacks many.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{Entity, Hydrate, Kind, KindOf, Priority, Reconcile};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// assert_eq!(KindOf::<Ticket>::new()?.priority(), Priority::Normal);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn priority(&self) -> Priority {
        Priority::Normal
    }
}

/// The kind of the entity type `T`.
///
/// # Example
///
/// ```
/// # use driftless::doc::{Entity, Hydrate, KindOf, Reconcile};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// let kind = KindOf::<Ticket>::new()?;
/// assert_eq!(format!("{kind:?}"), "KindOf(tickets v1)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KindOf<T> {
    collection: CollectionName,
    entity: PhantomData<fn() -> T>,
}

impl<T: Entity> KindOf<T> {
    /// Makes the kind.
    ///
    /// # Errors
    ///
    /// [`CollectionNameError`] when [`Entity::COLLECTION`] is not a collection name.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{Entity, Hydrate, Kind, KindOf, Reconcile};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// let kind = KindOf::<Ticket>::new()?;
    /// assert_eq!((kind.collection().as_str(), kind.version()), ("tickets", 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Result<Self, CollectionNameError> {
        Ok(Self { collection: CollectionName::new(T::COLLECTION)?, entity: PhantomData })
    }
}

impl<T: Entity> Kind for KindOf<T> {
    fn collection(&self) -> &CollectionName {
        &self.collection
    }

    fn version(&self) -> u32 {
        T::VERSION
    }

    fn priority(&self) -> Priority {
        T::PRIORITY
    }

    fn row(&self, document: &Document) -> Result<Vec<u8>, DocError> {
        let value: T = document.hydrate()?;
        let row = rmp_serde::to_vec_named(&value)
            .map_err(|error| DocError::Row { kind: T::COLLECTION.to_owned(), reason: error.to_string() })?;
        if row.len() > ROW_BYTES_MAX {
            return Err(DocError::TooLarge {
                what: "row bytes",
                count: row.len() as u64,
                max: ROW_BYTES_MAX as u64,
            });
        }
        Ok(row)
    }
}

impl<T: Entity> fmt::Debug for KindOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KindOf({} v{})", T::COLLECTION, T::VERSION)
    }
}

/// Decodes a row.
///
/// # Errors
///
/// [`DocError::Row`] when the bytes are not a row of `T`.
///
/// # Example
///
/// ```
/// # use driftless::doc::{self, Document, Entity, Hydrate, Kind, KindOf, Reconcile};
/// # use driftless::{Timestamp, id::ActorId};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
/// # let mut document = Document::new();
/// # doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
/// let row = KindOf::<Ticket>::new()?.row(&document)?;
/// let ticket: Ticket = doc::row_value(&row)?;
/// assert_eq!(ticket, document.hydrate()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn row_value<T: Entity>(row: &[u8]) -> Result<T, DocError> {
    rmp_serde::from_slice(row)
        .map_err(|error| DocError::Row { kind: T::COLLECTION.to_owned(), reason: error.to_string() })
}
