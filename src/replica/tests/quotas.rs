//! What one device may take of the room that all share.

use super::*;
use crate::id::Incarnation;
use crate::limits::INCARNATIONS_PER_DEVICE_MAX;

/// Adversarial 48, a device that writes under a thousand actors: each incarnation takes a place in the version
/// vector, which has an end. Seen failing without the count of lives in `Replica::has_room`.
#[test]
fn attack_48_a_device_with_a_thousand_incarnations_leaves_room_for_others() {
    const OVER: usize = 6;
    let (mut a, b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    let all = INCARNATIONS_PER_DEVICE_MAX + OVER;
    let commits: Vec<Vec<u8>> = (0..all as u64).map(|life| of_life(&b, space, life)).collect();

    let mut got = Received::default();
    for page in commits.chunks(512) {
        let Received { applied, left_out, .. } = a.receive(space, &b, page.to_vec());
        got.applied += applied;
        got.left_out += left_out;
    }
    c.commit(space, vec![insert(id(9), "by another")]);
    c.send(space, &mut a);

    let expected = Received { applied: INCARNATIONS_PER_DEVICE_MAX, left_out: OVER, ..Received::default() };
    assert_eq!(got, expected);
    assert_eq!(title(a.note(space, id(9))).as_deref(), Some("by another"));
    // What was left out does not count as received, and comes again when there is room.
    let again = a.receive(space, &b, vec![commits.last().expect("many").clone()]);
    assert_eq!(again, Received { left_out: 1, ..Received::default() });
    assert_consistent(&mut a, space);
}

/// A commit of a device in one of its lives, of an entity of its own.
fn of_life(device: &Device, space: SpaceId, life: u64) -> Vec<u8> {
    let origin = Origin { incarnation: Incarnation(life + 1_000_000), ..device.replica.origin() };
    let entity = EntityId::from_key("life", &life.to_be_bytes());
    let note = Note { title: "t".to_owned(), count: Counter::default() };
    let actor = ActorId::derive(&space, &entity, &origin);
    let made =
        doc::insert(note)(&mut Document::new(), &actor, now().wall).expect("inserts").expect("changes");
    let leaf = Leaf {
        collection: notes(),
        entity,
        oseq: Oseq(1),
        prev: None,
        salt: None,
        of: 1,
        seq: made.seq,
        head: made.hash,
    };
    let at = device.replica.membership(&space).expect("here").heads().to_vec();
    Commit::sign(&device.identity, space, origin, at, vec![(leaf, made.bytes)]).expect("signs").encode()
}
