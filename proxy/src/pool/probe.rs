//! Asking a master whether it is fit: `GET /status/v1/simple/server`, and `/master` where that is not known.
//!
//! Each question opens a connection of its own, as a new request would have to: a master whose certificate expired
//! or that accepts no more connections is found out here and not by an agent. The question needs no JRuby, so an
//! answer does not say that the master compiles; Puppet Server has no question that does and costs nothing.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;

use crate::body::{Kept, Upload};
use crate::door::Door;
use crate::link::{Terms, Unsent};
use crate::observe::log::chain;
use crate::pool::Member;
use crate::pool::health::Verdict;

/// Puppet Server 6.14 and later; the same answer as `/master` there.
const SERVER: &str = "/status/v1/simple/server";
/// Before 6.14.
const MASTER: &str = "/status/v1/simple/master";

/// Asks one master again and again, until the task is ended because the master left.
pub(crate) async fn keep_asking(door: Arc<Door>, member: Arc<Member>) {
    let Member { id, peer, metrics, .. } = &*member;
    let mut path = SERVER;
    loop {
        let settings = Arc::clone(&door.snapshot.load().settings);
        let health = settings.health;
        let asked = tokio::time::timeout(health.timeout, ask(&door, &member, &mut path)).await;
        let outcome = asked.unwrap_or(Err(Ill::Late));
        if outcome.is_ok() { &metrics.probes_passed } else { &metrics.probes_failed }.inc();
        let why = outcome.err().map(|ill| chain(&ill));
        match door.pool.probed(*id, why.clone(), health.rise, health.fall) {
            Some(Verdict::Unfit) => {
                tracing::warn!(master = %peer.certname, why, "master is unfit: it takes no requests while another is fit");
                metrics.fit.set(0);
            }
            Some(Verdict::Fit) => {
                tracing::info!(master = %peer.certname, "master is fit");
                metrics.fit.set(1);
            }
            Some(Verdict::Unknown) | None => {}
        }
        tokio::time::sleep(spread(health.interval)).await;
    }
}

/// A tenth more or less, so that many doors and masters do not fall into step.
fn spread(interval: Duration) -> Duration {
    interval.mul_f64(fastrand::f64().mul_add(0.2, 0.9))
}

/// Why a probe was not good.
#[derive(Debug, thiserror::Error)]
enum Ill {
    #[error("no answer in time")]
    Late,
    #[error("cannot connect")]
    Unconnected(#[source] crate::link::Unconnected),
    #[error("the connection ended before an answer")]
    Cut,
    #[error("it answered {0}")]
    Status(StatusCode),
}

async fn ask(door: &Door, member: &Member, path: &mut &'static str) -> Result<(), Ill> {
    let status = question(door, member, path).await?;
    if status != StatusCode::NOT_FOUND {
        return if status == StatusCode::OK { Ok(()) } else { Err(Ill::Status(status)) };
    }
    *path = if *path == SERVER { MASTER } else { SERVER };
    match question(door, member, path).await? {
        StatusCode::OK => Ok(()),
        status => Err(Ill::Status(status)),
    }
}

async fn question(door: &Door, member: &Member, path: &'static str) -> Result<StatusCode, Ill> {
    let snapshot = door.snapshot.load_full();
    let terms = Terms {
        tls: snapshot.tls_towards(member.kind),
        generation: snapshot.generation,
        lately: true,
        fresh: true,
        patience: snapshot.settings.health.timeout,
    };
    let mut link = member.peer.connect_beside(terms).await.map_err(Ill::Unconnected)?;
    let nothing = Upload::new(Kept::empty(), None);
    let mut request = Request::new(nothing);
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static(path);
    let host = HeaderValue::from_str(member.peer.certname.as_str()).map_err(|_| Ill::Cut)?;
    request.headers_mut().insert(header::HOST, host);
    let response = link.send(request).await.map_err(|unsent| match unsent {
        Unsent::Whole(_) | Unsent::Cut(_) => Ill::Cut,
    })?;
    let status = response.status();
    // The state in words is a few bytes; more is not read, and the connection ends here anyway.
    drop(http_body_util::Limited::new(response.into_body(), 1024).collect().await);
    Ok(status)
}
