//! What comes before TLS: a balancer's word on where a connection comes from, and the first record.
//!
//! Each is read once, within the time that the bounds give handshakes together. The balancers that the settings name
//! must say where a connection comes from, and nobody else may: what they say decides limits, logs and shares.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use stagedoor_config::proxy::Listen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::hello::{self, First, NotTls};
use crate::proxy_protocol::{self, Addresses, Parsed};
use crate::way::Refused;

/// For a person with curl: agents never speak HTTP in the clear.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n\
    this port speaks TLS; ask with https://\n";

/// A connection of which not more than its first bytes were read.
pub(crate) struct Front {
    stream: TcpStream,
    read: BytesMut,
    /// Both ends of the client's connection, as the balancer in front says it, or as it is.
    pub addresses: Addresses,
}

/// Why a connection ended before it said who it is for: the word in metrics.
pub(crate) type Ended = &'static str;

impl Front {
    /// Takes a connection, and reads where it comes from if a balancer has to say.
    pub(crate) async fn open(
        stream: TcpStream,
        peer: SocketAddr,
        listen: &Listen,
        ends: Instant,
    ) -> Result<Self, Ended> {
        // A head and a body are one flight each; waiting to fill segments only adds latency.
        stream.set_nodelay(true).map_err(|_| "closed")?;
        let destination = stream.local_addr().map_err(|_| "closed")?;
        let addresses = Addresses { source: peer, destination };
        let mut front = Self { stream, read: BytesMut::with_capacity(2048), addresses };
        if listen.accept_proxy_from.iter().any(|balancer| balancer.contains(peer.ip())) {
            timeout_at(ends, front.header()).await.map_err(|_| "late")??;
        }
        Ok(front)
    }

    async fn header(&mut self) -> Result<(), Ended> {
        loop {
            self.more().await?;
            match proxy_protocol::parse(&self.read) {
                Parsed::NeedMore => {}
                Parsed::Header { addresses, length } => {
                    self.addresses = addresses.unwrap_or(self.addresses);
                    self.read.advance(length);
                    return Ok(());
                }
                Parsed::Broken => return Err("bad_proxy_header"),
            }
        }
    }

    /// Reads until the first record says what it is.
    pub(crate) async fn first_record(&mut self, ends: Instant) -> Result<(), Ended> {
        let reading = async {
            // Some of it may have come with the balancer's header.
            while matches!(hello::first(&self.read), First::NeedMore) {
                self.more().await?;
            }
            Ok(())
        };
        timeout_at(ends, reading).await.map_err(|_| "late")?
    }

    async fn more(&mut self) -> Result<(), Ended> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(1..) => Ok(()),
            // A load balancer's TCP check, or a port scan.
            Ok(0) | Err(_) => Err("closed"),
        }
    }

    /// What the first record is.
    pub(crate) fn first(&self) -> First<'_> {
        hello::first(&self.read)
    }

    /// Tells the client why, where that is possible, and closes.
    pub(crate) async fn refuse(mut self, why: Refused) {
        let words = match why {
            Refused::TooOld => &hello::protocol_version_alert()[..],
            Refused::NotTls(NotTls::PlainHttp) => PLAIN_HTTP,
            Refused::Broken | Refused::NotTls(_) => return,
        };
        // Whether it arrives makes no difference to us.
        drop(self.stream.write_all(words).await);
    }

    /// The connection, and what was read of the client's bytes.
    pub(crate) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream, self.read.freeze())
    }
}
