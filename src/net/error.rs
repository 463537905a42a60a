//! Why something on the network failed.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{ConnectionError, TransportErrorCode};
use thiserror::Error;

use crate::codec::CodecError;
use crate::id::PeerId;
use crate::limits::CLOSE_REASON_BYTES_MAX;

use super::{KeyFlaw, Lane};

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closer {
    /// This side.
    Here,
    /// The peer.
    Peer,
}

/// Why something on the network failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub(crate) enum NetError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The local network cannot be searched.
    #[error("multicast DNS: {reason}")]
    Discovery {
        /// What the system said.
        reason: String,
    },
    /// TLS cannot be set up, or gives no exporter.
    #[error("cannot set up TLS")]
    Tls {
        /// What TLS said; absent when it gave no reason.
        source: Option<rustls::Error>,
    },
    /// No packet can be sent to the address.
    #[error("{address} cannot be reached from here")]
    Unreachable {
        /// The address.
        address: SocketAddr,
    },
    /// The handshake was not finished in time; nobody may be there.
    #[error("no handshake with {address} within {deadline_ms} ms")]
    Timeout {
        /// The address that was dialled.
        address: SocketAddr,
        /// The time that it had.
        deadline_ms: u64,
    },
    /// The far endpoint takes no connection at the moment.
    #[error("the peer takes no more connections")]
    Refused,
    /// This endpoint has as many connections as it may have.
    #[error("{connections_max} connections are open")]
    TooManyConnections {
        /// The limit.
        connections_max: usize,
    },
    /// Another device answers at the address.
    #[error("the key is {}, not {}", .found.short(), .expected.short())]
    WrongKey {
        /// The key that was dialled.
        expected: PeerId,
        /// The key that answered.
        found: PeerId,
    },
    /// The peer shows something that is no key of a device.
    #[error("the peer's key is refused: {flaw}")]
    UnusableKey {
        /// What is wrong with it.
        flaw: KeyFlaw,
    },
    /// The two sides have no protocol in common.
    #[error("the peer speaks none of our protocols")]
    NoCommonProtocol,
    /// TLS failed in another way, for a missing or stolen key among others.
    #[error("the handshake failed with alert {alert}")]
    Handshake {
        /// The alert, RFC 8446 section 6.
        alert: u8,
        /// Who raised it.
        by: Closer,
    },
    /// The peer did not finish its hello in time.
    #[error("no hello within {deadline_ms} ms")]
    NotGreeted {
        /// The time that it had.
        deadline_ms: u64,
    },
    /// A frame claims more bytes than it may have.
    #[error("frame of {bytes} bytes exceeds {bytes_max}")]
    FrameTooLarge {
        /// The length of its body.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A frame does not begin as one, or is not as long as it says.
    #[error("malformed frame")]
    FrameMalformed {
        /// What is wrong with it.
        source: CodecError,
    },
    /// A frame that was begun, or the name of a lane, did not arrive in time.
    #[error("a frame was begun and is not whole after {deadline_ms} ms")]
    FrameLate {
        /// The time that it had.
        deadline_ms: u64,
    },
    /// A lane ended inside a frame.
    #[error("the {lane} lane ends inside a frame")]
    FrameTruncated {
        /// The lane.
        lane: Lane,
    },
    /// A stream names no lane.
    #[error("a stream begins with {byte:?} and names no lane")]
    UnknownLane {
        /// Its first byte; absent when it has none.
        byte: Option<u8>,
    },
    /// The peer opened a lane that it had opened before.
    #[error("the {lane} lane was opened twice")]
    LaneTwice {
        /// The lane.
        lane: Lane,
    },
    /// The peer opened another lane than the control lane before it was greeted.
    #[error("the {lane} lane was opened before the hello")]
    LaneTooEarly {
        /// The lane.
        lane: Lane,
    },
    /// The peer gave up a lane.
    #[error("the peer gave up a lane with code {code}")]
    LaneReset {
        /// The lane; absent when it was given up before its name arrived.
        lane: Option<Lane>,
        /// The peer's code.
        code: u64,
    },
    /// A send on the lane was cancelled midway, so no frame can follow on it.
    #[error("an earlier send on the {lane} lane was cut off")]
    LaneBroken {
        /// The lane.
        lane: Lane,
    },
    /// The connection was closed.
    #[error("closed with code {code}: {reason}")]
    Closed {
        /// The code that the closer gave.
        code: u64,
        /// The reason that the closer gave, cut at 256 bytes.
        reason: String,
        /// Who closed it.
        by: Closer,
    },
    /// The peer was silent for too long.
    #[error("the peer fell silent")]
    Silent,
    /// The connection broke in another way: the peer restarted, or broke the rules of QUIC.
    #[error("the connection broke")]
    Broken {
        /// What QUIC said.
        source: ConnectionError,
    },
    /// The endpoint was closed.
    #[error("the endpoint is closed")]
    EndpointClosed,
}

impl NetError {
    /// Returns the code with which the connection is closed for this error.
    ///
    /// Codes from `0x4e45_5400` on are this floor's own; those below belong to the wire.
    pub(super) const fn close_code(&self) -> u32 {
        let low = match self {
            Self::FrameTooLarge { .. } => 1,
            Self::FrameMalformed { .. } => 2,
            Self::FrameTruncated { .. } => 3,
            Self::UnknownLane { .. } => 4,
            Self::LaneTwice { .. } => 5,
            Self::LaneTooEarly { .. } => 6,
            Self::LaneReset { .. } => 7,
            Self::NotGreeted { .. } => 8,
            Self::UnusableKey { .. } => 9,
            Self::NoCommonProtocol => 10,
            Self::TooManyConnections { .. } => 11,
            Self::FrameLate { .. } => 12,
            Self::Bind { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Refused
            | Self::WrongKey { .. }
            | Self::Handshake { .. }
            | Self::LaneBroken { .. }
            | Self::Closed { .. }
            | Self::Silent
            | Self::Broken { .. }
            | Self::Discovery { .. }
            | Self::EndpointClosed => 0,
        };
        0x4e45_5400 | low
    }
}

impl From<ConnectionError> for NetError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: close.error_code.into_inner(),
                reason: bounded(&String::from_utf8_lossy(&close.reason)).to_owned(),
                by: Closer::Peer,
            },
            ConnectionError::LocallyClosed => {
                Self::Closed { code: 0, reason: String::new(), by: Closer::Here }
            }
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::ConnectionClosed(ref close) => {
                from_code(close.error_code, Closer::Peer).unwrap_or(Self::Broken { source: error })
            }
            ConnectionError::TransportError(ref failure) => {
                from_code(failure.code, Closer::Here).unwrap_or(Self::Broken { source: error })
            }
            ConnectionError::VersionMismatch | ConnectionError::Reset | ConnectionError::CidsExhausted => {
                Self::Broken { source: error }
            }
        }
    }
}

/// Cuts `reason` to what a close may carry, between two characters.
pub(super) fn bounded(reason: &str) -> &str {
    if reason.len() <= CLOSE_REASON_BYTES_MAX {
        return reason;
    }
    // A character has at most four bytes.
    (CLOSE_REASON_BYTES_MAX - 3..=CLOSE_REASON_BYTES_MAX)
        .rev()
        .find_map(|end| reason.get(..end))
        .unwrap_or_default()
}

/// Reads the codes of QUIC that have a meaning of their own here. TLS alerts are codes 0x100 to 0x1ff.
fn from_code(code: TransportErrorCode, by: Closer) -> Option<NetError> {
    const NO_APPLICATION_PROTOCOL: u8 = 120;

    if code == TransportErrorCode::CONNECTION_REFUSED {
        return Some(NetError::Refused);
    }
    let alert = u8::try_from(u64::from(code).checked_sub(0x100)?).ok()?;
    match alert {
        NO_APPLICATION_PROTOCOL => Some(NetError::NoCommonProtocol),
        _ => Some(NetError::Handshake { alert, by }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        assert_eq!(bounded(&"a".repeat(300)).len(), CLOSE_REASON_BYTES_MAX);
        assert_eq!(bounded(&"ä€".repeat(300)).len(), CLOSE_REASON_BYTES_MAX - 1);
    }

    #[test]
    fn what_only_quic_can_explain_keeps_its_source() {
        for lost in [ConnectionError::Reset, ConnectionError::VersionMismatch, ConnectionError::CidsExhausted]
        {
            let error = NetError::from(lost.clone());
            let NetError::Broken { source } = error else { panic!("another error: {error}") };
            assert_eq!(source, lost);
        }
    }
}
