//! What happens at the Master of Masters and does not spread.

use std::net::SocketAddr;
use std::time::Duration;

use harness::agent::DIALS;
use harness::answer::Act;
use harness::fleet::Site;
use harness::identity::{KeyKind, Leaf};
use harness::tls::{self, Versions};
use harness::wait::{eventually, within};
use harness::wire::Wire;
use http::Method;

use super::{counted, get, wire, with_body};

const CA: &str = "/puppet-ca/v1/certificate/ca";

#[tokio::test]
async fn nothing_large_is_sent_to_the_ca_by_any_request() {
    let fleet = Site::with_masters(1).open().await;
    for (method, target) in [
        ("GET", CA),
        ("GET", "/packages/current/install.bash"),
        ("PUT", "/puppet-ca/v1/certificate_request/new01.example.com"),
    ] {
        let mut stranger = wire(&fleet, None).await;
        let reply = stranger.ask(with_body(method, target, 3_000_000)).await.unwrap();
        assert_eq!((reply.status(), reply.head.get("connection")), (413, Some("close")), "{target}");
        assert!(reply.text().contains("bounds.csr"), "{}", reply.text());
    }
    assert_eq!(fleet.mom.record().total(), 0);
}

#[tokio::test]
async fn a_request_counts_at_the_mom_until_it_has_answered_even_when_its_agent_has_left() {
    let fleet = Site::with_masters(1).open().await;
    fleet.mom.script("certificate/ca", Some(1), Act::Hang);
    let mut impatient = wire(&fleet, None).await;
    impatient.send(get(CA)).await.unwrap();
    eventually("the Master of Masters has the request", async || match fleet.mom.record().total() {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    impatient.conn.close().await;
    drop(impatient);
    counted(&fleet, "stagedoor_requests_total", &[("class", "ca"), ("outcome", "left")], 1.0).await;
    let there = fleet.door.metrics().await.sum("stagedoor_mom_in_flight", &[("class", "ca")]);
    assert_eq!(there, 1.0, "the Master of Masters is still at work on it");
}

#[tokio::test]
async fn connections_that_rest_after_a_burst_keep_no_certificate_request_from_the_ca() {
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("mom_ca", "4");
        papers.bound("mom_packages", "4");
    });
    let fleet = site.open().await;
    // A burst that uses every connection there may be.
    fleet.mom.script("", Some(8), Act::Slow(Duration::from_millis(400)));
    let mut burst = Vec::new();
    for target in [CA, "/packages/current/install.bash"] {
        for _ in 0..4 {
            let mut stranger = wire(&fleet, None).await;
            burst.push(tokio::spawn(async move { stranger.ask(get(target)).await.unwrap().status() }));
        }
    }
    for answer in burst {
        assert_eq!(answer.await.unwrap(), 200);
    }
    // What must not be sent twice goes over no connection that has rested for two seconds.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let leaf = Leaf::node("new01.example.com");
    let request = leaf.request_pem(&KeyKind::P256.generate());
    let target = "/puppet-ca/v1/certificate_request/new01.example.com";
    let answer = fleet.stranger("new01.example.com").ask(Method::PUT, target, request).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn one_address_that_takes_its_time_keeps_no_other_from_the_ca() {
    let fleet = Site::with_masters(1).change(|papers| papers.bound("mom_ca", "4")).open().await;
    fleet.mom.script("certificate/ca", None, Act::Hang);
    let mut slow = Vec::new();
    for _ in 0..6 {
        let config = tls::client(&fleet.ca, None, Versions::Both);
        let from = SocketAddr::from(([127, 0, 7, 1], 0));
        let mut wire = Wire::open_from(from, fleet.door.address(), DIALS, config).await.unwrap();
        wire.send(get(CA)).await.unwrap();
        slow.push(wire);
    }
    eventually("the Master of Masters has one", async || match fleet.mom.record().total() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    })
    .await;
    let crl = "/puppet-ca/v1/certificate_revocation_list/ca";
    let asked = within(Duration::from_secs(5), "another address is answered", async || {
        fleet.stranger("new01.example.com").get(crl).await.map_err(|e| e.to_string())
    });
    assert_eq!(asked.await.status(), 200);
}
