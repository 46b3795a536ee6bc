//! Running a door: everything composed once.
//!
//! ```text
//! settings ─► files ─► snapshot ─┬─► threads, one for each core: accept ─► … (see the crate's path of a request)
//!                                └─► one thread beside: probes, resolve, admin, files watched, signals
//! ```
//!
//! Each serving thread runs a runtime of its own and accepts from a duplicate of one listening socket, so that
//! nothing of a request crosses threads but the pool's one short mutex and counters.

pub(crate) mod inside;
pub mod load;
pub(crate) mod watch;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stagedoor_config::proxy::{Behind, Listen, Mode, Settings};
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as value;
use tokio_util::sync::CancellationToken;

use crate::accept::{Entrance, accept};
use crate::admin::{self, NotOpened};
use crate::door::Door;
use crate::link::{Links, Peer, PeerId};
use crate::observe::Observe;
use crate::observe::access::NoAccessLog;
use crate::pool::{Pool, resolve};
use load::{NotLoaded, Parts};
use watch::Files;

/// Connections that wait to be accepted. A site's agents all come back at once after a network failure; Linux cuts
/// this at `net.core.somaxconn` (4096 since 5.4).
const BACKLOG: i32 = 4096;
/// Between two sweeps over idle connections to masters, well below the 15 s they may be idle.
const SWEEP: Duration = Duration::from_secs(5);
/// For the last access lines to be written when the door ends.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Why a door does not start.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// A file that the settings name.
    #[error(transparent)]
    Files(#[from] NotLoaded),
    /// The bounds need more open files than this process may have.
    #[error("{0}")]
    FileLimit(String),
    /// The address of agents.
    #[error("listen on {address}: expected an address of this machine that no other program listens on")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An admin door.
    #[error(transparent)]
    Admin(#[from] NotOpened),
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] NoAccessLog),
    /// The Master of Masters' certname is no host name.
    #[error("mom.certname {0} is no host name: correct the settings")]
    Mom(String),
    /// The system gives no thread or runtime.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

/// A door that runs.
pub struct Running {
    door: Arc<Door>,
    /// Where agents come in: the addresses really bound.
    pub agents: Vec<SocketAddr>,
    /// Where `admin.http` listens; none when it is off.
    pub admin_http: Option<SocketAddr>,
    /// Where `admin.unix` listens; none when it is off.
    pub admin_unix: Option<PathBuf>,
    /// Where `admin.tls` listens; none when it is off.
    pub admin_tls: Option<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    beside: Runtime,
    admin: Option<(admin::Open, CancellationToken)>,
}

/// Runs a door until SIGTERM or SIGINT, reopening the access log at SIGHUP.
///
/// # Errors
/// Why it does not start.
pub fn run(settings: Settings) -> Result<(), NotStarted> {
    let running = start(settings)?;
    let observe = Arc::clone(&running.door.observe);
    running.beside.block_on(async move {
        let signals =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
            tracing::error!("cannot listen for signals: end the door with SIGKILL");
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    tracing::info!("access log reopened");
                    observe.reopen();
                }
            }
        }
    });
    running.stop();
    Ok(())
}

/// Starts a door: files read, addresses bound, threads running.
///
/// # Errors
/// Why it does not start; nothing is left running then.
pub fn start(settings: Settings) -> Result<Running, NotStarted> {
    let settings = Arc::new(settings);
    fits_file_limit(&settings)?;
    let parts = Parts::read(&settings)?;
    let roster = Arc::new(load::roster(&settings.roster)?);
    if let Some(certname) = load::sealed_without_certificate(&roster, &settings) {
        return Err(NotLoaded::NoDoorCertificate { certname: certname.clone() }.into());
    }
    load::sealed_apart(&roster, &settings).map_err(NotLoaded::from)?;
    let snapshot = parts.snapshot(Arc::clone(&settings), Arc::clone(&roster), 0)?;
    let files = Files::open(&settings, parts.clone()).map_err(NotLoaded::from)?;
    let listeners =
        settings.listen.iter().map(|listen| bind(listen.address)).collect::<Result<Vec<_>, _>>()?;
    let agents = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
    let agents = agents.map_err(NotStarted::Thread)?;

    let observe = Observe::start(fastrand::u64(..), settings.access_log.as_ref())?;
    parts.publish(observe.metrics());
    let beside = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("beside")
        .enable_all()
        .build()
        .map_err(NotStarted::Thread)?;
    let connections = settings.bounds.master_connections;
    let pool = Pool::new(Arc::clone(&observe), connections, beside.handle().clone());
    let mom = mom(&settings, &beside)?;
    let door = Door::new(snapshot, pool, mom, observe);
    door.man(&roster);
    let entrances = settings.listen.iter().zip(listeners).map(|(listen, listener)| {
        let entrance = Entrance { listen: listen.clone(), behind: behind(&door, listen, &beside) };
        (Arc::new(entrance), listener)
    });
    let entrances: Vec<_> = entrances.collect();

    let shutdown = CancellationToken::new();
    let inside = Arc::new(inside::FromInside::new(Arc::clone(&door)));
    let open = beside.block_on(admin::serve(
        &settings.admin,
        inside,
        Arc::clone(&door.observe),
        shutdown.clone(),
    ))?;
    beside.spawn(files.watch(Arc::clone(&door)));
    let threads = serve(&door, &settings, &entrances)?;
    for address in &agents {
        tracing::info!(%address, masters = roster.masters.len(), generation = roster.generation, "listening");
    }
    let (admin_http, admin_unix, admin_tls) = (open.http, open.unix.clone(), open.tls);
    for (at, address) in [("admin.http", admin_http), ("admin.tls", admin_tls)] {
        if let Some(address) = address {
            tracing::info!(%address, at, "admin listening");
        }
    }
    Ok(Running {
        door,
        agents,
        admin_http,
        admin_unix,
        admin_tls,
        threads,
        beside,
        admin: Some((open, shutdown)),
    })
}

impl Running {
    /// Stops: no new connection, `Connection: close` on every answer, then waits for the connections that are open.
    /// Idle ones end by their own timer, since an agent that was about to use one would fail its run.
    pub fn stop(mut self) {
        let bounds = self.door.snapshot.load().settings.bounds;
        let open = || bounds.connections.saturating_sub(self.door.connections.available_permits());
        tracing::info!(connections = open(), "stopping");
        self.door.end();
        let ends = Instant::now() + bounds.drain_time;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            drop(thread.join());
        }
        let left = open();
        if left > 0 {
            tracing::warn!(connections = left, waited = ?bounds.drain_time, "stopped with connections open: raise bounds.drain_time");
        }
        if let Some((open, shutdown)) = self.admin.take() {
            shutdown.cancel();
            let last = ends.saturating_duration_since(Instant::now()).max(LAST_LINES);
            drop(self.beside.block_on(async { tokio::time::timeout(last, open.closed()).await }));
        }
        if !self.door.observe.close(LAST_LINES) {
            tracing::warn!("the last access lines could not be written in time");
        }
        self.beside.shutdown_timeout(LAST_LINES);
    }
}

/// One thread for each core, or as many as the settings say.
fn serve(
    door: &Arc<Door>,
    settings: &Settings,
    entrances: &[(Arc<Entrance>, TcpListener)],
) -> Result<Vec<JoinHandle<()>>, NotStarted> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = settings.workers.unwrap_or(cores);
    (0..threads)
        .map(|number| {
            let door = Arc::clone(door);
            let links = Links::new(threads);
            let entrances = entrances
                .iter()
                .map(|(entrance, listener)| Ok((Arc::clone(entrance), listener.try_clone()?)))
                .collect::<io::Result<Vec<_>>>()
                .map_err(NotStarted::Thread)?;
            let runtime =
                runtime::Builder::new_current_thread().enable_all().build().map_err(NotStarted::Thread)?;
            std::thread::Builder::new()
                .name(format!("serve-{number}"))
                .spawn(move || thread(&runtime, &door, &links, entrances))
                .map_err(NotStarted::Thread)
        })
        .collect()
}

/// What one serving thread does from start to end.
fn thread(
    runtime: &Runtime,
    door: &Arc<Door>,
    links: &Arc<Links>,
    entrances: Vec<(Arc<Entrance>, TcpListener)>,
) {
    runtime.block_on(async {
        for (entrance, listener) in entrances {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(accept(Arc::clone(door), Arc::clone(links), entrance, listener));
                }
                Err(error) => tracing::error!(%error, "a thread cannot listen"),
            }
        }
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                links.sweep();
            }
        };
        tokio::select! {
            () = sweep => {}
            () = door.ended() => {}
        }
        let bounds = door.snapshot.load().settings.bounds;
        let open = async {
            while door.connections.available_permits() < bounds.connections {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // What is open now finishes on this thread; the bound is what an operator grants a stop.
        drop(tokio::time::timeout(bounds.drain_time, open).await);
    });
}

/// Where connections go that are passed from this address: to the roster's open masters, or to backends of its own.
fn behind(door: &Arc<Door>, listen: &Listen, beside: &Runtime) -> Arc<Pool> {
    let Mode::Pass(Behind::Backends { addresses, check }) = &listen.mode else {
        return Arc::clone(&door.pool);
    };
    let most = door.snapshot.load().settings.bounds.master_connections;
    let pool = Pool::new(Arc::clone(&door.observe), most, beside.handle().clone());
    door.man_backends(&pool, addresses, *check);
    pool
}

fn bind(address: SocketAddr) -> Result<TcpListener, NotStarted> {
    let bound = || {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        // A door that is started again must not wait for its old connections' ends to be forgotten.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    bound().map_err(|source| NotStarted::Listen { address, source })
}

fn mom(settings: &Settings, beside: &Runtime) -> Result<Arc<Peer>, NotStarted> {
    let (known, addresses) = value::channel(resolve::Addresses::from([]));
    let mom = &settings.mom;
    // Half of them may be idle; the other half is one for each request that may be there.
    let most = 2 * (settings.bounds.mom_ca + settings.bounds.mom_packages);
    let peer = Peer::new(PeerId::Mom, mom.certname.clone(), mom.address.clone(), addresses, most)
        .ok_or_else(|| NotStarted::Mom(mom.certname.to_string()))?;
    beside.spawn(resolve::keep(mom.address.clone(), known));
    Ok(Arc::new(peer))
}

/// Raises this process's limit of open files as far as it may by itself, and holds the bounds against it.
fn fits_file_limit(settings: &Settings) -> Result<(), NotStarted> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "cannot raise the limit of open files to its hard limit");
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    settings
        .bounds
        .fits_file_limit(limit)
        .map_err(|contradiction| NotStarted::FileLimit(format!("expected {}", contradiction.expected)))
}
