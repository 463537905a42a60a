//! A connection with one peer: frames in and out, on lanes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use quinn::{RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::{debug, trace};

use crate::id::PeerId;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, HELLO_BYTES_MAX, INBOUND_BYTES_MAX, INBOUND_FRAMES_MAX,
    STREAMS_PER_CONNECTION_MAX,
};
use crate::metrics::Metrics;

use super::error::bounded;
use super::frame::{FrameReader, Header, in_time, lane_of};
use super::{Closer, Lane, NetError, Options, Protocol, Side, tls};

/// A connection whose handshake is complete, so that the peer's key is known and proved.
///
/// Clones are handles of the same connection. It is closed when the last one is dropped, without waiting for
/// frames that are under way.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    link: Link,
    peer: PeerId,
    side: Side,
    protocol: Protocol,
    exporter: [u8; 32],
    outbound: [tokio::sync::Mutex<Outbound>; Lane::COUNT],
    inbound: tokio::sync::Mutex<[mpsc::Receiver<Inbound>; Lane::COUNT]>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.link.close(0, "dropped");
    }
}

/// The sending end of a lane.
#[derive(Debug)]
enum Outbound {
    Unopened,
    Open(SendStream),
    /// A frame was cut off on it.
    Broken,
}

/// A frame that was read, with its share of [`INBOUND_BYTES_MAX`].
#[derive(Debug)]
struct Inbound {
    frame: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

impl Connection {
    /// Takes over a connection whose handshake is complete, and begins to read from it.
    pub(super) fn new(
        quic: quinn::Connection,
        side: Side,
        metrics: Arc<Metrics>,
        options: &Options,
    ) -> Result<Self, NetError> {
        let (greeted, failure) = (watch::Sender::new(false), OnceLock::new());
        let frame_deadline = options.frame_deadline;
        let link = Link { state: Arc::new(State { greeted, failure, frame_deadline, metrics }), quic };
        let proved = tls::peer_of(&link.quic).and_then(|peer| Ok((peer, tls::protocol_of(&link.quic)?)));
        let (peer, protocol) = proved.inspect_err(|error| link.fail(error.clone()))?;
        let mut exporter = [0; 32];
        let label = protocol.exporter_label();
        let exported = link.quic.export_keying_material(&mut exporter, label, b"");
        exported.map_err(|_| NetError::Tls { source: None }).inspect_err(|error| link.fail(error.clone()))?;

        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..Lane::COUNT).map(|_| mpsc::channel(INBOUND_FRAMES_MAX)).unzip();
        let receivers = receivers.try_into().expect("there is one for each lane");
        let entries = Entries { senders: senders.into_iter().map(Some).collect() };
        tokio::spawn(accept_lanes(link.clone(), protocol, Arc::new(Mutex::new(entries))));
        Ok(Self {
            shared: Arc::new(Shared {
                link,
                peer,
                side,
                protocol,
                exporter,
                outbound: std::array::from_fn(|_| tokio::sync::Mutex::new(Outbound::Unopened)),
                inbound: tokio::sync::Mutex::new(receivers),
            }),
        })
    }

    /// Returns the device at the other end, which has proved that it holds this key's secret.
    #[must_use]
    pub(crate) fn peer(&self) -> PeerId {
        self.shared.peer
    }

    /// Returns which end this is.
    #[must_use]
    pub(crate) fn side(&self) -> Side {
        self.shared.side
    }

    /// Returns the protocol that the dialer chose.
    #[must_use]
    pub(crate) fn protocol(&self) -> Protocol {
        self.shared.protocol
    }

    /// Returns bytes that the two ends of this very connection know and nobody else, another for each
    /// protocol.
    #[must_use]
    pub(crate) fn exporter(&self) -> [u8; 32] {
        self.shared.exporter
    }

    /// Returns where the peer's packets come from. It changes when the peer changes its network.
    #[cfg(test)]
    pub(crate) fn remote_address(&self) -> std::net::SocketAddr {
        self.shared.link.quic.remote_address()
    }

    /// Writes one whole frame: its type, its length and its body.
    ///
    /// Waits while the peer does not read. Frames of one lane keep their order. Until the peer has greeted
    /// this side, only the control lane can be opened; a send on another waits for the greeting, whichever of
    /// the two was called first.
    ///
    /// # Errors
    ///
    /// [`NetError::FrameTooLarge`] and [`NetError::FrameMalformed`] when `frame` is not one frame, before
    /// anything is sent; [`NetError::LaneBroken`] after a cancelled send; else why the connection ended.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a send that is dropped midway breaks its lane, and the peer closes the connection. A
    /// task that owns the writing calls it.
    pub(crate) async fn send(&self, lane: Lane, frame: &[u8]) -> Result<(), NetError> {
        let header = Header::of_whole(frame)?;
        let link = &self.shared.link;
        let mut outbound = self.outbound(lane).lock().await;
        if lane != Lane::Control && matches!(*outbound, Outbound::Unopened) {
            self.open_control().await?;
        }
        let mut stream = match std::mem::replace(&mut *outbound, Outbound::Broken) {
            Outbound::Open(stream) => stream,
            Outbound::Unopened => match open(link, lane, &mut outbound).await {
                Ok(stream) => stream,
                Err(error) => return Err(link.reason(error)),
            },
            Outbound::Broken => return Err(link.ended().unwrap_or(NetError::LaneBroken { lane })),
        };
        stream.write_all(frame).await.map_err(|error| link.reason(write_error(error, lane)))?;
        *outbound = Outbound::Open(stream);
        link.state.metrics.frames_sent.add(1);
        link.state.metrics.frame_bytes_sent.add(header.len() as u64);
        trace!(peer = %self.shared.peer.short(), %lane, bytes = header.len(), "frame sent");
        Ok(())
    }

    /// Opens the control lane, unless it is open. A peer that has not greeted this side lets it open one stream, and
    /// has to find the hello in it: another lane would take its place.
    async fn open_control(&self) -> Result<(), NetError> {
        let mut control = self.outbound(Lane::Control).lock().await;
        if matches!(*control, Outbound::Unopened) {
            let link = &self.shared.link;
            let stream = open(link, Lane::Control, &mut control).await;
            *control = Outbound::Open(stream.map_err(|error| link.reason(error))?);
        }
        Ok(())
    }

    /// Writes bytes that need not be a frame, as a peer that keeps to no rule does, and may end the lane
    /// after them. The lane must not have been opened before.
    #[cfg(test)]
    pub(crate) async fn send_raw(&self, lane: Lane, bytes: &[u8], end: bool) -> Result<(), NetError> {
        let mut outbound = self.outbound(lane).lock().await;
        let mut stream = open(&self.shared.link, lane, &mut outbound).await?;
        stream.write_all(bytes).await.map_err(|error| write_error(error, lane))?;
        if end {
            // Ending fails on a closed stream alone.
            let _ = stream.finish();
        } else {
            *outbound = Outbound::Open(stream);
        }
        Ok(())
    }

    /// Returns the next frame, whole, of the most urgent lane that has one.
    ///
    /// At most [`INBOUND_FRAMES_MAX`] frames of a lane wait here; the peer waits with the rest. Frames that
    /// arrived before the connection ended are still returned.
    ///
    /// # Errors
    ///
    /// Why the connection ended, once no frame is left.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no frame is lost.
    pub(crate) async fn receive(&self) -> Result<(Lane, Vec<u8>), NetError> {
        const LANES: [Lane; Lane::COUNT] = [Lane::Control, Lane::Live, Lane::Bulk];

        let mut inbound = self.shared.inbound.lock().await;
        let next = poll_fn(|context| {
            let mut open = false;
            for (lane, receiver) in LANES.into_iter().zip(inbound.iter_mut()) {
                match receiver.poll_recv(context) {
                    Poll::Ready(Some(inbound)) => return Poll::Ready(Some((lane, inbound.frame))),
                    Poll::Ready(None) => {}
                    Poll::Pending => open = true,
                }
            }
            if open { Poll::Pending } else { Poll::Ready(None) }
        });
        match next.await {
            Some((lane, frame)) => {
                trace!(peer = %self.shared.peer.short(), %lane, bytes = frame.len(), "frame received");
                Ok((lane, frame))
            }
            None => Err(self.closed_reason().await),
        }
    }

    /// Admits the peer after its hello: ends the deadline, and opens all lanes, windows and frame lengths. A
    /// connection that joins keeps its narrow bounds.
    pub(crate) fn greeted(&self) {
        let link = &self.shared.link;
        if link.state.greeted.send_replace(true) || self.shared.protocol == Protocol::Join {
            return;
        }
        link.quic.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
        link.quic.set_max_concurrent_uni_streams(VarInt::from_u32(STREAMS_PER_CONNECTION_MAX));
    }

    /// Closes the connection, and tells the peer `code` and the first 256 bytes of `reason`.
    ///
    /// Frames that the peer has not received yet may be lost. Closing again changes nothing.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        self.shared.link.close(code, reason);
    }

    /// Waits until the connection has ended, and tells why.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn closed_reason(&self) -> NetError {
        self.shared.link.closed().await
    }

    /// Tells whether the connection has ended.
    #[cfg(test)]
    pub(crate) fn is_ended(&self) -> bool {
        self.is_closed()
    }

    /// Tells whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.link.quic.close_reason().is_some()
    }

    /// Returns a handle that does not keep the connection open.
    pub(super) fn link(&self) -> Link {
        self.shared.link.clone()
    }

    fn outbound(&self, lane: Lane) -> &tokio::sync::Mutex<Outbound> {
        let [control, live, bulk] = &self.shared.outbound;
        match lane {
            Lane::Control => control,
            Lane::Live => live,
            Lane::Bulk => bulk,
        }
    }
}

/// A handle of a connection for the tasks that serve it: it does not keep the connection open.
#[derive(Clone, Debug)]
pub(super) struct Link {
    quic: quinn::Connection,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    greeted: watch::Sender<bool>,
    /// Why this side closed the connection.
    failure: OnceLock<NetError>,
    frame_deadline: Duration,
    metrics: Arc<Metrics>,
}

impl Link {
    /// Waits until the peer was greeted, or the connection has ended without that.
    pub(super) async fn greeted(&self) -> Result<(), NetError> {
        let mut greeted = self.state.greeted.subscribe();
        tokio::select! {
            // The sender lives in this very state.
            _ = greeted.wait_for(|greeted| *greeted) => Ok(()),
            error = self.closed() => Err(error),
        }
    }

    fn is_greeted(&self) -> bool {
        *self.state.greeted.borrow()
    }

    /// Returns why the connection has ended, if it has.
    fn ended(&self) -> Option<NetError> {
        self.quic.close_reason().map(|error| self.reason(error.into()))
    }

    /// Waits until the connection has ended.
    pub(super) async fn closed(&self) -> NetError {
        let error = self.quic.closed().await;
        self.reason(error.into())
    }

    /// Closes the connection because of `error`.
    pub(super) fn fail(&self, error: NetError) {
        let code = error.close_code();
        let reason = error.to_string();
        self.end(error, code, &reason);
    }

    fn close(&self, code: u32, reason: &str) {
        let reason = bounded(reason);
        let error = NetError::Closed { code: code.into(), reason: reason.to_owned(), by: Closer::Here };
        self.end(error, code, reason);
    }

    fn end(&self, error: NetError, code: u32, reason: &str) {
        if self.quic.close_reason().is_some() {
            return;
        }
        debug!(%error, "closing a connection");
        self.state.failure.get_or_init(|| error);
        self.quic.close(VarInt::from_u32(code), bounded(reason).as_bytes());
    }

    /// Returns why this side closed the connection, or `error` when it did not.
    fn reason(&self, error: NetError) -> NetError {
        let here = matches!(error, NetError::Closed { by: Closer::Here, .. });
        let cause = if here { self.state.failure.get() } else { None };
        cause.cloned().unwrap_or(error)
    }
}

/// Where the frames of each lane go, until the peer opens it.
#[derive(Debug)]
struct Entries {
    senders: Vec<Option<mpsc::Sender<Inbound>>>,
}

/// Takes the streams that the peer opens, until the connection ends.
///
/// Each has a task of its own: a stream whose first byte is late holds up no other.
async fn accept_lanes(link: Link, protocol: Protocol, entries: Arc<Mutex<Entries>>) {
    while let Ok(stream) = link.quic.accept_uni().await {
        let (link, entries) = (link.clone(), entries.clone());
        tokio::spawn(async move {
            if let Err(error) = read_lane(&link, protocol, stream, &entries).await {
                link.fail(error);
            }
        });
    }
}

/// Reads the frames of one stream into the queue of its lane.
async fn read_lane(
    link: &Link,
    protocol: Protocol,
    mut stream: RecvStream,
    entries: &Mutex<Entries>,
) -> Result<(), NetError> {
    let lane = in_time(link.state.frame_deadline, lane_of(&mut stream)).await?;
    if lane != Lane::Control && !link.is_greeted() {
        return Err(NetError::LaneTooEarly { lane });
    }
    let entry = {
        // Taking an entry cannot panic, so a poisoned lock holds a sound value.
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.senders.get_mut(lane.index()).and_then(Option::take)
    };
    let sender = entry.ok_or(NetError::LaneTwice { lane })?;
    let shares = Arc::new(Semaphore::new(INBOUND_BYTES_MAX));
    let mut frames = FrameReader::new(stream, lane, link.state.frame_deadline);
    let mut first = true;
    while let Some(header) = frames.header().await? {
        match admission(header, first, protocol, link.is_greeted())? {
            Admission::AtOnce => {}
            Admission::OnceGreeted => link.greeted().await?,
        }
        first = false;
        // A frame with its header is smaller than INBOUND_BYTES_MAX, which fits 32 bits.
        let share = shares.clone().acquire_many_owned(header.len() as u32).await;
        let share = share.expect("the semaphore is never closed");
        let frame = frames.frame(header).await?;
        link.state.metrics.frames_received.add(1);
        link.state.metrics.frame_bytes_received.add(frame.len() as u64);
        if sender.send(Inbound { frame, _share: share }).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// When a frame is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    AtOnce,
    OnceGreeted,
}

/// Decides when the frame that `header` begins is read.
///
/// The first frame of a connection is the hello, which is small; a large one behind it may arrive before the
/// hello has been handled, so it waits for that. All frames of a connection that joins are small.
fn admission(header: Header, first: bool, protocol: Protocol, greeted: bool) -> Result<Admission, NetError> {
    if header.body <= HELLO_BYTES_MAX {
        return Ok(Admission::AtOnce);
    }
    match protocol {
        Protocol::Sync if greeted => Ok(Admission::AtOnce),
        Protocol::Sync if !first => Ok(Admission::OnceGreeted),
        Protocol::Sync | Protocol::Join => {
            Err(NetError::FrameTooLarge { bytes: header.body as u64, bytes_max: HELLO_BYTES_MAX as u64 })
        }
    }
}

/// Opens `lane`. Until the peer lets it, nothing is sent, so giving up the wait leaves the lane unopened.
async fn open(link: &Link, lane: Lane, outbound: &mut Outbound) -> Result<SendStream, NetError> {
    *outbound = Outbound::Unopened;
    let mut stream = link.quic.open_uni().await?;
    *outbound = Outbound::Broken;
    // Setting fails on a closed stream alone, and the write after it tells that.
    let _ = stream.set_priority(lane.priority());
    stream.write_all(&[lane.byte()]).await.map_err(|error| write_error(error, lane))?;
    Ok(stream)
}

fn write_error(error: WriteError, lane: Lane) -> NetError {
    match error {
        WriteError::ConnectionLost(lost) => lost.into(),
        WriteError::Stopped(code) => NetError::LaneReset { lane: Some(lane), code: code.into_inner() },
        WriteError::ClosedStream | WriteError::ZeroRttRejected => NetError::LaneBroken { lane },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_frame_waits_for_the_greeting_unless_it_should_be_the_hello() {
        const LARGE: Header = Header { head: 4, body: HELLO_BYTES_MAX + 1 };
        const SMALL: Header = Header { head: 4, body: HELLO_BYTES_MAX };
        let decide = |header, first, protocol, greeted| admission(header, first, protocol, greeted).ok();

        assert_eq!(decide(SMALL, true, Protocol::Sync, false), Some(Admission::AtOnce));
        assert_eq!(decide(LARGE, true, Protocol::Sync, false), None);
        assert_eq!(decide(LARGE, false, Protocol::Sync, false), Some(Admission::OnceGreeted));
        assert_eq!(decide(LARGE, true, Protocol::Sync, true), Some(Admission::AtOnce));
        assert_eq!(decide(SMALL, false, Protocol::Join, true), Some(Admission::AtOnce));
        assert_eq!(decide(LARGE, false, Protocol::Join, true), None);
    }
}
