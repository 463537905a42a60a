//! What the parts cost by themselves: the floors that no design above them gets under.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use automerge::transaction::Transactable;
use automerge::{Automerge, Change, ROOT, ReadDoc};
use ed25519_dalek::SigningKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error as TlsError, PeerIncompatible, SignatureScheme};

use super::table::Times;
use super::{Job, Outcome, now};

/// Writes of 4 KiB, each followed by `fdatasync`, into a file that is there and behind its end.
pub(crate) fn disk_syncs(dir: &Path, count: usize) -> Outcome<(Times, Times)> {
    const BLOCK: [u8; 4096] = [7; 4096];
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("floor"))?;
    for _ in 0..count {
        file.write_all(&BLOCK)?;
    }
    file.sync_all()?;
    let (mut over, mut behind) = (Times::default(), Times::default());
    file.seek(SeekFrom::Start(0))?;
    for times in [&mut over, &mut behind] {
        for _ in 0..count {
            let start = now();
            file.write_all(&BLOCK)?;
            file.sync_data()?;
            times.add(start.elapsed());
        }
    }
    Ok((over, behind))
}

/// One field edited, the change encoded; and the change decoded and applied to another copy.
pub(crate) fn automerge_edit(count: usize) -> Outcome<(Times, Times)> {
    let mut here = Automerge::new();
    let mut tx = here.transaction();
    autosurgeon::reconcile(&mut tx, Job::numbered(1))?;
    tx.commit();
    let mut there = here.fork();
    let (mut commit, mut apply) = (Times::default(), Times::default());
    for number in 0..count {
        let start = now();
        let mut tx = here.transaction();
        tx.put(ROOT, "estimate", number as i64)?;
        let (Some(hash), _) = tx.commit() else { return Err("nothing was committed".into()) };
        let change = here.get_change_by_hash(&hash).ok_or("the change is not there")?;
        let bytes = change.raw_bytes().to_vec();
        commit.add(start.elapsed());
        let start = now();
        there.apply_changes([Change::try_from(bytes.as_slice())?])?;
        apply.add(start.elapsed());
    }
    Ok((commit, apply))
}

/// Changes decoded and applied at once, as Automerge does it for who trusts them.
pub(crate) fn automerge_apply(document: &mut Automerge, changes: &[Vec<u8>]) -> Outcome<()> {
    let mut decoded = Vec::with_capacity(changes.len());
    for bytes in changes {
        decoded.push(Change::try_from(bytes.as_slice())?);
    }
    Ok(document.apply_changes(decoded)?)
}

/// The time in which so many documents of one entity are loaded from what they were saved as.
pub(crate) fn automerge_loads(count: usize) -> Outcome<Duration> {
    let mut document = Automerge::new();
    let mut tx = document.transaction();
    autosurgeon::reconcile(&mut tx, Job::numbered(1))?;
    tx.commit();
    let saved = document.save();
    let start = now();
    for _ in 0..count {
        std::hint::black_box(Automerge::load(&saved)?);
    }
    Ok(start.elapsed())
}

/// Round trips of a small message over one stream of a bare QUIC connection.
pub(crate) async fn quic_echo(bytes: usize, count: usize) -> Outcome<Times> {
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    let server = quinn::Endpoint::server(acceptor()?, loopback)?;
    let address = server.local_addr()?;
    let echo = tokio::spawn(async move {
        let Some(incoming) = server.accept().await else { return };
        let Ok(connection) = incoming.await else { return };
        let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
        let mut message = vec![0; bytes];
        while receive.read_exact(&mut message).await.is_ok() && send.write_all(&message).await.is_ok() {}
    });
    let client = quinn::Endpoint::client(loopback)?;
    let connection = client.connect_with(dialer()?, address, "floor")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut message = vec![7; bytes];
    let mut times = Times::default();
    for _ in 0..count {
        let start = now();
        send.write_all(&message).await?;
        receive.read_exact(&mut message).await?;
        times.add(start.elapsed());
    }
    connection.close(0_u32.into(), b"done");
    echo.await?;
    Ok(times)
}

/// Times of bare handshakes, in which only the acceptor proves a key.
pub(crate) async fn quic_handshake(count: usize) -> Outcome<Times> {
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    let server = quinn::Endpoint::server(acceptor()?, loopback)?;
    let address = server.local_addr()?;
    let accepting = tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    connection.closed().await;
                }
            });
        }
    });
    let client = quinn::Endpoint::client(loopback)?;
    let mut times = Times::default();
    for _ in 0..count {
        let start = now();
        let connection = client.connect_with(dialer()?, address, "floor")?.await?;
        times.add(start.elapsed());
        connection.close(0_u32.into(), b"done");
    }
    accepting.abort();
    Ok(times)
}

/// A fixed key: nothing here is worth protecting.
fn key() -> Outcome<Arc<CertifiedKey>> {
    const SEED: [u8; 32] = [7; 32];
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend(SEED);
    let mut spki = vec![0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    spki.extend(SigningKey::from_bytes(&SEED).verifying_key().to_bytes());
    let signing = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signing)))
}

fn acceptor() -> Outcome<quinn::ServerConfig> {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key()?)));
    config.alpn_protocols = vec![b"floor".to_vec()];
    Ok(quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config)?)))
}

fn dialer() -> Outcome<quinn::ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"floor".to_vec()];
    Ok(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?)))
}

/// Accepts any key that its holder proves: the far end is this very process.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
        let schemes = &self.0.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The time of the longest of several parts that follow each other.
pub(crate) fn sum(parts: &[Duration]) -> Duration {
    parts.iter().sum()
}
