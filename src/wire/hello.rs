//! The first message each way: versions, and the spaces that the sender opens.

use std::collections::BTreeMap;

use super::{Reach, Slot, decode_vectors, encode_vectors};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{CollectionName, Vector};
use crate::limits::OPENINGS_MAX;

/// The oldest protocol version that this program speaks.
pub(crate) const VERSION_MIN: u64 = 1;
/// The newest.
pub(crate) const VERSION_MAX: u64 = 1;

/// The sender is a hub: it has taken commits without looking into documents, so roots prove nothing about it.
pub(crate) const FEATURE_HUB: u64 = 1;

/// What a space is called on one connection: a hash keyed with the connection's own secret, so that it means
/// nothing to who does not know the space.
pub(crate) type Tag = [u8; 16];

/// The first 16 bytes of a hash over a state.
pub(crate) type Digest = [u8; 16];

/// The first message of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The oldest and the newest version that the sender speaks.
    pub(crate) versions: (u64, u64),
    /// What the sender can do beyond the version, as bits; both sides use what both can do.
    pub(crate) features: u64,
    /// The spaces that the sender believes to share with the receiver.
    pub(crate) openings: Vec<Opening>,
}

/// One space, as the sender holds it on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// How the sender's frames name the space from here on.
    pub(crate) slot: Slot,
    /// Which space.
    pub(crate) tag: Tag,
    /// The digest of the membership log.
    pub(crate) log: Digest,
    /// The digest of roots and version vectors of the collections that both sides may read.
    pub(crate) data: Digest,
    /// The version vectors.
    pub(crate) told: Told,
    /// Which collections `data` and `told` cover.
    pub(crate) reach: Reach,
}

/// How much of the version vectors an opening tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing: when the digests differ, the sender tells them whole in a message of its own.
    Later,
    /// All of them.
    Whole(BTreeMap<CollectionName, Vector>),
    /// None can be told: the store lost them. The two sides compare what they hold.
    Lost,
    /// What was added to those on which the two sides last agreed.
    Since {
        /// The digest of those vectors.
        base: Digest,
        /// What was added.
        added: BTreeMap<CollectionName, Vector>,
    },
}

impl Encode for Hello {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.versions.0);
        out.varint(self.versions.1);
        out.varint(self.features);
        out.count(self.openings.len());
        for opening in &self.openings {
            opening.encode(out);
        }
    }
}

impl Decode for Hello {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let versions = (input.varint("oldest version")?, input.varint("newest version")?);
        if versions.0 > versions.1 {
            return Err(CodecError::Invalid { what: "versions" });
        }
        let features = input.varint("features")?;
        let count = input.count("openings", OPENINGS_MAX)?;
        let openings = (0..count).map(|_| Opening::decode(input)).collect::<Result<_, _>>()?;
        Ok(Self { versions, features, openings })
    }
}

impl Encode for Opening {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.raw(&self.tag);
        out.raw(&self.log);
        out.raw(&self.data);
        match &self.told {
            Told::Later => out.u8(0),
            Told::Whole(vectors) => {
                out.u8(1);
                encode_vectors(vectors, out);
            }
            Told::Lost => out.u8(3),
            Told::Since { base, added } => {
                out.u8(2);
                out.raw(base);
                encode_vectors(added, out);
            }
        }
        self.reach.encode(out);
    }
}

impl Decode for Opening {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            slot: input.varint("slot")?,
            tag: input.array("tag")?,
            log: input.array("digest of the log")?,
            data: input.array("digest of the data")?,
            told: match input.u8("told")? {
                0 => Told::Later,
                1 => Told::Whole(decode_vectors(input)?),
                3 => Told::Lost,
                2 => Told::Since { base: input.array("base")?, added: decode_vectors(input)? },
                _ => return Err(CodecError::Invalid { what: "told" }),
            },
            reach: Reach::decode(input)?,
        })
    }
}
