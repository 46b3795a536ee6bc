//! HTTP/1.1 as bytes.
//!
//! Stand-ins do not speak through hyper: what a test wants to know is often what hyper would tidy up (which header,
//! how often, in which spelling, with which framing), and what a stand-in has to send is often what hyper refuses to.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The head of a request or of a response, with every header as it came.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Every byte of it, up to and with the empty line.
    pub raw: Bytes,
    /// Request line or status line.
    pub first: String,
    /// Names and values as they came, in order.
    pub headers: Vec<(String, String)>,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Until the last chunk.
    Chunked,
    /// Until the connection ends.
    ToEnd,
}

impl Head {
    fn parse(raw: Bytes) -> io::Result<Self> {
        let text = String::from_utf8_lossy(&raw);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        };
        let headers: Option<Vec<_>> = lines.map(header).collect();
        let headers = headers.ok_or_else(|| bad(format!("a header line without a colon in {text:?}")))?;
        Ok(Self { raw, first, headers })
    }

    /// The first header of this name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every header of this name, in any case.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }

    /// The target of a request, query and all.
    #[must_use]
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// The path of a request.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// The value of a key in the query, as it came.
    #[must_use]
    pub fn query(&self, key: &str) -> Option<&str> {
        let (_, query) = self.target().split_once('?')?;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// The status of a response; 0 where the line is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// How long the body after a request's head is.
    #[must_use]
    pub fn request_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    /// How long the body after a response's head is, when it answers `method`.
    #[must_use]
    pub fn response_framing(&self, method: &str) -> Framing {
        let status = self.status();
        if method == "HEAD" || status == 204 || status == 304 || (100..200).contains(&status) {
            return Framing::Length(0);
        }
        self.framing().unwrap_or(Framing::ToEnd)
    }

    fn framing(&self) -> Option<Framing> {
        if self.all("transfer-encoding").iter().any(|v| v.to_ascii_lowercase().contains("chunked")) {
            return Some(Framing::Chunked);
        }
        self.get("content-length").and_then(|v| v.parse().ok()).map(Framing::Length)
    }

    /// What no proxy may send: ambiguous lengths, hop-by-hop headers, one name in several spellings.
    #[must_use]
    pub fn offences(&self) -> Vec<String> {
        let mut found = Vec::new();
        let lengths = self.all("content-length").len();
        let encodings = self.all("transfer-encoding");
        if lengths > 1 || encodings.len() > 1 || (lengths == 1 && encodings.len() == 1) {
            found.push(format!("{lengths} lengths and {} encodings", encodings.len()));
        }
        if encodings.iter().any(|value| *value != "chunked") {
            found.push(format!("transfer-encoding {encodings:?}"));
        }
        if self.all("host").len() != 1 {
            found.push(format!("{} Host headers", self.all("host").len()));
        }
        let hop_by_hop = ["keep-alive", "proxy-connection", "te", "trailer", "upgrade", "expect"];
        found
            .extend(hop_by_hop.iter().filter(|name| self.get(name).is_some()).map(|name| (*name).to_owned()));
        found.extend(self.all("connection").iter().map(|value| format!("connection: {value}")));
        for name in ["x-client-verify", "x-client-dn", "x-client-cert"] {
            let folded = |n: &str| n.to_ascii_lowercase().replace('_', "-") == name;
            let count = self.headers.iter().filter(|(n, _)| folded(n)).count();
            if count > 1 {
                found.push(format!("{name} {count} times"));
            }
        }
        if !self.first.ends_with(" HTTP/1.1") || !self.target().starts_with('/') {
            found.push(format!("the line {:?}", self.first));
        }
        found
    }
}

/// One end of a connection.
pub struct Conn<S> {
    stream: S,
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// Speaks over this stream.
    pub fn new(stream: S) -> Self {
        Self { stream, read: BytesMut::with_capacity(16 * 1024) }
    }

    /// The stream, for whatever is not said here.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Waits for more bytes; 0 at the end.
    async fn more(&mut self) -> io::Result<usize> {
        self.read.reserve(64 * 1024);
        self.stream.read_buf(&mut self.read).await
    }

    /// The next head; none when the connection ended before its first byte.
    ///
    /// # Errors
    /// When the connection breaks or ends within it.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.read[looked..].windows(4).position(|w| w == b"\r\n\r\n") {
                let raw = self.read.split_to(looked + at + 4).freeze();
                return Head::parse(raw).map(Some);
            }
            if self.read.len() > 1 << 20 {
                return Err(bad("a head of more than 1 MiB".to_owned()));
            }
            looked = self.read.len().saturating_sub(3);
            if self.more().await? == 0 {
                return if self.read.is_empty() { Ok(None) } else { Err(short("a head")) };
            }
        }
    }

    /// Reads a body piece by piece; says how long it was and which trailers followed.
    ///
    /// # Errors
    /// When the connection breaks or ends within it.
    pub async fn body(
        &mut self,
        framing: Framing,
        piece: &mut (dyn FnMut(&[u8]) + Send),
    ) -> io::Result<(u64, Vec<String>)> {
        match framing {
            Framing::Length(length) => Ok((self.pieces(length, piece).await?, Vec::new())),
            Framing::ToEnd => Ok((self.pieces(u64::MAX, piece).await?, Vec::new())),
            Framing::Chunked => {
                let mut total = 0;
                loop {
                    let line = self.line().await?;
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let size =
                        u64::from_str_radix(digits, 16).map_err(|e| bad(format!("chunk {line:?}: {e}")))?;
                    if size == 0 {
                        break;
                    }
                    total += self.pieces(size, piece).await?;
                    let _ = self.line().await?;
                }
                let mut trailers = Vec::new();
                loop {
                    let line = self.line().await?;
                    if line.is_empty() {
                        return Ok((total, trailers));
                    }
                    trailers.push(line);
                }
            }
        }
    }

    /// A whole body in memory.
    ///
    /// # Errors
    /// As [`Conn::body`].
    pub async fn whole_body(&mut self, framing: Framing) -> io::Result<Bytes> {
        let mut body = BytesMut::new();
        self.body(framing, &mut |piece: &[u8]| body.extend_from_slice(piece)).await?;
        Ok(body.freeze())
    }

    async fn pieces(&mut self, length: u64, piece: &mut (dyn FnMut(&[u8]) + Send)) -> io::Result<u64> {
        let mut left = length;
        while left > 0 {
            if self.read.is_empty() && self.more().await? == 0 {
                return if length == u64::MAX { Ok(length - left) } else { Err(short("a body")) };
            }
            let take = self.read.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            piece(&self.read[..take]);
            self.read.advance(take);
            left -= take as u64;
        }
        Ok(length)
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.read.windows(2).position(|w| w == b"\r\n") {
                let line = self.read.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.more().await? == 0 {
                return Err(short("a line"));
            }
        }
    }

    /// Writes bytes as they are, and out.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads whatever comes until the other side ends; an error ends it as well.
    pub async fn rest(&mut self) -> Vec<u8> {
        while matches!(self.more().await, Ok(n) if n > 0) {}
        self.read.split().to_vec()
    }

    /// Closes in good order.
    pub async fn close(&mut self) {
        self.stream.shutdown().await.ok();
    }
}

/// The line for a status.
#[must_use]
pub fn status_line(status: u16) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Odd");
    format!("HTTP/1.1 {status} {reason}\r\n")
}

fn bad(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn short(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection ended within {what}"))
}
