//! Who is connected to whom, and what is left to others to send.

use std::collections::BTreeMap;

use super::{Slot, decode_vectors, encode_vectors};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{CollectionName, PeerId, Vector};
use crate::limits::NEIGHBOURS_MAX;

/// The first eight bytes of a device's key: enough to know one among the few that a peer is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Neighbour([u8; 8]);

/// The devices with which the sender has the space open, the receiver not among them. What the sender delivers
/// to the receiver, it delivers to them too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Neighbours {
    /// The space.
    pub(crate) slot: Slot,
    /// Sorted, each once.
    pub(crate) peers: Vec<Neighbour>,
}

/// Commits that the sender holds and has left to another to send. Answered by [`Wanted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The space.
    pub(crate) slot: Slot,
    /// Which commits.
    pub(crate) vectors: BTreeMap<CollectionName, Vector>,
}

/// What of an [`Offer`] is lacking; the rest of it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The space.
    pub(crate) slot: Slot,
    /// To be sent.
    pub(crate) wanted: BTreeMap<CollectionName, Vector>,
    /// On its way from another; to be offered again, should it not arrive.
    pub(crate) later: BTreeMap<CollectionName, Vector>,
}

impl Neighbour {
    /// Returns how a device is named.
    pub(crate) fn of(peer: &PeerId) -> Self {
        let mut short = [0; 8];
        short.iter_mut().zip(peer.as_bytes()).for_each(|(short, byte)| *short = *byte);
        Self(short)
    }
}

impl Encode for Neighbours {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.count(self.peers.len());
        self.peers.iter().for_each(|Neighbour(short)| out.raw(short));
    }
}

impl Decode for Neighbours {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        let count = input.count("neighbours", NEIGHBOURS_MAX)?;
        let neighbour = |_| input.array("neighbour").map(Neighbour);
        let peers = (0..count).map(neighbour).collect::<Result<Vec<_>, _>>()?;
        if !peers.is_sorted_by(|a, b| a < b) {
            return Err(CodecError::NotCanonical { what: "neighbours" });
        }
        Ok(Self { slot, peers })
    }
}

impl Encode for Offer {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        encode_vectors(&self.vectors, out);
    }
}

impl Decode for Offer {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { slot: input.varint("slot")?, vectors: decode_vectors(input)? })
    }
}

impl Encode for Wanted {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        encode_vectors(&self.wanted, out);
        encode_vectors(&self.later, out);
    }
}

impl Decode for Wanted {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        Ok(Self { slot, wanted: decode_vectors(input)?, later: decode_vectors(input)? })
    }
}
