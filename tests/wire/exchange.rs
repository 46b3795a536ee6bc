//! The order of things on a connection: who waits for whom, what is asked again, what is never asked twice.

use std::time::Duration;

use harness::answer::{Act, Answer};
use harness::master::Work;
use harness::wait::eventually;

use super::{NODE, Stage, get};

const CATALOG: &str = "/puppet/v3/catalog/web01.example.com?environment=production";

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST {CATALOG} HTTP/1.1\r\nHost: puppet\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on_and_the_master_never_hears_of_it() {
    let stage = Stage::open().await;
    let mut wire = stage.agent().await;
    let head = format!(
        "POST {CATALOG} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    );
    wire.send(head).await.unwrap();
    assert_eq!(wire.conn.head().await.unwrap().unwrap().status(), 100);
    wire.send("hello").await.unwrap();
    assert_eq!(wire.reply_to("POST").await.unwrap().status(), 200);
    let seen = stage.master().record().of("catalog");
    assert_eq!(&*seen[0].body, b"hello");
    assert_eq!(seen[0].offences, Vec::<String>::new());
}

#[tokio::test]
async fn a_refusal_comes_instead_of_100() {
    let stage = Stage::open().await;
    let head = format!(
        "POST {CATALOG} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    );
    let reply = stage.stranger().await.ask(head).await.unwrap();
    assert_eq!(reply.status(), 403);
    stage.nobody_was_asked();
}

#[tokio::test]
async fn requests_in_one_breath_are_answered_in_their_order() {
    let stage = Stage::open().await;
    let mut wire = stage.agent().await;
    let metadata = get("/puppet/v3/file_metadata/modules/m/f?environment=production");
    wire.send(format!("{}{metadata}{}", post("hello"), get("//"))).await.unwrap();
    let catalog = wire.reply_to("POST").await.unwrap();
    assert!(catalog.text().contains("compiled_by"), "{}", catalog.text());
    assert!(wire.reply_to("GET").await.unwrap().text().contains("checksum"));
    assert_eq!(wire.reply_to("GET").await.unwrap().status(), 400);
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let stage = Stage::open().await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    stage.master().script(
        "/node/",
        Some(1),
        Act::raw(format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")),
    );
    let reply = stage.agent().await.ask(get(NODE)).await.unwrap();
    assert_eq!((reply.status(), reply.text()), (200, "hello".to_owned()));
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_a_502() {
    let stage = Stage::open().await;
    stage.master().script("/node/", None, Act::unasked_101());
    stage.mom().script("/certificate/", None, Act::unasked_101());
    for target in [NODE, "/puppet-ca/v1/certificate/ca"] {
        let reply = stage.agent().await.ask(get(target)).await.unwrap();
        assert_eq!(reply.status(), 502, "{target}");
        assert!(reply.text().contains("protocol"), "{}", reply.text());
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_502() {
    let stage = Stage::open().await;
    stage.master().script("/catalog/", None, Act::raw_then_close("SSH-2.0-OpenSSH_9.2\r\n"));
    assert_eq!(stage.agent().await.ask(post("hello")).await.unwrap().status(), 502);
}

#[tokio::test]
async fn an_answer_before_the_body_has_gone_arrives_and_its_connection_is_not_used_again() {
    let stage = Stage::open().await;
    stage.master().script("/catalog/", Some(1), Act::Early(Answer::text(400, "enough")));
    let large = "x".repeat(16 << 20);
    let mut wire = stage.agent().await;
    let head = format!("POST {CATALOG} HTTP/1.1\r\nHost: puppet\r\nContent-Length: {}\r\n\r\n", large.len());
    // The door may close before all is written.
    wire.send(head).await.unwrap();
    wire.send(&large).await.ok();
    let reply = wire.reply_to("POST").await.unwrap();
    assert_eq!((reply.status(), reply.text()), (400, "enough".to_owned()));
    let early = stage.master().record().of("catalog")[0].connection;
    assert_eq!(stage.agent().await.ask(post("hello")).await.unwrap().status(), 200);
    assert_ne!(stage.master().record().of("catalog")[1].connection, early);
    // The stand-in never closes that connection by itself: the door has to.
    stage.connections_to_the_master_are_at_most(3).await;
}

#[tokio::test]
async fn a_connection_that_the_master_closed_while_idle_costs_no_request() {
    let stage = Stage::open().await;
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let mut wire = stage.agent().await;
    for _ in 0..5 {
        stage.master().script("/node/", Some(1), Act::raw_then_close(kept));
        assert_eq!(wire.ask(get(NODE)).await.unwrap().status(), 200);
        let before = stage.master().record().of("catalog").len();
        assert_eq!(wire.ask(post("hello")).await.unwrap().status(), 200);
        assert_eq!(stage.master().record().of("catalog").len(), before + 1, "compiled once");
    }
}

#[tokio::test]
async fn a_catalog_whose_answer_did_not_come_is_not_compiled_again() {
    let stage = Stage::open().await;
    for act in [Act::Close, Act::CloseUnread] {
        stage.master().record().clear();
        stage.master().script("/catalog/", Some(1), act);
        let reply = stage.agent().await.ask(post("hello")).await.unwrap();
        assert_eq!(reply.status(), 502);
        assert!(reply.text().contains("without an answer"), "{}", reply.text());
        assert_eq!(stage.master().record().of("catalog").len(), 1);
    }
}

#[tokio::test]
async fn what_changes_nothing_is_asked_again_when_its_answer_did_not_come() {
    let stage = Stage::open().await;
    stage.master().script("/node/", Some(1), Act::Close);
    let mut wire = stage.agent().await;
    // Over a connection that was used before: the master may have closed it as the request was on its way.
    assert_eq!(wire.ask(get("/puppet/v3/environments")).await.unwrap().status(), 200);
    assert_eq!(wire.ask(get(NODE)).await.unwrap().status(), 200);
    assert_eq!(stage.master().record().of("node").len(), 2);
}

#[tokio::test]
async fn an_agent_that_hangs_up_frees_no_place_that_the_master_still_works_in() {
    let stage = Stage::open().await;
    stage.master().compile(Work::always(Duration::from_secs(2)));
    let mut wire = stage.agent().await;
    wire.send(post("hello")).await.unwrap();
    eventually("the master compiles", async || match stage.master().busy() {
        1 => Ok(()),
        other => Err(format!("{other} JRubies busy")),
    })
    .await;
    drop(wire);
    stage.counts("stagedoor_connections_open", &[], 0.0).await;
    let held = stage.requests_at_the_master().await;
    assert_eq!((stage.master().busy(), held), (1, 1), "the master goes on, and the door knows it");
    eventually("the place is given back when the master answers", async || {
        match (stage.master().record().of("catalog")[0].status(), stage.requests_at_the_master().await) {
            (200, 0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(stage.master().record().of("catalog").len(), 1);
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_cut_off() {
    let stage = Stage::with(|papers| papers.bound("head_time", "\"1s\"")).await;
    let mut wire = stage.agent().await;
    wire.send(format!("GET {NODE} HTTP/1.1\r\nHost: pup")).await.unwrap();
    assert_eq!(wire.until_closed().await, b"");
    let mut idle = stage.agent().await;
    assert_eq!(idle.ask(get(NODE)).await.unwrap().status(), 200);
    assert_eq!(idle.until_closed().await, b"", "an idle connection ends by the same timer");
}
