//! Commit records: what a signature covered, without the change bytes; and commits in quarantine.

use super::keys::Arrival;
use super::meta::rest;
use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{
    ChangeHash, CollectionName, CommitHash, EntityId, Oseq, PeerId, Position, Salt, StatementHash,
};
use crate::limits::{COMMIT_AT_MAX, COMMIT_BYTES_MAX, COMMIT_LEAVES_MAX, HELD_MISSING_MAX};
use crate::time::Timestamp;

/// What is stored of a commit under one of its collections.
///
/// ```text
/// 0 and the record, or 1 and: position varint, collection text, oseq varint of the key that has the record
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitEntry {
    /// The record itself.
    Record(CommitRecord),
    /// The record is under another collection of the same commit.
    Reference {
        /// The place of the commit in the journal.
        position: Position,
        /// The other collection.
        collection: CollectionName,
        /// The number of the commit there.
        oseq: Oseq,
    },
}

impl CommitEntry {
    /// Returns the place of the commit in the journal.
    #[must_use]
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Record(record) => record.position,
            Self::Reference { position, .. } => *position,
        }
    }
}

/// A commit without its change bytes, which are under [`super::ChangeKey`].
///
/// ```text
/// position varint
/// count of statement hashes, each 32 B
/// count of slots, each: 0 and the 32 B hash of a collection that is closed here, or
///   1 to 5, collection text, entity 16 B, oseq varint, of varint, seq varint, head 32 B, arrival varint;
///   with 2 and 5 the 32 B hash of the commit that its device made before in the collection, with 4 and 5 then
///   the 16 B salt, with 3 both as the slot before
/// signature 64 B
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitRecord {
    /// Its place in the journal.
    pub(crate) position: Position,
    /// The membership heads that it names.
    pub(crate) at: Vec<StatementHash>,
    /// Its leaves, in the order that was signed.
    pub(crate) slots: Vec<SlotRecord>,
    /// The signature.
    pub(crate) signature: [u8; 64],
}

/// One leaf of a stored commit, or one collection that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotRecord {
    /// A leaf whose change is here.
    Open {
        /// The collection.
        collection: CollectionName,
        /// The entity.
        entity: EntityId,
        /// The number of the commit in the collection.
        oseq: Oseq,
        /// The commit that its device made before in the collection.
        prev: Option<CommitHash>,
        /// What the hash of its collection is salted with.
        salt: Option<Salt>,
        /// How many leaves the commit has in the collection.
        of: u32,
        /// The actor's sequence number.
        seq: u64,
        /// The hash of the change.
        head: ChangeHash,
        /// Where the change is.
        arrival: Arrival,
    },
    /// The hash of all leaves of a collection that were not sent to this node.
    Blind([u8; 32]),
}

impl Encode for CommitEntry {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Record(record) => {
                out.u8(0);
                record.encode(out);
            }
            Self::Reference { position, collection, oseq } => {
                out.u8(1);
                position.encode(out);
                collection.encode(out);
                oseq.encode(out);
            }
        }
    }
}

impl Decode for CommitEntry {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        match input.u8("commit")? {
            0 => CommitRecord::decode(input).map(Self::Record),
            1 => Ok(Self::Reference {
                position: Position::decode(input)?,
                collection: CollectionName::decode(input)?,
                oseq: Oseq::decode(input)?,
            }),
            _ => Err(CodecError::Invalid { what: "commit" }),
        }
    }
}

impl Encode for CommitRecord {
    fn encode(&self, out: &mut Writer) {
        self.position.encode(out);
        out.count(self.at.len());
        self.at.iter().for_each(|at| at.encode(out));
        out.count(self.slots.len());
        let mut before = None;
        for slot in &self.slots {
            slot.encode(before, out);
            before = slot.shared();
        }
        out.raw(&self.signature);
    }
}

impl CommitRecord {
    /// The slots by collection, as [`crate::access::Commit::by_collection`] has those of the commit.
    pub(crate) fn by_collection(&self) -> impl Iterator<Item = &[SlotRecord]> {
        let name = |slot: &SlotRecord| slot.shared().map(|(collection, ..)| collection.clone());
        self.slots.chunk_by(move |a, b| name(a).is_some() && name(a) == name(b))
    }
}

impl Decode for CommitRecord {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let position = Position::decode(input)?;
        let mut at = Vec::new();
        for _ in 0..input.count("membership heads", COMMIT_AT_MAX)? {
            at.push(StatementHash::decode(input)?);
        }
        let mut slots = Vec::new();
        for _ in 0..input.count("leaves", COMMIT_LEAVES_MAX)? {
            let before = slots.last().and_then(SlotRecord::shared);
            slots.push(SlotRecord::decode(before, input)?);
        }
        Ok(Self { position, at, slots, signature: input.array("signature")? })
    }
}

/// What the leaves of one collection share: the collection, the commit before it there, and the salt.
type Shared<'a> = (&'a CollectionName, Option<CommitHash>, Option<Salt>);

impl SlotRecord {
    fn shared(&self) -> Option<Shared<'_>> {
        match self {
            Self::Blind(_) => None,
            Self::Open { collection, prev, salt, .. } => Some((collection, *prev, *salt)),
        }
    }

    fn encode(&self, before: Option<Shared<'_>>, out: &mut Writer) {
        match self {
            Self::Blind(hash) => {
                out.u8(0);
                out.raw(hash);
            }
            Self::Open { collection, entity, oseq, prev, salt, of, seq, head, arrival } => {
                let again = before == self.shared();
                out.u8(match (prev, salt) {
                    (None, None) => 1,
                    _ if again => 3,
                    (Some(_), None) => 2,
                    (None, Some(_)) => 4,
                    (Some(_), Some(_)) => 5,
                });
                collection.encode(out);
                entity.encode(out);
                oseq.encode(out);
                out.varint(u64::from(*of));
                out.varint(*seq);
                head.encode(out);
                out.varint(arrival.0);
                if !again {
                    prev.iter().for_each(|prev| prev.encode(out));
                    salt.iter().for_each(|salt| salt.encode(out));
                }
            }
        }
    }

    fn decode(before: Option<Shared<'_>>, input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "leaf";
        let kind = match input.u8(WHAT)? {
            0 => return input.array(WHAT).map(Self::Blind),
            kind @ 1..=5 => kind,
            _ => return Err(CodecError::Invalid { what: WHAT }),
        };
        let (collection, entity) = (CollectionName::decode(input)?, EntityId::decode(input)?);
        let oseq = Oseq::decode(input)?;
        let of = u32::try_from(input.varint(WHAT)?).map_err(|_| CodecError::Invalid { what: WHAT })?;
        let (seq, head) = (input.varint(WHAT)?, ChangeHash::decode(input)?);
        let arrival = Arrival(input.varint(WHAT)?);
        let (prev, salt) = if kind == 3 {
            let (_, prev, salt) = before.ok_or(CodecError::Invalid { what: WHAT })?;
            (prev, salt)
        } else {
            let prev = if matches!(kind, 2 | 5) { Some(CommitHash::decode(input)?) } else { None };
            (prev, if matches!(kind, 4 | 5) { Some(Salt::decode(input)?) } else { None })
        };
        Ok(Self::Open { collection, entity, oseq, prev, salt, of, seq, head, arrival })
    }
}

/// Why a commit is held back, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum HeldCause {
    /// Changes that it depends on are not here.
    MissingDependency = 0,
    /// Its author might not write there.
    NotAllowed = 1,
    /// Another commit or change has the same number.
    Equivocation = 2,
    /// A change did not pass the gate.
    Malformed = 3,
    /// It names membership statements that are not here.
    UnknownPosition = 4,
    /// A removal of its device does not let it stand, and nobody vouches for it.
    AfterCut = 5,
}

impl HeldCause {
    const ALL: [Self; 6] = [
        Self::MissingDependency,
        Self::NotAllowed,
        Self::Equivocation,
        Self::Malformed,
        Self::UnknownPosition,
        Self::AfterCut,
    ];
    /// Those that other commits or statements may end.
    pub(crate) const MAY_PASS: [Self; 5] = [
        Self::MissingDependency,
        Self::NotAllowed,
        Self::Equivocation,
        Self::UnknownPosition,
        Self::AfterCut,
    ];
}

/// How long a commit in quarantine has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// It counted here before, and stays.
    Ever,
    /// It came when this store had been open for so many milliseconds.
    OpenMs(u64),
    /// Damage took what it builds on. It stays, and does not count as received: whoever has the rest sends all.
    Damage,
}

impl Since {
    /// When it came, if it does not stay whatever happens.
    pub(crate) const fn open_ms(self) -> Option<u64> {
        match self {
            Self::OpenMs(ms) => Some(ms),
            Self::Ever | Self::Damage => None,
        }
    }
}

/// A commit in quarantine.
///
/// ```text
/// cause u8, arrived signed, peer 32 B that sent it
/// 0 ever, 1 and open milliseconds varint, 2 damage
/// count of missing changes, each 32 B
/// encoded commit to the end
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldRecord {
    /// Why it is held.
    pub(crate) cause: HeldCause,
    /// When it came, for display.
    pub(crate) arrived: Timestamp,
    /// The peer that sent it.
    pub(crate) from: PeerId,
    /// How long it has waited.
    pub(crate) since: Since,
    /// Changes that it waits for.
    pub(crate) missing: Vec<ChangeHash>,
    /// The encoded commit.
    pub(crate) commit: Vec<u8>,
}

impl Encode for HeldRecord {
    fn encode(&self, out: &mut Writer) {
        out.u8(self.cause as u8);
        self.arrived.encode(out);
        self.from.encode(out);
        out.u8(match self.since {
            Since::Ever => 0,
            Since::OpenMs(_) => 1,
            Since::Damage => 2,
        });
        self.since.open_ms().into_iter().for_each(|ms| out.varint(ms));
        out.count(self.missing.len());
        self.missing.iter().for_each(|hash| hash.encode(out));
        out.raw(&self.commit);
    }
}

impl Decode for HeldRecord {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        const WHAT: &str = "held commit";
        let cause = usize::from(input.u8(WHAT)?);
        let cause = *HeldCause::ALL.get(cause).ok_or(CodecError::Invalid { what: WHAT })?;
        let (arrived, from) = (Timestamp::decode(input)?, PeerId::decode(input)?);
        let since = match input.u8(WHAT)? {
            0 => Since::Ever,
            1 => Since::OpenMs(input.varint(WHAT)?),
            2 => Since::Damage,
            _ => return Err(CodecError::Invalid { what: WHAT }),
        };
        let mut missing = Vec::new();
        for _ in 0..input.count(WHAT, HELD_MISSING_MAX)? {
            missing.push(ChangeHash::decode(input)?);
        }
        Ok(Self { cause, arrived, from, since, missing, commit: rest(input, WHAT)? })
    }
}

/// Two commits of one origin that cannot both be, as they prove it to whoever may read the collection.
///
/// ```text
/// length of one and one, the other to the end
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClashRecord {
    /// An encoded commit with the leaves of other collections blinded.
    pub(crate) one: Vec<u8>,
    /// Another one.
    pub(crate) other: Vec<u8>,
}

impl Encode for ClashRecord {
    fn encode(&self, out: &mut Writer) {
        out.bytes(&self.one);
        out.raw(&self.other);
    }
}

impl Decode for ClashRecord {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        let one = input.bytes("clash", COMMIT_BYTES_MAX)?.to_vec();
        Ok(Self { one, other: rest(input, "clash")? })
    }
}
