//! The load's other end: a compile master that answers at once.
//!
//! The stand-in master of the tests reads every header into text of its own, parses the stated certificate and keeps
//! a record of each request. It would use more CPU than the proxies that are measured, and with the agents on the
//! same core they would wait for it most of the time. This one answers from bytes made before, by the first letters
//! of the path. Its TLS is the stand-in's: sealed, it demands a certificate of the door's CA.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use harness::listening::own_address;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Bytes of a file_metadata answer.
pub(crate) const METADATA: usize = 500;
/// Bytes of a file_content answer.
pub(crate) const FILE: usize = 200_000;
/// Bytes of what a report is answered with here: as many as a catalog has.
pub(crate) const ANSWER: usize = 100_000;

struct Answers {
    metadata: Bytes,
    file: Bytes,
    report: Bytes,
    status: Bytes,
}

/// Listens on a free port and answers until the program ends.
pub(crate) async fn start(tls: Arc<ServerConfig>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((own_address(), 0)).await?;
    let address = listener.local_addr()?;
    let answers = Arc::new(Answers {
        metadata: answer("application/json", &[b'm'; METADATA]),
        file: answer("application/octet-stream", &vec![b'f'; FILE]),
        report: answer("application/json", &vec![b'c'; ANSWER]),
        status: answer("text/plain", b"running"),
    });
    let acceptor = TlsAcceptor::from(tls);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
            tokio::spawn(async move {
                let served = serve(stream, acceptor, &answers).await;
                if let Err(error) = served {
                    // A proxy may drop its idle connections as it likes; anything else shows in the agents' errors.
                    drop(error);
                }
            });
        }
    });
    Ok(address)
}

fn answer(content_type: &str, body: &[u8]) -> Bytes {
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: {content_type}\r\n\
         X-Puppet-Version: 8.10.0\r\nContent-Length: {}\r\nServer: Jetty(10.0.20)\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, answers: &Answers) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut tls = acceptor.accept(stream).await?;
    let mut read = BytesMut::with_capacity(32 * 1024);
    while let Some(head) = head(&mut tls, &mut read).await? {
        let mut left = length(&head)?;
        while left > 0 {
            if read.is_empty() {
                read.reserve(16 * 1024);
                if tls.read_buf(&mut read).await? == 0 {
                    bail!("the connection ended within a body");
                }
            }
            let taken = left.min(read.len());
            read.advance(taken);
            left -= taken;
        }
        let target = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
        let answer = match target {
            [b'/', b's', b't', ..] => answers.status.clone(),
            t if t.starts_with(b"/puppet/v3/file_metadata/") => answers.metadata.clone(),
            t if t.starts_with(b"/puppet/v3/file_content/") => answers.file.clone(),
            t if t.starts_with(b"/puppet/v3/report/") => answers.report.clone(),
            // Anything else shows the head as it came here, so that whoever asks sees what the proxy made of it.
            _ => answer("text/plain", &head),
        };
        tls.write_all(&answer).await?;
        tls.flush().await?;
    }
    Ok(())
}

async fn head(tls: &mut TlsStream<TcpStream>, read: &mut BytesMut) -> Result<Option<Bytes>> {
    loop {
        if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(Some(read.split_to(at + 4).freeze()));
        }
        read.reserve(16 * 1024);
        if tls.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

/// What a head says of its body. Chunks are not understood: no proxy here sends them for a body whose length the
/// agent stated.
pub(crate) fn length(head: &[u8]) -> Result<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut lines = head.split(|b| *b == b'\n');
    let line = lines.find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)));
    match line {
        Some(line) => {
            let number = line.get(NAME.len()..).unwrap_or_default().trim_ascii();
            std::str::from_utf8(number)?.parse().context("Content-Length: a number expected")
        }
        None if head.windows(9).any(|w| w.eq_ignore_ascii_case(b": chunked")) => bail!("a body in chunks"),
        None => Ok(0),
    }
}
