//! Requests and answers.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Extension, Json, Router};
use serde::Serialize;
use stagedoor_config::admin::Refusal;
use stagedoor_config::certname::Certname;
use stagedoor_config::master::is_host_and_port;
use tower::limit::GlobalConcurrencyLimitLayer;

use super::Desk;
use super::queue::{Job, NotTaken, What};
use super::work::say;
use crate::carry::plan;
use crate::journal::{Folder, Row, rows};
use crate::request::fingerprint;
use crate::words::chain;

/// A job is a certname and a few words.
const BODY: usize = 64 * 1024;
/// Requests answered at once; each reads some files.
const AT_ONCE: usize = 8;
/// OpenMetrics, as `prometheus-client` writes it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who waits, and how every master's latest enrollment stands.
#[derive(Debug, Serialize)]
struct Enrollments {
    under_way: Option<Certname>,
    waiting: Vec<Job>,
    masters: Vec<Row>,
}

/// Who asks, in words.
#[derive(Debug, Clone)]
pub(super) struct By(pub(super) String);

/// A job that was taken.
#[derive(Debug, Serialize)]
struct Taken {
    master: Certname,
    /// Counted from 1.
    place: usize,
}

pub(super) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/metrics", get(metrics))
        .route("/v1/enrollments", get(all).post(ask))
        .route("/v1/enrollments/{master}", delete(forget))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(GlobalConcurrencyLimitLayer::new(AT_ONCE))
        .with_state(desk)
}

async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    let (waiting, under_way) = {
        let queue = desk.queue();
        (queue.waiting().count(), queue.under_way().is_some())
    };
    let page = desk.metrics.scrape(&Folder::at(&desk.settings.journal), waiting, under_way);
    ([(header::CONTENT_TYPE, OPENMETRICS)], page).into_response()
}

async fn all(State(desk): State<Arc<Desk>>) -> Response {
    let masters = match rows(&Folder::at(&desk.settings.journal)) {
        Ok(masters) => masters,
        Err(error) => {
            let hint = "see that the folder of journals is there and may be read";
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, chain(&error), hint);
        }
    };
    let queue = desk.queue();
    let (under_way, waiting) = (queue.under_way().cloned(), queue.waiting().cloned().collect());
    drop(queue);
    Json(Enrollments { under_way, waiting, masters }).into_response()
}

async fn ask(
    State(desk): State<Arc<Desk>>,
    Extension(By(by)): Extension<By>,
    body: Result<Json<Job>, JsonRejection>,
) -> Response {
    let mut job = match body {
        Ok(Json(job)) => job,
        Err(rejection) => {
            let hint = "send {\"what\": \"enroll\", \"master\": \"CERTNAME\"} as application/json; what is enroll, adopt, retire or \
                        resume";
            return refusal(rejection.status(), rejection.body_text(), hint);
        }
    };
    if let Err(error) = Certname::parse_host(job.master.as_str()) {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string(), "name a compile master");
    }
    if job.address.as_deref().is_some_and(|address| !is_host_and_port(address)) {
        return refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "address: expected a host and a port",
            "correct it",
        );
    }
    if job.address.is_some() && matches!(job.what, What::Retire | What::Resume) {
        let error = "address: expected with enroll and adopt alone; the journal has the one of an enrollment";
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, error, "leave it out");
    }
    if let Some(key) = &job.key_fingerprint {
        let Some(key) = fingerprint(key) else {
            let error = "key_fingerprint: expected SHA-256 as 64 hexadecimal digits";
            return refusal(StatusCode::UNPROCESSABLE_ENTITY, error, "correct it");
        };
        job.key_fingerprint = Some(key);
    }
    if let Some(procedure) = job.what.procedure()
        && let Err(error) = plan(&desk.settings, procedure, &job.master, job.address.as_deref())
    {
        return refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            error.to_string(),
            "correct the name or the settings",
        );
    }
    // Of one that is under way, its journal would say that it is not over.
    let place = desk.queue().has_place_for(&job.master);
    let folder = Folder::at(&desk.settings.journal);
    if place.is_ok()
        && let Err(error) = folder.can(job.what.procedure().is_some(), &job.master)
    {
        return refusal(StatusCode::CONFLICT, chain(&error), "see /v1/enrollments");
    }
    let (master, what) = (job.master.clone(), job.what);
    let taken = desk.queue().take(job);
    match taken {
        Ok(place) => {
            say(&format!("{master}: {} asked for by {by}", what.name()));
            desk.came.notify_one();
            (StatusCode::ACCEPTED, Json(Taken { master, place })).into_response()
        }
        Err(error @ NotTaken::Full) => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), "ask again when some are done")
        }
        Err(error) => refusal(StatusCode::CONFLICT, error.to_string(), "see /v1/enrollments"),
    }
}

async fn forget(State(desk): State<Arc<Desk>>, Path(master): Path<String>) -> Response {
    let forgotten = Certname::parse(&master).is_ok_and(|master| desk.queue().forget(&master));
    if forgotten {
        return StatusCode::NO_CONTENT.into_response();
    }
    let hint = "one that is under way is not stopped from here: stop the sidecar, or wait";
    refusal(StatusCode::NOT_FOUND, format!("{master} does not wait"), hint)
}

async fn unknown(request: Request) -> Response {
    let error = format!("nothing is at {}", request.uri().path());
    refusal(StatusCode::NOT_FOUND, error, "there are /live, /metrics, /v1/enrollments")
}

pub(super) fn refusal(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Response {
    (status, Json(Refusal { error: error.into(), hint: hint.into() })).into_response()
}
