//! Who may connect: the device with the right key, and nobody else.

use super::stranger::Stranger;
use super::*;
use crate::net::key;

// Alerts of RFC 8446, section 6.2.
const HANDSHAKE_FAILURE: u8 = 40;
const BAD_CERTIFICATE: u8 = 42;
const ACCESS_DENIED: u8 = 49;
const DECRYPT_ERROR: u8 = 51;
const CERTIFICATE_REQUIRED: u8 = 116;

/// The identity of the group, a point of small order.
const WEAK: PeerId = {
    let mut point = [0; 32];
    point[0] = 1;
    PeerId::new(point)
};

#[tokio::test]
async fn both_ends_know_each_other_and_share_an_exporter() {
    let pair = Pair::new().await;

    assert_eq!((pair.dialer.peer(), pair.dialer.side()), (peer(2), Side::Dialer));
    assert_eq!((pair.acceptor.peer(), pair.acceptor.side()), (peer(1), Side::Acceptor));
    assert_eq!((pair.dialer.protocol(), pair.acceptor.protocol()), (Protocol::Sync, Protocol::Sync));
    assert_eq!(pair.dialer.remote_address(), address(&pair.endpoints[1]));
    assert_eq!(pair.acceptor.remote_address(), address(&pair.endpoints[0]));
    assert_eq!(pair.dialer.exporter(), pair.acceptor.exporter());
}

/// What was proved on one connection is worth nothing on another.
#[tokio::test]
async fn each_connection_and_each_protocol_has_an_exporter_of_its_own() {
    let (first, second) = (Pair::new().await, Pair::new().await);
    let join = Pair::with(Protocol::Join, Options::default()).await;

    let exporters = [first.dialer.exporter(), second.dialer.exporter(), join.dialer.exporter(), [0; 32]];

    assert_eq!(join.acceptor.protocol(), Protocol::Join);
    assert_eq!(join.acceptor.exporter(), join.dialer.exporter());
    assert_eq!(std::collections::BTreeSet::from(exporters).len(), 4);
    assert_ne!(Protocol::Sync.exporter_label(), Protocol::Join.exporter_label());
}

/// Adversarial 1. Seen failing with `OneDevice::check` content with any key: it was connected.
#[tokio::test]
async fn another_device_at_the_address_is_named() {
    let (one, two) = (endpoint(1).await, endpoint(2).await);

    let error = soon(one.connect(peer(3), address(&two), Protocol::Sync)).await.expect_err("3 is not there");

    let NetError::WrongKey { expected, found } = error else { panic!("another error: {error:?}") };
    assert_eq!((expected, found), (peer(3), peer(2)));
}

/// Adversarial 3, 4 and 5, against an acceptor. Seen failing with `client_auth_mandatory` false (who showed no
/// key got as far as a connection), with `verify_signature` content with any (so did who showed a stolen one),
/// and with `key::peer_of` content with any form, or with weak keys: those got one step further each.
#[tokio::test]
async fn a_client_that_does_not_prove_its_key_never_gets_in() {
    let two = endpoint(2).await;
    let spki = key::spki_of(&peer(1));
    let longer = [spki.as_slice(), &[0]].concat();
    let mut other_curve = spki;
    other_curve[8] = 0x6e;

    let strangers = [
        ("no key", Stranger::honest(1).without_key(), CERTIFICATE_REQUIRED),
        ("a stolen key", Stranger::showing(&spki, 9), DECRYPT_ERROR),
        ("a certificate", Stranger::honest(1).with_certificate(), HANDSHAKE_FAILURE),
        ("45 bytes", Stranger::showing(&longer, 1), BAD_CERTIFICATE),
        ("another curve", Stranger::showing(&other_curve, 1), BAD_CERTIFICATE),
        ("a bare key", Stranger::showing(peer(1).as_bytes(), 1), BAD_CERTIFICATE),
        ("small order", Stranger::showing(&key::spki_of(&WEAK), 1), ACCESS_DENIED),
    ];
    for (shown, stranger, expected) in strangers {
        let error = stranger.rejection(address(&two)).await;
        let NetError::Handshake { alert, by } = error else { panic!("{shown}: another error: {error:?}") };
        assert_eq!((alert, by), (expected, Closer::Peer), "{shown}");
    }

    let honest = Stranger::honest(1).connect(address(&two)).await;
    let first = soon(two.accept()).await.expect("the honest one got in");
    assert_eq!(first.peer(), peer(1));
    drop(honest);
}

/// Adversarial 4 and 5, against a dialer. Seen failing with `key::peer_of` content with any form, or with weak
/// keys, and with `verify_signature` content with any: a thief of a public key was connected.
#[tokio::test]
async fn a_server_that_does_not_prove_its_key_is_not_connected() {
    let one = endpoint(1).await;
    let spki = key::spki_of(&peer(2));
    let longer = [spki.as_slice(), &[0]].concat();
    let dial = |stranger: Stranger, expected: PeerId| {
        let (one, address) = (one.clone(), stranger.listen());
        async move { soon(one.connect(expected, address, Protocol::Sync)).await.expect_err("a stranger") }
    };

    let error = dial(Stranger::showing(&longer, 2), peer(2)).await;
    assert!(matches!(error, NetError::UnusableKey { flaw: KeyFlaw::Form }), "{error:?}");

    let error = dial(Stranger::showing(&key::spki_of(&WEAK), 2), WEAK).await;
    assert!(matches!(error, NetError::UnusableKey { flaw: KeyFlaw::Weak }), "{error:?}");

    let error = dial(Stranger::showing(&spki, 9), peer(2)).await;
    let NetError::Handshake { alert, by } = error else { panic!("another error: {error:?}") };
    assert_eq!((alert, by), (DECRYPT_ERROR, Closer::Here));

    let error = dial(Stranger::honest(2).with_certificate(), peer(2)).await;
    let NetError::Handshake { alert, .. } = error else { panic!("another error: {error:?}") };
    assert_eq!(alert, HANDSHAKE_FAILURE);
}

/// Adversarial 6. Seen failing with that protocol among those of `Credentials::acceptor`.
#[tokio::test]
async fn a_peer_that_speaks_another_protocol_is_not_connected() {
    let two = endpoint(2).await;
    let stranger = Stranger::honest(1).speaking(b"driftless/2");

    let error = stranger.rejection(address(&two)).await;
    assert!(matches!(error, NetError::NoCommonProtocol), "{error:?}");

    let listening = stranger.listen();
    let error = soon(two.connect(peer(1), listening, Protocol::Sync)).await.expect_err("it speaks another");
    assert!(matches!(error, NetError::NoCommonProtocol), "{error:?}");
}

/// Adversarial 6: a device that was removed has nothing to resume with. Seen failing with the two tickets and
/// the storage of sessions that are the default of TLS.
#[tokio::test]
async fn no_ticket_is_given_and_no_early_data_taken() {
    let two = endpoint(2).await;
    let stranger = Stranger::honest(1);

    for _ in 0..2 {
        let connection = match stranger.dial(address(&two)).into_0rtt() {
            Err(connecting) => soon(connecting).await.expect("it is honest"),
            Ok(_) => panic!("a session was resumed"),
        };
        let accepted = soon(two.accept()).await.expect("it is honest");
        soon(accepted.send(Lane::Control, &frame(1, 10))).await.expect("it is open");
        let mut lane = soon(connection.accept_uni()).await.expect("a lane was opened");
        // Tickets would precede this.
        soon(lane.read_chunk(100, true)).await.expect("a frame was sent");
        assert_eq!(stranger.tickets.count(), 0);
    }
}

#[tokio::test]
async fn a_dial_that_nobody_answers_ends_at_its_deadline() {
    let options = Options { hello_deadline: Duration::from_millis(100), ..Options::default() };
    let one = endpoint_with(1, options).await;
    let mute = std::net::UdpSocket::bind(loopback()).expect("loopback has a free port");
    let there = mute.local_addr().expect("it is bound");

    let error = soon(one.connect(peer(2), there, Protocol::Sync)).await.expect_err("nobody answers");

    let NetError::Timeout { address, deadline_ms } = error else { panic!("another error: {error:?}") };
    assert_eq!((address, deadline_ms), (there, 100));
}

#[tokio::test]
async fn an_address_without_a_port_cannot_be_reached() {
    let one = endpoint(1).await;

    let error = soon(one.connect(peer(2), loopback(), Protocol::Sync)).await.expect_err("port 0 is no port");

    let NetError::Unreachable { address } = error else { panic!("another error: {error:?}") };
    assert_eq!(address, loopback());
}

#[tokio::test]
async fn an_address_in_use_cannot_be_bound() {
    let one = endpoint(1).await;

    let error = Endpoint::bind(identity(2), address(&one), Arc::default()).await.expect_err("1 is there");

    let NetError::Bind { address: taken, source } = error else { panic!("another error: {error:?}") };
    assert_eq!((taken, source.kind()), (address(&one), std::io::ErrorKind::AddrInUse));
}
