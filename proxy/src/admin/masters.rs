//! What the admin doors ask of masters for an operator: their status, which all relay, and to forget their environments,
//! which those doors take that take changes.
//!
//! A master may take seconds to answer, so these have bounds of their own and wait for a turn instead of being shed:
//! whoever deploys must not be told to come again because a master is down. A flush that was begun is finished even
//! when its asker has gone: half of the masters on old code is the worst of all ends.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use stagedoor_config::admin::flush::{Flush, Flushed, MOST_ENVIRONMENTS, Outcome};
use stagedoor_config::certname::Certname;
use stagedoor_config::roster::Roster;
use tokio::sync::Semaphore;

use super::listen::Caller;
use super::{Door, Level, read, refusal};
use crate::observe::log::chain;
use crate::pool::{flush, relay};

/// Statuses fetched at once by all admin doors; each may hold some megabytes.
const STATUSES: usize = 8;
/// Flushes under way at once; each asks several masters at once.
const FLUSHES: usize = 2;
/// For one answer of these, the waiting for a turn included.
pub(super) const ANSWER: Duration = flush::WHOLE.saturating_add(Duration::from_secs(20));
pub(super) const AGAIN: &str =
    "a flush that was begun goes on, and the door's log tells its end; if there is none, ask again";

/// Turns for what may take seconds.
#[derive(Clone)]
pub(super) struct Turns {
    statuses: Arc<Semaphore>,
    flushes: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { statuses: Arc::new(Semaphore::new(STATUSES)), flushes: Arc::new(Semaphore::new(FLUSHES)) }
    }
}

/// On every door.
pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/masters/{certname}/status", get(status))
        .method_not_allowed_fallback(read::method)
}

/// On those that take changes.
pub(super) fn changing() -> Router<Door> {
    Router::new().route("/v1/flush", post(flush_all)).method_not_allowed_fallback(read::method)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    #[serde(default)]
    level: Level,
}

async fn status(
    State(door): State<Door>,
    Path(certname): Path<String>,
    at: Result<Query<At>, QueryRejection>,
) -> Response {
    let level = match at {
        Ok(Query(At { level })) => level,
        Err(rejection) => {
            let hint = "ask with level=critical, level=info or level=debug, and nothing else";
            return refusal(rejection.status(), rejection.body_text(), hint);
        }
    };
    let roster = door.inside.roster();
    let master = match Certname::parse(&certname) {
        Ok(certname) => roster.known(&certname),
        Err(error) => return refusal(StatusCode::NOT_FOUND, error.to_string(), "see /v1/masters for names"),
    };
    let master = match master {
        Ok(master) => master,
        Err(unknown) => return refusal(StatusCode::NOT_FOUND, unknown.to_string(), unknown.hint()),
    };
    let Ok(_turn) = door.turns.statuses.acquire().await else { return closing() };
    match door.inside.status(master, level).await {
        Ok(told) => (told.status, [(header::CONTENT_TYPE, told.content_type)], told.body).into_response(),
        Err(why) => {
            let status = match why {
                relay::NoStatus::Late => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            let hint = "see /v1/masters for what its health checks say, and its own puppetserver.log";
            refusal(status, format!("{}: {}", master.certname, chain(&why)), hint)
        }
    }
}

async fn flush_all(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<Flush>, JsonRejection>,
) -> Response {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(rejection) => {
            let hint =
                "send {} for every environment, or {\"environments\": [\"production\"]}, as application/json";
            return refusal(rejection.status(), rejection.body_text(), hint);
        }
    };
    if asked.environments.len() > MOST_ENVIRONMENTS {
        let error = format!("{} environments are more than {MOST_ENVIRONMENTS}", asked.environments.len());
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, error, "name none, which flushes every one");
    }
    if let Err((error, hint)) = something_to_flush(&door.inside.roster()) {
        return refusal(StatusCode::CONFLICT, error, hint);
    }
    let Ok(turn) = Arc::clone(&door.turns.flushes).acquire_owned().await else { return closing() };
    let environments = asked.environments.len();
    let told = tokio::spawn(async move {
        let _turn = turn;
        let flushed = door.inside.flush(asked.environments).await;
        say(&flushed, environments, &caller);
        flushed
    });
    match told.await {
        Ok(flushed) => {
            let status = if flushed.failed() { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            (status, Json(flushed)).into_response()
        }
        Err(_panicked) => {
            let hint = "flush again, and report what the door's log says";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the flush ended in a fault of the door", hint)
        }
    }
}

/// Words and a hint where the roster has no master that the door can flush.
///
/// An operator who is told that everything is flushed believes it, so a flush of nothing is refused.
fn something_to_flush(roster: &Roster) -> Result<(), (&'static str, &'static str)> {
    if roster.masters.is_empty() {
        return Err((
            "the roster is empty: no cache was flushed",
            "see whether this is the right door, and admit masters",
        ));
    }
    if !roster.masters.iter().any(|master| master.kind.is_sealed()) {
        return Err((
            "every master on the roster is open: no cache was flushed",
            "the door has no identity there: flush each as before, by its own name",
        ));
    }
    Ok(())
}

fn say(flushed: &Flushed, environments: usize, caller: &Caller) {
    for master in &flushed.masters {
        if master.outcome == Outcome::Failed {
            let why = master.why.as_deref().unwrap_or_default();
            tracing::warn!(master = %master.certname, why, "environment cache not flushed");
        }
    }
    let of = |outcome| flushed.masters.iter().filter(|master| master.outcome == outcome).count();
    let (done, open, failed) = (of(Outcome::Flushed), of(Outcome::Open), of(Outcome::Failed));
    tracing::info!(
        flushed = done,
        open,
        failed,
        environments,
        uid = caller.uid(),
        node = caller.node(),
        "environment caches flushed"
    );
}

fn closing() -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the door is being stopped", "ask again when it runs")
}

#[cfg(test)]
mod tests;
