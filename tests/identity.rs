//! Who an agent is comes from its handshake, and from nothing it says.

use harness::agent::{Agent, Shape};
use harness::ca::PuppetCa;
use harness::fleet::Site;
use harness::identity::{KeyKind, Leaf, PP_ROLE};
use harness::master::{Believed, Plan};
use harness::tls::Versions;
use harness::wait::eventually;
use harness::wire::Wire;
use http::{Method, StatusCode};

const CATALOG: &str = "/puppet/v3/catalog/web01.example.com?environment=production";

#[tokio::test]
async fn forged_identity_headers_change_nothing() {
    let fleet = Site::with_masters(1).open().await;
    let victim = fleet.ca.issue(&Leaf::node("db01.example.com").role("database"));
    let cert = harness::puppet::percent_encode(&victim.certificate_pem);
    let forger = fleet
        .agent_of(&Leaf::node("web01.example.com").role("web"))
        .forging("X-Client-Verify", "SUCCESS")
        .forging("x-client-verify", "NONE")
        .forging("X_Client_Verify", "SUCCESS")
        .forging("X-Client-DN", "CN=db01.example.com")
        .forging("X_CLIENT-DN", "CN=db01.example.com")
        .forging("X-Client-Cert", &cert)
        .forging("X-Client-Whatever", "more");
    let run = forger.run(Shape::default()).await.unwrap();
    assert_eq!((run.certname(), run.extension(PP_ROLE)), ("web01.example.com", Some("web")));
    for seen in fleet.masters[0].record().of_agents() {
        let mut names: Vec<_> =
            seen.identity_headers().iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        assert_eq!(names, ["x-client-cert", "x-client-dn", "x-client-verify"], "{}", seen.head.first);
        let believed = Believed::of(&seen.head).unwrap();
        assert_eq!(believed.certname(), Some("web01.example.com"));
        assert!(believed.agrees());
    }
    let others = forger.get("/puppet/v3/catalog/db01.example.com?environment=production").await.unwrap();
    assert_eq!(others.status(), StatusCode::FORBIDDEN);
    assert_eq!(fleet.offences(), Vec::<String>::new());
    assert!(fleet.door.metrics().await.sum("stagedoor_forged_headers_total", &[]) > 0.0);
}

#[tokio::test]
async fn who_shows_no_certificate_is_refused_before_the_body_and_no_master_hears_of_it() {
    let fleet = Site::with_masters(1).open().await;
    let stranger = fleet.stranger("web01.example.com").forging("X-Client-Verify", "SUCCESS");
    let refused = stranger.forging("X-Client-DN", "CN=web01.example.com").get(CATALOG).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(String::from_utf8_lossy(refused.body()).contains("certificate"), "{refused:?}");

    let nobody = fleet.stranger("nobody");
    let mut wire = Wire::open(fleet.door.address(), "puppet", nobody.tls()).await.unwrap();
    let head = format!("POST {CATALOG} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 500000\r\n\r\n");
    wire.send(head).await.unwrap();
    assert_eq!(wire.reply_to("POST").await.unwrap().status(), 403, "answered without a byte of the body");
    assert_eq!(fleet.masters[0].record().of_agents().len(), 0);
}

#[tokio::test]
async fn a_console_token_passes_untouched_and_without_an_identity() {
    let fleet = Site::with_masters(1).open().await;
    let console = fleet.stranger("console").forging("X-Authentication", "0ToKen-/+=");
    console.get("/puppet/v3/environments").await.unwrap();
    let seen = fleet.masters[0].record().of("environments");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].head.get("x-authentication"), Some("0ToKen-/+="));
    assert_eq!(seen[0].identity_headers().iter().map(|(_, value)| *value).collect::<Vec<_>>(), ["NONE"]);
    let log = std::fs::read_to_string(fleet.door.papers().file("access.log")).unwrap_or_default();
    assert!(!log.contains("0ToKen") && !fleet.door.said().contains("0ToKen"), "a token is in no log");
}

#[tokio::test]
async fn many_agents_at_once_are_each_taken_for_themselves() {
    let fleet = Site::with_masters(2).open().await;
    let runs = (0..60).map(|n| {
        let leaf = Leaf::node(&format!("node{n:02}.example.com")).role(&format!("role{n:02}"));
        let agent = fleet.agent_of(&leaf);
        tokio::spawn(async move { (n, agent.run(Shape { metadata: 1, ..Shape::default() }).await) })
    });
    for run in runs.collect::<Vec<_>>() {
        let (n, run) = run.await.unwrap();
        let run = run.unwrap();
        assert_eq!(run.certname(), format!("node{n:02}.example.com"));
        assert_eq!(run.extension(PP_ROLE), Some(format!("role{n:02}").as_str()));
    }
    for master in &fleet.masters {
        for seen in master.record().of_agents() {
            assert!(Believed::of(&seen.head).unwrap().agrees(), "{}", seen.head.first);
        }
    }
    assert_eq!(fleet.offences(), Vec::<String>::new());
}

#[tokio::test]
async fn agents_of_every_key_and_version_are_known_under_a_ca_of_either_shape() {
    for ca in [PuppetCa::with_intermediate(), PuppetCa::self_signed()] {
        let fleet = Site::under(ca, [Plan::named("m1.example.com")]).open().await;
        for key in [KeyKind::P256, KeyKind::Rsa2048] {
            for versions in [Versions::Tls12, Versions::Tls13] {
                let identity = fleet.ca.issue(&Leaf::node("web01.example.com").role("web").key(key));
                let agent = Agent::over(versions, Some(identity), &fleet.ca, fleet.door.address());
                let run = agent.run(Shape::default()).await.unwrap();
                assert_eq!(run.extension(PP_ROLE), Some("web"), "{key:?} {versions:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_past_its_end_or_of_another_ca_fails_the_handshake_and_is_counted() {
    let fleet = Site::with_masters(1).open().await;
    let other_ca = PuppetCa::with_intermediate();
    let expired = fleet.ca.issue(&Leaf::node("web01.example.com").expired());
    let foreign = other_ca.agent("web01.example.com");
    let of_the_door_ca = fleet.door_ca.door("web01.example.com");
    for identity in [expired, foreign, of_the_door_ca] {
        for versions in [Versions::Tls12, Versions::Tls13] {
            let agent = Agent::over(versions, Some(identity.clone()), &fleet.ca, fleet.door.address());
            let answer = agent.get("/puppet-ca/v1/certificate/ca").await;
            assert!(answer.is_err(), "a bad certificate is not the same as none: {answer:?}");
        }
    }
    assert_eq!(fleet.mom.record().total() + fleet.masters[0].record().of_agents().len(), 0);
    eventually("six failed handshakes are counted", async || {
        let failed = fleet.door.metrics().await.sum("stagedoor_handshakes_total", &[("outcome", "failed")]);
        if failed == 6.0 { Ok(()) } else { Err(format!("{failed}")) }
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_ends_while_its_connection_is_open_is_refused_from_then_on() {
    let fleet = Site::with_masters(1).open().await;
    let leaf = Leaf::node("web01.example.com").ends_in(std::time::Duration::from_secs(3));
    let agent = fleet.agent_of(&leaf);
    let mut session = agent.connect().await.unwrap();
    assert_eq!(session.get("/puppet/v3/environments").await.unwrap().status(), StatusCode::OK);
    eventually("a held connection is refused when its certificate ends", async || {
        match session.get("/puppet/v3/environments").await {
            Ok(answer) if answer.status() == StatusCode::OK => Err("still answered".to_owned()),
            Ok(answer) => {
                assert_eq!(answer.status(), StatusCode::FORBIDDEN);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_report_for_another_node_is_judged_by_the_master_under_the_true_name() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    let target = "/puppet/v3/report/db01.example.com?environment=production";
    let answer = agent.ask(Method::PUT, target, "{}").await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let seen = fleet.masters[0].record().of("report");
    assert_eq!(Believed::of(&seen[0].head).unwrap().certname(), Some("web01.example.com"));
}
