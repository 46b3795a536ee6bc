//! What happens to a request whose master fails it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::agent::catalog_form;
use harness::answer::Act;
use harness::fleet::{Fleet, Site};
use harness::http1::Head;
use harness::wait::eventually;
use http::{Method, Response, StatusCode};

const CATALOG: &str = "/puppet/v3/catalog/web01.example.com?environment=production";
const REPORT: &str = "/puppet/v3/report/web01.example.com?environment=production";

async fn catalog(fleet: &Fleet) -> anyhow::Result<Response<bytes::Bytes>> {
    fleet.agent("web01.example.com").ask(Method::POST, CATALOG, catalog_form("web01.example.com", 4000)).await
}

#[tokio::test]
async fn a_catalog_refused_before_any_work_is_compiled_by_another_master() {
    let fleet = Site::with_masters(2).open().await;
    // Whichever is asked first refuses, every other time.
    let asked = Arc::new(AtomicUsize::new(0));
    for master in &fleet.masters {
        let asked = asked.clone();
        let first = move |head: &Head| {
            head.path().contains("/catalog/") && asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
        };
        master.script_where(first, Act::busy(600));
    }
    for _ in 0..4 {
        assert_eq!(catalog(&fleet).await.unwrap().status(), StatusCode::OK);
    }
    for master in &fleet.masters {
        let seen = master.record().of("catalog");
        assert_eq!(seen.len(), 4, "each was asked once for each catalog");
        let whole = catalog_form("web01.example.com", 4000);
        assert!(seen.iter().all(|seen| seen.body == whole), "each with its whole body");
    }
}

#[tokio::test]
async fn when_every_master_is_too_busy_the_agent_is_told_when_to_come_back() {
    let fleet = Site::with_masters(2).open().await;
    for master in &fleet.masters {
        master.script("catalog", None, Act::busy(321));
    }
    let answer = catalog(&fleet).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "321");
    assert_eq!(fleet.seen_by_masters("catalog"), 2, "each was asked once");
}

#[tokio::test]
async fn a_503_without_retry_after_is_passed_on_and_not_asked_elsewhere() {
    let fleet = Site::with_masters(2).open().await;
    for master in &fleet.masters {
        master.script("catalog", None, Act::borrow_timeout());
    }
    let answer = catalog(&fleet).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.headers().contains_key("retry-after"));
    assert_eq!(fleet.seen_by_masters("catalog"), 1);
}

#[tokio::test]
async fn a_catalog_or_report_that_was_begun_is_never_sent_twice() {
    let fleet = Site::with_masters(3).open().await;
    for master in &fleet.masters {
        master.script("catalog", None, Act::Close);
        master.script("report", None, Act::Close);
    }
    let answer = catalog(&fleet).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(answer.body().len() > 40, "with words");
    let report = fleet.agent("web01.example.com").ask(Method::PUT, REPORT, "{}").await.unwrap();
    assert_eq!(report.status(), StatusCode::BAD_GATEWAY);
    assert_eq!((fleet.seen_by_masters("catalog"), fleet.seen_by_masters("report")), (1, 1));
}

#[tokio::test]
async fn what_can_be_asked_twice_is_asked_of_another_master() {
    let fleet = Site::with_masters(2).open().await;
    let agent = fleet.agent("web01.example.com");
    for act in [Act::Close, Act::CloseUnread] {
        for _ in 0..4 {
            fleet.master(0).script("file_metadata", Some(1), act.clone());
            let answer =
                agent.get("/puppet/v3/file_metadata/modules/base/x?environment=production").await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{act:?}");
            fleet.master(0).behave();
        }
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_cut_for_the_agent_too() {
    let fleet = Site::with_masters(2).open().await;
    for master in &fleet.masters {
        master.script("environments", None, Act::cut_short());
    }
    let answer = fleet.agent("web01.example.com").get("/puppet/v3/environments").await;
    assert!(answer.is_err(), "an agent must see that something is missing: {answer:?}");
}

#[tokio::test]
async fn an_early_answer_arrives_and_its_connection_is_not_kept() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    let report = vec![b'x'; 3_000_000];
    agent.get("/puppet/v3/environments").await.unwrap();
    fleet.master(0).script("report", None, Act::early_busy(45));
    let before = fleet.door.open_files();
    for _ in 0..20 {
        let answer = agent.ask(Method::PUT, REPORT, report.clone()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "45");
    }
    eventually("the connections of early answers are closed", async || match fleet.door.open_files() {
        open if open <= before + 3 => Ok(()),
        open => Err(format!("{open} open files, {before} before")),
    })
    .await;
    fleet.master(0).behave();
    assert_eq!(agent.ask(Method::PUT, REPORT, report).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_connection_that_died_of_age_is_no_failure() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    let mut session = agent.connect().await.unwrap();
    for _ in 0..5 {
        assert_eq!(session.get("/puppet/v3/environments").await.unwrap().status(), StatusCode::OK);
        // The door's idle connections to it all die.
        fleet.master(0).listening().kill().await;
        fleet.master(0).listening().restart(None);
    }
    assert_eq!(catalog(&fleet).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_a_master_should_never_say_is_answered_502() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    for act in [Act::unasked_101(), Act::raw_then_close("SSH-2.0-OpenSSH_9.2\r\n\r\n")] {
        fleet.master(0).script("environments", Some(3), act);
        let answer = agent.get("/puppet/v3/environments").await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        fleet.master(0).behave();
    }
    for act in [Act::length_and_chunks(), Act::trailers(), Act::hop_by_hop()] {
        fleet.master(0).script("environments", Some(1), act);
        let answer = agent.get("/puppet/v3/environments").await.unwrap();
        assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"hello"[..]));
        for name in ["x-hop", "keep-alive", "upgrade", "trailer", "proxy-authenticate"] {
            assert!(!answer.headers().contains_key(name), "{name} is for the hop before alone");
        }
    }
}
