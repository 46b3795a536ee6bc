//! Raw TLS sockets: bytes in, bytes out, at either end.
//!
//! The client end says exactly what a test writes; the server end is a master whose every byte the test writes too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ca::DoorCa;
use crate::http1::{Conn, Head};
use crate::identity::Identity;
use crate::listening::{Listening, ServerConn};
use crate::tls;
use crate::wait::in_time;

/// The client end of a connection.
pub struct Wire {
    /// The connection itself, for what is not said here.
    pub conn: Conn<TlsStream<TcpStream>>,
}

/// A response with its head as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The head.
    pub head: Head,
    /// The body, with its chunks put together.
    pub body: Bytes,
    /// The trailers, which a door should never send.
    pub trailers: Vec<String>,
}

impl Reply {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    /// Connects and shakes hands. With TLS 1.3 a refused certificate is told only afterwards: the first read fails.
    ///
    /// # Errors
    /// When the connection or the handshake fails.
    pub async fn open(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, name, config).await
    }

    /// As [`Wire::open`], from a source address of our choice.
    ///
    /// # Errors
    /// As [`Wire::open`].
    pub async fn open_from(
        source: SocketAddr,
        address: SocketAddr,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(source)?;
        Self::over(socket.connect(address).await?, name, config).await
    }

    /// As [`Wire::open`], over a connection on which something was said already.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn over(stream: TcpStream, name: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let tls = TlsConnector::from(config).connect(tls::server_name(name), stream).await?;
        Ok(Self { conn: Conn::new(tls) })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.conn.write(bytes.as_ref()).await
    }

    /// Reads a response to a request of this method.
    ///
    /// # Errors
    /// When the connection breaks or ends before the response does.
    pub async fn reply_to(&mut self, method: &str) -> io::Result<Reply> {
        in_time("a response", async {
            let head = self.conn.head().await?;
            let head =
                head.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"))?;
            let framing = head.response_framing(method);
            let mut body = Vec::new();
            let (_, trailers) =
                self.conn.body(framing, &mut |piece: &[u8]| body.extend_from_slice(piece)).await?;
            Ok(Reply { head, body: body.into(), trailers })
        })
        .await
    }

    /// Writes a request as it is and reads the response; the method is the request's first word.
    ///
    /// # Errors
    /// As [`Wire::send`] and [`Wire::reply_to`].
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> io::Result<Reply> {
        let request = request.as_ref();
        let method =
            String::from_utf8_lossy(request.split(|b| *b == b' ').next().unwrap_or_default()).into_owned();
        self.send(request).await?;
        self.reply_to(&method).await
    }

    /// Everything that comes until the other side closes.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        in_time("the other side closes", self.conn.rest()).await
    }
}

/// A master that says only what a test writes.
pub struct RawMaster {
    listening: Listening,
    connections: Mutex<mpsc::UnboundedReceiver<ServerConn>>,
}

impl RawMaster {
    /// Starts it on a free port; it demands a certificate of the door's CA as any sealed master does.
    #[must_use]
    pub fn start(identity: &Identity, door_ca: &DoorCa) -> Self {
        let (give, take) = mpsc::unbounded_channel();
        let listening = Listening::start(
            tls::sealed_master(identity, door_ca),
            Arc::new(move |conn, _| {
                let give = give.clone();
                Box::pin(async move {
                    // Nobody takes it any more when the test is over.
                    give.send(conn).ok();
                })
            }),
        );
        Self { listening, connections: Mutex::new(take) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// The next connection that shook hands. Questions about health come here as well.
    pub async fn accept(&self) -> ServerConn {
        let mut connections = self.connections.lock().await;
        in_time("a connection to the master", connections.recv()).await.expect("the listener lives")
    }
}
