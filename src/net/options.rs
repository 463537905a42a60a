//! The bounds of an endpoint, and the QUIC settings that follow from them.

use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::limits::{
    CLOSE_WAIT_MS, CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, CONNECTIONS_UNGREETED_MAX, FRAME_DEADLINE_MS,
    HELLO_DEADLINE_MS, IDLE_TIMEOUT_MS, JOIN_STREAM_WINDOW_BYTES, KEEP_ALIVE_MS, STREAM_WINDOW_BYTES,
    UNGREETED_WINDOW_BYTES,
};

use super::Protocol;

/// The bounds of an endpoint. The default takes each from [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct Options {
    /// Time from the first packet of a connection until it is greeted.
    pub(crate) hello_deadline: Duration,
    /// Time in which a frame that was begun arrives.
    pub(crate) frame_deadline: Duration,
    /// Silence after which a connection is given up.
    pub(crate) idle_timeout: Duration,
    /// Interval of keep-alive packets.
    pub(crate) keep_alive: Duration,
    /// Time that a closing endpoint waits for its peers to hear of it.
    pub(crate) close_wait: Duration,
    /// Most inbound connections that were not greeted.
    pub(crate) ungreeted_max: usize,
    /// Most connections, inbound and outbound.
    pub(crate) connections_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hello_deadline: Duration::from_millis(HELLO_DEADLINE_MS),
            frame_deadline: Duration::from_millis(FRAME_DEADLINE_MS),
            idle_timeout: Duration::from_millis(IDLE_TIMEOUT_MS),
            keep_alive: Duration::from_millis(KEEP_ALIVE_MS),
            close_wait: Duration::from_millis(CLOSE_WAIT_MS),
            ungreeted_max: CONNECTIONS_UNGREETED_MAX,
            connections_max: CONNECTIONS_MAX,
        }
    }
}

impl Options {
    pub(super) fn hello_deadline_ms(&self) -> u64 {
        u64::try_from(self.hello_deadline.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns how a connection begins: one stream for the control lane, and small windows.
    ///
    /// QUIC lets the window of a connection and the number of streams grow later, but not the window of a
    /// stream; until the connection's window grows it is the one that holds. An acceptor does not know the
    /// protocol at that time, so `protocol` is the dialer's.
    pub(super) fn transport(&self, protocol: Option<Protocol>) -> TransportConfig {
        let stream_window = match protocol {
            Some(Protocol::Join) => JOIN_STREAM_WINDOW_BYTES,
            Some(Protocol::Sync) | None => STREAM_WINDOW_BYTES,
        };
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(1))
            .stream_receive_window(VarInt::from_u32(stream_window))
            .receive_window(VarInt::from_u32(UNGREETED_WINDOW_BYTES))
            .send_window(u64::from(CONNECTION_WINDOW_BYTES))
            .max_idle_timeout(Some(idle(self.idle_timeout)))
            .keep_alive_interval(Some(self.keep_alive))
            .datagram_receive_buffer_size(None);
        transport
    }
}

/// Converts to the unit of QUIC. A time that does not fit 62 bits of milliseconds counts as the longest.
fn idle(timeout: Duration) -> IdleTimeout {
    IdleTimeout::try_from(timeout).unwrap_or_else(|_| VarInt::MAX.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds themselves are tested with smaller ones of these.
    #[test]
    fn an_endpoint_has_the_bounds_of_the_library() {
        let Options {
            hello_deadline,
            frame_deadline,
            idle_timeout,
            keep_alive,
            close_wait,
            ungreeted_max,
            connections_max,
        } = Options::default();
        let times = [hello_deadline, frame_deadline, idle_timeout, keep_alive, close_wait];
        let bounds = [HELLO_DEADLINE_MS, FRAME_DEADLINE_MS, IDLE_TIMEOUT_MS, KEEP_ALIVE_MS, CLOSE_WAIT_MS];

        assert_eq!(times, bounds.map(Duration::from_millis));
        assert_eq!((ungreeted_max, connections_max), (CONNECTIONS_UNGREETED_MAX, CONNECTIONS_MAX));
    }
}
