//! The comparison of what two sides hold, which finds what the version vectors did not tell: by sketches, and
//! by heads of ranges where a sketch would be too large.

use std::collections::BTreeMap;

use super::{Slot, decode_bool, decode_bound, encode_bound};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{ActorId, Cell, CollectionName, EntityClock, EntityId, Span, Symbol};
use crate::limits::{CLOCK_ACTORS_MAX, COLLECTIONS_PER_SPACE_MAX, HEADS_PAGE_ENTITIES, SKETCH_CELLS_MAX};

/// Cells of the sketch of all that the sender holds, behind those sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cells {
    /// The space.
    pub(crate) slot: Slot,
    /// How many were sent before.
    pub(crate) first: usize,
    /// 13 bytes each.
    pub(crate) cells: Vec<Cell>,
}

/// The cells so far do not tell the difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CellsWanted {
    /// The space.
    pub(crate) slot: Slot,
    /// How many there should be in all; none, when heads should be compared instead.
    pub(crate) count: usize,
}

/// What differs, as the sender holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Apart {
    /// The space.
    pub(crate) slot: Slot,
    /// What stands for the receiver's side of the difference, sorted.
    pub(crate) symbols: Vec<Symbol>,
    /// The sender's clocks of the entities that differ; an empty clock says "I lack it".
    pub(crate) clocks: BTreeMap<CollectionName, Vec<EntityClock>>,
    /// This answers another `Apart`.
    pub(crate) answer: bool,
}

/// What the sender holds in a range: each entity with the first bytes of a hash over its heads, keyed for the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// The space.
    pub(crate) slot: Slot,
    /// The collection.
    pub(crate) collection: CollectionName,
    /// The range.
    pub(crate) range: Span,
    /// Sorted by entity, all within the range.
    pub(crate) entries: Vec<(EntityId, [u8; 8])>,
}

/// Which changes the sender holds of entities at which the two sides differ; an empty clock says "I lack it".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// The space.
    pub(crate) slot: Slot,
    /// The collection.
    pub(crate) collection: CollectionName,
    /// Sorted by entity.
    pub(crate) clocks: Vec<EntityClock>,
    /// Where the comparison ended: the rest of the range is still to be compared. Absent at its end.
    pub(crate) upto: Option<EntityId>,
    /// This answers `Heads`; the receiver tells its own clocks of the same entities.
    pub(crate) answer: bool,
}

impl Encode for Heads {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        self.collection.encode(out);
        encode_bound(self.range.after.as_ref(), out);
        encode_bound(self.range.upto.as_ref(), out);
        out.count(self.entries.len());
        for (entity, short) in &self.entries {
            entity.encode(out);
            out.raw(short);
        }
    }
}

impl Decode for Heads {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (slot, collection) = (input.varint("slot")?, CollectionName::decode(input)?);
        let range = Span { after: decode_bound(input)?, upto: decode_bound(input)? };
        let count = input.count("heads", HEADS_PAGE_ENTITIES)?;
        let entry = |_| Ok((EntityId::decode(input)?, input.array("short heads")?));
        let entries = (0..count).map(entry).collect::<Result<Vec<(EntityId, [u8; 8])>, CodecError>>()?;
        let within = |(entity, _): &(EntityId, _)| range.contains(entity);
        if !entries.is_sorted_by(|a, b| a.0 < b.0) || !entries.iter().all(within) {
            return Err(CodecError::NotCanonical { what: "heads" });
        }
        Ok(Self { slot, collection, range, entries })
    }
}

impl Encode for Clocks {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        self.collection.encode(out);
        out.u8(u8::from(self.answer));
        encode_bound(self.upto.as_ref(), out);
        encode_clocks(&self.clocks, out);
    }
}

impl Decode for Clocks {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (slot, collection) = (input.varint("slot")?, CollectionName::decode(input)?);
        let answer = decode_bool(input, "answer")?;
        let upto = decode_bound(input)?;
        Ok(Self { slot, collection, clocks: decode_clocks(SKETCH_CELLS_MAX, input)?, upto, answer })
    }
}

/// ```text
/// cell    8 B sum, 4 B check, 1 B count, little endian
/// ```
impl Encode for Cells {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.count(self.first);
        out.count(self.cells.len());
        for cell in &self.cells {
            out.raw(&cell.sum.to_le_bytes());
            out.raw(&cell.check.to_le_bytes());
            out.raw(&cell.count.to_le_bytes());
        }
    }
}

impl Decode for Cells {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        let first = decode_cell_count(input)?;
        let count = input.count("cells", SKETCH_CELLS_MAX - first)?;
        let mut cell = || {
            Ok(Cell {
                sum: u64::from_le_bytes(input.array("cell")?),
                check: u32::from_le_bytes(input.array("cell")?),
                count: i8::from_le_bytes(input.array("cell")?),
            })
        };
        let cells = (0..count).map(|_| cell()).collect::<Result<_, CodecError>>()?;
        Ok(Self { slot, first, cells })
    }
}

impl Encode for CellsWanted {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.count(self.count);
    }
}

impl Decode for CellsWanted {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { slot: input.varint("slot")?, count: decode_cell_count(input)? })
    }
}

impl Encode for Apart {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.u8(u8::from(self.answer));
        out.count(self.symbols.len());
        self.symbols.iter().for_each(|symbol| out.raw(&symbol.0.to_le_bytes()));
        out.count(self.clocks.len());
        for (collection, clocks) in &self.clocks {
            collection.encode(out);
            encode_clocks(clocks, out);
        }
    }
}

impl Decode for Apart {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "difference";
        let slot = input.varint("slot")?;
        let answer = decode_bool(input, "answer")?;
        let count = input.count(WHAT, SKETCH_CELLS_MAX)?;
        let symbol = |_| input.array(WHAT).map(u64::from_le_bytes).map(Symbol);
        let symbols = (0..count).map(symbol).collect::<Result<Vec<_>, _>>()?;
        let mut clocks = BTreeMap::<CollectionName, Vec<EntityClock>>::new();
        for _ in 0..input.count(WHAT, COLLECTIONS_PER_SPACE_MAX)? {
            let collection = CollectionName::decode(input)?;
            if clocks.last_key_value().is_some_and(|(last, _)| *last >= collection) {
                return Err(CodecError::NotCanonical { what: WHAT });
            }
            let left = SKETCH_CELLS_MAX - clocks.values().map(Vec::len).sum::<usize>();
            clocks.insert(collection, decode_clocks(left, input)?);
        }
        if !symbols.is_sorted_by(|a, b| a < b) {
            return Err(CodecError::NotCanonical { what: WHAT });
        }
        Ok(Self { slot, symbols, clocks, answer })
    }
}

fn encode_clocks(clocks: &[EntityClock], out: &mut Writer) {
    out.count(clocks.len());
    for EntityClock { entity, clock } in clocks {
        entity.encode(out);
        out.count(clock.len());
        for (actor, seq) in clock {
            actor.encode(out);
            out.varint(*seq);
        }
    }
}

fn decode_clocks(count_max: usize, input: &mut Reader<'_>) -> Result<Vec<EntityClock>, CodecError> {
    const WHAT: &str = "clocks";
    let mut clocks = Vec::<EntityClock>::new();
    for _ in 0..input.count(WHAT, count_max)? {
        let entity = EntityId::decode(input)?;
        let count = input.count(WHAT, CLOCK_ACTORS_MAX)?;
        let actor = |_| Ok((ActorId::decode(input)?, input.varint("seq")?));
        let clock = (0..count).map(actor).collect::<Result<Vec<(ActorId, u64)>, CodecError>>()?;
        let after = clocks.last().is_none_or(|last| last.entity < entity);
        if !after || !clock.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(CodecError::NotCanonical { what: WHAT });
        }
        clocks.push(EntityClock { entity, clock });
    }
    Ok(clocks)
}

fn decode_cell_count(input: &mut Reader<'_>) -> Result<usize, CodecError> {
    const WHAT: &str = "count of cells";
    let len = input.varint(WHAT)?;
    let max = SKETCH_CELLS_MAX as u64;
    if len <= max { Ok(len as usize) } else { Err(CodecError::TooLarge { what: WHAT, len, max }) }
}
