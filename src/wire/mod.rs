//! The protocol's messages, and the frames that carry them.
//!
//! ```text
//! frame    varint type, varint length of the body, body
//! body     the message's fields, then a tail of extensions
//! tail     any number of: varint tag, varint length, that many bytes
//! ```
//!
//! An unknown message type or extension tag that is even ends the conversation; an odd one is skipped, so that
//! a newer peer can say more to those who understand it. A type never changes its fields: new ones go into the
//! tail, and what cannot wait for that is a new ALPN.

use std::collections::BTreeMap;

use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{CollectionName, EntityId, Vector};
use crate::limits::{COLLECTIONS_PER_SPACE_MAX, FRAME_BYTES_MAX};

mod fetch;
mod hello;
mod index;
mod interest;
mod introduce;
mod join;
mod log;
mod message;
mod neighbours;
mod repair;
mod transfer;

pub(crate) use fetch::{Fetch, FetchEnd, Fetched};
pub(crate) use hello::{Digest, FEATURE_HUB, Hello, Opening, Tag, Told, VERSION_MAX, VERSION_MIN};
pub(crate) use index::{IndexAsk, IndexSays, IndexTaken, IndexTold};
pub(crate) use interest::{InterestTold, Reach, Revisions};
pub(crate) use introduce::Introduce;
pub(crate) use join::Join;
pub(crate) use log::{Shorts, Statements};
pub(crate) use message::{Farewell, Message};
pub(crate) use neighbours::{Neighbour, Neighbours, Offer, Wanted};
pub(crate) use repair::{Apart, Cells, CellsWanted, Clocks, Heads};
pub(crate) use transfer::{Ack, Batch, BatchTaken, Live, LiveBatch, Roots, VectorsTold};

/// The number by which one side of a connection names a space, given in its opening.
pub(crate) type Slot = u64;

/// Why a frame was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WireError {
    /// The body is not what the type says.
    #[error("message {kind}: {source}")]
    Body {
        /// The message type.
        kind: u64,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The frame itself cannot be read.
    #[error("frame: {0}")]
    Frame(#[from] CodecError),
    /// A type that must be understood is not.
    #[error("message type {kind} is not known here")]
    Unknown {
        /// The message type.
        kind: u64,
    },
    /// Compressed bytes do not expand within their bounds.
    #[error("compressed batch: {reason}")]
    Compression {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Writes a frame around a body.
fn frame(kind: u64, body: &Writer) -> Vec<u8> {
    let mut out = Writer::new();
    out.varint(kind);
    out.bytes(body.as_bytes());
    let bytes = out.into_bytes();
    debug_assert!(bytes.len() <= FRAME_BYTES_MAX + 16, "a message keeps its own bounds");
    bytes
}

/// Splits a frame into its type and body.
fn unframe(bytes: &[u8]) -> Result<(u64, &[u8]), CodecError> {
    let mut input = Reader::new(bytes);
    let kind = input.varint("message type")?;
    let body = input.bytes("message body", FRAME_BYTES_MAX)?;
    input.finish()?;
    Ok((kind, body))
}

/// Reads the tail of extensions; none is known in this version.
fn skip_tail(input: &mut Reader<'_>) -> Result<(), CodecError> {
    while !input.is_empty() {
        let tag = input.varint("extension tag")?;
        input.bytes("extension", FRAME_BYTES_MAX)?;
        if tag % 2 == 0 {
            return Err(CodecError::Invalid { what: "extension" });
        }
    }
    Ok(())
}

/// A bool as one byte, 0 or 1.
fn decode_bool(input: &mut Reader<'_>, what: &'static str) -> Result<bool, CodecError> {
    match input.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CodecError::NotCanonical { what }),
    }
}

/// An end of a range of entities, or none.
fn encode_bound(bound: Option<&EntityId>, out: &mut Writer) {
    out.u8(u8::from(bound.is_some()));
    if let Some(entity) = bound {
        entity.encode(out);
    }
}

fn decode_bound(input: &mut Reader<'_>) -> Result<Option<EntityId>, CodecError> {
    Ok(if decode_bool(input, "bound")? { Some(EntityId::decode(input)?) } else { None })
}

/// Some bools as one byte, the first in the lowest bit.
fn decode_flags<const N: usize>(input: &mut Reader<'_>) -> Result<[bool; N], CodecError> {
    let flags = u64::from(input.u8("flags")?);
    if flags >> N != 0 {
        return Err(CodecError::NotCanonical { what: "flags" });
    }
    Ok(std::array::from_fn(|bit| flags >> bit & 1 != 0))
}

fn encode_vectors(vectors: &BTreeMap<CollectionName, Vector>, out: &mut Writer) {
    out.count(vectors.len());
    for (collection, vector) in vectors {
        collection.encode(out);
        vector.encode(out);
    }
}

fn decode_vectors(input: &mut Reader<'_>) -> Result<BTreeMap<CollectionName, Vector>, CodecError> {
    const WHAT: &str = "version vectors";
    let mut vectors = BTreeMap::<CollectionName, Vector>::new();
    for _ in 0..input.count(WHAT, COLLECTIONS_PER_SPACE_MAX)? {
        let collection = CollectionName::decode(input)?;
        if vectors.last_key_value().is_some_and(|(last, _)| *last >= collection) {
            return Err(CodecError::NotCanonical { what: WHAT });
        }
        vectors.insert(collection, Vector::decode(input)?);
    }
    Ok(vectors)
}

#[cfg(test)]
pub(crate) mod tests;
