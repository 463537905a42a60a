//! The short code that two people compare before one lets the other in.
//!
//! The code is drawn from both device keys, the space, the invite's key, and one nonce of each side. The joiner
//! commits to its nonce before it hears the inviter's, and tells it afterwards. So whoever sits between the two,
//! even with the invite in hand, has to choose its nonces before it can know either code, and cannot try until
//! both are equal: each device that asks by the same invite is one guess among a million, the inviter keeps the
//! first commitment of each, and lets few devices ask by one invite. The joiner, too, keeps the inviter's first
//! nonce.
//!
//! Nonces follow from the secret keys of the devices, so that a request that is repeated after a restart has
//! the same code.

use std::fmt;

use crate::codec::{Decode as _, Encode as _, Reader, Writer};
use crate::id::{PeerId, SpaceId};
use crate::identity::Identity;

use super::{AccessError, Invite, JoinRequest};

/// Codes there are.
const CODES: u64 = 1_000_000;

/// Six digits that both sides of a request to join see, and that differ when somebody sits between them.
///
/// # Example
///
/// ```
/// # use driftless::access::{Invite, InviteKind, JoinRequest, Log, Role};
/// # use driftless::{Timestamp, identity::Identity};
/// # let (ada, later) = (Identity::from_seed([1; 32]), Timestamp::from_unix_ms(9));
/// # let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// # let bob = Identity::from_seed([2; 32]);
/// # let invite = Invite::new(InviteKind::Member, log.space(), ada.peer(), vec![], [7; 16], later)?;
/// let request = JoinRequest::decode(&invite.request(&bob, "Bob", "phone", &[5; 32])?)?;
/// let nonce = request.nonce(&ada, bob.peer());
///
/// let bobs = invite.code(&bob, &nonce);
/// assert_eq!(request.code(&ada, bob.peer(), &invite.nonce(&bob)), Some(bobs));
/// assert_eq!(bobs.to_string().len(), "123 456".len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinCode(u32);

impl fmt::Display for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// What a code is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting {
    pub(super) space: SpaceId,
    pub(super) inviter: PeerId,
    pub(super) joiner: PeerId,
    /// The invite's key.
    pub(super) key: PeerId,
}

impl Invite {
    /// Returns the nonce by which the joining device takes part in the code.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinReply, JoinRequest};
    /// # use driftless::{SpaceId, Timestamp, identity::Identity};
    /// # let (ada, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    /// # let later = Timestamp::from_unix_ms(9);
    /// # let invite = Invite::new(InviteKind::Member, SpaceId::new([3; 32]), ada.peer(), vec![], [7; 16], later)?;
    /// assert_eq!(invite.nonce(&bob), invite.nonce(&bob));
    /// assert_ne!(invite.nonce(&bob), invite.nonce(&ada));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn nonce(&self, joiner: &Identity) -> [u8; 32] {
        self.meeting(&joiner.peer()).joiners_nonce(joiner)
    }

    /// Encodes the reveal of that nonce, for the inviter who has answered with its own.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinRequest};
    /// # use driftless::{SpaceId, Timestamp, identity::Identity};
    /// # let (ada, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    /// # let later = Timestamp::from_unix_ms(9);
    /// # let invite = Invite::new(InviteKind::Member, SpaceId::new([3; 32]), ada.peer(), vec![], [7; 16], later)?;
    /// let (space, key, nonce) = JoinRequest::decode_reveal(&invite.reveal(&bob))?;
    /// assert_eq!((space, key, nonce), (invite.space(), invite.key(), invite.nonce(&bob)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reveal(&self, joiner: &Identity) -> Vec<u8> {
        let mut out = Writer::new();
        self.space().encode(&mut out);
        self.key().encode(&mut out);
        out.raw(&self.nonce(joiner));
        out.into_bytes()
    }

    /// Returns the code that the joining device shows, from the inviter's nonce.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinReply, JoinRequest};
    /// # use driftless::{SpaceId, Timestamp, identity::Identity};
    /// # let (ada, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    /// # let later = Timestamp::from_unix_ms(9);
    /// # let invite = Invite::new(InviteKind::Member, SpaceId::new([3; 32]), ada.peer(), vec![], [7; 16], later)?;
    /// assert_ne!(invite.code(&bob, &[1; 32]), invite.code(&bob, &[2; 32]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn code(&self, joiner: &Identity, inviters_nonce: &[u8; 32]) -> JoinCode {
        self.meeting(&joiner.peer()).code(inviters_nonce, &self.nonce(joiner))
    }

    pub(super) fn meeting(&self, joiner: &PeerId) -> Meeting {
        Meeting { space: self.space(), inviter: self.inviter(), joiner: *joiner, key: self.key() }
    }
}

impl JoinRequest {
    /// Returns the nonce by which the inviting device takes part in the code.
    ///
    /// It depends on what the joiner committed to, so answer one commitment of each device only.
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
    /// assert_eq!(request.nonce(&ada, bob.peer()), request.nonce(&ada, bob.peer()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn nonce(&self, inviter: &Identity, joiner: PeerId) -> [u8; 32] {
        self.meeting(inviter.peer(), joiner).inviters_nonce(inviter, &self.commitment)
    }

    /// Returns the code that the inviting device shows, from the joiner's nonce; `None` when that is not the
    /// one that the joiner committed to.
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
    /// assert!(request.code(&ada, bob.peer(), &invite.nonce(&bob)).is_some());
    /// assert_eq!(request.code(&ada, bob.peer(), &[0; 32]), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn code(&self, inviter: &Identity, joiner: PeerId, joiners_nonce: &[u8; 32]) -> Option<JoinCode> {
        let meeting = self.meeting(inviter.peer(), joiner);
        let committed = meeting.commitment(joiners_nonce) == self.commitment;
        committed.then(|| meeting.code(&self.nonce(inviter, joiner), joiners_nonce))
    }

    /// Reads a reveal: the space, the invite's key and the joiner's nonce.
    ///
    /// # Errors
    ///
    /// [`AccessError::Codec`] when it is none.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Invite, InviteKind, JoinReply, JoinRequest};
    /// # use driftless::{SpaceId, Timestamp, identity::Identity};
    /// # let (ada, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    /// # let later = Timestamp::from_unix_ms(9);
    /// # let invite = Invite::new(InviteKind::Member, SpaceId::new([3; 32]), ada.peer(), vec![], [7; 16], later)?;
    /// let (space, key, _nonce) = JoinRequest::decode_reveal(&invite.reveal(&bob))?;
    /// assert_eq!((space, key), (invite.space(), invite.key()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode_reveal(bytes: &[u8]) -> Result<(SpaceId, PeerId, [u8; 32]), AccessError> {
        let mut input = Reader::new(bytes);
        let reveal =
            (SpaceId::decode(&mut input)?, PeerId::decode(&mut input)?, input.array("joiner's nonce")?);
        input.finish()?;
        Ok(reveal)
    }

    fn meeting(&self, inviter: PeerId, joiner: PeerId) -> Meeting {
        Meeting { space: self.space, inviter, joiner, key: self.key }
    }
}

impl Meeting {
    /// The joiner's nonce, which nobody else can work out.
    pub(super) fn joiners_nonce(&self, joiner: &Identity) -> [u8; 32] {
        *self.hasher("driftless/join-nonce-joiner/v1").update(&*joiner.seed()).finalize().as_bytes()
    }

    /// The inviter's nonce, which nobody else can work out.
    pub(super) fn inviters_nonce(&self, inviter: &Identity, commitment: &[u8; 32]) -> [u8; 32] {
        let mut hasher = self.hasher("driftless/join-nonce-inviter/v1");
        *hasher.update(&*inviter.seed()).update(commitment).finalize().as_bytes()
    }

    pub(super) fn commitment(&self, joiners_nonce: &[u8; 32]) -> [u8; 32] {
        *self.hasher("driftless/join-commitment/v1").update(joiners_nonce).finalize().as_bytes()
    }

    pub(super) fn code(&self, inviters_nonce: &[u8; 32], joiners_nonce: &[u8; 32]) -> JoinCode {
        let mut bytes = [0; 8];
        let mut hasher = self.hasher("driftless/join-code/v1");
        hasher.update(inviters_nonce).update(joiners_nonce).finalize_xof().fill(&mut bytes);
        JoinCode((u64::from_le_bytes(bytes) % CODES) as u32)
    }

    fn hasher(&self, what: &str) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_derive_key(what);
        hasher.update(self.space.as_bytes());
        for key in [&self.inviter, &self.joiner, &self.key] {
            hasher.update(key.as_bytes());
        }
        hasher
    }
}
