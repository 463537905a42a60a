//! A relay of datagrams between two sockets that counts them: what the nodes really send, with all of
//! QUIC's parts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::Outcome;

/// Bytes of the headers of IPv4 and UDP.
const HEADER_BYTES: u64 = 28;

/// Stands in front of a node; whoever is to be counted dials it instead of the node.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    datagrams: AtomicU64,
    bytes: AtomicU64,
}

impl Relay {
    /// Starts a relay to a node, for one dialer at a time.
    pub(crate) async fn to(node: SocketAddr) -> Outcome<Self> {
        let outer = UdpSocket::bind(("127.0.0.1", 0)).await?;
        let inner = UdpSocket::bind(("127.0.0.1", 0)).await?;
        inner.connect(node).await?;
        let address = outer.local_addr()?;
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(pass(outer, inner, Arc::clone(&counts)));
        Ok(Self { address, counts, task })
    }

    /// Datagrams and their bytes so far, in both directions, with the headers of IP and UDP.
    pub(crate) fn passed(&self) -> (u64, u64) {
        let datagrams = self.counts.datagrams.load(Ordering::Relaxed);
        (datagrams, self.counts.bytes.load(Ordering::Relaxed) + datagrams * HEADER_BYTES)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(outer: UdpSocket, inner: UdpSocket, counts: Arc<Counts>) {
    let mut dialer = None;
    let (mut outward, mut inward) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            Ok((bytes, from)) = outer.recv_from(&mut inward) => {
                dialer = Some(from);
                counts.datagrams.fetch_add(1, Ordering::Relaxed);
                counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                if let Some(datagram) = inward.get(..bytes) {
                    // What is lost here QUIC sends again.
                    let _lost = inner.send(datagram).await;
                }
            }
            Ok(bytes) = inner.recv(&mut outward) => {
                counts.datagrams.fetch_add(1, Ordering::Relaxed);
                counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                if let (Some(dialer), Some(datagram)) = (dialer, outward.get(..bytes)) {
                    let _lost = outer.send_to(datagram, dialer).await;
                }
            }
        }
    }
}
