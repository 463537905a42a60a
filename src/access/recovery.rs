//! The recovery key: above all members, kept on paper, for the day on which the founder's device is lost or stolen.
//!
//! ```text
//! text      "recover1", then base32 (a-z, 2-7) of secret and checksum, 32 digits, in groups of four behind hyphens
//! secret    16 B, from which the key pair is derived
//! checksum  the first 4 bytes of blake3 of "driftless/recovery-text/v1" 00 | secret
//! ```
//!
//! The space knows the public key, from its first statement on; it can be neither replaced nor removed. The space
//! is not in the text: who holds the key asks it of a device that has the space.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::id::{MemberId, PeerId, StatementHash};
use crate::identity::Identity;
use crate::limits::STATEMENT_PREV_MAX;
use crate::time::Timestamp;

use super::graph::Bits;
use super::invite::{from_base32, to_base32};
use super::{AccessError, Body, Grant, Invite, InviteKind, JoinRequest, Log, Membership, Statement};

const PREFIX: &str = "recover1";
const CHECKSUM_BYTES: usize = 4;
const GROUP_DIGITS: usize = 4;
/// Longer texts are not looked at.
const TEXT_BYTES_MAX: usize = 256;

/// A secret that stands above all members of one space. `Display` and `FromStr` are the text to write down; `Debug`
/// hides it.
///
/// # Example
///
/// ```
/// use driftless::RecoveryKey;
///
/// let key = RecoveryKey::from_secret([7; 16]);
/// let text = key.to_string();
/// assert!(text.starts_with("recover1-"));
/// assert_eq!(text.to_uppercase().replace('-', " ").parse::<RecoveryKey>()?, key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey {
    secret: Zeroizing<[u8; 16]>,
}

/// One statement of a device, for people to look at.
///
/// # Example
///
/// ```
/// # use driftless::access::Log;
/// # use driftless::identity::Identity;
/// # let ada = Identity::from_seed([1; 32]);
/// # let (mut log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// log.insert(log.set_name(&ada, "Harbour Repairs")?)?;
/// let said = log.membership().said_by(&ada.peer());
/// assert_eq!(said[0].what, "founded the space");
/// assert_eq!(said[1].what, "named the space \"Harbour Repairs\"");
/// assert!(said[1].counts);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Said {
    /// The statement.
    pub id: StatementHash,
    /// The device that signed it.
    pub device: PeerId,
    /// What it says, in words.
    pub what: String,
    /// Whether it counts: it was allowed, and nobody senior has taken it back.
    pub counts: bool,
}

impl RecoveryKey {
    /// Makes the key that `secret` stands for. The caller draws it at random and wipes its copy.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::RecoveryKey;
    ///
    /// assert_ne!(RecoveryKey::from_secret([7; 16]), RecoveryKey::from_secret([8; 16]));
    /// ```
    #[must_use]
    pub fn from_secret(secret: [u8; 16]) -> Self {
        Self { secret: Zeroizing::new(secret) }
    }

    /// Returns the public key, by which a space knows it.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::RecoveryKey;
    ///
    /// let key = RecoveryKey::from_secret([7; 16]);
    /// assert_eq!(key.to_string().parse::<RecoveryKey>()?.key(), key.key());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key(&self) -> PeerId {
        self.identity().peer()
    }

    /// The key pair derived from the secret.
    pub(crate) fn identity(&self) -> Identity {
        let mut hasher = blake3::Hasher::new_derive_key("driftless/recovery-key/v1");
        hasher.update(&*self.secret);
        Identity::from_seed(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Zeroizing::new(self.secret.to_vec());
        bytes.extend_from_slice(&checksum(&self.secret));
        let digits = Zeroizing::new(to_base32(&bytes));
        f.write_str(PREFIX)?;
        for (place, digit) in digits.chars().enumerate() {
            if place.is_multiple_of(GROUP_DIGITS) {
                f.write_str("-")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryKey").field("key", &self.key()).finish_non_exhaustive()
    }
}

impl FromStr for RecoveryKey {
    type Err = AccessError;

    /// Reads a key as it was written down: spaces, hyphens and capital letters do not matter.
    fn from_str(text: &str) -> Result<Self, AccessError> {
        if text.len() > TEXT_BYTES_MAX {
            let (what, bytes) = ("recovery key", text.len());
            return Err(AccessError::TooLarge { what, bytes, bytes_max: TEXT_BYTES_MAX });
        }
        let written = |letter: &char| !letter.is_whitespace() && *letter != '-';
        let text: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(written).map(|letter| letter.to_ascii_lowercase()).collect());
        let digits = text.strip_prefix(PREFIX).ok_or(AccessError::NotARecoveryKey)?;
        let bytes = from_base32(digits).ok_or(AccessError::DamagedRecoveryKey)?;
        let split = bytes.split_last_chunk::<CHECKSUM_BYTES>();
        let (secret, sum) = split.ok_or(AccessError::DamagedRecoveryKey)?;
        let secret: [u8; 16] = secret.try_into().map_err(|_| AccessError::DamagedRecoveryKey)?;
        if checksum(&secret) != *sum {
            return Err(AccessError::DamagedRecoveryKey);
        }
        Ok(Self::from_secret(secret))
    }
}

/// Tells a slip of the pen; it is no protection from anybody.
fn checksum(secret: &[u8; 16]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftless/recovery-text/v1\0");
    hasher.update(secret);
    let mut sum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

impl Log {
    /// Makes `device` one of `member`'s, also when it is another member's already: the two statements that do so, in
    /// their order. `secret` is drawn at random, for an invite that nobody else ever sees.
    ///
    /// # Errors
    ///
    /// [`AccessError::Denied`] unless the signer is the recovery key or a device of the member, and when the member
    /// was removed; [`AccessError::TooLarge`] when the name is too long.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::{Genesis, Log, Role};
    /// # use driftless::identity::Identity;
    /// let (lost, safe, new) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]), Identity::from_seed([3; 32]));
    /// # let (name, member_name, device_name) = ("Corner Repairs".into(), "Ada".into(), "laptop".into());
    /// # let recovery = Some(safe.peer());
    /// # let genesis = Genesis { name, member_name, device_name, nonce: [9; 32], recovery, enc_pk: None };
    /// # let (mut log, _) = Log::found_with(&lost, genesis)?;
    /// let ada = log.membership().member_of(&lost.peer()).ok_or("no member")?.id;
    /// for statement in log.enrol_for(&safe, ada, &new, "new laptop", [7; 16])? {
    ///     log.insert(statement)?;
    /// }
    /// assert_eq!(log.membership().role(&new.peer()), Some(Role::Owner));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enrol_for(
        &self,
        identity: &Identity,
        member: MemberId,
        device: &Identity,
        device_name: &str,
        secret: [u8; 16],
    ) -> Result<[Statement; 2], AccessError> {
        const WHAT: &str = "taking a member's place";
        let membership = self.membership();
        if membership.member(&member).is_none_or(|member| member.removed) {
            let rule = "there is no such member, or it was removed".to_owned();
            return Err(AccessError::Denied { what: WHAT, rule });
        }
        // Nobody judges the expiry of an invite that is redeemed where it is made.
        let expiry = Timestamp::default();
        let invite =
            Invite::new(InviteKind::Device, self.space(), identity.peer(), Vec::new(), secret, expiry)?;
        let invited = self.invite_device_of(identity, member, invite.key(), expiry)?;
        let mut log = self.clone();
        log.insert(invited.clone())?;
        let request = JoinRequest::decode(&invite.request(device, "", device_name, &[0; 32])?)?;
        let enrolment = log.enrolment(&request, &invited, device.peer())?;
        let enrolled = log.next(identity, WHAT, Body::AddDevice { member, enrolment })?;
        Ok([invited, enrolled])
    }

    /// Returns the position in the log before a statement: what a removal names that is to void that statement, and
    /// whatever else its device said that follows it or did not know of it.
    ///
    /// # Errors
    ///
    /// [`AccessError::UnknownPosition`] when the statement is not here, or is the one that founded the space.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// # let (mut log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let renaming = log.set_name(&ada, "Harbour Repairs")?;
    /// log.insert(renaming.clone())?;
    /// log.insert(log.set_name(&ada, "Seaside Repairs")?)?;
    /// assert_eq!(log.before(&renaming.hash())?, [genesis.hash()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn before(&self, statement: &StatementHash) -> Result<Vec<StatementHash>, AccessError> {
        self.membership().before(statement)
    }
}

impl Membership {
    /// Returns the public half of the recovery key that the space was founded with.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// assert_eq!(log.membership().recovery_key(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn recovery_key(&self) -> Option<PeerId> {
        self.graph.statements().find_map(|statement| statement.body().genesis())?.recovery
    }

    /// Returns what a device has said in the log, in the order in which one follows another, whether it counts or
    /// not.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::access::Log;
    /// # use driftless::identity::Identity;
    /// # let ada = Identity::from_seed([1; 32]);
    /// let (log, genesis) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
    /// let said = log.membership().said_by(&ada.peer());
    /// assert_eq!((said.len(), said[0].id), (1, genesis.hash()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn said_by(&self, device: &PeerId) -> Vec<Said> {
        let own = self.graph.statements().filter(|statement| statement.signer() == *device);
        let said = |statement: &Statement| Said {
            id: statement.hash(),
            device: *device,
            what: self.in_words(statement.body()),
            counts: self.counts(&statement.hash()),
        };
        own.map(said).collect()
    }

    fn before(&self, statement: &StatementHash) -> Result<Vec<StatementHash>, AccessError> {
        let unknown = AccessError::UnknownPosition { hash: *statement };
        let number = self.graph.number(statement).ok_or_else(|| unknown.clone())?;
        let before = |other: &usize| {
            *other != number && !self.graph.precedes(number, *other) && self.is_followed(*other)
        };
        let kept: Vec<usize> = (0..self.graph.len()).filter(before).collect();
        let mut followed = Bits::default();
        kept.iter().for_each(|other| followed.extend(&self.graph.entry(*other).past));
        let mut heads: Vec<usize> = kept.into_iter().filter(|other| !followed.contains(*other)).collect();
        // What counts comes first, and of that the latest.
        heads.sort_by_key(|head| std::cmp::Reverse((self.resolution.counts(*head), self.graph.rank(*head))));
        heads.truncate(STATEMENT_PREV_MAX);
        let mut heads: Vec<StatementHash> =
            heads.into_iter().map(|head| self.graph.statement(head).hash()).collect();
        heads.sort_unstable();
        if heads.is_empty() { Err(unknown) } else { Ok(heads) }
    }

    fn in_words(&self, body: &Body) -> String {
        let member = |id: &MemberId| {
            self.member(id).map_or_else(|| "somebody unknown".to_owned(), |member| member.name.clone())
        };
        let device = |enrolment: &StatementHash| {
            let all = self.members().iter().flat_map(|member| &member.devices);
            let found = all.into_iter().find(|device| device.enrolment == *enrolment);
            found.map_or_else(|| "unknown".to_owned(), |device| device.name.clone())
        };
        match body {
            Body::Genesis(_) => "founded the space".to_owned(),
            Body::SetName { name } => format!("named the space {name:?}"),
            Body::Invite { grant: Grant::Role(role), .. } => format!("invited somebody as {role}"),
            Body::Invite { grant: Grant::Device(id), .. } => format!("invited a device of {}", member(id)),
            Body::RevokeInvite { .. } => "took an invite back".to_owned(),
            Body::AddMember(enrolment) => {
                format!("let in {} with the device {}", enrolment.member_name, enrolment.device_name)
            }
            Body::AddDevice { member: id, enrolment } => {
                format!("added the device {} of {}", enrolment.device_name, member(id))
            }
            Body::RemoveMember { member: id, .. } => format!("removed {}", member(id)),
            Body::RemoveDevice { enrolment, .. } => format!("removed the device {}", device(enrolment)),
            Body::SetRole { member: id, role } => format!("made {} {role}", member(id)),
            Body::SetRule { collection, read, write } => {
                format!("let {read}s read and {write}s write {collection}")
            }
            Body::Verdict { .. } => "settled a clash".to_owned(),
            Body::Other { kind, .. } => format!("said something of kind {kind}, unknown to this version"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_golden_recovery_key_does_not_change() {
        let key = RecoveryKey::from_secret([5; 16]);

        assert_eq!(key.to_string(), "recover1-aucq-kbif-aucq-kbif-aucq-kbif-av4x-krjl");
        assert_eq!(key.key().to_string(), "73e3b77b6553c0e76e488619a36408535080a4622cf9f3dc0a488b5d53165391");
    }

    /// Seen failing without the comparison of checksums in `RecoveryKey::from_str`.
    #[test]
    fn every_wrong_or_missing_character_of_a_recovery_key_is_told_as_damage() {
        let text = RecoveryKey::from_secret([5; 16]).to_string();

        for place in PREFIX.len()..text.len() {
            let cut = text.get(..place).expect("ASCII").parse::<RecoveryKey>();
            assert_eq!(cut, Err(AccessError::DamagedRecoveryKey), "{place} characters");
            let mut wrong = text.clone().into_bytes();
            if wrong[place] == b'-' {
                continue;
            }
            wrong[place] = if wrong[place] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(wrong).expect("ASCII").parse::<RecoveryKey>();
            assert_eq!(wrong, Err(AccessError::DamagedRecoveryKey), "character {place}");
        }
        assert_eq!("drift1abc".parse::<RecoveryKey>(), Err(AccessError::NotARecoveryKey));
        let long = " ".repeat(TEXT_BYTES_MAX + 1).parse::<RecoveryKey>();
        let bytes = TEXT_BYTES_MAX + 1;
        let expected = AccessError::TooLarge { what: "recovery key", bytes, bytes_max: TEXT_BYTES_MAX };
        assert_eq!(long, Err(expected));
    }

    #[test]
    fn debug_shows_no_secret_of_a_recovery_key() {
        let key = RecoveryKey::from_secret([5; 16]);
        assert_eq!(format!("{key:?}"), format!("RecoveryKey {{ key: {:?}, .. }}", key.key()));
    }

    proptest! {
        #[test]
        fn a_recovery_key_comes_back_as_it_was_written_down(secret: [u8; 16], spaced: bool) {
            let key = RecoveryKey::from_secret(secret);
            let text = key.to_string();
            let text = if spaced { text.to_uppercase().replace('-', "  ") } else { text };
            prop_assert_eq!(text.parse::<RecoveryKey>(), Ok(key));
        }

        #[test]
        fn no_text_makes_a_recovery_key_panic(text in ".{0,60}") {
            let _ = format!("recover1{text}").parse::<RecoveryKey>();
        }
    }
}
