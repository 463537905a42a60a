//! How a value is stored: one checked piece, or several that prove that they belong together.
//!
//! ```text
//! whole  01  check 8 B  bytes                                   under the key itself
//! head   02  check 8 B  tag 8 B  total u32 LE  first bytes      under the key itself
//! piece  03  check 8 B  tag 8 B  more bytes                     under 00 'p' key, number u32 BE (1, 2, ..)
//! ```
//!
//! The check is the start of a BLAKE3 hash over the engine's key and all of the stored value but the check, so
//! a value that turns up under another key is as damaged as one with a flipped bit. The tag is the same over
//! the logical key and the whole value: pieces of two generations never pass for one value.

use crate::limits::{PIECE_BYTES_MAX, VALUE_TOTAL_BYTES_MAX};

/// The class of the store's own keys. Callers' keys never start with it.
pub(super) const OWN_CLASS: u8 = 0x00;

const WHOLE: u8 = 0x01;
const HEAD: u8 = 0x02;
const PIECE: u8 = 0x03;
const CHECK_BYTES: usize = 8;
const TAG_BYTES: usize = 8;

/// Bytes of a value that fit into a whole.
const WHOLE_ROOM: usize = PIECE_BYTES_MAX - 1 - CHECK_BYTES;
/// Bytes of a value in its head.
const HEAD_ROOM: usize = WHOLE_ROOM - TAG_BYTES - 4;
/// Bytes of a value in each piece but the last, which may have fewer.
const PIECE_ROOM: usize = WHOLE_ROOM - TAG_BYTES;

const _: () = assert!(VALUE_TOTAL_BYTES_MAX <= u32::MAX as usize);

type Check = [u8; CHECK_BYTES];
/// Names one generation of one value.
pub(super) type Tag = [u8; TAG_BYTES];

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// The value.
    Whole(Vec<u8>),
    /// The start of the value; the rest is in pieces.
    Head {
        /// Names the generation.
        tag: Tag,
        /// The bytes of the value.
        total: usize,
        /// The first of them.
        first: Vec<u8>,
    },
}

/// Splits a value. Returns the pairs of the engine, the key itself first.
pub(super) fn split(key: &[u8], value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    assert!(value.len() <= VALUE_TOTAL_BYTES_MAX, "checked by the caller");
    if value.len() <= WHOLE_ROOM {
        return vec![(key.to_vec(), seal(key, WHOLE, &[value]))];
    }
    let tag: Tag = check(key, 0, &[value]);
    let total = u32::try_from(value.len()).expect("the limit fits 32 bits");
    let (first, rest) = value.split_at_checked(HEAD_ROOM).expect("longer than a whole");
    let mut pairs = vec![(key.to_vec(), seal(key, HEAD, &[&tag, &total.to_le_bytes(), first]))];
    for (number, bytes) in (1..).zip(rest.chunks(PIECE_ROOM)) {
        let key = piece_key(key, number);
        let sealed = seal(&key, PIECE, &[&tag, bytes]);
        pairs.push((key, sealed));
    }
    pairs
}

/// Reads what is stored under a key; `None` when it is damaged.
pub(super) fn open(key: &[u8], stored: &[u8]) -> Option<Stored> {
    let (kind, body) = unseal(key, stored)?;
    match kind {
        WHOLE => Some(Stored::Whole(body.to_vec())),
        HEAD => {
            let (tag, body) = body.split_first_chunk::<TAG_BYTES>()?;
            let (total, first) = body.split_first_chunk::<4>()?;
            let total = u32::from_le_bytes(*total) as usize;
            let sized = first.len() == HEAD_ROOM && total > WHOLE_ROOM && total <= VALUE_TOTAL_BYTES_MAX;
            sized.then(|| Stored::Head { tag: *tag, total, first: first.to_vec() })
        }
        _ => None,
    }
}

/// Appends the bytes of a piece; `None` when it is damaged or of another generation.
pub(super) fn append(value: &mut Vec<u8>, key: &[u8], stored: &[u8], tag: &Tag) -> Option<()> {
    let (PIECE, body) = unseal(key, stored)? else { return None };
    let bytes = body.strip_prefix(tag)?;
    value.extend_from_slice(bytes);
    Some(())
}

/// Returns how many pieces follow the head of a value.
pub(super) fn pieces(total: usize) -> u32 {
    let count = total.saturating_sub(HEAD_ROOM).div_ceil(PIECE_ROOM);
    u32::try_from(count).expect("the limit of a value fits 32 bits")
}

/// Returns the engine's key of a piece. Keys of one length never meet: the number has a fixed width.
pub(super) fn piece_key(key: &[u8], number: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 6);
    out.extend([OWN_CLASS, b'p']);
    out.extend(key);
    out.extend(number.to_be_bytes());
    out
}

fn seal(key: &[u8], kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + CHECK_BYTES + parts.iter().map(|part| part.len()).sum::<usize>());
    out.push(kind);
    out.extend(check(key, kind, parts));
    for part in parts {
        out.extend_from_slice(part);
    }
    assert!(out.len() <= PIECE_BYTES_MAX, "pieces have one largest size");
    out
}

fn unseal<'a>(key: &[u8], stored: &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (kind, rest) = stored.split_first()?;
    let (found, body) = rest.split_first_chunk::<CHECK_BYTES>()?;
    (*found == check(key, *kind, &[body])).then_some((*kind, body))
}

fn check(key: &[u8], kind: u8, parts: &[&[u8]]) -> Check {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftless/value/v1\0");
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(&[kind]);
    for part in parts {
        hasher.update(part);
    }
    let hash = hasher.finalize();
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}
