//! Encodings of identifiers: their bare bytes, or a varint.

use super::*;
use crate::limits::{
    COLLECTION_NAME_BYTES_MAX, HEADS_MAX, INTERESTS_PER_SPACE_MAX, OSEQ_MAX, VECTOR_HOLES_MAX,
    VECTOR_ORIGINS_MAX,
};

macro_rules! fixed_bytes {
    ($($name:ident),+) => {
        $(
            impl Encode for $name {
                fn encode(&self, out: &mut Writer) {
                    out.raw(self.as_bytes());
                }
            }

            impl Decode for $name {
                fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
                    input.array(stringify!($name)).map(Self::new)
                }
            }
        )+
    };
}

fixed_bytes!(ActorId, ChangeHash, CommitHash, EntityId, MemberId, PeerId, Salt, SpaceId, StatementHash);

macro_rules! number {
    ($($name:ident),+) => {
        $(
            impl Encode for $name {
                fn encode(&self, out: &mut Writer) {
                    out.varint(self.0);
                }
            }

            impl Decode for $name {
                fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
                    input.varint(stringify!($name)).map(Self)
                }
            }
        )+
    };
}

number!(Position);

impl Encode for Oseq {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.0);
    }
}

impl Decode for Oseq {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "Oseq";
        let (len, max) = (input.varint(WHAT)?, OSEQ_MAX);
        if len <= max { Ok(Self(len)) } else { Err(CodecError::TooLarge { what: WHAT, len, max }) }
    }
}

/// An incarnation is random, so eight plain bytes are shorter than a varint.
impl Encode for Incarnation {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.0.to_le_bytes());
    }
}

impl Decode for Incarnation {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        input.array("incarnation").map(u64::from_le_bytes).map(Self)
    }
}

impl Encode for Origin {
    fn encode(&self, out: &mut Writer) {
        self.peer.encode(out);
        self.incarnation.encode(out);
    }
}

impl Decode for Origin {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { peer: PeerId::decode(input)?, incarnation: Incarnation::decode(input)? })
    }
}

impl Encode for CollectionName {
    fn encode(&self, out: &mut Writer) {
        out.text(self.as_str());
    }
}

impl Decode for CollectionName {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let name = input.text("collection name", COLLECTION_NAME_BYTES_MAX)?;
        Self::new(name).map_err(|_| CodecError::Invalid { what: "collection name" })
    }
}

impl Encode for Interest {
    fn encode(&self, out: &mut Writer) {
        out.u8(match self {
            Self::Live => 0,
            Self::Index => 1,
            Self::Off => 2,
        });
    }
}

impl Decode for Interest {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        match input.u8("interest")? {
            0 => Ok(Self::Live),
            1 => Ok(Self::Index),
            2 => Ok(Self::Off),
            _ => Err(CodecError::Invalid { what: "interest" }),
        }
    }
}

/// ```text
/// interest u8 in the others, count of names, then for each in ascending order: text, interest u8
/// ```
impl Encode for Interests {
    fn encode(&self, out: &mut Writer) {
        self.others.encode(out);
        out.count(self.named.len());
        for (collection, interest) in &self.named {
            collection.encode(out);
            interest.encode(out);
        }
    }
}

impl Decode for Interests {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "interests";
        let mut interests = Self { others: Interest::decode(input)?, ..Self::default() };
        for _ in 0..input.count(WHAT, INTERESTS_PER_SPACE_MAX)? {
            let collection = CollectionName::decode(input)?;
            if interests.named.last_key_value().is_some_and(|(last, _)| *last >= collection) {
                return Err(CodecError::NotCanonical { what: WHAT });
            }
            interests.named.insert(collection, Interest::decode(input)?);
        }
        Ok(interests)
    }
}

impl Encode for Root {
    fn encode(&self, out: &mut Writer) {
        out.raw(self.as_bytes());
    }
}

impl Decode for Root {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "root";
        Self::from_bytes(input.array(WHAT)?).ok_or(CodecError::Invalid { what: WHAT })
    }
}

impl Encode for Fingerprint {
    fn encode(&self, out: &mut Writer) {
        // By its path: the trait has a method of this name.
        out.raw(&Self::to_bytes(*self));
    }
}

impl Decode for Fingerprint {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        input.array("fingerprint").map(Self::from_bytes)
    }
}

impl Encode for Timestamp {
    fn encode(&self, out: &mut Writer) {
        out.signed(self.unix_ms());
    }
}

impl Decode for Timestamp {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        input.signed("timestamp").map(Self::from_unix_ms)
    }
}

/// ```text
/// count of origins, then for each in ascending order:
///   origin 40 B, upto varint, count of ranges, then for each: gap since the last end, length
/// ```
impl Encode for Vector {
    fn encode(&self, out: &mut Writer) {
        out.count(self.len());
        for (origin, seen) in self.iter() {
            origin.encode(out);
            out.varint(seen.upto());
            out.count(seen.ranges().len());
            let mut last = seen.upto();
            for (first, end) in seen.ranges() {
                out.varint(first - last);
                out.varint(end - first);
                last = *end;
            }
        }
    }
}

impl Decode for Vector {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "version vector";
        let mut origins = BTreeMap::new();
        for _ in 0..input.count(WHAT, VECTOR_ORIGINS_MAX)? {
            let origin = Origin::decode(input)?;
            let upto = input.varint(WHAT)?;
            let mut ranges = Vec::new();
            let mut last = upto;
            for _ in 0..input.count(WHAT, VECTOR_HOLES_MAX)? {
                let first =
                    last.checked_add(input.varint(WHAT)?).ok_or(CodecError::Invalid { what: WHAT })?;
                let end = first.checked_add(input.varint(WHAT)?).ok_or(CodecError::Invalid { what: WHAT })?;
                ranges.push((first, end));
                last = end;
            }
            let in_order = origins.last_key_value().is_none_or(|(last, _)| *last < origin);
            let seen = crate::id::Seen::from_parts(upto, ranges);
            let (true, Ok(seen)) = (in_order, seen) else {
                return Err(CodecError::NotCanonical { what: WHAT });
            };
            origins.insert(origin, seen);
        }
        Self::from_origins(origins).map_err(|_| CodecError::NotCanonical { what: WHAT })
    }
}

/// ```text
/// deleted u8, count of heads, each 32 B ascending, last activity signed
/// ```
impl Encode for Version {
    fn encode(&self, out: &mut Writer) {
        debug_assert!(self.heads.is_sorted(), "heads are sorted");
        out.u8(u8::from(self.deleted));
        out.count(self.heads.len());
        self.heads.iter().for_each(|head| head.encode(out));
        out.signed(self.activity_ms);
    }
}

impl Decode for Version {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "version of an entity";
        let deleted = match input.u8(WHAT)? {
            0 => false,
            1 => true,
            _ => return Err(CodecError::NotCanonical { what: WHAT }),
        };
        let count = input.count("heads", HEADS_MAX)?;
        let heads = (0..count).map(|_| ChangeHash::decode(input)).collect::<Result<Vec<_>, _>>()?;
        if !heads.is_sorted_by(|a, b| a < b) {
            return Err(CodecError::NotCanonical { what: WHAT });
        }
        Ok(Self { heads, deleted, activity_ms: input.signed(WHAT)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(held: &[(u8, u64)]) -> Vector {
        let mut vector = Vector::new();
        for (number, oseq) in held {
            let origin = Origin { peer: PeerId::new([*number; 32]), incarnation: Incarnation(7) };
            vector.insert(origin, Oseq(*oseq)).expect("few origins");
        }
        vector
    }

    proptest! {
        #[test]
        fn a_vector_reads_back_and_has_one_encoding(
            held in prop::collection::vec((0_u8..3, 1_u64..30), 0..40),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let bytes = vector(&held).to_bytes();
            prop_assert_eq!(Vector::from_bytes(&bytes), Ok(vector(&held)));

            let mut other = bytes;
            let at = at.index(other.len());
            other[at] ^= flip;
            if let Ok(read) = Vector::from_bytes(&other) {
                prop_assert_eq!(read.to_bytes(), other);
            }
        }

        #[test]
        fn numbers_read_back(unsigned in any::<u64>(), signed in any::<i64>()) {
            let mut out = Writer::new();
            out.varint(unsigned);
            out.signed(signed);

            let mut input = Reader::new(out.as_bytes());
            prop_assert_eq!(input.varint("unsigned"), Ok(unsigned));
            prop_assert_eq!(input.signed("signed"), Ok(signed));
            prop_assert_eq!(input.finish(), Ok(()));
        }
    }

    /// The bytes of release 0.1: one that reads them differently can no longer talk to it.
    #[test]
    fn a_vector_keeps_its_golden_bytes() {
        let mut golden = vec![1];
        golden.extend([5; 32]);
        golden.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([2, 1, 3, 3]);

        let held = vector(&[(5, 1), (5, 2), (5, 5), (5, 6), (5, 7)]);

        assert_eq!(held.to_bytes(), golden);
    }

    #[test]
    fn each_error_says_what_was_wrong() {
        let what = "unsigned";
        let read = |bytes: &[u8]| Reader::new(bytes).varint(what);

        assert_eq!(read(&[0x80]), Err(CodecError::Truncated { what }));
        assert_eq!(read(&[0x80, 0]), Err(CodecError::NotCanonical { what }));
        assert_eq!(read(&[0xff; 10]), Err(CodecError::NotCanonical { what }));
        let over = OSEQ_MAX + 1;
        let mut largest = Writer::new();
        largest.varint(over);
        let error = CodecError::TooLarge { what: "Oseq", len: over, max: over - 1 };
        assert_eq!(Oseq::from_bytes(largest.as_bytes()), Err(error));
        assert_eq!(Oseq::from_bytes(&[1, 2]), Err(CodecError::Trailing { bytes: 1 }));
        assert_eq!(Reader::new(&[9, 0]).count(what, 8), Err(CodecError::TooLarge { what, len: 9, max: 8 }));
        assert_eq!(Reader::new(&[8, 0]).count(what, 8), Err(CodecError::Truncated { what }));
        let bad = CollectionName::from_bytes(&[1, 0xff]);
        assert_eq!(bad, Err(CodecError::Invalid { what: "collection name" }));
    }
}
