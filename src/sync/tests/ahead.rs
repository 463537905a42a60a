//! What goes ahead of a bulk transfer.

use super::*;

/// Commits made here while a peer is fed wait for what it lacks of their entities; what finds no room comes with
/// the feed.
#[test]
fn commits_that_wait_to_go_ahead_are_bounded() {
    let (mut left, mut right) = two();
    right.state.collections.clear();
    left.connect(1, 1, 2, Side::Dialer);
    right.connect(1, 1, 1, Side::Acceptor);
    let hello = std::mem::take(&mut left.sent).remove(0).1;
    right.handle(1, Event::Frame { conn: ConnId(1), bytes: hello });
    let answer = std::mem::take(&mut right.sent).remove(0).1;
    left.engine.handle(now(1), Event::Frame { conn: ConnId(1), bytes: answer });
    let asked = |party: &mut Party| -> Vec<Ask> {
        let actions = std::iter::from_fn(|| party.engine.poll_action());
        actions
            .filter_map(|action| if let Action::Ask { ask, .. } = action { Some(ask) } else { None })
            .collect()
    };
    assert!(asked(&mut left).iter().any(|ask| matches!(ask, Ask::Feed { .. })), "the peer is fed");

    let space = left.state.space;
    let most = crate::limits::AHEAD_COMMITS_MAX as u64;
    for number in 5..most + 10 {
        let commit = commit_of(space, number);
        let stored = crate::exchange::Stored { position: Position(number), commit };
        left.engine.handle(now(2), Event::Stored { space, from: None, stored });
    }

    let asked = asked(&mut left);
    assert!(matches!(asked.as_slice(), [Ask::History { places, .. }] if places.len() == 1), "{asked:?}");
    let session = &left.engine.sessions[&(ConnId(1), space)];
    assert_eq!((session.ahead.len() as u64, session.dirty), (most, true));
}

/// A commit of the first device with one leaf.
fn commit_of(space: SpaceId, number: u64) -> crate::exchange::Packed {
    use crate::access::{Commit, Leaf, change_hash};
    let origin = Origin { peer: identity(1).peer(), incarnation: Incarnation(3) };
    let change = [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &[0; 90]].concat();
    let leaf = Leaf {
        collection: CollectionName::new("tickets").expect("a name"),
        entity: crate::id::EntityId::new([1; 16]),
        oseq: Oseq(number),
        of: 1,
        seq: number,
        prev: None,
        head: change_hash(&change).expect("long enough"),
    };
    let commit = Commit::sign(&identity(1), space, origin, vec![], vec![(leaf, change)]).expect("one leaf");
    let key = crate::exchange::CommitKey { origin, parts: commit.parts() };
    crate::exchange::Packed { key, bytes: commit.encode().into() }
}
