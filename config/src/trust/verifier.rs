//! The judge as the TLS library asks it.
//!
//! Both verifiers leave nothing to webpki's own revocation check, which verifies the list's signature again at every
//! handshake. Signatures of the handshake itself go to the provider's algorithms. Neither has a setting.
#![deny(clippy::disallowed_methods)]

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;

use super::verdicts::Verdicts;
use super::{Judged, Refused, Side, Trust};
use crate::revocation::sha256;

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Judges clients. A certificate is asked for and may be missing, since a new agent has none; one that is shown must
/// be good, or the handshake fails.
#[derive(Debug)]
pub struct AgentVerifier {
    trust: Arc<Trust>,
    verdicts: Verdicts,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AgentVerifier {
    /// For one bundle and its lists; a reload makes another.
    #[must_use]
    pub fn new(trust: Arc<Trust>) -> Self {
        let mut hints: Vec<DistinguishedName> = Vec::new();
        for anchor in &trust.anchors {
            let subject = DistinguishedName::in_sequence(&anchor.subject);
            if !hints.iter().any(|known| known.as_ref() == subject.as_ref()) {
                hints.push(subject);
            }
        }
        Self {
            trust,
            verdicts: Verdicts::default(),
            hints,
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        }
    }

    /// The verdict on a client's certificate: a lookup where the handshake asked a moment ago.
    ///
    /// # Errors
    /// Says why the certificate is not believed.
    pub fn judged(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Judged, Refused> {
        let certificate = sha256(leaf);
        if let Some(judged) = self.verdicts.get(&certificate) {
            return self.trust.still_good(&judged, now).map(|()| judged);
        }
        let judged = self.trust.judge(leaf, intermediates, now, Side::Agent)?;
        self.verdicts.put(certificate, judged.clone());
        Ok(judged)
    }

    /// The bundle and lists it judges by.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.judged(end_entity, intermediates, now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(refused) => Err(refused.into_tls()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The same judge, who takes no missing certificate: of those who change something from another machine.
#[derive(Debug)]
pub struct OperatorVerifier(pub Arc<AgentVerifier>);

impl ClientCertVerifier for OperatorVerifier {
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

/// Judges compile masters and the Master of Masters, name included: every agent's certificate comes from the same CA
/// and serves as a server's too, so the chain alone says nothing.
#[derive(Debug)]
pub struct MasterVerifier {
    trust: Arc<Trust>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl MasterVerifier {
    /// For one bundle and its lists; a reload makes another.
    #[must_use]
    pub fn new(trust: Arc<Trust>) -> Self {
        Self { trust, algorithms: aws_lc_rs::default_provider().signature_verification_algorithms }
    }
}

impl Trust {
    /// Whether a server's certificate is believed and carries the name that was dialled.
    ///
    /// # Errors
    /// Says why not.
    pub fn judge_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<Judged, Refused> {
        let judged = self.judge(leaf, intermediates, now, Side::Master)?;
        if carries(leaf, &judged, name) {
            Ok(judged)
        } else {
            Err(Refused::NameMismatch { expected: name.to_str().into_owned() })
        }
    }
}

/// The name stands among the alternative names, in full and not by a wildcard; or the certificate has none at all, as
/// older Puppet CAs made them, and its single CN is the name.
fn carries(leaf: &CertificateDer<'_>, judged: &Judged, name: &ServerName<'_>) -> bool {
    let dialled = name.to_str();
    let (Ok(end_entity), Ok(parsed)) = (EndEntityCert::try_from(leaf), Certificate::from_der(leaf)) else {
        return false;
    };
    let extensions = parsed.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
    if extensions.iter().any(|extension| extension.extn_id == SUBJECT_ALT_NAME) {
        return end_entity.verify_is_valid_for_subject_name(name).is_ok()
            && end_entity.valid_dns_names().any(|held| held.eq_ignore_ascii_case(&dialled));
    }
    judged.certname().is_some_and(|certname| certname.as_str().eq_ignore_ascii_case(&dialled))
}

impl ServerCertVerifier for MasterVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.trust.judge_server(end_entity, intermediates, server_name, now) {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(refused) => Err(refused.into_tls()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
