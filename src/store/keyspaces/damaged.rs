//! What is lost of an entity to damage, until it is whole again.

use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::ActorId;
use crate::limits::CLOCK_ACTORS_KEPT_MAX;

/// An entity of which changes are lost.
///
/// ```text
/// only here varint
/// count of actors, each: actor 16 B ascending, seq varint
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DamagedRecord {
    /// How many lost changes were made here, and no other device had confirmed them.
    pub(crate) only_here: u64,
    /// How far each actor must be held again for the entity to be whole, sorted by actor.
    pub(crate) need: Vec<(ActorId, u64)>,
}

impl Encode for DamagedRecord {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.only_here);
        encode_clock(&self.need, out);
    }
}

impl Decode for DamagedRecord {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { only_here: input.varint("damaged entity")?, need: decode_clock(input)? })
    }
}

/// Writes sequence numbers by actor.
pub(super) fn encode_clock(clock: &[(ActorId, u64)], out: &mut Writer) {
    debug_assert!(clock.is_sorted(), "the clock is sorted");
    out.count(clock.len());
    for (actor, seq) in clock {
        actor.encode(out);
        out.varint(*seq);
    }
}

/// Reads what [`encode_clock`] writes.
pub(super) fn decode_clock(input: &mut Reader<'_>) -> Result<Vec<(ActorId, u64)>, CodecError> {
    const WHAT: &str = "clock";
    let mut clock = Vec::new();
    for _ in 0..input.count(WHAT, CLOCK_ACTORS_KEPT_MAX)? {
        clock.push((ActorId::decode(input)?, input.varint(WHAT)?));
    }
    let ascending = clock.is_sorted_by(|a: &(ActorId, u64), b| a.0 < b.0);
    if ascending { Ok(clock) } else { Err(CodecError::NotCanonical { what: WHAT }) }
}
