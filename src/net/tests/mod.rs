//! Real QUIC on the loopback interface.

mod admission;
mod handshake;
mod hostile;
mod stranger;
mod transfer;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Writer;
use crate::id::PeerId;
use crate::identity::Identity;
use crate::metrics::Metrics;

use super::*;

/// Far longer than anything here takes, for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fails the test when `future` hangs.
#[track_caller]
fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing happened at {caller}"),
        }
    }
}

/// Waits until `condition` holds.
#[track_caller]
fn until(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        while !condition() {
            let pause = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>());
            pause.await.expect_err("pending never ends");
        }
    })
}

/// Checks that the other end closed the connection with `expected`.
#[track_caller]
fn assert_peer_closed(error: NetError, expected: u32) {
    let NetError::Closed { code, by, .. } = error else { panic!("another error: {error:?}") };
    assert_eq!((code, by), (u64::from(expected), Closer::Peer));
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed([seed; 32]))
}

fn peer(seed: u8) -> PeerId {
    identity(seed).peer()
}

/// An endpoint with the key of `seed`.
async fn endpoint(seed: u8) -> Endpoint {
    endpoint_with(seed, Options::default()).await
}

async fn endpoint_with(seed: u8, options: Options) -> Endpoint {
    let bound = Endpoint::bind_with(identity(seed), loopback(), Arc::new(Metrics::default()), options).await;
    bound.expect("loopback has a free port")
}

fn address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_address().expect("it is bound")
}

/// Two endpoints and the two ends of a connection between them.
struct Pair {
    dialer: Connection,
    acceptor: Connection,
    endpoints: [Endpoint; 2],
}

impl Pair {
    async fn new() -> Self {
        Self::with(Protocol::Sync, Options::default()).await
    }

    /// Both sides have greeted each other.
    async fn greeted() -> Self {
        let pair = Self::new().await;
        pair.dialer.greeted();
        pair.acceptor.greeted();
        pair
    }

    async fn with(protocol: Protocol, options: Options) -> Self {
        let (one, two) = (endpoint_with(1, options).await, endpoint_with(2, options).await);
        let dial = one.connect(peer(2), address(&two), protocol);
        let (dialer, acceptor) = soon(async { tokio::join!(dial, two.accept()) }).await;
        let dialer = dialer.expect("the peer listens");
        Self { dialer, acceptor: acceptor.expect("the peer dials"), endpoints: [one, two] }
    }
}

/// A frame of type `kind` with a body of `bytes` bytes.
fn frame(kind: u64, bytes: usize) -> Vec<u8> {
    let mut out = Writer::new();
    out.varint(kind);
    out.bytes(&vec![kind as u8; bytes]);
    out.into_bytes()
}
