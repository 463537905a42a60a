//! What a device shows to who has not heard of its joining.

use super::Tag;
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::limits::{INTRODUCTION_STATEMENTS_MAX, STATEMENT_BYTES_MAX};

/// The statements that enrolled the sender in a space, and those that they follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Introduce {
    /// The space, as the sender would open it.
    pub(crate) tag: Tag,
    /// Their encodings, each behind those that it names.
    pub(crate) statements: Vec<Vec<u8>>,
}

impl Encode for Introduce {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.tag);
        out.count(self.statements.len());
        self.statements.iter().for_each(|statement| out.bytes(statement));
    }
}

impl Decode for Introduce {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let tag = input.array("tag")?;
        let count = input.count("statements", INTRODUCTION_STATEMENTS_MAX)?;
        let statement = |_| input.bytes("statement", STATEMENT_BYTES_MAX).map(<[u8]>::to_vec);
        Ok(Self { tag, statements: (0..count).map(statement).collect::<Result<_, _>>()? })
    }
}
