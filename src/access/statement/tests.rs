//! The encoding of statements.

use proptest::prelude::*;

use super::*;
use crate::id::CommitHash;

const SPACE: SpaceId = SpaceId::new([7; 32]);

fn signed(body: Body) -> Statement {
    let prev = vec![StatementHash::new([1; 32]), StatementHash::new([2; 32])];
    Statement::sign(&Identity::from_seed([1; 32]), &SPACE, 2, prev, body).expect("small")
}

fn genesis() -> Body {
    Body::Genesis(Genesis {
        name: "Corner Repairs".to_owned(),
        member_name: "Ada".to_owned(),
        device_name: "phone".to_owned(),
        nonce: [9; 32],
        recovery: Some(PeerId::new([4; 32])),
        enc_pk: Some([6; 32]),
    })
}

fn cut(count: u8) -> Cut {
    Cut::new((0..count).map(|number| CommitHash::new([number; 32]))).expect("a few")
}

/// One of every kind but the genesis.
fn bodies() -> Vec<Body> {
    let (hash, member) = (StatementHash::new([3; 32]), MemberId::new([5; 32]));
    let collection = CollectionName::new("tickets").expect("a good name");
    let enrolment = Enrolment {
        invite: hash,
        device: PeerId::new([6; 32]),
        member_name: "Bob".to_owned(),
        device_name: "tablet".to_owned(),
        enc_pk: Some([8; 32]),
        proof: Signature([1; 64]),
        consent: Signature([2; 64]),
    };
    let invite = |grant, uses| Body::Invite {
        key: PeerId::new([4; 32]),
        grant,
        expiry: Timestamp::from_unix_ms(1_800_000_000_000),
        uses,
    };
    vec![
        Body::SetName { name: "Main Street".to_owned() },
        invite(Grant::Role(Role::Admin), Uses::Once),
        invite(Grant::Device(member), Uses::Many),
        Body::RevokeInvite { invite: hash },
        Body::AddMember(enrolment.clone()),
        Body::AddDevice { member, enrolment: Enrolment { enc_pk: None, ..enrolment } },
        Body::RemoveMember { member, cut: Cut::default() },
        Body::RemoveMember { member, cut: cut(96) },
        Body::RemoveDevice { enrolment: hash, cut: cut(2) },
        Body::SetRole { member, role: Role::Reader },
        Body::SetRule { collection, read: Role::Writer, write: Role::Owner },
        Body::Verdict {
            device: PeerId::new([4; 32]),
            keep: CommitHash::new([2; 32]),
            drop: CommitHash::new([3; 32]),
        },
        Body::Other { kind: 33, bytes: vec![1, 2, 3] },
    ]
}

#[test]
fn every_kind_comes_back_as_it_was() {
    for body in bodies() {
        let statement = signed(body);
        assert_eq!(Statement::decode(statement.bytes()), Ok(statement.clone()));
        assert_eq!(statement.verify(&SPACE), Ok(()));
    }
    let genesis =
        Statement::sign(&Identity::from_seed([1; 32]), &SPACE, 1, Vec::new(), genesis()).expect("small");
    assert_eq!(Statement::decode(genesis.bytes()), Ok(genesis.clone()));
    assert_eq!(genesis.verify(&SpaceId::new([1; 32])), Ok(()));
}

#[test]
fn every_truncation_and_a_trailing_byte_are_refused() {
    for body in bodies() {
        let statement = signed(body);
        let bytes = statement.bytes();
        for length in 0..bytes.len() {
            let cut = bytes.get(..length).expect("shorter");
            assert!(Statement::decode(cut).is_err(), "{:?} at {length}", statement.body());
        }
        let longer = [bytes, &[0]].concat();
        assert_eq!(Statement::decode(&longer), Err(CodecError::Trailing { bytes: 1 }.into()));
    }
}

#[test]
fn a_genesis_that_follows_something_is_refused() {
    let late = signed(genesis());

    let refused = Statement::decode(late.bytes());

    assert_eq!(refused, Err(AccessError::Malformed { what: "a genesis is the first statement" }));
}

#[test]
fn values_that_have_no_meaning_are_refused() {
    let decoded = |kind: u64, bytes: &[u8]| Body::decoded(kind, bytes).map(|_| ());
    let invalid = |what| Err(CodecError::Invalid { what }.into());

    // Role 0 is reserved for relays.
    assert_eq!(decoded(14, &[&[5; 32], [0].as_slice()].concat()), invalid("role"));
    assert_eq!(decoded(14, &[&[5; 32], [5].as_slice()].concat()), invalid("role"));
    assert_eq!(decoded(14, &[&[5; 32], [4].as_slice()].concat()), Ok(()));
    assert_eq!(
        decoded(14, &[&[5; 32], [4, 0].as_slice()].concat()),
        Err(CodecError::Trailing { bytes: 1 }.into())
    );
    let canonical = CodecError::NotCanonical { what: "cut" };
    assert_eq!(decoded(10, &[&[5; 32], [2].as_slice(), &[6; 64]].concat()), Err(canonical.into()));
    assert_eq!(decoded(10, &[&[5; 32], [1].as_slice(), &[6; 32]].concat()), Ok(()));
    let many = CodecError::TooLarge { what: "cut", len: 97, max: 96 };
    assert_eq!(decoded(10, &[&[5; 32], [97].as_slice(), &[6; 97 * 32]].concat()), Err(many.into()));
    assert_eq!(decoded(2, &[&[5; 32], [2].as_slice()].concat()), invalid("grant"));
    assert_eq!(decoded(2, &[&[5; 32], [0, 1, 0, 2].as_slice()].concat()), Ok(()));
    assert_eq!(decoded(2, &[&[5; 32], [0, 1, 0, 3].as_slice()].concat()), invalid("uses"));
    assert_eq!(decoded(20, &[]), Err(AccessError::UnknownKind { kind: 20 }));
    let name = CodecError::TooLarge { what: "name", len: 129, max: 128 };
    assert_eq!(decoded(1, &[&[0x81, 0x01], [b'a'; 129].as_slice()].concat()), Err(name.into()));
}

#[test]
fn golden_statements_do_not_change() {
    let genesis =
        Statement::sign(&Identity::from_seed([1; 32]), &SPACE, 1, Vec::new(), genesis()).expect("small");
    let all: Vec<Statement> = std::iter::once(genesis).chain(bodies().into_iter().map(signed)).collect();

    let hashes: Vec<String> = all.iter().map(|statement| statement.hash().short()).collect();

    assert_eq!(hashes, GOLDEN);
    let first = all.first().expect("the genesis");
    assert_eq!(first.hash().to_string(), "d06c01f14c069722ab7e6b96990b68f97e53f095a1597bdd1956fc2e31a57186");
    let start = [
        Identity::from_seed([1; 32]).peer().as_bytes().as_slice(),
        &[1, 0, 0, 123, 14],
        b"Corner Repairs",
        &[3],
        b"Ada",
        &[5],
        b"phone",
        &[9; 32],
        &[1],
        &[4; 32],
        &[1],
        &[6; 32],
    ]
    .concat();
    assert_eq!(first.bytes().get(..start.len()), Some(start.as_slice()));
    assert_eq!(first.bytes().len(), start.len() + 64);
}

const GOLDEN: [&str; 14] = [
    "d06c01f1", "68582384", "2527b40d", "e0ef9a07", "37980c9e", "14c9294b", "e3d2cd97", "5348f123",
    "6583684e", "c2d3a54a", "3896ff93", "dfde8be3", "58f86332", "3d58715b",
];

proptest! {
    #[test]
    fn mutations_are_refused_or_have_one_encoding(which in 0_usize..13, at in 0_usize..420, to: u8) {
        let statement = signed(bodies().swap_remove(which));
        let mut bytes = statement.bytes().to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        if let Ok(back) = Statement::decode(&bytes) {
            let (signed, signature) = bytes.split_last_chunk::<64>().expect("it was decoded");
            let mut out = Writer::new();
            back.signer().encode(&mut out);
            out.varint(back.lamport());
            out.count(back.prev().len());
            back.prev().iter().for_each(|hash| hash.encode(&mut out));
            out.varint(back.body().kind());
            out.bytes(&back.body().encoded());
            prop_assert_eq!(out.as_bytes(), signed);
            prop_assert_eq!(back.verify(&SPACE).is_ok(), bytes == statement.bytes(), "{:?}", signature);
        }
    }
}
