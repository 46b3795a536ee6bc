//! The response on its way to the agent, and the line that is written when it is over.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::answer::{Refusal, Side};
use crate::link::{Link, Links};
use crate::observe::Observe;
use crate::observe::record::{Outcome, Phases, Record};
use crate::pace::{Halted, Least, Pace};
use crate::places::Place;

/// One request's record, given away when the request is over however it ends: an agent that leaves drops it with
/// everything else.
pub(crate) struct Line {
    observe: Arc<Observe>,
    record: Option<Record>,
    began: Instant,
}

impl Line {
    pub(crate) fn begin(observe: &Arc<Observe>, record: Record) -> Self {
        Self { observe: Arc::clone(observe), record: Some(record), began: Instant::now() }
    }

    /// When the request's head had been read.
    pub(crate) fn began_at() -> SystemTime {
        SystemTime::now()
    }

    /// Where the time went so far.
    pub(crate) fn phases(&self) -> Phases {
        self.record.as_ref().map(|record| record.phases).unwrap_or_default()
    }

    /// The environment that the request names, as the access line shows it.
    pub(crate) fn environment(&self) -> Option<&str> {
        self.record.as_ref()?.environment.as_deref()
    }

    /// Somebody was asked once more.
    pub(crate) fn attempted(&mut self, attempts: u32, phases: Phases) {
        self.note(|record| {
            record.attempts = attempts;
            record.phases = phases;
        });
    }

    /// Fills in what has become known.
    pub(crate) fn note(&mut self, fill: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            fill(record);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.phases.total = self.began.elapsed();
            self.observe.request(record);
        }
    }
}

/// What the agent gets.
pub(crate) enum Outgoing {
    /// The door's own words.
    Own(Option<Bytes>),
    /// A master's answer as it comes.
    Passed(Box<Download>),
}

/// A master's answer as it comes: trailers dropped, the connection kept when it has come to its end.
pub(crate) struct Download {
    body: Incoming,
    pace: Pace,
    ended: bool,
    bytes: u64,
    began: Instant,
    link: Option<Over>,
    _place: Option<Place>,
    line: Line,
}

/// What a response comes over, where that connection may be kept, and whether the request's body had gone.
type Over = (Link, Arc<Links>, Arc<AtomicBool>);

/// The door's own answer.
pub(crate) fn own(refusal: Refusal, line: &mut Line) -> Response<Outgoing> {
    let response = refusal.response();
    line.note(|record| {
        record.status = response.status().as_u16();
        record.reason = Some(refusal.label());
        record.outcome = match refusal.side() {
            Side::Agent | Side::Door => Outcome::Refused,
            Side::Master | Side::Mom => Outcome::Failed,
        };
        record.bytes_out = response.body().len() as u64;
    });
    response.map(|words| Outgoing::Own(Some(words)))
}

impl Download {
    /// `place` is the place taken at the Master of Masters, given back at the end.
    pub(crate) fn new(body: Incoming, least: Least, over: Over, place: Option<Place>, line: Line) -> Self {
        let (pace, began) = (Pace::new(least), Instant::now());
        Self { body, pace, ended: false, bytes: 0, began, link: Some(over), _place: place, line }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // hyper does not ask again once it knows the end, so the end is seen here and not where it is polled.
        let ended = self.ended || self.body.is_end_stream();
        if let Some((link, links, gone)) = self.link.take()
            && ended
        {
            links.keep(link, &gone);
        }
        let (bytes, took) = (self.bytes, self.began.elapsed());
        self.line.note(|record| {
            record.bytes_out = bytes;
            record.phases.transfer = Some(took);
            if ended {
                record.outcome = Outcome::Answered;
            }
        });
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Halted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Halted>>> {
        match &mut *self {
            Self::Own(words) => Poll::Ready(words.take().map(|words| Ok(Frame::data(words)))),
            Self::Passed(download) => download.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(words) => words.as_ref().is_none_or(Bytes::is_empty),
            Self::Passed(download) => download.ended || download.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(words) => SizeHint::with_exact(words.as_ref().map_or(0, Bytes::len) as u64),
            Self::Passed(download) => download.body.size_hint(),
        }
    }
}

impl Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Halted>>> {
        loop {
            let frame = std::task::ready!(self.pace.poll_frame(Pin::new(&mut self.body), cx));
            match &frame {
                None => self.ended = true,
                Some(Ok(frame)) if frame.is_trailers() => continue,
                Some(Ok(frame)) => self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) => self.line.note(|record| {
                    record.outcome = Outcome::Broken;
                    record.reason = Some("response_cut");
                }),
            }
            return Poll::Ready(frame);
        }
    }
}
