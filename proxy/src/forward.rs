//! One request, from its head to the head of its response. Read from the top, it is the path drawn in `lib`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use stagedoor_config::class::{Class, Destination, Replay};

use crate::answer::{Backend, Refusal};
use crate::attempt::{Landed, Missed, Outbound, attempt};
use crate::body::{self, Limits, Taken, Unread};
use crate::connection::Connection;
use crate::door::{Door, Snapshot};
use crate::headers::{self, Framing, Stated};
use crate::identity::Identity;
use crate::link::Terms;
use crate::observe::record::{Asked, ENVIRONMENT, Outcome, Record, clip};
use crate::pace::{Least, Pace};
use crate::places::{self, Place};
use crate::pool::InHand;
use crate::pool::pick::{Want, hash};
use crate::pool::state::Nobody;
use crate::renewal::Origin;
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
        let Decided { class, want, size, in_chunks } = match self.decide(&mut head, id.clone()) {
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
        let landed = self.ask_masters(class, want, size, &mut out).await?;
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
        let in_chunks = framing == Framing::Chunked && !headers::asks_to_close(&head.headers);
        let want = self.want(&route, identity);
        let stated = match class.destination() {
            Destination::Masters => identity.stated(),
            // The Master of Masters is told nobody's name, so that nobody can borrow a right there.
            Destination::Mom | Destination::Renewal | Destination::Door => Stated::Nobody,
        };
        if headers::request(head, stated, &self.connection.peer_header, id) {
            self.connection.door.observe.metrics().forged_headers.inc();
        }
        let size = headers::head_size(&head.method, &head.uri, &head.headers, framing);
        Ok(Decided { class, want, size, in_chunks })
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
        match route.class {
            Class::StaticFileContent => identity
                .certname()
                .and_then(|agent| self.connection.door.pool.last_master(agent))
                .map_or(Want::LeastBusy, Want::Prefer),
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
        let began = std::time::Instant::now();
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

    /// Has a request answered by the Master of Masters, within the places its kind has there.
    async fn ask_mom(&mut self, class: Class, out: &mut Outbound) -> Result<Answer, Refusal> {
        let door = &self.connection.door;
        let mut place = door.places.at_mom(class, self.connection.peer.ip(), door.observe.metrics()).await;
        if place.is_none() {
            return Err(Refusal::MomBusy);
        }
        self.line.note(|record| record.asked = Asked::Mom);
        let replay = class.replay();
        let peer = &door.mom;
        let (mut made, mut fresh) = (0, false);
        loop {
            made += 1;
            let terms = self.terms(&self.snapshot.bare_tls, replay, fresh);
            let mut phases = self.line.phases();
            let patience = self.snapshot.settings.bounds.response_time.min(places::FOR_AN_ANSWER);
            let links = &self.connection.links;
            let (landed, back) = attempt(links, peer, terms, patience, out, place.take(), &mut phases).await;
            place = back;
            self.line.attempted(made, phases);
            let missed = match landed {
                Ok(landed) => return Ok(Answer::Passed(landed, place)),
                Err(missed) => missed,
            };
            // There is only the one: another means the same once more, and a refused connection stays refused.
            if self.next(replay, missed, made, out) != Next::SameOverNew {
                return Err(missed.refusal);
            }
            fresh = true;
        }
    }

    /// Has the agent's certificate renewed.
    async fn renew(&mut self, id: HeaderValue) -> Result<Answer, Refusal> {
        let connection = self.connection;
        let door = &connection.door;
        let place = door.places.at_mom(Class::Renewal, connection.peer.ip(), door.observe.metrics()).await;
        let place = place.ok_or(Refusal::RenewalBusy)?;
        // It may have waited, and trust may have changed meanwhile.
        self.snapshot = door.snapshot.load_full();
        let agent = connection.identity(&self.snapshot)?.verified().ok_or(Refusal::NeedsIdentity)?;
        let shown = self.snapshot.renewal.as_ref().ok_or(Refusal::Renewal)?;
        self.line.note(|record| record.asked = Asked::Mom);
        let mut phases = self.line.phases();
        let patience = self.snapshot.settings.bounds.connect_time;
        let (from, shown) = (Origin { peer: &connection.peer_header, id }, (shown, self.snapshot.generation));
        let links = &connection.links;
        let landed = door.renewals.ask(links, shown, patience, (agent, from), place, &mut phases).await;
        self.line.attempted(1, phases);
        landed.map(|(landed, place)| Answer::Passed(landed, place))
    }

    /// Has a request answered by a compile master, and by another where that is safe.
    async fn ask_masters(
        &mut self,
        class: Class,
        want: Want,
        size: usize,
        out: &mut Outbound,
    ) -> Result<Landed, Refusal> {
        let door = &self.connection.door;
        let replay = class.replay();
        let mut tried = Vec::new();
        let mut made = 0;
        // What the agent gets when nobody does better.
        let mut second_best = None;
        while let Some(hand) = door.pool.take(want, &tried).or_else(|| self.leaving(want, &tried)) {
            let member = Arc::clone(&hand.member);
            if size > member.header_limit {
                return Err(Refusal::HeadForMaster);
            }
            self.line.note(|record| record.asked = Asked::Master(Arc::clone(&member.metrics)));
            let (mut hand, mut fresh) = (Some(hand), false);
            let next = loop {
                made += 1;
                let terms = self.terms(self.snapshot.tls_towards(member.kind), replay, fresh);
                let mut phases = self.line.phases();
                let patience = self.snapshot.settings.bounds.response_time;
                let (landed, back) = attempt(
                    &self.connection.links,
                    &member.peer,
                    terms,
                    patience,
                    out,
                    hand.take(),
                    &mut phases,
                )
                .await;
                hand = back;
                self.line.attempted(made, phases);
                let next = match landed {
                    Ok(landed) if is_refused(&landed) => {
                        second_best = Some(Ok(landed));
                        let failure = Failure::Refused;
                        self.next(replay, Missed { failure, refusal: Refusal::NoMasterFit }, made, out)
                    }
                    // Another master may have it on its own disk; its absence costs no work and counts as no attempt.
                    Ok(landed) if is_missing_backup(class, out, &landed) => {
                        second_best = Some(Ok(landed));
                        made = 0;
                        Next::Another
                    }
                    Ok(landed) => {
                        self.compiled(class, &landed, member.id);
                        return Ok(landed);
                    }
                    Err(missed) => {
                        // An answer, or a master that is only busy, says more to an agent than one that is gone.
                        if !matches!(second_best, Some(Ok(_) | Err(Refusal::Full(_)))) {
                            second_best = Some(Err(missed.refusal));
                        }
                        self.next(replay, missed, made, out)
                    }
                };
                if next != Next::SameOverNew {
                    break next;
                }
                fresh = true;
            };
            if next == Next::GiveUp {
                break;
            }
            tried.push(member.id);
        }
        second_best.unwrap_or_else(|| Err(self.nobody()))
    }

    /// The last sealed master, while it drains: this agent's run began with it, and an agent does not survive the loss of
    /// a request.
    fn leaving(&self, want: Want, tried: &[u32]) -> Option<InHand> {
        let door = &self.connection.door;
        moved(door).then(|| door.pool.take_leaving(want, tried)).flatten()
    }

    /// The answer when there is nobody to ask.
    fn nobody(&self) -> Refusal {
        if self.snapshot.roster.masters.is_empty() {
            return Refusal::RosterEmpty;
        }
        let pool = &self.connection.door.pool;
        if moved(&self.connection.door) {
            return Refusal::ConnectAnew;
        }
        match pool.nobody() {
            Nobody::TakesWork => Refusal::NoMasterFit,
            Nobody::IsTested => Refusal::NoMasterTested,
            Nobody::IsSealed => Refusal::NoMasterSealed,
        }
    }

    fn terms<'t>(&self, tls: &'t Arc<rustls::ClientConfig>, replay: Replay, fresh: bool) -> Terms<'t> {
        let patience = self.snapshot.settings.bounds.connect_time;
        Terms { tls, generation: self.snapshot.generation, lately: replay != Replay::Safe, fresh, patience }
    }

    fn next(&self, replay: Replay, missed: Missed, made: u32, out: &Outbound) -> Next {
        let allowed = self.snapshot.settings.bounds.attempts;
        let left = Left { made, allowed, body_kept: out.can_be_sent_again() };
        let next = retry::next(replay, missed.failure, left);
        if next != Next::GiveUp {
            self.connection.door.observe.metrics().retries.count(missed.failure.word());
        }
        next
    }

    /// Remembers who compiled, so that the run's static files are asked of the master that has the code.
    fn compiled(&self, class: Class, landed: &Landed, master: u32) {
        if class == Class::Catalog
            && landed.response.status() == StatusCode::OK
            && let Some(agent) = self.connection.certname()
        {
            self.connection.door.pool.compiled(agent, master);
        }
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

/// 503 with `Retry-After`: the queue limit was met before any work was done. Without it, Puppet Server has let the
/// request wait for its borrow timeout of 20 minutes.
fn is_refused(landed: &Landed) -> bool {
    landed.response.status() == StatusCode::SERVICE_UNAVAILABLE
        && landed.response.headers().contains_key(header::RETRY_AFTER)
}

fn is_missing_backup(class: Class, out: &Outbound, landed: &Landed) -> bool {
    class == Class::FileBucket
        && landed.response.status() == StatusCode::NOT_FOUND
        && (out.head.method == Method::GET || out.head.method == Method::HEAD)
        && landed.link.peer().backend() == Backend::Master
}
