//! When peers are dialled, and when they are left alone.

use super::*;

#[test]
fn attempts_wait_2_4_8_16_32_seconds_and_then_32() {
    let (mut left, _) = two();
    let peer = identity(2).peer();
    left.handle(0, Event::Command(Command::AddPeer { peer, addresses: Vec::new() }));

    let mut at = 0;
    let mut waits = Vec::new();
    for _ in 0..7 {
        let (dial, _) = left.dialed.pop().expect("an attempt");
        left.handle(at, Event::DialFailed { dial, reason: "no route".to_owned() });
        let next = left.timeout().expect("another attempt");
        waits.push(next - at);
        at = next;
    }

    assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 32_000, 32_000]);
    let second = PeerState::Reconnecting { attempt: 2, retry_in_ms: 4_000, reason: "no route".to_owned() };
    assert_eq!(left.states()[0], PeerState::Connecting);
    assert_eq!(left.states()[2], second);
}

#[test]
fn the_last_attempt_fails_the_peer_until_the_app_wakes() {
    let options = Options { attempts_max: Some(2), ..Options::default() };
    let mut left = Party::new(1, &log_of_two(), options);
    let peer = identity(2).peer();
    left.handle(0, Event::Command(Command::AddPeer { peer, addresses: Vec::new() }));
    let (dial, _) = left.dialed.pop().expect("an attempt");
    left.handle(0, Event::DialFailed { dial, reason: "no route".to_owned() });
    let at = left.timeout().expect("another attempt");
    let (dial, _) = left.dialed.pop().expect("the other attempt");
    left.handle(at, Event::DialFailed { dial, reason: "no route".to_owned() });

    assert_eq!(left.states().last(), Some(&PeerState::Failed { reason: "no route".to_owned() }));
    assert!(left.dialed.is_empty());
    left.handle(9_000, Event::Command(Command::Wake));

    assert_eq!(left.dialed.len(), 1);
}

fn found(number: u8, address: &str) -> Event {
    let addresses = vec![address.to_owned(); 9];
    Event::Command(Command::Found { peer: identity(number).peer(), addresses })
}

#[test]
fn members_on_the_local_network_are_dialled_and_strangers_and_floods_are_not() {
    let most = crate::limits::FOUND_PEERS_MAX as u8;
    let mut left = Party::new(1, &log_of_many(most + 2), Options::default());

    left.handle(1, found(200, "10.0.0.9:1"));
    left.handle(1, found(1, "10.0.0.9:1"));
    assert_eq!(left.dialed, [], "neither a stranger nor this device");
    for number in 2..=most + 2 {
        left.handle(1, found(number, "10.0.0.9:1"));
    }

    assert_eq!(left.dialed.len(), usize::from(most));
}

#[test]
fn saying_so_again_and_again_begins_an_attempt_each_five_seconds() {
    let (mut left, _) = two();
    let fail = |left: &mut Party, at| {
        let dial = left.dialed.last().expect("dialled").0;
        left.handle(at, Event::DialFailed { dial, reason: "nobody".to_owned() });
    };

    left.handle(0, found(2, "10.0.0.9:1"));
    fail(&mut left, 1);
    let attempts = |left: &Party| left.dialed.len();
    for at in 2..1_000 {
        left.handle(at, found(2, &format!("10.0.0.9:{at}")));
    }

    assert_eq!(attempts(&left), 1);
    assert_eq!(left.timeout(), Some(1 + 2_000), "by the schedule of all peers");
    assert_eq!(attempts(&left), 2);
    fail(&mut left, 2_002);
    left.handle(2_003, found(2, "10.0.0.9:1"));
    assert_eq!(left.timeout(), Some(crate::limits::FOUND_DIAL_MS), "4 s would be later");
    fail(&mut left, 5_001);

    let peer = identity(2).peer();
    left.handle(5_002, Event::Command(Command::Lost { peer }));
    assert_eq!(left.timeout(), None, "who is gone is not tried again");
    assert!(matches!(left.states().last(), Some(PeerState::Disconnected { .. })));
}

/// A live peer must not come back at once to one that has just gone to rest, or neither would ever rest.
#[test]
fn a_peer_that_rests_is_left_alone_until_it_comes_or_the_app_asks() {
    let log = log_of_two();
    for (code, waits) in [(conn::CODE_RESTS, None), (conn::CODE_RESTS_AND_WAITS, Some(32_000))] {
        let mut left = Party::new(1, &log, Options::default());
        let peer = identity(2).peer();
        let command = Command::AddPeer { peer, addresses: vec!["there".to_owned()] };
        left.handle(0, Event::Command(command));
        left.dialed.pop().expect("it dials");
        let (conn, side) = (ConnId(1), Side::Dialer);
        left.handle(0, Event::Connected { conn, peer, side, exporter: EXPORTER });
        let opening = crate::wire::Opening {
            slot: 1,
            tag: digest::tag(&EXPORTER, Side::Acceptor, &log.space()),
            log: log.digest(),
            data: [0; 16],
            told: crate::wire::Told::Whole(Default::default()),
            reach: reach(),
        };
        let hello = Hello { versions: (1, 1), features: 0, openings: vec![opening] };
        left.handle(1, Event::Frame { conn, bytes: Message::HelloAck(hello).to_frame() });
        let farewell = crate::wire::Farewell { code: u64::from(code), text: "rests".to_owned() };
        left.handle(10, Event::Frame { conn, bytes: Message::Farewell(farewell).to_frame() });

        assert_eq!(left.engine.poll_timeout().map(|at| at.ms()), waits.map(|ms: u64| 10 + ms));
        assert_eq!(left.dialed, []);
        left.handle(20, Event::Command(Command::Wake));
        assert_eq!(left.dialed.len(), 1, "the app asks");
    }
}

#[test]
fn a_periodic_node_reaches_its_peers_once_a_round() {
    let log = log_of_two();
    let mode = Mode::Periodic { every_ms: 60_000 };
    let mut left = Party::new(1, &log, Options { mode, ..Options::default() });
    left.timeout();
    let command = Command::AddPeer { peer: identity(2).peer(), addresses: vec!["there".to_owned()] };
    left.handle(0, Event::Command(command));

    let mut rounds = Vec::new();
    while rounds.len() < 4 {
        for (dial, _) in std::mem::take(&mut left.dialed) {
            rounds.push(left.engine.now.instant.ms());
            left.handle(left.engine.now.instant.ms(), Event::DialFailed { dial, reason: "away".to_owned() });
        }
        left.timeout();
    }

    assert_eq!(rounds, [0, 60_000, 120_000, 180_000]);
    left.handle(300_000, Event::Command(Command::SetMode(Mode::Manual)));
    assert_eq!(left.engine.poll_timeout(), None);
    left.dialed.clear();
    left.handle(300_000, Event::Command(Command::Wake));
    assert_eq!(left.dialed, [], "a manual node waits for a sync");
}
