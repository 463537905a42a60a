//! A document in memory: what is read of it, and how it is loaded and saved.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, ObjId, ROOT, ReadDoc};

use super::{DocError, Entity, GateError};
use crate::id::{ActorId, ChangeHash};

/// The key of the root map that marks a deleted entity.
///
/// Deleting puts it, restoring takes it away, and nothing else touches it. An edit made elsewhere at the same time
/// therefore leaves the entity deleted, and so does a concurrent restoring that had not seen this deletion.
pub(super) const GONE: &str = "$gone";

/// What an empty document takes up, in bytes; measured.
const EMPTY_BYTES: usize = 12 * 1024;
/// What a change and an operation take up beside their content, in bytes; measured.
const CHANGE_BYTES: usize = 120;
const OP_BYTES: usize = 60;

/// A document in memory. A clone shares what neither side changes.
///
/// Fields of the entity are keys of the root map. Keys that begin with `$` belong to the library.
///
/// # Example
///
/// ```
/// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
/// # use driftless::{Timestamp, id::ActorId};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
/// let mut document = Document::new();
/// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
/// assert_eq!(document.hydrate::<Ticket>()?.title, "tap");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) inner: Automerge,
    /// How many operations the document had when it was last saved and loaded as a trial.
    pub(super) proven_ops: u64,
    /// Each actor's last sequence number.
    pub(super) clock: BTreeMap<ActorId, u64>,
    /// Bytes of the snapshot and the changes that went in.
    pub(super) content_bytes: usize,
}

impl Document {
    /// Makes an empty document.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::doc::Document;
    ///
    /// let document = Document::new();
    /// assert!(document.is_empty() && document.heads().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { inner: Automerge::new(), proven_ops: 0, clock: BTreeMap::new(), content_bytes: 0 }
    }

    /// Loads a document from this device's own disk: a snapshot and the changes that followed it, in one call.
    ///
    /// The bytes were checked by the gate before they were written. Damage is found by their checksums; a panic
    /// inside Automerge becomes an error.
    ///
    /// # Errors
    ///
    /// [`DocError::Damaged`] when the bytes are not a document, or a change depends on one that is not there.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// let made = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?.ok_or("no change")?;
    /// let loaded = Document::load(None, &[&made.bytes])?;
    /// assert_eq!(loaded.heads(), document.heads());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(snapshot: Option<&[u8]>, changes: &[&[u8]]) -> Result<Self, DocError> {
        let damaged = |reason: String| DocError::Damaged { reason };
        let mut bytes = snapshot.unwrap_or_default().to_vec();
        for change in changes {
            bytes.extend_from_slice(change);
        }
        let inner = guarded(|| Automerge::load(&bytes))
            .map_err(damaged)?
            .map_err(|error| damaged(error.to_string()))?;
        let missing = guarded(|| inner.get_missing_deps(&[])).map_err(damaged)?;
        if !missing.is_empty() {
            return Err(damaged(format!("{} changes are missing", missing.len())));
        }
        let mut clock = BTreeMap::new();
        for change in inner.get_changes_meta(&[]) {
            let actor = actor_id(&change.actor).ok_or_else(|| damaged("foreign actor".to_owned()))?;
            let last = clock.entry(actor).or_insert(0);
            *last = change.seq.max(*last);
        }
        Ok(Self { proven_ops: inner.stats().num_ops, inner, clock, content_bytes: bytes.len() })
    }

    /// Returns the document as one snapshot.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// # doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// let snapshot = document.save();
    /// let loaded = Document::load(Some(&snapshot), &[])?;
    /// assert_eq!(loaded.hydrate::<Ticket>()?, document.hydrate::<Ticket>()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.inner.save()
    }

    /// Returns the heads, sorted.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// let mut document = Document::new();
    /// let made = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?.ok_or("no change")?;
    /// assert_eq!(document.heads(), [made.hash]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.inner.get_heads().iter().map(|hash| ChangeHash::new(hash.0)).collect()
    }

    /// Tells whether the document holds a change.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// let made = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?.ok_or("no change")?;
    /// assert!(document.has(&made.hash));
    /// assert!(!Document::new().has(&made.hash));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn has(&self, hash: &ChangeHash) -> bool {
        self.inner.get_change_meta_by_hash(&automerge::ChangeHash(*hash.as_bytes())).is_some()
    }

    /// Returns the chunk of a change; `None` when the document does not hold it.
    pub(crate) fn chunk(&self, hash: &ChangeHash) -> Option<Vec<u8>> {
        let found = guarded(|| self.inner.get_change_by_hash(&automerge_hash(hash))).ok()??;
        Some(found.raw_bytes().to_vec())
    }

    /// Returns each actor's last sequence number, sorted by actor.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// doc::delete()(&mut document, &ada, now)?;
    /// assert_eq!(document.clock(), [(ada, 2)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn clock(&self) -> Vec<(ActorId, u64)> {
        self.clock.iter().map(|(actor, seq)| (*actor, *seq)).collect()
    }

    /// Returns an actor's last sequence number, zero when it has made no change.
    pub(super) fn last_seq(&self, actor: &ActorId) -> u64 {
        self.clock.get(actor).copied().unwrap_or(0)
    }

    /// Tells whether the entity is deleted.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// assert!(!document.is_deleted());
    /// doc::delete()(&mut document, &ada, now)?;
    /// assert!(document.is_deleted());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(self.inner.get(ROOT, GONE), Ok(Some(_)))
    }

    /// Tells whether the document holds no change.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// assert!(document.is_empty());
    /// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// assert!(!document.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Returns roughly how much memory the document takes up, for the budget of a cache.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// let empty = document.bytes();
    /// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// assert!(document.bytes() > empty);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> usize {
        let stats = self.inner.stats();
        EMPTY_BYTES
            + self.content_bytes
            + stats.num_changes as usize * CHANGE_BYTES
            + stats.num_ops as usize * OP_BYTES
    }

    /// Reads the document as a value of an entity type.
    ///
    /// # Errors
    ///
    /// [`DocError::Hydrate`] when the document has not the shape of the type.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// let ticket: Ticket = document.hydrate()?;
    /// assert_eq!(ticket.title, "tap");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hydrate<T: Entity>(&self) -> Result<T, DocError> {
        let refused = |reason: String| DocError::Hydrate { kind: T::COLLECTION.to_owned(), reason };
        guarded(|| autosurgeon::hydrate::<_, T>(&self.inner))
            .map_err(refused)?
            .map_err(|error| refused(error.to_string()))
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a piece of Automerge that sees bytes from elsewhere; a panic becomes its message.
///
/// What `work` was changing is worthless after a panic: callers give it a draft and drop that.
pub(super) fn guarded<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|cause| {
        let message = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| cause.downcast_ref::<String>().cloned());
        format!("automerge panicked: {}", message.unwrap_or_else(|| "without a message".to_owned()))
    })
}

/// Returns an actor of Automerge as ours, if it has the length.
pub(super) fn actor_id(actor: &automerge::ActorId) -> Option<ActorId> {
    actor.to_bytes().try_into().ok().map(ActorId::new)
}

/// The same the other way.
pub(super) fn automerge_actor(actor: &ActorId) -> automerge::ActorId {
    automerge::ActorId::from(actor.as_bytes().as_slice())
}

/// The change hash in Automerge's type.
pub(super) fn automerge_hash(hash: &ChangeHash) -> automerge::ChangeHash {
    automerge::ChangeHash(*hash.as_bytes())
}

/// Names the operation `counter` of `actor` as an object.
pub(super) fn object(counter: u64, actor: &ActorId) -> ObjId {
    ObjId::Id(counter, automerge_actor(actor), 0)
}

impl From<GateError> for DocError {
    fn from(error: GateError) -> Self {
        match error {
            GateError::TooLarge { what, count, max } => Self::TooLarge { what, count, max },
            GateError::Malformed { .. }
            | GateError::Missing { .. }
            | GateError::Causality
            | GateError::Operation { .. }
            | GateError::Unusable { .. } => Self::Refused(error),
        }
    }
}
