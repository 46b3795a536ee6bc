//! Whether this door would let an agent in that shows a certain certificate: how it is seen from outside that a
//! revocation has arrived here. Nothing is changed by asking, but what it tells is for those who may change something.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use stagedoor_config::admin::judge::{Judge, Judged};

use super::{Door, read, refusal};
use crate::observe::log::chain as causes;

pub(super) fn routes() -> Router<Door> {
    Router::new().route("/v1/judge", post(judge)).method_not_allowed_fallback(read::method)
}

async fn judge(State(door): State<Door>, body: Result<Json<Judge>, JsonRejection>) -> Response {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(rejection) => {
            let hint = "send {\"certificate\": \"-----BEGIN CERTIFICATE-----...\"}, as application/json";
            return refusal(rejection.status(), rejection.body_text(), hint);
        }
    };
    let chain = match chain(&asked.certificate) {
        Ok(chain) => chain,
        Err(error) => {
            let hint = "send the certificate as its file holds it, from BEGIN CERTIFICATE to END CERTIFICATE";
            return refusal(StatusCode::UNPROCESSABLE_ENTITY, error, hint);
        }
    };
    let judged = match door.inside.judge(&chain) {
        Ok(_) => Judged { believed: true, why: None, reason: None },
        Err(refused) => {
            let (why, reason) = (Some(causes(&refused)), Some(refused.label().to_owned()));
            Judged { believed: false, why, reason }
        }
    };
    Json(judged).into_response()
}

/// The certificates of a PEM text, leaf first, and nothing else in it.
fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let mut chain = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
        match section {
            Ok((SectionKind::Certificate, der)) => chain.push(CertificateDer::from(der)),
            Ok(_) => return Err("`certificate` holds something other than certificates"),
            Err(_) => return Err("`certificate` is no complete PEM text"),
        }
    }
    if chain.is_empty() { Err("`certificate` holds no certificate in PEM") } else { Ok(chain) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stagedoor_config::trust::Refused;

    use super::super::tests::doors::{Answer, Doors, ask, doors};

    async fn judge(doors: &Doors, body: &Value) -> Answer {
        ask(doors.unix().await, "POST", "/v1/judge", "stagedoor", Some(body)).await
    }

    fn certificate() -> String {
        rcgen::generate_simple_self_signed(["web01.example.com".to_owned()]).unwrap().cert.pem()
    }

    #[tokio::test]
    async fn a_certificate_is_judged_in_words_and_a_word() {
        let doors = doors().await;
        let one = json!({ "certificate": certificate() });
        let answer = judge(&doors, &one).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "believed": true })));
        *doors.inside.refused.lock().unwrap() = Some(Refused::Revoked);
        let two = json!({ "certificate": format!("{}{}", certificate(), certificate()) });
        let answer = judge(&doors, &two).await;
        let told = answer.json();
        assert_eq!(
            (answer.status, &told["believed"], &told["reason"]),
            (200, &json!(false), &json!("revoked"))
        );
        assert!(told["why"].as_str().unwrap().starts_with("the certificate is revoked; "), "{told}");
        assert_eq!(*doors.inside.judged.lock().unwrap(), [1, 2], "those of CAs may stand behind it");
    }

    #[tokio::test]
    async fn what_is_no_certificate_is_not_judged() {
        let doors = doors().await;
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let (whole, both) = (certificate(), format!("{}{key}", certificate()));
        for (body, words) in [
            (json!({ "certificate": "" }), "holds no certificate"),
            (json!({ "certificate": "web01.example.com" }), "holds no certificate"),
            (json!({ "certificate": whole[..whole.len() / 2] }), "no complete PEM"),
            (json!({ "certificate": key }), "something other"),
            (json!({ "certificate": both }), "something other"),
            (json!({ "certificate": 3 }), "string"),
            (json!({ "certname": "web01.example.com" }), "certname"),
        ] {
            let answer = judge(&doors, &body).await;
            assert_eq!(answer.status, 422, "{answer:?}");
            let told = answer.json();
            assert!(told["error"].as_str().unwrap().contains(words), "{told}");
            assert!(!told["hint"].as_str().unwrap().is_empty(), "{told}");
        }
        assert!(doors.inside.judged.lock().unwrap().is_empty());
    }
}
