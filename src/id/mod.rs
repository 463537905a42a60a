//! The identifiers of the library, one type each, and the two small sets built of them.

mod bytes;
mod clock;
mod collection;
mod fingerprint;
mod interest;
mod listing;
mod root;
mod sketch;
mod vector;

pub use bytes::{
    ActorId, ChangeHash, CommitHash, EntityId, MemberId, ParseIdError, PeerId, Salt, SpaceId, StatementHash,
};
pub use clock::EntityClock;
pub use collection::{CollectionName, CollectionNameError};
pub use fingerprint::Fingerprint;
pub use interest::Interest;
pub(crate) use interest::Interests;
pub(crate) use listing::{Contents, Listed, Span, SpanPrint, SpanTold, Version};
pub use root::{Root, RootSum};
pub use sketch::{Cell, Difference, Sketch, Symbol};
pub use vector::{Missing, Seen, Vector, VectorError};

/// One life of a device's store, drawn at random.
///
/// A device takes another incarnation when it cannot prove that its store is the very one it closed: a copied
/// or restored store must never number its changes as the original does.
///
/// # Example
///
/// ```
/// use driftless::id::{Incarnation, Origin, PeerId};
///
/// let peer = PeerId::new([7; 32]);
/// let before = Origin { peer, incarnation: Incarnation(41) };
/// let restored = Origin { peer, incarnation: Incarnation(97) };
/// assert_ne!(before, restored);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// The device and the incarnation that made a commit.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use driftless::id::{Incarnation, Origin, Oseq, PeerId, Vector};
///
/// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
/// let mut held = Vector::new();
/// held.insert(phone, Oseq(1))?;
/// assert!(held.contains(&phone, Oseq(1)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The device.
    pub peer: PeerId,
    /// Its incarnation at that time.
    pub incarnation: Incarnation,
}

/// The number of a commit among those of one origin in one collection; the first is 1.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use driftless::id::{Oseq, Seen};
///
/// let seen = Seen::from_parts(3, vec![])?;
/// assert!(seen.contains(Oseq(3)));
/// assert!(!seen.contains(Oseq(4)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oseq(pub u64);

/// A place in the journal of one store; the first entry is 1, and 0 is before it.
///
/// # Example
///
/// ```
/// use driftless::id::Position;
///
/// let start = Position::default();
/// assert_eq!(start, Position(0));
/// assert!(start < Position(1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);
