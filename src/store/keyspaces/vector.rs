//! Version vectors as they are stored: one origin's part of ours, and those on which a peer and this node agreed.

use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{Position, Seen};
use crate::limits::VECTOR_HOLES_MAX;

/// Which commits of one origin are held.
///
/// One key for each origin, so that a commit rewrites its own origin's part and not the whole vector.
///
/// ```text
/// upto varint, count of ranges, then for each: gap since the last end, length
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenRecord(pub(crate) Seen);

impl Encode for SeenRecord {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.0.upto());
        out.count(self.0.ranges().len());
        let mut last = self.0.upto();
        for (first, end) in self.0.ranges() {
            out.varint(first - last);
            out.varint(end - first);
            last = *end;
        }
    }
}

impl Decode for SeenRecord {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "held commits of an origin";
        let upto = input.varint(WHAT)?;
        let mut ranges = Vec::new();
        let mut last = upto;
        for _ in 0..input.count(WHAT, VECTOR_HOLES_MAX)? {
            let first = last.checked_add(input.varint(WHAT)?).ok_or(CodecError::Invalid { what: WHAT })?;
            let end = first.checked_add(input.varint(WHAT)?).ok_or(CodecError::Invalid { what: WHAT })?;
            ranges.push((first, end));
            last = end;
        }
        let seen = Seen::from_parts(upto, ranges).map_err(|_| CodecError::NotCanonical { what: WHAT })?;
        Ok(Self(seen))
    }
}

/// The vectors on which this node and a peer last agreed: their digest, and where the journal ended then. What the
/// vectors were follows from what they are and from the journal behind that place.
///
/// ```text
/// digest 16 B, position varint
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BaseRecord {
    pub(crate) digest: [u8; 16],
    pub(crate) position: Position,
}

impl Encode for BaseRecord {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.digest);
        self.position.encode(out);
    }
}

impl Decode for BaseRecord {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { digest: input.array("digest of vectors")?, position: Position::decode(input)? })
    }
}
