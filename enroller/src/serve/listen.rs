//! The socket, and a connection wherever it came in: bounded in number and time.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::routes::{self, By};
use super::{Desk, NotServed, tls};

/// Connections open at once on each: a few people and programs.
pub(super) const CONNECTIONS: usize = 32;
/// For the head of a request, and for the gap before it: longer than Prometheus's usual minute.
const HEAD: Duration = Duration::from_secs(75);
/// Of a connection.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// After an error, which is nearly always too many open files.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// The head of a request; hyper keeps no smaller buffer than 8 KiB.
const BUFFER: usize = 16 * 1024;
/// Owner and group may ask.
const MODE: u32 = 0o660;

/// Opens what the settings name, all of it before anybody is answered.
pub(super) fn open(desk: &Arc<Desk>) -> Result<(), NotServed> {
    let router = routes::router(Arc::clone(desk));
    if let Some(settings) = desk.settings.serve.tls.clone() {
        tls::open(desk, settings, router.clone())?;
    }
    if let Some(path) = desk.settings.serve.unix.clone() {
        let listener = socket(&path).map_err(|source| NotServed::Unix { path, source })?;
        tokio::spawn(on_socket(listener, router));
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
                let who = stream
                    .peer_cred()
                    .map_or_else(|_| "somebody".to_owned(), |who| format!("uid {}", who.uid()));
                let router = router.clone().layer(Extension(By(who)));
                tokio::spawn(async move {
                    connection(stream, router).await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

pub(super) async fn connection<S>(stream: S, router: Router)
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
