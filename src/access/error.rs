//! Why something was not accepted by the membership log, or not allowed by it.

use crate::codec::CodecError;
use crate::id::StatementHash;
use crate::identity::IdentityError;

/// Why a statement, commit, invite or act was refused.
///
/// # Example
///
/// ```
/// use driftless::{AccessError, Invite};
///
/// let mistyped = "hello".parse::<Invite>();
/// assert_eq!(mistyped, Err(AccessError::NotAnInvite));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The bytes are not one canonical encoding.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A key or signature is wrong.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The membership does not allow it.
    #[error("{what} is not allowed: {rule}")]
    Denied {
        /// What was to be done.
        what: &'static str,
        /// The rule that refuses it.
        rule: String,
    },
    /// The inviter's device did not redeem the invite.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The parts do not fit each other.
    #[error("malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// It belongs to another space.
    #[error("it belongs to another space")]
    WrongSpace,
    /// The statement that founded the space is not among the statements.
    #[error("the statement that founded the space is missing")]
    NoGenesis,
    /// The statement's lamport number does not follow from its previous statements.
    #[error("lamport number {claimed} where {expected} follows from the previous statements")]
    Lamport {
        /// What it claims.
        claimed: u64,
        /// What it must be.
        expected: u64,
    },
    /// Nothing in the statement's past enrols the device that signed it.
    #[error("no statement in its past enrols its signer")]
    UnknownSigner,
    /// A statement names another that is not in its past, or is not of the kind it must be.
    #[error("it names no {what} in its past")]
    NotInPast {
        /// What it should have named.
        what: &'static str,
    },
    /// A statement of a kind that must be understood and is not.
    #[error("statements of kind {kind} are not understood and must not be ignored")]
    UnknownKind {
        /// The kind.
        kind: u64,
    },
    /// A position names a statement that is not here.
    #[error("statement {hash} is not known here")]
    UnknownPosition {
        /// The statement.
        hash: StatementHash,
    },
    /// There would be more than the limit.
    #[error("more than {max} {what}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The encoding is over its limit.
    #[error("{what} of {bytes} bytes exceeds {bytes_max}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The text is not an invite of this library at all.
    #[error("this is not an invite: it does not begin with \"drift1\"")]
    NotAnInvite,
    /// The text is not a recovery key of this library at all.
    #[error("this is not a recovery key: it does not begin with \"recover1\"")]
    NotARecoveryKey,
    /// The text is a recovery key, but characters are missing or wrong.
    #[error("the recovery key is damaged: compare it with what was written down")]
    DamagedRecoveryKey,
    /// The text is an invite, but characters are missing or wrong.
    #[error("the invite is damaged: copy all of it again")]
    Damaged,
}

/// Why the inviter's device did not redeem an invite. It travels to the joiner as one byte.
///
/// # Example
///
/// ```
/// use driftless::access::{AccessError, Refusal};
///
/// let refusal = Refusal::from(&AccessError::NoGenesis);
/// assert_eq!(refusal, Refusal::Unknown);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The invite's time has passed, by the redeemer's clock.
    #[error("the invite has expired")]
    Expired,
    /// The invite was redeemed already.
    #[error("the invite was used already")]
    Used,
    /// The invite was revoked.
    #[error("the invite was revoked")]
    Revoked,
    /// No such invite is known here, or it was made by another device.
    #[error("the invite is not known here")]
    Unknown,
    /// The joiner did not prove the secret, or its device did not consent, on this very connection.
    #[error("the secret of the invite was not proven")]
    WrongKey,
    /// The inviter may no longer invite.
    #[error("the inviter may no longer invite")]
    NotAllowed,
    /// The device is a member already.
    #[error("the device is a member already")]
    AlreadyMember,
    /// The request could not be read.
    #[error("the request to join could not be read")]
    Malformed,
    /// The membership log is full.
    #[error("the membership log is full")]
    Full,
    /// It has to be approved of first.
    #[error("the request waits to be approved")]
    Waiting,
    /// Somebody has looked at it and said no.
    #[error("the request was declined")]
    Declined,
    /// Too many requests wait to be approved, at this device or by this invite.
    #[error("too many requests wait to be approved")]
    Busy,
}

impl AccessError {
    /// Tells whether who sends a statement that fails so has not verified it, as every node does before it passes
    /// one on: its encoding or a signature is wrong. What may be due to a later version is not meant, nor what depends on
    /// what else is here.
    #[must_use]
    pub(crate) const fn is_an_offence(&self) -> bool {
        matches!(self, Self::Identity(_) | Self::Codec(_))
    }
}

impl Refusal {
    pub(super) const fn to_byte(self) -> u8 {
        match self {
            Self::Expired => 1,
            Self::Used => 2,
            Self::Revoked => 3,
            Self::Unknown => 4,
            Self::WrongKey => 5,
            Self::NotAllowed => 6,
            Self::AlreadyMember => 7,
            Self::Malformed => 8,
            Self::Full => 9,
            Self::Waiting => 10,
            Self::Declined => 11,
            Self::Busy => 12,
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Expired,
            2 => Self::Used,
            3 => Self::Revoked,
            4 => Self::Unknown,
            5 => Self::WrongKey,
            6 => Self::NotAllowed,
            7 => Self::AlreadyMember,
            8 => Self::Malformed,
            9 => Self::Full,
            10 => Self::Waiting,
            11 => Self::Declined,
            12 => Self::Busy,
            _ => return None,
        })
    }
}

/// What a refusal to redeem looks like from the other side.
impl From<&AccessError> for Refusal {
    fn from(error: &AccessError) -> Self {
        match error {
            AccessError::Refused(refusal) => *refusal,
            AccessError::Denied { .. } => Self::NotAllowed,
            AccessError::WrongSpace | AccessError::NoGenesis | AccessError::UnknownPosition { .. } => {
                Self::Unknown
            }
            AccessError::Identity(_) => Self::WrongKey,
            AccessError::TooMany { .. } => Self::Full,
            AccessError::Codec(_)
            | AccessError::Malformed { .. }
            | AccessError::Lamport { .. }
            | AccessError::UnknownSigner
            | AccessError::NotInPast { .. }
            | AccessError::UnknownKind { .. }
            | AccessError::TooLarge { .. }
            | AccessError::NotAnInvite
            | AccessError::NotARecoveryKey
            | AccessError::DamagedRecoveryKey
            | AccessError::Damaged => Self::Malformed,
        }
    }
}
