//! A revoked certificate ends with the CRL file's change, on new connections and on those that are open.

use std::time::Duration;

use harness::agent::Agent;
use harness::fleet::{Fleet, Site};
use harness::identity::Leaf;
use harness::wait::{eventually, within};
use http::StatusCode;

const TARGET: &str = "/puppet/v3/environments";

/// The promise: two seconds; and what a loaded machine needs to run the test itself.
const SOON: Duration = Duration::from_secs(4);

/// `Err` while the agent is served over a new connection.
async fn refused(agent: &Agent) -> Result<(), String> {
    match agent.get(TARGET).await {
        Ok(answer) if answer.status() == StatusCode::FORBIDDEN => Ok(()),
        Ok(answer) => Err(answer.status().to_string()),
        Err(_handshake) => Ok(()),
    }
}

async fn served(agent: &Agent) -> bool {
    agent.get(TARGET).await.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

/// Puts the CA's files as they are now before the door.
fn publish(fleet: &Fleet) {
    fleet.door.papers().write_ca(&fleet.ca);
}

#[tokio::test]
async fn a_revoked_agent_is_refused_on_new_connections_and_on_one_it_holds_open() {
    let fleet = Site::with_masters(1).open().await;
    let (thief, other) = (fleet.agent("stolen.example.com"), fleet.agent("web01.example.com"));
    let mut held = thief.connect().await.unwrap();
    let mut idle = thief.connect().await.unwrap();
    assert_eq!(held.get(TARGET).await.unwrap().status(), StatusCode::OK);

    fleet.ca.revoke(thief.identity().unwrap());
    publish(&fleet);
    within(SOON, "the connection it holds open is refused", async || match held.get(TARGET).await {
        Ok(answer) if answer.status() == StatusCode::OK => Err("200".to_owned()),
        Ok(answer) => {
            assert_eq!(answer.status(), StatusCode::FORBIDDEN);
            Ok(())
        }
        Err(closed) => Err(format!("{closed:#}: it was refused without words")),
    })
    .await;
    within(SOON, "new connections are refused", async || refused(&thief).await).await;
    let late = idle.get(TARGET).await;
    assert!(
        late.is_err() || late.unwrap().status() == StatusCode::FORBIDDEN,
        "one that was idle since before"
    );
    assert!(served(&other).await, "others are served");
    let failed = [("outcome", "failed"), ("reason", "revoked")];
    assert!(fleet.door.metrics().await.sum("stagedoor_handshakes_total", &failed) > 0.0);
}

#[tokio::test]
async fn a_crl_that_does_not_parse_leaves_the_one_before_in_force() {
    let fleet = Site::with_masters(1).open().await;
    let (thief, other) = (fleet.agent("stolen.example.com"), fleet.agent("web01.example.com"));
    fleet.ca.revoke(thief.identity().unwrap());
    publish(&fleet);
    eventually("the revoked agent is refused", async || refused(&thief).await).await;

    let good = fleet.ca.crl_pem();
    for (n, broken) in
        [good[..good.len() / 2].to_owned(), String::new(), "-----BEGIN X509 CRL-----\nAAAA\n".to_owned()]
            .into_iter()
            .enumerate()
    {
        fleet.door.papers().write("ca_crl.pem", &broken);
        eventually("the refused list is counted", async || {
            let refused =
                fleet.door.metrics().await.sum("stagedoor_reloads_total", &[("outcome", "refused")]);
            if refused > n as f64 { Ok(()) } else { Err(format!("{refused}")) }
        })
        .await;
        assert_eq!(refused(&thief).await, Ok(()), "the list before is in force");
        assert!(served(&other).await, "others are served");
    }

    fleet.ca.revoke(other.identity().unwrap());
    publish(&fleet);
    eventually("the next good list is taken", async || refused(&other).await).await;
}

#[tokio::test]
async fn a_list_signed_by_somebody_else_is_not_taken() {
    let fleet = Site::with_masters(1).open().await;
    let agent = fleet.agent("web01.example.com");
    let impostor = harness::ca::PuppetCa::with_intermediate();
    impostor.signing().revoke(agent.identity().unwrap());
    fleet.door.papers().write("ca_crl.pem", &impostor.crl_pem());
    eventually("the forged list is counted as refused", async || {
        let refused = fleet.door.metrics().await.sum("stagedoor_reloads_total", &[("outcome", "refused")]);
        if refused > 0.0 { Ok(()) } else { Err(format!("{refused}")) }
    })
    .await;
    assert!(served(&agent).await);
}

#[tokio::test]
async fn a_serial_number_that_another_ca_took_back_is_nobodys_fault() {
    let fleet = Site::with_masters(1).open().await;
    // Root and intermediate both count from 1.
    let serial = 77;
    let agent = fleet.agent_of(&Leaf::node("web01.example.com").serial(serial));
    let thief = fleet.agent("stolen.example.com");
    fleet.ca.root().unwrap().revoke_serial(&agent.identity().unwrap().serial);
    fleet.ca.revoke(thief.identity().unwrap());
    publish(&fleet);
    eventually("the new lists are in force", async || refused(&thief).await).await;
    assert!(served(&agent).await);
}

#[tokio::test]
async fn a_revoked_master_is_sent_nothing_any_more() {
    let fleet = Site::with_masters(2).open().await;
    let agent = fleet.agent("web01.example.com");
    for _ in 0..4 {
        assert!(served(&agent).await);
    }
    fleet.ca.revoke(fleet.master(0).identity());
    publish(&fleet);
    eventually("the door sees that it may not believe it", async || {
        match fleet.door.master("m1.example.com").await["fit"].as_str() {
            Some("unfit") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    fleet.master(0).record().clear();
    for _ in 0..8 {
        assert!(served(&agent).await);
    }
    assert_eq!(fleet.master(0).record().total(), 0);
}
