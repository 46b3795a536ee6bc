//! The load: clients that begin with a ClientHello, and a backend that gives as many bytes as it is asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::process::{self, Cpu};
use crate::proxy::Proxy;

/// Connections at once.
const AGENTS: usize = 16;
/// How long one sample is.
const SAMPLE: Duration = Duration::from_secs(2);
/// What one transfer asks for.
const BULK: u64 = 32 << 20;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// A whole connection: hello, 4 KiB back, both ends.
    Connection,
    /// A message of 100 bytes and its answer on an open connection, as on port 8142.
    Message,
    /// A MiB of a long answer.
    Bulk,
}

impl Unit {
    /// What a table calls it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Connection => "connection with 4 KiB back, \u{b5}s",
            Self::Message => "message of 100 bytes and answer, \u{b5}s",
            Self::Bulk => "MiB of a long answer, \u{b5}s",
        }
    }
}

/// A ClientHello of TLS 1.2 as long as a current one, by its padding.
fn hello() -> Vec<u8> {
    const PADDING: u16 = 440;
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2f, 0xc0, 0x2b, 1, 0]);
    body.extend((PADDING + 4).to_be_bytes());
    body.extend([0, 21]);
    body.extend(PADDING.to_be_bytes());
    body.extend(std::iter::repeat_n(0, PADDING.into()));
    let length = u16::try_from(body.len()).unwrap_or_default();
    let mut record = vec![22, 3, 1];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(body);
    record
}

/// Answers each eight bytes with as many bytes as they say, after a hello.
pub(crate) async fn backend() -> Result<SocketAddr> {
    let listener = TcpListener::bind((harness::listening::own_address(), 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            // Ends when its client does, or when a health check does.
            tokio::spawn(async move { drop(serve(stream).await) });
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let bytes = vec![0x17; 64 * 1024];
    stream.read_exact(&mut vec![0; hello().len()]).await?;
    loop {
        let mut left = stream.read_u64().await?;
        while left > 0 {
            let piece = bytes.len().min(usize::try_from(left)?);
            stream.write_all(bytes.get(..piece).context("a piece")?).await?;
            left -= piece as u64;
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ask(stream: &mut TcpStream, before: &[u8], bytes: u64) -> Result<()> {
    stream.write_all(&[before, &bytes.to_be_bytes()].concat()).await?;
    let mut left = usize::try_from(bytes)?;
    let mut room = vec![0; left.min(256 * 1024)];
    while left > 0 {
        let most = room.len().min(left);
        let read = stream.read(room.get_mut(..most).context("room")?).await?;
        ensure!(read > 0, "cut short");
        left -= read;
    }
    Ok(())
}

/// One whole connection.
pub(crate) async fn one(address: SocketAddr, bytes: u64) -> Result<()> {
    let mut stream = connect(address).await?;
    ask(&mut stream, &hello(), bytes).await?;
    stream.shutdown().await?;
    ensure!(stream.read(&mut [0]).await? == 0, "more than was asked for");
    Ok(())
}

/// CPU time per unit, in microseconds.
pub(crate) async fn sample(unit: Unit, proxy: &Proxy) -> Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let ends = Instant::now() + SAMPLE;
    let before = Cpu::of(proxy.pid())?;
    let clients = if unit == Unit::Bulk { 4 } else { AGENTS };
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (done, address) = (Arc::clone(&done), proxy.address);
            tokio::spawn(async move {
                match unit {
                    Unit::Connection => {
                        while Instant::now() < ends {
                            one(address, 4096).await?;
                            done.fetch_add(1, Relaxed);
                        }
                    }
                    Unit::Message | Unit::Bulk => {
                        let mut stream = connect(address).await?;
                        ask(&mut stream, &hello(), 1).await?;
                        let (bytes, units) = if unit == Unit::Bulk { (BULK, BULK >> 20) } else { (100, 1) };
                        while Instant::now() < ends {
                            ask(&mut stream, &[], bytes).await?;
                            done.fetch_add(units, Relaxed);
                        }
                    }
                }
                Ok::<(), anyhow::Error>(())
            })
        })
        .collect();
    for client in clients {
        client.await??;
    }
    let used = Cpu::of(proxy.pid())?.since(&before);
    Ok(used / done.load(Relaxed) as f64)
}

/// What one idle connection holds, in KiB.
pub(crate) async fn idle(proxy: &Proxy, count: usize) -> Result<f64> {
    let before = process::memory(proxy.pid())?;
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = connect(proxy.address).await?;
        ask(&mut stream, &hello(), 4096).await?;
        open.push(stream);
    }
    let after = process::memory(proxy.pid())?;
    Ok(after.saturating_sub(before) as f64 / count as f64)
}
