//! What each master made of catalogs, as `/v1/masters` tells it: by environment, its canary's apart.

use harness::agent::{Agent, catalog_form};
use harness::answer::{Act, Answer};
use harness::fleet::{Fleet, Site};
use harness::master::Plan;
use harness::wait::eventually;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use stagedoor_config::admin::MastersView;

const M1: &str = "m1.example.com";

async fn catalog(agent: &Agent, environment: &str) -> u16 {
    let name = &agent.certname;
    let target = format!("/puppet/v3/catalog/{name}?environment={environment}");
    agent.ask(Method::POST, &target, catalog_form(name, 1000)).await.unwrap().status().as_u16()
}

/// The environments of a master: name, compiled, failed.
async fn environments(fleet: &Fleet, name: &str) -> Vec<(String, u64, u64)> {
    let master = fleet.door.master(name).await;
    assert_eq!(master["catalogs"]["minutes"], 10, "{master}");
    let number = |one: &Value, key: &str| one[key].as_u64().unwrap();
    let told = |one: &Value| {
        let environment = one["environment"].as_str().unwrap().to_owned();
        assert_eq!(number(one, "mean_ms") > 0, number(one, "compiled") > 0, "{one}");
        (environment, number(one, "compiled"), number(one, "failed"))
    };
    master["catalogs"]["environments"].as_array().unwrap().iter().map(told).collect()
}

fn of(name: &str, compiled: u64, failed: u64) -> (String, u64, u64) {
    (name.to_owned(), compiled, failed)
}

#[tokio::test]
async fn catalogs_are_counted_by_environment_as_they_were_compiled_or_failed() {
    let fleet = Site::with_masters(1).open().await;
    let (agent, master) = (fleet.agent("web01.example.com"), fleet.master(0));
    assert_eq!(environments(&fleet, M1).await, []);
    for environment in ["production", "production", "test"] {
        assert_eq!(catalog(&agent, environment).await, 200);
    }
    for (act, status, counts) in [
        (Act::Answer(Answer::text(500, "Evaluation Error: Unknown variable")), 500, true),
        (Act::borrow_timeout(), 503, true),
        (Act::Close, 502, true),
        (Act::busy(60), 503, false),
        (Act::Answer(Answer::text(404, "no such environment")), 404, false),
        (Act::CloseUnread, 502, true),
    ] {
        let before = environments(&fleet, M1).await[0].2;
        master.script("catalog", Some(1), act.clone());
        assert_eq!(catalog(&agent, "production").await, status, "{act:?}");
        assert_eq!(environments(&fleet, M1).await[0].2 - before, u64::from(counts), "{act:?}");
    }
    assert_eq!(environments(&fleet, M1).await, [of("production", 2, 4), of("test", 1, 0)]);
    // What is no catalog, and what named no environment.
    assert_eq!(agent.get("/puppet/v3/environments").await.unwrap().status(), StatusCode::OK);
    let target = "/puppet/v3/catalog/web01.example.com";
    agent.ask(Method::POST, target, catalog_form("web01.example.com", 10)).await.unwrap();
    let told = environments(&fleet, M1).await;
    assert_eq!(told, [of("production", 2, 4), of("other", 1, 0), of("test", 1, 0)]);
    assert_eq!(fleet.door.master(M1).await["canary"], json!({ "compiled": 0, "failed": 0 }));
}

#[tokio::test]
async fn a_catalog_whose_agent_broke_off_says_nothing_of_the_master() {
    let fleet = Site::with_masters(1).change(|papers| papers.bound("body", "\"64 KiB\"")).open().await;
    let mut wire = harness::wire::Wire::open(
        fleet.door.address(),
        harness::agent::DIALS,
        fleet.agent("web01.example.com").tls(),
    )
    .await
    .unwrap();
    // Larger than what is kept, so that the master has its beginning.
    let head = "POST /puppet/v3/catalog/web01.example.com?environment=production HTTP/1.1\r\nHost: puppet\r\n\
                Content-Length: 1000000\r\n\r\n";
    wire.send(head).await.unwrap();
    wire.send(vec![b'x'; 200_000]).await.unwrap();
    eventually("the master has it", async || match fleet.master(0).busy() {
        0 => Err("idle".to_owned()),
        _ => Ok(()),
    })
    .await;
    drop(wire);
    eventually("the request is over", async || {
        let log = std::fs::read_to_string(fleet.door.papers().file("access.log")).unwrap_or_default();
        if log.contains("\"class\":\"catalog\"") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(environments(&fleet, M1).await, []);
}

#[tokio::test]
async fn a_canarys_catalogs_are_counted_apart_and_an_open_master_has_neither() {
    let fleet = Site::with([Plan::named(M1), Plan::open("m2.example.com")]).open().await;
    let canary = fleet.agent("canary.m1.example.com");
    for _ in 0..3 {
        assert_eq!(catalog(&canary, "production").await, 200);
    }
    fleet.master(0).script("catalog", Some(1), Act::Close);
    assert_eq!(catalog(&canary, "production").await, 502);
    let master = fleet.door.master(M1).await;
    assert_eq!(master["canary"], json!({ "compiled": 3, "failed": 1 }));
    assert_eq!(environments(&fleet, M1).await, []);

    let answer = fleet.door.admin("GET", "/v1/masters", "").await;
    let view: MastersView = serde_json::from_str(&answer.body).unwrap();
    assert!(view.masters[1].catalogs.is_none() && view.masters[1].canary.is_none(), "{}", answer.body);
}
