//! The bounded binary encoding that the wire, the store and signatures share.
//!
//! Integers are canonical LEB128 varints, byte strings carry their length in front, ids are their bare bytes.
//! Each value has exactly one encoding: a decoder refuses every other.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::id::{
    ActorId, ChangeHash, CollectionName, CommitHash, EntityId, Fingerprint, Incarnation, Interest, Interests,
    MemberId, Root, Salt, Version,
};
use crate::id::{Origin, Oseq, PeerId, Position, SpaceId, StatementHash, Vector};
use crate::time::Timestamp;

mod ids;
#[cfg(test)]
pub(crate) mod numbers;
mod reader;
mod writer;

pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The input ended inside a value.
    #[error("input ends inside {what}")]
    Truncated {
        /// The value that was being read.
        what: &'static str,
    },
    /// A length or a count is over its limit.
    #[error("{what} of {len} exceeds {max}")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// The length or count that the input claims.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The value is not in its one canonical form.
    #[error("{what} is not in canonical form")]
    NotCanonical {
        /// The value that was being read.
        what: &'static str,
    },
    /// Bytes follow the end of the value.
    #[error("{bytes} bytes follow the end")]
    Trailing {
        /// How many bytes follow.
        bytes: usize,
    },
    /// The value has a form that is not allowed.
    #[error("{what} is not valid")]
    Invalid {
        /// The value that was being read.
        what: &'static str,
    },
}

/// A value with one canonical encoding.
pub(crate) trait Encode {
    /// Appends the encoding of `self`.
    fn encode(&self, out: &mut Writer);

    /// Returns the encoding of `self` alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.into_bytes()
    }
}

/// A value that can be read back from its canonical encoding.
pub(crate) trait Decode: Sized {
    /// Reads one value.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the bytes are not exactly one canonical encoding.
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError>;

    /// Reads one value that takes up all of `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Decode::decode`], and [`CodecError::Trailing`] when bytes follow.
    fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut input = Reader::new(bytes);
        let value = Self::decode(&mut input)?;
        input.finish()?;
        Ok(value)
    }
}
