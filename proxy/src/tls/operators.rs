//! TLS for whoever changes something here from another machine: the certificates that agents are shown, and a demand for
//! one in return.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use stagedoor_config::trust::AgentVerifier;

use super::{Agents, NoTls, Shown, server};

impl Agents {
    /// For `admin.tls`: who comes is judged as an agent is, and nobody comes without a certificate.
    ///
    /// # Errors
    /// The TLS library's own.
    pub fn operators(&self) -> Result<Arc<ServerConfig>, NoTls> {
        let verifier = Arc::new(Demanding(Arc::clone(&self.verifier)));
        server(verifier, Shown(self.shown.to_vec()))
    }
}

/// Agents' own judge, who takes no missing certificate.
#[derive(Debug)]
struct Demanding(Arc<AgentVerifier>);

impl ClientCertVerifier for Demanding {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
