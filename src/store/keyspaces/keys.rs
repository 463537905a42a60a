//! The typed keys of every keyspace, and prefixes of them.

use std::marker::PhantomData;

use super::{
    Change, ClashRecord, CommitEntry, DamagedRecord, Head, HeldRecord, JournalEntry, Key, Raw, RowRecord,
    Snapshot,
};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::StatementHash;
use crate::id::{CollectionName, EntityId, Origin, Oseq, PeerId, Position, Root, Seen, SpaceId, Version};
use crate::limits::COLLECTION_NAME_BYTES_MAX;
use crate::store::keyspaces::vector::{BaseRecord, SeenRecord};

/// The number of a change among those of one entity, in the order in which this store took them; from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Arrival(pub(crate) u64);

impl Arrival {
    /// Returns the next number.
    #[must_use]
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A field of a key.
trait Field: Sized {
    fn put(&self, out: &mut Writer);
    fn take(input: &mut Reader<'_>) -> Result<Self, CodecError>;
}

macro_rules! bytes_fields {
    ($($name:ident),+) => {
        $(
            impl Field for $name {
                fn put(&self, out: &mut Writer) {
                    self.encode(out);
                }

                fn take(input: &mut Reader<'_>) -> Result<Self, CodecError> {
                    Self::decode(input)
                }
            }
        )+
    };
}

// All of these encode as a fixed number of bytes.
bytes_fields!(EntityId, PeerId, SpaceId, StatementHash);

macro_rules! number_fields {
    ($($name:ident),+) => {
        $(
            impl Field for $name {
                fn put(&self, out: &mut Writer) {
                    out.raw(&self.0.to_be_bytes());
                }

                fn take(input: &mut Reader<'_>) -> Result<Self, CodecError> {
                    input.array(stringify!($name)).map(u64::from_be_bytes).map(Self)
                }
            }
        )+
    };
}

number_fields!(Arrival, Oseq, Position);

/// The number of a held commit among those of its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u64);
number_fields!(Number);

/// The peer, then the incarnation big endian: the order of keys is the order of `Origin`.
impl Field for Origin {
    fn put(&self, out: &mut Writer) {
        self.peer.encode(out);
        out.raw(&self.incarnation.0.to_be_bytes());
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let peer = PeerId::decode(input)?;
        let incarnation = input.array("incarnation").map(u64::from_be_bytes).map(crate::id::Incarnation)?;
        Ok(Self { peer, incarnation })
    }
}

impl Field for CollectionName {
    fn put(&self, out: &mut Writer) {
        out.raw(self.as_str().as_bytes());
        out.u8(0);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "collection name";
        let end = input.rest().iter().take(COLLECTION_NAME_BYTES_MAX + 1).position(|byte| *byte == 0);
        let name = input.raw(WHAT, end.ok_or(CodecError::Truncated { what: WHAT })?)?;
        input.u8(WHAT)?;
        let name = std::str::from_utf8(name).map_err(|_| CodecError::Invalid { what: WHAT })?;
        Self::new(name).map_err(|_| CodecError::Invalid { what: WHAT })
    }
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident, $class:literal, $text:literal, $value:ty,
     { $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl Key for $name {
            const CLASS: u8 = $class;
            const NAME: &'static str = $text;
            type Value = $value;

            fn write(&self, out: &mut Writer) {
                $(Field::put(&self.$field, out);)+
            }

            fn read(input: &mut Reader<'_>) -> Result<Self, CodecError> {
                Ok(Self { $($field: Field::take(input)?,)+ })
            }
        }
    };
}

/// The key of one fact about the store itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetaKey(pub(crate) String);

impl Key for MetaKey {
    const CLASS: u8 = 1;
    const NAME: &'static str = "meta";
    type Value = Raw;

    fn write(&self, out: &mut Writer) {
        out.raw(self.0.as_bytes());
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let name = input.raw("meta name", input.rest().len())?;
        let name = std::str::from_utf8(name).map_err(|_| CodecError::Invalid { what: "meta name" })?;
        Ok(Self(name.to_owned()))
    }
}

key!(
    /// The key of a membership statement.
    StatementKey, 2, "statement", Raw, {
        /// The space.
        space: SpaceId,
        /// The hash of the statement.
        hash: StatementHash,
    }
);
key!(
    /// The key of a change.
    ChangeKey, 3, "change", Change, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
        /// Which of its changes.
        arrival: Arrival,
    }
);
key!(
    /// The key of a saved document.
    SnapshotKey, 4, "snapshot", Snapshot, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
    }
);
key!(
    /// The key of what is known of an entity.
    HeadKey, 5, "head", Head, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
    }
);
key!(
    /// The key of what a peer told of an entity, in a collection of which only the index is wanted.
    IndexKey, 17, "index", Version, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
    }
);
key!(
    /// The key of a row.
    RowKey, 6, "row", RowRecord, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
    }
);
key!(
    /// The key of a commit in one of its collections.
    CommitId, 7, "commit", CommitEntry, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// Who made it.
        origin: Origin,
        /// Its number there.
        oseq: Oseq,
    }
);
key!(
    /// The key of a journal entry.
    JournalKey, 8, "journal", JournalEntry, {
        /// Its place.
        position: Position,
    }
);
key!(
    /// The key of what is held of one origin.
    VectorKey, 9, "vector", SeenRecord, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The origin.
        origin: Origin,
    }
);
key!(
    /// The key of a collection's root.
    RootKey, 10, "root", Root, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
    }
);
key!(
    /// The key of what proves that an origin equivocates in a collection.
    ClashKey, 13, "clash", ClashRecord, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The origin.
        origin: Origin,
        /// The smaller of the two numbers.
        from: Oseq,
    }
);
key!(
    /// The key of what a peer has on its disk of one origin.
    AckedKey, 11, "acked", SeenRecord, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The origin.
        origin: Origin,
        /// The peer.
        peer: PeerId,
    }
);

key!(
    /// The key of the vectors on which this node and a peer last agreed.
    BaseKey, 16, "base", BaseRecord, {
        /// The space.
        space: SpaceId,
        /// The peer.
        peer: PeerId,
    }
);
key!(
    /// The key of an entity that is damaged.
    DamagedKey, 14, "damaged", DamagedRecord, {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
    }
);
key!(
    /// The key of the second copy of a membership statement: without its statements a space cannot be fetched
    /// again from anybody.
    CopyKey, 15, "copy", Raw, {
        /// The space.
        space: SpaceId,
        /// The hash of the statement.
        hash: StatementHash,
    }
);

/// The key of a commit in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HeldKey {
    /// The space.
    pub(crate) space: SpaceId,
    /// The device that made the commit.
    pub(crate) author: PeerId,
    /// Its number among those of its author.
    pub(crate) number: u64,
}

impl Key for HeldKey {
    const CLASS: u8 = 12;
    const NAME: &'static str = "quarantine";
    type Value = HeldRecord;

    fn write(&self, out: &mut Writer) {
        self.space.put(out);
        self.author.put(out);
        Number(self.number).put(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (space, author) = (Field::take(input)?, Field::take(input)?);
        Ok(Self { space, author, number: Number::take(input)?.0 })
    }
}

/// The beginning that a group of keys of one keyspace shares.
#[derive(Debug)]
pub(crate) struct Prefix<K> {
    bytes: Writer,
    of: PhantomData<K>,
}

impl<K: Key> Prefix<K> {
    /// All keys of the keyspace.
    #[must_use]
    pub(crate) fn all() -> Self {
        let mut bytes = Writer::new();
        bytes.u8(K::CLASS);
        Self { bytes, of: PhantomData }
    }

    /// The keys of one space.
    #[must_use]
    pub(crate) fn space(space: &SpaceId) -> Self {
        Self::all().with(space)
    }

    /// The keys of one collection.
    #[must_use]
    pub(crate) fn collection(space: &SpaceId, collection: &CollectionName) -> Self {
        Self::space(space).with(collection)
    }

    fn with(mut self, field: &impl Field) -> Self {
        field.put(&mut self.bytes);
        self
    }

    /// The smallest key that can have the prefix.
    pub(super) fn first(&self) -> Vec<u8> {
        self.bytes.as_bytes().to_vec()
    }

    /// The smallest key behind all that have the prefix.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut end = self.first();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return end;
            }
        }
        unreachable!("a prefix begins with a class byte, and none is 255")
    }
}

impl Prefix<MetaKey> {
    /// Facts whose names begin with this.
    #[must_use]
    pub(crate) fn named(beginning: &str) -> Self {
        let mut prefix = Self::all();
        prefix.bytes.raw(beginning.as_bytes());
        prefix
    }
}

impl Prefix<ChangeKey> {
    /// The changes of one entity.
    #[must_use]
    pub(crate) fn entity(space: &SpaceId, collection: &CollectionName, entity: &EntityId) -> Self {
        Self::collection(space, collection).with(entity)
    }
}

impl Prefix<CommitId> {
    /// The commits of one origin in one collection.
    #[must_use]
    pub(crate) fn origin(space: &SpaceId, collection: &CollectionName, origin: &Origin) -> Self {
        Self::collection(space, collection).with(origin)
    }
}

impl Prefix<HeldKey> {
    /// The held commits of one author.
    #[must_use]
    pub(crate) fn author(space: &SpaceId, author: &PeerId) -> Self {
        Self::space(space).with(author)
    }
}

impl Prefix<AckedKey> {
    /// What the peers have of one origin.
    #[must_use]
    pub(crate) fn origin(space: &SpaceId, collection: &CollectionName, origin: &Origin) -> Self {
        Self::collection(space, collection).with(origin)
    }
}

/// What one origin's part of a vector is in memory.
impl From<Seen> for SeenRecord {
    fn from(seen: Seen) -> Self {
        Self(seen)
    }
}
