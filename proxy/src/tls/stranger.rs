//! TLS towards a sealed master as somebody who has no business there.
//!
//! Whoever answers has answered, so no server certificate ends this handshake: a master whose own certificate is wrong
//! may still be open. But only the master itself can prove that it refuses, so it is noted whether the certificate and
//! its signature were good, and whether a client certificate was asked for at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use stagedoor_config::trust::{MasterVerifier, Trust};

use super::{NoTls, provider};

/// The configuration for one connection, and what that connection saw.
#[derive(Debug)]
pub struct Stranger {
    /// For the connector.
    pub config: Arc<ClientConfig>,
    seen: Arc<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Shown where a certificate is asked for.
    shown: Option<Arc<CertifiedKey>>,
    judge: MasterVerifier,
    asked: AtomicBool,
    certificate: AtomicBool,
    signature: AtomicBool,
}

impl Stranger {
    /// Without a certificate, or with one that should not be good there.
    ///
    /// # Errors
    /// The TLS library's own.
    pub fn new(trust: Arc<Trust>, shown: Option<Arc<CertifiedKey>>) -> Result<Self, NoTls> {
        let seen = Arc::new(Seen {
            shown,
            judge: MasterVerifier::new(trust),
            asked: AtomicBool::new(false),
            certificate: AtomicBool::new(false),
            signature: AtomicBool::new(false),
        });
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(NoTls::Library)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&seen) as _)
            .with_client_cert_resolver(Arc::clone(&seen) as _);
        // No protocol is offered, and no name: either could be what such a connection is refused for.
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Self { config: Arc::new(config), seen })
    }

    /// Whether the server asked for a client certificate.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.seen.asked.load(Ordering::Relaxed)
    }

    /// Whether the server proved to be the master of the name that was dialled.
    #[must_use]
    pub fn met_the_master(&self) -> bool {
        self.seen.certificate.load(Ordering::Relaxed) && self.seen.signature.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Seen {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.shown.clone()
    }

    fn has_certs(&self) -> bool {
        self.shown.is_some()
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged =
            self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        self.certificate.store(judged.is_ok(), Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let judged = self.judge.verify_tls12_signature(message, cert, dss);
        self.signature.store(judged.is_ok(), Ordering::Relaxed);
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let judged = self.judge.verify_tls13_signature(message, cert, dss);
        self.signature.store(judged.is_ok(), Ordering::Relaxed);
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
