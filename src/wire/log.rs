//! The membership log: who has which statements, and the statements.

use super::Slot;
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::limits::{STATEMENT_BYTES_MAX, STATEMENTS_PER_SPACE_MAX};

/// A short hash, keyed by the connection, of every statement that the sender holds; asks for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shorts {
    /// The space.
    pub(crate) slot: Slot,
    /// Sorted, each once.
    pub(crate) shorts: Vec<[u8; 8]>,
}

/// Statements, each behind those that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statements {
    /// The space.
    pub(crate) slot: Slot,
    /// Their encodings.
    pub(crate) statements: Vec<Vec<u8>>,
}

impl Encode for Shorts {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.count(self.shorts.len());
        self.shorts.iter().for_each(|short| out.raw(short));
    }
}

impl Decode for Shorts {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        let count = input.count("statement hashes", STATEMENTS_PER_SPACE_MAX)?;
        let shorts = (0..count).map(|_| input.array("statement hash")).collect::<Result<Vec<_>, _>>()?;
        if !shorts.is_sorted_by(|a, b| a < b) {
            return Err(CodecError::NotCanonical { what: "statement hashes" });
        }
        Ok(Self { slot, shorts })
    }
}

impl Encode for Statements {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.count(self.statements.len());
        self.statements.iter().for_each(|statement| out.bytes(statement));
    }
}

impl Decode for Statements {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        let count = input.count("statements", STATEMENTS_PER_SPACE_MAX)?;
        let statement = |_| input.bytes("statement", STATEMENT_BYTES_MAX).map(<[u8]>::to_vec);
        Ok(Self { slot, statements: (0..count).map(statement).collect::<Result<_, _>>()? })
    }
}
