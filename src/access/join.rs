//! Joining a space: the joiner's request, the inviter's judgement of it, and its reply.
//!
//! The joiner proves two things with the key derived from the secret: towards this one connection, so that
//! nobody can pass the request on, and for the log, that its device was meant. Its device consents for the
//! log.
//!
//! ```text
//! request   version 2 | space 32 B | invite's key 32 B | member name | device name | option of enc_pk 32 B
//!           | commitment 32 B | proof for the connection 64 B | proof for the log 64 B
//!           | consent of the device 64 B
//! reveal    space 32 B | invite's key 32 B | joiner's nonce 32 B
//! refusal   0 | reason 1 B
//! waiting   2 | invite's key 32 B | inviter's nonce 32 B
//! part      1 | number, from 0 | how many parts | count of statements, each with its length
//! ```
//!
//! A reply is one refusal, or the parts of the whole log in an order in which it can be inserted. Parts tell
//! where they end, so they may be sent one by one, or one behind another where that fits one frame.
//!
//! An invite may ask for approval. Then the reply is that the request waits, with the inviter's nonce for the
//! code that both sides show, see [`JoinCode`]; the joiner reveals its own, and asks again from time to time.
//!
//! A device is enrolled by the very device that invited it, once. When the joiner lost the reply, asking
//! again with the same device gets the log again.

use crate::codec::{CodecError, Decode as _, Encode as _, Reader, Writer};
use crate::id::{PeerId, SpaceId};
use crate::identity::{self, Identity, Purpose, Signature};
use crate::limits::{JOIN_PART_BYTES, JOIN_REQUEST_BYTES_MAX, NAME_BYTES_MAX};
use crate::limits::{STATEMENT_BYTES_MAX, STATEMENTS_PER_SPACE_MAX};
use crate::time::Timestamp;

use super::log::check_name;
use super::statement::{option, optional};
use super::{AccessError, Body, Enrolment, Grant, Invite, InviteKind, Log, Refusal, Statement, Uses};

const REQUEST_VERSION: u8 = 2;
const REFUSAL: u8 = 0;
const PART: u8 = 1;
const WAITING: u8 = 2;
/// More parts than this no log has: each but the last is at least half full.
const PARTS_MAX: usize = STATEMENTS_PER_SPACE_MAX;

/// A request to join, as the inviter reads it.
///
/// # Example
///
/// ```
/// # use driftless::access::{Invite, InviteKind, JoinRequest, Log, Role};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let bob = Identity::from_seed([2; 32]);
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
/// let bytes = invite.request(&bob, "Bob", "phone", &[5; 32])?;
/// let request = JoinRequest::decode(&bytes)?;
/// assert_eq!(request.space(), log.space());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    pub(super) space: SpaceId,
    pub(super) key: PeerId,
    member_name: String,
    device_name: String,
    enc_pk: Option<[u8; 32]>,
    /// To the joiner's nonce.
    pub(super) commitment: [u8; 32],
    connection_proof: Signature,
    log_proof: Signature,
    consent: Signature,
}

/// One message of the inviter's reply.
///
/// # Example
///
/// ```
/// # use driftless::access::{JoinReply, Log};
/// # use driftless::identity::Identity;
/// # let ada = Identity::from_seed([1; 32]);
/// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// for message in JoinReply::decode_all(&JoinReply::parts(&log).concat())? {
///     match message {
///         JoinReply::Part { statements, .. } => assert_eq!(statements.len(), 1),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinReply {
    /// The invite was not redeemed.
    Refused(Refusal),
    /// The request waits to be approved.
    Waiting {
        /// The invite's key.
        key: PeerId,
        /// The inviter's part of the code.
        nonce: [u8; 32],
    },
    /// A part of the log.
    Part {
        /// Its number; the first is 0.
        number: usize,
        /// How many parts there are.
        parts: usize,
        /// Statements in an order in which they can be inserted.
        statements: Vec<Statement>,
    },
}

impl Invite {
    /// Makes the request to join for this device, good on one connection only: the one that `exporter` was
    /// exported from.
    ///
    /// # Errors
    ///
    /// [`AccessError::TooLarge`] when a name is too long.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// let exporter = [5; 32]; // both ends export it from their connection
    /// let request = invite.request(&bob, "Bob", "phone", &exporter)?;
    /// let statement = log.redeem(&ada, &request, bob.peer(), &exporter, later)?;
    /// assert!(log.insert(statement)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request(
        &self,
        identity: &Identity,
        member_name: &str,
        device_name: &str,
        exporter: &[u8; 32],
    ) -> Result<Vec<u8>, AccessError> {
        check_name(member_name)?;
        check_name(device_name)?;
        // A device joins a member that has a name.
        let member_name = match self.kind() {
            InviteKind::Member => member_name,
            InviteKind::Device => "",
        };
        let (invite, space, device) = (self.identity(), self.space(), identity.peer());
        let message = Enrolment::message(&invite.peer(), &device, member_name, device_name, None);
        let connection = connection_message(&device, exporter);
        let request = JoinRequest {
            space,
            key: invite.peer(),
            member_name: member_name.to_owned(),
            device_name: device_name.to_owned(),
            enc_pk: None,
            commitment: self.meeting(&device).commitment(&self.nonce(identity)),
            connection_proof: invite.sign(Purpose::Invite, &space, &connection),
            log_proof: invite.sign(Purpose::Invite, &space, &message),
            consent: identity.sign(Purpose::Enrol, &space, &message),
        };
        Ok(request.encode())
    }

    /// Takes the inviter's whole reply: checks that the log is this space's, and that the inviter enrolled
    /// this device in it by this invite.
    ///
    /// # Errors
    ///
    /// [`AccessError::Refused`] with the inviter's reason, [`AccessError::Malformed`] when parts are
    /// missing or the device is not enrolled, and as [`Log::from_statements`].
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinReply, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let reply = JoinReply::parts(&log).concat();
    /// let joined = invite.accept(&bob.peer(), &reply)?;
    /// assert_eq!(joined.membership().role(&bob.peer()), Some(Role::Writer));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn accept(&self, device: &PeerId, reply: &[u8]) -> Result<Log, AccessError> {
        let mut statements = Vec::new();
        let (mut next, mut parts) = (0, None);
        for message in JoinReply::decode_all(reply)? {
            let (number, of, part) = match message {
                JoinReply::Refused(refusal) => return Err(refusal.into()),
                JoinReply::Waiting { .. } => return Err(Refusal::Waiting.into()),
                JoinReply::Part { number, parts, statements } => (number, parts, statements),
            };
            if number != next || parts.is_some_and(|parts| parts != of) {
                return Err(AccessError::Malformed { what: "the parts of the reply are out of order" });
            }
            (next, parts) = (next + 1, Some(of));
            statements.extend(part);
        }
        if parts != Some(next) {
            return Err(AccessError::Malformed { what: "parts of the reply are missing" });
        }
        let log = Log::from_statements(self.space(), statements)?;
        if self.redeemed_for(&log, device).is_none() {
            return Err(AccessError::Malformed { what: "the reply does not enrol this device" });
        }
        Ok(log)
    }

    /// The counting statement of the inviter that enrols a device by this invite.
    fn redeemed_for<'a>(&self, log: &'a Log, device: &PeerId) -> Option<&'a Statement> {
        let membership = log.membership();
        let enrolled = membership.member_of(device).is_some();
        let redeems = |statement: &&Statement| {
            statement.signer() == self.inviter()
                && statement.body().enrolment().is_some_and(|enrolment| {
                    enrolment.device == *device && key_of(log, enrolment) == Some(self.key())
                })
                && membership.counts(&statement.hash())
        };
        log.statements().find(redeems).filter(|_| enrolled)
    }
}

impl JoinRequest {
    /// Reads a request. Nothing in it is verified.
    ///
    /// # Errors
    ///
    /// [`AccessError::Codec`] when the bytes are not one, [`AccessError::TooLarge`] when they are too many.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinRequest, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// let read = JoinRequest::decode(&request)?;
    /// assert_eq!(read.space(), invite.space());
    /// assert!(JoinRequest::decode(&request[1..]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self, AccessError> {
        if bytes.len() > JOIN_REQUEST_BYTES_MAX {
            let bytes = bytes.len();
            return Err(AccessError::TooLarge {
                what: "request to join",
                bytes,
                bytes_max: JOIN_REQUEST_BYTES_MAX,
            });
        }
        let mut input = Reader::new(bytes);
        if input.u8("version")? != REQUEST_VERSION {
            return Err(CodecError::Invalid { what: "version of the request to join" }.into());
        }
        let request = Self {
            space: SpaceId::decode(&mut input)?,
            key: PeerId::decode(&mut input)?,
            member_name: input.text("member name", NAME_BYTES_MAX)?.to_owned(),
            device_name: input.text("device name", NAME_BYTES_MAX)?.to_owned(),
            enc_pk: optional(&mut input, "enc_pk", |input| input.array("enc_pk"))?,
            commitment: input.array("commitment")?,
            connection_proof: Signature(input.array("proof")?),
            log_proof: Signature(input.array("proof")?),
            consent: Signature(input.array("consent")?),
        };
        input.finish()?;
        Ok(request)
    }

    /// Returns the space to join.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinRequest, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// let request = JoinRequest::decode(&request)?;
    /// assert_eq!(request.space(), log.space());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn space(&self) -> SpaceId {
        self.space
    }

    /// Returns the key of the invite.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinRequest};
    /// # use driftless::{SpaceId, Timestamp, identity::Identity};
    /// # let (ada, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    /// # let later = Timestamp::from_unix_ms(9);
    /// # let invite = Invite::new(InviteKind::Member, SpaceId::new([3; 32]), ada.peer(), vec![], [7; 16], later)?;
    /// let request = JoinRequest::decode(&invite.request(&bob, "Bob", "phone", &[5; 32])?)?;
    /// assert_eq!(request.key(), invite.key());
    /// assert_eq!((request.member_name(), request.device_name()), ("Bob", "phone"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key(&self) -> PeerId {
        self.key
    }

    /// Returns the name of the member that wants to be one; empty when a device asks to be a member's.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinReply, JoinRequest};
    /// # use driftless::{SpaceId, Timestamp, identity::Identity};
    /// # let (ada, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    /// # let later = Timestamp::from_unix_ms(9);
    /// # let invite = Invite::new(InviteKind::Member, SpaceId::new([3; 32]), ada.peer(), vec![], [7; 16], later)?;
    /// let request = JoinRequest::decode(&invite.request(&bob, "Bob", "phone", &[5; 32])?)?;
    /// assert_eq!(request.member_name(), "Bob");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn member_name(&self) -> &str {
        &self.member_name
    }

    /// Returns the name of the device.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinReply, JoinRequest};
    /// # use driftless::{SpaceId, Timestamp, identity::Identity};
    /// # let (ada, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    /// # let later = Timestamp::from_unix_ms(9);
    /// # let invite = Invite::new(InviteKind::Member, SpaceId::new([3; 32]), ada.peer(), vec![], [7; 16], later)?;
    /// let request = JoinRequest::decode(&invite.request(&bob, "Bob", "phone", &[5; 32])?)?;
    /// assert_eq!(request.device_name(), "phone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// Checks the proof that the secret of the invite is known at the other end of this very connection.
    fn prove(&self, joiner: PeerId, exporter: &[u8; 32]) -> Result<(), AccessError> {
        let connection = connection_message(&joiner, exporter);
        let proof = &self.connection_proof;
        identity::verify(&self.key, Purpose::Invite, &self.space, &connection, proof)
            .map_err(|_| Refusal::WrongKey)?;
        Ok(())
    }

    /// Tells whether another request commits to the same.
    #[must_use]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.commitment == other.commitment && self.key == other.key && self.space == other.space
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(REQUEST_VERSION);
        self.space.encode(&mut out);
        self.key.encode(&mut out);
        out.text(&self.member_name);
        out.text(&self.device_name);
        option(&mut out, self.enc_pk.as_ref(), |out, enc_pk| out.raw(enc_pk));
        out.raw(&self.commitment);
        for signature in [&self.connection_proof, &self.log_proof, &self.consent] {
            out.raw(&signature.0);
        }
        out.into_bytes()
    }
}

impl JoinReply {
    /// Encodes the refusal of a request.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::access::{JoinReply, Refusal};
    ///
    /// let reply = JoinReply::refuse(Refusal::Expired);
    /// assert_eq!(JoinReply::decode_all(&reply)?, [JoinReply::Refused(Refusal::Expired)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn refuse(refusal: Refusal) -> Vec<u8> {
        vec![REFUSAL, refusal.to_byte()]
    }

    /// Encodes that a request waits to be approved.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::PeerId;
    /// use driftless::access::JoinReply;
    ///
    /// let (key, nonce) = (PeerId::new([1; 32]), [2; 32]);
    /// let reply = JoinReply::wait(key, nonce);
    /// assert_eq!(JoinReply::decode_all(&reply)?, [JoinReply::Waiting { key, nonce }]);
    /// assert!(JoinReply::ends(&reply)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn wait(key: PeerId, nonce: [u8; 32]) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(WAITING);
        key.encode(&mut out);
        out.raw(&nonce);
        out.into_bytes()
    }

    /// Tells whether a reply is whole with these messages, the latest of it.
    ///
    /// # Errors
    ///
    /// As [`JoinReply::decode_all`].
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::access::{JoinReply, Refusal};
    ///
    /// assert!(JoinReply::ends(&JoinReply::refuse(Refusal::Used))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ends(bytes: &[u8]) -> Result<bool, AccessError> {
        Ok(match Self::decode_all(bytes)?.last() {
            Some(Self::Part { number, parts, .. }) => number + 1 == *parts,
            Some(Self::Refused(_) | Self::Waiting { .. }) => true,
            None => false,
        })
    }

    /// Encodes the log of a space as messages of about 64 KiB, at least one.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinReply, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// # log.insert(log.redeem(&ada, &request, bob.peer(), &[5; 32], later)?)?;
    /// let parts = JoinReply::parts(&log);
    /// assert_eq!(parts.len(), 1);
    /// assert!(invite.accept(&bob.peer(), &parts.concat()).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn parts(log: &Log) -> Vec<Vec<u8>> {
        let mut bodies: Vec<(usize, Writer)> = vec![(0, Writer::new())];
        for statement in log.statements() {
            if bodies.last().is_some_and(|(_, body)| body.len() >= JOIN_PART_BYTES) {
                bodies.push((0, Writer::new()));
            }
            if let Some((count, body)) = bodies.last_mut() {
                *count += 1;
                body.bytes(statement.bytes());
            }
        }
        let parts = bodies.len();
        let encode = |(number, (count, body)): (usize, (usize, Writer))| {
            let mut out = Writer::new();
            out.u8(PART);
            out.count(number);
            out.count(parts);
            out.count(count);
            out.raw(body.as_bytes());
            out.into_bytes()
        };
        bodies.into_iter().enumerate().map(encode).collect()
    }

    /// Reads one message or several, one behind another.
    ///
    /// # Errors
    ///
    /// [`AccessError::Codec`], and as [`Statement::decode`].
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{JoinReply, Log};
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let reply = JoinReply::parts(&log).concat();
    /// let messages = JoinReply::decode_all(&reply)?;
    /// assert!(matches!(messages[0], JoinReply::Part { number: 0, parts: 1, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, AccessError> {
        let mut input = Reader::new(bytes);
        let mut messages = Vec::new();
        let mut total = 0;
        while !input.is_empty() {
            let message = match input.u8("reply")? {
                REFUSAL => {
                    let refusal = Refusal::from_byte(input.u8("refusal")?);
                    Self::Refused(refusal.ok_or(CodecError::Invalid { what: "refusal" })?)
                }
                PART => {
                    let number = input.varint("part")?;
                    let parts = input.varint("parts")?;
                    if parts > PARTS_MAX as u64 || number >= parts {
                        return Err(CodecError::Invalid { what: "part" }.into());
                    }
                    let mut statements = Vec::new();
                    for _ in 0..input.count("statements", STATEMENTS_PER_SPACE_MAX)? {
                        statements.push(Statement::decode(input.bytes("statement", STATEMENT_BYTES_MAX)?)?);
                    }
                    total += statements.len();
                    Self::Part { number: number as usize, parts: parts as usize, statements }
                }
                WAITING => {
                    let key = PeerId::decode(&mut input)?;
                    Self::Waiting { key, nonce: input.array("inviter's nonce")? }
                }
                _ => return Err(CodecError::Invalid { what: "reply" }.into()),
            };
            if total > STATEMENTS_PER_SPACE_MAX {
                return Err(AccessError::TooMany { what: "statements", max: STATEMENTS_PER_SPACE_MAX });
            }
            messages.push(message);
        }
        Ok(messages)
    }
}

impl Log {
    /// Judges a request to join that came over the connection of `joiner` with `exporter`, and makes the
    /// statement that enrols it. The statement takes effect when it is inserted, which is to happen before
    /// any other request is judged. For a joiner that this invite has enrolled already, it is that same
    /// statement.
    ///
    /// `now` is the redeemer's clock, the only one that an expiry is compared with.
    ///
    /// # Errors
    ///
    /// [`AccessError::Refused`] with the reason, to be sent by [`JoinReply::refuse`]; every other error
    /// turns into a reason by `Refusal::from`.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite(&ada, Role::Writer, invite.key(), later)?)?;
    /// # let request = invite.request(&bob, "Bob", "phone", &[5; 32])?;
    /// let now = Timestamp::from_unix_ms(0);
    /// let statement = log.redeem(&ada, &request, bob.peer(), &[5; 32], now)?;
    /// log.insert(statement)?;
    /// assert_eq!(log.membership().role(&bob.peer()), Some(Role::Writer));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn redeem(
        &self,
        identity: &Identity,
        request: &[u8],
        joiner: PeerId,
        exporter: &[u8; 32],
        now: Timestamp,
    ) -> Result<Statement, AccessError> {
        let request = JoinRequest::decode(request)?;
        request.prove(joiner, exporter)?;
        self.redeem_as(identity, &request, joiner, now, Approval::Missing)
    }

    /// Enrols a device that asked by an invite which needs approval, and was approved of. The invite must not
    /// have expired when it asked; whether it has since does not matter.
    ///
    /// # Errors
    ///
    /// As [`Log::redeem`].
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinRequest, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// # let bob = Identity::from_seed([2; 32]);
    /// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// # log.insert(log.invite_with_approval(&ada, Role::Writer, invite.key(), later)?)?;
    /// let request = JoinRequest::decode(&invite.request(&bob, "Bob", "phone", &[5; 32])?)?;
    /// log.insert(log.redeem_approved(&ada, &request, bob.peer())?)?;
    /// assert_eq!(log.membership().role(&bob.peer()), Some(Role::Writer));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn redeem_approved(
        &self,
        identity: &Identity,
        request: &JoinRequest,
        joiner: PeerId,
    ) -> Result<Statement, AccessError> {
        self.redeem_as(identity, request, joiner, Timestamp::default(), Approval::Given)
    }

    fn redeem_as(
        &self,
        identity: &Identity,
        request: &JoinRequest,
        joiner: PeerId,
        now: Timestamp,
        approval: Approval,
    ) -> Result<Statement, AccessError> {
        if request.space != self.space() {
            return Err(AccessError::WrongSpace);
        }
        let invite = self.invite_with(&request.key, &identity.peer()).ok_or(Refusal::Unknown)?;
        let Body::Invite { grant, expiry, uses, .. } = invite.body() else {
            return Err(Refusal::Unknown.into());
        };
        let enrolment = self.enrolment(request, invite, joiner)?;
        let membership = self.membership();
        let redemptions = || self.statements().filter(|other| redeems(other, invite));
        let own = redemptions().find(|other| {
            other.body().enrolment().is_some_and(|enrolment| enrolment.device == joiner)
                && membership.counts(&other.hash())
        });
        if membership.member_of(&joiner).is_some() {
            return own.cloned().ok_or_else(|| Refusal::AlreadyMember.into());
        }
        if *uses != Uses::Many && redemptions().next().is_some() {
            return Err(Refusal::Used.into());
        }
        if self.is_revoked(invite) {
            return Err(Refusal::Revoked.into());
        }
        if now > *expiry {
            return Err(Refusal::Expired.into());
        }
        if *uses == Uses::Approved && approval == Approval::Missing {
            return Err(Refusal::Waiting.into());
        }
        let body = match grant {
            Grant::Role(_) => Body::AddMember(enrolment),
            Grant::Device(member) => Body::AddDevice { member: *member, enrolment },
        };
        self.next(identity, "redeeming an invite", body)
    }

    /// The invite with this key that this device made, and that counts.
    fn invite_with(&self, key: &PeerId, signer: &PeerId) -> Option<&Statement> {
        let is_it = |statement: &&Statement| {
            matches!(statement.body(), Body::Invite { key: other, .. } if other == key)
                && statement.signer() == *signer
        };
        self.statements().find(is_it)
    }

    fn is_revoked(&self, invite: &Statement) -> bool {
        let membership = self.membership();
        self.statements().any(|other| {
            matches!(other.body(), Body::RevokeInvite { invite: target } if *target == invite.hash())
                && membership.counts(&other.hash())
        })
    }

    /// Verifies that the joiner knows the secret, on this connection, and that its device consents.
    pub(super) fn enrolment(
        &self,
        request: &JoinRequest,
        invite: &Statement,
        joiner: PeerId,
    ) -> Result<Enrolment, AccessError> {
        let space = self.space();
        let enrolment = Enrolment {
            invite: invite.hash(),
            device: joiner,
            member_name: request.member_name.clone(),
            device_name: request.device_name.clone(),
            enc_pk: request.enc_pk,
            proof: request.log_proof,
            consent: request.consent,
        };
        enrolment.verify(&space, &request.key).map_err(|_| Refusal::WrongKey)?;
        Ok(enrolment)
    }
}

/// What the invite's key signs for one connection. It begins otherwise than what that key signs for the
/// log, so neither can stand for the other.
/// Whether somebody approved of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Approval {
    Missing,
    Given,
}

fn connection_message(device: &PeerId, exporter: &[u8; 32]) -> Vec<u8> {
    let mut out = Writer::new();
    out.raw(b"connection\0");
    device.encode(&mut out);
    out.raw(exporter);
    out.into_bytes()
}

fn redeems(statement: &Statement, invite: &Statement) -> bool {
    statement.body().enrolment().is_some_and(|enrolment| enrolment.invite == invite.hash())
}

fn key_of(log: &Log, enrolment: &Enrolment) -> Option<PeerId> {
    let invite = log.statement(&enrolment.invite)?.body();
    if let Body::Invite { key, .. } = invite { Some(*key) } else { None }
}
