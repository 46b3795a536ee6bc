//! One request, from its head to the head of its response. Read from the top, it is the path drawn in `lib`; whom it is
//! given to is in [`masters`] and [`mom`].

mod masters;
mod mom;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use stagedoor_config::class::{Class, Destination, Replay};

use crate::answer::Refusal;
use crate::attempt::{Landed, Outbound};
use crate::body::{self, Limits, Taken, Unread};
use crate::connection::Connection;
use crate::door::{Door, Snapshot};
use crate::headers::{self, Framing, Stated};
use crate::identity::Identity;
use crate::link::Terms;
use crate::observe::record::{ENVIRONMENT, Outcome, Record, clip};
use crate::pace::{Least, Pace};
use crate::places::Place;
use crate::pool::pick::{Want, hash};
use crate::pool::queue::Waiter;
use crate::pool::shed;
use crate::retry::{self, Failure, Left, Next};
use crate::route::{self, Route};
use crate::transfer::{self, Download, Line, Outgoing};

/// Answers one request. Whatever goes wrong is an answer and a line.
pub(crate) async fn serve(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Infallible> {
    let door = &connection.door;
    let snapshot = door.snapshot.load_full();
    let id = door.observe.request_id();
    let record = Record::begin(
        Line::began_at(),
        id,
        connection.peer,
        connection.tls,
        request.method(),
        request.uri().path(),
    );
    let line = Line::begin(&door.observe, record);
    let mut asking = Asking { connection: &connection, snapshot, line, read_chunks: false };
    let answer = asking.answer(request, id.to_header()).await;
    let read_chunks = asking.read_chunks;
    let mut response = match answer {
        Ok(Answer::Own(response)) => response,
        Ok(Answer::Passed(landed, place)) => asking.pass(landed, place),
        Err(refusal) => asking.refuse(refusal, id.to_header()),
    };
    if door.is_ending() || moved(door) {
        // An agent that is told so asks again over a new connection, which another door takes, or an open master.
        response.headers_mut().insert(header::CONNECTION, const { HeaderValue::from_static("close") });
    }
    let goes_on = read_chunks && !response.headers().contains_key(header::CONNECTION);
    connection.goes_on_after_chunks.store(goes_on, Ordering::Relaxed);
    Ok(response)
}

/// How long an agent waits for an answer's first byte: 10 minutes, and 2 where it is so old that it does not say its
/// version (Puppet 3).
fn patience(headers: &HeaderMap) -> Duration {
    let minutes = if headers.contains_key(headers::X_PUPPET_VERSION) { 10 } else { 2 };
    Duration::from_secs(minutes * 60)
}

/// Whether every sealed master has left the roster or is leaving it, and new connections are passed to open ones.
fn moved(door: &Door) -> bool {
    door.snapshot.load().settings.splits() && {
        let sides = door.pool.sides();
        sides.sealed.masters == 0 && sides.open.masters > 0
    }
}

/// One request on its way.
struct Asking<'a> {
    connection: &'a Arc<Connection>,
    snapshot: Arc<Snapshot>,
    line: Line,
    /// The body came in chunks and was read to its end, and the client does not ask to close.
    read_chunks: bool,
}

/// What a request's head decides.
struct Decided {
    class: Class,
    want: Want,
    /// A hash of the environment that it is compiled in, where it is a catalog.
    compiles: Option<u64>,
    /// Whether it is a catalog that its own agent asks for, as in a run: one at a time.
    alone: bool,
    /// How long its agent waits for an answer.
    patience: Duration,
    /// Bytes of the head as it is sent on.
    size: usize,
    /// The body comes in chunks, and the client does not ask to close.
    in_chunks: bool,
}

/// How a request is answered when nothing is wrong.
enum Answer {
    /// By the door.
    Own(Response<Outgoing>),
    /// By a server, with the place that the request took there if it had to.
    Passed(Landed, Option<Place>),
}

impl<'a> Asking<'a> {
    /// Establishes what the request is and who asks, reads its body, and has it answered.
    async fn answer(&mut self, request: Request<Incoming>, id: HeaderValue) -> Result<Answer, Refusal> {
        let (mut head, body) = request.into_parts();
        if let Some(refusal) = self.connection.over {
            return Err(refusal);
        }
        let Decided { class, want, compiles, alone, patience, size, in_chunks } =
            match self.decide(&mut head, id.clone()) {
                Ok(decided) => decided,
                Err(refusal) => {
                    self.read_away(&head, body);
                    return Err(refusal);
                }
            };
        if class.destination() == Destination::Door {
            return Ok(Answer::Own(self.status()));
        }
        let waits = !body.is_end_stream();
        let mut out = self.read(head, body, class).await?;
        self.read_chunks = in_chunks && out.can_be_sent_again();
        if waits {
            // A body takes as long as its agent likes, and trust may have changed meanwhile.
            self.snapshot = self.connection.door.snapshot.load_full();
            self.connection.identity(&self.snapshot)?;
        }
        match class.destination() {
            Destination::Mom => return self.ask_mom(class, &mut out).await,
            Destination::Renewal => {
                // Nothing of what was read goes further.
                drop(out);
                return self.renew(id).await;
            }
            Destination::Masters | Destination::Door => {}
        }
        let place = self.place_of_a_stranger().await?;
        let agent = self.connection.certname().cloned();
        let (tried, since) = (Vec::new(), Instant::now());
        let waiter = Waiter { class, agent, alone, environment: compiles, want, tried, since };
        let landed = self.ask_masters(waiter, patience, size, &mut out).await?;
        Ok(Answer::Passed(landed, place))
    }

    /// Whoever asks a master without a certificate brings a token, or says so: the master alone can tell.
    async fn place_of_a_stranger(&self) -> Result<Option<Place>, Refusal> {
        if self.connection.certname().is_some() {
            return Ok(None);
        }
        let place = self.connection.door.places.at_masters(self.connection.peer.ip()).await;
        place.map(Some).ok_or(Refusal::Strangers)
    }

    /// Establishes from the head alone what the request is and who asks, and makes the head fit to be sent on.
    fn decide(&mut self, head: &mut Parts, id: HeaderValue) -> Result<Decided, Refusal> {
        let framing = headers::framing(&head.headers, head.version)?;
        let route = route::route(&head.method, &head.uri, head.version, &head.headers)?;
        let Route { class, environment, .. } = route;
        let environment = environment.map(|name| clip(name, ENVIRONMENT));
        let compiles = environment.as_deref().filter(|_| class == Class::Catalog).map(hash);
        self.line.note(|record| {
            record.class = Some(class);
            record.environment = environment;
        });
        if class == Class::Renewal && self.snapshot.renewal.is_none() {
            return Err(Refusal::Renewal);
        }
        let identity = self.identity()?;
        // A token is judged by the master's own rules. Everybody else without a certificate would be refused there,
        // after having sent a body and waited for a JRuby.
        if class.needs_identity()
            && identity.certname().is_none()
            && !(class.takes_token() && head.headers.contains_key(headers::X_AUTHENTICATION))
        {
            return Err(Refusal::NeedsIdentity);
        }
        if class.destination() == Destination::Masters {
            self.may_begin(class, head)?;
        }
        let in_chunks = framing == Framing::Chunked && !headers::asks_to_close(&head.headers);
        let want = self.want(&route, identity);
        // An agent's own catalog has its name in the path; an orchestrator compiles for many and has it in the body.
        let alone = class == Class::Catalog && route.key.is_some();
        let patience = patience(&head.headers);
        let stated = match class.destination() {
            Destination::Masters => identity.stated(),
            // The Master of Masters is told nobody's name, so that nobody can borrow a right there.
            Destination::Mom | Destination::Renewal | Destination::Door => Stated::Nobody,
        };
        if headers::request(head, stated, &self.connection.peer_header, id) {
            self.connection.door.observe.metrics().forged_headers.inc();
        }
        let size = headers::head_size(&head.method, &head.uri, &head.headers, framing);
        Ok(Decided { class, want, compiles, alone, patience, size, in_chunks })
    }

    /// Sends a run away that is to begin while so many wait that it would wait too long.
    fn may_begin(&self, class: Class, head: &Parts) -> Result<(), Refusal> {
        let connection = self.connection;
        if !connection.run_began.load(Ordering::Relaxed)
            && let Some(begins) = shed::begins_a_run(class, head.uri.path())
        {
            let version = head.headers.get(headers::X_PUPPET_VERSION);
            let expected = || connection.door.pool.waiting().expected;
            if version.is_some_and(|version| shed::comes_back(version.as_bytes()))
                && let Some(seconds) = shed::after(expected(), fastrand::u64(..))
                && connection.door.sends_away(connection.certname(), begins, seconds)
            {
                return Err(Refusal::Shed(seconds));
            }
        }
        connection.run_began.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Who asks, under the trust in force now.
    fn identity(&mut self) -> Result<&'a Identity, Refusal> {
        let connection: &'a Connection = self.connection;
        let certname = connection.certname().cloned();
        self.line.note(|record| record.certname = certname);
        connection.identity(&self.snapshot)
    }

    /// What the request asks of the choice of a master.
    fn want(&self, route: &Route<'_>, identity: &Identity) -> Want {
        let last = || identity.certname().and_then(|agent| self.connection.door.pool.last_master(agent));
        match route.class {
            Class::StaticFileContent => last().map_or(Want::LeastBusy, Want::Prefer),
            Class::FileMetadata | Class::FileMetadatas | Class::FileContent => {
                last().map_or(Want::LeastBusy, Want::Near)
            }
            Class::FileBucket => route.key.map_or(Want::LeastBusy, |sum| Want::Rendezvous(hash(sum))),
            _ => Want::LeastBusy,
        }
    }

    /// `/status/v1/simple`, as a load balancer or an agent with a `server_list` asks it. No `Retry-After`: an agent
    /// would wait for this door instead of asking the next in its list.
    fn status(&mut self) -> Response<Outgoing> {
        let (status, state) = match self.connection.door.pool.able() {
            true => (StatusCode::OK, "running"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "error"),
        };
        self.line.note(|record| {
            record.status = status.as_u16();
            record.outcome = Outcome::Own;
        });
        let mut response = Response::new(Outgoing::Own(Some(Bytes::from_static(state.as_bytes()))));
        *response.status_mut() = status;
        let text = const { HeaderValue::from_static("text/plain; charset=utf-8") };
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    }

    /// Reads the body as far as the bounds allow, before anybody is asked.
    async fn read(&mut self, head: Parts, body: Incoming, class: Class) -> Result<Outbound, Refusal> {
        let bounds = &self.snapshot.settings.bounds;
        // What anybody may send is as small as a certificate request: whoever has shown no certificate cannot fill the
        // memory for bodies, and the Master of Masters is sent nothing larger.
        let known = self.connection.certname().is_some();
        let to_mom = class.destination() != Destination::Masters;
        let limits = Limits {
            keep: if known && !to_mom { bounds.body } else { bounds.csr },
            most: to_mom.then_some(bounds.csr),
            least: self.least(),
        };
        let began = Instant::now();
        let taken = body::take(body, &self.connection.door.held, limits).await;
        let (kept, rest) = match taken {
            Ok(Taken::Kept(kept)) => (kept, None),
            Ok(Taken::Streams(kept, rest)) => (kept, Some((rest, Pace::new(limits.least)))),
            Ok(Taken::TooMuch(rest)) => {
                self.read_away(&head, rest);
                return Err(Refusal::Csr);
            }
            Err(Unread::TooSlow) => return Err(Refusal::BodyTooSlow),
            Err(Unread::Cut) => return Err(Refusal::BodyBroken),
        };
        self.line.note(|record| {
            record.bytes_in = kept.len() as u64;
            record.phases.body = (kept.len() > 0).then(|| began.elapsed());
        });
        Ok(Outbound::new(head, kept, rest))
    }

    /// Reads and forgets a body whose request was refused before it: an agent that is still sending would be cut off
    /// and never read why. One that waits for `100 Continue` has sent nothing and needs no such care.
    fn read_away(&self, head: &Parts, body: Incoming) {
        if body.is_end_stream() || head.headers.contains_key(header::EXPECT) {
            return;
        }
        let limits = Limits { keep: 0, most: Some(self.snapshot.settings.bounds.body), least: self.least() };
        tokio::spawn(tokio::time::timeout(limits.least.window, body::read_away(body, limits)));
    }

    fn least(&self) -> Least {
        let bounds = &self.snapshot.settings.bounds;
        let window = bounds.rate_window;
        Least { bytes: (bounds.rate as u64).saturating_mul(window.as_secs()), window }
    }

    fn terms<'t>(&self, tls: &'t Arc<rustls::ClientConfig>, replay: Replay, fresh: bool) -> Terms<'t> {
        let patience = self.snapshot.settings.bounds.connect_time;
        Terms { tls, generation: self.snapshot.generation, lately: replay != Replay::Safe, fresh, patience }
    }

    /// What is left to try with after so many attempts, and whether there is somebody else to ask.
    fn left(&self, made: u32, elsewhere: bool, out: &Outbound) -> Left {
        let allowed = self.snapshot.settings.bounds.attempts;
        Left { made, allowed, elsewhere, body_kept: out.can_be_sent_again() }
    }

    fn next(&self, replay: Replay, failure: Failure, left: Left) -> Next {
        let door = &self.connection.door;
        let metrics = door.observe.metrics();
        let next = retry::next(replay, failure, left);
        if next == Next::Another && !door.pool.may_ask_again() {
            metrics.retries_denied.inc();
            return Next::GiveUp;
        }
        if next != Next::GiveUp {
            metrics.retries.count(failure.word());
        }
        next
    }

    /// Passes a server's response on.
    fn pass(mut self, landed: Landed, place: Option<Place>) -> Response<Outgoing> {
        let backend = landed.link.peer().backend();
        let (mut head, body) = landed.response.into_parts();
        if let Err(refusal) = headers::response(&mut head, backend) {
            return transfer::own(refusal, &mut self.line);
        }
        self.line.note(|record| record.status = head.status.as_u16());
        let links = Arc::clone(&self.connection.links);
        let least = self.least();
        let download = Download::new(body, least, (landed.link, links, landed.gone), place, self.line);
        Response::from_parts(head, Outgoing::Passed(Box::new(download)))
    }

    fn refuse(mut self, refusal: Refusal, id: HeaderValue) -> Response<Outgoing> {
        let mut response = transfer::own(refusal, &mut self.line);
        response.headers_mut().insert(headers::X_REQUEST_ID, id);
        response
    }
}
