//! Which connection is passed and which is ended.

use std::collections::BTreeMap;

use harness::agent::DIALS;
use harness::fleet::Site;
use harness::master::Plan;
use harness::raw::{Raw, Spoken};
use harness::tls::{self, Versions};
use harness::wire::Wire;
use stagedoor_config::master::{Check, Kind};

use super::{ENVIRONMENTS, asked, counted, line, old_hello};

#[tokio::test]
async fn an_old_agent_reaches_an_open_master_and_a_current_one_on_the_same_port_is_ended() {
    let old_master = Raw::start().await;
    let site = Site::with_masters(1).change(|papers| {
        papers.listen_keys = "pass_old_tls = true".to_owned();
        papers.admit_as(Kind::Open { check: Check::Tcp }, "pe37.example.com", old_master.address());
    });
    let fleet = site.open().await;
    let mut agent = Spoken::to(fleet.door.address()).await;
    agent.say(&old_hello()).await;
    let mut at_master = old_master.next().await;
    assert_eq!(at_master.hear(old_hello().len()).await, old_hello(), "as it was said");
    at_master.say(b"a ServerHello of TLS 1.0").await;
    assert_eq!(agent.hear(24).await, b"a ServerHello of TLS 1.0");
    drop((agent, at_master));
    let line = line(&fleet, "done").await;
    assert_eq!(
        (&line["why"], &line["tls"], &line["master"]),
        (&"old_tls".into(), &"1.0".into(), &"pe37.example.com".into())
    );

    let web01 = fleet.ca.agent("web01.example.com");
    let (status, answer) = asked(&fleet, &web01, fleet.door.address(), None).await;
    assert_eq!((status, answer["served_by"].as_str()), (200, Some("m1.example.com")));
    assert!(!old_master.has_more().await);
}

#[tokio::test]
async fn an_old_agent_gets_an_alert_where_nobody_speaks_its_language() {
    for keys in ["", "pass_old_tls = true"] {
        let site = Site::with_masters(1).change(|papers| papers.listen_keys = keys.to_owned());
        let fleet = site.open().await;
        let mut agent = Spoken::to(fleet.door.address()).await;
        agent.say(&old_hello()).await;
        assert_eq!(agent.rest().await, [21, 3, 1, 0, 2, 2, 70], "protocol_version");
        counted(&fleet, "stagedoor_hello_refused_total", &[("reason", "too_old")], 1.0).await;
    }
}

#[tokio::test]
async fn openssl_speaking_tls_1_0_reaches_the_open_master() {
    let openssl = std::process::Command::new("openssl").arg("version").output();
    if !openssl.is_ok_and(|version| version.status.success()) {
        return eprintln!("left out: there is no openssl");
    }
    let old_master = Raw::start().await;
    let site = Site::with_masters(1).change(|papers| {
        papers.listen_keys = "pass_old_tls = true".to_owned();
        papers.admit_as(Kind::Open { check: Check::Tcp }, "pe37.example.com", old_master.address());
    });
    let fleet = site.open().await;
    let address = fleet.door.address().to_string();
    let mut client = tokio::process::Command::new("openssl")
        .args(["s_client", "-tls1", "-cipher", "ALL:@SECLEVEL=0", "-connect", &address])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let head = old_master.next().await.hear(11).await;
    assert_eq!((head[0], &head[9..11]), (22, &[3, 1][..]), "a ClientHello of TLS 1.0");
    client.start_kill().ok();
    client.wait().await.ok();
}

#[tokio::test]
async fn who_asks_for_a_name_that_is_passed_speaks_to_an_open_master_itself() {
    let mut open = Plan::open("m2.example.com");
    open.alt_names.push("old.example.com".to_owned());
    let site = Site::with([Plan::named("m1.example.com"), open]);
    let fleet =
        site.change(|papers| papers.listen_keys = "pass_sni = [\"old.example.com\"]".to_owned()).open().await;
    let web01 = fleet.ca.agent("web01.example.com");
    let config = || tls::client(&fleet.ca, Some(&web01), Versions::Both);
    let mut passed = Wire::open(fleet.door.address(), "old.example.com", config()).await.unwrap();
    let request = ENVIRONMENTS.replace("Host: puppet", "Host: old.example.com");
    let reply = passed.ask(&request).await.unwrap();
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert!(reply.text().contains("m2.example.com"));
    let seen = fleet.master(1).record().of("environments");
    assert_eq!(seen[0].peer.as_deref(), Some("web01.example.com"), "its own certificate");
    assert!(seen[0].identity_headers().is_empty() && seen[0].head.get("x-forwarded-for").is_none());

    let (_, answer) = asked(&fleet, &web01, fleet.door.address(), None).await;
    assert_eq!(answer["served_by"], "m1.example.com", "any other name is ended");
}

#[tokio::test]
async fn while_both_kinds_are_admitted_an_address_stays_on_one_side_and_moves_once() {
    let site = Site::with([Plan::named("m1.example.com"), Plan::open("m2.example.com")]);
    let fleet = site.change(|papers| papers.listen_keys = "split = \"by-capacity\"".to_owned()).open().await;
    let web01 = fleet.ca.agent("web01.example.com");
    let sides = async || {
        let mut sides = BTreeMap::new();
        for last in 1..=32 {
            let (status, answer) = asked(&fleet, &web01, fleet.door.address(), Some([127, 0, 3, last])).await;
            assert_eq!(status, 200);
            sides.insert(last, answer["served_by"].as_str().unwrap().to_owned());
        }
        sides
    };
    let first = sides().await;
    let ended = |sides: &BTreeMap<u8, String>| sides.values().filter(|by| *by == "m1.example.com").count();
    assert!((6..=26).contains(&ended(&first)), "about half: {first:?}");
    assert_eq!(sides().await, first, "the same again");
    fleet.door.drain("m2.example.com").await;
    assert_eq!(ended(&sides().await), 32, "nobody is passed to a master that drains");
    fleet.door.change("undrain", &serde_json::json!({ "certname": "m2.example.com" })).await;
    assert_eq!(sides().await, first);
}

#[tokio::test]
async fn an_agent_in_the_middle_of_a_run_ends_it_where_it_began_while_the_last_sealed_master_drains() {
    let site = Site::with([Plan::named("m1.example.com"), Plan::open("m2.example.com")]);
    let fleet = site.change(|papers| papers.listen_keys = "split = \"by-capacity\"".to_owned()).open().await;
    let web01 = fleet.ca.agent("web01.example.com");
    fleet.door.drain("m2.example.com").await;
    let config = || tls::client(&fleet.ca, Some(&web01), Versions::Both);
    let mut ended = Wire::open(fleet.door.address(), DIALS, config()).await.unwrap();
    let mut late = Wire::open(fleet.door.address(), DIALS, config()).await.unwrap();
    assert_eq!(ended.ask(ENVIRONMENTS).await.unwrap().status(), 200);
    assert_eq!(late.ask(ENVIRONMENTS).await.unwrap().status(), 200);

    fleet.door.change("undrain", &serde_json::json!({ "certname": "m2.example.com" })).await;
    fleet.door.drain("m1.example.com").await;
    let reply = ended.ask(ENVIRONMENTS).await.unwrap();
    assert_eq!((reply.status(), reply.head.get("connection")), (200, Some("close")), "{}", reply.text());
    assert!(reply.text().contains("m1.example.com"), "its run goes on where it began");
    let (status, answer) = asked(&fleet, &web01, fleet.door.address(), None).await;
    assert_eq!((status, answer["served_by"].as_str()), (200, Some("m2.example.com")));

    fleet.door.change("retire", &serde_json::json!({ "certname": "m1.example.com" })).await;
    let reply = late.ask(ENVIRONMENTS).await.unwrap();
    let header = |name| reply.head.get(name);
    assert_eq!(
        (reply.status(), header("retry-after"), header("connection")),
        (503, Some("1"), Some("close"))
    );
}
