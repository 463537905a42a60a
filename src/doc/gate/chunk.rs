//! The change chunk: its frame, its header and its counts, read before Automerge sees a byte.
//!
//! ```text
//! 85 6f 4a 83 | checksum 4 | type 01 | length | content                         length, count, number: LEB128
//! content: deps count, 32 bytes each | actor length 16, bytes | seq | start_op | time (signed)
//!          | message length 0 | other actors count, (length 16, bytes) each
//!          | columns count, (specification, length) each | columns
//! hash = SHA-256(type, length, content); the checksum is its first four bytes
//! ```

use sha2::{Digest, Sha256};

use super::super::GateError;
use super::ops::{Columns, Ops};
use super::runs::Cursor;
use crate::id::{ActorId, ChangeHash};
use crate::limits::{CHANGE_ACTORS_MAX, CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OP_COUNTER_MAX};
use crate::limits::{CHANGE_OPS_MAX, CHANGE_PREDS_MAX, CHANGE_SEQ_MAX, CHANGE_TIME_MS_MAX};
use crate::time::Timestamp;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const TYPE_CHANGE: u8 = 1;

/// What a change says of itself, read without Automerge.
///
/// # Example
///
/// ```
/// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
/// # use driftless::{Timestamp, id::ActorId};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
/// # let mut document = Document::new();
/// let made = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?.ok_or("no change")?;
/// let header = doc::gate::prescan(&made.bytes)?;
/// assert_eq!((header.actor, header.seq), (ada, 1));
/// assert_eq!(header.deps, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its hash.
    pub hash: ChangeHash,
    /// Who made it.
    pub actor: ActorId,
    /// Its number among the changes of its actor; the first is 1.
    pub seq: u64,
    /// The counter of its first operation.
    pub start_op: u64,
    /// How many operations it has, at least one.
    pub ops: u64,
    /// The changes that it follows, sorted.
    pub deps: Vec<ChangeHash>,
    /// What its maker's clock said.
    pub time: Timestamp,
}

impl Header {
    /// Returns the counter of its last operation.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// let made = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?.ok_or("no change")?;
    /// let header = doc::gate::prescan(&made.bytes)?;
    /// assert_eq!(header.max_op(), header.start_op + header.ops - 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn max_op(&self) -> u64 {
        self.start_op + self.ops - 1
    }
}

/// A change taken apart; `columns` are not looked into yet.
#[derive(Clone, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) hash: ChangeHash,
    pub(super) actor: ActorId,
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) time: i64,
    deps: &'a [u8],
    /// Actors other than the author, 17 bytes each: the length 16 and the id.
    others: &'a [u8],
    columns: Columns<'a>,
}

/// Checks a change without giving it to Automerge, and without allocating by what it claims.
///
/// Accepted is exactly one uncompressed change as this library's devices write it, within the limits. What its
/// operations refer to is not checked here.
///
/// # Errors
///
/// [`GateError::TooLarge`] when it exceeds a limit, [`GateError::Malformed`] when it has another form.
///
/// # Example
///
/// ```
/// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
/// # use driftless::{Timestamp, id::ActorId};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
/// # let mut document = Document::new();
/// let made = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?.ok_or("no change")?;
/// assert_eq!(doc::gate::prescan(&made.bytes)?.hash, made.hash);
/// assert!(doc::gate::prescan(&made.bytes[1..]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prescan(bytes: &[u8]) -> Result<Header, GateError> {
    let chunk = Chunk::parse(bytes)?;
    let ops = chunk.count()?;
    at_most("operations", ops, CHANGE_OPS_MAX)?;
    if ops == 0 {
        return Err(GateError::Malformed { what: "change without operations" });
    }
    at_most("predecessors", chunk.columns.predecessors()?, CHANGE_PREDS_MAX)?;
    at_most("operation counter", chunk.start_op.saturating_add(ops - 1), CHANGE_OP_COUNTER_MAX)?;
    at_most("time", chunk.time.unsigned_abs(), CHANGE_TIME_MS_MAX)?;
    let mut all = chunk.ops(ops);
    while all.next(|_| Ok(()))?.is_some() {}
    Ok(Header {
        hash: chunk.hash,
        actor: chunk.actor,
        seq: chunk.seq,
        start_op: chunk.start_op,
        ops,
        deps: chunk.deps().collect(),
        time: Timestamp::from_unix_ms(chunk.time),
    })
}

impl<'a> Chunk<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, GateError> {
        at_most("change bytes", bytes.len() as u64, CHANGE_BYTES_MAX as u64)?;
        let mut input = Cursor::new(bytes);
        if input.array()? != MAGIC {
            return Err(GateError::Malformed { what: "magic bytes" });
        }
        let checksum: [u8; 4] = input.array()?;
        let hashed = input.rest();
        if input.u8()? != TYPE_CHANGE {
            return Err(GateError::Malformed { what: "chunk type" });
        }
        if input.unsigned()? != input.rest().len() as u64 {
            return Err(GateError::Malformed { what: "chunk length" });
        }
        let hash: [u8; 32] = Sha256::digest(hashed).into();
        if !hash.starts_with(&checksum) {
            return Err(GateError::Malformed { what: "checksum" });
        }
        Self::parse_content(ChangeHash::new(hash), input)
    }

    fn parse_content(hash: ChangeHash, mut input: Cursor<'a>) -> Result<Self, GateError> {
        let dep_count = input.unsigned()?;
        at_most("dependencies", dep_count, CHANGE_DEPS_MAX as u64)?;
        let deps = input.take(dep_count * 32)?;
        if !deps.chunks_exact(32).is_sorted_by(|left, right| left < right) {
            return Err(GateError::Malformed { what: "dependencies are not sorted" });
        }
        let actor = actor(&mut input)?;
        let seq = input.unsigned()?;
        at_most("sequence number", seq, CHANGE_SEQ_MAX)?;
        if seq == 0 {
            return Err(GateError::Malformed { what: "sequence number is zero" });
        }
        let start_op = input.unsigned()?;
        at_most("operation counter", start_op, CHANGE_OP_COUNTER_MAX)?;
        if start_op == 0 {
            return Err(GateError::Malformed { what: "operation counter is zero" });
        }
        let time = input.signed()?;
        if input.unsigned()? != 0 {
            return Err(GateError::Malformed { what: "message" });
        }
        let others = others(&mut input, &actor)?;
        let columns = columns(&mut input)?;
        Ok(Self { hash, actor, seq, start_op, time, deps, others, columns })
    }

    pub(super) fn deps(&self) -> impl Iterator<Item = ChangeHash> + 'a {
        self.deps.as_chunks::<32>().0.iter().map(|dep| ChangeHash::new(*dep))
    }

    /// Returns the actors that operations refer to by index, the author first.
    pub(super) fn actors(&self) -> impl Iterator<Item = ActorId> + 'a {
        let others = self.others.as_chunks::<17>().0.iter();
        let others = others.map(|[_, id @ ..]| ActorId::new(*id));
        std::iter::once(self.actor).chain(others)
    }

    /// Counts its operations.
    pub(super) fn count(&self) -> Result<u64, GateError> {
        self.columns.count()
    }

    /// Starts to read its operations, of which there are `count`.
    pub(super) fn ops(&self, count: u64) -> Ops<'a> {
        Ops::new(&self.columns, count, 1 + self.others.len() as u64 / 17)
    }
}

fn actor(input: &mut Cursor<'_>) -> Result<ActorId, GateError> {
    if input.unsigned()? != ActorId::BYTES as u64 {
        return Err(GateError::Malformed { what: "actor is not 16 bytes" });
    }
    input.array().map(ActorId::new)
}

/// Reads the actors other than the author: sorted, each once.
fn others<'a>(input: &mut Cursor<'a>, author: &ActorId) -> Result<&'a [u8], GateError> {
    let count = input.unsigned()?;
    at_most("other actors", count, CHANGE_ACTORS_MAX as u64)?;
    let all = input.take(count * 17)?;
    let mut last = None;
    let mut each = Cursor::new(all);
    while !each.is_empty() {
        let id = actor(&mut each)?;
        if last.is_some_and(|last| last >= id) || id == *author {
            return Err(GateError::Malformed { what: "actors are not sorted" });
        }
        last = Some(id);
    }
    Ok(all)
}

/// Reads the list of columns and cuts the rest of the chunk into them, with nothing left over.
fn columns<'a>(input: &mut Cursor<'a>) -> Result<Columns<'a>, GateError> {
    let count = input.unsigned()?;
    let mut list = *input;
    let mut last = None;
    for _ in 0..count {
        let specification = input.unsigned()?;
        input.unsigned()?;
        if last.is_some_and(|last| last >= specification) {
            return Err(GateError::Malformed { what: "columns are not sorted" });
        }
        last = Some(specification);
    }
    let mut columns = Columns::default();
    for _ in 0..count {
        let specification = list.unsigned()?;
        let bytes = input.take(list.unsigned()?)?;
        columns.set(specification, bytes)?;
    }
    if input.is_empty() {
        Ok(columns)
    } else {
        Err(GateError::Malformed { what: "bytes follow the columns" })
    }
}

fn at_most(what: &'static str, count: u64, max: u64) -> Result<(), GateError> {
    if count > max { Err(GateError::TooLarge { what, count, max }) } else { Ok(()) }
}
