//! Device keys in the form in which TLS carries them.
//!
//! ```text
//! SubjectPublicKeyInfo, RFC 8410, 44 bytes       PKCS#8 version 1, RFC 8410, 48 bytes
//!   30 2a              SEQUENCE of 42              30 2e              SEQUENCE of 46
//!     30 05            SEQUENCE of 5                 02 01 00         version 1
//!       06 03 2b 65 70   OID 1.3.101.112             30 05 06 03 2b 65 70
//!     03 21 00         BIT STRING of 33              04 22 04 20      OCTET STRING in OCTET STRING
//!       32 bytes         the key                       32 bytes         the seed
//! ```

use std::fmt;

use zeroize::Zeroizing;

use crate::id::PeerId;
use crate::identity::{Identity, peer_key_is_usable};

const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const SPKI_BYTES: usize = SPKI_HEAD.len() + PeerId::BYTES;

const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PKCS8_BYTES: usize = PKCS8_HEAD.len() + 32;

/// What is wrong with a key that a peer showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum KeyFlaw {
    /// It is not one Ed25519 key in the form of RFC 8410.
    Form,
    /// It is no point of the curve, or one of small order.
    Weak,
}

impl fmt::Display for KeyFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "it is not an Ed25519 key in the form of RFC 8410",
            Self::Weak => "it is no point of the curve, or one of small order",
        })
    }
}

/// Writes `peer` as a SubjectPublicKeyInfo.
pub(super) fn spki_of(peer: &PeerId) -> [u8; SPKI_BYTES] {
    let mut spki = [0; SPKI_BYTES];
    let (head, key) = spki.split_at_mut(SPKI_HEAD.len());
    head.copy_from_slice(&SPKI_HEAD);
    key.copy_from_slice(peer.as_bytes());
    spki
}

/// Reads a SubjectPublicKeyInfo. Other encodings of the same key are refused.
pub(super) fn peer_of(spki: &[u8]) -> Result<PeerId, KeyFlaw> {
    let key = spki.strip_prefix(&SPKI_HEAD).ok_or(KeyFlaw::Form)?;
    let key: [u8; PeerId::BYTES] = key.try_into().map_err(|_| KeyFlaw::Form)?;
    let peer = PeerId::new(key);
    if peer_key_is_usable(&peer) { Ok(peer) } else { Err(KeyFlaw::Weak) }
}

/// Writes the secret of `identity` as PKCS#8.
pub(super) fn pkcs8_of(identity: &Identity) -> Zeroizing<[u8; PKCS8_BYTES]> {
    let mut der = Zeroizing::new([0; PKCS8_BYTES]);
    let (head, seed) = der.split_at_mut(PKCS8_HEAD.len());
    head.copy_from_slice(&PKCS8_HEAD);
    seed.copy_from_slice(identity.seed().as_slice());
    der
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer() -> PeerId {
        Identity::from_seed([7; 32]).peer()
    }

    #[test]
    fn the_public_key_of_rfc_8410_has_its_published_form() {
        // The example of section 10.1, which RFC 8410 gives in base64.
        let key = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        let peer: PeerId = key.parse().expect("the key is 64 digits");

        let spki = spki_of(&peer);

        let hex: String = spki.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, format!("302a300506032b6570032100{key}"));
        assert_eq!(peer_of(&spki), Ok(peer));
    }

    #[test]
    fn a_key_in_any_other_form_is_refused() {
        let good = spki_of(&peer());
        let longer = [good.as_slice(), &[0]].concat();
        let mut other_curve = good;
        other_curve[8] = 0x6e;
        let mut long_length = vec![0x30, 0x81, 0x2a];
        long_length.extend_from_slice(&good[2..]);

        for bad in [&[] as &[u8], &good[..43], &longer, &other_curve, &long_length, peer().as_bytes()] {
            assert_eq!(peer_of(bad), Err(KeyFlaw::Form), "{} bytes", bad.len());
        }
    }

    #[test]
    fn a_point_of_small_order_is_refused() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        let order_eight = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";

        for weak in
            [PeerId::new([0; 32]), PeerId::new(identity_point), order_eight.parse().expect("64 digits")]
        {
            assert_eq!(peer_of(&spki_of(&weak)), Err(KeyFlaw::Weak), "{weak}");
        }
    }

    #[test]
    fn bytes_that_are_no_point_are_refused() {
        let mut no_point = [0; 32];
        no_point[0] = 2;

        assert_eq!(peer_of(&spki_of(&PeerId::new(no_point))), Err(KeyFlaw::Weak));
    }

    proptest! {
        #[test]
        fn any_changed_byte_of_the_head_is_refused(at in 0..SPKI_HEAD.len(), flip in 1..=u8::MAX) {
            let mut spki = spki_of(&peer());
            spki[at] ^= flip;
            prop_assert_eq!(peer_of(&spki), Err(KeyFlaw::Form));
        }
    }
}
