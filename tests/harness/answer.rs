//! Answers of stand-ins, small or of gigabytes, and ways to answer badly.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::http1::{Conn, Head, status_line};

const MIB: usize = 1 << 20;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers beside the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

/// A body.
#[derive(Debug, Clone)]
pub enum Body {
    /// In memory.
    Bytes(Bytes),
    /// So many bytes of [`pattern`], made while they are sent.
    Pattern(u64),
}

impl Answer {
    /// A text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let headers = vec![("Content-Type", "text/plain;charset=utf-8".to_owned())];
        Self { status, headers, body: Body::Bytes(Bytes::from(text.into())) }
    }

    /// JSON.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Self {
        let headers = vec![("Content-Type", "application/json;charset=utf-8".to_owned())];
        Self { status: 200, headers, body: Body::Bytes(Bytes::from(value.to_string())) }
    }

    /// A file's bytes.
    #[must_use]
    pub fn octets(body: Body) -> Self {
        Self { status: 200, headers: vec![("Content-Type", "application/octet-stream".to_owned())], body }
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        to: &mut Conn<S>,
        method: &str,
    ) -> io::Result<()> {
        let length = match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Pattern(length) => *length,
        };
        let mut out = status_line(self.status);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str(&format!("Content-Length: {length}\r\n\r\n"));
        let mut out = out.into_bytes();
        match &self.body {
            _ if method == "HEAD" => to.write(&out).await,
            Body::Bytes(bytes) => {
                out.extend_from_slice(bytes);
                to.write(&out).await
            }
            Body::Pattern(length) => {
                to.write(&out).await?;
                let mut left = *length;
                while left > 0 {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(MIB);
                    to.write(&pattern_from(0)[..take]).await?;
                    left -= take as u64;
                }
                Ok(())
            }
        }
    }
}

/// The first bytes of a pattern that repeats every MiB and whose bytes differ from their neighbours'.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    pattern_from(0)[..MIB].iter().copied().cycle().take(length).collect()
}

/// At least a MiB of the pattern, from so many bytes after its beginning.
pub(crate) fn pattern_from(at: usize) -> &'static [u8] {
    static TWICE: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..2 * MIB).map(|at| u8::try_from((at % MIB) % 251).unwrap_or_default()).collect());
    &TWICE[at % MIB..]
}

/// What a stand-in does instead of answering as it should.
#[derive(Debug, Clone)]
pub enum Act {
    /// Reads the head, then closes without a byte.
    CloseUnread,
    /// Reads everything, then closes without a byte.
    Close,
    /// Answers before it has read the body, and never reads that.
    Early(Answer),
    /// Reads everything and answers this.
    Answer(Answer),
    /// Reads everything and sends these bytes as they are; then closes, or waits for the next request.
    Raw {
        /// What is sent.
        bytes: Bytes,
        /// Whether the connection ends then.
        close: bool,
    },
    /// Waits, then answers as it should.
    Slow(Duration),
    /// Reads everything, says nothing, closes nothing.
    Hang,
}

impl Act {
    /// Sends bytes as they are and keeps the connection.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::Raw { bytes: bytes.into(), close: false }
    }

    /// Sends bytes as they are and closes.
    #[must_use]
    pub fn raw_then_close(bytes: impl Into<Bytes>) -> Self {
        Self::Raw { bytes: bytes.into(), close: true }
    }

    /// Puppet Server's refusal before any work: 503 with `Retry-After` and `Connection: close`.
    #[must_use]
    pub fn busy(retry_after: u32) -> Self {
        Self::Answer(
            busy_answer().header("Retry-After", retry_after.to_string()).header("Connection", "close"),
        )
    }

    /// Puppet Server's borrow timeout: 503 without `Retry-After`.
    #[must_use]
    pub fn borrow_timeout() -> Self {
        Self::Answer(busy_answer())
    }

    /// A 503 with `Retry-After` before the body has been read.
    #[must_use]
    pub fn early_busy(retry_after: u32) -> Self {
        Self::Early(busy_answer().header("Retry-After", retry_after.to_string()))
    }

    /// Switches protocols although nobody asked.
    #[must_use]
    pub fn unasked_101() -> Self {
        Self::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: telnet\r\n\r\n")
    }

    /// Gives a length and chunks at once.
    #[must_use]
    pub fn length_and_chunks() -> Self {
        Self::raw(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
        )
    }

    /// Sends trailers after its chunks.
    #[must_use]
    pub fn trailers() -> Self {
        Self::raw(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTrailer: X-After\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\nX-After: late\r\nContent-Length: 99\r\n\r\n",
        )
    }

    /// Sends headers that are meant for the next hop alone.
    #[must_use]
    pub fn hop_by_hop() -> Self {
        Self::raw(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: keep-alive, X-Hop\r\nX-Hop: secret\r\n\
             Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Puppet-Version: 8.10.0\r\n\
             Content-Length: 5\r\n\r\nhello",
        )
    }

    /// Announces a longer body than it sends, then closes.
    #[must_use]
    pub fn cut_short() -> Self {
        Self::raw_then_close(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nonly this",
        )
    }
}

fn busy_answer() -> Answer {
    Answer::text(
        503,
        "The number of requests waiting for a JRuby instance has exceeded the limit allowed by the server",
    )
}

/// Which requests are answered otherwise, and how often.
#[derive(Default)]
pub struct Script(std::sync::Mutex<Vec<Line>>);

struct Line {
    matches: Box<dyn Fn(&Head) -> bool + Send + Sync>,
    act: Act,
    left: Option<usize>,
}

impl Script {
    /// The next `times` requests whose path holds `part` are treated so; none means every one.
    pub fn add(&self, part: &str, times: Option<usize>, act: Act) {
        let part = part.to_owned();
        self.add_matching(move |head| head.path().contains(&part), times, act);
    }

    /// The next `times` requests that match are treated so; none means every one.
    pub fn add_matching(
        &self,
        matches: impl Fn(&Head) -> bool + Send + Sync + 'static,
        times: Option<usize>,
        act: Act,
    ) {
        self.0.lock().unwrap().push(Line { matches: Box::new(matches), act, left: times });
    }

    /// Everything is answered as it should again.
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    pub(crate) fn take(&self, head: &Head) -> Option<Act> {
        let mut lines = self.0.lock().unwrap();
        let at = lines.iter().position(|line| (line.matches)(head))?;
        let act = lines[at].act.clone();
        if let Some(left) = &mut lines[at].left {
            *left -= 1;
            if *left == 0 {
                lines.remove(at);
            }
        }
        Some(act)
    }
}
