//! Device keys, and signatures that say what they are for.
//!
//! What is signed is never the bare message but
//!
//! ```text
//! "driftless/<purpose>/v1" 00 | space 32 B | message
//! ```
//!
//! so that bytes signed for one purpose, or for one space, never verify for another. [`verify`] is the only
//! function of the library that verifies a signature; it is strict, and it is never batched, because batch
//! verification may answer otherwise for weak keys.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::id::{PeerId, SpaceId};

/// What a signature is for. Bytes signed for one purpose never verify for another.
///
/// # Example
///
/// ```
/// # use driftless::identity::{self, Identity, IdentityError, Purpose};
/// # use driftless::id::SpaceId;
/// # let (device, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// let signature = device.sign(Purpose::Commit, &space, b"message");
/// let other = identity::verify(&device.peer(), Purpose::Enrol, &space, b"message", &signature);
/// assert_eq!(other, Err(IdentityError::Signature));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A statement of a membership log.
    Statement,
    /// A commit.
    Commit,
    /// A device's consent to be enrolled.
    Enrol,
    /// The proof of an invite's secret.
    Invite,
}

/// A device's secret key. `Debug` shows the public key only; the secret is wiped on drop.
///
/// # Example
///
/// ```
/// # use driftless::identity::{self, Identity, Purpose};
/// # use driftless::id::SpaceId;
/// let device = Identity::from_seed([1; 32]);
/// let space = SpaceId::new([7; 32]);
/// let signature = device.sign(Purpose::Commit, &space, b"message");
/// identity::verify(&device.peer(), Purpose::Commit, &space, b"message", &signature)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Identity {
    key: SigningKey,
}

/// An Ed25519 signature.
///
/// # Example
///
/// ```
/// # use driftless::identity::{Identity, Purpose, Signature};
/// # use driftless::id::SpaceId;
/// let (device, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// let Signature(bytes) = device.sign(Purpose::Commit, &space, b"message");
/// assert_eq!(bytes.len(), 64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// Why a signature or key was refused.
///
/// # Example
///
/// ```
/// # use driftless::identity::{self, Identity, IdentityError, Purpose};
/// # use driftless::id::SpaceId;
/// # let (device, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// let signature = device.sign(Purpose::Commit, &space, b"message");
/// let forged = identity::verify(&device.peer(), Purpose::Commit, &space, b"forged", &signature);
/// assert_eq!(forged, Err(IdentityError::Signature));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The key is no point of the curve, is not in canonical form, or is of small order.
    #[error("the key is not a usable Ed25519 key")]
    Key,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
}

impl Identity {
    /// Makes the identity that `seed` stands for. The caller wipes its copy of the seed.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::identity::Identity;
    /// let device = Identity::from_seed([1; 32]);
    /// assert_eq!(device.peer(), Identity::from_seed([1; 32]).peer());
    /// assert_ne!(device.peer(), Identity::from_seed([2; 32]).peer());
    /// ```
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self { key: SigningKey::from_bytes(&seed) }
    }

    /// Returns the seed, to be kept in the key file.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::identity::Identity;
    /// # use driftless::id::SpaceId;
    /// let (device, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// let again = Identity::from_seed(*device.seed());
    /// assert_eq!(again.peer(), device.peer());
    /// ```
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// Returns the public key.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::identity::{self, Identity};
    /// # use driftless::id::SpaceId;
    /// let (device, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// println!("this device is {}", device.peer());
    /// assert!(identity::peer_key_is_usable(&device.peer()));
    /// ```
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId::new(self.key.verifying_key().to_bytes())
    }

    /// Signs `message` for `purpose` in `space`.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::identity::{self, Identity, Purpose};
    /// # use driftless::id::SpaceId;
    /// let (device, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
    /// let signature = device.sign(Purpose::Commit, &space, b"message");
    /// identity::verify(&device.peer(), Purpose::Commit, &space, b"message", &signature)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sign(&self, purpose: Purpose, space: &SpaceId, message: &[u8]) -> Signature {
        Signature(self.key.sign(&framed(purpose, space, message)).to_bytes())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl Purpose {
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::Statement => b"driftless/statement/v1\0",
            Self::Commit => b"driftless/commit/v1\0",
            Self::Enrol => b"driftless/enrol/v1\0",
            Self::Invite => b"driftless/invite/v1\0",
        }
    }
}

/// Verifies a signature that [`Identity::sign`] made.
///
/// # Errors
///
/// [`IdentityError::Key`] when `peer` is not usable, see [`peer_key_is_usable`]; [`IdentityError::Signature`]
/// when the signature is of another key, purpose, space or message, or not in canonical form.
///
/// # Example
///
/// ```
/// # use driftless::identity::{self, Identity, Purpose};
/// # use driftless::id::SpaceId;
/// # let (device, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// let signature = device.sign(Purpose::Commit, &space, b"message");
/// identity::verify(&device.peer(), Purpose::Commit, &space, b"message", &signature)?;
/// assert!(identity::verify(&device.peer(), Purpose::Commit, &space, b"forged", &signature).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify(
    peer: &PeerId,
    purpose: Purpose,
    space: &SpaceId,
    message: &[u8],
    signature: &Signature,
) -> Result<(), IdentityError> {
    let key = usable(peer).ok_or(IdentityError::Key)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(&framed(purpose, space, message), &signature).map_err(|_| IdentityError::Signature)
}

/// Tells whether a key can be a device's: a point of the curve in canonical form, and not of small order, for
/// which signatures prove nothing.
///
/// # Example
///
/// ```
/// # use driftless::identity::{self, Identity};
/// # use driftless::id::{PeerId, SpaceId};
/// let (device, space) = (Identity::from_seed([1; 32]), SpaceId::new([7; 32]));
/// assert!(identity::peer_key_is_usable(&device.peer()));
/// assert!(!identity::peer_key_is_usable(&PeerId::new([0; 32])));
/// ```
#[must_use]
pub fn peer_key_is_usable(peer: &PeerId) -> bool {
    usable(peer).is_some()
}

fn usable(peer: &PeerId) -> Option<VerifyingKey> {
    if !is_canonical(peer.as_bytes()) {
        return None;
    }
    VerifyingKey::from_bytes(peer.as_bytes()).ok().filter(|key| !key.is_weak())
}

/// Tells whether the y coordinate is below 2^255 - 19, so that no two encodings name one point. The second
/// encodings of the points with x = 0 are of small order and fall there.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

fn framed(purpose: Purpose, space: &SpaceId, message: &[u8]) -> Vec<u8> {
    let domain = purpose.domain();
    let mut framed = Vec::with_capacity(domain.len() + SpaceId::BYTES + message.len());
    framed.extend_from_slice(domain);
    framed.extend_from_slice(space.as_bytes());
    framed.extend_from_slice(message);
    framed
}

#[cfg(test)]
mod tests;
