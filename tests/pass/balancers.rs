//! The PROXY protocol, in and out.

use std::net::SocketAddr;

use harness::agent::DIALS;
use harness::fleet::{Fleet, Site};
use harness::raw::{Raw, Spoken};
use harness::tls::{self, Versions};
use harness::wire::Wire;

use super::{ENVIRONMENTS, counted, hello};

/// The test itself is the balancer.
const FROM_HERE: &str = "accept_proxy_from = [\"10.9.0.0/16\", \"127.0.0.1\"]";

async fn trusting() -> Fleet {
    let site = Site::with_masters(1).change(|papers| {
        papers.listen_keys = FROM_HERE.to_owned();
        papers.bound("handshake_time", "\"1s\"");
    });
    site.open().await
}

/// What the master is told of where a request comes from, behind this header.
async fn forwarded_for(fleet: &Fleet, header: &[u8]) -> String {
    let web01 = fleet.ca.agent("web01.example.com");
    let mut client = Spoken::to(fleet.door.address()).await;
    client.say(header).await;
    let config = tls::client(&fleet.ca, Some(&web01), Versions::Both);
    let reply = Wire::over(client.stream, DIALS, config).await.unwrap().ask(ENVIRONMENTS).await.unwrap();
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let seen = fleet.master(0).record().of("environments");
    seen.last().unwrap().head.get("x-forwarded-for").unwrap().to_owned()
}

fn v2(versioned: u8, family: u8, said: &[u8]) -> Vec<u8> {
    let length = u16::try_from(said.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[versioned, family], &length, said].concat()
}

#[tokio::test]
async fn a_balancer_that_is_named_says_where_agents_come_from() {
    let fleet = trusting().await;
    let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 8140\r\n";
    assert_eq!(forwarded_for(&fleet, v1).await, "192.0.2.7");
    let v4 = [192, 0, 2, 8, 10, 0, 0, 1, 1, 2, 3, 4];
    let with_tlv = [&v4[..], &[4, 0, 1, 0]].concat();
    assert_eq!(forwarded_for(&fleet, &v2(0x21, 0x11, &with_tlv)).await, "192.0.2.8");
    let v6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n";
    assert_eq!(forwarded_for(&fleet, v6).await, "2001:db8::7");
    for own in [v2(0x20, 0, &[]), b"PROXY UNKNOWN\r\n".to_vec()] {
        assert_eq!(forwarded_for(&fleet, &own).await, "127.0.0.1", "it speaks for itself");
    }
    let log = std::fs::read_to_string(fleet.door.papers().file("access.log")).unwrap_or_default();
    assert!(log.contains("\"peer\":\"192.0.2.7:40000\""), "{log}");
}

#[tokio::test]
async fn a_balancer_that_is_named_must_say_it_clearly_and_in_time() {
    let fleet = trusting().await;
    for (bytes, reason) in [
        (hello(&fleet.ca), "bad_proxy_header"),
        (b"PROXY TCP4 192.0.2.7 somewhere 1 2\r\n".to_vec(), "bad_proxy_header"),
        (v2(0x21, 0x11, &[0; 5]), "bad_proxy_header"),
        (b"PROXY TCP4 192.0.2.7".to_vec(), "late"),
        (v2(0x21, 0x11, &[192, 0, 2, 8, 10, 0, 0, 1, 1, 2, 3, 4])[..20].to_vec(), "late"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n\x16".to_vec(), "late"),
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\nPROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            "proxy_protocol",
        ),
    ] {
        let labels = [("reason", reason)];
        let before = fleet.door.metrics().await.sum("stagedoor_hello_refused_total", &labels);
        let mut client = Spoken::to(fleet.door.address()).await;
        client.say(&bytes).await;
        assert_eq!(client.rest().await, b"");
        counted(&fleet, "stagedoor_hello_refused_total", &labels, before + 1.0).await;
    }
}

#[tokio::test]
async fn nobody_else_may_say_where_he_comes_from() {
    let site = Site::with_masters(1).change(|papers| {
        papers.listen_keys = "accept_proxy_from = [\"10.9.0.0/16\"]".to_owned();
    });
    let fleet = site.open().await;
    let mut liar = Spoken::to(fleet.door.address()).await;
    liar.say(b"PROXY TCP4 10.9.0.1 10.0.0.1 40000 8140\r\n").await;
    liar.say(&hello(&fleet.ca)).await;
    assert_eq!(liar.rest().await, b"");
    counted(&fleet, "stagedoor_hello_refused_total", &[("reason", "proxy_protocol")], 1.0).await;
    let agent = fleet.agent("web01.example.com");
    assert_eq!(
        agent.get("/puppet/v3/environments").await.unwrap().status(),
        200,
        "without a header all is as ever"
    );
}

#[tokio::test]
async fn one_address_behind_a_balancer_has_its_own_limit_and_the_balancer_has_none() {
    let site = Site::with_masters(1).change(|papers| {
        papers.listen_keys = FROM_HERE.to_owned();
        papers.bound("unauthenticated_per_source", "1");
    });
    let fleet = site.open().await;
    let mut held = Vec::new();
    let mut statuses = Vec::new();
    for source in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        let mut client = Spoken::to(fleet.door.address()).await;
        client.say(format!("PROXY TCP4 {source} 10.0.0.1 1 2\r\n").as_bytes()).await;
        let config = tls::client(&fleet.ca, None, Versions::Both);
        let mut wire = Wire::over(client.stream, DIALS, config).await.unwrap();
        let reply =
            wire.ask("GET /puppet-ca/v1/certificate/ca HTTP/1.1\r\nHost: puppet\r\n\r\n").await.unwrap();
        statuses.push(reply.status());
        held.push(wire);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn what_is_passed_carries_the_header_that_its_backend_wants() {
    let raw = Raw::start().await;
    let mut site = Site::with_masters(1);
    let backends = format!("backends = [\"{}\"]", raw.address());
    let v1 = site.papers.passing(&format!("{backends}\nsend_proxy = \"v1\""));
    let v2 = site.papers.passing(&format!("{backends}\nsend_proxy = \"v2\""));
    let chained = site.papers.passing(&format!("{backends}\nsend_proxy = \"v1\"\n{FROM_HERE}"));
    let fleet = site.open().await;
    let first = hello(&fleet.ca);
    let arrives = async |door: SocketAddr, before: &[u8], header: usize| {
        let mut client = Spoken::to(door).await;
        client.say(before).await;
        client.say(&first).await;
        let mut server = raw.next().await;
        let (header, hello) = (server.hear(header).await, server.hear(first.len()).await);
        assert_eq!(hello, first);
        (client.stream.local_addr().unwrap(), header)
    };
    let to = |client: SocketAddr, door: SocketAddr| {
        format!("PROXY TCP4 127.0.0.1 {} {} {}\r\n", door.ip(), client.port(), door.port())
    };
    // A port has up to five digits, so the length is known only with it.
    let mut client = Spoken::to(v1).await;
    let expected = to(client.stream.local_addr().unwrap(), v1);
    client.say(&first).await;
    let heard = raw.next().await.hear(expected.len() + first.len()).await;
    assert_eq!(heard, [expected.as_bytes(), &first].concat());

    let (client, header) = arrives(v2, b"", 28).await;
    let SocketAddr::V4(door) = v2 else { panic!("IPv4") };
    let ends = [[127, 0, 0, 1], door.ip().octets()].concat();
    let ports = [client.port().to_be_bytes(), door.port().to_be_bytes()].concat();
    assert_eq!(header, self::v2(0x21, 0x11, &[ends, ports].concat()));

    let announced = b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 8140\r\n";
    let (_, header) = arrives(chained, announced, announced.len()).await;
    assert_eq!(header, announced, "what the balancer in front said");
}
