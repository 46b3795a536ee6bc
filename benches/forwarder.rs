//! The yardstick: the least that hyper and tokio-rustls can do for this job.
//!
//! Ends the clients' TLS, verifies a client certificate where one is shown, and passes each request on over a pooled
//! TLS connection to one server. One thread. It refuses to do anything else: no routes, no headers of its own, no
//! health, no retry, no log, no bound. What the door costs beyond it is what the door's features cost; what the door
//! cannot go below is what it costs.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A bare forwarder: TLS in, the same request out over TLS, nothing else.
#[derive(Debug, Parser)]
struct Args {
    /// Where clients connect.
    #[arg(long)]
    listen: SocketAddr,
    /// What they are shown.
    #[arg(long)]
    certificate: PathBuf,
    /// Its key.
    #[arg(long)]
    key: PathBuf,
    /// CA certificates that clients and the server are checked against.
    #[arg(long)]
    ca: PathBuf,
    /// A list for each of the CAs. Without it nothing is looked up.
    #[arg(long)]
    crl: Option<PathBuf>,
    /// The server's address.
    #[arg(long)]
    to: SocketAddr,
    /// The name its certificate must carry.
    #[arg(long)]
    name: String,
    /// What the server is shown.
    #[arg(long)]
    client_certificate: PathBuf,
    /// Its key.
    #[arg(long)]
    client_key: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let acceptor = TlsAcceptor::from(server_config(&args)?);
    let pool = Rc::new(Pool {
        connector: TlsConnector::from(client_config(&args)?),
        address: args.to,
        name: ServerName::try_from(args.name).context("--name is no host name")?,
        idle: RefCell::default(),
    });
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("--listen {}", args.listen))?;
    LocalSet::new().run_until(accept(listener, acceptor, pool)).await
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, pool: Rc<Pool>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, pool) = (acceptor.clone(), Rc::clone(&pool));
        spawn_local(async move {
            stream.set_nodelay(true)?;
            let tls = acceptor.accept(stream).await?;
            let forward = service_fn(|request| pool.forward(request));
            // How a client ends its connection is its own affair.
            drop(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), forward).await,
            );
            anyhow::Ok(())
        });
    }
}

/// Connections to the server.
struct Pool {
    connector: TlsConnector,
    address: SocketAddr,
    name: ServerName<'static>,
    /// Those whose last response has begun; each is used again once it is ready, which is when that has ended.
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Incoming>> {
        let mut sender = match self.ready() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request).await?;
        self.idle.borrow_mut().push(sender);
        Ok(response)
    }

    fn ready(&self) -> Option<SendRequest<Incoming>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|sender| !sender.is_closed());
        let at = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.swap_remove(at))
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = self.connector.connect(self.name.clone(), tcp).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        spawn_local(connection);
        Ok(sender)
    }
}

fn server_config(args: &Args) -> Result<Arc<ServerConfig>> {
    let mut verifier = WebPkiClientVerifier::builder_with_provider(roots(&args.ca)?, provider());
    if let Some(crl) = &args.crl {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_file_iter(crl)
            .with_context(|| format!("--crl {}", crl.display()))?
            .collect();
        verifier = verifier.with_crls(lists.with_context(|| format!("--crl {}", crl.display()))?);
    }
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        .with_single_cert(certificates(&args.certificate)?, key(&args.key)?)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client_config(args: &Args) -> Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(&args.ca)?)
        .with_client_auth_cert(certificates(&args.client_certificate)?, key(&args.client_key)?)?;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(ca: &Path) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).with_context(|| format!("{} holds no CA", ca.display()))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("{}: certificates expected", path.display()))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("{}: a key expected", path.display()))
}
