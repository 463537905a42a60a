//! Documents that are asked for one by one.

use super::{Slot, decode_bool};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{CollectionName, EntityId, Vector};
use crate::limits::{BATCH_COMMITS_MAX, COMMIT_BYTES_MAX, FETCH_ENTITIES_MAX};

/// The sender asks for all commits of some entities that it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// The space.
    pub(crate) slot: Slot,
    /// Names the request.
    pub(crate) number: u64,
    /// The collection.
    pub(crate) collection: CollectionName,
    /// Which entities.
    pub(crate) entities: Vec<EntityId>,
    /// What the sender holds of the collection.
    pub(crate) have: Vector,
}

/// A part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// The space.
    pub(crate) slot: Slot,
    /// Which request.
    pub(crate) number: u64,
    /// Encoded commits; each follows those that it depends on.
    pub(crate) commits: Vec<Vec<u8>>,
    /// The last part says this.
    pub(crate) end: Option<FetchEnd>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchEnd {
    /// Entities that are not known here.
    pub(crate) unknown: Vec<EntityId>,
    /// There is more, to be asked for again.
    pub(crate) more: bool,
}

impl Encode for Fetch {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.varint(self.number);
        self.collection.encode(out);
        encode_entities(&self.entities, out);
        self.have.encode(out);
    }
}

impl Decode for Fetch {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (slot, number) = (input.varint("slot")?, input.varint("request")?);
        let collection = CollectionName::decode(input)?;
        let entities = decode_entities(input)?;
        Ok(Self { slot, number, collection, entities, have: Vector::decode(input)? })
    }
}

impl Encode for Fetched {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.varint(self.number);
        out.count(self.commits.len());
        self.commits.iter().for_each(|commit| out.bytes(commit));
        out.u8(u8::from(self.end.is_some()));
        if let Some(end) = &self.end {
            encode_entities(&end.unknown, out);
            out.u8(u8::from(end.more));
        }
    }
}

impl Decode for Fetched {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (slot, number) = (input.varint("slot")?, input.varint("request")?);
        let count = input.count("commits", BATCH_COMMITS_MAX)?;
        let commit = |_| input.bytes("commit", COMMIT_BYTES_MAX).map(<[u8]>::to_vec);
        let commits = (0..count).map(commit).collect::<Result<_, _>>()?;
        let end = match decode_bool(input, "end")? {
            false => None,
            true => Some(FetchEnd { unknown: decode_entities(input)?, more: decode_bool(input, "more")? }),
        };
        Ok(Self { slot, number, commits, end })
    }
}

fn encode_entities(entities: &[EntityId], out: &mut Writer) {
    out.count(entities.len());
    entities.iter().for_each(|entity| entity.encode(out));
}

fn decode_entities(input: &mut Reader<'_>) -> Result<Vec<EntityId>, CodecError> {
    let count = input.count("entities", FETCH_ENTITIES_MAX)?;
    (0..count).map(|_| EntityId::decode(input)).collect()
}
