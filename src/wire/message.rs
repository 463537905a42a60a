//! One message of the protocol, to and from its frame.

use super::{
    Ack, Apart, Batch, BatchTaken, Cells, CellsWanted, Clocks, Fetch, Fetched, Heads, Hello, IndexAsk,
    IndexTaken, IndexTold, InterestTold, Introduce, Live, LiveBatch, Neighbours, Offer,
};
use super::{Opening, Roots, Shorts, Statements, VectorsTold, Wanted};
use super::{Slot, WireError, frame, skip_tail, unframe};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};

/// Longest text of a farewell, in bytes.
const FAREWELL_BYTES_MAX: usize = 256;

/// Why the sender ends the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    /// For programs.
    pub(crate) code: u64,
    /// For people.
    pub(crate) text: String,
}

/// A message. The numbers are the types on the wire; even ones must be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// 0: the dialler's first.
    Hello(Hello),
    /// 2: the acceptor's first.
    HelloAck(Hello),
    /// 4: a space that came to be shared after the hello.
    Open(Opening),
    /// 6: version vectors.
    Vectors(VectorsTold),
    /// 8: which statements the sender has.
    Shorts(Shorts),
    /// 10: statements.
    Statements(Statements),
    /// 12: a commit as it was made.
    Live(Live),
    /// 14: commits.
    Batch(Batch),
    /// 16: a batch was taken.
    BatchTaken(BatchTaken),
    /// 18: commits are on disk.
    Ack(Ack),
    /// 20: digests, to compare.
    Roots(Roots),
    /// 22: heads of a range.
    Heads(Heads),
    /// 24: clocks of entities.
    Clocks(Clocks),
    /// 28: cells of a sketch.
    Cells(Cells),
    /// 30: more cells are wanted.
    CellsWanted(CellsWanted),
    /// 32: what differs.
    Apart(Apart),
    /// 34: what the sender wants.
    Interest(InterestTold),
    /// 36: commits soon after they were made.
    LiveBatch(LiveBatch),
    /// 38: documents are asked for.
    Fetch(Fetch),
    /// 40: what was asked for.
    Fetched(Fetched),
    /// 42: an index is asked for.
    IndexAsk(IndexAsk),
    /// 44: what is told of one.
    IndexTold(IndexTold),
    /// 46: changes of one were taken.
    IndexTaken(IndexTaken),
    /// 51: with whom else the sender has the space open.
    Neighbours(Neighbours),
    /// 53: statements that make the sender a member.
    Introduce(Introduce),
    /// 52: commits that another was to send.
    Offer(Offer),
    /// 54: which of them are lacking.
    Wanted(Wanted),
    /// 26: the sender closes.
    Farewell(Farewell),
}

impl Message {
    /// Writes the message as a frame.
    #[must_use]
    pub(crate) fn to_frame(&self) -> Vec<u8> {
        let mut body = Writer::new();
        let kind = match self {
            Self::Hello(hello) => put(0, hello, &mut body),
            Self::HelloAck(hello) => put(2, hello, &mut body),
            Self::Open(opening) => put(4, opening, &mut body),
            Self::Vectors(told) => put(6, told, &mut body),
            Self::Shorts(shorts) => put(8, shorts, &mut body),
            Self::Statements(statements) => put(10, statements, &mut body),
            Self::Live(live) => put(12, live, &mut body),
            Self::Batch(batch) => {
                batch.encode(&mut body);
                14
            }
            Self::LiveBatch(batch) => {
                batch.encode(&mut body);
                36
            }
            Self::BatchTaken(taken) => put(16, taken, &mut body),
            Self::Ack(ack) => put(18, ack, &mut body),
            Self::Roots(roots) => put(20, roots, &mut body),
            Self::Heads(heads) => put(22, heads, &mut body),
            Self::Clocks(clocks) => put(24, clocks, &mut body),
            Self::Cells(cells) => put(28, cells, &mut body),
            Self::CellsWanted(wanted) => put(30, wanted, &mut body),
            Self::Apart(apart) => put(32, apart, &mut body),
            Self::Interest(told) => put(34, told, &mut body),
            Self::Fetch(fetch) => put(38, fetch, &mut body),
            Self::Fetched(fetched) => put(40, fetched, &mut body),
            Self::IndexAsk(ask) => put(42, ask, &mut body),
            Self::IndexTold(told) => put(44, told, &mut body),
            Self::IndexTaken(taken) => put(46, taken, &mut body),
            Self::Neighbours(neighbours) => put(51, neighbours, &mut body),
            Self::Offer(offer) => put(52, offer, &mut body),
            Self::Introduce(introduce) => put(53, introduce, &mut body),
            Self::Wanted(wanted) => put(54, wanted, &mut body),
            Self::Farewell(farewell) => put(26, farewell, &mut body),
        };
        frame(kind, &body)
    }

    /// By which number of the sender it names a space that was opened before; `None` when it names none, or opens it.
    #[must_use]
    pub(crate) fn slot(&self) -> Option<Slot> {
        Some(match self {
            Self::Hello(_) | Self::HelloAck(_) | Self::Open(_) | Self::Introduce(_) | Self::Farewell(_) => {
                return None;
            }
            Self::Vectors(told) => told.slot,
            Self::Shorts(shorts) => shorts.slot,
            Self::Statements(statements) => statements.slot,
            Self::Live(live) => live.slot,
            Self::LiveBatch(batch) => batch.slot,
            Self::Batch(batch) => batch.slot,
            Self::BatchTaken(taken) => taken.slot,
            Self::Ack(ack) => ack.slot,
            Self::Roots(roots) => roots.slot,
            Self::Heads(heads) => heads.slot,
            Self::Clocks(clocks) => clocks.slot,
            Self::Cells(cells) => cells.slot,
            Self::CellsWanted(wanted) => wanted.slot,
            Self::Apart(apart) => apart.slot,
            Self::Interest(told) => told.slot,
            Self::Fetch(fetch) => fetch.slot,
            Self::Fetched(fetched) => fetched.slot,
            Self::IndexAsk(asked) => asked.slot,
            Self::IndexTold(told) => told.slot,
            Self::IndexTaken(taken) => taken.slot,
            Self::Neighbours(neighbours) => neighbours.slot,
            Self::Offer(offer) => offer.slot,
            Self::Wanted(wanted) => wanted.slot,
        })
    }

    /// Reads a frame. A message that may be skipped and is not known is `None`.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the frame is not one canonical message.
    pub(crate) fn from_frame(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let (kind, body) = unframe(bytes)?;
        Self::from_body(kind, body)
    }

    pub(super) fn from_body(kind: u64, body: &[u8]) -> Result<Option<Self>, WireError> {
        let mut input = Reader::new(body);
        let input = &mut input;
        let message = match kind {
            0 => get(input).map(Self::Hello),
            2 => get(input).map(Self::HelloAck),
            4 => get(input).map(Self::Open),
            6 => get(input).map(Self::Vectors),
            8 => get(input).map(Self::Shorts),
            10 => get(input).map(Self::Statements),
            12 => get(input).map(Self::Live),
            14 => Batch::decode(input).map(Self::Batch),
            16 => get(input).map(Self::BatchTaken),
            18 => get(input).map(Self::Ack),
            20 => get(input).map(Self::Roots),
            22 => get(input).map(Self::Heads),
            24 => get(input).map(Self::Clocks),
            26 => get(input).map(Self::Farewell),
            28 => get(input).map(Self::Cells),
            30 => get(input).map(Self::CellsWanted),
            32 => get(input).map(Self::Apart),
            34 => get(input).map(Self::Interest),
            36 => LiveBatch::decode(input).map(Self::LiveBatch),
            38 => get(input).map(Self::Fetch),
            40 => get(input).map(Self::Fetched),
            42 => get(input).map(Self::IndexAsk),
            44 => get(input).map(Self::IndexTold),
            46 => get(input).map(Self::IndexTaken),
            51 => get(input).map(Self::Neighbours),
            52 => get(input).map(Self::Offer),
            53 => get(input).map(Self::Introduce),
            54 => get(input).map(Self::Wanted),
            odd if odd % 2 == 1 => return Ok(None),
            _ => return Err(WireError::Unknown { kind }),
        };
        let message = message.map_err(|error| name(kind, error))?;
        skip_tail(input).map_err(|error| name(kind, error.into()))?;
        Ok(Some(message))
    }
}

fn put(kind: u64, value: &impl Encode, body: &mut Writer) -> u64 {
    value.encode(body);
    kind
}

fn get<T: Decode>(input: &mut Reader<'_>) -> Result<T, WireError> {
    Ok(T::decode(input)?)
}

/// Adds the message type to an error of its body.
fn name(kind: u64, error: WireError) -> WireError {
    if let WireError::Frame(source) = error { WireError::Body { kind, source } } else { error }
}

impl Encode for Farewell {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.code);
        let mut end = self.text.len().min(FAREWELL_BYTES_MAX);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        out.text(self.text.get(..end).unwrap_or_default());
    }
}

impl Decode for Farewell {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let code = input.varint("farewell code")?;
        Ok(Self { code, text: input.text("farewell", FAREWELL_BYTES_MAX)?.to_owned() })
    }
}
