//! The least rate: nobody may hold a connection, a kept body or a JRuby by moving a byte now and then.
//!
//! Two watchers, because a stall shows in two places. [`Pace`] watches a body that we wait for. [`Socket`] counts
//! what an agent takes from us: once a response is in hyper's hands only the socket knows that nobody reads it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// At least so many bytes in each window of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Least {
    /// Bytes.
    pub bytes: u64,
    /// The window; a minute evens out what a busy agent or a long line does in seconds.
    pub window: Duration,
}

/// Holds a body to its least rate. The timer exists from the first time somebody had to wait.
pub(crate) struct Pace {
    least: Least,
    moved: u64,
    waiting: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a paced body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Halted {
    /// Below the least rate for a whole window.
    #[error("fewer bytes than the least rate")]
    TooSlow,
    /// Whoever sends it left, or broke the framing.
    #[error("body cut short")]
    Cut(#[source] hyper::Error),
}

impl Pace {
    pub(crate) const fn new(least: Least) -> Self {
        Self { least, moved: 0, waiting: false, timer: None }
    }

    /// The body's next frame.
    pub(crate) fn poll_frame<B>(
        &mut self,
        body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Halted>>>
    where
        B: Body<Data = Bytes, Error = hyper::Error>,
    {
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            self.waiting = false;
            if let Some(Ok(frame)) = &frame {
                self.moved += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|f| f.map_err(Halted::Cut)));
        }
        let window = self.least.window;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(window)));
        if !self.waiting && timer.is_elapsed() {
            // The window passed while nobody asked for more: the slow side is the one that reads.
            self.moved = 0;
            timer.as_mut().reset(Instant::now() + window);
        }
        self.waiting = true;
        while timer.as_mut().poll(cx).is_ready() {
            if self.moved < self.least.bytes {
                return Poll::Ready(Some(Err(Halted::TooSlow)));
            }
            self.moved = 0;
            timer.as_mut().reset(Instant::now() + window);
        }
        Poll::Pending
    }
}

/// What a socket has moved towards its peer, read by the connection's watcher.
#[derive(Debug, Default)]
pub(crate) struct Written {
    bytes: AtomicU64,
    blocked: AtomicBool,
}

impl Written {
    /// Waits until the peer has left bytes lying for a whole window while it took fewer than the least.
    pub(crate) async fn stalled(&self, least: Least) {
        let mut before = self.bytes.load(Ordering::Relaxed);
        let mut was_blocked = false;
        loop {
            tokio::time::sleep(least.window).await;
            let now = self.bytes.load(Ordering::Relaxed);
            let blocked = self.blocked.load(Ordering::Relaxed);
            // Blocked at both ends of the window: a response that began to wait just now gets its whole window.
            if blocked && was_blocked && now - before < least.bytes {
                return;
            }
            (before, was_blocked) = (now, blocked);
        }
    }
}

/// A socket whose first bytes were read already, and which counts what its peer takes.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    inner: S,
    first: Bytes,
    written: Arc<Written>,
    ended: bool,
}

impl<S> Socket<S> {
    /// `first` is read before anything else.
    pub(crate) fn new(inner: S, first: Bytes) -> Self {
        Self { inner, first, written: Arc::default(), ended: false }
    }

    pub(crate) fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }

    /// Whether the peer has ended or broken the connection, as far as it was read.
    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }

    fn note<T>(&self, polled: &Poll<T>, bytes: u64) {
        if bytes > 0 {
            self.written.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        let blocked = polled.is_pending();
        if self.written.blocked.load(Ordering::Relaxed) != blocked {
            self.written.blocked.store(blocked, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            let before = buf.filled().len();
            let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
            self.ended |= match &polled {
                Poll::Ready(Ok(())) => buf.filled().len() == before,
                Poll::Ready(Err(_)) => true,
                Poll::Pending => false,
            };
            return polled;
        }
        let n = self.first.len().min(buf.remaining());
        buf.put_slice(self.first.get(..n).unwrap_or_default());
        self.first.advance(n);
        if self.first.is_empty() {
            // Gives the record's buffer back for the life of the connection.
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(&polled, count(&polled));
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(&polled, count(&polled));
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn count(polled: &Poll<io::Result<usize>>) -> u64 {
    if let Poll::Ready(Ok(n)) = polled { *n as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LEAST: Least = Least { bytes: 1024, window: Duration::from_secs(60) };

    #[tokio::test]
    async fn bytes_read_before_come_first() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(b" world").await.expect("the pipe is open");
        drop(far);
        let mut text = String::new();
        let mut socket = Socket::new(near, Bytes::from_static(b"hello"));
        socket.read_to_string(&mut text).await.expect("it ends");
        assert_eq!(text, "hello world");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_stops_reading_is_told_from_one_that_has_nothing_to_read() {
        let (mut far, near) = tokio::io::duplex(16);
        let mut socket = Socket::new(near, Bytes::new());
        let written = socket.written();
        let idle = tokio::time::timeout(LEAST.window * 10, written.stalled(LEAST));
        assert!(idle.await.is_err(), "an idle connection is no stall");

        let writing = tokio::spawn(async move { socket.write_all(&[0; 4096]).await });
        let stalled = tokio::time::timeout(LEAST.window * 3, written.stalled(LEAST));
        assert!(stalled.await.is_ok(), "nobody reads");
        let mut taken = vec![0; 4096];
        far.read_exact(&mut taken).await.expect("it was all written");
        writing.await.expect("no panic").expect("written");
    }
}
