//! TLS settings of the stand-ins: who shows what to whom, and who believes whom.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};

use crate::ca::{DoorCa, PuppetCa};
use crate::identity::Identity;

/// Which versions a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// 1.2 and 1.3, as current agents.
    #[default]
    Both,
    /// 1.2 alone, as agents with older OpenSSL.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

type VersionList = &'static [&'static SupportedProtocolVersion];
static BOTH: VersionList = &[&version::TLS13, &version::TLS12];
static TLS12: VersionList = &[&version::TLS12];
static TLS13: VersionList = &[&version::TLS13];

impl Versions {
    fn list(self) -> VersionList {
        match self {
            Self::Both => BOTH,
            Self::Tls12 => TLS12,
            Self::Tls13 => TLS13,
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn store(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).expect("a CA certificate is an anchor");
    }
    Arc::new(roots)
}

/// A sealed compile master: shows its certificate, and demands one of the door's CA that its list does not name; under
/// a list that has expired it takes none, as Jetty.
#[must_use]
pub fn sealed_master(identity: &Identity, door_ca: &DoorCa) -> Arc<ServerConfig> {
    sealed_master_speaking(Versions::Both, identity, door_ca)
}

/// The same, with these versions of TLS.
#[must_use]
pub fn sealed_master_speaking(
    versions: Versions,
    identity: &Identity,
    door_ca: &DoorCa,
) -> Arc<ServerConfig> {
    let lists = door_ca.crl_pem();
    let lists =
        CertificateRevocationListDer::pem_slice_iter(lists.as_bytes()).map(|list| list.expect("a list"));
    let demand = WebPkiClientVerifier::builder_with_provider(store(certificates(door_ca)), provider())
        .with_crls(lists)
        .enforce_revocation_expiration();
    server_speaking(versions, identity, demand.build().expect("CAs and their lists"))
}

/// The Master of Masters: `client-auth: want`. It believes its own CA, and the door's too, so that a certificate
/// which should never come is recorded instead of ending the handshake.
#[must_use]
pub fn wanting(identity: &Identity, puppet_ca: &PuppetCa, door_ca: &DoorCa) -> Arc<ServerConfig> {
    let mut certificates = puppet_ca.certificates();
    certificates.extend(self::certificates(door_ca));
    let want = WebPkiClientVerifier::builder_with_provider(store(certificates), provider());
    server(identity, want.allow_unauthenticated().build().expect("CAs"))
}

/// A master whose seal was widened: it demands a certificate, and takes every agent's as well as the doors'.
#[must_use]
pub fn for_agents_too(identity: &Identity, puppet_ca: &PuppetCa, door_ca: &DoorCa) -> Arc<ServerConfig> {
    let mut certificates = puppet_ca.certificates();
    certificates.extend(self::certificates(door_ca));
    let demand = WebPkiClientVerifier::builder_with_provider(store(certificates), provider());
    server(identity, demand.build().expect("CAs"))
}

/// A master whose seal was broken in part: it demands a certificate, and takes every agent's.
#[must_use]
pub fn for_agents(identity: &Identity, puppet_ca: &PuppetCa) -> Arc<ServerConfig> {
    let demand = WebPkiClientVerifier::builder_with_provider(store(puppet_ca.certificates()), provider());
    server(identity, demand.build().expect("CAs"))
}

/// A server that asks nobody for a certificate.
#[must_use]
pub fn for_anybody(identity: &Identity) -> Arc<ServerConfig> {
    server(identity, WebPkiClientVerifier::no_client_auth())
}

/// Whether a CA signed a certificate that is in force.
#[must_use]
pub fn believes(puppet_ca: &PuppetCa, certificate: &CertificateDer<'static>) -> bool {
    let verifier = WebPkiClientVerifier::builder_with_provider(store(puppet_ca.certificates()), provider());
    let verifier = verifier.build().expect("CAs");
    verifier.verify_client_cert(certificate, &[], UnixTime::now()).is_ok()
}

fn certificates(door_ca: &DoorCa) -> Vec<CertificateDer<'static>> {
    let bundle = door_ca.bundle_pem();
    CertificateDer::pem_slice_iter(bundle.as_bytes()).map(|one| one.expect("a certificate")).collect()
}

/// An open compile master: `client-auth: want`, certificates of the Puppet CA alone.
#[must_use]
pub fn open_master(identity: &Identity, puppet_ca: &PuppetCa) -> Arc<ServerConfig> {
    let want = WebPkiClientVerifier::builder_with_provider(store(puppet_ca.certificates()), provider());
    server(identity, want.allow_unauthenticated().build().expect("CAs"))
}

fn server(
    identity: &Identity,
    verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>,
) -> Arc<ServerConfig> {
    server_speaking(Versions::Both, identity, verifier)
}

fn server_speaking(
    versions: Versions,
    identity: &Identity,
    verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>,
) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions.list())
        .expect("versions of this provider")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate.clone()], identity.key())
        .expect("a certificate and its key");
    Arc::new(config)
}

/// A client that believes servers of the Puppet CA, with or without a certificate of its own.
#[must_use]
pub fn client(puppet_ca: &PuppetCa, identity: Option<&Identity>, versions: Versions) -> Arc<ClientConfig> {
    let roots = store(puppet_ca.certificates());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build().expect("CAs");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions.list())
        .expect("versions of this provider")
        .with_webpki_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(vec![own.certificate.clone()], own.key())
            .expect("a certificate and its key"),
    };
    // Ruby's OpenSSL keeps no sessions between connections of a run; neither do we, so that each is verified.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// A name as TLS takes it.
#[must_use]
pub fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap_or_else(|e| panic!("{name}: {e}"))
}
