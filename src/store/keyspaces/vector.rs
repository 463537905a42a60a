//! One origin's part of a version vector, as it is stored.

use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::Seen;
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
