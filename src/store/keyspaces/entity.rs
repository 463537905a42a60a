//! What is stored of one entity: its changes, its snapshot, its head and its row.

use super::damaged::{decode_clock, encode_clock};
use super::keys::Arrival;
use super::meta::rest;
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{ActorId, ChangeHash, Origin, Oseq, Position};
use crate::limits::{
    CHANGE_BYTES_MAX, CLOCK_ACTORS_KEPT_MAX, HEADS_MAX, ROW_BYTES_MAX, VALUE_TOTAL_BYTES_MAX,
};
use crate::time::Timestamp;

/// A change of an entity: the truth that documents, rows and heads are made of.
///
/// ```text
/// origin 40 B, oseq varint, seq varint, change chunk to the end
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Who made it; its actor derives from that.
    pub(crate) origin: Origin,
    /// The number of its commit in its collection.
    pub(crate) oseq: Oseq,
    /// Its actor's sequence number.
    pub(crate) seq: u64,
    /// The Automerge change chunk.
    pub(crate) chunk: Vec<u8>,
}

impl Encode for Change {
    fn encode(&self, out: &mut Writer) {
        self.origin.encode(out);
        self.oseq.encode(out);
        out.varint(self.seq);
        out.raw(&self.chunk);
    }
}

impl Decode for Change {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (origin, oseq) = (Origin::decode(input)?, Oseq::decode(input)?);
        let seq = input.varint("sequence number")?;
        let len = input.rest().len();
        if len > CHANGE_BYTES_MAX {
            return Err(CodecError::TooLarge {
                what: "change",
                len: len as u64,
                max: CHANGE_BYTES_MAX as u64,
            });
        }
        Ok(Self { origin, oseq, seq, chunk: rest(input, "change")? })
    }
}

/// A saved document that stands for the first changes of an entity.
///
/// ```text
/// upto varint, saved document to the end
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// It covers the changes before this one.
    pub(crate) upto: Arrival,
    /// The saved document.
    pub(crate) document: Vec<u8>,
}

impl Encode for Snapshot {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.upto.0);
        out.raw(&self.document);
    }
}

impl Decode for Snapshot {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let upto = Arrival(input.varint("snapshot")?);
        Ok(Self { upto, document: rest(input, "snapshot")? })
    }
}

/// What a head knows of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotMark {
    /// It covers the changes before this one.
    pub(crate) upto: Arrival,
    /// Its size.
    pub(crate) bytes: u64,
}

/// What is known of an entity without loading its document.
///
/// ```text
/// flags u8: 1 deleted, 2 has a snapshot, 4 has a row, 8 is damaged
/// count of heads, each 32 B ascending
/// count of actors, each: actor 16 B ascending, seq varint
/// next arrival varint, tail bytes varint
/// if it has a snapshot: upto varint, bytes varint
/// if it has a row: type version varint
/// if it is damaged: count of actors, each: actor 16 B ascending, seq varint
/// position varint, last activity signed
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The heads of the document, sorted.
    pub(crate) heads: Vec<ChangeHash>,
    /// Each actor's last sequence number, sorted by actor.
    pub(crate) clock: Vec<(ActorId, u64)>,
    /// Whether the entity is deleted.
    pub(crate) deleted: bool,
    /// The number that its next change takes.
    pub(crate) next_arrival: Arrival,
    /// How many bytes the changes have that no snapshot covers.
    pub(crate) tail_bytes: u64,
    /// The snapshot, if there is one.
    pub(crate) snapshot: Option<SnapshotMark>,
    /// The type version of the row, if there is one.
    pub(crate) row_version: Option<u32>,
    /// How far each actor must be held again for the entity to be whole, sorted by actor; empty when it is.
    pub(crate) need: Vec<(ActorId, u64)>,
    /// The journal entry that touched the entity last.
    pub(crate) position: Position,
    /// The largest time that a change of it names, for display only.
    pub(crate) activity: Timestamp,
}

impl Head {
    /// Returns the last sequence number of an actor, 0 when it changed nothing.
    #[must_use]
    pub(crate) fn seq(&self, actor: &ActorId) -> u64 {
        let found = self.clock.binary_search_by(|(known, _)| known.cmp(actor));
        found.ok().and_then(|index| self.clock.get(index)).map_or(0, |(_, seq)| *seq)
    }

    /// Tells whether changes of the entity are lost, so that it must not be served.
    #[must_use]
    pub(crate) fn is_damaged(&self) -> bool {
        !self.need.is_empty()
    }

    /// Tells whether all changes are there that were lost.
    #[must_use]
    pub(crate) fn has_what_it_needs(&self) -> bool {
        self.need.iter().all(|(actor, seq)| self.seq(actor) >= *seq)
    }
}

const DELETED: u8 = 1;
const SNAPSHOT: u8 = 2;
const ROW: u8 = 4;
const DAMAGED: u8 = 8;

impl Encode for Head {
    fn encode(&self, out: &mut Writer) {
        debug_assert!(self.heads.is_sorted(), "heads are sorted");
        debug_assert!(self.clock.is_sorted(), "the clock is sorted");
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.u8(flag(self.deleted, DELETED)
            | flag(self.snapshot.is_some(), SNAPSHOT)
            | flag(self.row_version.is_some(), ROW)
            | flag(self.is_damaged(), DAMAGED));
        out.count(self.heads.len());
        self.heads.iter().for_each(|head| head.encode(out));
        out.count(self.clock.len());
        for (actor, seq) in &self.clock {
            actor.encode(out);
            out.varint(*seq);
        }
        out.varint(self.next_arrival.0);
        out.varint(self.tail_bytes);
        if let Some(snapshot) = self.snapshot {
            out.varint(snapshot.upto.0);
            out.varint(snapshot.bytes);
        }
        if let Some(version) = self.row_version {
            out.varint(u64::from(version));
        }
        if self.is_damaged() {
            encode_clock(&self.need, out);
        }
        self.position.encode(out);
        self.activity.encode(out);
    }
}

impl Decode for Head {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "head";
        let flags = input.u8(WHAT)?;
        if flags & !(DELETED | SNAPSHOT | ROW | DAMAGED) != 0 {
            return Err(CodecError::Invalid { what: WHAT });
        }
        let mut heads = Vec::new();
        for _ in 0..input.count("heads", HEADS_MAX)? {
            heads.push(ChangeHash::decode(input)?);
        }
        let mut clock = Vec::new();
        for _ in 0..input.count("clock", CLOCK_ACTORS_KEPT_MAX)? {
            clock.push((ActorId::decode(input)?, input.varint(WHAT)?));
        }
        let ascending =
            |sorted: bool| if sorted { Ok(()) } else { Err(CodecError::NotCanonical { what: WHAT }) };
        ascending(heads.is_sorted_by(|a, b| a < b))?;
        ascending(clock.is_sorted_by(|a, b| a.0 < b.0))?;
        let (next_arrival, tail_bytes) = (Arrival(input.varint(WHAT)?), input.varint(WHAT)?);
        let snapshot = match flags & SNAPSHOT {
            0 => None,
            _ => Some(SnapshotMark { upto: Arrival(input.varint(WHAT)?), bytes: input.varint(WHAT)? }),
        };
        let row_version = match flags & ROW {
            0 => None,
            _ => Some(version(input)?),
        };
        let need = if flags & DAMAGED == 0 { Vec::new() } else { decode_clock(input)? };
        if flags & DAMAGED != 0 && need.is_empty() {
            return Err(CodecError::NotCanonical { what: WHAT });
        }
        let (position, activity) = (Position::decode(input)?, Timestamp::decode(input)?);
        let deleted = flags & DELETED != 0;
        Ok(Self {
            heads,
            clock,
            deleted,
            next_arrival,
            tail_bytes,
            snapshot,
            row_version,
            need,
            position,
            activity,
        })
    }
}

/// The materialised value of an entity.
///
/// ```text
/// type version varint, row bytes to the end
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowRecord {
    /// The version of the type that made it.
    pub(crate) version: u32,
    /// The self-describing bytes.
    pub(crate) bytes: Vec<u8>,
}

impl RowRecord {
    /// What stands in the place of the row of a damaged entity.
    #[must_use]
    pub(crate) fn damaged() -> Self {
        Self { version: u32::MAX, bytes: Vec::new() }
    }

    /// Tells whether the entity is damaged. No row is empty.
    #[must_use]
    pub(crate) fn is_damaged(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Encode for RowRecord {
    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.version));
        out.raw(&self.bytes);
    }
}

impl Decode for RowRecord {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { version: version(input)?, bytes: rest(input, "row")? })
    }
}

fn version(input: &mut Reader<'_>) -> Result<u32, CodecError> {
    u32::try_from(input.varint("type version")?).map_err(|_| CodecError::Invalid { what: "type version" })
}

const _: () = assert!(ROW_BYTES_MAX + 5 <= VALUE_TOTAL_BYTES_MAX);
