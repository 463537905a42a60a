//! Identifiers that are a fixed number of bytes.

use std::fmt;
use std::str::FromStr;

use super::Origin;

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        ///
        /// # Example
        ///
        /// ```
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        #[doc = concat!(" use driftless::id::", stringify!($name), ";")]
        ///
        #[doc = concat!(" let id = ", stringify!($name), "::new([7; ", stringify!($name), "::BYTES]);")]
        #[doc = concat!(" assert_eq!(id.to_string().parse::<", stringify!($name), ">()?, id);")]
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// How many bytes it has.
            pub const BYTES: usize = $len;

            /// Wraps the bytes.
            ///
            /// # Example
            ///
            /// ```
            #[doc = concat!(" use driftless::id::", stringify!($name), ";")]
            ///
            #[doc = concat!(" let id = ", stringify!($name), "::new([7; ", $len, "]);")]
            #[doc = concat!(" assert_eq!(id.to_string(), \"07\".repeat(", $len, "));")]
            /// ```
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes.
            ///
            /// # Example
            ///
            /// ```
            #[doc = concat!(" use driftless::id::", stringify!($name), ";")]
            ///
            #[doc = concat!(" let id = ", stringify!($name), "::new([7; ", $len, "]);")]
            #[doc = concat!(" assert_eq!(id.as_bytes(), &[7; ", $len, "]);")]
            /// ```
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Returns the first four bytes in hex, for logs.
            ///
            /// # Example
            ///
            /// ```
            #[doc = concat!(" use driftless::id::", stringify!($name), ";")]
            ///
            #[doc = concat!(" let id = ", stringify!($name), "::new([0xc0; ", $len, "]);")]
            /// assert_eq!(id.short(), "c0c0c0c0");
            /// ```
            #[must_use]
            pub fn short(&self) -> String {
                self.0.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

fixed_bytes!(
    /// A device's Ed25519 public key.
    PeerId, 32
);
fixed_bytes!(
    /// A space: the hash of the statement that founded it.
    SpaceId, 32
);
fixed_bytes!(
    /// A member of a space: the hash of the statement that added it.
    MemberId, 32
);
fixed_bytes!(
    /// A statement of a membership log.
    StatementHash, 32
);
fixed_bytes!(
    /// A change of an Automerge document.
    ChangeHash, 32
);
fixed_bytes!(
    /// A commit: the hash of what its signature covers.
    CommitHash, 32
);
fixed_bytes!(
    /// An entity of a collection.
    EntityId, 16
);
fixed_bytes!(
    /// Who made a change, in the words of Automerge: one device in one incarnation, in one entity.
    ActorId, 16
);
fixed_bytes!(
    /// Random bytes that keep a hash from confirming a guess of what it is of.
    Salt, 16
);

impl EntityId {
    /// Derives the id of the entity that stands for `key` of `kind`, so that devices which create it apart
    /// create the same one.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::EntityId;
    ///
    /// assert_eq!(EntityId::from_key("asset", b"PUMP-7"), EntityId::from_key("asset", b"PUMP-7"));
    /// ```
    #[must_use]
    pub fn from_key(kind: &str, key: &[u8]) -> Self {
        Self::hash(b"driftless/entity-key/v1\0", kind.as_bytes(), key)
    }

    /// Derives the id of the entity that `source` becomes by the transition `name`: an order from an
    /// estimate.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::EntityId;
    ///
    /// let estimate = EntityId::from_key("estimate", b"EST-1");
    /// assert_ne!(EntityId::derived(estimate, "order"), estimate);
    /// ```
    #[must_use]
    pub fn derived(source: Self, name: &str) -> Self {
        Self::hash(b"driftless/entity-derived/v1\0", name.as_bytes(), source.as_bytes())
    }

    fn hash(domain: &[u8], first: &[u8], second: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(domain);
        hasher.update(&(first.len() as u64).to_le_bytes());
        hasher.update(first);
        hasher.update(second);
        Self(first_16(&hasher))
    }
}

impl ActorId {
    /// Derives the actor under which `origin` changes `entity` of `space`.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::id::{ActorId, EntityId, Incarnation, Origin, PeerId, SpaceId};
    ///
    /// let (space, pump) = (SpaceId::new([1; 32]), EntityId::from_key("asset", b"PUMP-7"));
    /// let phone = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(41) };
    /// let restored = Origin { incarnation: Incarnation(97), ..phone };
    /// assert_ne!(ActorId::derive(&space, &pump, &phone), ActorId::derive(&space, &pump, &restored));
    /// ```
    #[must_use]
    pub fn derive(space: &SpaceId, entity: &EntityId, origin: &Origin) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"driftless/actor/v1\0");
        hasher.update(space.as_bytes());
        hasher.update(entity.as_bytes());
        hasher.update(origin.peer.as_bytes());
        hasher.update(&origin.incarnation.0.to_le_bytes());
        Self(first_16(&hasher))
    }
}

/// Why a text is not an id.
///
/// # Example
///
/// ```
/// use driftless::EntityId;
///
/// let refused = "PUMP-7".parse::<EntityId>();
/// assert_eq!(refused.map_err(|wrong| wrong.digits), Err(32));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is {digits} hexadecimal digits")]
pub struct ParseIdError {
    /// How many digits an id of this type has.
    pub digits: usize,
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let wrong = ParseIdError { digits: N * 2 };
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong);
    }
    let mut bytes = [0_u8; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong)?;
    }
    Ok(bytes)
}

fn first_16(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut first = [0_u8; 16];
    hasher.finalize_xof().fill(&mut first);
    first
}
