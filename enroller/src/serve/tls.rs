//! The port: whoever shows a certificate of the Puppet CA that is in force and listed may ask.
//!
//! Whoever reaches the port may begin a handshake, so those who do have places of their own, and each address but a few of
//! them. Whether a certificate is revoked is looked up again for each request, by the files as they are now: they are
//! looked at twice a second, and read when they change.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, UnixTime};
use stagedoor_config::certname::Certname;
use stagedoor_config::enroller::{ServeTls, Settings};
use stagedoor_config::proxy::KeyPair;
use stagedoor_config::read::{Look, Watched};
use stagedoor_config::trust::{AgentVerifier, OperatorVerifier, Refused, Side, Trust};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::listen::{CONNECTIONS, PAUSE, connection};
use super::routes::{By, refusal};
use super::work::say;
use super::{Desk, NotServed};
use crate::identity::Identity;
use crate::site::{NotOpened, Site};
use crate::words::chain;

/// Connections that have not shown yet who they are, and how many of one address: few programs come, and rarely.
const ENTERING: usize = 32;
const OF_ONE_ADDRESS: usize = 8;
/// For a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the one answer that somebody gets who is not listed: every node of the site could be that one.
const TURNED_AWAY: Duration = Duration::from_secs(1);
/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(500);

/// What is shown here, and who is believed.
#[derive(Clone)]
struct Files {
    config: Arc<ServerConfig>,
    trust: Arc<Trust>,
}

/// The port's own.
struct Gate {
    files: watch::Receiver<Files>,
    allow: Vec<Certname>,
    entering: Mutex<HashMap<IpAddr, usize>>,
    places: Arc<Semaphore>,
    router: Router,
}

/// Whose certificate a handshake proved, as it was shown, leaf first.
#[derive(Clone)]
struct Shown(Arc<[CertificateDer<'static>]>);

/// A place among those of one address, until it is dropped.
struct Entering<'g> {
    gate: &'g Gate,
    address: IpAddr,
}

/// Opens the port.
pub(super) fn open(desk: &Desk, tls: ServeTls, router: Router) -> Result<(), NotServed> {
    // The settings are refused without one.
    let Some(identity) = desk.settings.identity.clone() else { return Err(NotServed::Nowhere) };
    let files = &desk.settings.puppet_ca;
    let paths =
        [&files.bundle, &files.crl, &identity.certificate, &identity.key].map(PathBuf::clone).to_vec();
    let (watched, _) = Watched::open(paths).map_err(NotOpened::from)?;
    let (give, files) = watch::channel(read(&desk.settings, &identity)?);
    let listener = std::net::TcpListener::bind(tls.address).map_err(NotServed::Tls)?;
    listener.set_nonblocking(true).map_err(NotServed::Tls)?;
    let listener = TcpListener::from_std(listener).map_err(NotServed::Tls)?;
    let gate = Gate {
        files,
        allow: tls.allow,
        entering: Mutex::default(),
        places: Arc::new(Semaphore::new(CONNECTIONS)),
        router: router.layer(middleware::from_fn(judged_again)),
    };
    tokio::spawn(keep_reading(desk.settings.clone(), identity, watched, give));
    tokio::spawn(accept(listener, Arc::new(gate)));
    Ok(())
}

/// Reads the files whenever they change; what is no good is told, and what was read before stays in force.
async fn keep_reading(
    settings: Settings,
    identity: KeyPair,
    mut watched: Watched,
    give: watch::Sender<Files>,
) {
    let mut looks = interval(LOOK);
    let mut told = false;
    while !give.is_closed() {
        looks.tick().await;
        match watched.look() {
            Look::Nothing => {}
            Look::Taken(_) => match read(&settings, &identity) {
                Ok(files) => {
                    told = false;
                    give.send_replace(files);
                }
                Err(error) => {
                    say(&format!("serve.tls: {}; what was read before stays in force", chain(&error)))
                }
            },
            Look::Unreadable(error) if !told => {
                told = true;
                say(&format!("serve.tls: {}; what was read before stays in force", chain(&error)));
            }
            Look::Unreadable(_) => {}
        }
    }
}

fn read(settings: &Settings, identity: &KeyPair) -> Result<Files, NotServed> {
    let trust = Site::open(settings.clone())?.trust;
    let identity = Identity::read(identity).map_err(NotOpened::from)?;
    let judge = Arc::new(AgentVerifier::new(Arc::clone(&trust)));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(OperatorVerifier(judge)))
        .with_cert_resolver(identity.server_resolver());
    // A resumed session is not judged again.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Files { config: Arc::new(config), trust })
}

async fn accept(listener: TcpListener, gate: Arc<Gate>) {
    let entering = Arc::new(Semaphore::new(ENTERING));
    while let Ok(place) = Arc::clone(&entering).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move {
                    let entered = {
                        let _place = place;
                        let Some(_one) = gate.enter(peer.ip().to_canonical()) else { return };
                        gate.shake(stream).await
                    };
                    if let Some((stream, certname, shown)) = entered {
                        gate.let_in(stream, certname, shown).await;
                    }
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

impl Gate {
    fn enter(&self, address: IpAddr) -> Option<Entering<'_>> {
        let mut entering = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        let there = entering.entry(address).or_default();
        if *there >= OF_ONE_ADDRESS {
            return None;
        }
        *there += 1;
        Some(Entering { gate: self, address })
    }

    async fn shake(&self, stream: TcpStream) -> Option<(TlsStream, Certname, Shown)> {
        let Files { config, trust } = self.files.borrow().clone();
        let stream = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await.ok()?.ok()?;
        let shown: Arc<[CertificateDer<'static>]> = stream.get_ref().1.peer_certificates()?.into();
        let certname = judge(&trust, &shown).ok()??;
        Some((stream, certname, Shown(shown)))
    }

    async fn let_in(self: &Arc<Self>, stream: TlsStream, certname: Certname, shown: Shown) {
        if !self.allow.contains(&certname) {
            let stranger = Router::new().fallback(async move || {
                let hint = "name it in `allow` under [serve.tls], if it is to ask for enrollments";
                refusal(StatusCode::FORBIDDEN, format!("{certname} may not ask here"), hint)
            });
            drop(timeout(TURNED_AWAY, connection(stream, stranger)).await);
            return;
        }
        let Ok(Ok(_place)) = timeout(HANDSHAKE, Arc::clone(&self.places).acquire_owned()).await else {
            return;
        };
        let by = By(format!("the certificate of {certname}"));
        let router = self
            .router
            .clone()
            .layer(Extension(by))
            .layer(Extension(shown))
            .layer(Extension(self.files.clone()));
        connection(stream, router).await;
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        let mut entering = self.gate.entering.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = entering.get_mut(&self.address) {
            *there -= 1;
            if *there == 0 {
                entering.remove(&self.address);
            }
        }
    }
}

/// A connection lasts longer than a certificate may.
async fn judged_again(
    Extension(files): Extension<watch::Receiver<Files>>,
    Extension(Shown(shown)): Extension<Shown>,
    request: Request,
    next: Next,
) -> Response {
    let judged = judge(&files.borrow().trust, &shown);
    match judged {
        Ok(_) => next.run(request).await,
        Err(refused) => {
            let hint = "have a new certificate signed, or the CA's lists renewed here";
            refusal(StatusCode::FORBIDDEN, chain(&refused), hint)
        }
    }
}

fn judge(trust: &Trust, shown: &[CertificateDer<'static>]) -> Result<Option<Certname>, Refused> {
    match shown.split_first() {
        Some((leaf, above)) => {
            Ok(trust.judge(leaf, above, UnixTime::now(), Side::Agent)?.certname().cloned())
        }
        None => Ok(None),
    }
}
