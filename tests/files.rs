//! Files that change while the door runs are taken whole, by themselves, or not at all.

use harness::ca::PuppetCa;
use harness::fleet::{Fleet, Site};
use harness::identity::{Identity, Leaf};
use harness::wait::eventually;
use harness::wire::Wire;
use http::StatusCode;

const TARGET: &str = "/puppet/v3/environments";

/// The certificate that the door shows to whoever connects now.
async fn shown(fleet: &Fleet) -> Result<Vec<u8>, String> {
    let agent = fleet.agent("web01.example.com");
    let wire = Wire::open(fleet.door.address(), "puppet", agent.tls()).await;
    let mut wire = wire.map_err(|e| e.to_string())?;
    let (_, tls) = wire.conn.stream().get_ref();
    Ok(tls.peer_certificates().unwrap()[0].to_vec())
}

async fn until_shown(fleet: &Fleet, identity: &Identity) {
    eventually("the certificate is shown", async || {
        if shown(fleet).await? == identity.certificate.to_vec() { Ok(()) } else { Err("another".to_owned()) }
    })
    .await;
}

async fn until_refused(fleet: &Fleet, what: &str, least: f64) {
    eventually(&format!("a {what} that is no good is counted"), async || {
        let labels = [("what", what), ("outcome", "refused")];
        let refused = fleet.door.metrics().await.sum("stagedoor_reloads_total", &labels);
        if refused >= least { Ok(()) } else { Err(format!("{refused}")) }
    })
    .await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_connections_that_are_open_go_on() {
    let fleet = Site::with_masters(1).open().await;
    let mut held = fleet.agent("web01.example.com").connect().await.unwrap();
    let renewed = fleet.ca.issue(&Leaf::server("door1.example.com").alt_name("puppet"));
    fleet.door.papers().write("door.pem", &renewed.certificate_pem);
    fleet.door.papers().write("door.key", &renewed.key_pem);
    until_shown(&fleet, &renewed).await;
    assert_eq!(held.get(TARGET).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_certificate_whose_key_has_not_come_yet_waits_for_it() {
    let fleet = Site::with_masters(1).open().await;
    let before = shown(&fleet).await.unwrap();
    let renewed = fleet.ca.issue(&Leaf::server("door1.example.com").alt_name("puppet"));
    fleet.door.papers().write("door.pem", &renewed.certificate_pem);
    until_refused(&fleet, "certificate", 1.0).await;
    assert_eq!(shown(&fleet).await.unwrap(), before, "the pair before is shown");
    fleet.door.papers().write("door.key", &renewed.key_pem);
    until_shown(&fleet, &renewed).await;
}

#[tokio::test]
async fn a_second_ca_in_the_bundle_is_believed_without_a_restart_and_a_broken_bundle_changes_nothing() {
    let fleet = Site::with_masters(1).open().await;
    let next = PuppetCa::with_intermediate();
    let identity = next.agent("web02.example.com");
    let old = fleet.agent("web01.example.com");
    let new = harness::agent::Agent::with(identity, &fleet.ca, fleet.door.address());
    assert!(new.get(TARGET).await.is_err(), "nobody knows its CA yet");

    let papers = fleet.door.papers();
    papers.write("ca_crt.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    until_refused(&fleet, "puppet_ca", 1.0).await;
    assert_eq!(old.get(TARGET).await.unwrap().status(), StatusCode::OK);

    papers.write("ca_crl.pem", &format!("{}{}", fleet.ca.crl_pem(), next.crl_pem()));
    papers.write("ca_crt.pem", &format!("{}{}", fleet.ca.bundle_pem(), next.bundle_pem()));
    eventually("agents of the second CA are served", async || match new.get(TARGET).await {
        Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(old.get(TARGET).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_agent_of_a_ca_that_left_the_bundle_is_refused_on_the_connection_it_holds() {
    let (first, second) = (PuppetCa::with_intermediate(), PuppetCa::with_intermediate());
    let leaving = second.agent("web02.example.com");
    let site = Site::under(first, [harness::master::Plan::named("m1.example.com")]);
    let both = format!("{}{}", site.ca.bundle_pem(), second.bundle_pem());
    site.papers.write("ca_crt.pem", &both);
    site.papers.write("ca_crl.pem", &format!("{}{}", site.ca.crl_pem(), second.crl_pem()));
    let fleet = site.open().await;
    let agent = harness::agent::Agent::with(leaving, &fleet.ca, fleet.door.address());
    let mut held = agent.connect().await.unwrap();
    assert_eq!(held.get(TARGET).await.unwrap().status(), StatusCode::OK);
    fleet.door.papers().write_ca(&fleet.ca);
    eventually("it is refused", async || match held.get(TARGET).await {
        Ok(answer) if answer.status() == StatusCode::OK => Err("still served".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert!(agent.get(TARGET).await.is_err());
}

#[tokio::test]
async fn the_doors_own_client_certificate_is_renewed_under_way() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    assert_eq!(agent.get(TARGET).await.unwrap().status(), StatusCode::OK);
    let renewed = fleet.door_ca.door("door1-renewed.example.com");
    fleet.door.papers().write("door-client.pem", &renewed.certificate_pem);
    fleet.door.papers().write("door-client.key", &renewed.key_pem);
    eventually("masters are shown the new one", async || {
        let answer = agent.get(TARGET).await.map_err(|e| format!("{e:#}"))?;
        assert_eq!(answer.status(), StatusCode::OK, "and nobody notices");
        let seen = fleet.master(0).record().of("environments");
        match seen.last().unwrap().peer.as_deref() {
            Some("door1-renewed.example.com") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
