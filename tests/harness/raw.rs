//! A TCP server that says only what a test writes, and knows every byte that comes: what stands behind a door that
//! passes bytes.
//!
//! Connections that end without a byte, as health checks do, are counted and not given to the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use crate::listening::own_address;
use crate::wait::in_time;

/// A listening server.
pub struct Raw {
    address: SocketAddr,
    given: Mutex<mpsc::UnboundedReceiver<TcpStream>>,
    silent: Arc<AtomicUsize>,
    running: JoinHandle<()>,
}

impl Raw {
    /// Listens on a free port of a loopback address of its own.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (give, given) = mpsc::unbounded_channel();
        let silent = Arc::new(AtomicUsize::new(0));
        let counted = silent.clone();
        let running = tokio::spawn(async move {
            let mut waiting = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (give, silent) = (give.clone(), counted.clone());
                waiting.spawn(async move {
                    match stream.peek(&mut [0]).await {
                        // Nobody takes it any more when the test is over.
                        Ok(1..) => drop(give.send(stream)),
                        Ok(0) | Err(_) => drop(silent.fetch_add(1, Ordering::Relaxed)),
                    }
                });
            }
        });
        Self { address, given: Mutex::new(given), silent, running }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that ended without a byte.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.silent.load(Ordering::Relaxed)
    }

    /// The next connection that says something.
    ///
    /// # Panics
    /// When none comes.
    pub async fn next(&self) -> Spoken {
        let mut given = self.given.lock().await;
        Spoken { stream: in_time("a connection", given.recv()).await.expect("the listener lives") }
    }

    /// Whether a connection has said something and was not taken.
    pub async fn has_more(&self) -> bool {
        !self.given.lock().await.is_empty()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A connection in a test's hands, either end.
pub struct Spoken {
    /// The connection itself.
    pub stream: TcpStream,
}

impl Spoken {
    /// Connects somewhere.
    ///
    /// # Panics
    /// When nobody accepts.
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream }
    }

    /// The same, from a source address of our choice.
    ///
    /// # Panics
    /// When nobody accepts.
    pub async fn from(source: [u8; 4], address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((source, 0).into()).expect("an address of this machine");
        let stream = socket.connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream }
    }

    /// Writes bytes.
    ///
    /// # Panics
    /// When the connection is broken.
    pub async fn say(&mut self, bytes: &[u8]) {
        in_time("bytes are taken", self.stream.write_all(bytes)).await.expect("the connection is open");
    }

    /// Says that nothing more comes.
    ///
    /// # Panics
    /// When the connection is broken.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("the connection is open");
    }

    /// Reads so many bytes.
    ///
    /// # Panics
    /// When it ends before.
    pub async fn hear(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        in_time("bytes", self.stream.read_exact(&mut bytes)).await.expect("they all come");
        bytes
    }

    /// Everything until the other side ends, or breaks off.
    ///
    /// # Panics
    /// When it does neither.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end for whoever waits for one.
        in_time("the other side ends", self.stream.read_to_end(&mut bytes)).await.ok();
        bytes
    }
}
