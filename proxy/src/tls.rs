//! The door's TLS: what it shows, whom it asks, what it offers.
//!
//! Six configurations and nothing to set: agents coming in ([`Agents`]), whoever changes something here from another
//! machine ([`Agents::operators`]), connections to masters with the door's
//! client certificate ([`masters`]), connections to everybody else without one, so that nobody can borrow the door's
//! rights there ([`showing_nothing`]), those that have agents' certificates renewed ([`renewal`]), and those that try
//! whether masters let strangers in ([`Stranger`]).
//!
//! No session is resumed anywhere: a resumed session skips the verifier, so a revoked agent would come back on its
//! ticket. No post-quantum key exchange: agents before OpenSSL 3.5 cannot, and it adds a kilobyte each way to each of
//! the short connections of an agent run.
//!
//! A key pair is loaded by [`Pair::load`], every mistake in it told with the file's name, before it comes into force.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SignatureAlgorithm};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use stagedoor_config::certname::Certname;
use stagedoor_config::trust::{AgentVerifier, Judged, MasterVerifier, Refused, Side, Trust};

mod operators;
mod pair;
mod papers;
mod reason;
mod stranger;
#[cfg(test)]
mod tests;

pub use pair::{BadPair, Pair};
pub use papers::{BadDoorCa, Papers, Unfit};
pub use reason::{REASONS, reason, words};
pub use stranger::Stranger;

/// HTTP/1.1 and nothing else, on every side: a client that offers only other protocols is told so, one that offers
/// none is served.
const ALPN: &[u8] = b"http/1.1";

/// What ends agents' TLS, and who they are once the handshake is done.
#[derive(Debug, Clone)]
pub struct Agents {
    /// For the acceptor.
    pub config: Arc<ServerConfig>,
    verifier: Arc<AgentVerifier>,
    shown: Box<[Arc<CertifiedKey>]>,
}

/// A configuration that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NoTls {
    /// Two certificates of one key type: an agent could not know which one it gets.
    #[error(
        "{} and {} both hold {kind} keys; expected at most one ECDSA and one RSA pair under [[certificate]]",
        .first.display(), .second.display()
    )]
    TwoOfAKind {
        /// The first certificate file.
        first: std::path::PathBuf,
        /// The second certificate file.
        second: std::path::PathBuf,
        /// RSA, ECDSA or Ed25519.
        kind: &'static str,
    },
    /// The TLS library will not have it.
    #[error("the TLS library refuses the configuration")]
    Library(#[source] rustls::Error),
}

impl Agents {
    /// For the pairs of the settings: one, or an ECDSA and an RSA pair side by side. None where no address ends TLS;
    /// a handshake fails then.
    ///
    /// # Errors
    /// Says which files do not go together.
    pub fn new(pairs: &[Pair], trust: Arc<Trust>) -> Result<Self, NoTls> {
        let shown = Shown::new(pairs)?;
        let all = shown.0.clone().into();
        let verifier = Arc::new(AgentVerifier::new(trust));
        let config = server(Arc::clone(&verifier) as _, shown)?;
        Ok(Self { config, verifier, shown: all })
    }

    /// The verdict on the chain an agent showed (`peer_certificates`), leaf first: a lookup after a handshake.
    ///
    /// # Errors
    /// Says why the certificate is not believed.
    pub fn judged(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Judged, Refused> {
        let (leaf, intermediates) = chain.split_first().ok_or(Refused::Malformed)?;
        self.verifier.judged(leaf, intermediates, now)
    }

    /// Of the certificates that agents are shown, one that could be an agent's: good for clients, and in force. None
    /// where nothing is shown.
    ///
    /// # Errors
    /// Why the first of them could not.
    pub fn like_an_agents(&self, now: UnixTime) -> Result<Option<&Arc<CertifiedKey>>, Refused> {
        let mut refused = None;
        for pair in &self.shown {
            let (leaf, intermediates) = pair.cert.split_first().ok_or(Refused::Malformed)?;
            match self.trust().judge(leaf, intermediates, now, Side::Agent) {
                Ok(_) => return Ok(Some(pair)),
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// The bundle and lists that agents are judged by.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        self.verifier.trust()
    }
}

/// One that shows these certificates and has whoever comes judged so.
fn server(verifier: Arc<dyn ClientCertVerifier>, shown: Shown) -> Result<Arc<ServerConfig>, NoTls> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(NoTls::Library)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For masters sealed by the door CA: the door shows its certificate of that CA and judges the master's by the Puppet
/// CA.
///
/// # Errors
/// The TLS library's own.
pub fn masters(door: &Pair, trust: Arc<Trust>) -> Result<Arc<ClientConfig>, NoTls> {
    showing(door, trust)
}

/// For the Master of Masters, for masters behind a firewall and for open ones: never a client certificate, so that
/// nobody can borrow the door's rights there.
///
/// # Errors
/// The TLS library's own.
pub fn showing_nothing(trust: Arc<Trust>) -> Result<Arc<ClientConfig>, NoTls> {
    Ok(finish(towards(trust)?.with_no_client_auth()))
}

/// For renewals of agents' certificates: the CA is shown the door's certificate of the Puppet CA.
///
/// # Errors
/// The TLS library's own.
pub fn renewal(door: &Pair, trust: Arc<Trust>) -> Result<Arc<ClientConfig>, NoTls> {
    showing(door, trust)
}

/// A certname as the name to dial; none where it is no host name.
#[must_use]
pub fn server_name(certname: &Certname) -> Option<ServerName<'static>> {
    ServerName::try_from(certname.as_str().to_owned()).ok()
}

fn showing(door: &Pair, trust: Arc<Trust>) -> Result<Arc<ClientConfig>, NoTls> {
    let shown = SingleCertAndKey::from(Arc::clone(&door.key));
    Ok(finish(towards(trust)?.with_client_cert_resolver(Arc::new(shown))))
}

fn towards(
    trust: Arc<Trust>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, NoTls> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(NoTls::Library)?
        .dangerous()
        // Stricter than the library's own: revocation from the set, a master's name from the roster alone.
        .with_custom_certificate_verifier(Arc::new(MasterVerifier::new(trust))))
}

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // A Puppet Server whose certificate answers to the name in SNI wants that name as Host too (Jetty 9.4: 400 "Host
    // does not match SNI"); the agent's Host passes untouched, so no name is shown. It has one certificate anyway.
    config.enable_sni = false;
    Arc::new(config)
}

/// aws-lc-rs by name: no process-wide default decides.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519};
    Arc::new(CryptoProvider {
        kx_groups: vec![X25519, SECP256R1, SECP384R1],
        ..aws_lc_rs::default_provider()
    })
}

/// The certificates shown to agents: ECDSA, which costs the door a sixth of an RSA 4096 handshake, to everyone who can.
#[derive(Debug)]
struct Shown(Vec<Arc<CertifiedKey>>);

impl Shown {
    fn new(pairs: &[Pair]) -> Result<Self, NoTls> {
        for (at, first) in pairs.iter().enumerate() {
            if let Some(second) =
                pairs.iter().skip(at + 1).find(|second| second.algorithm() == first.algorithm())
            {
                return Err(NoTls::TwoOfAKind {
                    first: first.files.certificate.clone(),
                    second: second.files.certificate.clone(),
                    kind: match first.algorithm() {
                        SignatureAlgorithm::RSA => "RSA",
                        SignatureAlgorithm::ECDSA => "ECDSA",
                        _ => "Ed25519",
                    },
                });
            }
        }
        let mut ordered: Vec<_> = pairs.iter().collect();
        ordered.sort_by_key(|pair| pair.algorithm() == SignatureAlgorithm::RSA);
        Ok(Self(ordered.into_iter().map(|pair| Arc::clone(&pair.key)).collect()))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|pair| pair.key.choose_scheme(hello.signature_schemes()).is_some()).cloned()
    }
}
