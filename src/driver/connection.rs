//! The tasks of one connection: a reader, a writer for each lane, and dialling.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::id::PeerId;
use crate::limits::{
    ADDRESSES_PER_PEER_MAX, DIAL_STAGGER_MS, HELLO_DEADLINE_MS, OUTBOUND_BYTES_MAX, OUTBOUND_FRAMES_MAX,
};
use crate::net::{self, Connection, Endpoint, Protocol};
use crate::sync::{ConnId, DialId, Event, Lane, LastWords};

use super::clock::within;

/// Longest time that a connection which is being closed stays open for its last frames, in milliseconds.
const LINGER_MS: u64 = 900;

/// What the tasks of connections tell the engine's task.
#[derive(Debug)]
pub(crate) enum Inward {
    /// For the engine.
    Event(Event),
    /// A dial came to its end.
    Dialled { dial: DialId, result: Result<Connection, String> },
}

/// The engine task's hold on one connection.
#[derive(Debug)]
pub(crate) struct Line {
    connection: Connection,
    /// Frames on their way, one queue for each lane.
    control: mpsc::Sender<Vec<u8>>,
    live: mpsc::Sender<Vec<u8>>,
    bulk: mpsc::Sender<Vec<u8>>,
    /// Ends when all that was handed over is written, after the queues are gone.
    writers: JoinSet<()>,
    reader: AbortHandle,
    /// Whether nothing is read at the moment.
    held: watch::Sender<bool>,
    /// Bytes that were handed over and are not written yet.
    outbound: Arc<AtomicUsize>,
}

impl Line {
    /// Starts the tasks of a connection.
    pub(crate) fn start(
        tasks: &mut JoinSet<()>,
        conn: ConnId,
        connection: Connection,
        inward: &mpsc::Sender<Inward>,
    ) -> Self {
        let (held, holding) = watch::channel(false);
        let reader = tasks.spawn(read(conn, connection.clone(), inward.clone(), holding));
        let mut writers = JoinSet::new();
        let outbound = Arc::new(AtomicUsize::new(0));
        let mut writer = |lane| {
            let (frames, queue) = mpsc::channel(OUTBOUND_FRAMES_MAX);
            writers.spawn(write(lane, connection.clone(), queue, Arc::clone(&outbound)));
            frames
        };
        let (control, live, bulk) =
            (writer(net::Lane::Control), writer(net::Lane::Live), writer(net::Lane::Bulk));
        Self { connection, control, live, bulk, writers, reader, held, outbound }
    }

    /// Hands a frame to the writer of its lane. A peer that reads too slowly for what it is sent is cut off;
    /// the reader reports it.
    pub(crate) fn send(&self, lane: Lane, frame: Vec<u8>) {
        let queue = match lane {
            Lane::Control => &self.control,
            Lane::Live => &self.live,
            Lane::Bulk => &self.bulk,
        };
        let bytes = frame.len();
        let before = self.outbound.fetch_add(bytes, Ordering::Relaxed);
        let sent = if before + bytes > OUTBOUND_BYTES_MAX { None } else { Some(queue.try_send(frame)) };
        if let None | Some(Err(mpsc::error::TrySendError::Full(_))) = sent {
            self.connection.close(0, "the peer reads too slowly");
        }
    }

    /// Admits the peer after its hello.
    pub(crate) fn greeted(&self) {
        self.connection.greeted();
    }

    /// Reads nothing more for the moment, or goes on.
    pub(crate) fn hold_back(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Returns the device at the other end.
    pub(crate) fn peer(&self) -> PeerId {
        self.connection.peer()
    }

    /// Closes the connection after what was handed over is written. What a connection has not delivered when
    /// it is closed is lost, so the peer gets a moment to read it and close first.
    pub(crate) async fn close(self, last_words: LastWords, code: u32, reason: String) {
        let Self { connection, control, live, bulk, mut writers, reader, held: _, outbound: _ } = self;
        reader.abort();
        drop([control, live, bulk]);
        let gone = async {
            while writers.join_next().await.is_some() {}
            connection.closed_reason().await
        };
        if last_words == LastWords::Deliver {
            let _gone_or_late = within(LINGER_MS, gone).await;
        }
        connection.close(code, &reason);
    }
}

/// Passes frames on as fast as the engine takes them; QUIC's flow control holds the peer back meanwhile, and so
/// it does while the engine wants to hear nothing. Reports the end of the connection, once, as the last thing.
async fn read(
    conn: ConnId,
    connection: Connection,
    inward: mpsc::Sender<Inward>,
    mut held: watch::Receiver<bool>,
) {
    let reason = loop {
        let _hold_ended_or_line_gone = held.wait_for(|held| !held).await.is_ok();
        match connection.receive().await {
            Ok((_, bytes)) => {
                if inward.send(Inward::Event(Event::Frame { conn, bytes })).await.is_err() {
                    return;
                }
            }
            Err(error) => break error.to_string(),
        }
    };
    let _engine_gone = inward.send(Inward::Event(Event::Disconnected { conn, reason })).await;
}

/// Writes the frames of one lane in order, until the connection or the engine's hold on it is gone.
async fn write(
    lane: net::Lane,
    connection: Connection,
    mut queue: mpsc::Receiver<Vec<u8>>,
    outbound: Arc<AtomicUsize>,
) {
    while let Some(frame) = queue.recv().await {
        if let Err(error) = connection.send(lane, &frame).await {
            connection.close(0, &error.to_string());
            return;
        }
        outbound.fetch_sub(frame.len(), Ordering::Relaxed);
    }
}

/// Tries the addresses of a peer in order; the first that answers with the right key is it. The next one is begun when
/// one has failed, or has been silent for a moment: addresses where nobody is cost nothing but that.
///
/// # Errors
///
/// The reason of the last address.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    peer: PeerId,
    addresses: &[String],
    protocol: Protocol,
) -> Result<Connection, String> {
    let mut reason = "no address is known".to_owned();
    let mut waiting = addresses.iter().take(ADDRESSES_PER_PEER_MAX).cloned().peekable();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(attempt(endpoint.clone(), peer, address, protocol));
        }
        let ended = match waiting.peek() {
            Some(_) => within(DIAL_STAGGER_MS, attempts.join_next()).await.unwrap_or(None),
            None => attempts.join_next().await,
        };
        match ended {
            Some(Ok(Ok(connection))) => return Ok(connection),
            Some(Ok(Err(error))) => reason = error,
            Some(Err(error)) => reason = error.to_string(),
            None if attempts.is_empty() && waiting.peek().is_none() => return Err(reason),
            None => {}
        }
    }
}

async fn attempt(
    endpoint: Endpoint,
    peer: PeerId,
    address: String,
    protocol: Protocol,
) -> Result<Connection, String> {
    match within(HELLO_DEADLINE_MS, dial_one(&endpoint, peer, &address, protocol)).await {
        Some(Ok(connection)) => Ok(connection),
        Some(Err(error)) => Err(format!("{address}: {error}")),
        None => Err(format!("{address}: no answer within {HELLO_DEADLINE_MS} ms")),
    }
}

async fn dial_one(
    endpoint: &Endpoint,
    peer: PeerId,
    address: &str,
    protocol: Protocol,
) -> Result<Connection, String> {
    let found = tokio::net::lookup_host(address).await.map_err(|error| error.to_string())?;
    let mut reason = "the name has no address".to_owned();
    for address in found.take(ADDRESSES_PER_PEER_MAX) {
        match connect(endpoint, peer, address, protocol).await {
            Ok(connection) => return Ok(connection),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

async fn connect(
    endpoint: &Endpoint,
    peer: PeerId,
    address: SocketAddr,
    protocol: Protocol,
) -> Result<Connection, String> {
    endpoint.connect(peer, address, protocol).await.map_err(|error| error.to_string())
}
