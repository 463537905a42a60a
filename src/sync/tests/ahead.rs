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
        let commit = commit_of(1, space, number);
        let stored = crate::exchange::Stored { position: Position(number), commit };
        left.engine.handle(now(2), Event::Stored { space, from: None, stored });
    }

    let asked = asked(&mut left);
    assert!(matches!(asked.as_slice(), [Ask::History { places, .. }] if places.len() == 1), "{asked:?}");
    let session = &left.engine.sessions[&(ConnId(1), space)];
    assert_eq!((session.ahead.len() as u64, session.dirty), (most, true));
}
