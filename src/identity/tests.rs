//! What signatures prove, and which keys prove nothing.

use super::*;

const SPACE: SpaceId = SpaceId::new([7; 32]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_key_of_a_seed_is_the_first_test_vector_of_rfc_8032() {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let seed: PeerId = seed.parse().expect("64 digits");

    let identity = Identity::from_seed(*seed.as_bytes());

    let expect = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(identity.peer().to_string(), expect);
    assert_eq!(*identity.seed(), *seed.as_bytes());
}

#[test]
fn a_signature_verifies_for_its_key_purpose_space_and_message_only() {
    let identity = Identity::from_seed([1; 32]);
    let signature = identity.sign(Purpose::Commit, &SPACE, b"message");
    let peer = identity.peer();

    assert_eq!(verify(&peer, Purpose::Commit, &SPACE, b"message", &signature), Ok(()));
    let wrong = Err(IdentityError::Signature);
    let other = Identity::from_seed([2; 32]).peer();
    assert_eq!(verify(&other, Purpose::Commit, &SPACE, b"message", &signature), wrong);
    for purpose in [Purpose::Statement, Purpose::Enrol, Purpose::Invite] {
        assert_eq!(verify(&peer, purpose, &SPACE, b"message", &signature), wrong);
    }
    assert_eq!(verify(&peer, Purpose::Commit, &SpaceId::new([8; 32]), b"message", &signature), wrong);
    assert_eq!(verify(&peer, Purpose::Commit, &SPACE, b"massage", &signature), wrong);
}

#[test]
fn every_flipped_bit_of_a_signature_is_refused() {
    let identity = Identity::from_seed([1; 32]);
    let signature = identity.sign(Purpose::Statement, &SPACE, b"message");

    for bit in 0..512 {
        let mut flipped = signature;
        if let Some(byte) = flipped.0.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        let verdict = verify(&identity.peer(), Purpose::Statement, &SPACE, b"message", &flipped);
        assert_eq!(verdict, Err(IdentityError::Signature), "bit {bit}");
    }
}

#[test]
fn keys_of_small_order_and_second_encodings_are_not_usable() {
    let mut identity_point = [0_u8; 32];
    identity_point[0] = 1;
    let mut minus_one = [0xff_u8; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    let mut prime = minus_one;
    prime[0] = 0xed;
    let mut above = minus_one;
    above[0] = 0xf0;
    let zero = [0_u8; 32];
    let mut no_point = [0_u8; 32];
    no_point[0] = 2;

    for bytes in [identity_point, minus_one, prime, above, zero, no_point] {
        let peer = PeerId::new(bytes);
        assert!(!peer_key_is_usable(&peer), "{peer}");
        let verdict = verify(&peer, Purpose::Commit, &SPACE, b"", &Signature([0; 64]));
        assert_eq!(verdict, Err(IdentityError::Key));
    }
    assert!(peer_key_is_usable(&Identity::from_seed([1; 32]).peer()));
}

#[test]
fn debug_shows_no_secret() {
    let identity = Identity::from_seed([0xab; 32]);

    let shown = format!("{identity:?}");

    assert_eq!(shown, format!("Identity {{ peer: {:?}, .. }}", identity.peer()));
    assert!(!shown.contains("abab"));
}

#[test]
fn golden_signatures_do_not_change() {
    let identity = Identity::from_seed([3; 32]);
    let golden = [
        (Purpose::Statement, "5896d6f8adbc28eb079107bfc487024c"),
        (Purpose::Commit, "9f15b779ca49f87ff13f5cfe71d6267c"),
        (Purpose::Enrol, "9a934afe00a4c6e7159d54c925eb663c"),
        (Purpose::Invite, "02a834ce30c73512a47017c6decba297"),
    ];

    for (purpose, expect) in golden {
        assert_eq!(hex(&identity.sign(purpose, &SPACE, b"golden").0[..16]), expect, "{purpose:?}");
    }
}
