//! The body of a request on its way to a master.
//!
//! Puppet Server borrows a JRuby before it reads a body, so an agent on a slow line would hold a JRuby for as long
//! as it sends. A body is therefore read here first, up to a bound each and a bound for all together; a kept body
//! can also be given to another master when the first refuses it. What is larger streams, and is given once.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::observe::metrics::Metrics;
use crate::pace::{Halted, Least, Pace};

/// All kept bodies of the door together, in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Held(Arc<Holding>);

#[derive(Debug)]
struct Holding {
    most: usize,
    now: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// A share of [`Held`], given back when dropped.
#[derive(Debug)]
struct Share {
    held: Held,
    bytes: usize,
}

/// How fast a body must come and how much of it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most bytes kept of one body.
    pub keep: usize,
    /// The most bytes taken at all; more is refused. None: no end but the agent's.
    pub most: Option<usize>,
    /// How fast the rest must come.
    pub least: Least,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Slower than the least rate.
    TooSlow,
    /// The agent left, or broke the framing.
    Cut,
}

/// A body read as far as the bounds allow.
pub(crate) enum Taken {
    /// All of it is here.
    Kept(Kept),
    /// The bounds ended; the beginning is here and the rest comes from the agent.
    Streams(Kept, Incoming),
    /// More than is taken at all; the rest is for whoever reads it away.
    TooMuch(Incoming),
}

/// Bytes of a body as they came; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    chunks: Arc<[Bytes]>,
    length: usize,
    _share: Option<Arc<Share>>,
}

impl From<Halted> for Unread {
    fn from(halted: Halted) -> Self {
        match halted {
            Halted::TooSlow => Self::TooSlow,
            Halted::Cut(_) => Self::Cut,
        }
    }
}

impl Held {
    pub(crate) fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Holding { most, now: AtomicUsize::new(0), metrics }))
    }

    fn grow(&self, bytes: usize) -> bool {
        let before = self.0.now.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.0.most {
            self.0.now.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.0.metrics.bodies_held.add(bytes);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.0.now.fetch_sub(self.bytes, Ordering::Relaxed);
        self.held.0.metrics.bodies_held.sub(self.bytes);
    }
}

impl Kept {
    /// The body of a request that has none.
    pub(crate) fn empty() -> Self {
        Self { chunks: Arc::from([]), length: 0, _share: None }
    }

    /// How many bytes are here.
    pub(crate) const fn len(&self) -> usize {
        self.length
    }
}

/// Reads a body up to the bounds. The budget is taken as bytes arrive, never by what a Content-Length promises: an
/// agent that announces much and sends little holds little.
pub(crate) async fn take(mut body: Incoming, held: &Held, limits: Limits) -> Result<Taken, Unread> {
    if body.is_end_stream() {
        return Ok(Taken::Kept(Kept::empty()));
    }
    if limits.most.is_some_and(|most| body.size_hint().lower() > most as u64) {
        return Ok(Taken::TooMuch(body));
    }
    if body.size_hint().lower() > limits.keep as u64 {
        return Ok(Taken::Streams(Kept::empty(), body));
    }
    let mut share = Share { held: held.clone(), bytes: 0 };
    let mut chunks = Vec::new();
    let mut pace = Pace::new(limits.least);
    loop {
        let polled = poll_fn(|cx| pace.poll_frame(Pin::new(&mut body), cx)).await;
        let Some(frame) = polled.transpose().map_err(Unread::from)? else { break };
        // Trailers are dropped: a master would take a trailer named like a header for one.
        let Ok(data) = frame.into_data() else { continue };
        let length = share.bytes + data.len();
        if limits.most.is_some_and(|most| length > most) {
            return Ok(Taken::TooMuch(body));
        }
        let fits = length <= limits.keep && held.grow(data.len());
        if fits {
            share.bytes = length;
        }
        chunks.push(data);
        if !fits {
            return Ok(Taken::Streams(
                Kept { chunks: chunks.into(), length, _share: Some(Arc::new(share)) },
                body,
            ));
        }
    }
    let length = share.bytes;
    Ok(Taken::Kept(Kept { chunks: chunks.into(), length, _share: Some(Arc::new(share)) }))
}

/// Reads a body and forgets it, up to the bounds.
pub(crate) async fn read_away(mut body: Incoming, limits: Limits) {
    let mut pace = Pace::new(limits.least);
    let mut length = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| pace.poll_frame(Pin::new(&mut body), cx)).await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if limits.most.is_some_and(|most| length > most) {
            return;
        }
    }
}

/// What is written to a master: kept bytes first, then what still comes from the agent.
pub(crate) struct Upload {
    kept: Kept,
    next: usize,
    rest: Option<(Incoming, Pace)>,
    /// Set when the last byte was handed over. A master that answers before has a connection nobody can use again.
    gone: Arc<AtomicBool>,
}

impl Upload {
    pub(crate) fn new(kept: Kept, rest: Option<(Incoming, Pace)>) -> Self {
        let gone = Arc::new(AtomicBool::new(rest.is_none() && kept.chunks.is_empty()));
        Self { kept, next: 0, rest, gone }
    }

    /// Becomes true when the last byte has been handed over.
    pub(crate) fn gone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.gone)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Halted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Halted>>> {
        let this = &mut *self;
        if let Some(chunk) = this.kept.chunks.get(this.next) {
            this.next += 1;
            if this.rest.is_none() && this.next == this.kept.chunks.len() {
                this.gone.store(true, Ordering::Release);
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        let Some((rest, pace)) = &mut this.rest else { return Poll::Ready(None) };
        loop {
            return match std::task::ready!(pace.poll_frame(Pin::new(&mut *rest), cx)) {
                Some(Ok(frame)) if frame.is_trailers() => continue,
                Some(other) => Poll::Ready(Some(other)),
                None => {
                    this.gone.store(true, Ordering::Release);
                    Poll::Ready(None)
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.next >= self.kept.chunks.len() && self.rest.as_ref().is_none_or(|(rest, _)| rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let given: usize = self.kept.chunks.iter().take(self.next).map(Bytes::len).sum();
        let here = (self.kept.length - given) as u64;
        let Some((rest, _)) = &self.rest else { return SizeHint::with_exact(here) };
        let rest = rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(here + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(here + upper);
        }
        hint
    }
}
