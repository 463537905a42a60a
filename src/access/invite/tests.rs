//! The text of an invite, and what becomes of it on the way.

use proptest::prelude::*;

use super::*;

fn invite(addresses: &[&str]) -> Invite {
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    let inviter = Identity::from_seed([1; 32]).peer();
    let expiry = Timestamp::from_unix_ms(1_800_000_000_000);
    Invite::new(InviteKind::Member, SpaceId::new([7; 32]), inviter, addresses, [5; 16], expiry)
        .expect("at most four")
}

#[test]
fn an_invite_comes_back_from_its_text() {
    let invite = invite(&["192.0.2.1:4711", "[2001:db8::1]:4712"]);

    let text = invite.to_string();

    assert_eq!(text.parse(), Ok(invite.clone()));
    assert_eq!(format!("  {}\n", text.to_uppercase()).parse(), Ok(invite.clone()));
    let back: Invite = text.parse().expect("as above");
    assert_eq!(
        (back.kind(), back.space(), back.inviter()),
        (invite.kind(), invite.space(), invite.inviter())
    );
    assert_eq!((back.key(), back.expiry()), (invite.key(), invite.expiry()));
    assert_eq!(back.addresses().len(), 2);
}

#[test]
fn the_golden_invite_does_not_change() {
    let text = invite(&["192.0.2.1:4711"]).to_string();

    assert_eq!(
        text,
        "drift1aadqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqpcui4poxicprsx6vfwznhs\
         5f24wkm4e36hmucin7g5eiag2a6324aucqkbifaucqkbifaucqkbifawambyuf4nuacbgaaabaceth2eifr5y"
    );
    assert_eq!(text.len(), 165);
    assert_eq!(
        invite(&[]).key().to_string(),
        "3a2938da7290d2fb3fae67409555fe2f38a3fc34bade219ea8aec16f39f4cda6"
    );
}

/// Seen failing without the comparison of checksums in `Invite::from_str`.
#[test]
fn attack_td_every_truncation_is_told_as_damage() {
    let text = invite(&["192.0.2.1:4711"]).to_string();

    for length in PREFIX.len()..text.len() {
        let cut: Result<Invite, _> = text.get(..length).expect("ASCII").parse();
        assert_eq!(cut, Err(AccessError::Damaged), "{length} characters");
    }
}

/// Seen failing without the comparison of checksums in `Invite::from_str`.
#[test]
fn attack_td_every_wrong_character_is_told_as_damage() {
    let text = invite(&["192.0.2.1:4711"]).to_string();

    for place in PREFIX.len()..text.len() {
        for digit in ["a", "z", "2", "7", "0", "é", " "] {
            let mut wrong = text.clone();
            wrong.replace_range(place..=place, digit);
            if wrong != text && wrong.trim() == wrong {
                assert_eq!(wrong.parse::<Invite>(), Err(AccessError::Damaged), "{digit} at {place}");
            }
        }
    }
}

#[test]
fn other_texts_are_no_invites() {
    for text in ["", "drift", "hello", "drift2abcdefgh", "https://example.org/drift1"] {
        assert_eq!(text.parse::<Invite>(), Err(AccessError::NotAnInvite), "{text}");
    }
    let (bytes, bytes_max) = (INVITE_TEXT_BYTES_MAX + 1, INVITE_TEXT_BYTES_MAX);
    let refused = AccessError::TooLarge { what: "invite", bytes, bytes_max };
    assert_eq!(format!("drift1{}", "a".repeat(bytes - 6)).parse::<Invite>(), Err(refused.clone()));
    assert_ne!(format!("drift1{}", "a".repeat(bytes_max - 6)).parse::<Invite>(), Err(refused));
}

#[test]
fn an_invite_has_at_most_four_addresses() {
    let address: SocketAddr = "192.0.2.1:1".parse().expect("an address");
    let with = |count| {
        let addresses = vec![address; count];
        let (space, peer) = (SpaceId::new([7; 32]), Identity::from_seed([1; 32]).peer());
        Invite::new(InviteKind::Device, space, peer, addresses, [0; 16], Timestamp::default())
    };

    let most = with(INVITE_ADDRESSES_MAX).expect("four");

    let refused = AccessError::TooMany { what: "addresses in an invite", max: INVITE_ADDRESSES_MAX };
    assert_eq!(with(INVITE_ADDRESSES_MAX + 1), Err(refused));
    assert_eq!(most.to_string().parse(), Ok(most));
}

#[test]
fn content_that_cannot_be_is_refused_though_its_checksum_fits() {
    let text = |content: &[u8]| {
        let bytes = [content, &checksum(content)].concat();
        format!("{PREFIX}{}", to_base32(&bytes)).parse::<Invite>()
    };
    let content = invite(&[]).content();
    let good = content.as_bytes();
    let invalid = |what| Err(CodecError::Invalid { what }.into());

    assert!(text(good).is_ok());
    assert_eq!(text(&[&[2], good.get(1..).expect("longer")].concat()), invalid("kind of invite"));
    let address = [good.get(..good.len() - 1).expect("longer"), &[1, 5, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(text(&address), invalid("address"));
    assert_eq!(text(&[good, &[0]].concat()), Err(CodecError::Trailing { bytes: 1 }.into()));
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", invite(&[]));

    assert!(shown.starts_with("Invite { kind: Member"), "{shown}");
    assert!(!shown.contains("5, 5, 5") && !shown.contains("0505"), "{shown}");
}

proptest! {
    #[test]
    fn base32_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let text = to_base32(&bytes);
        let back = from_base32(&text);
        prop_assert_eq!(back.as_deref(), Some(&bytes));
    }

    #[test]
    fn base32_has_one_text(text in "[a-z2-7]{0,40}") {
        if let Some(bytes) = from_base32(&text) {
            prop_assert_eq!(to_base32(&bytes), text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = format!("drift1{text}").parse::<Invite>();
    }
}
