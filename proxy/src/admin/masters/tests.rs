use serde_json::{Value, json};

use super::super::tests::doors::{Answer, Doors, admission, ask, doors};
use super::*;

async fn flush(doors: &Doors, body: &Value) -> Answer {
    ask(doors.unix().await, "POST", "/v1/flush", "stagedoor", Some(body)).await
}

#[tokio::test]
async fn a_flush_names_each_master_and_is_a_bad_gateway_where_one_failed() {
    let doors = doors().await;
    doors.change("admit", admission("m1.example.com")).await;
    let all = flush(&doors, &json!({})).await;
    assert_eq!(
        (all.status, all.json()),
        (200, json!({ "masters": [{ "certname": "m1.example.com", "outcome": "flushed" }] }))
    );
    doors.change("admit", admission("late.example.com")).await;
    let some = flush(&doors, &json!({ "environments": ["production", "test"] })).await;
    assert_eq!((some.status, &some.json()["masters"][1]["outcome"]), (502, &json!("failed")));
    let asked: Vec<_> = doors.inside.flushes.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(asked, [0, 2]);
}

#[tokio::test]
async fn a_flush_that_is_not_understood_or_of_nothing_is_refused() {
    let doors = doors().await;
    let nothing = flush(&doors, &json!({})).await;
    assert_eq!(nothing.status, 409, "{nothing:?}");
    doors.change("admit", admission("m1.example.com")).await;
    let many: Vec<_> = (0..=MOST_ENVIRONMENTS).map(|n| format!("e{n}")).collect();
    for body in [
        json!({ "environment": "production" }),
        json!({ "environments": ["a&b"] }),
        json!({ "environments": many }),
    ] {
        let answer = flush(&doors, &body).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(!answer.json()["hint"].as_str().unwrap().is_empty(), "{answer:?}");
    }
    let get = ask(doors.unix().await, "GET", "/v1/flush", "x", None).await;
    assert!(get.status == 405 && get.head.contains("\nallow: post"), "{get:?}");
    let here = ask(doors.http().await, "POST", "/v1/flush", "localhost", Some(&json!({}))).await;
    assert!(here.status == 403 && here.json()["hint"].as_str().unwrap().contains("admin.unix"), "{here:?}");
    assert!(doors.inside.flushes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_masters_status_is_relayed_with_its_own_code_at_a_level_that_puppet_knows() {
    let doors = doors().await;
    doors.change("admit", admission("m1.example.com")).await;
    for (query, level) in [("", "Debug"), ("?level=info", "Info"), ("?level=critical", "Critical")] {
        let path = format!("/v1/masters/m1.example.com/status{query}");
        for told in [
            ask(doors.http().await, "GET", &path, "localhost", None).await,
            ask(doors.unix().await, "GET", &path, "x", None).await,
        ] {
            assert_eq!((told.status, &told.json()["level"]), (503, &json!(level)), "{told:?}");
            assert!(told.head.contains("content-type: application/json;charset=utf-8"), "{told:?}");
        }
    }
    for query in ["level=all", "timeout=3", "level=debug&timeout=3", "level=info&level=debug", "level="] {
        let path = format!("/v1/masters/m1.example.com/status?{query}");
        let told = ask(doors.http().await, "GET", &path, "localhost", None).await;
        assert!(told.status == 400 && told.json()["hint"].is_string(), "{query}: {told:?}");
    }
    let posted =
        ask(doors.unix().await, "POST", "/v1/masters/m1.example.com/status", "x", Some(&json!({}))).await;
    assert_eq!(posted.status, 405, "{posted:?}");
}

#[tokio::test]
async fn a_master_that_nobody_knows_or_that_does_not_answer_is_told_in_words() {
    let doors = doors().await;
    doors.change("admit", admission("late.example.com")).await;
    for (name, status, words) in [
        ("late.example.com", 504, "late.example.com: no status within 10 s"),
        ("lat.example.com", 404, "lat.example.com is not on the roster"),
        ("Late", 404, "certname"),
        ("%2e%2e%2fready", 404, "certname"),
    ] {
        let path = format!("/v1/masters/{name}/status");
        let told = ask(doors.http().await, "GET", &path, "localhost", None).await;
        assert_eq!(told.status, status, "{told:?}");
        assert!(told.json()["error"].as_str().unwrap().contains(words), "{told:?}");
    }
    let told = ask(doors.http().await, "GET", "/v1/masters/lat.example.com/status", "localhost", None).await;
    assert_eq!(told.json()["hint"], "did you mean late.example.com?");
}
