//! A TLS listener that can be killed and come back on the same port.
//!
//! Each stand-in has a loopback address of its own (127.64.0.0/10), so that a port which is free while its stand-in
//! is dead is not taken by anybody's outgoing connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::http1::Conn;
use crate::java7;

/// A connection that a stand-in serves.
pub type ServerConn = Conn<TlsStream<TcpStream>>;
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;
type Serve = Arc<dyn Fn(ServerConn, usize) -> Serving + Send + Sync>;

/// A loopback address that no other stand-in of this machine has, as good as surely.
#[must_use]
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    // 127.64.0.0/10: ten bits of the process, twelve of the count.
    let low = ((process & 0x3ff) << 12) | (number & 0xfff);
    IpAddr::V4(Ipv4Addr::from(0x7f40_0000 | low))
}

/// A port of an address that nobody has; nobody takes it meanwhile, when the address is [`own_address`].
#[must_use]
pub fn free_address(host: IpAddr) -> SocketAddr {
    let probe = std::net::TcpListener::bind((host, 0)).expect("a free port");
    probe.local_addr().expect("a bound socket has an address")
}

/// What has happened to a listener.
#[derive(Debug, Default)]
pub struct Counts {
    accepted: AtomicUsize,
    pub(crate) handshakes: AtomicUsize,
    open: AtomicUsize,
}

impl Counts {
    /// Connections accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Handshakes that came to a good end.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Connections open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// What a listener speaks to whoever connects.
#[derive(Clone)]
pub enum Speaks {
    /// TLS.
    Tls(Arc<ServerConfig>),
    /// HTTP in clear text, where everything is answered with 200.
    Clear,
    /// TLS as Java 7 speaks it: nobody here gets through.
    Java7,
    /// Nothing, for ever.
    Nothing,
}

/// A listener and its connections.
pub struct Listening {
    address: SocketAddr,
    speaks: Arc<Mutex<Speaks>>,
    serve: Serve,
    counts: Arc<Counts>,
    refusals: Arc<Mutex<Vec<String>>>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Listening {
    /// Listens on a free port of a loopback address of its own.
    pub fn start(tls: Arc<ServerConfig>, serve: Serve) -> Self {
        let listener = bind(SocketAddr::new(own_address(), 0)).expect("a free port");
        let this = Self {
            address: listener.local_addr().expect("a bound socket has an address"),
            speaks: Arc::new(Mutex::new(Speaks::Tls(tls))),
            serve,
            counts: Arc::default(),
            refusals: Arc::default(),
            running: Mutex::new(None),
        };
        this.run(listener);
        this
    }

    fn run(&self, listener: TcpListener) {
        let speaks = self.speaks.clone();
        let (serve, counts, refusals) = (self.serve.clone(), self.counts.clone(), self.refusals.clone());
        let running = tokio::spawn(async move {
            // Dropping the set ends every connection, which is what `kill` wants.
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                let Ok((stream, _)) = listener.accept().await else { continue };
                let id = counts.accepted.fetch_add(1, Ordering::Relaxed);
                let (serve, refusals) = (serve.clone(), refusals.clone());
                let speaks = speaks.lock().unwrap().clone();
                let open = Open::new(&counts);
                connections.spawn(async move {
                    stream.set_nodelay(true).ok();
                    let tls = match speaks {
                        Speaks::Tls(tls) => tls,
                        Speaks::Clear => return in_clear(stream).await,
                        Speaks::Java7 => return java7::speak(stream, open.0.as_ref()).await,
                        Speaks::Nothing => return std::future::pending().await,
                    };
                    match TlsAcceptor::from(tls).accept(stream).await {
                        Ok(tls) => {
                            open.0.handshakes.fetch_add(1, Ordering::Relaxed);
                            serve(Conn::new(tls), id).await;
                        }
                        Err(why) => refusals.lock().unwrap().push(why.to_string()),
                    }
                });
            }
        });
        *self.running.lock().unwrap() = Some(running);
    }

    /// Where it listens, also while it does not.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Why handshakes failed, in order.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        self.refusals.lock().unwrap().clone()
    }

    /// What it speaks on connections that come from now on.
    pub fn speak(&self, speaks: Speaks) {
        *self.speaks.lock().unwrap() = speaks;
    }

    /// Stops listening and drops every connection, as SIGKILL would.
    pub async fn kill(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(task) = running {
            task.abort();
            task.await.ok();
        }
    }

    /// Stops listening until [`Listening::serve_anew`].
    pub(crate) fn rest(&self) {
        if let Some(task) = self.running.lock().unwrap().take() {
            task.abort();
        }
    }

    /// Listens, or goes on listening, with these TLS settings; says whether it did not listen before.
    pub(crate) fn serve_anew(&self, tls: Arc<ServerConfig>) -> bool {
        if self.running.lock().unwrap().is_some() {
            self.speak(Speaks::Tls(tls));
            return false;
        }
        self.restart(Some(tls));
        true
    }

    /// Listens again on the same port, with other TLS settings where given.
    pub fn restart(&self, tls: Option<Arc<ServerConfig>>) {
        if let Some(tls) = tls {
            self.speak(Speaks::Tls(tls));
        }
        // Another test may be starting a child just now: between fork and exec that has our old socket too.
        let listener = (0..200).find_map(|_| match bind(self.address) {
            Ok(listener) => Some(listener),
            Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                None
            }
        });
        self.run(listener.unwrap_or_else(|| panic!("{} stays in use", self.address)));
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(task) = self.running.lock().unwrap().take() {
            task.abort();
        }
    }
}

/// Counts a connection as open while it lives, however it ends.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn in_clear(stream: TcpStream) {
    let mut conn = Conn::new(stream);
    if let Ok(Some(_)) = conn.head().await {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nrunning";
        conn.write(answer).await.ok();
    }
    conn.close().await;
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}
