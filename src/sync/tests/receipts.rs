//! What is acknowledged, and what must not be.

use super::*;
use crate::exchange::Stored;

/// Runs what is due soon; returns how many acknowledgements were sent.
fn acknowledged(party: &mut Party) -> usize {
    for _ in 0..4 {
        party.timeout();
    }
    let is_ack =
        |(_, frame): &&(ConnId, Vec<u8>)| matches!(Message::from_frame(frame), Ok(Some(Message::Ack(_))));
    party.sent.iter().filter(is_ack).count()
}

/// What was lost before it was on disk was acknowledged when the rest was.
#[test]
fn what_damage_took_is_not_acknowledged() {
    for damaged in [false, true] {
        let (mut left, mut right) = two();
        left.connect(1, 1, 2, Side::Dialer);
        right.connect(1, 1, 1, Side::Acceptor);
        converse(&mut left, &mut right, 1);
        let space = left.state.space;

        // A commit of the second device comes by way of a third one.
        let stored = Stored { position: Position(1), commit: commit_of(2, space, 1) };
        left.handle(2, Event::Stored { space, from: Some(identity(3).peer()), stored });
        if damaged {
            left.handle(2, Event::Damaged { space });
        }
        left.handle(3, Event::Durable { upto: Position(1) });

        assert_eq!(acknowledged(&mut left), usize::from(!damaged));
        assert_eq!(left.closed.contains(&(ConnId(1), CODE_STORE)), damaged, "it begins anew");
    }
}
