//! Whoever wants another node's certificate, or more of the CA than a renewal.

use std::time::Duration;

use harness::agent::DIALS;
use harness::answer::Act;
use harness::fleet::Fleet;
use harness::identity::{Identity, Leaf};
use harness::puppet::percent_encode;
use harness::tls::{self, Versions};
use harness::wait::eventually;
use harness::wire::Wire;
use http::StatusCode;

use super::{TARGET, only_renewals_in_the_doors_name, renew, renew_over, renewed, site, until_asked};

async fn wire(fleet: &Fleet, identity: Option<&Identity>) -> Wire {
    let config = tls::client(&fleet.ca, identity, Versions::Both);
    Wire::open(fleet.door.address(), DIALS, config).await.unwrap()
}

/// The names of those whose certificates the CA was asked to renew.
fn names(fleet: &Fleet) -> Vec<String> {
    fleet.mom.record().of("certificate_renewal").iter().map(|seen| renewed(seen).name).collect()
}

#[tokio::test]
async fn who_shows_no_certificate_renews_none_whatever_it_brings() {
    let fleet = site().open().await;
    let victim = percent_encode(&fleet.ca.agent("db01.example.com").certificate_pem);
    let stranger = fleet
        .stranger("new01.example.com")
        .forging("X-Authentication", "0ToKen")
        .forging("X-Client-Verify", "SUCCESS")
        .forging("X-Client-DN", "CN=db01.example.com")
        .forging("X-Client-Cert", &victim);
    let answer = renew(&stranger).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(String::from_utf8_lossy(answer.body()).contains("none was shown"), "{answer:?}");
    assert_eq!(fleet.mom.record().total(), 0);
}

#[tokio::test]
async fn a_forged_certificate_in_any_spelling_renews_the_forgers_own() {
    let fleet = site().open().await;
    let victim = percent_encode(&fleet.ca.agent("db01.example.com").certificate_pem);
    let own = fleet.ca.agent("web01.example.com");
    for name in [
        "X-Client-Cert",
        "x-client-cert",
        "X_Client_Cert",
        "X-Client_Cert",
        "X_CLIENT-CERT",
        "HTTP_X_CLIENT_CERT",
        "SSL_CLIENT_CERT",
        "X-SSL-Cert",
        "X-Client-Cert: x\r\nX-Client-Cert",
        "Connection: X-Client-Cert\r\nX-Client-Cert",
    ] {
        fleet.mom.record().clear();
        let head = format!(
            "POST {TARGET} HTTP/1.1\r\nHost: puppet\r\n{name}: {victim}\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(wire(&fleet, Some(&own)).await.ask(head).await.unwrap().status(), 200, "{name}");
        assert_eq!(names(&fleet), ["web01.example.com"], "{name}");
        only_renewals_in_the_doors_name(&fleet);
    }
}

#[tokio::test]
async fn nothing_an_agent_sends_goes_to_the_ca_with_its_renewal() {
    let fleet = site().open().await;
    let own = fleet.ca.agent("web01.example.com");
    for request in [
        format!(
            "POST {TARGET}?sentinel=1&state=signed HTTP/1.1\r\nHost: sentinel.example.com\r\nContent-Length: 0\r\n\r\n"
        ),
        format!("POST {TARGET} HTTP/1.1\r\nHost: puppet\r\n\r\n"),
        format!("POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 8\r\n\r\nsentinel"),
        format!(
            "POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nsentinel\r\n0\r\nX-Client-Cert: sentinel\r\n\r\n"
        ),
        format!(
            "POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"
        ),
        format!(
            "POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nX-Authentication: sentinel\r\nCookie: sentinel\r\n\
             X-HTTP-Method-Override: PUT\r\nX-Original-URL: /puppet-ca/v1/sign\r\nAuthorization: sentinel\r\n\
             User-Agent: sentinel\r\nX-Forwarded-For: sentinel\r\nX-Request-Id: sentinel\r\nContent-Length: 0\r\n\r\n"
        ),
    ] {
        fleet.mom.record().clear();
        let answer = wire(&fleet, Some(&own)).await.ask(&request).await.unwrap();
        assert_eq!(answer.status(), 200, "{request}");
        let seen = &fleet.mom.record().of("certificate_renewal")[0];
        let raw = String::from_utf8_lossy(&seen.head.raw).into_owned();
        assert!(!raw.contains("sentinel") && !raw.contains("sign"), "{raw}");
        only_renewals_in_the_doors_name(&fleet);
    }
}

#[tokio::test]
async fn a_request_that_waits_for_100_continue_is_told_to_go_on_and_renewed() {
    let fleet = site().open().await;
    let own = fleet.ca.agent("web01.example.com");
    let mut agent = wire(&fleet, Some(&own)).await;
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    );
    agent.send(head).await.unwrap();
    assert_eq!(agent.conn.head().await.unwrap().unwrap().status(), 100);
    agent.send("abc").await.unwrap();
    assert_eq!(agent.reply_to("POST").await.unwrap().status(), 200);
    only_renewals_in_the_doors_name(&fleet);
}

#[tokio::test]
async fn bodies_that_are_large_or_could_be_read_twice_renew_nothing() {
    let fleet = site().open().await;
    let own = fleet.ca.agent("web01.example.com");
    let large = "a".repeat(100_000);
    for (more, status) in [
        (format!("Content-Length: 100000\r\n\r\n{large}"), 413),
        (format!("Transfer-Encoding: chunked\r\n\r\n186a0\r\n{large}\r\n0\r\n\r\n"), 413),
        ("Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde".to_owned(), 400),
        ("Content-Length: 0, 0\r\n\r\n".to_owned(), 400),
        ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n".to_owned(), 400),
    ] {
        let request = format!("POST {TARGET} HTTP/1.1\r\nHost: puppet\r\n{more}");
        let answer = wire(&fleet, Some(&own)).await.ask(&request).await.unwrap();
        assert_eq!(answer.status(), status, "{}", &request[..request.len().min(120)]);
    }
    assert_eq!(fleet.mom.record().total(), 0);
}

#[tokio::test]
async fn no_path_method_or_smuggled_request_reaches_the_ca_in_the_doors_name() {
    let fleet = site().open().await;
    let own = fleet.ca.agent("web01.example.com");
    assert_eq!(
        renew(&fleet.agent("web02.example.com")).await.status(),
        200,
        "a connection that could be used again"
    );
    let smuggled = "PUT /puppet-ca/v1/clean HTTP/1.1\r\nHost: puppet\r\nContent-Length: 0\r\n\r\n";
    let length = smuggled.len();
    let mut requests: Vec<String> = [
        "/puppet-ca/v1/certificate_renewal/",
        "//puppet-ca/v1/certificate_renewal",
        "/puppet-ca//v1/certificate_renewal",
        "/puppet-ca/v1/certificate_renewal/../clean",
        "/puppet-ca/v1/certificate_renewal/%2e%2e/clean",
        "/puppet-ca/v1/certificate_renewal%2f..%2fclean",
        "/puppet-ca/v1/certificate_renewal;/clean",
        "/puppet-ca/v1/certificate_renewal%00",
        "/puppet-ca/v1/certificate%5frenewal",
        "/puppet-ca/v1/CERTIFICATE_RENEWAL",
        "/puppet-ca/v2/certificate_renewal",
        "/production/certificate_renewal",
        "/production/certificate_renewal/db01.example.com",
        "http://mom.example.com/puppet-ca/v1/certificate_renewal",
        "/puppet-ca/v1/certificate_renewal/db01.example.com",
        "/puppet-ca/v1/certificate_status/db01.example.com",
        "/puppet-ca/v1/sign",
        "/puppet-ca/v1/sign/all",
        "/puppet-ca/v1/expirations",
        "/puppet-admin-api/v1/environment-cache",
        "/puppet/v3/catalog/db01.example.com?environment=production",
        "/puppet-ca/v1/certificate/ca",
    ]
    .iter()
    .map(|target| format!("POST {target} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 0\r\n\r\n"))
    .collect();
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"] {
        requests.push(format!("{method} {TARGET} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 0\r\n\r\n"));
    }
    for request in &requests {
        fleet.mom.record().clear();
        let mut agent = wire(&fleet, Some(&own)).await;
        let answer = agent.ask(request).await;
        assert_ne!(answer.map(|answer| answer.status()).unwrap_or(400), 200, "{request}");
        assert_eq!(fleet.mom.record().total(), 0, "{request}");
    }
    // As the body of a renewal; a parser that took it for the next request would ask the CA to clean.
    let renewal =
        format!("POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nContent-Length: {length}\r\n\r\n{smuggled}");
    assert_eq!(wire(&fleet, Some(&own)).await.ask(renewal).await.unwrap().status(), 200);
    let both = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
        length + 5
    );
    let answer = wire(&fleet, Some(&own)).await.ask(both).await;
    assert!(matches!(answer.map(|answer| answer.status()), Ok(200 | 400) | Err(_)));
    assert!(fleet.mom.record().all().iter().all(|seen| seen.asked().what == "certificate_renewal"));
    only_renewals_in_the_doors_name(&fleet);
}

#[tokio::test]
async fn everything_else_an_agent_asks_goes_without_the_doors_name_before_and_after_a_renewal() {
    let fleet = site().open().await;
    let agent = fleet.agent("web01.example.com");
    let mut held = agent.connect().await.unwrap();
    for _ in 0..3 {
        assert_eq!(renew_over(&mut held).await.unwrap(), StatusCode::OK);
        for target in [
            "/puppet-ca/v1/certificate/ca",
            "/puppet-ca/v1/certificate_revocation_list/ca",
            "/puppet-ca/v1/certificate_request/web01.example.com",
            "/packages/current/install.bash",
            "/production/certificate/ca",
            "/puppet/v3/environments",
        ] {
            held.get(target).await.unwrap();
        }
    }
    let mut new = fleet.stranger("new01.example.com");
    new.bootstrap(&Leaf::node("new01.example.com")).await.unwrap();
    assert!(fleet.mom.record().total() > 18);
    only_renewals_in_the_doors_name(&fleet);
}

#[tokio::test]
async fn a_revoked_agent_renews_nothing_on_a_connection_it_holds() {
    let fleet = site().open().await;
    let thief = fleet.agent("stolen.example.com");
    let mut held = thief.connect().await.unwrap();
    assert_eq!(renew_over(&mut held).await.unwrap(), StatusCode::OK);
    fleet.ca.revoke(thief.identity().unwrap());
    // The stand-in would refuse it too; here it is the door that must.
    fleet.mom.script(TARGET, None, Act::Answer(harness::answer::Answer::text(200, "renewed")));
    fleet.door.papers().write_ca(&fleet.ca);
    eventually("the connection it holds is refused", async || match renew_over(&mut held).await {
        Ok(StatusCode::OK) => Err("renewed".to_owned()),
        Ok(StatusCode::FORBIDDEN) | Err(_) => Ok(()),
        Ok(other) => panic!("{other}"),
    })
    .await;
    let asked = fleet.mom.record().total();
    assert!(renew_over(&mut held).await.is_err(), "the connection has ended");
    assert_eq!(fleet.mom.record().total(), asked);
}

#[tokio::test]
async fn an_agent_that_is_revoked_while_it_sends_or_waits_renews_nothing() {
    let fleet = site().open().await;
    let thief = fleet.ca.agent("stolen.example.com");
    let mut slow = wire(&fleet, Some(&thief)).await;
    // Four of one address may be at the CA; this one waits behind them.
    fleet.mom.script(TARGET, Some(4), Act::Hang);
    let mut hanging = Vec::new();
    for n in 0..4 {
        let agent = fleet.agent(&format!("node{n}.example.com"));
        hanging.push(tokio::spawn(async move { renew(&agent).await.status() }));
    }
    until_asked(&fleet, 4).await;
    let mut waiting = wire(&fleet, Some(&thief)).await;
    let head = format!("POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 0\r\n\r\n");
    waiting.send(head).await.unwrap();
    let head = format!("POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 2\r\n\r\na");
    slow.send(head).await.unwrap();
    fleet.ca.revoke(&thief);
    fleet.door.papers().write_ca(&fleet.ca);
    eventually("the new list is in force", async || {
        let taken = [("what", "puppet_ca"), ("outcome", "taken")];
        match fleet.door.metrics().await.sum("stagedoor_reloads_total", &taken) {
            0.0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    slow.send("b").await.unwrap();
    assert_eq!(slow.reply_to("POST").await.unwrap().status(), 403);
    fleet.mom.listening().kill().await;
    for hanging in hanging {
        assert_eq!(hanging.await.unwrap(), 502);
    }
    assert_eq!(waiting.reply_to("POST").await.unwrap().status(), 403, "its turn has come");
    assert_eq!(fleet.mom.record().total(), 4);
}

#[tokio::test]
async fn a_certificate_that_has_ended_on_an_open_connection_is_not_renewed() {
    let fleet = site().open().await;
    let agent = fleet.agent_of(&Leaf::node("web01.example.com").ends_in(Duration::from_secs(3)));
    let mut held = agent.connect().await.unwrap();
    fleet.mom.script(TARGET, None, Act::Answer(harness::answer::Answer::text(200, "renewed")));
    eventually("the certificate has ended", async || match renew_over(&mut held).await {
        Ok(StatusCode::OK) => Err("renewed".to_owned()),
        Ok(StatusCode::FORBIDDEN) | Err(_) => Ok(()),
        Ok(other) => panic!("{other}"),
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_leaves_takes_its_place_along_until_the_ca_has_answered() {
    let fleet = site().open().await;
    fleet.mom.script(TARGET, Some(1), Act::Hang);
    let own = fleet.ca.agent("web01.example.com");
    let mut impatient = wire(&fleet, Some(&own)).await;
    let head = format!("POST {TARGET} HTTP/1.1\r\nHost: puppet\r\nContent-Length: 0\r\n\r\n");
    impatient.send(head).await.unwrap();
    until_asked(&fleet, 1).await;
    impatient.conn.close().await;
    drop(impatient);
    eventually("it has left", async || {
        let left = [("class", "renewal"), ("outcome", "left")];
        match fleet.door.metrics().await.sum("stagedoor_requests_total", &left) {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let there = fleet.door.metrics().await.sum("stagedoor_mom_in_flight", &[("class", "renewal")]);
    assert_eq!(there, 1.0);
}
