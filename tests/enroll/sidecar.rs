//! `stagedoor-enroller serve`: the sidecar.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use harness::http1::Conn;
use harness::identity::{Identity, Leaf};
use harness::installation::{ENROLLER, PUPPETDB, Turn};
use harness::listening::{free_address, own_address};
use harness::tls::{self, Versions};
use harness::wait::{eventually, in_time};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Child;
use tokio_rustls::TlsConnector;

use super::{NEW, Scene};

pub(super) struct Sidecar {
    child: Child,
    socket: PathBuf,
}

impl Sidecar {
    pub(super) async fn open(scene: &mut Scene, more: &str) -> Self {
        let socket = scene.there.folder().join("enroller.sock");
        scene.there.paper.more = format!("[serve]\nunix = \"{}\"\n{more}", socket.display());
        Self::again(scene).await
    }

    async fn again(scene: &Scene) -> Self {
        let socket = scene.there.folder().join("enroller.sock");
        let mut sidecar = Self { child: scene.there.start(&["serve"]), socket };
        eventually("the sidecar answers", async || {
            if let Some(ended) = sidecar.child.try_wait().unwrap() {
                panic!("it ended with {ended}");
            }
            match UnixStream::connect(&sidecar.socket).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        sidecar
    }

    pub(super) async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        ask(UnixStream::connect(&self.socket).await.unwrap(), method, path, body).await
    }

    pub(super) async fn state(&self) -> Option<String> {
        let (_, body) = self.ask("GET", "/v1/enrollments", &Value::Null).await;
        let all: Value = serde_json::from_str(&body).unwrap();
        let masters = all["masters"].as_array().unwrap();
        let found = masters.iter().find(|row| row["master"] == NEW)?;
        found["state"].as_str().map(str::to_owned)
    }

    async fn until(&self, state: &str) {
        eventually(&format!("{NEW} is {state}"), async || {
            let seen = self.state().await;
            if seen.as_deref() == Some(state) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }
}

async fn ask<S>(stream: S, method: &str, path: &str, body: &Value) -> (u16, String)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut conn = Conn::new(stream);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    in_time("an answer of the sidecar", async {
        conn.write(head.as_bytes()).await.unwrap();
        let head = conn.head().await.unwrap().unwrap();
        let body = conn.whole_body(head.response_framing(method)).await.unwrap();
        (head.status(), String::from_utf8_lossy(&body).into_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_enrolls_who_is_asked_for_and_counts_it() {
    let mut scene = Scene::open().await;
    let sidecar = Sidecar::open(&mut scene, "").await;
    let job = json!({ "what": "enroll", "master": NEW, "address": scene.address() });
    let (status, body) = sidecar.ask("POST", "/v1/enrollments", &job).await;
    assert_eq!((status, body.as_str()), (202, r#"{"master":"new.example.com","place":1}"#));
    sidecar.until("finished").await;
    assert_eq!(scene.standing(NEW).await.as_deref(), Some("admitted"));
    eventually("it is counted", async || {
        let (_, page) = sidecar.ask("GET", "/metrics", &Value::Null).await;
        let lines = [
            "stagedoor_enroller_ended_total{end=\"finished\"} 1",
            "stagedoor_enroller_steps_done_total{step=\"run\"} 2",
            "stagedoor_enroller_masters{state=\"finished\"} 1",
            "stagedoor_enroller_waiting 0",
        ];
        if lines.iter().all(|line| page.lines().any(|there| there == *line)) { Ok(()) } else { Err(page) }
    })
    .await;
    for (body, words) in [
        (json!({ "what": "enrol", "master": NEW }), "unknown variant"),
        (json!({ "what": "enroll", "master": "a b" }), "host name"),
        (json!({ "what": "enroll", "master": NEW, "address": "x" }), "a host and a port"),
        (json!({ "what": "enroll", "master": NEW, "mising_doors": [] }), "mising_doors"),
    ] {
        let (status, told) = sidecar.ask("POST", "/v1/enrollments", &body).await;
        assert!(status == 422 && told.contains(words), "{status} {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn enrollments_wait_for_their_turn_and_one_that_waits_can_be_forgotten() {
    let mut scene = Scene::open().await;
    let begun = Arc::new(tokio::sync::Notify::new());
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Hangs(begun.clone()));
    let sidecar = Sidecar::open(&mut scene, "").await;
    let job = json!({ "what": "enroll", "master": NEW, "address": scene.address() });
    assert_eq!(sidecar.ask("POST", "/v1/enrollments", &job).await.0, 202);
    in_time("its run on PuppetDB", begun.notified()).await;
    let (status, told) = sidecar.ask("POST", "/v1/enrollments", &job).await;
    assert!(status == 409 && told.contains("is under way"), "{told}");
    let other = json!({ "what": "adopt", "master": "other.example.com" });
    assert_eq!(sidecar.ask("POST", "/v1/enrollments", &other).await.0, 202);
    let (status, told) = sidecar.ask("POST", "/v1/enrollments", &other).await;
    assert!(status == 409 && told.contains("waits already"), "{told}");
    let (_, all) = sidecar.ask("GET", "/v1/enrollments", &Value::Null).await;
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!((&all["under_way"], &all["waiting"][0]["master"]), (&NEW.into(), &"other.example.com".into()));
    assert_eq!(sidecar.ask("DELETE", "/v1/enrollments/other.example.com", &Value::Null).await.0, 204);
    assert_eq!(sidecar.ask("DELETE", "/v1/enrollments/other.example.com", &Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_sidecar_had_under_way_is_taken_up_by_the_next() {
    let mut scene = Scene::open().await;
    let begun = Arc::new(tokio::sync::Notify::new());
    scene.there.machines.script(PUPPETDB, "agent --test", 1, Turn::Hangs(begun.clone()));
    let mut sidecar = Sidecar::open(&mut scene, "").await;
    let job = json!({ "what": "enroll", "master": NEW, "address": scene.address() });
    assert_eq!(sidecar.ask("POST", "/v1/enrollments", &job).await.0, 202);
    in_time("its run on PuppetDB", begun.notified()).await;
    sidecar.child.kill().await.unwrap();
    let next = Sidecar::again(&scene).await;
    next.until("finished").await;
    assert_eq!(scene.fleet.mom.times_signed(NEW), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_another_machine_only_allowed_certificates_ask() {
    let mut scene = Scene::open().await;
    let address: SocketAddr = free_address(own_address());
    let more = format!("[serve.tls]\naddress = \"{address}\"\nallow = [\"deploy.example.com\"]\n");
    let _sidecar = Sidecar::open(&mut scene, &more).await;
    let ca = scene.fleet.ca.clone();
    let asks = async |identity: Option<&Identity>| {
        let config = tls::client(&ca, identity, Versions::Both);
        let tcp = TcpStream::connect(address).await.unwrap();
        let stream = TlsConnector::from(config).connect(tls::server_name(ENROLLER), tcp).await.ok()?;
        let mut conn = Conn::new(stream);
        let head = format!("GET /live HTTP/1.1\r\nHost: {ENROLLER}\r\nConnection: close\r\n\r\n");
        conn.write(head.as_bytes()).await.ok()?;
        let head = conn.head().await.ok()??;
        Some(head.status())
    };
    let deploy = ca.issue(&Leaf::node("deploy.example.com"));
    assert_eq!(asks(Some(&deploy)).await, Some(200));
    assert_eq!(asks(Some(&ca.issue(&Leaf::node("web01.example.com")))).await, Some(403));
    assert_eq!(asks(None).await, None);
    ca.revoke(&deploy);
    ca.write(scene.there.folder());
    eventually("its revocation counts", async || match asks(Some(&deploy)).await {
        None => Ok(()),
        status => Err(format!("{status:?}")),
    })
    .await;
}
