//! Asking once: link, send, wait for the head of the response.
//!
//! A master goes on compiling when the agent has left, so the request stays in its hands until it answers: a
//! [`Flight`] that is dropped flies on by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use crate::answer::{Backend, Refusal};
use crate::body::{Kept, Upload};
use crate::link::{Link, Links, Peer, Terms, Unconnected, Unsent};
use crate::observe::record::Phases;
use crate::pace::Pace;
use crate::retry::Failure;

/// What is sent, as often as it must be.
pub(crate) struct Outbound {
    /// As the server is to see it.
    pub head: Parts,
    kept: Kept,
    /// The rest of a body that streams, until it has been given away.
    rest: Option<(Incoming, Pace)>,
    /// A request that came back untouched.
    back: Option<Box<Request<Upload>>>,
    whole: bool,
}

/// A response whose head is here.
pub(crate) struct Landed {
    /// Head as it came, body on its way.
    pub response: Response<Incoming>,
    /// What it comes over.
    pub link: Link,
    /// Whether the request's body had gone.
    pub gone: Arc<AtomicBool>,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missed {
    /// How far the request came.
    pub failure: Failure,
    /// The answer, should nobody else be asked.
    pub refusal: Refusal,
}

impl Outbound {
    /// A request whose body is here, or begins here and goes on streaming.
    pub(crate) fn new(head: Parts, kept: Kept, rest: Option<(Incoming, Pace)>) -> Self {
        let whole = rest.is_none();
        Self { head, kept, rest, back: None, whole }
    }

    /// Whether all of the body can be sent again.
    pub(crate) const fn can_be_sent_again(&self) -> bool {
        self.whole
    }

    fn request(&mut self) -> Request<Upload> {
        if let Some(request) = self.back.take() {
            return *request;
        }
        let upload = Upload::new(self.kept.clone(), self.rest.take());
        let mut request = Request::new(upload);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.headers_mut() = self.head.headers.clone();
        request
    }
}

/// What holds a server's place for a request.
pub(crate) trait Hand: Send + 'static {
    /// The agent has left, and the server works on for nobody.
    fn is_orphaned(&mut self) {}
}

/// Asks `peer` once. The hand that holds the server's place is given back when the response's head is here, when the
/// attempt failed, or, if the agent leaves, when the server answers.
pub(crate) async fn attempt<H: Hand>(
    links: &Links,
    peer: &Arc<Peer>,
    terms: Terms<'_>,
    patience: Duration,
    out: &mut Outbound,
    hand: Option<H>,
    phases: &mut Phases,
) -> (Result<Landed, Missed>, Option<H>) {
    let backend = peer.backend();
    let begin = Instant::now();
    let link = match links.link(peer, terms).await {
        Ok(link) => link,
        Err(error) => {
            tracing::debug!(peer = %peer.certname, address = peer.address, error = &error as &dyn std::error::Error, "not connected");
            let refusal = match error {
                Unconnected::Full => Refusal::Full(backend),
                _ => Refusal::Unreachable(backend),
            };
            return (Err(Missed { failure: Failure::Unconnected, refusal }), hand);
        }
    };
    phases.connect = (!link.reused).then(|| begin.elapsed());
    let reused = link.reused;
    let request = out.request();
    let (gone, has_body) = (request.body().gone(), !request.body().is_end_stream());
    let begin = Instant::now();
    let Some((sent, link, hand)) = Flight::begin(link, request, hand, patience).land().await else {
        // The connection went with the flight. Nobody is asked again: the master may still be at work.
        let missed = Missed { failure: Failure::Silent, refusal: Refusal::Silent(backend) };
        return (Err(missed), None);
    };
    phases.first_byte = Some(begin.elapsed());
    let missed = match sent {
        Ok(response) => {
            let unread = has_body && may_lie_unread(response.status());
            let gone = if unread { Arc::default() } else { gone };
            return (Ok(Landed { response, link, gone }), hand);
        }
        Err(Unsent::Whole(request)) => {
            out.back = Some(request);
            let failure = if reused { Failure::ClosedIdle } else { Failure::NothingSent };
            Missed { failure, refusal: Refusal::Closed(backend) }
        }
        Err(Unsent::Cut(error)) => {
            tracing::debug!(peer = %peer.certname, %error, "connection ended before a response");
            let refusal = refusal_of(&error, backend);
            Missed { failure: Failure::Cut { reused }, refusal }
        }
    };
    (Err(missed), hand)
}

/// Whether a body may lie unread between us and a server that answered without it. hyper gives a body away long
/// before a socket does, so the connection looks free, and the next request on it would wait behind megabytes that
/// nobody reads. Answers before the body are errors; Jetty ends such a connection as well.
fn may_lie_unread(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Whose fault it is that a request which may have been written got no response.
fn refusal_of(error: &hyper::Error, backend: Backend) -> Refusal {
    if error.is_parse() {
        return Refusal::Garbled(backend);
    }
    if error.is_user() {
        // The body that came from the agent broke off: hyper reports it as the sender's doing.
        return Refusal::BodyBroken;
    }
    Refusal::Closed(backend)
}

type Sent = (Result<Response<Incoming>, Unsent>, Link);

/// A request that was handed to a connection and whose response has not begun.
struct Flight<H: Hand> {
    sending: Option<Pin<Box<dyn Future<Output = Sent> + Send>>>,
    hand: Option<H>,
    ends: Instant,
}

impl<H: Hand> Flight<H> {
    fn begin(mut link: Link, request: Request<Upload>, hand: Option<H>, patience: Duration) -> Self {
        let sending = Box::pin(async move { (link.send(request).await, link) });
        Self { sending: Some(sending), hand, ends: Instant::now() + patience }
    }

    /// Waits for the response's head; none when it did not come in time.
    async fn land(mut self) -> Option<(Result<Response<Incoming>, Unsent>, Link, Option<H>)> {
        let sending = self.sending.as_mut()?;
        let sent = tokio::time::timeout_at(self.ends, sending).await;
        self.sending = None;
        let (sent, link) = sent.ok()?;
        Some((sent, link, self.hand.take()))
    }
}

impl<H: Hand> Drop for Flight<H> {
    fn drop(&mut self) {
        let (Some(sending), Some(mut hand)) = (self.sending.take(), self.hand.take()) else { return };
        hand.is_orphaned();
        let ends = self.ends;
        // Bounded in number by the connections that may be open to one master, in time by `ends`.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                drop(tokio::time::timeout_at(ends, sending).await);
                drop(hand);
            });
        }
    }
}
