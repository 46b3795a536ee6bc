//! Bad input gets a clear answer and loses nothing: files that are not what they should be, ports that are taken,
//! limits that are too low, peers that are too many or too slow.

use std::fs;
use std::time::{Duration, Instant};

use harness::agent::Shape;
use harness::answer::Act;
use harness::ca::PuppetCa;
use harness::door::{Door, Papers};
use harness::fleet::Site;
use harness::identity::KeyKind;
use harness::wait::{eventually, in_time};
use harness::wire::Wire;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Starts a door that should not start; gives back its exit code and its words.
async fn refusal(site: Site, open_files: Option<u32>) -> (i32, String) {
    let mut door = Door::spawn(site.papers, open_files);
    let (status, said) = door.ended().await;
    (status.code().expect("it ended by itself"), said)
}

/// A file of the papers, replaced before the door starts.
async fn with_file(name: &str, text: &str) -> (i32, String) {
    refusal(Site::with_masters(1).change(|papers| papers.write(name, text)), None).await
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_named_with_its_file() {
    for text in ["", "not a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let (code, said) = with_file("door.key", text).await;
        assert_ne!(code, 0);
        assert!(said.contains("door.key"), "{said}");
    }
    let (code, said) = refusal(
        Site::with_masters(1).change(|papers| fs::remove_file(papers.file("door.key")).unwrap()),
        None,
    )
    .await;
    assert!(code != 0 && said.contains("door.key"), "{said}");
}

#[tokio::test]
async fn a_certificate_that_does_not_match_its_key_is_named() {
    for (name, kind) in
        [("door.key", KeyKind::P256), ("door.key", KeyKind::Rsa2048), ("door-client.key", KeyKind::P256)]
    {
        let (code, said) = with_file(name, &kind.generate().serialize_pem()).await;
        assert!(
            code != 0 && said.contains(&name.replace(".key", ".pem")) && said.contains("match"),
            "{name}: {said}"
        );
    }
}

#[tokio::test]
async fn an_empty_ca_and_a_crl_that_does_not_parse_are_named() {
    for (name, text) in [
        ("ca_crt.pem", ""),
        ("ca_crt.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("ca_crl.pem", ""),
        ("ca_crl.pem", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
    ] {
        let (code, said) = with_file(name, text).await;
        assert!(code != 0 && said.contains(name), "{name}: {said}");
    }
    let other = PuppetCa::with_intermediate();
    let (code, said) = with_file("ca_crl.pem", &other.crl_pem()).await;
    assert!(code != 0 && said.contains("ca_crl.pem"), "lists of another CA: {said}");
}

#[tokio::test]
async fn every_mistake_in_the_settings_is_told_at_once_and_ends_with_64() {
    let site = Site::with_masters(1).change(|papers| {
        papers.extra.0 = "wrokers = 2\n".to_owned();
        papers.bound("attempts", "\"many\"");
        papers.health("interval", "\"1 fortnight\"");
    });
    let (code, said) = refusal(site, None).await;
    assert_eq!(code, 64, "{said}");
    for word in ["proxy.toml", "wrokers", "workers", "attempts", "many", "interval", "fortnight"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let site = Site::with_masters(1);
    let taken = std::net::TcpListener::bind(site.papers.listen).unwrap();
    let (code, said) = refusal(site, None).await;
    assert!(code != 0 && said.contains(&taken.local_addr().unwrap().to_string()), "{said}");
}

#[tokio::test]
async fn a_roster_that_was_cut_short_or_is_of_a_newer_version_is_not_taken_for_a_smaller_one() {
    let whole = Site::with_masters(2).papers.roster.unwrap().render();
    for cut in [whole.len() - 1, whole.len() / 2, whole.find("[[master]]").unwrap(), 0] {
        let (code, said) = with_file("roster.toml", &whole[..cut]).await;
        assert!(code != 0 && said.contains("roster.toml"), "{cut} bytes: {said}");
    }
    let (code, said) = with_file("roster.toml", &whole.replace("version = 1", "version = 2")).await;
    assert!(code != 0 && said.contains("roster.toml") && said.contains("newer"), "{said}");
}

#[tokio::test]
async fn a_file_limit_below_what_the_bounds_need_is_told_at_start() {
    let (code, said) = refusal(Site::with_masters(1), Some(500)).await;
    assert_ne!(code, 0);
    assert!(said.contains("bounds.connections") && said.contains("500"), "{said}");
}

#[tokio::test]
async fn an_empty_roster_is_answered_503_with_retry_after_and_ready_says_why() {
    let fleet = Site::with_masters(0).open_unready().await;
    let ready = fleet.door.admin("GET", "/ready", "").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("roster") && ready.body.contains("admit"), "{}", ready.body);
    let agent = fleet.agent("web01.example.com");
    let answer = agent.get("/puppet/v3/catalog/web01.example.com").await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    assert!(String::from_utf8_lossy(answer.body()).contains("admit"), "{answer:?}");
    let status = agent.get("/status/v1/simple/server").await.unwrap();
    assert_eq!(status.status(), StatusCode::SERVICE_UNAVAILABLE, "agents with a server list go elsewhere");
    let ca = agent.get("/puppet-ca/v1/certificate/ca").await.unwrap();
    assert_eq!(ca.status(), StatusCode::OK, "the CA needs no master");
}

#[tokio::test]
async fn with_the_master_of_masters_down_ca_requests_get_502_with_words_and_catalogs_go_on() {
    let fleet = Site::with_masters(1).open().await;
    fleet.mom.listening().kill().await;
    let agent = fleet.agent("web01.example.com");
    for path in
        ["/puppet-ca/v1/certificate/ca", "/packages/current/install.bash", "/production/certificate/ca"]
    {
        let answer = agent.get(path).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{path}");
        assert!(String::from_utf8_lossy(answer.body()).contains("Master of Masters"), "{answer:?}");
    }
    agent.run(Shape::default()).await.unwrap();
    assert_eq!(fleet.door.admin("GET", "/ready", "").await.status, 200);
    fleet.mom.listening().restart(None);
    assert_eq!(agent.get("/puppet-ca/v1/certificate/ca").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn packages_that_last_long_do_not_keep_new_agents_from_the_ca() {
    let site = Site::with_masters(1).change(|papers| papers.bound("mom_packages", "6"));
    let fleet = site.open().await;
    fleet.mom.script("/packages/", None, Act::Hang);
    let stranger = fleet.stranger("nobody");
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let stranger = stranger.clone();
            tokio::spawn(async move { stranger.get("/packages/current/install.bash").await })
        })
        .collect();
    eventually("as many of one address as may be, half, are at the Master of Masters", async || match fleet
        .mom
        .record()
        .of("current")
        .len()
    {
        3 => Ok(()),
        at_once => Err(format!("{at_once}")),
    })
    .await;
    assert_eq!(stranger.get("/puppet-ca/v1/certificate/ca").await.unwrap().status(), StatusCode::OK);
    fleet.agent("web01.example.com").run(Shape::default()).await.unwrap();
    assert_eq!(fleet.mom.record().of("current").len(), 3);
    for download in slow {
        download.abort();
    }
}

fn few_connections(papers: &mut Papers) {
    papers.bound("connections", "64");
    papers.bound("handshakes", "10");
}

#[tokio::test]
async fn at_the_bound_of_connections_the_door_stops_accepting_counts_and_goes_on_when_some_leave() {
    let fleet = Site::with_masters(1).change(few_connections).open().await;
    let mut held = Vec::new();
    // Each an agent of its own: one may not have as many.
    for n in 0..64 {
        let mut session = fleet.agent(&format!("web{n:02}.example.com")).connect().await.unwrap();
        session.get("/puppet/v3/environments").await.unwrap();
        held.push(session);
    }
    let waiting = fleet.agent("late.example.com");
    let late = tokio::spawn(async move { waiting.get("/puppet/v3/environments").await });
    eventually("the door has stopped accepting", async || {
        match fleet.door.metrics().await.sum("stagedoor_accepts_paused_total", &[]) {
            paused if paused > 0.0 => Ok(()),
            _ => Err("not yet".to_owned()),
        }
    })
    .await;
    assert!(!late.is_finished());
    for session in &mut held[20..] {
        assert_eq!(
            session.get("/puppet/v3/environments").await.unwrap().status(),
            StatusCode::OK,
            "who is in is served"
        );
    }
    held.truncate(20);
    let answer = in_time("who waited is served", late).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn one_address_without_certificates_cannot_have_every_connection() {
    let site = Site::with_masters(1).change(|papers| papers.bound("unauthenticated_per_source", "10"));
    let fleet = site.open().await;
    let stranger = fleet.stranger("nobody");
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut session = stranger.connect().await.unwrap();
        assert_eq!(session.get("/puppet-ca/v1/certificate/ca").await.unwrap().status(), StatusCode::OK);
        held.push(session);
    }
    let beyond = stranger.get("/puppet-ca/v1/certificate/ca").await;
    assert!(!beyond.is_ok_and(|answer| answer.status() == StatusCode::OK), "the eleventh is refused");
    let known = fleet.agent("web01.example.com").get("/puppet/v3/environments").await.unwrap();
    assert_eq!(known.status(), StatusCode::OK, "agents from the same address are not touched");
    let elsewhere = "127.0.0.2:0".parse().unwrap();
    let mut other = Wire::open_from(elsewhere, fleet.door.address(), "puppet", stranger.tls()).await.unwrap();
    let answer =
        other.ask("GET /puppet-ca/v1/certificate/ca HTTP/1.1\r\nHost: puppet\r\n\r\n").await.unwrap();
    assert_eq!(answer.status(), 200, "nor is anybody elsewhere");
}

#[tokio::test]
async fn one_byte_a_second_is_cut_whether_it_is_a_hello_a_head_or_a_body() {
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("handshake_time", "\"2s\"");
        papers.bound("head_time", "\"2s\"");
        papers.bound("rate_window", "\"5s\"");
    });
    let fleet = site.open().await;
    let began = Instant::now();

    let mut hello = TcpStream::connect(fleet.door.address()).await.unwrap();
    let slow_hello = async {
        // The beginning of a ClientHello, and then hardly anything.
        hello.write_all(&[22, 3, 1]).await.unwrap();
        hello.read(&mut [0; 64]).await.unwrap_or(0)
    };
    let agent = fleet.agent("web01.example.com");
    let mut head = Wire::open(fleet.door.address(), "puppet", agent.tls()).await.unwrap();
    let slow_head = async {
        for byte in b"GET /puppet/v3/environments HTTP/1.1\r\nHost: puppet\r\n\r\n" {
            if head.send([*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            if began.elapsed() > Duration::from_secs(4) {
                break;
            }
        }
        head.until_closed().await
    };
    let mut body = Wire::open(fleet.door.address(), "puppet", agent.tls()).await.unwrap();
    let slow_body = async {
        body.send("PUT /puppet/v3/report/web01.example.com HTTP/1.1\r\nHost: puppet\r\nContent-Length: 1000\r\n\r\n")
            .await
            .unwrap();
        while began.elapsed() < Duration::from_secs(12) && body.send("x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        String::from_utf8_lossy(&body.until_closed().await).into_owned()
    };
    let (hello, head, body) =
        in_time("all three are cut", async { tokio::join!(slow_hello, slow_head, slow_body) }).await;
    assert!(hello <= 64, "closed, at most with an alert");
    assert!(!String::from_utf8_lossy(&head).contains("200 OK"), "{head:?}");
    assert!(body.is_empty() || body.starts_with("HTTP/1.1 408"), "{body}");
    assert_eq!(fleet.seen_by_masters("report"), 0, "no master waited for it");
    agent.run(Shape::default()).await.unwrap();
}
