//! The frames of a connection that joins: a request, the reply to it in one frame or several, and, when the
//! request waits to be approved, what the joiner reveals then.
//!
//! ```text
//! varint type (0x70 request, 0x72 reply, 0x74 reveal) | varint length | body
//! ```
//!
//! The bodies belong to the membership log; this floor does not look into them.

use crate::codec::{CodecError, Reader, Writer};
use crate::limits::JOIN_BYTES_MAX;

/// Which of the two frames it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// From the device that wants to join.
    Request,
    /// From the inviter.
    Reply,
    /// What the joiner reveals when its request waits.
    Reveal,
}

impl Join {
    const fn kind(self) -> u64 {
        match self {
            Self::Request => 0x70,
            Self::Reply => 0x72,
            Self::Reveal => 0x74,
        }
    }

    /// Makes the frame around a body.
    #[must_use]
    pub(crate) fn frame(self, body: &[u8]) -> Vec<u8> {
        let mut out = Writer::new();
        out.varint(self.kind());
        out.bytes(body);
        out.into_bytes()
    }

    /// Returns the body of a frame.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it is not this frame, whole and alone.
    pub(crate) fn body(self, frame: &[u8]) -> Result<&[u8], CodecError> {
        let mut input = Reader::new(frame);
        if input.varint("join frame type")? != self.kind() {
            return Err(CodecError::Invalid { what: "join frame type" });
        }
        let body = input.bytes("join frame", JOIN_BYTES_MAX)?;
        input.finish()?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_frame_reads_back_and_has_its_golden_form() {
        let request = Join::Request.frame(b"let me in");

        assert_eq!(Join::Request.body(&request), Ok(b"let me in".as_slice()));
        assert_eq!(Join::Reply.frame(b"yes"), [0x72, 3, b'y', b'e', b's']);
        assert_eq!(Join::Request.frame(b""), [0x70, 0]);
    }

    #[test]
    fn a_join_frame_of_another_kind_or_size_is_refused() {
        let wrong = CodecError::Invalid { what: "join frame type" };
        assert_eq!(Join::Reply.body(&Join::Request.frame(b"x")), Err(wrong));
        assert_eq!(Join::Request.body(&[0x70, 1, 2, 3]), Err(CodecError::Trailing { bytes: 1 }));
        let (len, max) = (JOIN_BYTES_MAX as u64 + 1, JOIN_BYTES_MAX as u64);
        let over = Join::Request.frame(&vec![0; JOIN_BYTES_MAX + 1]);
        assert_eq!(Join::Request.body(&over), Err(CodecError::TooLarge { what: "join frame", len, max }));
    }
}
