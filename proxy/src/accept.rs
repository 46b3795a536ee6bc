//! From a TCP connection to HTTP: accept, front, way, tls, identity. What is passed leaves the path at way.
//!
//! Every thread accepts from a duplicate of one listening socket, so that whoever has time takes the next. A
//! handshake runs in its own task, never in the loop: one that is slow keeps nobody waiting.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::UnixTime;
use stagedoor_config::proxy::{Bounds, Listen, Mode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::answer::Refusal;
use crate::connection::{Connection, Proof};
use crate::door::{Door, Snapshot};
use crate::forward;
use crate::front::Front;
use crate::identity::Identity;
use crate::link::Links;
use crate::observe::meter::Held as Counted;
use crate::observe::record::{Record, TlsVersion};
use crate::pace::{Least, Socket};
use crate::pass::{Passage, pass};
use crate::pool::Pool;
use crate::sources::Entered;
use crate::tls;
use crate::way::{Way, way};

/// After an error that is not one connection's own (no file descriptor left): long enough for some to close, short
/// enough that nobody notices.
const BREATH: Duration = Duration::from_millis(100);

/// How long a connection waits for a place to shake hands. When a whole site comes back at once that is our doing, not
/// its agent's, which waits two minutes for a connection.
const FOR_A_PLACE: Duration = Duration::from_secs(60);

/// How long an agent may leave us waiting in a handshake before others take its place: most round trips are shorter.
/// What was dear for us is done by then.
const ANSWERS_WITHIN: Duration = Duration::from_millis(250);

/// For the head of the one request that is answered where a source or an agent has too many connections.
const OVER: Duration = Duration::from_secs(1);

/// An address that agents connect to, as it runs.
pub(crate) struct Entrance {
    /// As configured.
    pub listen: Listen,
    /// Where connections go that are passed.
    pub behind: Arc<Pool>,
}

/// Accepts until the door ends.
pub(crate) async fn accept(
    door: Arc<Door>,
    links: Arc<Links>,
    entrance: Arc<Entrance>,
    listener: TcpListener,
) {
    let metrics = door.observe.metrics();
    let passes = matches!(entrance.listen.mode, Mode::Pass(_));
    loop {
        if passes {
            // Only waited for: taken when somebody is there, or an address that nobody comes to would keep it.
            let Some(_free) = place(&door, &door.passed).await else { return };
        }
        let Some(one) = place(&door, &door.connections).await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.ended() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                metrics.connections.inc();
                // Another address may have been quicker; it waits here then, as it would in the backlog.
                let passed = if passes { place(&door, &door.passed).await } else { None };
                let (door, links, entrance) = (Arc::clone(&door), Arc::clone(&links), Arc::clone(&entrance));
                tokio::spawn(connection(door, links, entrance, stream, peer, (one, passed)));
            }
            Err(error) if is_its_own(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept: raise the limit of open files (LimitNOFILE) or lower bounds.connections");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// A place for one more connection; at the bound, accepting waits and the kernel's backlog holds who comes.
async fn place(door: &Door, of: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(of).try_acquire_owned() {
        return Some(place);
    }
    door.observe.metrics().accepts_paused.inc();
    tokio::select! {
        place = Arc::clone(of).acquire_owned() => place.ok(),
        () = door.ended() => None,
    }
}

/// Errors that belong to the connection that was to be accepted: it is gone, the next is not.
fn is_its_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// One connection from its first byte to its last.
async fn connection(
    door: Arc<Door>,
    links: Arc<Links>,
    entrance: Arc<Entrance>,
    stream: TcpStream,
    peer: SocketAddr,
    (_place, passed): (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
) {
    let _open = Counted::one(door.observe.metrics(), |metrics| &metrics.connections_open);
    let snapshot = door.snapshot.load_full();
    let began = Instant::now();
    let Some((front, mut source)) =
        front(&door, &snapshot.settings.bounds, &entrance.listen, stream, peer).await
    else {
        return;
    };
    let peer = front.addresses.source;
    match way(&entrance.listen.mode, &front.first(), peer.ip(), || door.pool.sides()) {
        Way::End => {}
        Way::Refuse(why) => {
            door.observe.metrics().hello_refused.count(why.label());
            return front.refuse(why).await;
        }
        Way::Pass(why) => {
            if source.passed() {
                return door.observe.metrics().hello_refused.count("source_full");
            }
            // It may last for ever; the snapshot must not.
            drop(snapshot);
            let (behind, send_proxy) = (&entrance.behind, entrance.listen.send_proxy);
            let place = passed.or_else(|| Arc::clone(&door.passed).try_acquire_owned().ok());
            pass(&door, Passage { behind, send_proxy, why, place }, front).await;
            // Among its source's until here, as whoever nobody knows.
            return drop(source);
        }
    }
    // A handshake's state is large; inside this future every passed connection would carry room for it.
    Box::pin(agent(&door, links, snapshot, front.into_parts(), peer, source, began)).await;
}

/// What comes before TLS, and a place among its source's.
async fn front(
    door: &Door,
    bounds: &Bounds,
    listen: &Listen,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Front, Entered)> {
    let refused = |why| door.observe.metrics().hello_refused.count(why);
    let ends = tokio::time::Instant::now() + bounds.handshake_time;
    let mut front = Front::open(stream, peer, listen, ends).await.map_err(refused).ok()?;
    let Some(mut source) = door.sources.enter(front.addresses.source.ip()) else {
        refused("source_full");
        return None;
    };
    // It has a place among those that are passed before it says anything.
    if matches!(listen.mode, Mode::Pass(_)) && source.passed() {
        refused("source_full");
        return None;
    }
    front.first_record(ends).await.map_err(refused).ok()?;
    Some((front, source))
}

/// A connection that ends here: TLS, then HTTP.
async fn agent(
    door: &Arc<Door>,
    links: Arc<Links>,
    snapshot: Arc<Snapshot>,
    (stream, first): (TcpStream, Bytes),
    peer: SocketAddr,
    mut source: Entered,
    began: Instant,
) {
    let Some(shaken) = shake(door, &snapshot, &source, stream, first).await else { return };
    door.observe.metrics().handshake(shaken.version, began.elapsed());
    if let Some(ends) = shaken.who.0.not_after() {
        let left = ends.as_secs().saturating_sub(UnixTime::now().as_secs());
        door.observe.metrics().agent_certificate_remaining.observe(Duration::from_secs(left));
    }
    let bounds = snapshot.settings.bounds;
    // A connection may outlive many snapshots; what belongs to them must not live as long.
    drop(snapshot);
    let (mut over, mut unknown, mut known) = (None, None, None);
    if let Some(certname) = shaken.who.0.certname() {
        // A verified agent's connection counts for its agent from here on, and no longer for its source.
        drop(source);
        let entered = door.certificates.enter(certname);
        // While there is room nobody is kept from any of it.
        let crowded = door.connections.available_permits() < bounds.connections / 2;
        over = (entered.over && crowded).then_some(Refusal::Crowd);
        known = Some(entered);
    } else {
        if source.unknown() {
            door.observe.metrics().unauthenticated_refused.inc();
            over = Some(Refusal::Source);
        }
        unknown = Some((source, Counted::one(door.observe.metrics(), |metrics| &metrics.unauthenticated)));
    }
    let connection = Arc::new(Connection::new(
        Arc::clone(door),
        links,
        (peer, forwarded_for(peer.ip())),
        shaken.version,
        shaken.who,
        over,
    ));
    serve(connection, shaken.stream, &bounds).await;
    drop((known, unknown));
}

/// A connection whose handshake is over.
struct Shaken {
    stream: TlsStream<Socket<TcpStream>>,
    version: TlsVersion,
    who: (Identity, Option<Proof>),
}

/// TLS, within the time that the bounds give handshakes, and within their number.
async fn shake(
    door: &Door,
    snapshot: &Snapshot,
    source: &Entered,
    stream: TcpStream,
    first: Bytes,
) -> Option<Shaken> {
    let metrics = door.observe.metrics();
    let bounds = &snapshot.settings.bounds;
    // First a place among its source's: whoever stalls there holds up nobody else.
    let Ok(Ok(_of_its_source)) = tokio::time::timeout(FOR_A_PLACE, source.handshakes.acquire()).await else {
        metrics.hello_refused.count("source_handshakes_full");
        return None;
    };
    let Ok(Ok(of_all)) = tokio::time::timeout(FOR_A_PLACE, door.handshakes.acquire()).await else {
        metrics.hello_refused.count("handshakes_full");
        return None;
    };
    let accepting = TlsAcceptor::from(Arc::clone(&snapshot.agents.config)).accept(Socket::new(stream, first));
    let stream = match tokio::time::timeout(bounds.handshake_time, placed(of_all, accepting)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(why = tls::words(&error), "handshake failed");
            door.observe.handshake_failed(TlsVersion::Unknown, tls::reason(&error));
            return None;
        }
        Err(_elapsed) => {
            door.observe.handshake_failed(TlsVersion::Unknown, "late");
            return None;
        }
    };
    let version = TlsVersion::from(stream.get_ref().1.protocol_version());
    match who(&stream, snapshot) {
        Ok(who) => Some(Shaken { stream, version, who }),
        Err(reason) => {
            door.observe.handshake_failed(version, reason);
            None
        }
    }
}

/// A handshake that gives its place to others while it waits for its agent.
async fn placed<T>(place: SemaphorePermit<'_>, accepting: impl Future<Output = T>) -> T {
    let mut accepting = std::pin::pin!(accepting);
    tokio::select! {
        // The agent's answer first: however busy we are, one that has come counts as come.
        biased;
        done = &mut accepting => return done,
        () = tokio::time::sleep(ANSWERS_WITHIN) => drop(place),
    }
    accepting.await
}

/// Who the handshake says it is.
fn who(
    stream: &TlsStream<Socket<TcpStream>>,
    snapshot: &Snapshot,
) -> Result<(Identity, Option<Proof>), &'static str> {
    let Some(chain) = stream.get_ref().1.peer_certificates() else {
        return Ok((Identity::Nobody, None));
    };
    let judged = snapshot.agents.judged(chain, UnixTime::now()).map_err(|refused| refused.label())?;
    let leaf = chain.first().ok_or("malformed")?;
    let identity = Identity::from_certificate(leaf).map_err(|error| error.label())?;
    let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    Ok((identity, Some(Proof::new(judged, chain, snapshot.generation))))
}

fn forwarded_for(ip: IpAddr) -> HeaderValue {
    // An IPv4 address that came over an IPv6 socket is still that IPv4 address.
    HeaderValue::try_from(ip.to_canonical().to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// HTTP/1.1 until either side ends it. An idle connection ends by the same timer that bounds a head: hyper has one
/// for both.
async fn serve(connection: Arc<Connection>, stream: TlsStream<Socket<TcpStream>>, bounds: &Bounds) {
    let window = bounds.rate_window;
    let least = Least { bytes: (bounds.rate as u64).saturating_mul(window.as_secs()), window };
    let written = stream.get_ref().0.written();
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if connection.over.is_some() { OVER } else { bounds.head_time })
        .max_header_size(bounds.head)
        .serve_connection(
            TokioIo::new(stream),
            // hyper keeps room for the answer's future while a connection is idle: for a pointer, not for all of it.
            service_fn(|request| Box::pin(forward::serve(Arc::clone(&connection), request))),
        );
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = written.stalled(least) => return tracing::debug!(peer = %connection.peer, "agent stopped reading"),
    };
    match ended {
        Ok(()) if connection.goes_on_after_chunks.load(Ordering::Relaxed) => {
            let mut stream = serving.into_parts().io.into_inner();
            if !ended_by_agent(&mut stream) {
                connection.door.observe.metrics().both_lengths.inc();
            }
        }
        Ok(()) => {}
        Err(error) if error.is_parse() => {
            unread(&connection, if error.is_parse_too_large() { Refusal::Head } else { Refusal::Malformed });
        }
        Err(error) => tracing::debug!(%error, "connection ended"),
    }
}

/// Whether the agent was the one to end a connection that ended well.
fn ended_by_agent(stream: &mut TlsStream<Socket<TcpStream>>) -> bool {
    let (socket, tls) = stream.get_mut();
    socket.ended() || tls.process_new_packets().map_or(true, |state| state.peer_has_closed())
}

/// Writes the line of a request whose head hyper could not read and answered by itself. Un-encoded queries of PuppetDB
/// end here, and so does whoever tries what a parser takes.
fn unread(connection: &Connection, why: Refusal) {
    let observe = &connection.door.observe;
    let (began, id) = (SystemTime::now(), observe.request_id());
    let mut record = Record::begin(began, id, connection.peer, connection.tls, &Method::GET, "");
    record.method = "OTHER";
    record.certname = connection.certname().cloned();
    record.refused(why);
    observe.request(record);
}
