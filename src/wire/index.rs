//! The index of a collection: what is asked of a peer that has all of it, and what that peer tells.

use super::{Slot, decode_bound, encode_bound};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{
    CollectionName, Contents, EntityId, Fingerprint, Listed, Span, SpanPrint, SpanTold, Version,
};
use crate::limits::{INDEX_PAGE_ENTITIES, INDEX_SPANS_MAX, INDEX_SPANS_TOLD_MAX};

/// What the sender has of an index; the receiver tells how it differs, and from then on what changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexAsk {
    /// The space.
    pub(crate) slot: Slot,
    /// The collection.
    pub(crate) collection: CollectionName,
    /// Names the question.
    pub(crate) number: u64,
    /// Ascending, and none in another.
    pub(crate) spans: Vec<SpanPrint>,
}

/// Changes of an index were taken: more may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexTaken {
    /// The space.
    pub(crate) slot: Slot,
    /// Which.
    pub(crate) number: u64,
}

/// What the sender tells of the index of a collection that it has live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexTold {
    /// The space.
    pub(crate) slot: Slot,
    /// What it tells.
    pub(crate) says: IndexSays,
}

/// See [`IndexTold`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IndexSays {
    /// The index of a collection can be asked for here.
    Here {
        /// The collection.
        collection: CollectionName,
    },
    /// It cannot be told.
    NotHere {
        /// In answer to which question.
        number: u64,
    },
    /// The answer to a question.
    Spans {
        /// Which question.
        number: u64,
        /// Ascending; all that was asked.
        spans: Vec<SpanTold>,
    },
    /// These entities changed. No more are told until they were taken.
    Changed {
        /// Counts these messages.
        number: u64,
        /// The collection.
        collection: CollectionName,
        /// As they are now.
        entries: Vec<Listed>,
    },
}

impl Encode for IndexAsk {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        self.collection.encode(out);
        out.varint(self.number);
        out.count(self.spans.len());
        for SpanPrint { span, print } in &self.spans {
            encode_span(span, out);
            Encode::encode(print, out);
        }
    }
}

impl Decode for IndexAsk {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (slot, collection) = (input.varint("slot")?, CollectionName::decode(input)?);
        let number = input.varint("question")?;
        let count = input.count("spans", INDEX_SPANS_MAX)?;
        let span = |_| Ok(SpanPrint { span: decode_span(input)?, print: Fingerprint::decode(input)? });
        let spans = (0..count).map(span).collect::<Result<Vec<_>, CodecError>>()?;
        ascending(spans.iter().map(|asked| asked.span))?;
        Ok(Self { slot, collection, number, spans })
    }
}

impl Encode for IndexTaken {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.varint(self.number);
    }
}

impl Decode for IndexTaken {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { slot: input.varint("slot")?, number: input.varint("changes")? })
    }
}

const HERE: u8 = 0;
const NOT_HERE: u8 = 1;
const SPANS: u8 = 2;
const CHANGED: u8 = 3;

impl Encode for IndexTold {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        match &self.says {
            IndexSays::Here { collection } => {
                out.u8(HERE);
                collection.encode(out);
            }
            IndexSays::NotHere { number } => {
                out.u8(NOT_HERE);
                out.varint(*number);
            }
            IndexSays::Spans { number, spans } => {
                out.u8(SPANS);
                out.varint(*number);
                out.count(spans.len());
                spans.iter().for_each(|told| encode_told(told, out));
            }
            IndexSays::Changed { number, collection, entries } => {
                out.u8(CHANGED);
                out.varint(*number);
                collection.encode(out);
                encode_entries(entries, out);
            }
        }
    }
}

impl Decode for IndexTold {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        let says = match input.u8("index")? {
            HERE => IndexSays::Here { collection: CollectionName::decode(input)? },
            NOT_HERE => IndexSays::NotHere { number: input.varint("question")? },
            SPANS => {
                let number = input.varint("question")?;
                let count = input.count("spans", INDEX_SPANS_TOLD_MAX)?;
                let spans = (0..count).map(|_| decode_told(input)).collect::<Result<Vec<_>, _>>()?;
                ascending(spans.iter().map(|told| told.span))?;
                IndexSays::Spans { number, spans }
            }
            CHANGED => {
                let (number, collection) = (input.varint("changes")?, CollectionName::decode(input)?);
                IndexSays::Changed { number, collection, entries: decode_entries(input)? }
            }
            _ => return Err(CodecError::Invalid { what: "index" }),
        };
        Ok(Self { slot, says })
    }
}

const SAME: u8 = 0;
const ENTRIES: u8 = 1;
const PRINT: u8 = 2;
const REST: u8 = 3;

fn encode_told(told: &SpanTold, out: &mut Writer) {
    encode_span(&told.span, out);
    match &told.contents {
        Contents::Same => out.u8(SAME),
        Contents::Entries(entries) => {
            out.u8(ENTRIES);
            encode_entries(entries, out);
        }
        Contents::Print(print) => {
            out.u8(PRINT);
            Encode::encode(print, out);
        }
        Contents::Rest => out.u8(REST),
    }
}

fn decode_told(input: &mut Reader<'_>) -> Result<SpanTold, CodecError> {
    const WHAT: &str = "contents of a span";
    let span = decode_span(input)?;
    let contents = match input.u8(WHAT)? {
        SAME => Contents::Same,
        ENTRIES => {
            let entries = decode_entries(input)?;
            let within = |listed: &Listed| span.contains(&listed.entity) && !listed.version.heads.is_empty();
            if !entries.iter().all(within) {
                return Err(CodecError::Invalid { what: WHAT });
            }
            Contents::Entries(entries)
        }
        PRINT => Contents::Print(Fingerprint::decode(input)?),
        REST => Contents::Rest,
        _ => return Err(CodecError::Invalid { what: WHAT }),
    };
    Ok(SpanTold { span, contents })
}

fn encode_entries(entries: &[Listed], out: &mut Writer) {
    out.count(entries.len());
    for Listed { entity, version } in entries {
        entity.encode(out);
        version.encode(out);
    }
}

fn decode_entries(input: &mut Reader<'_>) -> Result<Vec<Listed>, CodecError> {
    let count = input.count("entities", INDEX_PAGE_ENTITIES)?;
    let entry = |_| Ok(Listed { entity: EntityId::decode(input)?, version: Version::decode(input)? });
    let entries = (0..count).map(entry).collect::<Result<Vec<_>, CodecError>>()?;
    let sorted = entries.is_sorted_by(|a, b| a.entity < b.entity);
    if sorted { Ok(entries) } else { Err(CodecError::NotCanonical { what: "entities" }) }
}

fn encode_span(span: &Span, out: &mut Writer) {
    encode_bound(span.after.as_ref(), out);
    encode_bound(span.upto.as_ref(), out);
}

fn decode_span(input: &mut Reader<'_>) -> Result<Span, CodecError> {
    let span = Span { after: decode_bound(input)?, upto: decode_bound(input)? };
    match span.after.zip(span.upto) {
        Some((after, upto)) if upto <= after => Err(CodecError::Invalid { what: "span" }),
        _ => Ok(span),
    }
}

/// Each span begins where the one before ends, or behind it.
fn ascending(spans: impl Iterator<Item = Span>) -> Result<(), CodecError> {
    let mut last: Option<Span> = None;
    for span in spans {
        let follows = last
            .is_none_or(|last| matches!((last.upto, span.after), (Some(end), Some(after)) if end <= after));
        if !follows {
            return Err(CodecError::NotCanonical { what: "spans" });
        }
        last = Some(span);
    }
    Ok(())
}
