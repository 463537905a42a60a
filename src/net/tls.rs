//! TLS 1.3 with the keys of both devices as raw public keys, RFC 7250.

use std::sync::{Arc, OnceLock};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};

use crate::id::PeerId;
use crate::identity::Identity;

use super::key::{self, KeyFlaw};
use super::{NetError, Protocol};

/// A name for the interface of TLS, which wants one. It is never sent.
pub(super) const SERVER_NAME: &str = "driftless";

/// This device's key, as TLS wants it.
#[derive(Debug)]
pub(super) struct Credentials {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl Credentials {
    /// Takes the key of `identity`.
    pub(super) fn new(identity: &Identity) -> Result<Self, NetError> {
        let pkcs8 = key::pkcs8_of(identity);
        let signing = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let spki = CertificateDer::from(key::spki_of(&identity.peer()).to_vec());
        let key = Arc::new(CertifiedKey::new(vec![spki], signing.map_err(refused)?));
        Ok(Self { key, provider: Arc::new(ring::default_provider()) })
    }

    /// Returns how this device answers: to any device that proves its key, without tickets or early data.
    pub(super) fn acceptor(&self) -> Result<QuicServerConfig, NetError> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(Arc::new(AnyDevice { provider: self.provider.clone() }))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = Protocol::ALL.map(|protocol| protocol.alpn().to_vec()).to_vec();
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        QuicServerConfig::try_from(config).map_err(no_suite)
    }

    /// Returns how this device dials the device that `verifier` expects.
    pub(super) fn dialer(
        &self,
        verifier: Arc<OneDevice>,
        protocol: Protocol,
    ) -> Result<QuicClientConfig, NetError> {
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        QuicClientConfig::try_from(config).map_err(no_suite)
    }

    /// Returns a verifier that accepts `expected` alone.
    pub(super) fn expect(&self, expected: PeerId) -> Arc<OneDevice> {
        Arc::new(OneDevice { expected, refusal: OnceLock::new(), provider: self.provider.clone() })
    }
}

/// Accepts one device as the far end of a dial, and remembers what else it was shown.
#[derive(Debug)]
pub(super) struct OneDevice {
    expected: PeerId,
    refusal: OnceLock<NetError>,
    provider: Arc<CryptoProvider>,
}

impl OneDevice {
    /// Returns why the key of the far end was refused, if it was.
    pub(super) fn refusal(&self) -> Option<NetError> {
        self.refusal.get().cloned()
    }

    fn check(&self, spki: &[u8], more: &[CertificateDer<'_>]) -> Result<(), NetError> {
        let found = sole_key(spki, more).map_err(|flaw| NetError::UnusableKey { flaw })?;
        if found == self.expected {
            Ok(())
        } else {
            Err(NetError::WrongKey { expected: self.expected, found })
        }
    }
}

impl ServerCertVerifier for OneDevice {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion()).map_err(|refusal| {
            // One verifier serves one dial, so the first refusal is the only one.
            self.refusal.get_or_init(|| refusal);
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts every device that proves its key: whether it is welcome is decided after its hello.
#[derive(Debug)]
pub(super) struct AnyDevice {
    pub(super) provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyDevice {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match sole_key(end_entity, intermediates) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(KeyFlaw::Form) => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
            Err(KeyFlaw::Weak) => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Reads the one key that a peer shows in place of a certificate.
fn sole_key(spki: &[u8], more: &[CertificateDer<'_>]) -> Result<PeerId, KeyFlaw> {
    if more.is_empty() { key::peer_of(spki) } else { Err(KeyFlaw::Form) }
}

/// Returns the key that the peer of an established connection has proved.
pub(super) fn peer_of(connection: &quinn::Connection) -> Result<PeerId, NetError> {
    let shown =
        connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let key = match shown.as_deref().map(Vec::as_slice) {
        Some([spki]) => key::peer_of(spki),
        Some(_) | None => Err(KeyFlaw::Form),
    };
    key.map_err(|flaw| NetError::UnusableKey { flaw })
}

/// Returns the protocol that was negotiated.
pub(super) fn protocol_of(connection: &quinn::Connection) -> Result<Protocol, NetError> {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let alpn = data.and_then(|data| data.protocol);
    alpn.as_deref().and_then(Protocol::from_alpn).ok_or(NetError::NoCommonProtocol)
}

fn verify_signature(
    message: &[u8],
    spki: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, dss, &provider.signature_verification_algorithms)
}

fn refused(source: Error) -> NetError {
    NetError::Tls { source: Some(source) }
}

fn no_suite(_: NoInitialCipherSuite) -> NetError {
    NetError::Tls { source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(keep: impl Fn(rustls::CipherSuite) -> bool) -> Credentials {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| keep(suite.suite()));
        let credentials = Credentials::new(&Identity::from_seed([1; 32])).expect("the key is sound");
        Credentials { provider: Arc::new(provider), ..credentials }
    }

    #[test]
    fn a_provider_without_ciphers_is_told_apart_from_one_that_cannot_speak_quic() {
        let none = credentials(|_| false);
        let no_initial = credentials(|suite| suite != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        let dial = |credentials: &Credentials| {
            credentials.dialer(credentials.expect(PeerId::new([7; 32])), Protocol::Sync).err()
        };

        for error in [none.acceptor().err(), dial(&none)] {
            assert!(matches!(error, Some(NetError::Tls { source: Some(Error::General(_)) })), "{error:?}");
        }
        for error in [no_initial.acceptor().err(), dial(&no_initial)] {
            assert!(matches!(error, Some(NetError::Tls { source: None })), "{error:?}");
        }
    }

    #[test]
    fn a_key_comes_alone() {
        let spki = key::spki_of(&Identity::from_seed([1; 32]).peer());
        let more = [CertificateDer::from(spki.to_vec())];

        assert_eq!(sole_key(&spki, &[]), Ok(Identity::from_seed([1; 32]).peer()));
        assert_eq!(sole_key(&spki, &more), Err(KeyFlaw::Form));
    }
}
