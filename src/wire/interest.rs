//! What the sender wants of the collections, and of which interests a message speaks.

use super::{Digest, Slot};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::Interests;

/// The sender's interests changed, or were too long for its opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InterestTold {
    /// The space.
    pub(crate) slot: Slot,
    /// Counts the changes of this sender in this space on this connection; 0 is what the opening left out.
    pub(crate) revision: u64,
    /// In the collections that the receiver may read.
    pub(crate) wants: Interests,
}

/// The interests of both sides that a message was made by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revisions {
    /// How often the sender changed its own.
    pub(crate) mine: u64,
    /// Which of the receiver's it knew.
    pub(crate) yours: u64,
}

/// The part of an opening that says which collections it covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The sender's interests in the collections that the receiver may read; absent when they are told in a
    /// message of their own.
    pub(crate) wants: Option<Interests>,
    /// A digest of the receiver's interests by which the opening was made; absent for all collections live.
    pub(crate) assumes: Option<[u8; 8]>,
    /// The digest of what the sender itself made in collections that it does not want live.
    pub(crate) made: Option<Digest>,
    /// The digest of what the sender holds of that of the receiver.
    pub(crate) held: Option<Digest>,
}

impl Revisions {
    /// The same as the other side says it.
    pub(crate) fn mirrored(self) -> Self {
        Self { mine: self.yours, yours: self.mine }
    }
}

impl Encode for Revisions {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.mine);
        out.varint(self.yours);
    }
}

impl Decode for Revisions {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { mine: input.varint("revision")?, yours: input.varint("revision")? })
    }
}

impl Encode for InterestTold {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.varint(self.revision);
        self.wants.encode(out);
    }
}

impl Decode for InterestTold {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (slot, revision) = (input.varint("slot")?, input.varint("revision")?);
        Ok(Self { slot, revision, wants: Interests::decode(input)? })
    }
}

const LATER: u8 = 1;
const GIVEN: u8 = 2;
const ASSUMES: u8 = 4;
const MADE: u8 = 8;
const HELD: u8 = 16;

/// ```text
/// flags u8: 1 interests come later, 2 interests, 4 assumption, 8 made, 16 held; then each that is flagged
/// ```
///
/// Without 1 and 2, the sender wants all collections live.
impl Encode for Reach {
    fn encode(&self, out: &mut Writer) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let given = self.wants.as_ref().filter(|wants| **wants != Interests::default());
        out.u8(flag(self.wants.is_none(), LATER)
            | flag(given.is_some(), GIVEN)
            | flag(self.assumes.is_some(), ASSUMES)
            | flag(self.made.is_some(), MADE)
            | flag(self.held.is_some(), HELD));
        given.iter().for_each(|wants| wants.encode(out));
        self.assumes.iter().for_each(|digest| out.raw(digest));
        self.made.iter().chain(&self.held).for_each(|digest| out.raw(digest));
    }
}

impl Decode for Reach {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "reach";
        let flags = input.u8(WHAT)?;
        if flags >= HELD * 2 || flags & (LATER | GIVEN) == LATER | GIVEN {
            return Err(CodecError::Invalid { what: WHAT });
        }
        let wants = match flags & (LATER | GIVEN) {
            LATER => None,
            GIVEN => Some(Interests::decode(input)?),
            _ => Some(Interests::default()),
        };
        if flags & GIVEN != 0 && wants == Some(Interests::default()) {
            return Err(CodecError::NotCanonical { what: WHAT });
        }
        let assumes = if flags & ASSUMES != 0 { Some(input.array(WHAT)?) } else { None };
        let made = if flags & MADE != 0 { Some(input.array(WHAT)?) } else { None };
        let held = if flags & HELD != 0 { Some(input.array(WHAT)?) } else { None };
        Ok(Self { wants, assumes, made, held })
    }
}
