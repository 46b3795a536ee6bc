//! The admin doors: what the door says about itself, and what operators may tell it.
//!
//! One router, three doors. `admin.http` is read-only: it has no way to tell who asks, so nothing can be changed
//! through it, and it answers only to requests that were meant for it (`host`). `admin.unix` also takes changes of
//! the roster; the mode of its file decides who may. So does `admin.tls`, from other machines; a certificate and a list
//! of names decide (`tls`).
//!
//! | path | answers |
//! |---|---|
//! | `GET /live` | 200 while the process can answer at all |
//! | `GET /ready` | 200, or 503 with why agents should be sent elsewhere |
//! | `GET /metrics` | OpenMetrics, or protobuf for whoever would rather have that (`format`) |
//! | `GET /v1/roster` | the roster in force |
//! | `GET /v1/masters` | each master as the door sees it |
//! | `GET /v1/masters/NAME/status` | what one master says of itself |
//! | `GET /v1/queue` | who waits for a JRuby |
//! | `GET /v1/overview` | what the page shows, all of one moment |
//! | `GET /v1/openapi.json` | all of this, for programs |
//! | `GET /` | the page (`page`) |
//! | `POST /v1/enrollments` | remembers how far an enrollment is, for the page; not on `admin.http` |
//! | `POST /v1/roster/{admit,warm,drain,undrain,retire}` | the roster after the change; not on `admin.http` |
//! | `POST /v1/flush` | what became of each master's environment cache; not on `admin.http` |
//! | `POST /v1/hold` | how much longer catalogs are kept in the queue; not on `admin.http` |
//! | `POST /v1/judge` | whether an agent with this certificate would be let in; not on `admin.http` |
//!
//! It runs beside the threads that serve agents, never on them, and knows the running door by [`Inside`] alone.

mod enrollments;
mod format;
mod hold;
mod host;
mod judge;
mod listen;
mod masters;
mod read;
mod tls;
mod write;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Json, Router};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use stagedoor_config::admin::flush::Flushed;
use stagedoor_config::admin::seats::Queue;
use stagedoor_config::admin::{MastersView, Refusal};
use stagedoor_config::certname::Certname;
use stagedoor_config::environment::Environment;
use stagedoor_config::master::Master;
use stagedoor_config::proxy::Admin;
use stagedoor_config::read::NotReplaced;
use stagedoor_config::roster::{Roster, RosterRefusal};
use stagedoor_config::trust::Refused;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use listen::Limits;
pub use listen::NotOpened;

use crate::observe::Observe;
use crate::observe::levels::Levels;
use crate::page;
pub use crate::pool::relay::{NoStatus, Status};
use crate::run::load::SealedAndPassed;

/// A change of the roster is a certname and a few words.
const BODY: usize = 64 * 1024;
/// Requests answered at once by one door; each takes milliseconds, so more are a flood and are told so.
const AT_ONCE: usize = 16;
/// For one answer, the reading of its body included.
const ANSWER: Duration = Duration::from_secs(10);
const AGAIN: &str = "a change that was asked for may still happen: look at /v1/roster before asking again";

/// What the admin doors ask of the running door.
pub trait Inside: Send + Sync + 'static {
    /// Whether agents should be sent here.
    ///
    /// # Errors
    /// Each reason why not, as a sentence with what to do.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// The roster in force.
    fn roster(&self) -> Arc<Roster>;

    /// Each master of the roster in force as the door sees it, in the roster's order.
    fn masters(&self) -> MastersView;

    /// Who waits for a seat.
    fn queue(&self) -> Queue;

    /// The seats and the queue at this moment, for a scrape.
    fn levels(&self) -> Levels;

    /// Keeps catalogs in the queue for so many seconds from now on; how much longer they are kept.
    fn hold(&self, seconds: u16) -> Duration;

    /// What this master says of itself.
    fn status(&self, master: &Master, level: Level) -> Later<Result<Status, NoStatus>>;

    /// Has every master of the roster in force forget these environments; none named means every one.
    fn flush(&self, environments: Vec<Environment>) -> Later<Flushed>;

    /// Whose this certificate is, leaf first, if an agent that shows it would be let in now.
    ///
    /// # Errors
    /// Why it would not be.
    fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<Certname, Refused>;

    /// What a handshake at `admin.tls` goes by now; none where that is off.
    fn operators(&self) -> Option<Arc<ServerConfig>>;

    /// Puts what `change` makes of the roster into the file and into force, one change at a time. May block.
    ///
    /// # Errors
    /// `change` refused, or the file could not be written; the roster in force is the one before.
    fn change(&self, change: &Change) -> Result<Arc<Roster>, NotChanged>;
}

/// An answer that a master is waited for.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How much a master is asked to say of itself, in Puppet's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The states alone.
    Critical,
    /// What is cheap to know.
    Info,
    /// What it measures as well.
    #[default]
    Debug,
}

/// A change: the roster after it, from the roster before it.
pub type Change = dyn Fn(&Roster) -> Result<Roster, RosterRefusal> + Send + Sync;

/// Why the roster is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// The change does not fit the roster.
    #[error(transparent)]
    Refused(#[from] RosterRefusal),
    /// The door could not show itself to a master that the door CA seals.
    #[error("{certname} is to be sealed by the door CA, and this door has no certificate of it")]
    NoDoorCertificate {
        /// Who was named.
        certname: Certname,
    },
    /// Whoever connects would be passed to a sealed master.
    #[error(transparent)]
    Passed(#[from] SealedAndPassed),
    /// The file could not be replaced.
    #[error("the roster could not be written to its file, and nothing was changed")]
    Unwritten(#[from] NotReplaced),
}

/// The admin doors while they are open.
#[derive(Debug)]
pub struct Open {
    /// Where `admin.http` listens; none when it is off.
    pub http: Option<SocketAddr>,
    /// Where `admin.unix` listens; none when it is off.
    pub unix: Option<PathBuf>,
    /// Where `admin.tls` listens; none when it is off.
    pub tls: Option<SocketAddr>,
    tasks: TaskTracker,
}

impl Open {
    /// Returns when the shutdown has been asked for and every connection has ended, which takes a bounded time.
    pub async fn closed(self) {
        self.tasks.wait().await;
    }
}

/// Opens the admin doors that the settings name, on this runtime, until `shutdown`.
///
/// # Errors
/// One of them cannot be opened; then none is.
pub async fn serve(
    settings: &Admin,
    inside: Arc<dyn Inside>,
    observe: Arc<Observe>,
    shutdown: CancellationToken,
) -> Result<Open, NotOpened> {
    serve_within(Limits::ADMIN, settings, inside, observe, shutdown).await
}

async fn serve_within(
    limits: Limits,
    settings: &Admin,
    inside: Arc<dyn Inside>,
    observe: Arc<Observe>,
    shutdown: CancellationToken,
) -> Result<Open, NotOpened> {
    let http = match settings.http {
        Some(address) => Some(listen::tcp(address, NotOpened::Http).await?),
        None => None,
    };
    let unix =
        settings.unix.as_deref().map(|path| listen::unix(path).map(|l| (l, path.to_owned()))).transpose()?;
    let elsewhere = match &settings.tls {
        Some(settings) => Some((listen::tcp(settings.address, NotOpened::Tls).await?, settings)),
        None => None,
    };

    let tasks = TaskTracker::new();
    let door = Door { inside, observe, changing: Arc::new(Semaphore::new(1)), turns: masters::Turns::new() };
    let mut open = Open { http: None, unix: None, tls: None, tasks: tasks.clone() };
    if let Some((listener, bound)) = http {
        let router = bounded(read::routes().merge(page::routes()).merge(write::elsewhere()))
            .merge(patient(masters::routes()))
            .with_state(door.clone())
            .layer(from_fn_with_state(bound, only_for_this_door))
            .layer(from_fn(not_from_elsewhere));
        listen::open(listener, router, limits, shutdown.clone(), &tasks);
        open.http = Some(bound);
    }
    if let Some((listener, path)) = unix {
        let router = whole().with_state(door.clone()).layer(from_fn(not_from_elsewhere));
        listen::open(listener, router, limits, shutdown.clone(), &tasks);
        open.unix = Some(path);
    }
    if let Some(((listener, bound), settings)) = elsewhere {
        let inside = Arc::clone(&door.inside);
        let router = whole()
            .with_state(door)
            .layer(from_fn(not_from_elsewhere))
            .layer(from_fn_with_state(Arc::clone(&inside), tls::still_good));
        let entered = tls::enter(listener, settings, limits.handshake, inside, shutdown.clone(), &tasks);
        listen::open(entered, router, limits, shutdown, &tasks);
        open.tls = Some(bound);
    }
    tasks.close();
    Ok(open)
}

/// What every route can reach.
#[derive(Clone)]
struct Door {
    inside: Arc<dyn Inside>,
    observe: Arc<Observe>,
    /// Held by a change until it is done, even when its asker has been told to wait no longer: a disk that hangs
    /// costs one thread, not one for each time somebody asks.
    changing: Arc<Semaphore>,
    turns: masters::Turns,
}

/// Everything, for doors that know who asks.
fn whole() -> Router<Door> {
    let reads = read::routes().merge(page::routes());
    let changes = write::routes().merge(judge::routes()).merge(hold::routes()).merge(enrollments::routes());
    bounded(reads.merge(changes)).merge(patient(masters::routes().merge(masters::changing())))
}

/// What the door answers by itself.
fn bounded(router: Router<Door>) -> Router<Door> {
    router.layer(DefaultBodyLimit::max(BODY)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async |error: BoxError| too_much(&*error, ANSWER, AGAIN)))
            .load_shed()
            // One bound for the whole door: the plain layer would give each route a bound of its own.
            .layer(GlobalConcurrencyLimitLayer::new(AT_ONCE))
            .timeout(ANSWER),
    )
}

/// What waits for masters. As many may wait as there are connections.
fn patient(router: Router<Door>) -> Router<Door> {
    router.layer(DefaultBodyLimit::max(BODY)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async |error: BoxError| {
                too_much(&*error, masters::ANSWER, masters::AGAIN)
            }))
            .timeout(masters::ANSWER),
    )
}

fn too_much(
    error: &(dyn std::error::Error + Send + Sync + 'static),
    within: Duration,
    again: &str,
) -> Response {
    let mut answer = if error.is::<tower::timeout::error::Elapsed>() {
        refusal(StatusCode::SERVICE_UNAVAILABLE, format!("no answer within {} s", within.as_secs()), again)
    } else {
        let hint = "ask again in a second";
        refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{AT_ONCE} requests are being answered already"),
            hint,
        )
    };
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

async fn only_for_this_door(State(bound): State<SocketAddr>, request: Request, next: Next) -> Response {
    if host::names_this_door(request.version(), request.uri(), request.headers(), bound.ip()) {
        return next.run(request).await;
    }
    let hint = format!(
        "ask for http://{bound}/ or http://localhost:{}/: another name may be anybody's",
        bound.port()
    );
    refusal(StatusCode::MISDIRECTED_REQUEST, "this request's Host is not this door", hint)
}

async fn not_from_elsewhere(request: Request, next: Next) -> Response {
    if host::comes_from_elsewhere(request.headers()) {
        let hint = "open the door's own page, or ask with a program, which sends no Origin";
        return refusal(StatusCode::FORBIDDEN, "this request's Origin is a page of another place", hint);
    }
    next.run(request).await
}

/// A refusal in words.
fn refusal(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Response {
    (status, Json(Refusal { error: error.into(), hint: hint.into() })).into_response()
}

#[cfg(test)]
mod tests;
