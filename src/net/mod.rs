//! QUIC: an endpoint with raw public keys, frames on lanes, and what a connection proves about its peer.
//!
//! A connection is TLS 1.3 with the Ed25519 keys of both devices as raw public keys (RFC 7250): no
//! certificates, no session tickets, no early data, no server name. Who may connect is not decided here; that
//! a peer holds the secret of the key it shows, is.
//!
//! ```text
//! before `greeted()`   the control lane only, small windows, frames up to HELLO_BYTES_MAX, a deadline
//! after it             three lanes, full windows, frames up to FRAME_BYTES_MAX (not to join)
//! ```
//!
//! Nodes on one local network find each other by multicast DNS (`discovery`); what they announce means something to
//! members alone (`announcement`).
//!
//! Datagrams and bidirectional streams are switched off.

mod admission;
mod announcement;
mod connection;
mod discovery;
mod endpoint;
mod error;
mod frame;
mod key;
mod lane;
mod options;
mod tls;

#[cfg(test)]
mod tests;

pub(crate) use announcement::Announcement;
pub(crate) use connection::Connection;
pub(crate) use discovery::{Discovery, MDNS_PORT, Reach, Sighting};
pub(crate) use endpoint::Endpoint;
pub(crate) use error::{Closer, NetError};
pub(crate) use key::KeyFlaw;
pub(crate) use lane::Lane;
pub(crate) use options::Options;

/// Which protocol a connection speaks: each has its own ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Members of a space bring each other up to date.
    Sync,
    /// A device asks to be let into a space.
    Join,
}

impl Protocol {
    const ALL: [Self; 2] = [Self::Sync, Self::Join];

    /// Returns the name that TLS negotiates.
    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Sync => b"driftless/1",
            Self::Join => b"driftless-join/1",
        }
    }

    /// Returns the label under which the exporter is drawn, so that a proof for one protocol is void in the
    /// other.
    const fn exporter_label(self) -> &'static [u8] {
        match self {
            Self::Sync => b"EXPORTER-driftless-sync-v1",
            Self::Join => b"EXPORTER-driftless-join-v1",
        }
    }

    fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.alpn() == alpn)
    }
}

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It connected to the peer.
    Dialer,
    /// The peer connected to it.
    Acceptor,
}
