//! `admin.tls`: from a TCP connection to somebody who may ask, each step within bounds of its own.
//!
//! Whoever reaches the port may begin a handshake, so those who do have no place of those who may ask: a flood of the
//! one leaves the others alone. A handshake fails without a certificate of the Puppet CA that is in force, by the trust
//! and with the certificates of that moment. One whose name is not listed is told so in words, once, and let go.
//! Revocation is looked up again for each request, since connections last longer than certificates may.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Extension, Router};
use rustls_pki_types::CertificateDer;
use stagedoor_config::certname::Certname;
use stagedoor_config::proxy::{AdminTls, Bounds};
use stagedoor_config::trust::Refused;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listen::{self, Accept, Caller};
use super::{Inside, refusal};
use crate::observe::log::chain as causes;
use crate::sources::Sources;
use crate::tls;

/// Connections that have not shown yet who they are. Few programs come, and rarely; one address has half of these.
const ENTERING: usize = 16;
/// For a handshake, and for a place among those who ask. As agents have for theirs.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the one answer that somebody gets who is not listed: every node of the site could be that one.
const TURNED_AWAY: Duration = Duration::from_secs(1);

/// Whose certificate a handshake proved.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) certname: Certname,
    /// As shown, leaf first.
    chain: Box<[CertificateDer<'static>]>,
}

/// Callers that have come in.
pub(super) struct Entered(Mutex<mpsc::Receiver<(TlsStream<TcpStream>, Caller)>>);

impl Accept for Entered {
    type Stream = TlsStream<TcpStream>;

    async fn accept(&self) -> io::Result<(Self::Stream, Caller)> {
        // The sender ends when the door is told to stop, and so does whoever asks here.
        self.0.lock().await.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

/// Lets callers in on `listener` until `shutdown`.
pub(super) fn enter(
    listener: TcpListener,
    settings: &AdminTls,
    handshake: Duration,
    inside: Arc<dyn Inside>,
    shutdown: CancellationToken,
    tasks: &TaskTracker,
) -> Entered {
    // One at most waits here; others who came in keep their places among those who enter until somebody takes them.
    let (give, entered) = mpsc::channel(1);
    let gate = Arc::new(Gate {
        inside,
        allow: settings.allow.clone(),
        handshake,
        places: Arc::new(Semaphore::new(ENTERING)),
        sources: Sources::new(&Bounds { connections: ENTERING, ..Bounds::default() }),
        give,
    });
    let connections = tasks.clone();
    tasks.spawn(async move {
        let accepting = async {
            while let Ok(place) = Arc::clone(&gate.places).acquire_owned().await {
                match TcpListener::accept(&listener).await {
                    Ok((stream, peer)) => {
                        let (gate, shutdown) = (Arc::clone(&gate), shutdown.clone());
                        connections.spawn(async move {
                            let _place = place;
                            shutdown.run_until_cancelled(gate.connection(stream, peer)).await;
                        });
                    }
                    Err(error) => listen::could_not_accept(&error).await,
                }
            }
        };
        shutdown.run_until_cancelled(accepting).await;
    });
    Entered(Mutex::new(entered))
}

/// Where callers come in.
struct Gate {
    inside: Arc<dyn Inside>,
    allow: Vec<Certname>,
    handshake: Duration,
    places: Arc<Semaphore>,
    sources: Sources,
    give: mpsc::Sender<(TlsStream<TcpStream>, Caller)>,
}

impl Gate {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(_of_its_source) = self.sources.enter(peer.ip()) else {
            return tracing::debug!(%peer, "too many handshakes of its address at admin.tls");
        };
        let ends = Instant::now() + self.handshake;
        let Some((stream, node)) = self.shake(stream, peer.ip(), ends).await else { return };
        if !self.allow.contains(&node.certname) {
            tracing::debug!(%peer, certname = %node.certname, "not among admin.tls.allow");
            let refused = listen::serve(stream, stranger(&node.certname), TURNED_AWAY);
            return drop(timeout(TURNED_AWAY, refused).await);
        }
        // Where as many callers are in as may be, this one's time runs as well.
        drop(timeout_at(ends, self.give.send((stream, Caller::Node(Arc::new(node))))).await);
    }

    async fn shake(
        &self,
        stream: TcpStream,
        peer: IpAddr,
        ends: Instant,
    ) -> Option<(TlsStream<TcpStream>, Node)> {
        let config = self.inside.operators()?;
        let shaken = timeout_at(ends, TlsAcceptor::from(config).accept(stream)).await;
        let failed = |why: &str| tracing::debug!(%peer, why, "no handshake at admin.tls");
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                failed(&tls::words(&error));
                return None;
            }
            Err(_elapsed) => {
                failed("not in time");
                return None;
            }
        };
        let chain: Box<[_]> = stream.get_ref().1.peer_certificates()?.iter().cloned().collect();
        match self.inside.judge(&chain) {
            Ok(certname) => Some((stream, Node { certname, chain })),
            Err(refused) => {
                failed(&causes(&refused));
                None
            }
        }
    }
}

/// The one answer for whoever shows a good certificate and is not listed.
fn stranger(certname: &Certname) -> Router {
    let error = format!("{certname} may not ask here");
    Router::new().fallback(async move || {
        let hint = "name it in `allow` under [admin.tls] in the door's settings, if it is to change rosters";
        closing(refusal(StatusCode::FORBIDDEN, error, hint))
    })
}

/// Whether the caller's certificate is still good, asked for each request.
pub(super) async fn still_good(
    State(inside): State<Arc<dyn Inside>>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let judged = match &caller {
        Caller::Node(node) => inside.judge(&node.chain),
        // Nobody else comes in here.
        Caller::Anybody | Caller::User(_) => Err(Refused::Malformed),
    };
    match judged {
        Ok(_) => next.run(request).await,
        Err(refused) => {
            let hint = "connect anew with a certificate that is in force";
            closing(refusal(StatusCode::FORBIDDEN, causes(&refused), hint))
        }
    }
}

fn closing(mut answer: Response) -> Response {
    answer.headers_mut().insert(header::CONNECTION, const { HeaderValue::from_static("close") });
    answer
}
