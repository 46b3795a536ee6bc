//! A question over a connection of this program's own.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use stagedoor_config::certname::Certname;
use stagedoor_config::trust::{MasterVerifier, Trust};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Decode as _, EncodePem as _};

use super::{Answer, LARGEST, NoAnswer, Question};
use crate::identity::Identity;

/// For a TCP connection to come to stand, and for the handshake after it.
const CONNECT: Duration = Duration::from_secs(15);
/// For a stranger to be refused or answered: a master that hangs has done neither.
const STRANGER: Duration = Duration::from_secs(10);

/// The way to servers with certificates of the Puppet CA.
#[derive(Debug, Clone)]
pub struct Https {
    trust: Arc<Trust>,
    nobody: Arc<ClientConfig>,
    own: Option<Arc<ClientConfig>>,
    identity: Option<Identity>,
}

/// Why a connection is no TLS connection to whom it should be.
#[derive(Debug, thiserror::Error)]
pub enum NotTls {
    /// No version, no cipher suite.
    #[error("it shares no version of TLS or no cipher suite with this program")]
    NothingInCommon,
    /// It did not take what was shown.
    #[error("it refused the certificate that was shown, or that none was shown ({alert})")]
    Refused {
        /// The alert's name.
        alert: String,
    },
    /// Its name cannot be one.
    #[error("{name} is no host name")]
    NoName {
        /// The name.
        name: String,
    },
    /// Its certificate, or something else.
    #[error(transparent)]
    Other(rustls::Error),
    /// No TLS at all.
    #[error(transparent)]
    Io(io::Error),
}

/// What a connection without a door's certificate met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stranger {
    /// A TLS alert of the server's, after it showed its own certificate.
    Refused {
        /// The alert's name.
        alert: String,
    },
    /// Bytes of an answer; its first line.
    Answered {
        /// `HTTP/1.1 200 OK`.
        line: String,
    },
    /// Neither.
    Unknown {
        /// Why not, in words.
        why: String,
    },
}

impl Https {
    /// By this trust, with this identity where one is to be shown.
    ///
    /// # Errors
    /// The TLS library has no such provider, or refuses the identity.
    pub fn new(trust: Arc<Trust>, identity: Option<&Identity>) -> Result<Self, rustls::Error> {
        let with = |identity| config(Arc::new(MasterVerifier::new(Arc::clone(&trust))), identity);
        let own = identity.map(|identity| with(Some(identity))).transpose()?;
        Ok(Self { nobody: with(None)?, own, identity: identity.cloned(), trust })
    }

    /// Asks the server at `address`, which must be `name` by its certificate.
    ///
    /// # Errors
    /// Says why there is no answer; whatever the server answers is one.
    pub async fn ask(&self, name: &Certname, address: &str, question: &Question) -> Result<Answer, NoAnswer> {
        let answered = timeout(question.patience, async {
            let stream = self.connect(name, address, question.shows_identity).await?;
            let host = host_header(name, address);
            exchange(stream, address, &host, question).await
        });
        let late = || NoAnswer::Late { address: address.to_owned(), patience: question.patience };
        answered.await.unwrap_or_else(|_| Err(late()))
    }

    /// Asks over a unix socket, whose file's mode has decided who may.
    ///
    /// # Errors
    /// Says why there is no answer; whatever is answered is one.
    pub async fn ask_socket(&self, path: &Path, question: &Question) -> Result<Answer, NoAnswer> {
        let address = path.display().to_string();
        let answered = timeout(question.patience, async {
            let not_connected = |source| NoAnswer::NotConnected { address: address.clone(), source };
            let stream = UnixStream::connect(path).await.map_err(not_connected)?;
            exchange(stream, &address, "localhost", question).await
        });
        let late = || NoAnswer::Late { address: address.clone(), patience: question.patience };
        answered.await.unwrap_or_else(|_| Err(late()))
    }

    /// Sends this request to a master as somebody who is no door, and sees what comes back.
    pub async fn come_as_stranger(
        &self,
        name: &Certname,
        address: &str,
        shows_identity: bool,
        request: &str,
    ) -> Stranger {
        let unknown = |why: String| Stranger::Unknown { why };
        let watcher = Watcher::new(&self.trust);
        let shown = self.identity.as_ref().filter(|_| shows_identity);
        let config = match config(Arc::clone(&watcher) as Arc<dyn ServerCertVerifier>, shown) {
            Ok(config) => config,
            Err(error) => return unknown(crate::words::chain(&error)),
        };
        // An alert before that may be anybody's.
        let refused = |alert: String| match watcher.seen.get() {
            Some(_) => Stranger::Refused { alert },
            None => Stranger::Unknown { why: format!("{alert}, before it showed who it is") },
        };
        let mut stream = match self.connect_by(&config, name, address).await {
            Ok(stream) => stream,
            Err(NoAnswer::NotTls { source: NotTls::Refused { alert }, .. }) => return refused(alert),
            Err(error) => return unknown(crate::words::chain(&error)),
        };
        let asked = timeout(STRANGER, async {
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            let mut piece = vec![0_u8; 1024];
            let count = stream.read(&mut piece).await?;
            piece.truncate(count);
            Ok::<_, io::Error>(piece)
        });
        match asked.await {
            // TLS 1.3 refuses a client after the client's side of the handshake has ended.
            Ok(Err(error)) => match NotTls::of(error) {
                NotTls::Refused { alert } => refused(alert),
                other => unknown(crate::words::chain(&other)),
            },
            Ok(Ok(piece)) if piece.is_empty() => unknown("the connection ended without a word".to_owned()),
            Ok(Ok(piece)) => {
                let text = String::from_utf8_lossy(&piece).into_owned();
                Stranger::Answered { line: text.lines().next().unwrap_or_default().trim().to_owned() }
            }
            Err(_) => unknown(format!("neither a refusal nor an answer within {} s", STRANGER.as_secs())),
        }
    }

    /// The certificate that the server at `address` shows, in PEM form, once it was judged to be `name`'s; whatever it
    /// makes of a client that shows none.
    ///
    /// # Errors
    /// It cannot be connected to, or its certificate is not believed.
    pub async fn shown(&self, name: &Certname, address: &str) -> Result<String, NoAnswer> {
        let not_tls = |source| NoAnswer::NotTls { address: address.to_owned(), source };
        let watcher = Watcher::new(&self.trust);
        let config = config(Arc::clone(&watcher) as Arc<dyn ServerCertVerifier>, None);
        let config = config.map_err(|error| not_tls(NotTls::Other(error)))?;
        let shaken = self.connect_by(&config, name, address).await;
        match (watcher.seen.get(), shaken) {
            (Some(pem), _) => Ok(pem.clone()),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => {
                Err(NoAnswer::Strange { address: address.to_owned(), found: "no certificate".to_owned() })
            }
        }
    }

    async fn connect(
        &self,
        name: &Certname,
        address: &str,
        shows_identity: bool,
    ) -> Result<TlsStream<TcpStream>, NoAnswer> {
        let config = match (shows_identity, &self.own) {
            (false, _) => &self.nobody,
            (true, Some(own)) => own,
            (true, None) => return Err(NoAnswer::NoIdentity { address: address.to_owned() }),
        };
        self.connect_by(config, name, address).await
    }

    async fn connect_by(
        &self,
        config: &Arc<ClientConfig>,
        name: &Certname,
        address: &str,
    ) -> Result<TlsStream<TcpStream>, NoAnswer> {
        let not_tls = |source| NoAnswer::NotTls { address: address.to_owned(), source };
        let server = ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| not_tls(NotTls::NoName { name: name.to_string() }))?;
        let tcp = connect(address).await?;
        let connecting = TlsConnector::from(Arc::clone(config)).connect(server, tcp);
        match timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(|error| not_tls(NotTls::of(error))),
            Err(_) => Err(NoAnswer::Late { address: address.to_owned(), patience: CONNECT }),
        }
    }
}

/// A client that believes whom this verifier believes, and shows this identity where it has one.
fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
    };
    // A resumed session is not judged again, and revocation may have come meanwhile.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Judges as [`MasterVerifier`] does, and remembers what was shown by whoever has shown that he has its key.
#[derive(Debug)]
struct Watcher {
    inner: MasterVerifier,
    seen: OnceLock<String>,
}

impl Watcher {
    fn new(trust: &Arc<Trust>) -> Arc<Self> {
        Arc::new(Self { inner: MasterVerifier::new(Arc::clone(trust)), seen: OnceLock::new() })
    }

    fn keep(&self, leaf: &CertificateDer<'_>) {
        if let Ok(pem) = Certificate::from_der(leaf).and_then(|leaf| leaf.to_pem(LineEnding::LF)) {
            self.seen.set(pem).ok();
        }
    }
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss).inspect(|_| self.keep(cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss).inspect(|_| self.keep(cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A TCP connection to `host:port`.
///
/// # Errors
/// Nothing listens there, or nothing answers in time.
pub(crate) async fn connect(address: &str) -> Result<TcpStream, NoAnswer> {
    match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(connected) => {
            connected.map_err(|source| NoAnswer::NotConnected { address: address.to_owned(), source })
        }
        Err(_) => Err(NoAnswer::Late { address: address.to_owned(), patience: CONNECT }),
    }
}

impl NotTls {
    fn of(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
        match inner {
            Some(rustls::Error::AlertReceived(alert)) => match alert {
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity => Self::NothingInCommon,
                alert => Self::Refused { alert: format!("{alert:?}") },
            },
            Some(rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            )) => Self::NothingInCommon,
            Some(other) => Self::Other(other),
            None => Self::Io(error),
        }
    }
}

/// Puppet Server refuses a Host that is not the name that TLS was told.
fn host_header(name: &Certname, address: &str) -> String {
    match address.rsplit_once(':') {
        Some((_, port)) => format!("{name}:{port}"),
        None => name.to_string(),
    }
}

async fn exchange<S>(stream: S, address: &str, host: &str, question: &Question) -> Result<Answer, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| NoAnswer::Broken {
        address: address.to_owned(),
        source,
    };
    let mut request = Request::builder()
        .method(question.method.clone())
        .uri(&question.path)
        .body(Full::new(question.body.clone()))
        .map_err(|error| broken(error.into()))?;
    let headers = request.headers_mut();
    headers.extend(question.headers.clone());
    let host = HeaderValue::from_str(host).map_err(|error| broken(error.into()))?;
    headers.insert(header::HOST, host);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
    let driving = tokio::spawn(connection);
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
        let (head, body) = answer.into_parts();
        let body: Bytes = Limited::new(body, LARGEST).collect().await.map_err(broken)?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    let answered = answered.await;
    // Nothing is asked over it again, whatever its end is waiting for.
    driving.abort();
    answered
}
