//! The admin doors' sockets: bound, counted, and given a life of bounded length.
//!
//! One task accepts for each door; a door that has as many connections as it may waits with accepting, so the
//! kernel's queue holds the rest. A connection has a time for each head and for its whole life, so nobody keeps a
//! place for ever.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::{self, Node};

/// What one admin door allows its connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Open at once.
    pub(super) connections: usize,
    /// For the head of a request, and for the gap before it.
    pub(super) head: Duration,
    /// After this a connection is asked to end with its current answer.
    pub(super) life: Duration,
    /// And after this much more it ends.
    pub(super) grace: Duration,
    /// To show who comes, where a certificate says it.
    pub(super) handshake: Duration,
}

impl Limits {
    pub(super) const ADMIN: Self = Self {
        // A few operators, programs and scrapers, each with a few.
        connections: 64,
        // Longer than Prometheus's usual minute between scrapes.
        head: Duration::from_secs(75),
        life: Duration::from_secs(15 * 60),
        // Longer than the door takes for any answer of its own; a flush goes on without its connection.
        grace: Duration::from_secs(15),
        handshake: tls::HANDSHAKE,
    };
}

/// The head of a request to an admin door; hyper keeps no smaller buffer than 8 KiB.
const BUFFER: usize = 16 * 1024;
/// Before accepting is tried again after an error, which is nearly always too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Waiting connections that the kernel keeps.
const BACKLOG: i32 = 64;
/// Owner and group may ask and command; whoever else must become one of them.
const MODE: u32 = 0o660;

/// Why an admin door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// The address is taken or not of this machine.
    #[error("listen on admin.http {0}: expected a free address of this machine")]
    Http(SocketAddr, #[source] io::Error),
    /// Another door answers there.
    #[error("listen on admin.unix {}: another door answers there; stop it, or give this one a path of its own", .0.display())]
    Answered(PathBuf),
    /// Something else lies there, and it is not for the door to remove.
    #[error("listen on admin.unix {}: what lies there is no socket; move it away, or name another path", .0.display())]
    NoSocket(PathBuf),
    /// The address is taken or not of this machine.
    #[error("listen on admin.tls {0}: expected a free address of this machine")]
    Tls(SocketAddr, #[source] io::Error),
    /// The folder is absent or not writable.
    #[error("listen on admin.unix {}: expected a folder that exists and in which the door may create a socket", .0.display())]
    Unix(PathBuf, #[source] io::Error),
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Whoever reaches `admin.http`.
    Anybody,
    /// Who is at the other end of a unix socket, by number, as the kernel says; none where it would not.
    User(Option<u32>),
    /// Whose certificate came in at `admin.tls`.
    Node(Arc<Node>),
}

impl Caller {
    /// The number of the user who asks, where one does.
    pub(super) fn uid(&self) -> Option<u32> {
        match self {
            Self::User(uid) => *uid,
            Self::Anybody | Self::Node(_) => None,
        }
    }

    /// The name of the node that asks, where one does.
    pub(super) fn node(&self) -> Option<&str> {
        match self {
            Self::Node(node) => Some(node.certname.as_str()),
            Self::Anybody | Self::User(_) => None,
        }
    }
}

/// An address of TCP, and what is really bound; `failed` names the door that it is for.
pub(super) async fn tcp(
    address: SocketAddr,
    failed: impl Fn(SocketAddr, io::Error) -> NotOpened,
) -> Result<(TcpListener, SocketAddr), NotOpened> {
    let listener = TcpListener::bind(address).await.map_err(|e| failed(address, e))?;
    let bound = listener.local_addr().map_err(|e| failed(address, e))?;
    Ok((listener, bound))
}

/// A socket at `path`, in place of one that nobody answers on.
///
/// The file is left behind at the end: the next door replaces it, and one that is being replaced cannot take its
/// successor's away.
pub(super) fn unix(path: &Path) -> Result<UnixListener, NotOpened> {
    let failed = |e| NotOpened::Unix(path.to_owned(), e);
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(NotOpened::NoSocket(path.to_owned())),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(failed(e)),
            // Answered, or so busy that the kernel's queue is full.
            Ok(_) | Err(_) => return Err(NotOpened::Answered(path.to_owned())),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    bind(path).map_err(failed)
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file the socket's own mode less the umask: it is never open to more than it should be. The
    // second call is for a umask that took the group's part.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(MODE))?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

/// A socket that connections come out of.
pub(super) trait Accept: Send + Sync + 'static {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Caller)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Caller)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, Caller::Anybody))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Caller)> {
        let (stream, _) = Self::accept(self).await?;
        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
        Ok((stream, Caller::User(uid)))
    }
}

/// Answers on `listener` until `shutdown`; what is under way then is finished within the grace.
pub(super) fn open(
    listener: impl Accept,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
    tasks: &TaskTracker,
) {
    let connections = tasks.clone();
    tasks.spawn(async move {
        let places = Arc::new(Semaphore::new(limits.connections));
        let accepting = async {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                match Accept::accept(&listener).await {
                    Ok((stream, caller)) => {
                        let router = router.clone().layer(Extension(caller));
                        let shutdown = shutdown.clone();
                        connections.spawn(async move {
                            connection(stream, router, limits, shutdown).await;
                            drop(place);
                        });
                    }
                    Err(error) => could_not_accept(&error).await,
                }
            }
        };
        shutdown.run_until_cancelled(accepting).await;
    });
}

/// Says so, and waits a moment.
pub(super) async fn could_not_accept(error: &io::Error) {
    tracing::warn!(%error, "an admin door could not accept a connection");
    tokio::time::sleep(PAUSE).await;
}

/// Answers on one connection, with a time for each head.
pub(super) fn serve<S>(stream: S, router: Router, head: Duration) -> Serving<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

type Serving<S> = http1::Connection<TokioIo<S>, TowerToHyperService<Router>>;

async fn connection<S>(stream: S, router: Router, limits: Limits, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = std::pin::pin!(serve(stream, router, limits.head));
    tokio::select! {
        _over = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Whoever has not read its answer by now does not want it.
    drop(tokio::time::timeout(limits.grace, connection).await);
}
