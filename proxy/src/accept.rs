//! From a TCP connection to HTTP: accept, hello, tls, identity.
//!
//! Every thread accepts from a duplicate of one listening socket, so that whoever has time takes the next. A
//! handshake runs in its own task, never in the loop: one that is slow keeps nobody waiting.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::UnixTime;
use stagedoor_config::proxy::Bounds;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::answer::Refusal;
use crate::connection::{Connection, Proof};
use crate::door::{Door, Snapshot};
use crate::forward;
use crate::hello::{self, First, NotTls};
use crate::identity::Identity;
use crate::link::Links;
use crate::observe::meter::Held as Counted;
use crate::observe::record::{Record, TlsVersion};
use crate::pace::{Least, Socket};
use crate::sources::Entered;
use crate::tls;

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

/// For a person with curl: agents never speak HTTP in the clear.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n\
    this port speaks TLS; ask with https://\n";

/// Accepts until the door ends.
pub(crate) async fn accept(door: Arc<Door>, links: Arc<Links>, listener: TcpListener) {
    let metrics = door.observe.metrics();
    loop {
        let Some(place) = place(&door).await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.ended() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                metrics.connections.inc();
                tokio::spawn(connection(Arc::clone(&door), Arc::clone(&links), stream, peer, place));
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
async fn place(door: &Door) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(&door.connections).try_acquire_owned() {
        return Some(place);
    }
    door.observe.metrics().accepts_paused.inc();
    tokio::select! {
        place = Arc::clone(&door.connections).acquire_owned() => place.ok(),
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
    stream: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
) {
    let _open = Counted::one(door.observe.metrics(), |metrics| &metrics.connections_open);
    let snapshot = door.snapshot.load_full();
    let began = Instant::now();
    let Some(mut source) = door.sources.enter(peer.ip()) else {
        door.observe.metrics().hello_refused.count("source_full");
        return;
    };
    let Some(shaken) = shake(&door, &snapshot, &source, stream).await else { return };
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
        Arc::clone(&door),
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

/// Hello and TLS, each within the time that the bounds give handshakes, and TLS within their number.
async fn shake(door: &Door, snapshot: &Snapshot, source: &Entered, stream: TcpStream) -> Option<Shaken> {
    let metrics = door.observe.metrics();
    let bounds = &snapshot.settings.bounds;
    let ends = tokio::time::Instant::now() + bounds.handshake_time;
    let Ok(first) = tokio::time::timeout_at(ends, first_record(door, stream)).await else {
        metrics.hello_refused.count("late");
        return None;
    };
    let (stream, first) = first?;
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
            metrics.handshake_failed(TlsVersion::Unknown, tls::reason(&error));
            return None;
        }
        Err(_elapsed) => {
            metrics.handshake_failed(TlsVersion::Unknown, "late");
            return None;
        }
    };
    let version = TlsVersion::from(stream.get_ref().1.protocol_version());
    match who(&stream, snapshot) {
        Ok(who) => Some(Shaken { stream, version, who }),
        Err(reason) => {
            metrics.handshake_failed(version, reason);
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

/// Reads until the first TLS record says what it is; closes what is not for us, counted.
async fn first_record(door: &Door, mut stream: TcpStream) -> Option<(TcpStream, Bytes)> {
    let refused = &door.observe.metrics().hello_refused;
    // A head and a body are one flight each; waiting to fill segments only adds latency.
    stream.set_nodelay(true).ok()?;
    let mut first = BytesMut::with_capacity(2048);
    loop {
        if stream.read_buf(&mut first).await.ok()? == 0 {
            // A load balancer's TCP check, or a port scan.
            refused.count("closed");
            return None;
        }
        match hello::first(&first) {
            First::NeedMore => {}
            First::Hello(_) | First::Fragmented | First::Broken => return Some((stream, first.freeze())),
            First::TooOld(_) => {
                refused.count("too_old");
                // Whether the alert arrives makes no difference to us.
                drop(stream.write_all(&hello::protocol_version_alert()).await);
                return None;
            }
            First::NotTls(what) => {
                refused.count(what.label());
                if what == NotTls::PlainHttp {
                    drop(stream.write_all(PLAIN_HTTP).await);
                }
                return None;
            }
        }
    }
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
