//! What `admin.unix` and `admin.tls` alone take: changes of the roster.
//!
//! A change is logged with who asked, the user as the kernel says or the node as its certificate does, and answered with
//! the roster after it.

use std::error::Error as _;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Extension, Json, Router};
use stagedoor_config::admin::{Admit, Move, Retire, RosterView};
use stagedoor_config::roster::{Roster, RosterRefusal};

use super::listen::Caller;
use super::{Change, Door, NotChanged, read, refusal};
use crate::observe::log::chain;

type Body<T> = Result<Json<T>, JsonRejection>;

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/roster/admit", post(admit))
        .route("/v1/roster/warm", post(warm))
        .route("/v1/roster/drain", post(drain))
        .route("/v1/roster/undrain", post(undrain))
        .route("/v1/roster/retire", post(retire))
        .method_not_allowed_fallback(read::method)
}

/// The same paths on the door that changes nothing: a refusal that says where to go, whatever the body is.
pub(super) fn elsewhere() -> Router<Door> {
    let changes = [
        "roster/admit",
        "roster/warm",
        "roster/drain",
        "roster/undrain",
        "roster/retire",
        "flush",
        "judge",
        "hold",
        "enrollments",
    ];
    changes.iter().fold(Router::new(), |routes, change| routes.route(&format!("/v1/{change}"), any(not_here)))
}

async fn not_here() -> Response {
    let hint = "ask through admin.unix, as `stagedoor` does, or from elsewhere through admin.tls";
    refusal(StatusCode::FORBIDDEN, "this admin door is read-only", hint)
}

async fn admit(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    body: Body<Admit>,
) -> Response {
    changed(door, caller, "admit", body, |asked| {
        let certname = asked.certname.to_string();
        let admit = move |roster: &Roster| roster.admit(asked.master()?, asked.generation);
        (certname, Box::new(admit))
    })
    .await
}

async fn warm(State(door): State<Door>, Extension(caller): Extension<Caller>, body: Body<Admit>) -> Response {
    changed(door, caller, "warm", body, |asked| {
        let certname = asked.certname.to_string();
        let warm = move |roster: &Roster| roster.warm(asked.master()?, asked.generation);
        (certname, Box::new(warm))
    })
    .await
}

async fn drain(State(door): State<Door>, Extension(caller): Extension<Caller>, body: Body<Move>) -> Response {
    changed(door, caller, "drain", body, |Move { certname, generation }| {
        (certname.to_string(), Box::new(move |roster| roster.drain(&certname, generation)))
    })
    .await
}

async fn undrain(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    body: Body<Move>,
) -> Response {
    changed(door, caller, "undrain", body, |Move { certname, generation }| {
        (certname.to_string(), Box::new(move |roster| roster.undrain(&certname, generation)))
    })
    .await
}

async fn retire(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    body: Body<Retire>,
) -> Response {
    changed(door, caller, "retire", body, |Retire { certname, force, generation }| {
        (certname.to_string(), Box::new(move |roster| roster.retire(&certname, force, generation)))
    })
    .await
}

async fn changed<T>(
    door: Door,
    caller: Caller,
    what: &'static str,
    body: Body<T>,
    change: impl FnOnce(T) -> (String, Box<Change>),
) -> Response {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(rejection) => {
            let hint = "send a JSON object, as application/json, with the certname and what the change needs";
            return refusal(rejection.status(), rejection.body_text(), hint);
        }
    };
    let (master, change) = change(asked);
    let Ok(turn) = Arc::clone(&door.changing).acquire_owned().await else {
        return fault();
    };
    // Writing the file and having the disk keep it takes as long as the disk does.
    let outcome = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let outcome = door.inside.change(&*change);
        // Said from here, since a change outlives an asker who has gone.
        match &outcome {
            Ok(roster) => {
                tracing::info!(change = what, %master, uid = caller.uid(), node = caller.node(), generation = roster.generation, "roster changed");
            }
            Err(error) => {
                tracing::warn!(change = what, %master, uid = caller.uid(), node = caller.node(), error = chain(error), "roster not changed")
            }
        }
        outcome
    });
    match outcome.await {
        Ok(Ok(roster)) => Json(RosterView::from(&*roster)).into_response(),
        Ok(Err(NotChanged::Refused(why))) => refusal(status(&why), why.to_string(), why.hint()),
        Ok(Err(error @ NotChanged::NoDoorCertificate { .. })) => {
            let hint = "make one with `stagedoor door-ca`, name it under [masters] in the settings and start the door \
                        anew; or admit the master with --isolation firewall or --open, if that is how it is protected";
            refusal(StatusCode::CONFLICT, error.to_string(), hint)
        }
        Ok(Err(error @ NotChanged::Passed(_))) => {
            let hint = "the backends stand in the settings, which a door reads at its start";
            refusal(StatusCode::CONFLICT, error.to_string(), hint)
        }
        Ok(Err(error @ NotChanged::Unwritten(_))) => {
            let hint = error.source().map(chain).unwrap_or_default();
            refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), hint)
        }
        Err(_panicked) => fault(),
    }
}

fn fault() -> Response {
    let hint = "look at /v1/roster for what is in force, and report what the door's log says";
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "the change ended in a fault of the door", hint)
}

const fn status(why: &RosterRefusal) -> StatusCode {
    match why {
        RosterRefusal::Unknown { .. } => StatusCode::NOT_FOUND,
        RosterRefusal::MovedOn { .. }
        | RosterRefusal::Differs { .. }
        | RosterRefusal::Draining { .. }
        | RosterRefusal::NotDrained { .. }
        | RosterRefusal::PastWarm { .. }
        | RosterRefusal::Warm { .. }
        | RosterRefusal::Both { .. }
        | RosterRefusal::Full => StatusCode::CONFLICT,
        RosterRefusal::NotAHostName { .. }
        | RosterRefusal::Address { .. }
        | RosterRefusal::TwoKinds
        | RosterRefusal::Jrubies { .. }
        | RosterRefusal::HeaderLimit { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    }
}
