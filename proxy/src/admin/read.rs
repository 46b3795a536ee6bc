//! What every admin door answers.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use stagedoor_config::admin::overview::{Ends, Overview};
use stagedoor_config::admin::seats::Queue;
use stagedoor_config::admin::{MastersView, Ready, RosterView};

use super::{Door, format, refusal};
use crate::observe::latency::Format;
use crate::observe::metrics::{Expiry, Metrics};
use crate::observe::{scrape, seconds};

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/roster", get(roster))
        .route("/v1/masters", get(masters))
        .route("/v1/queue", get(queue))
        .route("/v1/overview", get(overview))
        .route("/v1/openapi.json", get(openapi))
        .method_not_allowed_fallback(method)
        .fallback(unknown)
}

async fn ready(State(door): State<Door>) -> (StatusCode, Json<Ready>) {
    let ready = is_ready(&door);
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ready))
}

fn is_ready(door: &Door) -> Ready {
    match door.inside.ready() {
        Ok(()) => Ready { ready: true, why: Vec::new() },
        Err(why) => Ready { ready: false, why },
    }
}

async fn metrics(State(door): State<Door>, headers: HeaderMap) -> Response {
    let levels = door.inside.levels();
    let vary = (header::VARY, "accept");
    match format::wanted(&headers) {
        Format::Text => {
            ([(header::CONTENT_TYPE, scrape::TEXT), vary], door.observe.text(levels)).into_response()
        }
        Format::Protobuf => {
            ([(header::CONTENT_TYPE, scrape::PROTOBUF), vary], door.observe.protobuf(levels)).into_response()
        }
    }
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

async fn overview(State(door): State<Door>) -> Json<Overview> {
    let metrics = door.observe.metrics();
    let (events, refusals, roster, enrollments) = door
        .observe
        .look(|history| (history.events(), history.refusals(), history.roster(), history.enrollments()));
    Json(Overview {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: seconds(),
        started: door.observe.started(),
        ready: is_ready(&door),
        connections: metrics.connections_open.get().max(0).unsigned_abs(),
        masters: door.inside.masters(),
        queue: door.inside.queue(),
        compile: door.observe.compile(),
        events,
        refusals,
        roster,
        expiry: ends(metrics),
        enrollments,
    })
}

/// The admin doors' paths, bodies and answers, for programs and those who write them.
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// What ends on a date that is known, the first first.
fn ends(metrics: &Metrics) -> Vec<Ends> {
    let known = Expiry::ALL.iter().zip(&metrics.expiry).filter_map(|(what, gauge)| {
        let at = u64::try_from(gauge.get()).ok().filter(|at| *at > 0)?;
        Some(Ends { what: what.name().to_owned(), list: what.is_list(), at })
    });
    let mut ends: Vec<Ends> = known.collect();
    ends.sort_by_key(|one| one.at);
    ends
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
        "there are / (for people), /live, /ready, /metrics, /v1/roster, /v1/masters, /v1/masters/NAME/status, /v1/queue, \
         /v1/overview, /v1/openapi.json",
    )
}
