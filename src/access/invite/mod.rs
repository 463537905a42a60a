//! An invitation as text: what a person sends to another, or shows as a QR code.
//!
//! ```text
//! text      "drift1", then base32 (a-z, 2-7, no padding) of content and checksum
//! content   kind 1 B: 0 member, 1 device | space 32 B | inviter's device 32 B | secret 16 B | expiry
//!           | count of addresses, each: 4, address 4 B, port 2 B; or 6, address 16 B, port 2 B
//! checksum  the first 4 bytes of blake3 of "driftless/invite-text/v1" 00 | content
//! ```
//!
//! With one IPv4 address that is 99 bytes, 165 characters. The role is not in it: it stands in the log,
//! signed by the inviter, so that whoever holds the text cannot make it more.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::codec::{CodecError, Decode as _, Encode as _, Reader, Writer};
use crate::id::{PeerId, SpaceId};
use crate::identity::Identity;
use crate::limits::{INVITE_ADDRESSES_MAX, INVITE_TEXT_BYTES_MAX};
use crate::time::Timestamp;

use super::AccessError;

const PREFIX: &str = "drift1";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const CHECKSUM_BYTES: usize = 4;

/// An invitation. `Display` and `FromStr` are the text to pass on; `Debug` hides the secret.
///
/// # Example
///
/// ```
/// # use driftless::access::{Invite, InviteKind, Log};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// let text = invite.to_string();
/// assert!(text.starts_with("drift1"));
/// assert_eq!(text.parse::<Invite>()?, invite);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    kind: InviteKind,
    space: SpaceId,
    inviter: PeerId,
    addresses: Vec<SocketAddr>,
    secret: Zeroizing<[u8; 16]>,
    expiry: Timestamp,
}

/// What an invitation is for.
///
/// # Example
///
/// ```
/// # use driftless::access::{Invite, InviteKind, Log};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// let whom = match invite.kind() {
///     InviteKind::Member => "another person",
///     InviteKind::Device => "another device",
/// };
/// assert_eq!(whom, "another person");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteKind {
    /// Another person joins the space.
    Member,
    /// Another device of the inviter joins it.
    Device,
}

impl Invite {
    /// Makes an invitation with a random secret that the caller drew. It is good for nothing until the
    /// inviter has inserted the statement that [`super::Log::invite`] or [`super::Log::invite_device`]
    /// makes of its key.
    ///
    /// # Errors
    ///
    /// [`AccessError::TooMany`] with more than four addresses.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let addresses = vec!["192.0.2.7:4433".parse()?];
    /// let space = log.space();
    /// let invite = Invite::new(InviteKind::Member, space, ada.peer(), addresses, [7; 16], later)?;
    /// log.insert(log.invite(&ada, Role::Writer, invite.key(), invite.expiry())?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        kind: InviteKind,
        space: SpaceId,
        inviter: PeerId,
        addresses: Vec<SocketAddr>,
        secret: [u8; 16],
        expiry: Timestamp,
    ) -> Result<Self, AccessError> {
        if addresses.len() > INVITE_ADDRESSES_MAX {
            return Err(AccessError::TooMany { what: "addresses in an invite", max: INVITE_ADDRESSES_MAX });
        }
        // Flow labels and scopes mean nothing on another machine and do not travel.
        let addresses =
            addresses.iter().map(|address| SocketAddr::new(address.ip(), address.port())).collect();
        Ok(Self { kind, space, inviter, addresses, secret: Zeroizing::new(secret), expiry })
    }

    /// Returns what it is for.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// assert_eq!(invite.kind(), InviteKind::Member);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> InviteKind {
        self.kind
    }

    /// Returns the space.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// assert_eq!(invite.space(), log.space());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn space(&self) -> SpaceId {
        self.space
    }

    /// Returns the device that made it, the only one that redeems it.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// assert_eq!(invite.inviter(), ada.peer());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn inviter(&self) -> PeerId {
        self.inviter
    }

    /// Returns where the inviter was reachable.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let (space, addresses) = (log.space(), vec!["192.0.2.7:4433".parse()?]);
    /// let invite = Invite::new(InviteKind::Member, space, ada.peer(), addresses, [7; 16], later)?;
    /// assert_eq!(invite.addresses()[0].port(), 4433);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns until when it can be redeemed, by the inviter's clock.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// let now = Timestamp::from_unix_ms(0);
    /// assert!(invite.expiry() > now);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn expiry(&self) -> Timestamp {
        self.expiry
    }

    /// Returns the public key derived from the secret, which stands in the log.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, Log, Role};
    /// # use driftless::{Timestamp, identity::Identity};
    /// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
    /// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
    /// let statement = log.invite(&ada, Role::Writer, invite.key(), invite.expiry())?;
    /// assert!(log.insert(statement)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key(&self) -> PeerId {
        self.identity().peer()
    }

    /// The key pair derived from the secret.
    pub(super) fn identity(&self) -> Identity {
        let mut hasher = blake3::Hasher::new_derive_key("driftless/invite-key/v1");
        hasher.update(self.space.as_bytes());
        hasher.update(self.inviter.as_bytes());
        hasher.update(&*self.secret);
        Identity::from_seed(*hasher.finalize().as_bytes())
    }

    /// Returns the text in capital letters, which a QR code holds in its alphanumeric mode: 165 characters with one
    /// IPv4 address fit version 8 with medium error correction. It parses like the other.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind};
    /// # use driftless::{PeerId, SpaceId, Timestamp};
    /// # let (space, ada, later) = (SpaceId::new([1; 32]), PeerId::new([2; 32]), Timestamp::from_unix_ms(9));
    /// let invite = Invite::new(InviteKind::Member, space, ada, vec![], [7; 16], later)?;
    /// let text = invite.to_qr_text();
    /// assert!(text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()));
    /// assert_eq!(text.parse::<Invite>()?, invite);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_qr_text(&self) -> String {
        self.to_string().to_ascii_uppercase()
    }

    fn content(&self) -> Writer {
        let mut out = Writer::new();
        out.u8(match self.kind {
            InviteKind::Member => 0,
            InviteKind::Device => 1,
        });
        self.space.encode(&mut out);
        self.inviter.encode(&mut out);
        out.raw(&*self.secret);
        self.expiry.encode(&mut out);
        out.count(self.addresses.len());
        for address in &self.addresses {
            match address.ip() {
                IpAddr::V4(ip) => {
                    out.u8(4);
                    out.raw(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.u8(6);
                    out.raw(&ip.octets());
                }
            }
            out.raw(&address.port().to_be_bytes());
        }
        out
    }

    fn read(content: &[u8]) -> Result<Self, CodecError> {
        let mut input = Reader::new(content);
        let kind = match input.u8("kind of invite")? {
            0 => InviteKind::Member,
            1 => InviteKind::Device,
            _ => return Err(CodecError::Invalid { what: "kind of invite" }),
        };
        let space = SpaceId::decode(&mut input)?;
        let inviter = PeerId::decode(&mut input)?;
        let secret = Zeroizing::new(input.array("secret")?);
        let expiry = Timestamp::decode(&mut input)?;
        let mut addresses = Vec::new();
        for _ in 0..input.count("addresses", INVITE_ADDRESSES_MAX)? {
            let ip = match input.u8("address")? {
                4 => IpAddr::from(input.array::<4>("address")?),
                6 => IpAddr::from(input.array::<16>("address")?),
                _ => return Err(CodecError::Invalid { what: "address" }),
            };
            addresses.push(SocketAddr::new(ip, u16::from_be_bytes(input.array("port")?)));
        }
        input.finish()?;
        Ok(Self { kind, space, inviter, addresses, secret, expiry })
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = self.content();
        let mut bytes = content.as_bytes().to_vec();
        bytes.extend_from_slice(&checksum(content.as_bytes()));
        f.write_str(PREFIX)?;
        f.write_str(&to_base32(&bytes))
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite")
            .field("kind", &self.kind)
            .field("space", &self.space)
            .field("inviter", &self.inviter)
            .field("addresses", &self.addresses)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

impl FromStr for Invite {
    type Err = AccessError;

    /// Reads an invitation; spaces around it and capital letters do not matter.
    fn from_str(text: &str) -> Result<Self, AccessError> {
        let text = text.trim();
        if text.len() > INVITE_TEXT_BYTES_MAX {
            let bytes = text.len();
            return Err(AccessError::TooLarge { what: "invite", bytes, bytes_max: INVITE_TEXT_BYTES_MAX });
        }
        let text = text.to_ascii_lowercase();
        let digits = text.strip_prefix(PREFIX).ok_or(AccessError::NotAnInvite)?;
        let bytes = from_base32(digits).ok_or(AccessError::Damaged)?;
        let (content, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(AccessError::Damaged)?;
        if checksum(content) != *sum {
            return Err(AccessError::Damaged);
        }
        Ok(Self::read(content)?)
    }
}

/// Tells a slip of the pen; it is no protection from anybody.
fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftless/invite-text/v1\0");
    hasher.update(content);
    let mut sum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

pub(super) fn to_base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let bits =
            group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - group.len()));
        for place in 0..(group.len() * 8).div_ceil(5) {
            let digit = (bits >> (35 - 5 * place) & 31) as usize;
            text.extend(ALPHABET.get(digit).map(|digit| char::from(*digit)));
        }
    }
    text
}

/// Reads what [`to_base32`] writes and nothing else: the unused bits at the end are zero.
pub(super) fn from_base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 5 / 8));
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in text.bytes() {
        let value = ALPHABET.iter().position(|other| *other == digit)?;
        bits = bits << 5 | value as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0 && count < 5).then_some(bytes)
}

#[cfg(test)]
mod tests;
