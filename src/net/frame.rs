//! Frames on a stream.
//!
//! ```text
//! varint type, varint length, body of that length
//! ```

use std::time::Duration;

use quinn::{ReadError, RecvStream};

use crate::codec::{CodecError, Reader};
use crate::limits::FRAME_BYTES_MAX;

use super::{Lane, NetError};

/// Most bytes taken from the stream at once while looking for the beginning of a frame.
const READ_AHEAD_BYTES: usize = 16 * 1024;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the type and the length.
    pub(super) head: usize,
    /// Bytes of the body, at most [`FRAME_BYTES_MAX`].
    pub(super) body: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`, or nothing while it is incomplete.
    fn read(bytes: &[u8]) -> Result<Option<Self>, NetError> {
        let mut input = Reader::new(bytes);
        let read = input.varint("frame type").and_then(|_| input.varint("frame length"));
        let body = match read {
            Ok(body) => body,
            Err(CodecError::Truncated { .. }) => return Ok(None),
            Err(source) => return Err(NetError::FrameMalformed { source }),
        };
        if body > FRAME_BYTES_MAX as u64 {
            return Err(NetError::FrameTooLarge { bytes: body, bytes_max: FRAME_BYTES_MAX as u64 });
        }
        Ok(Some(Self { head: bytes.len() - input.rest().len(), body: body as usize }))
    }

    /// Checks that `frame` is exactly one frame.
    pub(super) fn of_whole(frame: &[u8]) -> Result<Self, NetError> {
        const WHAT: &str = "frame";
        let truncated = || NetError::FrameMalformed { source: CodecError::Truncated { what: WHAT } };
        let header = Self::read(frame)?.ok_or_else(truncated)?;
        match frame.len().checked_sub(header.len()) {
            None => Err(truncated()),
            Some(0) => Ok(header),
            Some(bytes) => Err(NetError::FrameMalformed { source: CodecError::Trailing { bytes } }),
        }
    }

    /// Bytes of the whole frame.
    pub(super) const fn len(self) -> usize {
        self.head + self.body
    }
}

/// Cuts the stream of a lane into frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    stream: RecvStream,
    lane: Lane,
    /// How long a frame may take that was begun. A peer that keeps its connection alive is never idle.
    deadline: Duration,
    /// Bytes from the stream; those before `start` were given out.
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Reads the frames that follow the first byte of `stream`.
    pub(super) const fn new(stream: RecvStream, lane: Lane, deadline: Duration) -> Self {
        Self { stream, lane, deadline, buffer: Vec::new(), start: 0 }
    }

    /// Waits for the beginning of the next frame, and returns nothing when the lane ends before it.
    pub(super) async fn header(&mut self) -> Result<Option<Header>, NetError> {
        loop {
            if let Some(header) = Header::read(self.ahead())? {
                return Ok(Some(header));
            }
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let more = self.stream.read_chunk(READ_AHEAD_BYTES, true);
            let more = if self.buffer.is_empty() {
                more.await
            } else {
                // A header has a few bytes, so a deadline for each of them is one for all.
                in_time(self.deadline, async { Ok(more.await) }).await?
            };
            match more {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(NetError::FrameTruncated { lane: self.lane }),
                Err(error) => return Err(read_error(error, Some(self.lane))),
            }
        }
    }

    /// Reads the frame that `header` begins. Memory grows as bytes arrive, never by what the header claims.
    pub(super) async fn frame(&mut self, header: Header) -> Result<Vec<u8>, NetError> {
        let deadline = self.deadline;
        in_time(deadline, self.whole(header)).await
    }

    async fn whole(&mut self, header: Header) -> Result<Vec<u8>, NetError> {
        let ahead = self.ahead();
        let mut frame = ahead.get(..header.len()).unwrap_or(ahead).to_vec();
        self.start += frame.len();
        while frame.len() < header.len() {
            match self.stream.read_chunk(header.len() - frame.len(), true).await {
                Ok(Some(chunk)) => frame.extend_from_slice(&chunk.bytes),
                Ok(None) => return Err(NetError::FrameTruncated { lane: self.lane }),
                Err(error) => return Err(read_error(error, Some(self.lane))),
            }
        }
        Ok(frame)
    }

    fn ahead(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

/// Waits for something that a peer has begun.
pub(super) async fn in_time<T>(
    deadline: Duration,
    begun: impl Future<Output = Result<T, NetError>>,
) -> Result<T, NetError> {
    let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    tokio::time::timeout(deadline, begun).await.unwrap_or(Err(NetError::FrameLate { deadline_ms }))
}

/// Reads the first byte of a stream, which names its lane.
pub(super) async fn lane_of(stream: &mut RecvStream) -> Result<Lane, NetError> {
    let first = stream.read_chunk(1, true).await.map_err(|error| read_error(error, None))?;
    let byte = first.and_then(|chunk| chunk.bytes.first().copied());
    byte.and_then(Lane::from_byte).ok_or(NetError::UnknownLane { byte })
}

fn read_error(error: ReadError, lane: Option<Lane>) -> NetError {
    match error {
        ReadError::Reset(code) => NetError::LaneReset { lane, code: code.into_inner() },
        ReadError::ConnectionLost(lost) => lost.into(),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            unreachable!("a lane is read in order, to its end, and never as early data: {error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_once_it_is_complete() {
        let bytes = [0x07, 0x80, 0x01, 0xaa];

        for incomplete in 0..3 {
            assert_eq!(Header::read(&bytes[..incomplete]).expect("no fault yet"), None, "{incomplete} bytes");
        }
        assert_eq!(Header::read(&bytes).expect("no fault"), Some(Header { head: 3, body: 128 }));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_by_its_header_alone() {
        // 4 GiB, and the first length over the limit.
        for (length, bytes) in [
            ([0x80_u8, 0x80, 0x80, 0x80, 0x10].as_slice(), 1_u64 << 32),
            (&[0x81, 0x80, 0x40], FRAME_BYTES_MAX as u64 + 1),
        ] {
            let error = Header::read(&[&[1], length].concat()).expect_err("it is too large");
            let NetError::FrameTooLarge { bytes: claimed, bytes_max } = error else {
                panic!("another error: {error}")
            };
            assert_eq!((claimed, bytes_max), (bytes, FRAME_BYTES_MAX as u64));
        }
    }

    #[test]
    fn a_header_that_is_not_canonical_is_refused() {
        for bad in [[0x80_u8, 0x00, 0x00].as_slice(), &[0x01, 0x80, 0x00], &[0xff; 11]] {
            let error = Header::read(bad).expect_err("it is not canonical");
            assert!(
                matches!(&error, NetError::FrameMalformed { source: CodecError::NotCanonical { .. } }),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_frame_is_exactly_as_long_as_it_says() {
        assert_eq!(Header::of_whole(&[5, 2, 1, 1]).expect("it is whole"), Header { head: 2, body: 2 });

        for short in [&[] as &[u8], &[5], &[5, 2], &[5, 2, 1]] {
            let error = Header::of_whole(short).expect_err("it is cut off");
            let NetError::FrameMalformed { source } = error else { panic!("another error: {error}") };
            assert_eq!(source, CodecError::Truncated { what: "frame" });
        }
        let error = Header::of_whole(&[5, 2, 1, 1, 1]).expect_err("a byte follows");
        let NetError::FrameMalformed { source } = error else { panic!("another error: {error}") };
        assert_eq!(source, CodecError::Trailing { bytes: 1 });
    }
}
