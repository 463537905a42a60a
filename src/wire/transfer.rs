//! Commits, what was taken of them, and the comparison that ends a sync.

use std::collections::BTreeMap;

use super::{Digest, Revisions, Slot, WireError, decode_flags, decode_vectors, encode_vectors};
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{CollectionName, Vector};
use crate::limits::{BATCH_COMMITS_MAX, COMMIT_BYTES_MAX, FRAME_BYTES_MAX};

/// Smallest batch that is worth compressing, in bytes.
const COMPRESS_BYTES_MIN: usize = 512;
/// A fast level: the link or the receiver's signature checks are the slower part.
const COMPRESS_LEVEL: i32 = 1;
/// Most that a compressed batch may expand, as a factor.
const EXPANSION_MAX: usize = 100;

/// The version vectors of the sender, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VectorsTold {
    /// The space.
    pub(crate) slot: Slot,
    /// Of the collections that both sides want live, and of those that only the sender does, what it holds of the
    /// receiver's own commits.
    pub(crate) vectors: BTreeMap<CollectionName, Vector>,
    /// The receiver tells its own in return.
    pub(crate) answer: bool,
    /// The two sides were found to hold the same: of the numbers, the receiver notes those of which it has records.
    /// Who asked tells its own once more when it has done so.
    pub(crate) equal: bool,
    /// They follow a comparison that found the vectors to differ: what the receiver believed to have sent may be
    /// wrong. Otherwise commits may be on their way that they do not name yet.
    pub(crate) anew: bool,
    /// Only of collections that the receiver does not want live: what is held of its own commits.
    pub(crate) part: bool,
    /// The interests by which the collections were chosen.
    pub(crate) revisions: Revisions,
}

/// One commit, sent as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// The space.
    pub(crate) slot: Slot,
    /// Its encoding.
    pub(crate) commit: Vec<u8>,
}

/// Commits sent soon after they were made, several at once because the receiver is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveBatch {
    /// The space.
    pub(crate) slot: Slot,
    /// Their encodings, in the order in which they were applied.
    pub(crate) commits: Vec<Vec<u8>>,
}

/// Commits that the receiver lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The space.
    pub(crate) slot: Slot,
    /// Counts the batches of this sender in this space on this connection.
    pub(crate) number: u64,
    /// Their encodings.
    pub(crate) commits: Vec<Vec<u8>>,
}

/// A batch was taken into the receiver's store; not necessarily to its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchTaken {
    /// The space.
    pub(crate) slot: Slot,
    /// Which batch.
    pub(crate) number: u64,
}

/// Commits that are on the sender's disk, since its last acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    /// The space.
    pub(crate) slot: Slot,
    /// What was added.
    pub(crate) vectors: BTreeMap<CollectionName, Vector>,
}

/// What the sender holds on its disk, in the collections that both sides may read and want live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roots {
    /// The space.
    pub(crate) slot: Slot,
    /// The digest of the membership log.
    pub(crate) log: Digest,
    /// The digest of the version vectors.
    pub(crate) vectors: Digest,
    /// The digest of the root fingerprints.
    pub(crate) roots: Digest,
    /// The receiver says its own in return.
    pub(crate) answer: bool,
    /// Something is on its way to the receiver, or being taken here: a difference proves nothing.
    pub(crate) busy: bool,
    /// The interests by which the collections were chosen.
    pub(crate) revisions: Revisions,
    /// How many steps of repairs the leader had begun, as the sender knew. Digests from before the last one say
    /// nothing about what it brought.
    pub(crate) repairs: u64,
}

impl Encode for VectorsTold {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        let [answer, equal, anew, part] = [self.answer, self.equal, self.anew, self.part].map(u8::from);
        out.u8(answer | equal << 1 | anew << 2 | part << 3);
        self.revisions.encode(out);
        encode_vectors(&self.vectors, out);
    }
}

impl Decode for VectorsTold {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        let [answer, equal, anew, part] = decode_flags(input)?;
        let revisions = Revisions::decode(input)?;
        Ok(Self { slot, answer, equal, anew, part, revisions, vectors: decode_vectors(input)? })
    }
}

impl Encode for Live {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.bytes(&self.commit);
    }
}

impl Decode for Live {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        Ok(Self { slot, commit: input.bytes("commit", COMMIT_BYTES_MAX)?.to_vec() })
    }
}

impl LiveBatch {
    /// `varint slot`, then the commits as in a [`Batch`].
    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        encode_commits(&self.commits, out);
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { slot: input.varint("slot")?, commits: decode_commits(input)? })
    }
}

impl Batch {
    /// ```text
    /// varint slot, varint number, form: 0 plain, 1 zstd with varint of the expanded length, then the commits:
    /// varint count, then each with its length
    /// ```
    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.varint(self.number);
        encode_commits(&self.commits, out);
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let (slot, number) = (input.varint("slot")?, input.varint("batch number")?);
        Ok(Self { slot, number, commits: decode_commits(input)? })
    }
}

fn encode_commits(commits: &[Vec<u8>], out: &mut Writer) {
    let mut plain = Writer::new();
    plain.count(commits.len());
    commits.iter().for_each(|commit| plain.bytes(commit));
    let plain = plain.into_bytes();
    let packed = if plain.len() < COMPRESS_BYTES_MIN {
        None
    } else {
        zstd::bulk::compress(&plain, COMPRESS_LEVEL).ok().filter(|packed| pays(packed, &plain))
    };
    match packed {
        Some(packed) => {
            out.u8(1);
            out.count(plain.len());
            out.bytes(&packed);
        }
        None => {
            out.u8(0);
            out.bytes(&plain);
        }
    }
}

fn decode_commits(input: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, WireError> {
    let expanded_bytes;
    let plain = match input.u8("batch form")? {
        0 => input.bytes("commits", FRAME_BYTES_MAX)?,
        1 => {
            let expanded = input.varint("expanded length")?;
            let packed = input.bytes("commits", FRAME_BYTES_MAX)?;
            expanded_bytes = expand(packed, expanded)?;
            &expanded_bytes
        }
        _ => return Err(CodecError::Invalid { what: "batch form" }.into()),
    };
    let mut inner = Reader::new(plain);
    let count = inner.count("commits", BATCH_COMMITS_MAX)?;
    let commit = |_| inner.bytes("commit", COMMIT_BYTES_MAX).map(<[u8]>::to_vec);
    let commits = (0..count).map(commit).collect::<Result<_, _>>()?;
    inner.finish()?;
    Ok(commits)
}

/// Whether the compressed form is smaller, and not so much smaller that the receiver would refuse it.
fn pays(packed: &[u8], plain: &[u8]) -> bool {
    packed.len() < plain.len() && plain.len() <= packed.len().saturating_mul(EXPANSION_MAX)
}

/// Expands within two bounds: what a frame may hold, and a factor of what arrived.
fn expand(packed: &[u8], expanded: u64) -> Result<Vec<u8>, WireError> {
    let expanded = usize::try_from(expanded).unwrap_or(usize::MAX);
    if expanded > FRAME_BYTES_MAX {
        return Err(WireError::Compression { reason: "it says to be larger than a frame" });
    }
    if expanded > packed.len().saturating_mul(EXPANSION_MAX) {
        return Err(WireError::Compression { reason: "it says to expand more than a hundredfold" });
    }
    let plain = zstd::bulk::decompress(packed, expanded)
        .map_err(|_| WireError::Compression { reason: "it is damaged or larger than it says" })?;
    if plain.len() != expanded {
        return Err(WireError::Compression { reason: "it is smaller than it says" });
    }
    Ok(plain)
}

impl Encode for BatchTaken {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.varint(self.number);
    }
}

impl Decode for BatchTaken {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { slot: input.varint("slot")?, number: input.varint("batch number")? })
    }
}

impl Encode for Ack {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        encode_vectors(&self.vectors, out);
    }
}

impl Decode for Ack {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { slot: input.varint("slot")?, vectors: decode_vectors(input)? })
    }
}

impl Encode for Roots {
    fn encode(&self, out: &mut Writer) {
        out.varint(self.slot);
        out.raw(&self.log);
        out.raw(&self.vectors);
        out.raw(&self.roots);
        out.u8(u8::from(self.answer) | u8::from(self.busy) << 1);
        self.revisions.encode(out);
        out.varint(self.repairs);
    }
}

impl Decode for Roots {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let slot = input.varint("slot")?;
        let (log, vectors) = (input.array("digest of the log")?, input.array("digest of the vectors")?);
        let roots = input.array("digest of the roots")?;
        let [answer, busy] = decode_flags(input)?;
        let (revisions, repairs) = (Revisions::decode(input)?, input.varint("repairs")?);
        Ok(Self { slot, log, vectors, roots, answer, busy, revisions, repairs })
    }
}
