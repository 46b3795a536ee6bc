//! The socket and the port: bounded in number and time, and on the port nobody without a certificate that is allowed.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls_pki_types::UnixTime;
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::ServeTls;
use stagedoor_config::trust::{AgentVerifier, OperatorVerifier, Side};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{Desk, NotServed, routes};
use crate::identity::Identity;
use crate::site::{NotOpened, Site};

/// Connections open at once on each: a few people and programs.
const CONNECTIONS: usize = 32;
/// For a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the head of a request, and for the gap before it: longer than Prometheus's usual minute.
const HEAD: Duration = Duration::from_secs(75);
/// Of a connection, so that a certificate is judged anew now and then.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// After an error, which is nearly always too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// The head of a request; hyper keeps no smaller buffer than 8 KiB.
const BUFFER: usize = 16 * 1024;
/// Owner and group may ask.
const MODE: u32 = 0o660;

/// Opens what the settings name.
pub(super) fn open(desk: &Arc<Desk>) -> Result<(), NotServed> {
    if let Some(path) = desk.settings.serve.unix.clone() {
        let listener = socket(&path).map_err(|source| NotServed::Unix { path, source })?;
        tokio::spawn(on_socket(listener, routes::router(Arc::clone(desk))));
    }
    if let Some(tls) = desk.settings.serve.tls.clone() {
        // Read once, so that a mistake is told at the start; each handshake reads anew.
        operators(desk)?;
        let listener = std::net::TcpListener::bind(tls.address).map_err(NotServed::Tls)?;
        listener.set_nonblocking(true).map_err(NotServed::Tls)?;
        let listener = TcpListener::from_std(listener).map_err(NotServed::Tls)?;
        tokio::spawn(on_port(listener, tls, Arc::clone(desk)));
    }
    Ok(())
}

/// A socket in place of one that nobody answers on.
fn socket(path: &Path) -> io::Result<UnixListener> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        let is_socket = there.file_type().is_socket();
        let answers = std::os::unix::net::UnixStream::connect(path).is_ok();
        if !is_socket || answers {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "something else lies or answers there"));
        }
        std::fs::remove_file(path)?;
    }
    // Nobody but the owner until the mode is set, whatever the umask.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

async fn on_socket(listener: UnixListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    connection(stream, router).await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn on_port(listener: TcpListener, tls: ServeTls, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let allow: Arc<[Certname]> = tls.allow.into();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (desk, allow) = (Arc::clone(&desk), Arc::clone(&allow));
                tokio::spawn(async move {
                    by_tls(stream, &allow, &desk).await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A connection whose certificate is judged by the files as they are now: few come, and a revocation counts at once.
async fn by_tls(stream: TcpStream, allow: &[Certname], desk: &Arc<Desk>) {
    let Ok((config, site)) = operators(desk) else { return };
    let Ok(Ok(stream)) = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await else { return };
    let judged = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::split_first)
        .map(|(leaf, above)| site.trust.judge(leaf, above, UnixTime::now(), Side::Agent));
    let certname = judged.and_then(|judged| judged.ok()?.certname().cloned());
    match certname {
        Some(certname) if allow.contains(&certname) => {
            connection(stream, routes::router(Arc::clone(desk))).await;
        }
        Some(certname) => {
            let stranger = Router::new().fallback(async move || {
                let hint = "name it in `allow` under [serve.tls], if it is to ask for enrollments";
                routes::refusal(StatusCode::FORBIDDEN, format!("{certname} may not ask here"), hint)
            });
            drop(timeout(HANDSHAKE, connection(stream, stranger)).await);
        }
        None => {}
    }
}

/// What is shown there, and who is believed.
fn operators(desk: &Desk) -> Result<(Arc<ServerConfig>, Site), NotServed> {
    let site = Site::open(desk.settings.clone())?;
    let identity = match &desk.settings.identity {
        Some(files) => Identity::read(files).map_err(NotOpened::from)?,
        // The settings are refused without one.
        None => return Err(NotServed::Nowhere),
    };
    let judge = Arc::new(AgentVerifier::new(Arc::clone(&site.trust)));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(OperatorVerifier(judge)))
        .with_cert_resolver(identity.server_resolver());
    // A resumed session is not judged again.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), site))
}

async fn connection<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Whoever is cut off asks again.
    drop(timeout(LIFE, connection).await);
}
