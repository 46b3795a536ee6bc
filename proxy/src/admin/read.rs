//! What every admin door answers.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use stagedoor_config::admin::seats::Queue;
use stagedoor_config::admin::{MastersView, Ready, RosterView};

use super::{Door, refusal};
use crate::observe::scrape;

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/roster", get(roster))
        .route("/v1/masters", get(masters))
        .route("/v1/queue", get(queue))
        .method_not_allowed_fallback(method)
        .fallback(unknown)
}

async fn ready(State(door): State<Door>) -> (StatusCode, Json<Ready>) {
    match door.inside.ready() {
        Ok(()) => (StatusCode::OK, Json(Ready { ready: true, why: Vec::new() })),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, Json(Ready { ready: false, why })),
    }
}

async fn metrics(State(door): State<Door>) -> Response {
    ([(header::CONTENT_TYPE, scrape::CONTENT_TYPE)], door.observe.scrape()).into_response()
}

async fn roster(State(door): State<Door>) -> Json<RosterView> {
    Json(RosterView::from(&*door.inside.roster()))
}

async fn masters(State(door): State<Door>) -> Json<MastersView> {
    Json(door.inside.masters())
}

async fn queue(State(door): State<Door>) -> Json<Queue> {
    Json(door.inside.queue())
}

pub(super) async fn method(request: Request) -> Response {
    let error = format!("{} takes no {}", request.uri().path(), request.method());
    refusal(StatusCode::METHOD_NOT_ALLOWED, error, "Allow says what it takes")
}

async fn unknown(request: Request) -> Response {
    let error = format!("nothing is at {}", request.uri().path());
    refusal(
        StatusCode::NOT_FOUND,
        error,
        "there are /live, /ready, /metrics, /v1/roster, /v1/masters, /v1/masters/NAME/status, /v1/queue",
    )
}
