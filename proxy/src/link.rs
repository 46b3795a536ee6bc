//! Connections to one master, or to the Master of Masters.
//!
//! Each thread keeps its own idle connections, so that the hot path shares nothing; one bound per master counts them
//! over all threads. A connection's task belongs to its [`Link`]: dropping the link ends it, which is the only way
//! to be rid of a connection whose master answered before the request's body had gone.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use stagedoor_config::certname::Certname;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::answer::Backend;
use crate::body::Upload;
use crate::pool::resolve::{self, Addresses};

/// Jetty closes an idle connection after 30 s; half of that keeps well clear of the race between its close and our
/// next request.
const IDLE: Duration = Duration::from_secs(15);
/// A request that must not be sent twice rides only on a connection used so lately that no close can be on its way.
const LATELY: Duration = Duration::from_secs(2);
/// The most idle connections one thread keeps to one master: more than a master has JRubies, so that a burst of
/// small files still finds them, and few enough that a hundred masters cost little.
const KEPT: usize = 32;

/// A host that lost its power or its network ends no connection, and a request may wait for its answer for minutes:
/// after half a minute of silence the kernel asks whether it is there, and within another knows that it is not.
pub(crate) const ALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Whom a link leads to.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The name its certificate must carry.
    pub certname: Certname,
    /// `host:port` as configured, for words.
    pub address: String,
    /// Unique in this process: the place of its idle connections.
    pub id: PeerId,
    name: ServerName<'static>,
    addresses: watch::Receiver<Addresses>,
    open: Arc<Semaphore>,
    /// How many may be open.
    most: usize,
}

/// Tells peers apart: a master's number in the pool, the Master of Masters, or its CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PeerId {
    /// By its number in the pool.
    Master(u32),
    /// The Master of Masters.
    Mom,
    /// Its CA, asked to renew certificates: no connection is used twice.
    Renewal,
}

/// How one connection may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Whom to believe, and what to show.
    pub tls: &'a Arc<ClientConfig>,
    /// Counts up when `tls` changes; an older connection is not used again.
    pub generation: u64,
    /// Only a connection used lately, or a new one.
    pub lately: bool,
    /// Only a new one.
    pub fresh: bool,
    /// To open one, handshake included.
    pub patience: Duration,
}

/// One connection, for one request at a time.
pub(crate) struct Link {
    sender: http1::SendRequest<Upload>,
    task: AbortHandle,
    peer: Arc<Peer>,
    generation: u64,
    /// Whether it carried a request before: its master may have closed it meanwhile.
    pub reused: bool,
    _open: Option<OwnedSemaphorePermit>,
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unconnected {
    /// The name has no address yet.
    #[error("no address known for it")]
    NoAddress,
    /// All connections that may be open to it are.
    #[error("every connection that may be open to it is in use")]
    Full,
    /// TCP or TLS took too long.
    #[error("no connection in time")]
    Late,
    /// TCP refused.
    #[error("cannot connect")]
    Tcp(#[source] io::Error),
    /// TLS failed: a wrong name, an unknown CA, a refused client certificate.
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    /// hyper did not begin.
    #[error("HTTP did not begin")]
    Http(#[source] hyper::Error),
}

/// What became of a request that was handed to a connection.
pub(crate) enum Unsent {
    /// Not a byte was written; the request comes back.
    Whole(Box<Request<Upload>>),
    /// Some of it may have been written, and no response has begun.
    Cut(hyper::Error),
}

/// The idle connections of one thread.
pub(crate) struct Links {
    // A mutex only because tasks of one runtime must be `Send`; no other thread ever asks for it.
    idle: Mutex<HashMap<PeerId, Vec<(Link, Instant)>>>,
    threads: usize,
}

impl Peer {
    pub(crate) fn new(
        id: PeerId,
        certname: Certname,
        address: String,
        addresses: watch::Receiver<Addresses>,
        most: usize,
    ) -> Option<Self> {
        // A backend of a passed port is called by its address; its certificate carries the host.
        let host = resolve::split(certname.as_str()).map_or(certname.as_str(), |(host, _port)| host);
        let name = ServerName::try_from(host.to_owned()).ok()?;
        Some(Self { certname, address, id, name, addresses, open: Arc::new(Semaphore::new(most)), most })
    }

    /// The same server over other connections, so many of them at most.
    pub(crate) fn beside(&self, id: PeerId, most: usize) -> Self {
        Self {
            certname: self.certname.clone(),
            address: self.address.clone(),
            id,
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            open: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// Where it is, as it is looked up again and again.
    pub(crate) fn addresses(&self) -> watch::Receiver<Addresses> {
        self.addresses.clone()
    }

    /// The name its certificate must carry, as it is dialled.
    pub(crate) const fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Which of the two it is, for answers.
    pub(crate) const fn backend(&self) -> Backend {
        match self.id {
            PeerId::Master(_) => Backend::Master,
            PeerId::Mom | PeerId::Renewal => Backend::Mom,
        }
    }

    /// Opens a connection: TCP, TLS with the name checked, HTTP.
    pub(crate) async fn connect(self: &Arc<Self>, terms: Terms<'_>) -> Result<Link, Unconnected> {
        let ends = tokio::time::Instant::now() + terms.patience;
        let open = tokio::time::timeout_at(ends, Arc::clone(&self.open).acquire_owned()).await;
        let Ok(Ok(open)) = open else { return Err(Unconnected::Full) };
        self.dial(terms, ends, Some(open)).await
    }

    /// Opens a connection for a question about health, whatever number is open: a master that has as many requests as
    /// it may is busy, not ill.
    pub(crate) async fn connect_beside(self: &Arc<Self>, terms: Terms<'_>) -> Result<Link, Unconnected> {
        self.dial(terms, tokio::time::Instant::now() + terms.patience, None).await
    }

    /// Opens a TCP connection for bytes that are passed, whatever number is open: most of those are idle, and what may
    /// be passed in all is bounded elsewhere.
    pub(crate) async fn connect_bare(&self, patience: Duration) -> Result<TcpStream, Unconnected> {
        tokio::time::timeout(patience, self.tcp(patience)).await.map_err(|_| Unconnected::Late)?
    }

    async fn dial(
        self: &Arc<Self>,
        terms: Terms<'_>,
        ends: tokio::time::Instant,
        open: Option<OwnedSemaphorePermit>,
    ) -> Result<Link, Unconnected> {
        let tcp = tokio::time::timeout_at(ends, self.tcp(terms.patience))
            .await
            .map_err(|_| Unconnected::Late)??;
        let tls = TlsConnector::from(Arc::clone(terms.tls)).connect(self.name.clone(), tcp);
        let tls = tokio::time::timeout_at(ends, tls).await.map_err(|_| Unconnected::Late)?;
        let io = TokioIo::new(tls.map_err(Unconnected::Tls)?);
        let (sender, connection) = http1::handshake(io).await.map_err(Unconnected::Http)?;
        // An error of the connection reaches the request it had; without one, nobody needs to know.
        let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        let peer = Arc::clone(self);
        Ok(Link { sender, task, peer, generation: terms.generation, reused: false, _open: open })
    }

    /// The addresses in turn, the first that accepts.
    async fn tcp(&self, patience: Duration) -> Result<TcpStream, Unconnected> {
        let mut known = self.addresses.clone();
        let addresses = match known.wait_for(|a| !a.is_empty()).await {
            Ok(addresses) => Arc::clone(&addresses),
            Err(_nobody_looks) => return Err(Unconnected::NoAddress),
        };
        // One address that swallows packets must not use up the time of the others.
        let each = patience / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut last = Unconnected::NoAddress;
        for address in addresses.iter() {
            match tokio::time::timeout(each, TcpStream::connect(address)).await {
                Err(_elapsed) => last = Unconnected::Late,
                Ok(Ok(stream)) => {
                    // A head and a small body are one flight each; waiting to fill segments only adds latency.
                    stream.set_nodelay(true).map_err(Unconnected::Tcp)?;
                    SockRef::from(&stream).set_tcp_keepalive(&ALIVE).map_err(Unconnected::Tcp)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Unconnected::Tcp(error),
            }
        }
        Err(last)
    }
}

impl Link {
    /// Sends a request and waits for the head of the response.
    pub(crate) async fn send(&mut self, request: Request<Upload>) -> Result<Response<Incoming>, Unsent> {
        self.sender.try_send_request(request).await.map_err(|mut failed| match failed.take_message() {
            Some(request) => Unsent::Whole(Box::new(request)),
            None => Unsent::Cut(failed.into_error()),
        })
    }

    /// Whom it leads to.
    pub(crate) const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Links {
    /// For one of so many threads.
    pub(crate) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::new(HashMap::new()), threads: threads.max(1) })
    }

    /// Idle connections of all threads together are at most half of what may be open to one peer: what one thread
    /// keeps idle, or what is too old for a request that must not be sent twice, must not keep another from opening
    /// one.
    fn kept(&self, peer: &Peer) -> usize {
        match peer.id {
            PeerId::Renewal => 0,
            PeerId::Master(_) | PeerId::Mom => (peer.most / (2 * self.threads)).min(KEPT),
        }
    }

    /// An idle connection on these terms, or a new one.
    pub(crate) async fn link(&self, peer: &Arc<Peer>, terms: Terms<'_>) -> Result<Link, Unconnected> {
        while let Some(mut link) = self.idle(peer, terms) {
            // The last response's end may not have reached the connection's task yet; a closed one errs at once.
            if tokio::time::timeout(terms.patience, link.sender.ready()).await.is_ok_and(|r| r.is_ok()) {
                link.reused = true;
                return Ok(link);
            }
        }
        // A handshake's state is large; inside the request's future every agent connection would carry room for it.
        Box::pin(peer.connect(terms)).await
    }

    fn idle(&self, peer: &Arc<Peer>, terms: Terms<'_>) -> Option<Link> {
        if terms.fresh {
            return None;
        }
        let most = if terms.lately { LATELY } else { IDLE };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let links = idle.get_mut(&peer.id)?;
        loop {
            // The one used last comes first: it is the likeliest to live, and the others may grow old and go.
            let (link, since) = links.last()?;
            if link.generation == terms.generation && !link.sender.is_closed() {
                if since.elapsed() > most {
                    return None;
                }
                return links.pop().map(|(link, _)| link);
            }
            links.pop();
        }
    }

    /// Keeps a connection whose response came to its end. `gone` says that the request's body had gone before.
    pub(crate) fn keep(&self, link: Link, gone: &AtomicBool) {
        if !gone.load(Ordering::Acquire) || link.sender.is_closed() {
            return;
        }
        let kept = self.kept(&link.peer);
        // When all that may be open are, somebody may wait to open one, perhaps on another thread: this one's end is
        // what they wait for.
        if kept == 0 || link.peer.open.available_permits() == 0 {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let links = idle.entry(link.peer.id).or_default();
        if links.len() >= kept {
            links.remove(0);
        }
        links.push((link, Instant::now()));
    }

    /// Drops what has been idle too long, closed by its master, or leads to a master that is gone. Called every few
    /// seconds on the thread that owns the links.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, links| {
            links.retain(|(link, since)| since.elapsed() <= IDLE && !link.sender.is_closed());
            !links.is_empty()
        });
    }
}
