//! A signed commit: the unit of transfer and of signature.
//!
//! ```text
//! encoding   origin 40 B | count of `at`, 32 B each, ascending | count of groups, groups | signature 64 B
//! group      length of the collection's name, the name | oseq | option of prev 32 B
//!            | salt 16 B, if there is another group | count of leaves, leaves                   all open
//!            00 | count of collections, 32 B each                                               all blind
//! leaf       entity 16 B | seq | length of the change, the change
//! signed     origin | count of `at`, 32 B each | count of collections, the hash of each 32 B
//! hash       blake3 of "driftless/group/v1" 00 | space | collection | oseq | option of prev
//!            | option of salt 16 B | count of leaves | entity, seq and head of each
//! option     00, or 01 and the value
//! ```
//!
//! `prev` is the hash of the commit that the same device made before in the same collection. So whoever knows
//! one commit of a device knows, by its hash, all that came before it: that is how a removal tells what it
//! lets stand.
//!
//! Neither the space, which the frame names, nor a leaf's `of` and `head` travel: a group holds every leaf
//! that the commit has in its collection, so its length is `of`, and a withheld leaf changes the hash. Leaves
//! ascend by collection and entity; a receiver that may not read a collection gets one hash in its place, which
//! does not tell how many leaves are behind it.
//!
//! Who guesses what is behind a hash could try each guess against the signature. A salt that only readers of the
//! collection get prevents that. It is drawn where a commit is over several collections: one over a single
//! collection is never blinded. The author is free to choose a bad salt, and harms itself alone: a salt hides
//! what is its author's to tell anyway, and is hashed at a fixed length, so that what a signature binds does not
//! depend on it.

use sha2::{Digest as _, Sha256};

use crate::codec::{CodecError, Decode, Encode as _, Reader, Writer};
use crate::id::{
    ChangeHash, CollectionName, CommitHash, EntityId, Origin, Oseq, PeerId, Salt, SpaceId, StatementHash,
};
use crate::identity::{self, Identity, Purpose, Signature};
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_SEQ_MAX, COLLECTION_NAME_BYTES_MAX, COMMIT_AT_MAX};
use crate::limits::{COMMIT_BYTES_MAX, COMMIT_LEAVES_MAX};

use super::AccessError;
use super::statement::{option, optional};

/// Where the hashed part of an Automerge chunk begins: behind the magic bytes and the checksum.
const CHUNK_HASHED_FROM: usize = 8;

/// One change of a commit, as its signature covers it. All leaves of one collection share `oseq`, `prev` and `salt`.
///
/// # Example
///
/// ```
/// # use driftless::access::{Leaf, change_hash};
/// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
/// # use driftless::identity::Identity;
/// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
/// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
/// let leaf = Leaf {
///     collection: CollectionName::new("tickets")?,
///     entity: EntityId::new([1; 16]),
///     oseq: Oseq(1),
///     prev: None,
///     salt: None,
///     of: 1,
///     seq: 1,
///     head: change_hash(&change).ok_or("too short")?,
/// };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The collection.
    pub collection: CollectionName,
    /// The entity.
    pub entity: EntityId,
    /// The commit's number among those of its origin in this collection.
    pub oseq: Oseq,
    /// The commit that the device made before this one in this collection, whatever its incarnation was then;
    /// `None` for the first.
    pub prev: Option<CommitHash>,
    /// Random bytes without which the hash of the leaves cannot be computed, so that it confirms no guess. Present in
    /// commits over more than one collection, and in no other.
    pub salt: Option<Salt>,
    /// How many leaves this commit has in this collection, so nobody can withhold one unseen.
    pub of: u32,
    /// The actor's sequence number (actor = `ActorId::derive(space, entity, origin)`).
    pub seq: u64,
    /// The hash of the change.
    pub head: ChangeHash,
}

/// A leaf, or a hash in place of all leaves of a collection that the receiver may not read.
///
/// # Example
///
/// ```
/// # use driftless::access::{Commit, Leaf, Slot, change_hash};
/// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
/// # use driftless::identity::Identity;
/// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
/// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
/// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
/// # let head = change_hash(&change).ok_or("too short")?;
/// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
/// # let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
/// for slot in &commit.slots {
///     match slot {
///         Slot::Open { leaf, change } => println!("{}: {} bytes", leaf.collection, change.len()),
///         Slot::Blind(_) => println!("not for you"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A leaf and the change chunk that its `head` is the hash of.
    Open {
        /// The leaf.
        leaf: Leaf,
        /// One Automerge change chunk.
        change: Vec<u8>,
    },
    /// The hash of all leaves of a collection that are not shown.
    Blind([u8; 32]),
}

/// A signed commit with the change chunks of its open leaves.
///
/// # Example
///
/// ```
/// # use driftless::access::{Commit, Leaf, change_hash};
/// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
/// # use driftless::identity::Identity;
/// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
/// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
/// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
/// # let head = change_hash(&change).ok_or("too short")?;
/// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
/// let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
/// commit.verify()?;
/// assert_eq!(Commit::decode(space, &commit.encode())?, commit);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The space.
    pub space: SpaceId,
    /// Who made it.
    pub origin: Origin,
    /// The heads of the membership log at which its author judged that it may; ascending.
    pub at: Vec<StatementHash>,
    /// Its leaves, ascending by collection and entity.
    pub slots: Vec<Slot>,
    /// The signature of the origin's device.
    pub signature: Signature,
}

/// Returns the hash by which Automerge knows the change in `chunk`; `None` when it is too short to be a
/// chunk.
///
/// # Example
///
/// ```
/// # use driftless::access::{Commit, Leaf, change_hash};
/// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
/// # use driftless::identity::Identity;
/// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
/// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
/// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
/// # let head = change_hash(&change).ok_or("too short")?;
/// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
/// # let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
/// let Some((leaf, change)) = commit.open().next() else { return Err("no open leaf".into()) };
/// assert_eq!(change_hash(change), Some(leaf.head));
/// assert_eq!(change_hash(b"short"), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn change_hash(chunk: &[u8]) -> Option<ChangeHash> {
    let hashed = chunk.get(CHUNK_HASHED_FROM..).filter(|hashed| !hashed.is_empty())?;
    Some(ChangeHash::new(Sha256::digest(hashed).into()))
}

impl Commit {
    /// Signs a commit of this device. The leaves are sorted here.
    ///
    /// # Errors
    ///
    /// [`AccessError::Malformed`] when the origin is another device, a leaf does not fit its change or the
    /// other leaves of its collection, or `at` is not ascending; [`AccessError::TooMany`] and
    /// [`AccessError::TooLarge`] over the limits of a commit.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// assert_eq!(commit.origin, origin);
    /// commit.verify()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sign(
        identity: &Identity,
        space: SpaceId,
        origin: Origin,
        at: Vec<StatementHash>,
        slots: Vec<(Leaf, Vec<u8>)>,
    ) -> Result<Self, AccessError> {
        if origin.peer != identity.peer() {
            return Err(AccessError::Malformed {
                what: "the origin of a commit is not the device that signs it",
            });
        }
        if at.len() > COMMIT_AT_MAX {
            return Err(AccessError::TooMany { what: "membership heads in a commit", max: COMMIT_AT_MAX });
        }
        if !strictly_ascending(&at) {
            return Err(AccessError::Malformed {
                what: "the membership heads of a commit are not ascending",
            });
        }
        let slots = checked_leaves(slots)?;
        let mut commit = Self { space, origin, at, slots, signature: Signature([0; 64]) };
        commit.signature = identity.sign(Purpose::Commit, &space, &commit.signed());
        let bytes = commit.encode().len();
        if bytes > COMMIT_BYTES_MAX {
            return Err(AccessError::TooLarge { what: "commit", bytes, bytes_max: COMMIT_BYTES_MAX });
        }
        Ok(commit)
    }

    /// Reads a commit of `space`: its structure, within the limits. The signature is not verified.
    ///
    /// # Errors
    ///
    /// [`AccessError::Codec`] when the bytes are not the one encoding of a commit,
    /// [`AccessError::TooLarge`] and [`AccessError::TooMany`] over the limits, [`AccessError::Malformed`]
    /// when no leaf is open.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// # let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// let read = Commit::decode(space, &commit.encode())?;
    /// read.verify()?;
    /// assert_eq!(read.hash(), commit.hash());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode(space: SpaceId, bytes: &[u8]) -> Result<Self, AccessError> {
        if bytes.len() > COMMIT_BYTES_MAX {
            let bytes = bytes.len();
            return Err(AccessError::TooLarge { what: "commit", bytes, bytes_max: COMMIT_BYTES_MAX });
        }
        let mut input = Reader::new(bytes);
        let origin = Origin { peer: PeerId::decode(&mut input)?, incarnation: Decode::decode(&mut input)? };
        let mut at = Vec::new();
        for _ in 0..input.count("membership heads", COMMIT_AT_MAX)? {
            at.push(StatementHash::decode(&mut input)?);
        }
        if !strictly_ascending(&at) {
            return Err(CodecError::NotCanonical { what: "membership heads" }.into());
        }
        let slots = decode_slots(&mut input)?;
        let signature = Signature(input.array("signature")?);
        input.finish()?;
        Ok(Self { space, origin, at, slots, signature })
    }

    /// Returns the one encoding of the commit. The space is not repeated: the frame names it.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// let bytes = commit.encode();
    /// assert_eq!(Commit::decode(commit.space, &bytes)?, commit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let groups: Vec<&[Slot]> = self.slots.chunk_by(|a, b| collection_of(a) == collection_of(b)).collect();
        let mut out = Writer::new();
        self.encode_start(&mut out);
        out.count(groups.len());
        for group in groups {
            match group.first() {
                Some(Slot::Open { leaf, .. }) => {
                    leaf.collection.encode(&mut out);
                    leaf.oseq.encode(&mut out);
                    option(&mut out, leaf.prev.as_ref(), |out, prev| prev.encode(out));
                    leaf.salt.iter().for_each(|salt| salt.encode(&mut out));
                }
                Some(Slot::Blind(_)) | None => out.count(0),
            }
            out.count(group.len());
            for slot in group {
                match slot {
                    Slot::Open { leaf, change } => {
                        leaf.entity.encode(&mut out);
                        out.varint(leaf.seq);
                        out.bytes(change);
                    }
                    Slot::Blind(hash) => out.raw(hash),
                }
            }
        }
        out.raw(&self.signature.0);
        out.into_bytes()
    }

    /// Verifies the signature of the origin's device over all leaves.
    ///
    /// # Errors
    ///
    /// [`AccessError::Identity`] when it does not verify.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// # let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// commit.verify()?;
    /// let elsewhere = Commit { space: SpaceId::new([8; 32]), ..commit };
    /// assert!(elsewhere.verify().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Result<(), AccessError> {
        let signed = self.signed();
        Ok(identity::verify(&self.origin.peer, Purpose::Commit, &self.space, &signed, &self.signature)?)
    }

    /// Returns the hash of what the signature covers: the same however many collections are blind.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// let read = Commit::decode(space, &commit.encode())?;
    /// assert_eq!(read.hash(), commit.hash());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hash(&self) -> CommitHash {
        let mut out = Writer::new();
        out.raw(b"driftless/commit-hash/v1\0");
        self.space.encode(&mut out);
        out.raw(&self.signed());
        CommitHash::new(*blake3::hash(out.as_bytes()).as_bytes())
    }

    /// Returns the collection and `oseq` of the open leaves, ascending, one of each.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// assert_eq!(commit.parts(), [(CollectionName::new("tickets")?, Oseq(1))]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn parts(&self) -> Vec<(CollectionName, Oseq)> {
        let mut parts: Vec<_> = self.open().map(|(leaf, _)| (leaf.collection.clone(), leaf.oseq)).collect();
        parts.dedup();
        parts
    }

    /// The entities that it changed, as far as its leaves are open.
    pub(crate) fn places(&self) -> Vec<(CollectionName, EntityId)> {
        self.open().map(|(leaf, _)| (leaf.collection.clone(), leaf.entity)).collect()
    }

    /// Returns the commits of the same device that it follows in its open collections, ascending, one of each.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// let first = Commit::sign(&ada, space, origin, vec![], vec![(leaf.clone(), change.clone())])?;
    /// let leaf = Leaf { oseq: Oseq(2), prev: Some(first.hash()), seq: 2, ..leaf };
    /// let second = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// assert_eq!((first.follows(), second.follows()), (vec![], vec![first.hash()]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn follows(&self) -> Vec<CommitHash> {
        let mut follows: Vec<CommitHash> = self.open().filter_map(|(leaf, _)| leaf.prev).collect();
        follows.sort_unstable();
        follows.dedup();
        follows
    }

    /// Iterates over the open leaves and their changes.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// # let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// for (leaf, change) in commit.open() {
    ///     assert_eq!(change_hash(change), Some(leaf.head));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(&self) -> impl Iterator<Item = (&Leaf, &[u8])> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Open { leaf, change } => Some((leaf, change.as_slice())),
            Slot::Blind(_) => None,
        })
    }

    /// Returns the same commit with one hash in place of the leaves of each other collection; `None` when nothing
    /// stays open.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Commit, Leaf, change_hash};
    /// # use driftless::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, SpaceId};
    /// # use driftless::identity::Identity;
    /// # let (ada, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// # let origin = Origin { peer: ada.peer(), incarnation: Incarnation(1) };
    /// # let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    /// # let (collection, entity) = (CollectionName::new("tickets")?, EntityId::new([1; 16]));
    /// # let head = change_hash(&change).ok_or("too short")?;
    /// # let leaf = Leaf { collection, entity, oseq: Oseq(1), prev: None, salt: None, of: 1, seq: 1, head };
    /// # let commit = Commit::sign(&ada, space, origin, vec![], vec![(leaf, change)])?;
    /// let same = commit.blinded(&|collection| collection.as_str() == "tickets");
    /// assert_eq!(same.as_ref(), Some(&commit));
    /// assert_eq!(commit.blinded(&|_| false), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn blinded(&self, readable: &dyn Fn(&CollectionName) -> bool) -> Option<Self> {
        let mut slots = Vec::with_capacity(self.slots.len());
        let mut is_open = false;
        for group in self.by_collection() {
            let shown = group.first().and_then(collection_of).is_some_and(readable);
            is_open |= shown;
            if shown {
                slots.extend_from_slice(group);
            } else {
                slots.extend(self.hash_of(group).map(Slot::Blind));
            }
        }
        let (origin, at, signature) = (self.origin, self.at.clone(), self.signature);
        is_open.then_some(Self { space: self.space, origin, at, slots, signature })
    }

    /// The slots by collection, ascending: all leaves of one, or the hash in their place. However much of a commit
    /// is blind, the number of the groups and their order are the same.
    pub(crate) fn by_collection(&self) -> impl Iterator<Item = &[Slot]> {
        self.slots.chunk_by(|a, b| collection_of(a).is_some() && collection_of(a) == collection_of(b))
    }

    fn encode_start(&self, out: &mut Writer) {
        self.origin.encode(out);
        out.count(self.at.len());
        for hash in &self.at {
            hash.encode(out);
        }
    }

    fn signed(&self) -> Vec<u8> {
        let hashes: Vec<[u8; 32]> = self.by_collection().filter_map(|group| self.hash_of(group)).collect();
        let mut out = Writer::new();
        self.encode_start(&mut out);
        out.count(hashes.len());
        hashes.iter().for_each(|hash| out.raw(hash));
        out.into_bytes()
    }

    /// The hash of all leaves of one collection.
    fn hash_of(&self, group: &[Slot]) -> Option<[u8; 32]> {
        let first = match group.first()? {
            Slot::Open { leaf, .. } => leaf,
            Slot::Blind(hash) => return Some(*hash),
        };
        let mut out = Writer::new();
        out.raw(b"driftless/group/v1\0");
        self.space.encode(&mut out);
        first.collection.encode(&mut out);
        first.oseq.encode(&mut out);
        option(&mut out, first.prev.as_ref(), |out, prev| prev.encode(out));
        option(&mut out, first.salt.as_ref(), |out, salt| salt.encode(out));
        out.count(group.len());
        for slot in group {
            if let Slot::Open { leaf, .. } = slot {
                leaf.entity.encode(&mut out);
                out.varint(leaf.seq);
                leaf.head.encode(&mut out);
            }
        }
        Some(*blake3::hash(out.as_bytes()).as_bytes())
    }
}

/// The collection of an open leaf.
fn collection_of(slot: &Slot) -> Option<&CollectionName> {
    match slot {
        Slot::Open { leaf, .. } => Some(&leaf.collection),
        Slot::Blind(_) => None,
    }
}

fn strictly_ascending<T: Ord>(items: &[T]) -> bool {
    items.is_sorted_by(|a, b| a < b)
}

/// Sorts the leaves of a commit that is to be signed, and checks them against each other and their changes.
fn checked_leaves(mut leaves: Vec<(Leaf, Vec<u8>)>) -> Result<Vec<Slot>, AccessError> {
    if leaves.is_empty() {
        return Err(AccessError::Malformed { what: "a commit without leaves" });
    }
    if leaves.len() > COMMIT_LEAVES_MAX {
        return Err(AccessError::TooMany { what: "leaves in a commit", max: COMMIT_LEAVES_MAX });
    }
    leaves.sort_by(|(a, _), (b, _)| (&a.collection, a.entity).cmp(&(&b.collection, b.entity)));
    if !leaves.is_sorted_by(|(a, _), (b, _)| (&a.collection, a.entity) < (&b.collection, b.entity)) {
        return Err(AccessError::Malformed { what: "a commit with two leaves for one entity" });
    }
    let of_many =
        leaves.first().map(|(leaf, _)| &leaf.collection) != leaves.last().map(|(leaf, _)| &leaf.collection);
    for group in leaves.chunk_by(|(a, _), (b, _)| a.collection == b.collection) {
        let Some((first, _)) = group.first() else { continue };
        if first.salt.is_some() != of_many {
            return Err(AccessError::Malformed {
                what: "a salt belongs to commits over several collections",
            });
        }
        for (leaf, change) in group {
            if leaf.oseq != first.oseq || leaf.oseq.0 == 0 {
                return Err(AccessError::Malformed {
                    what: "leaves of one collection do not share one number",
                });
            }
            if leaf.prev != first.prev {
                return Err(AccessError::Malformed {
                    what: "leaves of one collection do not follow one commit",
                });
            }
            if leaf.salt != first.salt {
                return Err(AccessError::Malformed {
                    what: "leaves of one collection do not share one salt",
                });
            }
            if leaf.of as usize != group.len() {
                return Err(AccessError::Malformed { what: "a leaf miscounts the leaves of its collection" });
            }
            if leaf.seq == 0 || leaf.seq > CHANGE_SEQ_MAX {
                return Err(AccessError::Malformed { what: "the sequence number of a leaf" });
            }
            if change.len() > CHANGE_BYTES_MAX {
                let bytes = change.len();
                return Err(AccessError::TooLarge { what: "change", bytes, bytes_max: CHANGE_BYTES_MAX });
            }
            if change_hash(change) != Some(leaf.head) {
                return Err(AccessError::Malformed {
                    what: "the head of a leaf is not the hash of its change",
                });
            }
        }
    }
    Ok(leaves.into_iter().map(|(leaf, change)| Slot::Open { leaf, change }).collect())
}

fn decode_slots(input: &mut Reader<'_>) -> Result<Vec<Slot>, AccessError> {
    let mut slots = Vec::new();
    let mut last: Option<CollectionName> = None;
    let mut after_blind = false;
    let groups = input.count("groups", COMMIT_LEAVES_MAX)?;
    for _ in 0..groups {
        let name = input.text("collection name", COLLECTION_NAME_BYTES_MAX)?;
        let is_blind = name.is_empty();
        if is_blind {
            if after_blind {
                return Err(CodecError::NotCanonical { what: "blind leaves" }.into());
            }
            for _ in 0..group_len(input, slots.len())? {
                slots.push(Slot::Blind(input.array("blind leaf")?));
            }
        } else {
            let name =
                CollectionName::new(name).map_err(|_| CodecError::Invalid { what: "collection name" })?;
            if last.as_ref().is_some_and(|last| *last >= name) {
                return Err(CodecError::NotCanonical { what: "collections" }.into());
            }
            decode_open(input, &name, groups > 1, &mut slots)?;
            last = Some(name);
        }
        after_blind = is_blind;
    }
    if last.is_none() {
        return Err(AccessError::Malformed { what: "a commit without an open leaf" });
    }
    Ok(slots)
}

/// Reads how many leaves a group has: at least one, and no more than the commit may still have.
fn group_len(input: &mut Reader<'_>, before: usize) -> Result<usize, AccessError> {
    let count = input.count("leaves", COMMIT_LEAVES_MAX)?;
    if count == 0 {
        return Err(CodecError::NotCanonical { what: "leaves" }.into());
    }
    if before + count > COMMIT_LEAVES_MAX {
        return Err(AccessError::TooMany { what: "leaves in a commit", max: COMMIT_LEAVES_MAX });
    }
    Ok(count)
}

fn decode_open(
    input: &mut Reader<'_>,
    collection: &CollectionName,
    is_salted: bool,
    slots: &mut Vec<Slot>,
) -> Result<(), AccessError> {
    let oseq = Oseq::decode(input)?;
    if oseq.0 == 0 {
        return Err(CodecError::Invalid { what: "oseq" }.into());
    }
    let prev = optional(input, "previous commit", CommitHash::decode)?;
    let salt = if is_salted { Some(Salt::decode(input)?) } else { None };
    let of = group_len(input, slots.len())?;
    let mut last: Option<EntityId> = None;
    for _ in 0..of {
        let entity = EntityId::decode(input)?;
        if last.is_some_and(|last| last >= entity) {
            return Err(CodecError::NotCanonical { what: "entities" }.into());
        }
        last = Some(entity);
        let seq = input.varint("seq")?;
        if seq == 0 || seq > CHANGE_SEQ_MAX {
            return Err(CodecError::Invalid { what: "seq" }.into());
        }
        let change = input.bytes("change", CHANGE_BYTES_MAX)?;
        let head = change_hash(change).ok_or(CodecError::Invalid { what: "change" })?;
        let collection = collection.clone();
        // The count was read within COMMIT_LEAVES_MAX.
        let leaf = Leaf { collection, entity, oseq, prev, salt, of: of as u32, seq, head };
        slots.push(Slot::Open { leaf, change: change.to_vec() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
