//! A statement of a membership log: what it says, and its one encoding.
//!
//! ```text
//! encoding    signer 32 B | lamport | count of prev, 32 B each, ascending | kind | length of body, body
//!             | signature 64 B, over all before it
//! hash        blake3 of the encoding, signature and all; the genesis' hash is the space
//! option      00, or 01 and the value
//! role        0 relay (reserved), 1 reader, 2 writer, 3 admin, 4 owner
//! enrolment   invite 32 B | device 32 B | member name | device name | option of enc_pk 32 B
//!             | proof by the invite's key 64 B | consent of the device 64 B
//!
//! kind  body
//!    0  genesis        name | member name | device name | nonce 32 B | option of recovery key 32 B
//!                      | option of enc_pk 32 B
//!    1  space name     name
//!    2  invite         key 32 B | grant: 0, role; or 1, member 32 B | expiry | uses: 0 many, 1 once,
//!                      | 2 once, when approved
//!    4  revoke invite  invite 32 B
//!    6  add member     enrolment
//!    8  add device     member 32 B | enrolment
//!   10  remove member  member 32 B | cut: count of commits, 32 B each, ascending
//!   12  remove device  statement that enrolled it 32 B | cut
//!   14  set role       member 32 B | role
//!   16  set rule       collection | role to read | role to write
//!   18  verdict        device 32 B | commit to keep 32 B | commit to drop 32 B
//! ```
//!
//! A statement of an even kind that is not listed is refused, for it might take a right away; of an odd
//! kind it is kept, passed on and ignored.

use std::sync::Arc;

use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::id::{CollectionName, CommitHash, MemberId, PeerId, SpaceId, StatementHash};
use crate::identity::{self, Identity, Purpose, Signature};
use crate::limits::{NAME_BYTES_MAX, STATEMENT_BYTES_MAX, STATEMENT_PREV_MAX};
use crate::time::Timestamp;

use super::{AccessError, Cut, Role};

/// The genesis is signed before its space has an id.
const NO_SPACE: SpaceId = SpaceId::new([0; 32]);
const SIGNATURE_BYTES: usize = 64;

/// A signed statement, decoded. Cheap to clone.
///
/// # Example
///
/// ```
/// # use driftless::{access::{Log, Statement}, identity::Identity};
/// # let ada = Identity::from_seed([1; 32]);
/// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// let renaming = log.set_name(&ada, "Harbour Repairs")?;
/// assert_eq!(renaming.signer(), ada.peer());
/// assert_eq!(Statement::decode(renaming.bytes())?, renaming);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    bytes: Arc<[u8]>,
    hash: StatementHash,
    signer: PeerId,
    lamport: u64,
    prev: Vec<StatementHash>,
    body: Body,
}

/// What a statement says.
///
/// # Example
///
/// ```
/// # use driftless::{access::{Body, Log}, identity::Identity};
/// # let ada = Identity::from_seed([1; 32]);
/// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// match log.set_name(&ada, "Harbour Repairs")?.body() {
///     Body::SetName { name } => assert_eq!(name, "Harbour Repairs"),
///     other => println!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Founds a space; its signer is the founder's device.
    Genesis(Genesis),
    /// Gives the space another name.
    SetName {
        /// The name.
        name: String,
    },
    /// Lets whoever proves the secret behind `key` be enrolled by this statement's signer.
    Invite {
        /// The key derived from the secret.
        key: PeerId,
        /// What it enrols as.
        grant: Grant,
        /// Until when, by the redeemer's clock at that moment; nobody else judges it.
        expiry: Timestamp,
        /// How often the redeemer redeems it.
        uses: Uses,
    },
    /// Takes an invite back.
    RevokeInvite {
        /// The statement that made it.
        invite: StatementHash,
    },
    /// Adds a member with a first device; its hash is the member's id.
    AddMember(Enrolment),
    /// Adds a device to a member.
    AddDevice {
        /// The member.
        member: MemberId,
        /// The device.
        enrolment: Enrolment,
    },
    /// Removes a member with all devices, for good.
    RemoveMember {
        /// The member.
        member: MemberId,
        /// What it lets stand of the member's work.
        cut: Cut,
    },
    /// Removes a device, for good.
    RemoveDevice {
        /// The statement that enrolled it.
        enrolment: StatementHash,
        /// What it lets stand of the member's work.
        cut: Cut,
    },
    /// Gives a member another role.
    SetRole {
        /// The member.
        member: MemberId,
        /// The role.
        role: Role,
    },
    /// Sets which role reads and writes a collection.
    SetRule {
        /// The collection.
        collection: CollectionName,
        /// The least role that reads it.
        read: Role,
        /// The least role that writes it.
        write: Role,
    },
    /// Picks one of two commits that a device signed and that cannot both be. The other one never counts. It names
    /// hashes alone, so it tells nothing of the collection.
    Verdict {
        /// The device.
        device: PeerId,
        /// The commit that stays.
        keep: CommitHash,
        /// The commit that goes.
        drop: CommitHash,
    },
    /// A statement of an odd kind that is not understood here.
    Other {
        /// The kind.
        kind: u64,
        /// Its body.
        bytes: Vec<u8>,
    },
}

/// What founds a space.
///
/// # Example
///
/// ```
/// # use driftless::{access::{Body, Log}, identity::Identity};
/// # let ada = Identity::from_seed([1; 32]);
/// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// let Body::Genesis(founded) = genesis.body() else { return Err("no genesis".into()) };
/// assert_eq!((founded.name.as_str(), founded.recovery), ("Corner Repairs", None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The space's name.
    pub name: String,
    /// The founder's name.
    pub member_name: String,
    /// The founder's device's name.
    pub device_name: String,
    /// Makes the space's id unique.
    pub nonce: [u8; 32],
    /// A key above all members, kept off line.
    pub recovery: Option<PeerId>,
    /// Reserved for end-to-end encryption.
    pub enc_pk: Option<[u8; 32]>,
}

/// A device that becomes a member's.
///
/// # Example
///
/// ```
/// # use driftless::access::{Body, Invite, InviteKind, Log, Role};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let bob = Identity::from_seed([2; 32]);
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
/// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
/// let statement = log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?;
/// let Body::AddMember(enrolment) = statement.body() else { return Err("no member added".into()) };
/// assert_eq!(enrolment.device, bob.peer());
/// assert_eq!(enrolment.member_name, "Bob");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The statement that made the invite.
    pub invite: StatementHash,
    /// The device.
    pub device: PeerId,
    /// The member's name; empty when the member exists.
    pub member_name: String,
    /// The device's name.
    pub device_name: String,
    /// Reserved for end-to-end encryption.
    pub enc_pk: Option<[u8; 32]>,
    /// Made with the invite's key: the device's owner knew the secret.
    pub proof: Signature,
    /// Made with the device's key: its owner wants to be enrolled by this invite.
    pub consent: Signature,
}

/// What an invite enrols as.
///
/// # Example
///
/// ```
/// # use driftless::access::{Body, Grant, Invite, InviteKind, Log, Role};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// let statement = log.invite(&ada, Role::Writer, invite.key(), later)?;
/// let Body::Invite { grant, .. } = statement.body() else { return Err("no invitation".into()) };
/// assert_eq!(*grant, Grant::Role(Role::Writer));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A new member with this role.
    Role(Role),
    /// Another device of this member.
    Device(MemberId),
}

/// How often an invite is redeemed. Only its redeemer judges it.
///
/// # Example
///
/// ```
/// # use driftless::access::{Body, Invite, InviteKind, Log, Role, Uses};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// let statement = log.invite(&ada, Role::Writer, invite.key(), later)?;
/// let Body::Invite { uses, .. } = statement.body() else { return Err("no invitation".into()) };
/// assert_eq!(*uses, Uses::Once);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// As often as it is presented.
    Many,
    /// Once.
    Once,
    /// Once, and only when somebody at its redeemer has approved of the device.
    Approved,
}

impl Statement {
    /// Signs `body` behind `prev`, whose largest lamport number is `lamport - 1`.
    pub(crate) fn sign(
        identity: &Identity,
        space: &SpaceId,
        lamport: u64,
        prev: Vec<StatementHash>,
        body: Body,
    ) -> Result<Self, AccessError> {
        debug_assert!(
            prev.is_sorted_by(|a, b| a < b) && prev.len() <= STATEMENT_PREV_MAX,
            "prev is a short set"
        );
        let mut out = Writer::new();
        identity.peer().encode(&mut out);
        out.varint(lamport);
        out.count(prev.len());
        for hash in &prev {
            hash.encode(&mut out);
        }
        out.varint(body.kind());
        out.bytes(&body.encoded());
        let space = if matches!(body, Body::Genesis(_)) { &NO_SPACE } else { space };
        let signature = identity.sign(Purpose::Statement, space, out.as_bytes());
        out.raw(&signature.0);
        let bytes = out.into_bytes();
        check_size(bytes.len())?;
        let hash = hash_of(&bytes);
        Ok(Self { bytes: Arc::from(bytes), hash, signer: identity.peer(), lamport, prev, body })
    }

    /// Reads a statement: its structure, within the limits. Its signature and its place in a log are judged
    /// when it is inserted into one.
    ///
    /// # Errors
    ///
    /// [`AccessError::Codec`] when the bytes are not one canonical encoding, [`AccessError::TooLarge`] over
    /// 4 KiB, [`AccessError::UnknownKind`] when it must be understood and is not,
    /// [`AccessError::Malformed`] when it has previous statements and should not, or has none and should.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{access::{Log, Statement}, identity::Identity};
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let read = Statement::decode(genesis.bytes())?;
    /// assert_eq!(read.hash(), genesis.hash());
    /// assert!(Statement::decode(b"no statement").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self, AccessError> {
        check_size(bytes.len())?;
        let mut input = Reader::new(bytes);
        let signer = PeerId::decode(&mut input)?;
        let lamport = input.varint("lamport")?;
        let mut prev = Vec::new();
        for _ in 0..input.count("previous statements", STATEMENT_PREV_MAX)? {
            prev.push(StatementHash::decode(&mut input)?);
        }
        if !prev.is_sorted_by(|a, b| a < b) {
            return Err(CodecError::NotCanonical { what: "previous statements" }.into());
        }
        let kind = input.varint("kind")?;
        let body = Body::decoded(kind, input.bytes("body", STATEMENT_BYTES_MAX)?)?;
        input.array::<SIGNATURE_BYTES>("signature")?;
        input.finish()?;
        if matches!(body, Body::Genesis(_)) {
            if lamport != 1 || !prev.is_empty() {
                return Err(AccessError::Malformed { what: "a genesis is the first statement" });
            }
        } else if prev.is_empty() {
            return Err(AccessError::Malformed { what: "only a genesis has no previous statements" });
        }
        Ok(Self { bytes: Arc::from(bytes), hash: hash_of(bytes), signer, lamport, prev, body })
    }

    /// Returns the encoding.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{access::{Log, Statement}, identity::Identity};
    /// let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(Statement::decode(genesis.bytes())?, genesis);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the hash of the encoding.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{access::Log, identity::Identity};
    /// let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert!(log.holds(&genesis.hash()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hash(&self) -> StatementHash {
        self.hash
    }

    /// Returns the device, or the recovery key, that signed it.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{access::Log, identity::Identity};
    /// let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(genesis.signer(), ada.peer());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn signer(&self) -> PeerId {
        self.signer
    }

    /// Returns one more than the largest lamport number of the previous statements.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{access::Log, identity::Identity};
    /// # let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(genesis.lamport(), 1);
    /// assert_eq!(log.set_name(&ada, "Harbour Repairs")?.lamport(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn lamport(&self) -> u64 {
        self.lamport
    }

    /// Returns the statements that its author knew last, ascending.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{access::Log, identity::Identity};
    /// # let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let renaming = log.set_name(&ada, "Harbour Repairs")?;
    /// assert_eq!(renaming.prev(), [genesis.hash()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prev(&self) -> &[StatementHash] {
        &self.prev
    }

    /// Returns what it says.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::{access::{Body, Log}, identity::Identity};
    /// let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert!(matches!(genesis.body(), Body::Genesis(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Verifies the signature.
    pub(super) fn verify(&self, space: &SpaceId) -> Result<(), AccessError> {
        let malformed = AccessError::Malformed { what: "a statement without a signature" };
        let (signed, signature) = self.bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or(malformed)?;
        let space = if matches!(self.body, Body::Genesis(_)) { &NO_SPACE } else { space };
        Ok(identity::verify(&self.signer, Purpose::Statement, space, signed, &Signature(*signature))?)
    }
}

impl Enrolment {
    /// What both the invite's key and the device sign, for different purposes.
    pub(super) fn message(
        key: &PeerId,
        device: &PeerId,
        member_name: &str,
        device_name: &str,
        enc_pk: Option<&[u8; 32]>,
    ) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(b"enrolment\0");
        key.encode(&mut out);
        device.encode(&mut out);
        out.text(member_name);
        out.text(device_name);
        option(&mut out, enc_pk, |out, enc_pk| out.raw(enc_pk));
        out.into_bytes()
    }

    /// Verifies proof and consent against the key of the invite.
    pub(super) fn verify(&self, space: &SpaceId, key: &PeerId) -> Result<(), AccessError> {
        let message =
            Self::message(key, &self.device, &self.member_name, &self.device_name, self.enc_pk.as_ref());
        identity::verify(key, Purpose::Invite, space, &message, &self.proof)?;
        identity::verify(&self.device, Purpose::Enrol, space, &message, &self.consent)?;
        Ok(())
    }
}

impl Encode for Enrolment {
    fn encode(&self, out: &mut Writer) {
        self.invite.encode(out);
        self.device.encode(out);
        out.text(&self.member_name);
        out.text(&self.device_name);
        option(out, self.enc_pk.as_ref(), |out, enc_pk| out.raw(enc_pk));
        out.raw(&self.proof.0);
        out.raw(&self.consent.0);
    }
}

impl Decode for Enrolment {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            invite: Decode::decode(input)?,
            device: Decode::decode(input)?,
            member_name: name(input, "member name")?,
            device_name: name(input, "device name")?,
            enc_pk: optional(input, "enc_pk", |input| input.array("enc_pk"))?,
            proof: Signature(input.array("proof")?),
            consent: Signature(input.array("consent")?),
        })
    }
}

impl Encode for Role {
    fn encode(&self, out: &mut Writer) {
        out.u8(match self {
            Self::Reader => 1,
            Self::Writer => 2,
            Self::Admin => 3,
            Self::Owner => 4,
        });
    }
}

impl Decode for Role {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match input.u8("role")? {
            1 => Self::Reader,
            2 => Self::Writer,
            3 => Self::Admin,
            4 => Self::Owner,
            _ => return Err(CodecError::Invalid { what: "role" }),
        })
    }
}

impl Body {
    /// What a space was founded with, if this founds one.
    pub(super) fn genesis(&self) -> Option<&Genesis> {
        if let Self::Genesis(genesis) = self { Some(genesis) } else { None }
    }

    /// The enrolment that it makes, if it makes one of somebody who was invited.
    pub(crate) fn enrolment(&self) -> Option<&Enrolment> {
        if let Self::AddMember(enrolment) | Self::AddDevice { enrolment, .. } = self {
            return Some(enrolment);
        }
        None
    }

    /// The kind's number; see the table at the top.
    fn kind(&self) -> u64 {
        match self {
            Self::Genesis(_) => 0,
            Self::SetName { .. } => 1,
            Self::Invite { .. } => 2,
            Self::RevokeInvite { .. } => 4,
            Self::AddMember(_) => 6,
            Self::AddDevice { .. } => 8,
            Self::RemoveMember { .. } => 10,
            Self::RemoveDevice { .. } => 12,
            Self::SetRole { .. } => 14,
            Self::SetRule { .. } => 16,
            Self::Verdict { .. } => 18,
            Self::Other { kind, .. } => *kind,
        }
    }

    fn encoded(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Genesis(genesis) => genesis.encode(&mut out),
            Self::SetName { name } => out.text(name),
            Self::Invite { key, grant, expiry, uses } => encode_invite(&mut out, key, grant, *expiry, *uses),
            Self::RevokeInvite { invite } => invite.encode(&mut out),
            Self::AddMember(enrolment) => enrolment.encode(&mut out),
            Self::AddDevice { member, enrolment } => {
                member.encode(&mut out);
                enrolment.encode(&mut out);
            }
            Self::RemoveMember { member, cut } => {
                member.encode(&mut out);
                cut.encode(&mut out);
            }
            Self::RemoveDevice { enrolment, cut } => {
                enrolment.encode(&mut out);
                cut.encode(&mut out);
            }
            Self::SetRole { member, role } => {
                member.encode(&mut out);
                role.encode(&mut out);
            }
            Self::SetRule { collection, read, write } => {
                collection.encode(&mut out);
                read.encode(&mut out);
                write.encode(&mut out);
            }
            Self::Verdict { device, keep, drop } => {
                device.encode(&mut out);
                keep.encode(&mut out);
                drop.encode(&mut out);
            }
            Self::Other { bytes, .. } => out.raw(bytes),
        }
        out.into_bytes()
    }

    fn decoded(kind: u64, bytes: &[u8]) -> Result<Self, AccessError> {
        let mut input = Reader::new(bytes);
        let input = &mut input;
        let body = match kind {
            0 => Self::Genesis(Genesis::decode(input)?),
            1 => Self::SetName { name: name(input, "name")? },
            2 => decode_invite(input)?,
            4 => Self::RevokeInvite { invite: Decode::decode(input)? },
            6 => Self::AddMember(Enrolment::decode(input)?),
            8 => Self::AddDevice { member: Decode::decode(input)?, enrolment: Decode::decode(input)? },
            10 => Self::RemoveMember { member: Decode::decode(input)?, cut: Cut::decode(input)? },
            12 => Self::RemoveDevice { enrolment: Decode::decode(input)?, cut: Cut::decode(input)? },
            14 => Self::SetRole { member: Decode::decode(input)?, role: Decode::decode(input)? },
            16 => Self::SetRule {
                collection: Decode::decode(input)?,
                read: Decode::decode(input)?,
                write: Decode::decode(input)?,
            },
            18 => Self::Verdict {
                device: Decode::decode(input)?,
                keep: Decode::decode(input)?,
                drop: Decode::decode(input)?,
            },
            kind if kind % 2 == 1 => return Ok(Self::Other { kind, bytes: bytes.to_vec() }),
            kind => return Err(AccessError::UnknownKind { kind }),
        };
        input.clone().finish()?;
        Ok(body)
    }
}

impl Encode for Genesis {
    fn encode(&self, out: &mut Writer) {
        out.text(&self.name);
        out.text(&self.member_name);
        out.text(&self.device_name);
        out.raw(&self.nonce);
        option(out, self.recovery.as_ref(), |out, recovery| recovery.encode(out));
        option(out, self.enc_pk.as_ref(), |out, enc_pk| out.raw(enc_pk));
    }
}

impl Decode for Genesis {
    fn decode(input: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            name: name(input, "name")?,
            member_name: name(input, "member name")?,
            device_name: name(input, "device name")?,
            nonce: input.array("nonce")?,
            recovery: optional(input, "recovery key", PeerId::decode)?,
            enc_pk: optional(input, "enc_pk", |input| input.array("enc_pk"))?,
        })
    }
}

fn encode_invite(out: &mut Writer, key: &PeerId, grant: &Grant, expiry: Timestamp, uses: Uses) {
    key.encode(out);
    match grant {
        Grant::Role(role) => {
            out.u8(0);
            role.encode(out);
        }
        Grant::Device(member) => {
            out.u8(1);
            member.encode(out);
        }
    }
    expiry.encode(out);
    out.u8(match uses {
        Uses::Many => 0,
        Uses::Once => 1,
        Uses::Approved => 2,
    });
}

fn decode_invite(input: &mut Reader<'_>) -> Result<Body, CodecError> {
    let key = Decode::decode(input)?;
    let grant = match input.u8("grant")? {
        0 => Grant::Role(Decode::decode(input)?),
        1 => Grant::Device(Decode::decode(input)?),
        _ => return Err(CodecError::Invalid { what: "grant" }),
    };
    let expiry = Decode::decode(input)?;
    let uses = match input.u8("uses")? {
        0 => Uses::Many,
        1 => Uses::Once,
        2 => Uses::Approved,
        _ => return Err(CodecError::Invalid { what: "uses" }),
    };
    Ok(Body::Invite { key, grant, expiry, uses })
}

fn name(input: &mut Reader<'_>, what: &'static str) -> Result<String, CodecError> {
    input.text(what, NAME_BYTES_MAX).map(str::to_owned)
}

/// Writes 00, or 01 and the value.
pub(super) fn option<T>(out: &mut Writer, value: Option<T>, encode: impl FnOnce(&mut Writer, T)) {
    match value {
        None => out.u8(0),
        Some(value) => {
            out.u8(1);
            encode(out, value);
        }
    }
}

/// Reads what [`option`] writes.
pub(super) fn optional<'a, T>(
    input: &mut Reader<'a>,
    what: &'static str,
    decode: impl FnOnce(&mut Reader<'a>) -> Result<T, CodecError>,
) -> Result<Option<T>, CodecError> {
    match input.u8(what)? {
        0 => Ok(None),
        1 => decode(input).map(Some),
        _ => Err(CodecError::NotCanonical { what }),
    }
}

fn hash_of(bytes: &[u8]) -> StatementHash {
    StatementHash::new(*blake3::hash(bytes).as_bytes())
}

fn check_size(bytes: usize) -> Result<(), AccessError> {
    if bytes > STATEMENT_BYTES_MAX {
        return Err(AccessError::TooLarge { what: "statement", bytes, bytes_max: STATEMENT_BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
