//! Facts about the store itself, and values that are plain bytes.

use super::MetaKey;
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::SpaceId;
use crate::limits::VALUE_TOTAL_BYTES_MAX;

/// The name under which this store's incarnation is kept: eight bytes, little endian.
pub(crate) const META_INCARNATION: &str = "incarnation";

/// Present in the store of a hub, whatever the value.
pub(crate) const META_HUB: &str = "hub";

/// The name under which it is noted how long this store has been open, in milliseconds: eight bytes, little endian.
pub(crate) const META_OPEN_MS: &str = "open-ms";

/// The name under which it is noted by which gate all that is held was judged: eight bytes, little endian.
pub(crate) const META_GATE: &str = "gate";

/// The name under which a request to join waits: this, the space, a slash, and the device that asks.
pub(crate) const META_ASKED: &str = "asked/";

/// The name under which a request of this device waits: this, and the invite's key.
pub(crate) const META_JOINING: &str = "joining/";

/// The name under which it is noted that a space is being erased: this, and the space in hexadecimal digits.
pub(crate) const META_ERASING: &str = "erasing/";

/// The name under which this device's interests in a space are kept.
pub(crate) fn meta_interests(space: &SpaceId) -> MetaKey {
    MetaKey(format!("interests {space}"))
}

/// A value that is all of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Encode for Raw {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.0);
    }
}

impl Decode for Raw {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        rest(input, "bytes").map(Self)
    }
}

/// Reads everything that is left.
pub(super) fn rest(input: &mut Reader<'_>, what: &'static str) -> Result<Vec<u8>, CodecError> {
    let len = input.rest().len();
    if len > VALUE_TOTAL_BYTES_MAX {
        return Err(CodecError::TooLarge { what, len: len as u64, max: VALUE_TOTAL_BYTES_MAX as u64 });
    }
    input.raw(what, len).map(<[u8]>::to_vec)
}
