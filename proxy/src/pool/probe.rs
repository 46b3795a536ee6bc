//! Asking a master whether it is fit: `GET /status/v1/simple/server`, and `/master` where that is not known; of an open
//! one `/status/v1/simple` where neither is, or nothing but a TCP connection where it was admitted so.
//!
//! Each question opens a connection of its own, as a new request would have to: a master whose certificate expired
//! or that accepts no more connections is found out here and not by an agent. The question needs no JRuby, so an
//! answer does not say that the master compiles; Puppet Server has no question that does and costs nothing.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Uri};
use stagedoor_config::master::{Check, Kind};

use super::question::{Question, Questions, Unanswered};
use crate::door::Door;
use crate::link::Unconnected;
use crate::observe::log::chain;
use crate::observe::metrics::Ejected;
use crate::pool::health::Verdict;
use crate::pool::{Member, Pool};

/// Puppet Server 6.14 and later; the same answer as `/master` there.
const SERVER: &str = "/status/v1/simple/server";
/// Before 6.14.
const MASTER: &str = "/status/v1/simple/master";
/// Whatever it is: good while every service of it is.
const ANYTHING: &str = "/status/v1/simple";
/// The state in words is a few bytes; an error page, which has a status too, some kilobytes.
const MOST: usize = 64 * 1024;

/// The least time between two questions.
const LEAST: Duration = Duration::from_millis(500);

/// Asks one master of a pool again and again, until the task is ended because the master left.
pub(crate) async fn keep_asking(door: Arc<Door>, pool: Arc<Pool>, member: Arc<Member>) {
    let Member { id, peer, metrics, kind, .. } = &*member;
    let takes = if kind.is_sealed() { "requests" } else { "connections" };
    let (mut path, mut judged) = (SERVER, false);
    loop {
        let settings = Arc::clone(&door.snapshot.load().settings);
        let health = settings.health;
        let asked =
            tokio::time::timeout(health.timeout, ask(&door, &member, &mut path, health.timeout)).await;
        let outcome = asked.unwrap_or(Err(Ill::Late));
        if outcome.is_ok() { &metrics.probes_passed } else { &metrics.probes_failed }.inc();
        let why = outcome.as_ref().err().map(|ill| chain(ill));
        let flipped = pool.probed(*id, why.clone(), health.rise, health.fall);
        match &outcome {
            Ok(()) => pool.there_again(&member),
            Err(ill) if ill.says_restarted() => {
                if pool
                    .seal_lost(&member, "it could not be connected to, and may have been changed since")
                    .is_some()
                {
                    tracing::info!(master = %peer.certname, "master cannot be connected to: it is tested before it is used again");
                }
            }
            Err(_) => {}
        }
        match flipped {
            Some(Verdict::Unfit) => {
                judged = true;
                tracing::warn!(master = %peer.certname, why, "master is unfit: it takes no {takes} while another is fit");
                metrics.fit.set(0);
                door.observe.ejected(metrics, Ejected::Probes, why.as_deref().unwrap_or_default());
            }
            Some(Verdict::Fit) => {
                if std::mem::replace(&mut judged, true) {
                    // Whatever it was: a machine that was silent may be another one now.
                    member.test.notify_one();
                }
                tracing::info!(master = %peer.certname, "master is fit");
                metrics.fit.set(1);
                door.observe.is_back(metrics, "it answers its health checks");
            }
            Some(Verdict::Unknown) | None => {}
        }
        next(&member, health.interval).await;
    }
}

/// Until the next question: a request that cannot be connected brings it forward.
async fn next(member: &Member, interval: Duration) {
    let wait = spread(interval);
    // A dead master's requests all say so; it is asked no more often than this.
    let least = LEAST.min(wait);
    tokio::time::sleep(least).await;
    drop(tokio::time::timeout(wait.saturating_sub(least), member.probe.notified()).await);
}

/// A tenth more or less, so that many doors and masters do not fall into step.
pub(super) fn spread(interval: Duration) -> Duration {
    interval.mul_f64(fastrand::f64().mul_add(0.2, 0.9))
}

/// Why a probe was not good.
#[derive(Debug, thiserror::Error)]
enum Ill {
    #[error("no answer in time")]
    Late,
    #[error("cannot connect")]
    Unconnected(#[source] Unconnected),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it answered {0}")]
    Status(StatusCode),
}

impl Ill {
    /// Whether the master may have been restarted, with other settings: no connection came to stand, and the system
    /// knows why (nobody listens, or the machine is gone). One that takes its time may only be overloaded, as all of
    /// them are at once when a site comes back, and must not be left without requests for that.
    const fn says_restarted(&self) -> bool {
        matches!(
            self,
            Self::Unconnected(Unconnected::Tcp(_))
                | Self::Unanswered(Unanswered::Unconnected(Unconnected::Tcp(_)))
        )
    }
}

async fn ask(door: &Door, member: &Member, path: &mut &'static str, patience: Duration) -> Result<(), Ill> {
    if member.kind == (Kind::Open { check: Check::Tcp }) {
        return member.peer.connect_bare(patience).await.map(drop).map_err(Ill::Unconnected);
    }
    // All services of a sealed master together say less than the one that compiles.
    let paths = if member.kind.is_sealed() { &[SERVER, MASTER][..] } else { &[SERVER, MASTER, ANYTHING] };
    let known = paths.iter().position(|known| known == path).unwrap_or_default();
    let mut last = Ill::Status(StatusCode::NOT_FOUND);
    for tried in paths.iter().cycle().skip(known).take(paths.len()) {
        *path = tried;
        match question(door, member, path, patience).await? {
            StatusCode::OK => return Ok(()),
            StatusCode::NOT_FOUND => {}
            status => {
                last = Ill::Status(status);
                break;
            }
        }
    }
    Err(last)
}

async fn question(
    door: &Door,
    member: &Member,
    path: &'static str,
    patience: Duration,
) -> Result<StatusCode, Unanswered> {
    let target = Uri::from_static(path);
    let question = Question { method: Method::GET, target: &target, headers: HeaderMap::new(), most: MOST };
    Ok(Questions::new(door, member, patience).ask(question).await?.status)
}
