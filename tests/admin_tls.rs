//! The admin door for other machines: who may ask there, what, and how long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harness::agent::{Agent, DIALS, Session};
use harness::ca::PuppetCa;
use harness::fleet::{Fleet, Site};
use harness::identity::{Identity, Leaf};
use harness::listening::own_address;
use harness::master::{Master, Plan};
use harness::tls::{self, Versions};
use harness::wait::{eventually, in_time};
use harness::wire::Wire;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ENROLLER: &str = "enroller.example.com";
const M1: &str = "m1.example.com";

/// A door whose admin door for other machines takes the enroller, and where that is.
async fn open() -> (Fleet, SocketAddr) {
    let mut site = Site::with_masters(2);
    let address = site.papers.admin_tls(&[ENROLLER, "other.example.com"]);
    (site.open().await, address)
}

/// Somebody with this certificate at that door.
fn with(fleet: &Fleet, leaf: &Leaf, address: SocketAddr) -> Agent {
    Agent::with(fleet.ca.issue(leaf), &fleet.ca, address)
}

fn enroller(fleet: &Fleet, address: SocketAddr) -> Agent {
    with(fleet, &Leaf::node(ENROLLER), address)
}

async fn post(agent: &Agent, path: &str, body: &Value) -> anyhow::Result<Response<Bytes>> {
    post_on(&mut agent.connect().await?, path, body).await
}

async fn post_on(session: &mut Session, path: &str, body: &Value) -> anyhow::Result<Response<Bytes>> {
    session.ask_with(Method::POST, path, &[("Content-Type", "application/json")], body.to_string()).await
}

fn json_of(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}

/// That this one gets no answer at all, on any path.
async fn nothing_for(agent: &Agent) {
    for path in ["/live", "/v1/roster", "/metrics"] {
        let answer = agent.get(path).await;
        assert!(answer.is_err(), "{path}: {answer:?}");
    }
    let changed = post(agent, "/v1/roster/drain", &json!({ "certname": M1 })).await;
    assert!(changed.is_err(), "{changed:?}");
}

async fn unchanged(fleet: &Fleet) {
    let roster = fleet.door.admin("GET", "/v1/roster", "").await.json();
    let standing = |master: &Value| master["standing"] == "admitted";
    assert!(roster["masters"].as_array().unwrap().iter().all(standing), "{roster}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_listed_asks_and_changes_as_over_the_socket_and_the_log_says_who() {
    let (fleet, address) = open().await;
    let enroller = enroller(&fleet, address);
    let roster = fleet.door.admin("GET", "/v1/roster", "").await;
    let mut session = enroller.connect().await.unwrap();
    for path in
        ["/live", "/ready", "/metrics", "/v1/roster", "/v1/masters", "/v1/masters/m1.example.com/status"]
    {
        assert_eq!(session.get(path).await.unwrap().status(), StatusCode::OK, "{path}");
    }
    assert_eq!(session.get("/v1/roster").await.unwrap().body(), roster.body.as_bytes());

    let newcomer = Master::start(Plan::named("m3.example.com"), &fleet.ca, &fleet.door_ca);
    let entry = json!({ "certname": newcomer.name(), "address": newcomer.address().to_string() });
    for (change, body) in [
        ("warm", entry.clone()),
        ("admit", entry),
        ("drain", json!({ "certname": newcomer.name() })),
        ("undrain", json!({ "certname": newcomer.name() })),
        ("retire", json!({ "certname": newcomer.name(), "force": true })),
    ] {
        let answer = post_on(&mut session, &format!("/v1/roster/{change}"), &body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{change}: {answer:?}");
    }
    let refused =
        post_on(&mut session, "/v1/roster/drain", &json!({ "certname": "m9.example.com" })).await.unwrap();
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    assert_eq!(post_on(&mut session, "/v1/flush", &json!({})).await.unwrap().status(), StatusCode::OK);
    assert_eq!(fleet.master(0).flushed().len(), 1);
    eventually("the log names who asked", async || {
        let said = fleet.door.said();
        let of =
            |words: &str| said.lines().filter(|line| line.contains(words) && line.contains(ENROLLER)).count();
        let counts = (of("roster changed"), of("roster not changed"), of("environment caches flushed"));
        if counts == (5, 1, 1) { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test]
async fn it_speaks_both_versions_of_tls_and_shows_the_doors_own_certificate() {
    let (fleet, address) = open().await;
    for versions in [Versions::Tls12, Versions::Tls13] {
        let own = fleet.ca.issue(&Leaf::node(ENROLLER));
        let agent = Agent::over(versions, Some(own), &fleet.ca, address);
        assert_eq!(agent.get("/live").await.unwrap().status(), StatusCode::OK, "{versions:?}");
    }
    // The stand-in agent checks the door's certificate by the Puppet CA, under this name.
    let own = fleet.ca.issue(&Leaf::node(ENROLLER));
    let config = tls::client(&fleet.ca, Some(&own), Versions::Both);
    assert!(Wire::open(address, "door1.example.com", config.clone()).await.is_ok());
    assert!(Wire::open(address, "door2.example.com", config).await.is_err());
}

#[tokio::test]
async fn without_a_certificate_or_with_one_that_is_not_in_force_nobody_is_answered() {
    let (fleet, address) = open().await;
    let other_ca = PuppetCa::with_intermediate();
    let of = |identity: Option<Identity>, versions| Agent::over(versions, identity, &fleet.ca, address);
    for versions in [Versions::Tls12, Versions::Tls13] {
        for identity in [
            None,
            Some(other_ca.agent(ENROLLER)),
            Some(fleet.door_ca.door(ENROLLER)),
            Some(fleet.ca.issue(&Leaf::node(ENROLLER).expired())),
            Some(fleet.ca.issue(&Leaf::node(ENROLLER).for_servers_alone())),
            Some(fleet.ca.issue(&Leaf::node("Enroller.example.com"))),
        ] {
            nothing_for(&of(identity, versions)).await;
        }
    }
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /v1/roster HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    in_time("it ends", plain.read_to_end(&mut said)).await.ok();
    assert!(!String::from_utf8_lossy(&said).contains("HTTP/1"), "{said:?}");
    unchanged(&fleet).await;
}

#[tokio::test]
async fn a_node_that_is_not_listed_is_told_so_once_whatever_it_asks_and_says() {
    let (fleet, address) = open().await;
    let liar = with(&fleet, &Leaf::node("web02.example.com"), address);
    for agent in [
        with(&fleet, &Leaf::node("web01.example.com"), address),
        with(&fleet, &Leaf::node("web01.example.com").alt_name(ENROLLER), address),
        with(&fleet, &Leaf::node("x.enroller.example.com"), address),
        with(&fleet, &Leaf::node("canary.m1.example.com"), address),
        liar.forging("X-Client-DN", "CN=enroller.example.com").forging("X-Client-Verify", "SUCCESS"),
    ] {
        for path in ["/live", "/metrics", "/v1/roster", "/v1/masters", "/nothing"] {
            let mut session = agent.connect().await.unwrap();
            let answer = session.get(path).await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
            let told = json_of(&answer);
            assert!(told["error"].as_str().unwrap().contains(&agent.certname), "{told}");
            assert!(told["hint"].as_str().unwrap().contains("admin.tls"), "{told}");
            assert!(session.get(path).await.is_err(), "the connection ends with it");
        }
        for (path, body) in [
            ("/v1/roster/drain", json!({ "certname": M1 })),
            ("/v1/flush", json!({})),
            ("/v1/judge", json!({ "certificate": agent.identity().unwrap().certificate_pem })),
        ] {
            assert_eq!(post(&agent, path, &body).await.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
        }
    }
    assert_eq!(fleet.master(0).flushed().len(), 0);
    unchanged(&fleet).await;
}

#[tokio::test]
async fn a_certificate_that_is_revoked_opens_nothing_any_more_on_open_connections_too() {
    let (fleet, address) = open().await;
    let (thief, other) = (enroller(&fleet, address), with(&fleet, &Leaf::node("other.example.com"), address));
    let mut held = thief.connect().await.unwrap();
    assert_eq!(held.get("/v1/roster").await.unwrap().status(), StatusCode::OK);
    fleet.ca.revoke(thief.identity().unwrap());
    fleet.door.papers().write_ca(&fleet.ca);
    let told =
        eventually("the connection it holds open is refused", async || match held.get("/live").await {
            Ok(answer) if answer.status() == StatusCode::FORBIDDEN => Ok(json_of(&answer)),
            Ok(answer) => Err(answer.status().to_string()),
            Err(closed) => panic!("{closed:#}: it was refused without words"),
        })
        .await;
    assert!(told["error"].as_str().unwrap().contains("is revoked"), "{told}");
    assert!(held.get("/live").await.is_err(), "and ended");
    nothing_for(&thief).await;
    assert_eq!(other.get("/live").await.unwrap().status(), StatusCode::OK);
    unchanged(&fleet).await;
}

#[tokio::test]
async fn a_certificate_that_ends_while_its_connection_is_open_ends_it() {
    let (fleet, address) = open().await;
    let short = with(&fleet, &Leaf::node(ENROLLER).ends_in(Duration::from_secs(6)), address);
    let mut held = short.connect().await.unwrap();
    assert_eq!(held.get("/live").await.unwrap().status(), StatusCode::OK);
    let told = eventually("it has ended", async || match held.get("/live").await {
        Ok(answer) if answer.status() == StatusCode::FORBIDDEN => Ok(json_of(&answer)),
        Ok(answer) => Err(answer.status().to_string()),
        Err(closed) => panic!("{closed:#}: it was refused without words"),
    })
    .await;
    assert!(told["error"].as_str().unwrap().contains("expired on"), "{told}");
    nothing_for(&short).await;
}

#[tokio::test]
async fn whoever_stalls_a_handshake_is_let_go_and_keeps_only_his_own_address_waiting() {
    let (fleet, address) = open().await;
    let own = fleet.ca.issue(&Leaf::node(ENROLLER));
    let config = tls::client(&fleet.ca, Some(&own), Versions::Both);
    let mut held = Wire::open(address, DIALS, config.clone()).await.unwrap();
    let mut stalling = Vec::new();
    for _ in 0..40 {
        stalling.push(TcpStream::connect(address).await.unwrap());
    }
    let ask = "GET /live HTTP/1.1\r\nHost: door1\r\n\r\n";
    assert_eq!(held.ask(ask).await.unwrap().status(), 200, "whoever is in has a place of his own");
    let elsewhere = SocketAddr::new(own_address(), 0);
    let other = Wire::open_from(elsewhere, address, DIALS, config.clone());
    // Before the stalled ones are let go, which is after ten seconds.
    let mut other = tokio::time::timeout(Duration::from_secs(8), other).await.expect("a place").unwrap();
    assert_eq!(other.ask(ask).await.unwrap().status(), 200);
    for mut stream in stalling {
        let mut said = Vec::new();
        in_time("one that says nothing is let go", stream.read_to_end(&mut said)).await.ok();
    }
    assert!(Wire::open(address, DIALS, config).await.is_ok(), "its address has places again");
}

#[tokio::test]
async fn many_nodes_that_may_not_ask_take_no_place_of_whoever_may() {
    let (fleet, address) = open().await;
    let enroller = enroller(&fleet, address);
    let unlisted = tls::client(&fleet.ca, Some(&fleet.ca.agent("web01.example.com")), Versions::Both);
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(Wire::open(address, DIALS, Arc::clone(&unlisted)).await.unwrap());
    }
    assert_eq!(enroller.get("/live").await.unwrap().status(), StatusCode::OK);
    for mut wire in idle {
        // It never asked, so it is never answered.
        assert_eq!(wire.until_closed().await, b"");
    }
}

#[tokio::test]
async fn a_door_says_whether_it_would_let_an_agent_in_and_when_a_revocation_has_arrived() {
    let (fleet, address) = open().await;
    let (enroller, agent) = (enroller(&fleet, address), fleet.agent("web01.example.com"));
    let mut session = enroller.connect().await.unwrap();
    let mut judged = async |identity: &Identity| {
        let body = json!({ "certificate": identity.certificate_pem });
        let answer = post_on(&mut session, "/v1/judge", &body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        let socket = fleet.door.admin("POST", "/v1/judge", &body.to_string()).await;
        assert_eq!((socket.status, socket.json()["believed"].is_boolean()), (200, true), "{}", socket.body);
        json_of(&answer)
    };
    let own = agent.identity().unwrap();
    assert_eq!(judged(own).await, json!({ "believed": true }));
    for (identity, reason) in [
        (PuppetCa::with_intermediate().agent("web01.example.com"), "bad_signature"),
        (fleet.ca.issue(&Leaf::node("web01.example.com").expired()), "expired"),
        (fleet.ca.issue(&Leaf::node("Web01.example.com")), "no_name"),
        (fleet.ca.issue(&Leaf::node("web01.example.com").for_servers_alone()), "not_for_clients"),
    ] {
        let told = judged(&identity).await;
        assert_eq!((&told["believed"], &told["reason"]), (&json!(false), &json!(reason)), "{told}");
    }
    fleet.ca.revoke(own);
    fleet.door.papers().write_ca(&fleet.ca);
    let told = eventually("it has arrived", async || {
        let told = judged(own).await;
        if told["believed"] == false { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    assert_eq!(told["reason"], "revoked");
    assert!(told["why"].as_str().unwrap().starts_with("the certificate is revoked; "), "{told}");
    assert!(agent.get("/puppet/v3/environments").await.is_err(), "as agents are judged");

    let papers = fleet.door.papers();
    let body = json!({ "certificate": own.certificate_pem }).to_string();
    let here = papers.admin_http("POST", "/v1/judge", &body).await.unwrap();
    assert!(here.status == 403 && here.body.contains("read-only"), "{}", here.body);
    let bad = papers.admin("POST", "/v1/judge", r#"{"certificate":"web01"}"#).await.unwrap();
    assert!(bad.status == 422 && bad.json()["hint"].is_string(), "{}", bad.body);
}

#[tokio::test]
async fn a_new_certificate_of_the_doors_own_is_shown_there_as_well() {
    let (fleet, address) = open().await;
    let enroller = enroller(&fleet, address);
    let shown = fleet.ca.issue(&Leaf::server("door1.example.com").alt_name("puppet").alt_name("door1-new"));
    shown.write(fleet.door.papers().folder(), "door");
    eventually("the new certificate is shown", async || {
        match Wire::open(address, "door1-new", enroller.tls()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_door_that_cannot_have_the_address_does_not_start() {
    let mut site = Site::with_masters(1);
    let address = site.papers.admin_tls(&[ENROLLER]);
    let _taken = std::net::TcpListener::bind(address).unwrap();
    let mut door = harness::door::Door::spawn(site.papers, None);
    let (status, said) = door.ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("listen on admin.tls {address}")), "{said}");
}
