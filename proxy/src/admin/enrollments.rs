//! How enrollments go, told by enrollers and remembered for the page.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use stagedoor_config::admin::enrollment::Enrollment;

use super::{Door, read, refusal};

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/v1/enrollments", post(enrolls)).method_not_allowed_fallback(read::method)
}

async fn enrolls(State(door): State<Door>, body: Result<Json<Enrollment>, JsonRejection>) -> Response {
    let told = match body {
        Ok(Json(told)) => told,
        Err(rejection) => {
            let hint = "send certname, procedure and steps with a name and a state each, as application/json";
            return refusal(rejection.status(), rejection.body_text(), hint);
        }
    };
    match told.mistake() {
        Some(mistake) => refusal(StatusCode::UNPROCESSABLE_ENTITY, mistake, "tell it in fewer words"),
        None => Json(door.observe.enrolls(told)).into_response(),
    }
}
