//! Catalogs kept in the queue while PuppetDB restarts: every one that was asked for meanwhile would fail.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use stagedoor_config::admin::hold::{Hold, Holding, LONGEST_SECONDS};

use super::listen::Caller;
use super::{Door, read, refusal};

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/v1/hold", post(hold)).method_not_allowed_fallback(read::method)
}

async fn hold(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<Hold>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(Hold { seconds })) => {
            let left = door.inside.hold(seconds.min(LONGEST_SECONDS));
            let (uid, node) = (caller.uid(), caller.node());
            tracing::info!(uid, node, seconds = left.as_secs(), "catalogs are kept in the queue");
            Json(Holding { seconds: left.as_secs_f64() }).into_response()
        }
        Err(rejection) => {
            let hint = "send {\"seconds\": 60}, at most 60, as application/json; 0 lets catalogs go";
            refusal(rejection.status(), rejection.body_text(), hint)
        }
    }
}
