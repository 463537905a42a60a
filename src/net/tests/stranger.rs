//! A peer that speaks QUIC and TLS, but not by our rules.

use std::sync::Mutex;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectionError, ServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, NamedGroup, SignatureScheme};

use super::*;
use crate::net::key;
use crate::net::tls::{AnyDevice, SERVER_NAME};

/// What a stranger shows as its key.
#[derive(Clone, Debug)]
pub(super) struct Stranger {
    key: Option<Arc<CertifiedKey>>,
    raw: bool,
    protocols: Vec<Vec<u8>>,
    from: SocketAddr,
    pub(super) tickets: Arc<Tickets>,
}

impl Stranger {
    /// Shows `spki`, and signs with the key of `seed`.
    pub(super) fn showing(spki: &[u8], seed: u8) -> Self {
        let pkcs8 = key::pkcs8_of(&identity(seed));
        let signing = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let key = CertifiedKey::new(vec![CertificateDer::from(spki.to_vec())], signing.expect("a good key"));
        Self {
            key: Some(Arc::new(key)),
            raw: true,
            protocols: vec![Protocol::Sync.alpn().to_vec()],
            from: loopback(),
            tickets: Arc::default(),
        }
    }

    /// Shows and signs with the key of `seed`, as it should be.
    pub(super) fn honest(seed: u8) -> Self {
        Self::showing(&key::spki_of(&peer(seed)), seed)
    }

    pub(super) fn without_key(self) -> Self {
        Self { key: None, ..self }
    }

    /// Offers an X.509 certificate in place of a raw key.
    pub(super) fn with_certificate(self) -> Self {
        Self { raw: false, ..self }
    }

    pub(super) fn speaking(self, protocol: &[u8]) -> Self {
        Self { protocols: vec![protocol.to_vec()], ..self }
    }

    /// Dials from an address of its own.
    pub(super) fn at(self, from: SocketAddr) -> Self {
        Self { from, ..self }
    }

    /// Begins to connect to `address`, whoever answers there.
    pub(super) fn dial(&self, address: SocketAddr) -> quinn::Connecting {
        let endpoint = quinn::Endpoint::client(self.from).expect("loopback has a free port");
        let dial = endpoint.connect_with(self.config(), address, SERVER_NAME);
        dial.expect("the address is sound")
    }

    /// How it begins each connection.
    pub(super) fn config(&self) -> ClientConfig {
        let mut crypto = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .expect("ring speaks TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer))
            .with_client_cert_resolver(Arc::new(self.clone()));
        crypto.alpn_protocols = self.protocols.clone();
        crypto.resumption = Resumption::store(self.tickets.clone());
        crypto.enable_early_data = true;
        let crypto = QuicClientConfig::try_from(crypto).expect("ring has the initial suite");
        ClientConfig::new(Arc::new(crypto))
    }

    /// Connects to `address`, which takes it for an honest device.
    pub(super) async fn connect(&self, address: SocketAddr) -> quinn::Connection {
        soon(self.dial(address)).await.expect("the handshake is sound")
    }

    /// Connects to `address`, and tells why that ended.
    pub(super) async fn rejection(&self, address: SocketAddr) -> NetError {
        let ended: ConnectionError = match soon(self.dial(address)).await {
            // A client finishes before the server has judged its key.
            Ok(connection) => soon(connection.closed()).await,
            Err(error) => error,
        };
        ended.into()
    }

    /// Listens, and completes the handshake of whoever dials.
    pub(super) fn listen(&self) -> SocketAddr {
        let provider = Arc::new(ring::default_provider());
        let mut crypto = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .expect("ring speaks TLS 1.3")
            .with_client_cert_verifier(Arc::new(AnyDevice { provider }))
            .with_cert_resolver(Arc::new(self.clone()));
        crypto.alpn_protocols = self.protocols.clone();
        let crypto = QuicServerConfig::try_from(crypto).expect("ring has the initial suite");
        let endpoint = quinn::Endpoint::server(ServerConfig::with_crypto(Arc::new(crypto)), loopback());
        let endpoint = endpoint.expect("loopback has a free port");
        let address = endpoint.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                if let Ok(connection) = incoming.await {
                    tokio::spawn(async move { connection.closed().await });
                }
            }
        });
        address
    }
}

impl ResolvesClientCert for Stranger {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key.clone()
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

impl ResolvesServerCert for Stranger {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.clone()
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// Takes any server for the right one.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Keeps every ticket that a server gives, to resume with it.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl Tickets {
    pub(super) fn count(&self) -> usize {
        self.0.lock().expect("no test panics with it").len()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _server: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _session: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.lock().expect("no test panics with it").push(ticket);
    }

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().expect("no test panics with it").pop()
    }
}
