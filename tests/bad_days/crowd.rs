//! Whoever wants all of what everybody needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use harness::agent::DIALS;
use harness::answer::Act;
use harness::fleet::{Fleet, Site};
use harness::tls::{self, Versions};
use harness::wait::eventually;
use rustls::ClientConnection;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use super::{counted, get, head_of, wire};

const NODE: &str = "/puppet/v3/node/web01.example.com?environment=production";
/// Occupies no JRuby, so that only connections are taken.
const FILE: &str = "/puppet/v3/static_file_content/modules/m/files/f?environment=production&code_id=1";

/// Begins a handshake from this address and goes no further.
async fn stall(fleet: &Fleet, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(fleet.door.address()).await.unwrap();
    let config = tls::client(&fleet.ca, None, Versions::Both);
    let mut client = ClientConnection::new(Arc::clone(&config), tls::server_name(DIALS)).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    stream.write_all(&hello).await.unwrap();
    stream
}

#[tokio::test]
async fn agents_get_in_while_many_addresses_stall_their_handshakes() {
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("handshakes", "4");
        papers.bound("handshake_time", "\"1m\"");
    });
    let fleet = site.open().await;
    let mut stalled = Vec::new();
    for last in 1..=16 {
        stalled.push(stall(&fleet, Ipv4Addr::new(127, 0, 7, last)).await);
    }
    counted(&fleet, "stagedoor_connections_total", &[], 16.0).await;
    let answer = fleet.agent("web01.example.com").get(NODE).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn whoever_waits_behind_the_handshakes_of_its_own_address_is_not_turned_away_for_it() {
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("handshakes", "1");
        papers.bound("handshake_time", "\"1s\"");
    });
    let fleet = site.open().await;
    let from = Ipv4Addr::new(127, 0, 7, 1);
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(stall(&fleet, from).await);
    }
    counted(&fleet, "stagedoor_connections_total", &[], 3.0).await;
    let web01 = fleet.ca.agent("web01.example.com");
    let config = tls::client(&fleet.ca, Some(&web01), Versions::Both);
    let source = SocketAddr::from((from, 0));
    let mut agent =
        harness::wire::Wire::open_from(source, fleet.door.address(), DIALS, config).await.unwrap();
    assert_eq!(agent.ask(get(NODE)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn one_certificate_takes_at_most_half_of_all_connections_and_others_still_come_in() {
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("connections", "64");
        papers.bound("handshakes", "64");
    });
    let fleet = site.open().await;
    let thief = fleet.ca.agent("web01.example.com");
    let mut held = Vec::new();
    let reply = loop {
        assert!(held.len() <= 33, "{} of 64 are one agent's", held.len());
        let mut connection = wire(&fleet, Some(&thief)).await;
        let reply = connection.ask(get(NODE)).await.unwrap();
        if reply.status() != 200 {
            break reply;
        }
        held.push(connection);
    };
    assert_eq!((reply.status(), reply.head.get("connection")), (429, Some("close")));
    assert!(reply.head.get("retry-after").is_some() && held.len() > 20, "{} were served", held.len());
    let other = "/puppet/v3/node/web02.example.com?environment=production";
    assert_eq!(fleet.agent("web02.example.com").get(other).await.unwrap().status(), 200);
    held.truncate(held.len() - 4);
    eventually("a place that was left is free again", async || {
        match wire(&fleet, Some(&thief)).await.ask(get(NODE)).await {
            Ok(reply) if reply.status() == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_revocation_holds_while_the_door_is_being_stopped() {
    let fleet = Site::with_masters(1).open().await;
    let [busy, web02] = ["web01.example.com", "web02.example.com"].map(|name| fleet.ca.agent(name));
    let mut working = wire(&fleet, Some(&busy)).await;
    let report = "/puppet/v3/report/web01.example.com?environment=production";
    working.send(head_of("PUT", report, 10) + "begun").await.unwrap();
    counted(&fleet, "stagedoor_bodies_held_bytes", &[], 5.0).await;
    let mut open = wire(&fleet, Some(&web02)).await;
    fleet.door.signal(rustix::process::Signal::TERM);
    fleet.ca.revoke(&web02);
    fleet.door.papers().write_ca(&fleet.ca);
    counted(&fleet, "stagedoor_reloads_total", &[("what", "puppet_ca")], 1.0).await;
    let own = "/puppet/v3/node/web02.example.com?environment=production";
    assert_eq!(open.ask(get(own)).await.unwrap().status(), 403);
    assert_eq!(working.ask("ended").await.unwrap().status(), 200);
}

#[tokio::test]
async fn whoever_says_to_have_a_token_keeps_no_master_from_agents() {
    let fleet = Site::with_masters(1).open().await;
    fleet.master(0).script("/static_file_content", None, Act::Hang);
    let stranger = fleet.stranger("console").forging("X-Authentication", "anything");
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let stranger = stranger.clone();
            tokio::spawn(async move { stranger.get(FILE).await })
        })
        .collect();
    // A quarter of the 64 places is one address's; the others wait their time and are told.
    counted(&fleet, "stagedoor_request_failures_total", &[("reason", "strangers")], 4.0).await;
    assert_eq!(fleet.master(0).record().of("static_file_content").len(), 16);
    let answer = fleet.agent("web01.example.com").get(NODE).await.unwrap();
    assert_eq!(answer.status(), 200);
    for asked in asked {
        asked.abort();
    }
}
