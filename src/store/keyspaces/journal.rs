//! The journal: which commits this store applied, in order.

use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{CollectionName, EntityId, Origin, Oseq, PeerId, SpaceId};
use crate::limits::{COMMIT_LEAVES_MAX, VALUE_TOTAL_BYTES_MAX};

/// One commit that was applied, or all that was taken back at once: entities of any number of commits.
///
/// ```text
/// space 32 B, origin 40 B
/// 0, or 1 and the peer 32 B that sent it
/// count of parts, each: collection text, oseq varint, count of entities, each 16 B
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalEntry {
    /// The space.
    pub(crate) space: SpaceId,
    /// Who made the commit.
    pub(crate) origin: Origin,
    /// The peer that sent it; `None` when it was made here.
    pub(crate) from: Option<PeerId>,
    /// What was applied, by collection.
    pub(crate) parts: Vec<JournalPart>,
}

/// What a commit changed in one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalPart {
    /// The collection.
    pub(crate) collection: CollectionName,
    /// The number of the commit there.
    pub(crate) oseq: Oseq,
    /// The entities.
    pub(crate) entities: Vec<EntityId>,
}

impl Encode for JournalEntry {
    fn encode(&self, out: &mut Writer) {
        self.space.encode(out);
        self.origin.encode(out);
        out.u8(u8::from(self.from.is_some()));
        if let Some(from) = &self.from {
            from.encode(out);
        }
        out.count(self.parts.len());
        for part in &self.parts {
            part.collection.encode(out);
            part.oseq.encode(out);
            out.count(part.entities.len());
            part.entities.iter().for_each(|entity| entity.encode(out));
        }
    }
}

impl Decode for JournalEntry {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "journal entry";
        let (space, origin) = (SpaceId::decode(input)?, Origin::decode(input)?);
        let from = match input.u8(WHAT)? {
            0 => None,
            1 => Some(PeerId::decode(input)?),
            _ => return Err(CodecError::Invalid { what: WHAT }),
        };
        let mut parts = Vec::new();
        for _ in 0..input.count(WHAT, COMMIT_LEAVES_MAX)? {
            let (collection, oseq) = (CollectionName::decode(input)?, Oseq::decode(input)?);
            let mut entities = Vec::new();
            for _ in 0..input.count(WHAT, VALUE_TOTAL_BYTES_MAX / 16)? {
                entities.push(EntityId::decode(input)?);
            }
            parts.push(JournalPart { collection, oseq, entities });
        }
        Ok(Self { space, origin, from, parts })
    }
}
