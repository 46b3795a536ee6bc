//! An agent as a proxy sees one: a TLS connection with a client certificate, and requests with an agent's headers.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, BytesMut};
use harness::tls::server_name;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::master::length;

/// The name that agents use for the proxy.
pub(crate) const SERVER: &str = "puppet";

/// One connection of an agent.
pub(crate) struct Agent {
    stream: TlsStream<TcpStream>,
    read: BytesMut,
}

impl Agent {
    /// Connects, with a full handshake.
    pub(crate) async fn connect(to: SocketAddr, tls: &Arc<ClientConfig>) -> Result<Self> {
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(server_name(SERVER), tcp).await.context("the handshake failed")?;
        Ok(Self { stream, read: BytesMut::with_capacity(32 * 1024) })
    }

    /// Sends a request and reads its answer, which must be a 200 of `expected` bytes.
    pub(crate) async fn ask(&mut self, request: &[u8], expected: usize) -> Result<()> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let (head, length) = self.head().await?;
        let mut left = length;
        loop {
            let taken = left.min(self.read.len());
            self.read.advance(taken);
            left -= taken;
            if left == 0 {
                break;
            }
            self.more().await?;
        }
        ensure!(
            head.starts_with(b"HTTP/1.1 200") && length == expected,
            "a 200 of {expected} bytes expected, not {length} bytes under {}",
            String::from_utf8_lossy(&head)
        );
        Ok(())
    }

    /// Sends a request and gives back the body of its answer.
    pub(crate) async fn ask_whole(&mut self, request: &[u8]) -> Result<String> {
        self.stream.write_all(request).await?;
        let (_, length) = self.head().await?;
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(String::from_utf8_lossy(&self.read.split_to(length)).into_owned())
    }

    /// Ends the connection in good order, as an agent does after its run.
    pub(crate) async fn close(mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    async fn head(&mut self) -> Result<(BytesMut, usize)> {
        loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.read.split_to(at + 4);
                let length = length(&head)?;
                return Ok((head, length));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        self.read.reserve(16 * 1024);
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the proxy closed the connection");
        }
        Ok(())
    }
}
