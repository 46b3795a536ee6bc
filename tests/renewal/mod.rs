//! An agent's certificate is renewed at the CA, and nothing else is ever asked there under the door's name.

mod attacks;
mod settings;

use harness::door::Papers;
use harness::fleet::{Fleet, Site};
use harness::identity::{Identity, KeyKind, Leaf, PP_ROLE};
use harness::mom::RENEWED_LIVES;
use harness::puppet::{CertificateWords, percent_decode};
use harness::record::Seen;
use harness::wait::eventually;
use http::{Method, StatusCode};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, DecodePem as _};

use harness::agent::{Agent, Session, Shape};
use harness::answer::{Act, Answer};

/// The name in the certificate that the door shows to the CA, and to nobody else.
const DOOR: &str = "door1-renewal.example.com";
const TARGET: &str = "/puppet-ca/v1/certificate_renewal";

/// A site whose door renews, with a certificate that the CA lists.
fn site() -> Site {
    let site = Site::with_masters(1);
    let own = site.ca.agent(DOOR);
    site.mom.list_in_infra_inventory(DOOR);
    site.change(|papers| renews_with(papers, &own))
}

/// The door's settings with this certificate for renewals.
fn renews_with(papers: &mut Papers, own: &Identity) {
    let (certificate, key) = own.write(papers.folder(), "renewal");
    papers.extra.1 = format!("[renewal]\ncertificate = {certificate:?}\nkey = {key:?}\n");
}

async fn renew(agent: &Agent) -> http::Response<bytes::Bytes> {
    agent.ask(Method::POST, TARGET, "").await.unwrap()
}

async fn renew_over(session: &mut Session) -> anyhow::Result<StatusCode> {
    Ok(session.ask(Method::POST, TARGET, "").await?.status())
}

/// What the CA was asked to renew: the one certificate of its header.
fn renewed(seen: &Seen) -> CertificateWords {
    let pem = percent_decode(seen.head.get("x-client-cert").unwrap()).unwrap();
    CertificateWords::from_pem(&pem).unwrap()
}

/// What came over the door's own certificate is what the door writes, and nothing else came over it.
#[track_caller]
fn only_renewals_in_the_doors_name(fleet: &Fleet) {
    for seen in fleet.mom.record().all() {
        assert_eq!(seen.offences, Vec::<String>::new());
        if seen.peer.is_none() {
            assert_ne!(seen.asked().what, "certificate_renewal", "{}", seen.head.first);
            assert_eq!(seen.identity_headers(), [("x-client-verify", "NONE")], "{}", seen.head.first);
            continue;
        }
        assert_eq!(seen.peer.as_deref(), Some(DOOR));
        assert_eq!(seen.head.first, format!("POST {TARGET} HTTP/1.1"));
        let mut names: Vec<_> = seen.head.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        let written = [
            "accept",
            "content-length",
            "content-type",
            "host",
            "x-client-cert",
            "x-forwarded-for",
            "x-request-id",
        ];
        assert_eq!(names, written);
        assert_eq!((seen.head.get("content-length"), seen.body_length), (Some("0"), 0));
        assert_eq!(seen.head.get("host"), Some(harness::mom::NAME));
    }
    for master in &fleet.masters {
        for seen in master.record().of_agents() {
            assert_ne!(seen.peer.as_deref(), Some(DOOR), "{}", seen.head.first);
        }
    }
}

async fn until_asked(fleet: &Fleet, times: usize) {
    eventually("the CA is asked", async || match fleet.mom.record().of("certificate_renewal").len() {
        asked if asked >= times => Ok(()),
        asked => Err(asked.to_string()),
    })
    .await;
}

#[tokio::test]
async fn an_agents_certificate_is_renewed_and_goes_on_being_the_agents() {
    let fleet = site().open().await;
    let key = KeyKind::P256.generate();
    let leaf = Leaf::node("web01.example.com").role("web");
    let pem = fleet.ca.sign(&leaf.request_pem(&key)).unwrap();
    let before = Identity::from_pem("web01.example.com", &pem, &key).unwrap();
    let agent = Agent::with(before.clone(), &fleet.ca, fleet.door.address());
    let answer = renew(&agent).await;
    assert_eq!(
        (answer.status(), &answer.headers()["content-type"]),
        (StatusCode::OK, &http::HeaderValue::from_static("text/plain;charset=utf-8"))
    );

    let pem = std::str::from_utf8(answer.body()).unwrap();
    let (old, new) =
        (Certificate::from_der(&before.certificate).unwrap(), Certificate::from_pem(pem).unwrap());
    let (old, new) = (old.tbs_certificate(), new.tbs_certificate());
    assert_eq!(old.subject_public_key_info(), new.subject_public_key_info());
    assert_ne!(old.serial_number(), new.serial_number());
    let after = Identity::from_pem("web01.example.com", pem, &key).unwrap();
    let run = Agent::with(after, &fleet.ca, fleet.door.address()).run(Shape::default()).await.unwrap();
    assert_eq!((run.certname(), run.extension(PP_ROLE)), ("web01.example.com", Some("web")));

    let asked = fleet.mom.record().of("certificate_renewal");
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].peer.as_deref(), renewed(&asked[0]).name.as_str()),
        (Some(DOOR), "web01.example.com")
    );
    only_renewals_in_the_doors_name(&fleet);
}

#[tokio::test]
async fn each_agent_is_given_its_own_certificate_however_many_ask_at_once() {
    let fleet = site().open().await;
    let asking = (0..24).map(|n| {
        let agent = fleet.agent(&format!("node{n:02}.example.com"));
        tokio::spawn(async move { (agent.certname.clone(), renew(&agent).await) })
    });
    for asked in asking.collect::<Vec<_>>() {
        let (certname, answer) = asked.await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let words = CertificateWords::from_pem(std::str::from_utf8(answer.body()).unwrap()).unwrap();
        assert_eq!(words.name, certname);
    }
    let asked = fleet.mom.record().of("certificate_renewal");
    let mut connections: Vec<_> = asked.iter().map(|seen| seen.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!((asked.len(), connections.len()), (24, 24), "a connection each");
    only_renewals_in_the_doors_name(&fleet);
}

#[tokio::test]
async fn without_settings_for_it_renewal_is_404_and_counted() {
    let fleet = Site::with_masters(1).open().await;
    let answer = renew(&fleet.agent("web01.example.com")).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert!(String::from_utf8_lossy(answer.body()).contains("goes on with the one it has"), "{answer:?}");
    assert_eq!(fleet.mom.record().total(), 0);
    eventually("it is counted", async || {
        let labels = [("class", "renewal"), ("reason", "renewal")];
        match fleet.door.metrics().await.sum("stagedoor_request_failures_total", &labels) {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_ca_answers_is_what_the_agent_reads() {
    let fleet = Site::with_masters(1);
    let own = fleet.ca.agent(DOOR);
    let fleet = fleet.change(|papers| renews_with(papers, &own)).open().await;
    let agent = fleet.agent("web01.example.com");
    let answer = renew(&agent).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "the door is not in infra_inventory.txt");
    assert_eq!(&answer.body()[..], b"No valid certificate found in renewal request");
    fleet.mom.auto_renewal(false);
    assert_eq!(renew(&agent).await.status(), StatusCode::NOT_FOUND);
    fleet.mom.script(TARGET, Some(1), Act::Answer(Answer::text(409, "x".repeat(70_000))));
    let answer = renew(&agent).await;
    assert_eq!((answer.status(), answer.body().len()), (StatusCode::CONFLICT, 70_000));
}

#[tokio::test]
async fn a_renewal_is_asked_once_whatever_becomes_of_it() {
    let fleet = site().open().await;
    let agent = fleet.agent("web01.example.com");
    let mut held = agent.connect().await.unwrap();
    for (act, status) in [
        (Act::CloseUnread, 502),
        (Act::Close, 502),
        (Act::raw_then_close("nonsense\r\n\r\n"), 502),
        (Act::unasked_101(), 502),
        (Act::busy(30), 503),
        (Act::early_busy(30), 503),
        (Act::borrow_timeout(), 503),
    ] {
        fleet.mom.record().clear();
        let what = format!("{act:?}");
        fleet.mom.script(TARGET, Some(1), act);
        assert_eq!(renew(&agent).await.status(), status, "{what}");
        assert_eq!(fleet.mom.record().total(), 1, "{what}");
    }
    fleet.mom.record().clear();
    for _ in 0..3 {
        assert_eq!(renew_over(&mut held).await.unwrap(), StatusCode::OK, "the next one is renewed");
    }
    assert_eq!(fleet.mom.record().total(), 3);
    only_renewals_in_the_doors_name(&fleet);
}

#[tokio::test]
async fn a_ca_that_cannot_be_reached_is_said_so_and_nothing_else_suffers() {
    let fleet = site().open().await;
    let agent = fleet.agent("web01.example.com");
    fleet.mom.listening().kill().await;
    let answer = renew(&agent).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    agent.run(Shape::default()).await.unwrap();
    fleet.mom.listening().restart(None);
    assert_eq!(renew(&agent).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn renewals_that_hang_take_their_own_few_places_and_keep_nobody_else_from_the_ca() {
    let fleet = site().open().await;
    fleet.mom.script(TARGET, None, Act::Hang);
    let asking = (0..6).map(|n| {
        let agent = fleet.agent(&format!("node{n}.example.com"));
        tokio::spawn(async move { renew(&agent).await })
    });
    let asking: Vec<_> = asking.collect();
    // All of them come from one address, which has half of the eight places.
    until_asked(&fleet, 4).await;
    let there = fleet.door.metrics().await.sum("stagedoor_mom_in_flight", &[("class", "renewal")]);
    assert_eq!(there, 4.0);
    let stranger = fleet.stranger("new01.example.com");
    assert_eq!(stranger.get("/puppet-ca/v1/certificate/ca").await.unwrap().status(), StatusCode::OK);
    let refused = [("class", "renewal"), ("reason", "renewal_busy")];
    eventually("two are told to come back", async || {
        match fleet.door.metrics().await.sum("stagedoor_request_failures_total", &refused) {
            2.0 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(fleet.mom.record().of("certificate_renewal").len(), 4);
}

#[tokio::test]
async fn what_agents_certificates_have_left_is_seen_in_days() {
    let fleet = site().open().await;
    let days = |days: u64| std::time::Duration::from_secs(days * 86_400);
    let within = async |le: &str| {
        let name = "stagedoor_agent_certificate_remaining_seconds_bucket";
        fleet.door.metrics().await.sum(name, &[("le", le)])
    };
    let agent = fleet.agent_of(&Leaf::node("web01.example.com").ends_in(days(20)));
    let answer = renew(&agent).await;
    let pem = std::str::from_utf8(answer.body()).unwrap();
    assert!(CertificateWords::from_pem(pem).is_some() && RENEWED_LIVES == days(60));
    let (fortnight, month) = ("1209600.0", "2592000.0");
    assert_eq!((within(fortnight).await, within(month).await), (0.0, 1.0));
    fleet.stranger("new01.example.com").get("/puppet-ca/v1/certificate/ca").await.unwrap();
    fleet.agent_of(&Leaf::node("web02.example.com").ends_in(days(3))).get("/status/v1/simple").await.unwrap();
    assert_eq!((within(fortnight).await, within(month).await, within("+Inf").await), (1.0, 2.0, 2.0));
}
