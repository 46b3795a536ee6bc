//! Servers that say nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use harness::answer::Act;
use harness::fleet::Site;
use harness::wait::eventually;

use super::{counted, get, wire};

const NODE: &str = "/puppet/v3/node/web01.example.com?environment=production";

#[tokio::test]
async fn while_every_connection_is_taken_agents_are_told_to_come_back_and_the_master_stays_fit() {
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("master_connections", "1");
        papers.bound("connect_time", "\"300ms\"");
    });
    let fleet = site.open().await;
    let web01 = fleet.ca.agent("web01.example.com");
    fleet.master(0).script("node", Some(1), Act::Hang);
    let mut waiting = wire(&fleet, Some(&web01)).await;
    waiting.send(get(NODE)).await.unwrap();
    let in_flight = [("master", "m1.example.com")];
    counted(&fleet, "stagedoor_master_in_flight", &in_flight, 1.0).await;
    let passed = [("master", "m1.example.com"), ("outcome", "passed")];
    let before = fleet.door.metrics().await.sum("stagedoor_probes_total", &passed);
    let reply = wire(&fleet, Some(&web01)).await.ask(get(NODE)).await.unwrap();
    assert_eq!(reply.status(), 503, "{}", reply.text());
    assert!(reply.head.get("retry-after").is_some() && reply.text().contains("master_connections"));
    counted(&fleet, "stagedoor_probes_total", &passed, before + 2.0).await;
    assert_eq!(fleet.door.master("m1.example.com").await["fit"], "fit");
}

#[tokio::test]
async fn whoever_waits_for_a_connection_gets_the_next_that_is_free() {
    let site = Site::with_masters(1).change(|papers| {
        papers.bound("master_connections", "4");
        papers.bound("connect_time", "\"10s\"");
        papers.extra.0 = "workers = 1".to_owned();
    });
    let fleet = site.open().await;
    let web01 = fleet.ca.agent("web01.example.com");
    let slow = Act::Slow(Duration::from_secs(1));
    let mut busy = Vec::new();
    for act in [Act::Hang, Act::Hang, slow.clone(), slow] {
        fleet.master(0).script("node", Some(1), act);
    }
    for _ in 0..4 {
        let mut agent = wire(&fleet, Some(&web01)).await;
        agent.send(get(NODE)).await.unwrap();
        busy.push(agent);
    }
    let master = [("master", "m1.example.com")];
    counted(&fleet, "stagedoor_master_in_flight", &master, 4.0).await;
    let answer = wire(&fleet, Some(&web01)).await.ask(get(NODE)).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[tokio::test]
async fn a_host_that_vanishes_without_a_word_is_asked_whether_it_is_there() {
    let fleet = Site::with_masters(1).open().await;
    let web01 = fleet.ca.agent("web01.example.com");
    fleet.master(0).script("node", Some(1), Act::Hang);
    let mut waiting = wire(&fleet, Some(&web01)).await;
    waiting.send(get(NODE)).await.unwrap();
    counted(&fleet, "stagedoor_master_in_flight", &[("master", "m1.example.com")], 1.0).await;
    let SocketAddr::V4(master) = fleet.master(0).address() else { panic!("stand-ins listen on IPv4") };
    let remote = format!("{}:{:04X}", hexadecimal(*master.ip()), master.port());
    eventually("the kernel watches the connection to the master", async || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ours = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut ours = ours.filter(|line| line.get(2) == Some(&remote.as_str()));
        // `02` before the colon: the timer that runs is the keepalive's.
        match ours.any(|line| line[3] == "01" && line[5].starts_with("02:")) {
            true => Ok(()),
            false => Err("no connection to the master has a keepalive timer".to_owned()),
        }
    })
    .await;
}

/// As `/proc/net/tcp` writes it: the address as a number of this machine.
fn hexadecimal(ip: Ipv4Addr) -> String {
    format!("{:08X}", u32::from_ne_bytes(ip.octets()))
}
