//! What can go wrong with a document, and why the gate refuses a change.

use crate::id::ChangeHash;

/// Why a document could not be read or edited.
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
/// let nothing = doc::delete()(&mut document, &ada, now);
/// assert_eq!(nothing, Err(doc::DocError::Absent));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocError {
    /// The document has not the shape of the type.
    #[error("the document cannot be read as {kind}: {reason}")]
    Hydrate {
        /// The collection of the type.
        kind: String,
        /// What is missing or of another type.
        reason: String,
    },
    /// The value could not be written into the document.
    #[error("the value of {kind} cannot be written: {reason}")]
    Write {
        /// The collection of the type.
        kind: String,
        /// What was wrong with it.
        reason: String,
    },
    /// The row could not be encoded or decoded.
    #[error("the row of {kind}: {reason}")]
    Row {
        /// The collection of the type.
        kind: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A field name that begins with `$` belongs to the library.
    #[error("the field {field:?} is reserved")]
    Reserved {
        /// The field.
        field: String,
    },
    /// An insert met an entity that is there.
    #[error("the entity exists")]
    Exists,
    /// A change or a deletion met no entity.
    #[error("the entity does not exist")]
    Absent,
    /// The entity is deleted; restoring it is an act of its own.
    #[error("the entity is deleted")]
    Deleted,
    /// The edit would make something larger than a limit.
    #[error("{what} of {count} exceeds {max}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// How large it would be.
        count: u64,
        /// The limit.
        max: u64,
    },
    /// The edit would make a change that other devices refuse.
    #[error("the change would be refused elsewhere")]
    Refused(#[source] GateError),
    /// The caller's closure gave up.
    #[error("the edit was given up: {reason}")]
    Abandoned {
        /// What the closure said.
        reason: String,
    },
    /// Stored bytes are not a document.
    #[error("the stored document is damaged: {reason}")]
    Damaged {
        /// What was wrong with it.
        reason: String,
    },
}

/// Why a foreign change was not admitted.
///
/// # Example
///
/// ```
/// use driftless::doc::{GateError, gate};
///
/// let refused = gate::prescan(b"no change");
/// assert_eq!(refused, Err(GateError::Malformed { what: "magic bytes" }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The chunk has a form that no honest device writes.
    #[error("malformed: {what}")]
    Malformed {
        /// The part that is wrong.
        what: &'static str,
    },
    /// A length or a count is over its limit.
    #[error("{what} of {count} exceeds {max}")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How much there is.
        count: u64,
        /// The limit.
        max: u64,
    },
    /// Dependencies that the document does not hold. Not the sender's fault: the change waits.
    #[error("depends on {} changes that are not here", missing.len())]
    Missing {
        /// Which ones, sorted.
        missing: Vec<ChangeHash>,
    },
    /// The change does not follow its actor's previous one, or does not count operations on from its
    /// dependencies.
    #[error("does not follow its actor's previous change")]
    Causality,
    /// An operation names something that its author cannot have seen, or that is of another type.
    #[error("operation {index} {what}")]
    Operation {
        /// Which operation of the change.
        index: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Automerge refused the change, or the document could not have been saved and loaded with it.
    #[error("the document would be unusable: {reason}")]
    Unusable {
        /// What went wrong.
        reason: String,
    },
}
