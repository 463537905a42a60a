//! The endpoint of a node: one UDP socket on which it dials and is dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{
    ClientConfig, ConnectError, EndpointConfig, Incoming, ServerConfig, TokioRuntime, ValidationTokenConfig,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tracing::debug;

use crate::id::PeerId;
use crate::identity::Identity;
use crate::limits::{CONNECTION_WINDOW_BYTES, UNGREETED_WINDOW_BYTES};
use crate::metrics::Metrics;

use super::admission::{Admission, Places};
use super::tls::{Credentials, SERVER_NAME};
use super::{Connection, NetError, Options, Protocol, Side};

/// An endpoint. Clones are handles of the same one; dropping the last closes it and its connections, without
/// waiting.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    quic: quinn::Endpoint,
    credentials: Credentials,
    accepted: Mutex<mpsc::Receiver<Connection>>,
    admission: Arc<Admission>,
    options: Options,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.quic.close(quinn::VarInt::from_u32(0), b"dropped");
    }
}

impl Endpoint {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`NetError::Bind`] when the address cannot be had.
    pub(crate) async fn bind(
        identity: Arc<Identity>,
        address: SocketAddr,
        metrics: Arc<Metrics>,
    ) -> Result<Self, NetError> {
        Self::bind_with(identity, address, metrics, Options::default()).await
    }

    /// Listens on `address` within the bounds of `options`.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::bind`].
    pub(crate) async fn bind_with(
        identity: Arc<Identity>,
        address: SocketAddr,
        metrics: Arc<Metrics>,
        options: Options,
    ) -> Result<Self, NetError> {
        let credentials = Credentials::new(&identity)?;
        let mut server = ServerConfig::with_crypto(Arc::new(credentials.acceptor()?));
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0);
        server
            .transport_config(Arc::new(options.transport(None)))
            .validation_token_config(tokens)
            .max_incoming(options.connections_max)
            .incoming_buffer_size(u64::from(UNGREETED_WINDOW_BYTES))
            .incoming_buffer_size_total(u64::from(CONNECTION_WINDOW_BYTES));
        let failed = |source| NetError::Bind { address, source: Arc::new(source) };
        let socket = std::net::UdpSocket::bind(address).map_err(failed)?;
        let runtime = Arc::new(TokioRuntime);
        let quic =
            quinn::Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(failed)?;

        let admission = Arc::new(Admission::new(&options, metrics));
        let (sender, accepted) = mpsc::channel(options.ungreeted_max);
        tokio::spawn(accept_all(quic.clone(), admission.clone(), sender, options));
        Ok(Self {
            shared: Arc::new(Shared {
                quic,
                credentials,
                accepted: Mutex::new(accepted),
                admission,
                options,
            }),
        })
    }

    /// Returns the address that is listened on, with its real port.
    ///
    /// # Errors
    ///
    /// [`NetError::EndpointClosed`] when the socket is gone.
    pub(crate) fn local_address(&self) -> Result<SocketAddr, NetError> {
        self.shared.quic.local_addr().map_err(|_| NetError::EndpointClosed)
    }

    /// Dials `peer` at `address`.
    ///
    /// When it returns, the peer has proved its key, but may not have judged ours yet: only its hello shows
    /// that it took the connection.
    ///
    /// # Errors
    ///
    /// [`NetError::WrongKey`] when another device answers, [`NetError::Timeout`] when nobody does, and others
    /// when the handshake fails.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the dial is given up.
    pub(crate) async fn connect(
        &self,
        peer: PeerId,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Result<Connection, NetError> {
        let Shared { quic, credentials, admission, options, .. } = &*self.shared;
        let connections_max = options.connections_max;
        let place = admission.connections.clone().try_acquire_owned();
        let place = place.map_err(|_| NetError::TooManyConnections { connections_max })?;

        let verifier = credentials.expect(peer);
        let crypto = credentials.dialer(verifier.clone(), protocol)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(options.transport(Some(protocol))));
        let dial =
            quic.connect_with(config, address, SERVER_NAME).map_err(|error| not_dialled(error, address))?;
        let done = timeout(options.hello_deadline, dial).await;
        let deadline_ms = options.hello_deadline_ms();
        let done = done.map_err(|_| NetError::Timeout { address, deadline_ms })?;
        let established = done.map_err(|error| verifier.refusal().unwrap_or_else(|| error.into()))?;
        let connection = Connection::new(established, Side::Dialer, admission.metrics.clone(), options)?;
        tokio::spawn(watch_dialled(connection.link(), place, *options));
        Ok(connection)
    }

    /// Returns the next inbound connection whose handshake is complete, and nothing once the endpoint is
    /// closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost.
    pub(crate) async fn accept(&self) -> Option<Connection> {
        let mut accepted = self.shared.accepted.lock().await;
        loop {
            let connection = accepted.recv().await?;
            if !connection.is_closed() {
                return Some(connection);
            }
        }
    }

    /// Closes all connections and stops listening, and waits a moment until the peers have heard of it.
    pub(crate) async fn close(&self) {
        let Shared { quic, options, .. } = &*self.shared;
        quic.close(quinn::VarInt::from_u32(0), b"closed");
        if timeout(options.close_wait, quic.wait_idle()).await.is_err() {
            debug!("peers did not confirm the close in time");
        }
    }

    #[cfg(test)]
    pub(super) fn admission(&self) -> &Admission {
        &self.shared.admission
    }

    /// Returns how many connections QUIC keeps a state of, those in their handshake among them.
    #[cfg(test)]
    pub(super) fn open_connections(&self) -> usize {
        self.shared.quic.open_connections()
    }

    #[cfg(test)]
    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.admission.metrics
    }
}

/// Takes inbound connections until the endpoint is closed. Handshakes run beside each other.
async fn accept_all(
    quic: quinn::Endpoint,
    admission: Arc<Admission>,
    queue: mpsc::Sender<Connection>,
    options: Options,
) {
    while let Some(incoming) = quic.accept().await {
        match admission.admit(incoming.remote_address().ip(), incoming.remote_address_validated()) {
            Some(places) => {
                tokio::spawn(serve(incoming, places, queue.clone(), admission.metrics.clone(), options));
            }
            None => admission.turn_away(incoming),
        }
    }
}

/// Sees one inbound connection from its first packet to its end.
async fn serve(
    incoming: Incoming,
    places: Places,
    queue: mpsc::Sender<Connection>,
    metrics: Arc<Metrics>,
    options: Options,
) {
    let address = incoming.remote_address();
    let mut link = None;
    let greeting = async {
        let established = incoming.accept()?.await?;
        let connection = Connection::new(established, Side::Acceptor, metrics, &options)?;
        let link = link.insert(connection.link());
        queue.send(connection).await.map_err(|_| NetError::EndpointClosed)?;
        link.greeted().await
    };
    let outcome = timeout(options.hello_deadline, greeting).await;
    match (outcome, &link) {
        (Ok(Ok(())), _) => {}
        (Ok(Err(error)), _) => debug!(%address, %error, "inbound connection failed before its hello"),
        (Err(_), Some(link)) => link.fail(NetError::NotGreeted { deadline_ms: options.hello_deadline_ms() }),
        (Err(_), None) => debug!(%address, "handshake given up at its deadline"),
    }
    drop(places.ungreeted);
    if let Some(link) = link {
        link.closed().await;
    }
    drop(places.connection);
}

/// Sees an outbound connection from its handshake to its end.
async fn watch_dialled(link: super::connection::Link, place: OwnedSemaphorePermit, options: Options) {
    if timeout(options.hello_deadline, link.greeted()).await.is_err() {
        link.fail(NetError::NotGreeted { deadline_ms: options.hello_deadline_ms() });
    }
    link.closed().await;
    drop(place);
}

fn not_dialled(error: ConnectError, address: SocketAddr) -> NetError {
    match error {
        ConnectError::InvalidRemoteAddress(_) => NetError::Unreachable { address },
        ConnectError::EndpointStopping
        | ConnectError::CidsExhausted
        | ConnectError::InvalidServerName(_)
        | ConnectError::NoDefaultClientConfig
        | ConnectError::UnsupportedVersion => NetError::EndpointClosed,
    }
}
