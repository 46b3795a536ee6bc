//! Open masters and backends: who gets a connection.

use std::collections::BTreeSet;

use harness::agent::DIALS;
use harness::fleet::{Fleet, Site};
use harness::master::{Health, Plan};
use harness::raw::{Raw, Spoken};
use harness::tls::{self, Versions};
use harness::wait::eventually;
use harness::wire::Wire;

use super::{ENVIRONMENTS, asked, counted, hello, line, passing};

/// Two open masters, and nothing else; the door passes everything.
async fn two_open() -> (Fleet, std::net::SocketAddr) {
    let mut site = Site::with(["m1.example.com", "m2.example.com"].map(Plan::open));
    let address = site.papers.passing("");
    site.papers.listen_keys = "split = \"by-capacity\"".to_owned();
    (site.open().await, address)
}

async fn wire(fleet: &Fleet, address: std::net::SocketAddr) -> Wire {
    let web01 = fleet.ca.agent("web01.example.com");
    Wire::open(address, DIALS, tls::client(&fleet.ca, Some(&web01), Versions::Both)).await.unwrap()
}

async fn served_by(wire: &mut Wire) -> String {
    let reply = wire.ask(ENVIRONMENTS).await.unwrap();
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    json["served_by"].as_str().unwrap().to_owned()
}

async fn until_fit_is(fleet: &Fleet, name: &str, fit: &str) {
    eventually(&format!("{name} is {fit}"), async || match fleet.door.master(name).await["fit"].as_str() {
        Some(said) if said == fit => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn an_agent_runs_through_an_open_master_with_no_word_of_the_doors() {
    let (fleet, address) = two_open().await;
    let mut agent = fleet.agent("web01.example.com");
    agent.door = address;
    agent.run(harness::agent::Shape::default()).await.unwrap();
    let seen: Vec<_> = fleet.masters.iter().flat_map(|master| master.record().of("catalog")).collect();
    assert_eq!(seen[0].peer.as_deref(), Some("web01.example.com"));
    assert!(seen[0].identity_headers().is_empty());
}

#[tokio::test]
async fn an_address_stays_with_its_master_and_a_crowd_is_shared() {
    let (fleet, address) = two_open().await;
    let home = served_by(&mut wire(&fleet, address).await).await;
    for _ in 0..5 {
        assert_eq!(served_by(&mut wire(&fleet, address).await).await, home);
    }
    let mut open = Vec::new();
    let mut masters = BTreeSet::new();
    for _ in 0..12 {
        let mut one = wire(&fleet, address).await;
        masters.insert(served_by(&mut one).await);
        open.push(one);
    }
    assert_eq!(masters.len(), 2, "one address alone does not crowd one master");
}

#[tokio::test]
async fn a_drained_master_keeps_what_it_has_and_gets_nothing_new() {
    let (fleet, address) = two_open().await;
    let mut kept = wire(&fleet, address).await;
    let home = served_by(&mut kept).await;
    fleet.door.drain(&home).await;
    for _ in 0..5 {
        assert_ne!(served_by(&mut wire(&fleet, address).await).await, home);
    }
    assert_eq!(served_by(&mut kept).await, home, "the connection it had goes on");
    assert_eq!(fleet.door.master(&home).await["in_flight"], 1);
}

#[tokio::test]
async fn a_killed_masters_next_connection_goes_to_another_before_anybody_knows_that_it_is_dead() {
    let (fleet, address) = two_open().await;
    let home = served_by(&mut wire(&fleet, address).await).await;
    fleet.named(&home).listening().kill().await;
    for _ in 0..5 {
        assert_ne!(served_by(&mut wire(&fleet, address).await).await, home);
    }
    until_fit_is(&fleet, &home, "unfit").await;
    fleet.named(&home).listening().restart(None);
    until_fit_is(&fleet, &home, "fit").await;
}

#[tokio::test]
async fn an_open_master_is_asked_for_its_status_without_a_certificate() {
    let (fleet, address) = two_open().await;
    fleet.master(0).health(Health::Failing);
    until_fit_is(&fleet, "m1.example.com", "unfit").await;
    for _ in 0..5 {
        assert_eq!(served_by(&mut wire(&fleet, address).await).await, "m2.example.com");
    }
    fleet.master(1).health(Health::Failing);
    until_fit_is(&fleet, "m2.example.com", "unfit").await;
    served_by(&mut wire(&fleet, address).await).await;
    let asked = fleet.master(0).record().all();
    let probes: Vec<_> = asked.iter().filter(|seen| seen.path().starts_with("/status/")).collect();
    assert!(!probes.is_empty() && probes.iter().all(|seen| seen.peer.is_none()), "nothing is shown to it");
}

#[tokio::test]
async fn where_nobody_is_behind_an_address_its_connections_are_closed_and_counted() {
    let mut site = Site::with_masters(1);
    let address = site.papers.passing("");
    let fleet = site.open_unready().await;
    let mut client = Spoken::to(address).await;
    client.say(&hello(&fleet.ca)).await;
    assert_eq!(client.rest().await, b"");
    assert_eq!(line(&fleet, "nobody").await["attempts"], 0);
    counted(&fleet, "stagedoor_passed_total", &[("outcome", "nobody")], 1.0).await;
    let ready = fleet.door.admin("GET", "/ready", "").await;
    assert_eq!(ready.status, 503, "an address that serves nobody is not ready: {}", ready.body);

    let web01 = fleet.ca.agent("web01.example.com");
    eventually("the other address goes on", async || {
        match asked(&fleet, &web01, fleet.door.address(), None).await {
            (200, _) => Ok(()),
            (status, _) => Err(status.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn backends_that_cannot_be_reached_are_passed_over_and_all_of_them_is_a_counted_close() {
    let (live, dead) =
        (Raw::start().await, harness::listening::free_address(harness::listening::own_address()));
    let mut site = Site::with_masters(1);
    let some = site.papers.passing(&format!("backends = [\"{dead}\", \"{}\"]", live.address()));
    let none = site.papers.passing(&format!("backends = [\"{dead}\"]"));
    let fleet = site.open().await;
    for _ in 0..4 {
        let mut client = Spoken::to(some).await;
        client.say(&hello(&fleet.ca)).await;
        live.next().await.hear(5).await;
    }
    let mut client = Spoken::to(none).await;
    client.say(&hello(&fleet.ca)).await;
    assert_eq!(client.rest().await, b"");
    let line = line(&fleet, "unreachable").await;
    assert_eq!(line["master"], dead.to_string());
    eventually("its checks are counted", async || {
        match fleet
            .door
            .metrics()
            .await
            .sum("stagedoor_probes_total", &[("master", &dead.to_string()), ("outcome", "failed")])
        {
            failed if failed > 0.0 => Ok(()),
            failed => Err(failed.to_string()),
        }
    })
    .await;
    assert!(live.silent() > 0, "a check that says nothing");
}

#[tokio::test]
async fn at_the_bound_of_passed_connections_the_next_waits_and_8140_goes_on() {
    let (fleet, address, raw) = passing(|papers| papers.bound("passed", "2")).await;
    let mut open = Vec::new();
    for last in 2..4 {
        let mut client = Spoken::from([127, 0, 0, last], address).await;
        client.say(&hello(&fleet.ca)).await;
        open.push((client, raw.next().await));
    }
    counted(&fleet, "stagedoor_passed_open", &[], 2.0).await;
    let mut waiting = Spoken::to(address).await;
    waiting.say(&hello(&fleet.ca)).await;
    let web01 = fleet.ca.agent("web01.example.com");
    let (status, _) = asked(&fleet, &web01, fleet.door.address(), None).await;
    assert_eq!(status, 200);
    assert!(!raw.has_more().await, "the third waits");
    open.pop();
    raw.next().await.hear(5).await;
    assert_eq!(fleet.door.metrics().await.sum("stagedoor_passed_total", &[("outcome", "full")]), 0.0);
}

#[tokio::test]
async fn one_address_leaves_half_of_the_passed_connections_to_others_whether_it_speaks_or_is_silent() {
    let (fleet, address, raw) = passing(|papers| papers.bound("passed", "4")).await;
    let mut greedy = Vec::new();
    for _ in 0..4 {
        greedy.push(Spoken::from([127, 0, 0, 2], address).await);
    }
    greedy[0].say(&hello(&fleet.ca)).await;
    counted(&fleet, "stagedoor_hello_refused_total", &[("reason", "source_full")], 2.0).await;
    let mut other = Spoken::from([127, 0, 0, 3], address).await;
    other.say(&hello(&fleet.ca)).await;
    let (mut first, mut second) = (raw.next().await, raw.next().await);
    first.hear(5).await;
    second.hear(5).await;
}

#[tokio::test]
async fn a_backend_cannot_be_admitted_as_a_sealed_master_nor_a_door_start_that_passes_to_one() {
    let (mut fleet, _, raw) = passing(|_| {}).await;
    let admit = |kind: &str| {
        let (certname, address) = ("m9.example.com", raw.address());
        format!("{{\"certname\": \"{certname}\", \"address\": \"{address}\", {kind}}}")
    };
    let firewall = admit("\"isolation\": \"firewall\"");
    let refused = fleet.door.admin("POST", "/v1/roster/admit", &firewall).await;
    assert!(refused.status == 409 && refused.body.contains("any node"), "{}", refused.body);
    let open = fleet.door.admin("POST", "/v1/roster/admit", &admit("\"kind\": \"open\"")).await;
    assert_eq!(open.status, 200, "{}", open.body);

    let papers = std::sync::Arc::clone(fleet.door.papers());
    let roster = std::fs::read_to_string(papers.file("roster.toml")).unwrap();
    let sealed =
        roster.replace("kind = \"open\"\ncheck = \"status\"", "kind = \"sealed\"\nisolation = \"firewall\"");
    assert_ne!(roster, sealed);
    fleet.door.signal(rustix::process::Signal::TERM);
    fleet.door.ended().await;
    papers.write("roster.toml", &sealed);
    let (code, said) = harness::door::Door::spawn(papers, None).ended().await;
    assert!(!code.success() && said.contains("m9.example.com is sealed"), "{said}");
}

#[tokio::test]
async fn a_master_retired_by_force_finishes_what_it_has_and_gets_nothing_new() {
    let (fleet, address) = two_open().await;
    let mut kept = wire(&fleet, address).await;
    let home = served_by(&mut kept).await;
    fleet.door.change("retire", &serde_json::json!({ "certname": home, "force": true })).await;
    for _ in 0..5 {
        assert_ne!(served_by(&mut wire(&fleet, address).await).await, home);
    }
    assert_eq!(served_by(&mut kept).await, home);
}
